//! Answers that are longer than they say: what is behind one must not answer another request.

use floodwall::proxy::settings::UpstreamClient;

use crate::raw::{Application, CLIENTS, HangUp, Proxy};
use crate::support::attack::bounded;

const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

/// A method, and an answer to it that is whole.
const ANSWERS: [(&str, &str); 11] = [
    ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
    ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("HEAD", "HTTP/1.1 200 OK\r\n\r\n"),
    ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
    ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
    ("GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
];

#[test]
fn bytes_behind_an_answer_answer_no_other_request() {
    let mut poisoned = 0;
    for (client, (method, answer)) in CLIENTS.into_iter().flat_map(|c| ANSWERS.map(|a| (c, a))) {
        let application = Application::tcp();
        let proxy = Proxy::speaking(&application, client);
        for extra in [POISON, "hello", "0\r\n\r\n", "\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
            for at_once in [true, false] {
                let mut asking = proxy.connect();
                asking.send(format!("{method} /first HTTP/1.1\r\nHost: a\r\n\r\n"));
                let mut wire = application.accept();
                wire.head();
                let status = &answer[9..12];
                if at_once {
                    wire.send(format!("{answer}{extra}"));
                    assert_eq!(&asking.head()[9..12], status, "{answer:?}");
                } else {
                    wire.send(answer);
                    assert_eq!(&asking.head()[9..12], status, "{answer:?}");
                    wire.send(extra);
                }
                if client == UpstreamClient::Hyper {
                    // Its task has to see it first.
                    assert_eq!(wire.rest(), "", "{answer:?} and then {extra:?}");
                }
                let mut other = proxy.connect();
                other.send("GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                let mut fresh = application.accept();
                fresh.head();
                fresh.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nmine");
                let got = other.rest();
                poisoned += u64::from(!got.ends_with("\r\n\r\nmine"));
                // Nothing can be sent on a connection that has been closed.
                assert_eq!(wire.rest(), "", "{answer:?} and then {extra:?}");
            }
        }
    }
    bounded(
        "bytes behind an answer, pooled connections",
        "answers to another request",
        0,
        poisoned,
    );
}

/// What follows on the client's own connection is its next answer, and nothing else.
#[test]
fn bytes_behind_an_answer_do_not_reach_the_client() {
    for (client, (method, answer)) in CLIENTS.into_iter().flat_map(|c| ANSWERS.map(|a| (c, a))) {
        let application = Application::tcp();
        let proxy = Proxy::speaking(&application, client);
        let mut client = proxy.connect();
        client.send(format!("{method} /first HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.send("GET * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let mut wire = application.accept();
        wire.head();
        wire.send(format!("{answer}{POISON}"));
        let got = client.rest();
        assert!(!got.contains("poison") && got.matches("HTTP/1.1 ").count() == 2, "{got:?}");
        assert!(got.contains("HTTP/1.1 400 "), "{got:?}");
    }
}

/// Its connection is in the middle of a request: whatever came next would be the rest of that.
#[test]
fn an_upload_that_breaks_off_behind_its_answer_leaves_no_connection() {
    for (framing, part) in
        [("Content-Length: 200", "hello"), ("Transfer-Encoding: chunked", "c8\r\nhello")]
    {
        for (client, how) in
            CLIENTS.into_iter().flat_map(|c| [HangUp::Finish, HangUp::Reset].map(|h| (c, h)))
        {
            let application = Application::tcp();
            let proxy = Proxy::speaking(&application, client);
            let mut client = proxy.connect();
            client.send(format!("POST /first HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{part}"));
            let mut wire = application.accept();
            wire.head();
            wire.until("hello");
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            client.until("\r\n\r\nok");
            // Not in the middle of the request, either.
            let mut other = proxy.connect();
            other.send("GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let mut fresh = application.accept();
            assert!(fresh.head().starts_with("GET /second "));
            client.hang_up(how);
            assert_eq!(wire.rest().trim(), "", "{framing}, {how:?}");
            fresh.hang_up(how);
        }
    }
}
