//! Responses that break off, come in pieces, come early, or come when nobody has asked.

use std::thread;

use floodwall::proxy::settings::UpstreamClient;

use super::{is_used_again, whole};
use crate::raw::{Application, CLIENTS, HangUp, OK, Proxy, Wire};

/// Of each framing that says where the end is.
const ANSWERS: [&str; 3] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a\r\nhello\r\n0\r\nA: b\r\n\r\n",
    "HTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
];

fn ask(proxy: &Proxy) -> Wire {
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client
}

#[test]
fn a_response_that_is_cut_at_any_byte_is_never_whole() {
    for client in CLIENTS {
        let application = Application::tcp();
        for answer in ANSWERS {
            for length in 0..answer.len() {
                for how in [HangUp::Finish, HangUp::Reset] {
                    // Requests without an answer use up a client's budget.
                    let proxy = Proxy::speaking(&application, client);
                    let mut asking = ask(&proxy);
                    let mut wire = application.accept();
                    wire.head();
                    wire.send(&answer[..length]);
                    wire.hang_up(how);
                    let got = asking.rest();
                    let found = whole(&got, "GET").map(|(status, _)| status);
                    let is_cut = found.is_none_or(|status| status == 502);
                    assert!(is_cut, "{client:?}, {how:?}, {:?}: {got:?}", &answer[..length]);
                }
            }
        }
    }
}

#[test]
fn a_response_that_comes_in_single_bytes_is_whole() {
    for client in CLIENTS {
        let application = Application::tcp();
        let proxy = Proxy::speaking(&application, client);
        for answer in ANSWERS {
            let mut asking = ask(&proxy);
            let mut wire = application.accept();
            wire.head();
            for byte in answer.as_bytes() {
                wire.send([*byte]);
                // It is to be read by itself.
                thread::yield_now();
            }
            let got = asking.rest();
            assert_eq!(whole(&got, "GET"), Some((200, "hello".to_owned())), "{client:?}: {got:?}");
            wire.hang_up(HangUp::Finish);
            // The next is to come on a connection of its own.
            drop(application.accept_more());
        }
    }
}

/// Nothing is sent on it, not even what may be sent twice: nobody would know whose answer came.
#[test]
fn a_pooled_connection_on_which_something_came_is_not_used() {
    type Disturb = fn(Wire) -> Option<Wire>;
    let disturbances: [Disturb; 4] = [
        |wire| {
            wire.hang_up(HangUp::Finish);
            None
        },
        |wire| {
            wire.hang_up(HangUp::Reset);
            None
        },
        |mut wire| {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
            Some(wire)
        },
        |mut wire| {
            wire.send("\n");
            Some(wire)
        },
    ];
    for disturb in disturbances {
        let application = Application::tcp();
        let proxy = Proxy::speaking(&application, UpstreamClient::Own);
        let mut asking = ask(&proxy);
        let mut wire = application.accept();
        wire.head();
        wire.send(OK);
        asking.rest();
        // What was sent is there when the next request comes: it is one machine.
        let kept = disturb(wire);
        let mut asking = proxy.connect();
        asking.send(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody",
        );
        let mut fresh = application.accept();
        assert!(fresh.head().starts_with("POST / "));
        assert_eq!(fresh.exactly(4), b"body");
        fresh.send(OK);
        assert!(asking.rest().ends_with("\r\n\r\nok"));
        if let Some(mut kept) = kept {
            assert_eq!(kept.rest(), "", "a request came on it");
        }
        assert_eq!(proxy.told(), 0, "a failure that is none");
    }
}

/// The application reads on, and has the connection for another request then, and not before.
#[test]
fn behind_an_early_answer_a_connection_is_used_when_it_has_taken_the_request() {
    for client in CLIENTS {
        for (framing, first, second) in [
            ("Content-Length: 8", "half", "half"),
            ("Transfer-Encoding: chunked", "4\r\nhalf\r\n", "4\r\nhalf\r\n0\r\n\r\n"),
        ] {
            let application = Application::tcp();
            let proxy = Proxy::speaking(&application, client);
            let mut uploading = proxy.connect();
            uploading.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{first}"));
            let mut wire = application.accept();
            wire.head();
            wire.until("half");
            wire.send(OK);
            uploading.until("\r\n\r\nok");
            let mut other = ask(&proxy);
            let mut fresh = application.accept();
            fresh.head();
            fresh.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
            other.rest();
            uploading.send(second);
            wire.until(if framing.starts_with('C') { "half" } else { "\r\n0\r\n\r\n" });
            let _third = ask(&proxy);
            assert!(is_used_again(&application, &wire), "{client:?}, {framing}");
        }
    }
}

/// A client that reads nothing before it has sent everything, and an application that answers while
/// it reads, at length.
#[test]
fn an_answer_that_nobody_reads_yet_does_not_hold_up_the_request() {
    /// More than all buffers between the two.
    const LONG: usize = 24 << 20;
    for client in CLIENTS {
        let application = Application::tcp();
        let proxy = Proxy::speaking(&application, client);
        let mut uploading = proxy.connect();
        uploading.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LONG}\r\n\r\n"));
        let mut wire = application.accept();
        wire.head();
        let writing = wire.stream().try_clone().expect("a socket can be had twice");
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut wire = Wire::tcp(writing);
                wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n"));
                wire.send(vec![b'y'; LONG]);
            });
            scope.spawn(move || {
                assert!(wire.exactly(LONG).iter().all(|byte| *byte == b'x'));
                wire
            });
            uploading.send(vec![b'x'; LONG]);
            assert!(uploading.head().starts_with("HTTP/1.1 200 "), "{client:?}");
            assert!(uploading.exactly(LONG).iter().all(|byte| *byte == b'y'));
        });
    }
}

/// Not when the response timeout has passed: its end would never be found.
#[test]
fn a_head_with_a_bare_line_feed_is_refused_as_soon_as_that_is_there() {
    for pieces in [&["HTTP/1.1 200 OK\r\nA: b\n"][..], &["HTTP/1.1 200 O", "K\r\nA: b", "\n"]] {
        let application = Application::tcp();
        let proxy = Proxy::speaking(&application, UpstreamClient::Own);
        let mut asking = ask(&proxy);
        let mut wire = application.accept();
        wire.head();
        for piece in pieces {
            wire.send(piece);
            thread::yield_now();
        }
        assert!(asking.rest().starts_with("HTTP/1.1 502 "), "{pieces:?}");
        assert_eq!(proxy.failure(), "closed");
    }
}
