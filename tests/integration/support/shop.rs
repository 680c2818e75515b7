//! A shop that gives sessions away, and how it is asked.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::recorder::Recorder;
use crate::raw::{Wire, values};

/// Creates a session for whoever brings none, and leaves the others theirs.
pub fn shop() -> Recorder {
    let keys = AtomicUsize::new(0);
    Recorder::start(move |request| {
        let known = format!("{request:?}").contains("sessionid=");
        let key = format!("{:032x}", keys.fetch_add(1, Ordering::SeqCst));
        let cookie = format!("Set-Cookie: sessionid={key}; Path=/\r\n");
        let cookie = if known { "" } else { &cookie };
        format!("HTTP/1.1 200 OK\r\n{cookie}Content-Length: 2\r\n\r\nok")
    })
}

/// A connection to an address, as in `127.0.0.1:PORT`.
pub fn connect(address: &str) -> Wire {
    let address: SocketAddr = address.parse().expect("an address");
    Wire::tcp(TcpStream::connect(address).expect("somebody listens"))
}

/// The head of an answer; its content is read.
pub fn ask(wire: &mut Wire, host: &str, target: &str, cookie: &str) -> String {
    wire.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n"));
    let head = wire.head();
    let length = values(&head, "content-length");
    wire.exactly(length.first().map_or(0, |length| length.parse().expect("a length")));
    head
}

/// The status of an answer.
pub fn status(head: &str) -> &str {
    head.split(' ').nth(1).expect("a status")
}

/// The session that an answer brings, as a cookie.
pub fn session_of(head: &str) -> Option<String> {
    let lines = values(head, "set-cookie");
    lines.first().and_then(|line| line.split(';').next()).map(str::to_owned)
}
