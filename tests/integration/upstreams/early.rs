//! An answer that comes before the request has been read: it is the answer.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::raw::{DEADLINE, Wire};
use crate::support::inside::Inside;

use super::of;

/// More than all buffers between a client and an application hold.
const BODY: usize = 10 << 20;

const ANSWER: &str = "HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\nX-Says: me\r\n\r\ntoo large";

/// An application that answers each request as soon as its head is there, and then does this.
fn answering(then: fn(TcpStream)) -> (String, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let serving = thread::spawn(move || {
        let mut served = 0;
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") {
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    return served;
                }
                head.push(byte[0]);
            }
            served += 1;
            stream.write_all(ANSWER.as_bytes()).expect("it is read");
            then(stream);
        }
        served
    });
    (url, serving)
}

/// Sends a request with a long body, all of it, and reads then. Where all of it was read before the
/// answer came, the connection may go on: then it is asked for its end.
fn upload(floodwall: &Inside, framing: &str) -> String {
    let stream = TcpStream::connect(floodwall.target().address()).expect("it listens");
    stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
    let mut client = Wire::tcp(stream);
    client.send(format!("POST /x/ HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"));
    let body = vec![b'x'; BODY];
    if framing.starts_with("Transfer") {
        client.send(format!("{BODY:x}\r\n"));
        client.send(&body);
        client.send("\r\n0\r\n\r\n");
    } else {
        client.send(&body);
    }
    let head = client.head();
    let body = client.until("too large");
    if !head.contains("connection: close\r\n") {
        client.say(b"GET /x/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    }
    format!("{head}{body}{}", client.rest())
}

/// With a reset, because it has not read what was sent.
fn close(stream: TcpStream) {
    drop(stream);
}

fn half_close(stream: TcpStream) {
    stream.shutdown(Shutdown::Write).expect("it is open");
    // Nothing more is read; what was sent fills the buffers.
    thread::sleep(Duration::from_millis(300));
}

fn read_on(mut stream: TcpStream) {
    stream.shutdown(Shutdown::Write).expect("it is open");
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

#[test]
fn it_is_relayed_though_the_application_closes_then() {
    for then in [close as fn(TcpStream), half_close, read_on] {
        let (url, _serving) = answering(then);
        let floodwall = of(&format!("upstream = '{url}'"), 1);
        for framing in [format!("Content-Length: {BODY}"), "Transfer-Encoding: chunked".into()] {
            for _ in 0..4 {
                let answer = upload(&floodwall, &framing);
                assert!(answer.starts_with("HTTP/1.1 413 "), "{framing}: {answer:?}");
                assert!(answer.ends_with("too large"), "{answer:?}");
            }
        }
        floodwall.await_rest();
    }
}

/// It has a body without an end of its own: that of the connection is one only if it is no reset.
#[test]
fn an_answer_that_was_cut_does_not_look_whole() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let floodwall = of(&format!("upstream = '{url}'"), 1);
    let application = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let mut wire = Wire::tcp(stream);
        wire.head();
        wire.send("HTTP/1.1 413 Too Large\r\nContent-Length: 1000\r\n\r\ntoo");
    });
    let stream = TcpStream::connect(floodwall.target().address()).expect("it listens");
    let mut client = Wire::tcp(stream);
    client.send(format!("POST /x/ HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY}\r\n\r\n"));
    let sent = client.flood(BODY, DEADLINE);
    assert!(sent < BODY, "it is cut off, too");
    let answer = client.rest();
    application.join().expect("no panic");
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413 "), "{answer:?}");
    assert!(!answer.contains("HTTP/1.1 502"), "{answer:?}");
    assert!(answer.len() < 1000, "{answer:?}");
}
