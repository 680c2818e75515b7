//! Clients that hang up, send what is no request, or whatever bytes they like.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::{SECRET, application, file, logging, objects};
use crate::support::attack;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;

/// What hyper answers itself, or nobody answers, and the status.
pub const REFUSED: [(&str, u16); 5] = [
    ("GET / HTTP/1.1\r\nA B: 1\r\n\r\n", 400),
    ("GARBAGE\r\n\r\n", 400),
    ("GET /{long} HTTP/1.1\r\n\r\n", 414),
    ("GET / HTTP/1.1\r\nA: {head}\r\n\r\n", 431),
    ("GET / HTTP/1.1\r\nHost: a\r\n", 408),
];

/// Sends them all, and compares what is answered.
pub fn refused_by_the_parser(floodwall: &Floodwall) {
    for (request, status) in REFUSED {
        let long = request.replace("{long}", &"x".repeat(66_000));
        let bytes = long.replace("{head}", &"x".repeat(200_000));
        let mut stream = connect(floodwall);
        // It may answer, and close, before all of it is sent.
        let _ = stream.write_all(bytes.as_bytes());
        let mut answer = [0; 12];
        match stream.read_exact(&mut answer) {
            Ok(()) => assert_eq!(answer, format!("HTTP/1.1 {status}").as_bytes()),
            // A head that does not come in time is not answered.
            Err(_) => assert_eq!(status, 408, "no answer to {request:?}"),
        }
    }
}

fn connect(floodwall: &Floodwall) -> TcpStream {
    let stream = TcpStream::connect(floodwall.address()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
    stream.set_nodelay(true).expect("it is connected");
    stream
}

/// Reads up to the end of a head, and the ten bytes behind it.
fn answer(stream: &mut TcpStream) {
    let (mut seen, mut byte) = (Vec::new(), [0]);
    while !seen.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        seen.push(byte[0]);
    }
    stream.read_exact(&mut [0; 10]).expect("the content");
}

#[test]
fn a_request_that_no_exchange_sees_is_logged_from_its_connection() {
    let (folder, application) = (Folder::new("access-refused"), application());
    let file = file(&folder);
    let floodwall = Floodwall::start(&folder, application.upstream(), &logging("json", &file));
    refused_by_the_parser(&floodwall);
    // Nothing was asked for here.
    drop(connect(&floodwall));
    assert!(floodwall.stop().success());
    let lines = objects(&file);
    // Each core has a lane of its own: only what is in one of them is in order.
    let told: BTreeSet<u64> = lines.iter().filter_map(|line| line["status"].as_u64()).collect();
    assert_eq!(lines.len(), REFUSED.len());
    assert_eq!(told, REFUSED.iter().map(|(_, status)| u64::from(*status)).collect());
    for line in lines {
        assert_eq!((&line["method"], &line["path"]), (&().into(), &().into()), "{line}");
        assert_eq!((&line["verdict"], &line["client"]), (&"rejected".into(), &"127.0.0.1".into()));
    }
}

/// Each kind of client, of a thousand requests. The head of each arrives in whole.
#[test]
fn there_is_one_line_for_each_exchange_whatever_its_client_does() {
    const REQUESTS: usize = 1000;
    let (folder, application) = (Folder::new("access-hang-ups"), application());
    let file = file(&folder);
    let configuration = format!(
        "{}[[rule]]\nname = 'all'\nprefix = '/'\naction = 'forward'\n",
        logging("json", &file)
    );
    let floodwall = Floodwall::start(&folder, application.upstream(), &configuration);
    let mut kept = connect(&floodwall);
    for number in 0..REQUESTS {
        let get =
            format!("GET /{number} HTTP/1.1\r\nHost: a\r\nCookie: sessionid={SECRET}\r\n\r\n");
        let post = format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234");
        match number % 6 {
            // A client that behaves.
            0 => {
                kept.write_all(get.as_bytes()).expect("it is kept");
                answer(&mut kept);
            }
            // It hangs up right after its request.
            1 => connect(&floodwall).write_all(get.as_bytes()).expect("it is open"),
            // It hangs up within its upload.
            2 => connect(&floodwall).write_all(post.as_bytes()).expect("it is open"),
            // It takes the head of the answer, and resets.
            3 => {
                let mut stream = connect(&floodwall);
                stream.write_all(get.as_bytes()).expect("it is open");
                stream.read_exact(&mut [0; 20]).expect("an answer");
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("it is open");
            }
            // It says that it sends no more, and still reads.
            4 => {
                let mut stream = connect(&floodwall);
                stream.write_all(get.as_bytes()).expect("it is open");
                stream.shutdown(Shutdown::Write).expect("it is open");
                let _ = stream.read_to_end(&mut Vec::new());
            }
            // Its session is another's.
            _ => {
                let mut stream = connect(&floodwall);
                stream.write_all(get.replace("GET", "HEAD").as_bytes()).expect("it is open");
                stream.read_exact(&mut [0; 15]).expect("an answer");
            }
        }
    }
    drop(kept);
    assert!(floodwall.stop().success());
    let lines = objects(&file);
    let mut seen = vec![0; REQUESTS];
    for line in &lines {
        let path = line["path"].as_str().and_then(|path| path.strip_prefix('/'));
        let number: usize = path.and_then(|path| path.parse().ok()).expect("a number");
        seen[number] += 1;
        let (aborted, status) = (line["aborted"] == true, line["status"].as_u64());
        match number % 6 {
            0 | 5 => assert_eq!((aborted, status), (false, Some(200)), "{line}"),
            1 | 4 => assert_eq!(aborted, status == Some(499), "{line}"),
            2 => assert!(aborted || status == Some(400), "{line}"),
            _ => assert_eq!(status, Some(200), "{line}"),
        }
        let bytes = if aborted || line["method"] == "HEAD" { 0..=10 } else { 1..=1000 };
        assert!(bytes.contains(&line["bytes"].as_u64().expect("a number")), "{line}");
    }
    let odd = seen.iter().filter(|lines| **lines != 1).count();
    attack::bounded(
        "1,000 requests, most of whose clients hang up",
        "exchanges without exactly one line in the access log",
        0,
        odd as u64,
    );
    let text = fs::read_to_string(&file).expect("UTF-8");
    assert!(!text.contains(SECRET), "a session key is in the log");
}

/// Whatever bytes hyper takes in a head.
#[test]
fn no_bytes_of_a_client_break_a_line_or_the_json_of_one() {
    let (folder, application) = (Folder::new("access-bytes"), application());
    let file = file(&folder);
    let floodwall = Floodwall::start(&folder, application.upstream(), &logging("json", &file));
    let mut stream = connect(&floodwall);
    let mut number = 0;
    for byte in (b'\t'..=0xff).filter(|byte| !(b'\n'..b' ').contains(byte) && *byte != 0x7f) {
        let mut request = b"GET /\"\\{|}' HTTP/1.1\r\nHost: a\r\nUser-Agent: a".to_vec();
        request.extend([byte, b'b', byte, 0xc3, b'"', b'\r', b'\n']);
        request.extend(b"Referer: \xe2\x80\xa8\xe2\x80\xae\xc2\x9b31m\x80\r\n\r\n");
        stream.write_all(&request).expect("it is kept");
        answer(&mut stream);
        number += 1;
    }
    drop(stream);
    assert!(floodwall.stop().success());
    let lines = objects(&file);
    let text = fs::read_to_string(&file).expect("UTF-8");
    assert!(!text.contains(|char: char| char.is_control() && char != '\n'));
    attack::bounded(
        &format!("{number} heads with every byte that is taken in one"),
        "lines that Python cannot read as JSON, one each",
        0,
        lines.len().abs_diff(number) as u64,
    );
    assert!(lines.iter().all(|line| line["path"] == "/\"\\{|}'"), "{:?}", lines[0]);
}
