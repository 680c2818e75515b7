//! A long body arrives as it was sent, however it ends.

use std::io::Write;
use std::process::Command;
use std::thread;

use crate::raw::{Application, CLIENTS, Proxy};

const BODY: usize = 100 << 20;
/// What chunks are as long as, in turn.
const CHUNKS: [usize; 5] = [1, 100_003, 7, 65_536, 1 << 20];

/// Every byte is known by its place.
fn body() -> Vec<u8> {
    (0..BODY).map(|at| (at % 251) as u8).collect()
}

fn chunked(mut body: &[u8]) -> Vec<u8> {
    let mut sent = Vec::new();
    for length in CHUNKS.into_iter().cycle() {
        let (chunk, rest) = body.split_at(length.min(body.len()));
        write!(sent, "{:x}\r\n", chunk.len()).expect("a vector takes it");
        sent.extend_from_slice(chunk);
        sent.extend_from_slice(b"\r\n");
        if chunk.is_empty() {
            return sent;
        }
        body = rest;
    }
    unreachable!("it goes round")
}

#[test]
fn a_hundred_mebibytes_arrive_as_they_were_sent() {
    let body = body();
    let framings = [
        (format!("Content-Length: {BODY}"), body.clone()),
        ("Transfer-Encoding: chunked".to_owned(), chunked(&body)),
        ("Connection: close".to_owned(), body.clone()),
    ];
    for client in CLIENTS {
        for (framing, sent) in &framings {
            let application = Application::tcp();
            let proxy = Proxy::speaking(&application, client);
            let url = format!("http://{}/", proxy.address());
            let got = thread::scope(|scope| {
                let asked = ["-sS", "--fail", "--max-time", "60", &url];
                let asking = scope.spawn(move || Command::new("curl").args(asked).output());
                let mut wire = application.accept();
                wire.head();
                wire.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"));
                wire.send(sent);
                drop(wire);
                asking.join().expect("no panic").expect("curl runs")
            });
            assert!(got.status.success(), "{client:?}, {framing}: {:?}", got.stderr);
            assert!(got.stdout == body, "{client:?}, {framing}: {} bytes", got.stdout.len());
        }
    }
}
