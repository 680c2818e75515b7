//! Every oddity by itself, and what becomes of it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::{FULL, HIDDEN, OWN, Rig, assert_nothing_malformed, connect, generator, statuses};
use crate::raw::{Application, Proxy, settings};
use crate::support::attack::bounded;
use crate::support::recorder::Seen;

#[test]
fn each_odd_length_and_coding_is_refused_or_forwarded_as_one() {
    let rig = Rig::start();
    let (plain, chunks) =
        (HIDDEN.to_owned(), format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len()));
    let (mut admitted, mut refused) = (0, 0);
    for line in generator::LENGTHS.iter().chain(&generator::CODINGS) {
        for (place, body) in [(OWN, &plain), (OWN, &chunks), (FULL, &plain), (FULL, &chunks)] {
            let line = line.replace('#', &body.len().to_string());
            let got = statuses(
                &rig,
                &format!("POST {place} HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n{body}"),
            );
            if got[0] == 200 { admitted += 1 } else { refused += 1 }
        }
    }
    assert!(admitted > 20 && refused > 100, "{admitted} admitted, {refused} refused");
    assert_nothing_malformed(&rig.finish());
}

#[test]
fn what_is_no_plain_request_is_refused_with_all_behind_it() {
    let rig = Rig::start();
    let head = "POST /own/ HTTP/1.1\r\nHost: a\r\n";
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let long = "x".repeat(70_000);
    for (sent, status) in [
        // Lines
        ("GET /own/\r\n".to_owned(), 400),
        ("GET /own/ HTTP/0.9\r\n\r\n".to_owned(), 400),
        ("GET /own/ HTTP/1.2\r\n\r\n".to_owned(), 400),
        ("GET  /own/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET /own/ x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET\t/own/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET /own/\0 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET /own/\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET /own/\r HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("G(ET /own/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("\u{e4} /own/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        (format!("GET /own/{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 431),
        (format!("{long} /own/ HTTP/1.1\r\nHost: a\r\n\r\n"), 431),
        (format!("{head}X: {long}\r\n\r\n"), 431),
        // Headers
        (format!("{head}X\r\n\r\n"), 400),
        (format!("{head}: 1\r\n\r\n"), 400),
        (format!("{head}X Y: 1\r\n\r\n"), 400),
        (format!("{head}X\u{e4}: 1\r\n\r\n"), 400),
        (format!("{head}X\u{1}: 1\r\n\r\n"), 400),
        (format!("{head}X: a\rb\r\n\r\n"), 400),
        (format!("{head}X: a\r\r\n\r\n"), 400),
        (format!("{head}X: \u{1}\r\n\r\n"), 400),
        (format!("{head}X: \u{7f}\r\n\r\n"), 400),
        (format!("{head}X: a\r\n\tb\r\n\r\n"), 400),
        (head.replace("\r\n", "\r") + "\r\r", 400),
        (format!("{head}Content-Length: 9223372036854775808\r\n\r\n"), 413),
        // Chunks
        (format!("{chunked}10000000000000005\r\nhello\r\n0\r\n\r\n"), 400),
        (format!("{chunked}-5\r\nhello\r\n0\r\n\r\n"), 400),
        (format!("{chunked} 5\r\nhello\r\n0\r\n\r\n"), 400),
        (format!("{chunked}0x5\r\nhello\r\n0\r\n\r\n"), 400),
        (format!("{chunked}5;a\nb\r\nhello\r\n0\r\n\r\n"), 400),
        (format!("{chunked}5;{long}\r\nhello\r\n0\r\n\r\n"), 400),
        (format!("{chunked}4\r\nhello\r\n0\r\n\r\n"), 400),
        (format!("{chunked}6\r\nhello\r\n0\r\n\r\n"), 400),
        (format!("{chunked}5\r\nhello0\r\n\r\n"), 400),
        (format!("{chunked}5\r\nhello\r\n"), 400),
        (format!("{chunked}\r\n0\r\n\r\n"), 400),
        (format!("{chunked}0\r\nX: {long}\r\n\r\n"), 400),
        (format!("{chunked}0\r\n{}\r\n", "X: 1\r\n".repeat(2_000)), 400),
        // It never ends, and is not waited for for ever.
        (format!("{chunked}{}", "0".repeat(1_000_000)), 400),
        (format!("{head}Content-Length: 9223372036854775807\r\n\r\n"), 413),
        (format!("{head}Content-Length: 1000000\r\n\r\n"), 408),
    ] {
        let start: String = sent.chars().take(120).collect();
        assert_eq!(statuses(&rig, &sent), [status], "{start:?}");
    }
    // What begins as HTTP/2 does, and is none.
    assert_eq!(statuses(&rig, "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"), [400]);
    assert_nothing_malformed(&rig.finish());
}

#[test]
fn what_is_odd_but_plain_is_one_request_and_those_behind_it_go_on() {
    let rig = Rig::start();
    let head = "POST /own/ HTTP/1.1\r\nHost: a\r\n";
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n");
    for (sent, got) in [
        ("\r\n\r\nGET /own/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), &[200, 200][..]),
        ("GET /own/ HTTP/1.1\nHost: a\nX: 1\n\n".to_owned(), &[200, 200]),
        ("g!#$%&'*+-.^_`|~1 /own/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), &[200, 200]),
        ("GET /own/\u{e4}?\u{e4}=\"{}<>\\^` HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), &[400]),
        ("GET /own/?a=\"{}\\^`| HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), &[400]),
        ("GET http://b/own/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), &[200, 200]),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), &[405, 200]),
        (
            format!(
                "CONNECT a:80 HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{HIDDEN}",
                HIDDEN.len()
            ),
            &[405, 200],
        ),
        ("GET /own/ HTTP/1.0\r\n\r\n".to_owned(), &[200]),
        (
            format!(
                "POST /own/ HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: {}\r\n\r\n{HIDDEN}",
                HIDDEN.len()
            ),
            &[200, 200],
        ),
        (format!("{head}Content-Length: 000{}\r\n\r\n{HIDDEN}", HIDDEN.len()), &[200, 200]),
        (format!("{head}Content-Length: 00\r\n\r\n"), &[200, 200]),
        (
            format!(
                "{head}Upgrade: websocket\r\nConnection: Upgrade, Content-Length\r\nContent-Length: {}\r\n\r\n{HIDDEN}",
                HIDDEN.len()
            ),
            &[200, 200],
        ),
        (format!("{chunked}\r\n5;a=\"b;c\"\r\nhello\r\n00000000000000000000\r\n\r\n"), &[200, 200]),
        (
            format!(
                "{chunked}Trailer: Content-Length, Transfer-Encoding, Cookie, Authorization, Host, X-Forwarded-For, X_A, X-A\r\n\r\n0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nCookie: sessionid=1\r\nAuthorization: x\r\nHost: b\r\nX-Forwarded-For: 192.0.2.1\r\nX_A: 1\r\nX-A: 1\r\n\r\n"
            ),
            &[200],
        ),
        // A refusal in the middle, whatever came with what was refused.
        (
            format!(
                "{head}\r\nPOST {FULL} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{HIDDEN}{head}\r\n",
                HIDDEN.len()
            ),
            &[200, 429, 200, 200],
        ),
        (
            format!(
                "POST {FULL} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{HIDDEN}\r\n0\r\n\r\n{head}\r\n",
                HIDDEN.len()
            ),
            &[429],
        ),
        (
            format!(
                "POST {FULL} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n{HIDDEN}{head}\r\n",
                HIDDEN.len()
            ),
            &[429],
        ),
        (
            format!(
                "POST {FULL} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{}{head}\r\n",
                4000 * HIDDEN.len(),
                HIDDEN.repeat(4000)
            ),
            &[429],
        ),
        (
            format!(
                "POST {FULL} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{}",
                format!("{:x}\r\n{HIDDEN}\r\n", HIDDEN.len()).repeat(4000)
            ),
            &[429],
        ),
    ] {
        let start: String = sent.chars().take(120).collect();
        assert_eq!(statuses(&rig, &sent), got, "{start:?}");
    }
    assert_nothing_malformed(&rig.finish());
}

/// hyper takes trailers to end at CRLF CRLF, and reads no further in them than to the first empty
/// line: what is between is the next request to whoever sees the end where it is.
#[test]
fn trailers_that_end_twice_hide_nothing() {
    let rig = Rig::start();
    let inner = format!("POST /own/ HTTP/1.1\r\nHost: a\r\nContent-Length: {}", HIDDEN.len());
    for trailers in ["\n", "X-A: 1\n\n", "X-A: 1\r\nX-B: 2\n\n", "X-A: 1\r\n"] {
        for place in [OWN, FULL] {
            let head =
                format!("POST {place} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            let sent = format!("{head}2\r\nhi\r\n0\r\n{trailers}{inner}\r\n\r\n{HIDDEN}");
            let status = if place == OWN { 200 } else { 429 };
            assert!(
                matches!(*statuses(&rig, &sent), [only] if only == status || only == 400),
                "{sent:?}"
            );
        }
    }
    assert_nothing_malformed(&rig.finish());
}

/// Zeros in front of a chunk's size bring it no nearer: they are no progress.
#[test]
fn a_chunk_size_that_never_ends_is_not_waited_for() {
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    settings.downstream_limits.body_timeout = Duration::from_millis(300);
    let proxy = Proxy::start(settings);
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut wire = application.accept();
    wire.head();
    let (done, stopped) = mpsc::channel::<()>();
    let mut dripping = TcpStream::try_clone(client.stream()).expect("a second handle");
    let drip = thread::spawn(move || {
        // The pause is the attack's: each zero comes well before the time is up.
        while stopped
            .recv_timeout(Duration::from_millis(20))
            .is_err_and(|e| e == RecvTimeoutError::Timeout)
        {
            if dripping.write_all(b"0").is_err() {
                return;
            }
        }
    });
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    assert_eq!(proxy.failure(), "upload-stalled");
    assert_eq!(wire.rest(), "");
    drop(done);
    drip.join().expect("no panic");
}

/// A client that hangs up within a request has sent none, wherever it does.
#[test]
fn a_request_that_is_cut_at_any_byte_is_none() {
    let rig = Rig::start();
    let before = rig.recorder.seen().len();
    let whole = "POST /own/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let fixed = "POST /own/ HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nhello!";
    for whole in [whole, fixed] {
        for length in 0..whole.len() {
            for reset in [false, true] {
                let mut stream = connect(rig.proxy.target(), rig.source());
                stream.write_all(&whole.as_bytes()[..length]).expect("it is open");
                if reset {
                    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("an option");
                } else {
                    stream.shutdown(Shutdown::Write).expect("it is open");
                    let _ = stream.read(&mut [0; 1024]);
                }
            }
        }
    }
    let seen = rig.finish();
    assert_nothing_malformed(&seen);
    let admitted = seen[before..].iter().filter(|seen| matches!(seen, Seen::Request(_))).count();
    let attack = "requests cut at every byte, by FIN and RST";
    bounded(attack, "requests that reach the application", 0, admitted as u64);
}
