//! Targets that misbehave: everything is counted, and the generator ends by itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use crate::address::own_address;
use crate::site::{Upstream, count, drive, sum};

/// Reads a request on each connection, and does this with it.
fn target(then: impl Fn(&mut TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            if stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {
                then(&mut stream);
            }
        }
    });
    address
}

/// What ten requests end with, on one connection after the other.
fn errors(target: SocketAddr, more: &str) -> serde_json::Value {
    let said = drive(target, &format!("--requests 10 --connections 1 {more}"));
    // Those of a wrong status are answers as well.
    let wrong = said["errors"]["status"].as_u64().unwrap_or(0);
    assert_eq!(count(&said, "requests") + sum(&said["errors"]) - wrong, 10, "{said}");
    said
}

fn write(stream: &mut TcpStream, bytes: &[u8]) {
    // The other side may have gone, as it may here.
    let _ = stream.write_all(bytes);
}

#[test]
fn what_is_no_answer_is_an_error_of_its_kind() {
    for (bytes, kind) in [
        (&b"nonsense\r\n\r\n"[..], "unreadable"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na", "unreadable"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", "unreadable"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "unreadable"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", "unreadable"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "unreadable"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "closed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "closed"),
        (b"HTTP/1.1 200 OK\r\nContent-", "closed"),
        (b"", "closed"),
    ] {
        let said = errors(target(move |stream| write(stream, bytes)), "");
        let expected = serde_json::json!({ kind: 10 });
        assert_eq!(said["errors"], expected, "{} {said}", bytes.escape_ascii());
    }
}

#[test]
fn answers_of_every_framing_are_no_errors() {
    for bytes in [
        &b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na"[..],
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\nContent-Length: 5\r\n\r\n",
    ] {
        let said = errors(target(move |stream| write(stream, bytes)), "");
        assert_eq!(count(&said, "requests"), 10, "{} {said}", bytes.escape_ascii());
    }
}

#[test]
fn refused_and_reset_connections_are_counted() {
    let nobody = own_address();
    assert_eq!(errors(nobody, "")["errors"], serde_json::json!({ "refused": 10 }));
    let said = drive(nobody, "--seconds 1 --connections 1");
    assert!(count(&said["errors"], "refused") > 10, "it rests no longer than it says: {said}");
    // What is left unread makes a reset of the close.
    let reset = target(|stream| write(stream, b"HTTP/1.1 200 OK\r\n"));
    let said = errors(reset, "--body 3000000");
    assert_eq!(sum(&said["errors"]), 10, "{said}");
    assert!(count(&said["errors"], "reset") > 0, "{said}");
    eprintln!("{said}");
}

#[test]
fn silence_is_a_timeout() {
    let silent = target(|stream| drop(stream.read(&mut [0])));
    let said = drive(silent, "--requests 2 --connections 1 --timeout 0.3");
    assert_eq!(said["errors"], serde_json::json!({ "timeout": 2 }), "{said}");
}

#[test]
fn a_kept_connection_that_ends_unannounced_is_stale() {
    let stale = target(|stream| {
        write(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na");
        drop(stream.read(&mut [0; 4096]));
    });
    let said = errors(stale, "");
    assert_eq!(said["by_status"], serde_json::json!({ "200": 5 }), "{said}");
    assert_eq!(said["errors"], serde_json::json!({ "stale": 5 }), "{said}");
}

#[test]
fn an_unexpected_status_is_an_error_too() {
    let upstream = Upstream::start("");
    let said = errors(upstream.address, "--expect 302,429");
    assert_eq!(said["by_status"], serde_json::json!({ "200": 10 }), "{said}");
    assert_eq!(said["errors"], serde_json::json!({ "status": 10 }), "{said}");
    assert_eq!(errors(upstream.address, "--expect 429,200")["errors"], serde_json::json!({}));
}

#[test]
fn without_a_session_nothing_begins() {
    let no = target(|stream| write(stream, b"HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n"));
    let target = no.to_string();
    let words = ["drive", "--target", &target, "--cookie", "known", "--connections", "2"];
    let output = Command::new(env!("CARGO_BIN_EXE_load")).args(words).output().expect("it runs");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("0 of 2 could log in"));
}

#[test]
fn nothing_leaves_this_machine() {
    for words in [["drive", "--target", "192.0.2.1:80"], ["hold", "--target", "10.0.0.1:80"]] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_load")).args(words).output().expect("it runs");
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("127.0.0.0/8"), "{words:?}");
    }
}
