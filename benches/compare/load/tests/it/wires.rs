//! Answers in pieces of every size: what is whole must not depend on where they are cut.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use crate::site::{count, drive, sum};

#[test]
fn an_answer_is_the_same_however_it_is_cut() {
    const ANSWER: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
          Set-Cookie: sessionid=abcdefghijklmnopqrstuvwxyz012345; Path=/\r\n\r\n\
          3 ;a=b\r\nabc\r\n0A\r\n0123456789\r\n0\r\nT: u\r\nV: w\r\n\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = listener.local_addr().expect("its address");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_nodelay(true).expect("an option");
        for cut in 1..ANSWER.len() {
            if !stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {
                return;
            }
            for piece in ANSWER.chunks(cut) {
                stream.write_all(piece).expect("it reads");
            }
        }
    });
    let requests = ANSWER.len() as u64 - 1;
    let said = drive(target, &format!("--connections 1 --requests {requests}"));
    assert_eq!(count(&said, "requests"), requests, "{said}");
    assert_eq!(count(&said, "set_cookies"), requests, "{said}");
    assert_eq!((sum(&said["errors"]), count(&said, "connections")), (0, 1), "{said}");
}
