//! A request that is refused before it was read: its client reads the refusal, for which it may
//! have to send all of it first; and cannot send for ever.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::raw::{DEADLINE, Wire};
use crate::support::attack::bounded;
use crate::support::backend::{Backend, Manner};
use crate::support::inside::{Inside, await_that};

use super::of;

/// What clients send that read nothing meanwhile.
const BODY: usize = 10 << 20;

/// What is more than may be sent.
const LONG: usize = 12 << 20;

/// Nothing reaches the server where a rule answers, or the one session of the budget is spent.
fn refusing(server: &Backend) -> Inside {
    let configuration = format!(
        "upstream = '{}'\n[[rule]]\nname = 'no'\nprefix = '/no/'\naction = 'answer'\n\
         answer = {{ status = 403 }}\n[budget.anonymous]\nclient = {{ rate = '1/d', burst = 1 }}\n\
         site = {{ rate = '1/d', burst = 1 }}\n[downstream_limits]\nbody_bytes = '11MiB'\n",
        server.url()
    );
    of(&configuration, 1)
}

/// curl and Python's http.client are what scripts and libraries upload with; the latter reads
/// nothing before it has sent all.
#[test]
fn a_client_that_sends_all_before_it_reads_gets_the_refusal() {
    let server = Backend::start();
    let floodwall = refusing(&server);
    let address = floodwall.target().address();
    let python = format!(
        "import http.client\n\
         for path, length in [('/no/', {BODY}), ('/long/', {LONG})]:\n\
         \x20   for number in range(5):\n\
         \x20       asked = http.client.HTTPConnection('{}', {}, timeout=20)\n\
         \x20       asked.request('POST', path, body=b'x' * length)\n\
         \x20       print(asked.getresponse().status)\n",
        address.ip(),
        address.port()
    );
    let said = Command::new("python3").args(["-c", &python]).output().expect("Python runs");
    let said =
        String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert_eq!(said, "403\n".repeat(5) + &"413\n".repeat(5));
    // Without `Expect`, with which it would send nothing.
    for (path, length, status) in [("/no/", BODY, "403"), ("/long/", LONG, "413")] {
        let mut curl = Command::new("curl")
            .args(["-sS", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}"])
            .args(["-H", "Expect:", "-H", "Content-Type: text/plain", "--data-binary", "@-"])
            .arg(format!("http://{address}{path}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("curl runs");
        let mut stdin = curl.stdin.take().expect("it was piped");
        stdin.write_all(&vec![b'x'; length]).expect("curl reads all of it first");
        drop(stdin);
        let said = curl.wait_with_output().expect("it ends");
        let (out, err) =
            (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert_eq!((&*out, &*err), (status, ""));
    }
    assert_eq!(server.number(), 0);
}

fn refused(floodwall: &Inside, length: usize) -> Wire {
    let stream = TcpStream::connect(floodwall.target().address()).expect("it listens");
    let mut client = Wire::tcp(stream);
    client.send(format!("POST /no/ HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
    client
}

/// 429 as well as 403, in chunks that do not end.
#[test]
fn chunks_without_an_end_are_read_before_the_connection_ends() {
    let server = Backend::start();
    let floodwall = refusing(&server);
    // Without an answer the budget is spent.
    server.set(Manner::Closing);
    assert_eq!(super::get(&floodwall, "/").status, 502);
    let body = vec![b'x'; BODY];
    for (head, status) in [
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\na00000\r\n", "429"),
        ("POST /no/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\na00000\r\n", "403"),
    ] {
        let stream = TcpStream::connect(floodwall.target().address()).expect("it listens");
        let mut client = Wire::tcp(stream);
        client.send(head);
        client.send(&body);
        let answer = client.rest();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head:?}: {answer:?}");
    }
}

/// Neither one that never stops, nor one that sends a byte now and then, nor one that says no
/// more and keeps its connection.
#[test]
fn nobody_lingers_for_ever() {
    const PROMISED_BYTES: usize = 16 << 20;
    /// Longer than a client may pause: a second in which its body is read, and two more. To look
    /// is to send something, and who sends something may pause anew.
    const SILENCE: Duration = Duration::from_millis(3_500);
    let server = Backend::start();
    let floodwall = refusing(&server);
    let mut client = refused(&floodwall, 1 << 30);
    client.head();
    let sent = client.flood(1 << 30, DEADLINE);
    // What the two kernels hold comes on top.
    let (promised, sent) = ((PROMISED_BYTES + (16 << 20)) as u64, sent as u64);
    bounded("a refused upload that does not stop", "bytes read, with the buffers", promised, sent);

    // What was closed is known by what is sent to it.
    let is_cut = |client: &Wire| {
        let mut stream = client.stream();
        stream.write(b"x").is_err()
    };
    let (mut silent, mut dripping) = (refused(&floodwall, 1 << 20), refused(&floodwall, 1 << 20));
    let began = Instant::now();
    silent.head();
    dripping.head();
    let mut cut = [None, None];
    await_that("a client lingers for ever", || {
        let elapsed = began.elapsed();
        if elapsed > SILENCE && is_cut(&silent) {
            cut[0].get_or_insert(elapsed.as_secs());
        }
        if is_cut(&dripping) {
            cut[1].get_or_insert(elapsed.as_secs());
        }
        thread::park_timeout(Duration::from_millis(50));
        cut.iter().all(Option::is_some)
    });
    let [silent, dripping] = cut.map(Option::unwrap_or_default);
    bounded("a refused upload that pauses", "seconds until it is cut off", 4, silent);
    bounded("a refused upload that drips", "seconds until it is cut off", 11, dripping);
}
