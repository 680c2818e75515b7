//! The upstream, byte by byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use crate::site::{Upstream, await_that, count, drive, said};

fn head(answer: &str) -> &str {
    answer.split("\r\n\r\n").next().expect("a head")
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("a body").1
}

fn get(address: SocketAddr, more: &str) -> String {
    said(address, format!("GET {more} HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes())
}

#[test]
fn pages_have_their_sizes() {
    let upstream = Upstream::start("");
    for (path, length) in [("/small", 1024), ("/page", 10240), ("/upload", 3), ("/big", 100 << 20)]
    {
        let answer = get(upstream.address, path);
        assert!(head(&answer).starts_with("HTTP/1.1 200 OK"), "{path}");
        assert!(head(&answer).contains(&format!("Content-Length: {length}")), "{path}");
        assert_eq!(body(&answer).len(), length, "{path}");
    }
    let answer = said(upstream.address, b"HEAD /big HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert!(head(&answer).contains("Content-Length: 104857600"));
    assert_eq!(body(&answer), "");
}

#[test]
fn a_session_is_set_as_django_sets_it() {
    let upstream = Upstream::start("");
    let answer = get(upstream.address, "/logout/");
    let line = answer.lines().find(|line| line.starts_with("Set-Cookie: ")).expect("a cookie");
    let (key, attributes) = line["Set-Cookie: sessionid=".len()..].split_at(32);
    assert!(key.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase()), "{key}");
    let (expires, rest) = attributes["; expires=".len()..].split_at(29);
    assert!(attributes.starts_with("; expires=") && expires.ends_with(" GMT"), "{line}");
    assert_eq!(rest, "; httponly; Max-Age=1209600; Path=/");
    assert!(head(&answer).contains("\r\nVary: Cookie"));
    let again = format!("/small HTTP/1.1\r\nCookie: a=b; sessionid={key}; c=d\r\nX:");
    let page = get(upstream.address, &again);
    assert!(!page.contains("Set-Cookie"), "{page}");
    assert_eq!(count(&upstream.counts(), "records"), 1);
}

#[test]
fn requests_are_read_however_they_are_cut() {
    let upstream = Upstream::start("");
    let requests = "POST /upload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nabcd\r\n1\r\ne\r\n0\r\nT: t\r\n\r\n\
                    POST /upload HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde\
                    GET /upload HTTP/1.0\r\n\r\n";
    let mut stream = TcpStream::connect(upstream.address).expect("it listens");
    stream.set_nodelay(true).expect("an option");
    for byte in requests.bytes() {
        stream.write_all(&[byte]).expect("it reads");
    }
    let mut answers = String::new();
    stream.read_to_string(&mut answers).expect("it closes after HTTP/1.0");
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    let whole = said(upstream.address, requests.as_bytes());
    assert_eq!(whole.matches("HTTP/1.1 200 OK").count(), 3, "{whole}");
    assert_eq!(count(&upstream.counts()["by_path"], "/upload"), 6);
}

#[test]
fn what_is_no_request_ends_the_connection() {
    let upstream = Upstream::start("");
    for bytes in [
        &b"nonsense\r\n\r\n"[..],
        b"GET /small HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET /small HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /small HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        assert_eq!(said(upstream.address, bytes), "", "{}", bytes.escape_ascii());
    }
    assert_eq!(count(&upstream.counts(), "requests"), 0);
}

#[test]
fn capacity_is_one_request_after_the_other_and_costs_nothing_while_it_waits() {
    let upstream = Upstream::start("--capacity 100");
    let process = upstream.running.0.id();
    let begin = Instant::now();
    let said =
        drive(upstream.address, &format!("--connections 20 --requests 60 --watch {process}"));
    assert_eq!(count(&said, "requests"), 60);
    assert!(begin.elapsed().as_secs_f64() >= 0.6, "{said}");
    let used = said["watched_cpu_seconds"][process.to_string()].as_f64().expect("a time");
    assert!(used < 0.3 * said["seconds"].as_f64().expect("a time"), "{said}");
}

#[test]
fn who_hangs_up_while_in_line_still_gets_a_record() {
    let upstream = Upstream::start("--capacity 50");
    for _ in 0..20 {
        let mut stream = TcpStream::connect(upstream.address).expect("it listens");
        stream.write_all(b"GET /logout/ HTTP/1.1\r\n\r\n").expect("it reads");
    }
    await_that("all are served", || count(&upstream.counts(), "requests") == 20);
    assert_eq!(count(&upstream.counts(), "records"), 20);
}

#[test]
fn a_slow_reader_does_not_hold_up_others() {
    let upstream = Upstream::start("");
    let mut slow = TcpStream::connect(upstream.address).expect("it listens");
    slow.write_all(b"GET /big HTTP/1.1\r\nConnection: close\r\n\r\n").expect("it reads");
    assert_eq!(count(&drive(upstream.address, "--requests 100"), "requests"), 100);
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer).expect("it closes");
    assert!(answer.len() > 100 << 20, "{}", answer.len());
}
