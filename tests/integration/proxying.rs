//! What goes through, and in what form.

use crate::raw::{Application, OK, Proxy, has, settings, values};

const GET: &str = "GET / HTTP/1.1\r\nHost: site.example\r\n\r\n";

#[test]
fn a_connection_carries_request_after_request_on_both_sides() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    let mut wire = None;
    for number in 0..3 {
        client.send(format!("GET /{number}?q HTTP/1.1\r\nHost: site.example\r\n\r\n"));
        let wire = wire.get_or_insert_with(|| application.accept());
        let head = wire.head();
        assert!(head.starts_with(&format!("GET /{number}?q HTTP/1.1\r\n")), "{head}");
        assert_eq!(values(&head, "host"), ["site.example"]);
        assert_eq!(values(&head, "x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(values(&head, "x-forwarded-proto"), ["http"]);
        assert_eq!(values(&head, "x-forwarded-host"), ["site.example"]);
        wire.send(OK);
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(!has(&head, "connection"), "{head}");
        assert_eq!(client.exactly(2), b"ok");
    }
    assert!(application.is_left_alone());
}

#[test]
fn what_connection_names_goes_except_what_everybody_must_see() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    client.send(
        "GET / HTTP/1.1\r\nHost: site.example\r\nCookie: sessionid=1\r\nAuthorization: Basic x\r\n\
         Connection: keep-alive, X-One\r\nConnection: x-TWO ,Cookie, Host, Authorization\r\n\
         Connection: X-Forwarded-For, (\r\nX-One: 1\r\nX-Two: 2\r\nX-Two: 3\r\nX-Three: 3\r\n\
         Keep-Alive: 1\r\nProxy-Connection: close\r\nUpgrade: h2c\r\nTE: gzip\r\n\
         Proxy-Authorization: Basic x\r\n\r\n",
    );
    let mut wire = application.accept();
    let head = wire.head();
    for gone in [
        "connection",
        "x-one",
        "x-two",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "te",
        "proxy-authorization",
    ] {
        assert!(!has(&head, gone), "{gone} in {head}");
    }
    for kept in ["host", "cookie", "authorization", "x-three", "x-forwarded-for"] {
        assert!(has(&head, kept), "no {kept} in {head}");
    }
    wire.send(
        "HTTP/1.1 200 OK\r\nConnection: X-Inside\r\nConnection: keep-alive, Set-Cookie\r\n\
         X-Inside: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n\
         Set-Cookie: a=1\r\nX-Outside: 1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",
    );
    let head = client.head();
    for gone in ["connection", "x-inside", "keep-alive", "proxy-authenticate"] {
        assert!(!has(&head, gone), "{gone} in {head}");
    }
    assert_eq!(values(&head, "set-cookie"), ["a=1", "b=2"]);
    assert!(has(&head, "x-outside"), "{head}");
}

#[test]
fn names_that_wsgi_cannot_tell_apart_are_dropped() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    client.send(
        "GET / HTTP/1.1\r\nHost: site.example\r\nX_Forwarded_For: 192.0.2.1\r\n\
         X-Forwarded_Proto: https\r\nCONTENT_LENGTH: 5\r\nProxy: http://evil.example\r\n\r\n",
    );
    let head = application.accept().head();
    assert!(!head.contains('_'), "{head}");
    assert!(!has(&head, "proxy"), "{head}");
    assert_eq!(values(&head, "x-forwarded-for"), ["127.0.0.1"]);
}

#[test]
fn a_trusted_peer_says_who_the_client_is() {
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let proxy = Proxy::start(settings);
    let mut client = proxy.connect();
    client.send(
        "GET / HTTP/1.1\r\nHost: inside\r\nX-Forwarded-For: 192.0.2.1\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: site.example\r\n\r\n",
    );
    let head = application.accept().head();
    assert_eq!(values(&head, "x-forwarded-for"), ["192.0.2.1, 127.0.0.1"]);
    assert_eq!(values(&head, "x-forwarded-proto"), ["https"]);
    assert_eq!(values(&head, "x-forwarded-host"), ["site.example"]);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    client.send(
        "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
         GET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    let mut wire = application.accept();
    assert!(wire.head().starts_with("POST /1 "));
    assert_eq!(wire.exactly(3), b"abc");
    for number in 2..=4 {
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{}", number - 1));
        assert!(client.head().starts_with("HTTP/1.1 200 OK\r\n"));
        assert_eq!(client.exactly(1), (number - 1).to_string().as_bytes());
        if number < 4 {
            assert!(wire.head().starts_with(&format!("GET /{number} ")));
        }
    }
}

#[test]
fn responses_without_a_body_leave_the_connection_usable() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    let mut wire = None;
    for (method, answer, length) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n", Some("12345")),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n", None),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Some("0")),
    ] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        let wire = wire.get_or_insert_with(|| application.accept());
        wire.head();
        wire.send(answer);
        let head = client.head();
        assert_eq!(head.lines().next(), answer.lines().next());
        assert_eq!(values(&head, "content-length"), Vec::from_iter(length), "{answer}");
    }
    assert!(application.is_left_alone());
}

#[test]
fn interim_responses_are_not_relayed() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    client.send(GET);
    let mut wire = application.accept();
    wire.head();
    wire.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
    wire.send(OK);
    assert!(client.head().starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn a_response_gets_one_framing() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    for (answer, length) in [
        ("Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", vec!["2"]),
        ("Content-Length: 2, 2\r\n\r\nok", vec!["2"]),
        ("Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", vec![]),
    ] {
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let mut wire = application.accept();
        wire.head();
        wire.send(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{answer}"));
        drop(wire);
        let head = client.head();
        assert_eq!(values(&head, "content-length"), length, "{head}");
        assert_eq!(has(&head, "transfer-encoding"), length.is_empty(), "{head}");
        let body = client.rest();
        assert_eq!(body, if length.is_empty() { "2\r\nok\r\n0\r\n\r\n" } else { "ok" });
    }
}

#[test]
fn an_absolute_target_names_the_host() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    let mut wire = None;
    for (target, sent) in [
        ("http://site.example:80/a//b?c=%2f", "/a//b?c=%2f"),
        ("http://site.example:80", "/"),
        ("http://site.example:80?c", "/?c"),
    ] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: other.example\r\n\r\n"));
        let wire = wire.get_or_insert_with(|| application.accept());
        let head = wire.head();
        assert!(head.starts_with(&format!("GET {sent} HTTP/1.1\r\n")), "{head}");
        assert_eq!(values(&head, "host"), ["site.example:80"]);
        assert_eq!(values(&head, "x-forwarded-host"), ["site.example:80"]);
        wire.send(OK);
        client.head();
        client.exactly(2);
    }
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(wire.unwrap().head().starts_with("OPTIONS * HTTP/1.1\r\n"));
}

#[test]
fn what_cannot_be_forwarded_in_one_plain_form_is_refused() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET http://a/ HTTP/1.1\r\n\r\n", 400),
        ("GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", 400),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
    ] {
        let mut client = proxy.connect();
        client.send(request);
        let head = client.head();
        let line = head.lines().next().unwrap_or_default();
        assert!(line.contains(&format!(" {status} ")), "{request:?} got {line:?}");
    }
    assert!(application.is_left_alone());
}

#[test]
fn two_framings_at_once_reach_the_application_as_one() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    for headers in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\nContent-Length: 4",
    ] {
        let mut client = proxy.connect();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        ));
        client.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut wire = application.accept();
        let head = wire.head();
        assert_eq!(values(&head, "transfer-encoding"), ["chunked"]);
        assert!(!has(&head, "content-length"), "{head}");
        assert_eq!(wire.until("0\r\n\r\n"), "5\r\nhello\r\n0\r\n\r\n");
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        // The connection ends: whatever came behind was not taken for a request.
        assert_eq!(client.rest().matches("HTTP/1.1").count(), 1);
        assert_eq!(wire.rest(), "");
    }
    assert!(application.is_left_alone());
}

#[test]
fn clients_of_http_1_0_are_served() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.0\r\n\r\n");
    let mut wire = application.accept();
    let head = wire.head();
    assert!(head.starts_with("GET / HTTP/1.1\r\n"), "{head}");
    assert_eq!(values(&head, "host"), [proxy.upstream_host()]);
    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let answer = client.rest();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");

    let mut client = proxy.connect();
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
        wire.head();
        wire.send(OK);
        assert_eq!(values(&client.head(), "connection"), ["keep-alive"]);
        client.exactly(2);
    }
}

#[test]
fn an_application_of_http_1_0_is_asked_anew_each_time() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    for _ in 0..2 {
        client.send(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        );
        let mut wire = application.accept();
        assert_eq!(values(&wire.head(), "transfer-encoding"), ["chunked"]);
        wire.until("0\r\n\r\n");
        wire.send("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok");
        assert!(client.head().starts_with("HTTP/1.1 200 OK\r\n"));
        client.exactly(2);
        assert_eq!(wire.rest(), "");
    }
}

#[test]
fn an_upgrade_is_neither_asked_for_nor_relayed() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.send(request);
    let mut wire = application.accept();
    let head = wire.head();
    assert!(!has(&head, "upgrade") && !has(&head, "connection"), "{head}");
    wire.send(OK);
    client.head();
    client.exactly(2);
    client.send(request);
    wire.head();
    wire.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 502 "));
    assert_eq!(proxy.failure(), "unrelayable");
}

#[test]
fn own_replies_come_in_the_form_that_is_asked_for() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    for (accept, form) in [
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
        ("application/json", "application/json"),
        ("*/*", "text/plain; charset=utf-8"),
    ] {
        let mut client = proxy.connect();
        client.send(format!("GET * HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n"));
        let head = client.head();
        assert_eq!(values(&head, "content-type"), [form]);
        assert_eq!(values(&head, "cache-control"), ["no-store"]);
        let length: usize = values(&head, "content-length")[0].parse().unwrap();
        assert!(length > 0);
        client.exactly(length);
        // The connection goes on; a reply to HEAD tells the length and has no body.
        client.send("HEAD * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert!(client.head().starts_with("HTTP/1.1 400 "));
        assert_eq!(client.rest(), "");
    }
}
