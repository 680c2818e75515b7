//! HTTP/2 from clients, HTTP/1.1 to the application: what becomes of a request and its response.

use std::process::Command;

use crate::raw::{Application, OK, Proxy, Wire, has, settings, values};
use crate::support::frames::{Answer, Frames, NO_ERROR, PROTOCOL_ERROR};

fn connect(proxy: &Proxy) -> Frames {
    Frames::connect(proxy.address(), &[])
}

/// One exchange; the head that the application has seen, and what the client got.
fn exchange(
    application: &Application,
    wire: &mut Option<Wire>,
    (client, stream): (&mut Frames, u32),
    fields: &[(&str, &str)],
    answer: &str,
) -> (String, Answer) {
    client.get(stream, fields);
    let wire = wire.get_or_insert_with(|| application.accept());
    let head = wire.head();
    wire.send(answer);
    (head, client.answer(stream))
}

#[test]
fn a_request_reaches_the_application_as_one_of_http_1_1() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let (mut client, mut wire) = (connect(&proxy), None);
    let fields = [
        (":path", "/a//b?c=%2f"),
        ("cookie", "a=1"),
        ("x-one", "1"),
        ("cookie", "sessionid=abc"),
        ("te", "trailers"),
        ("cookie", "b=2; c=3"),
        ("expect", "100-continue"),
        ("x_forwarded_for", "192.0.2.1"),
        ("proxy", "http://evil.example"),
    ];
    let (head, answer) = exchange(&application, &mut wire, (&mut client, 1), &fields, OK);
    assert!(head.starts_with("GET /a//b?c=%2f HTTP/1.1\r\n"), "{head}");
    assert_eq!(values(&head, "host"), ["site.example"]);
    assert_eq!(values(&head, "cookie"), ["a=1; sessionid=abc; b=2; c=3"]);
    assert_eq!(values(&head, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(values(&head, "x-forwarded-proto"), ["http"]);
    assert_eq!(values(&head, "x-forwarded-host"), ["site.example"]);
    assert_eq!((values(&head, "te"), values(&head, "x-one")), (vec!["trailers"], vec!["1"]));
    for gone in ["expect", "proxy", "transfer-encoding", "content-length", "http2-settings"] {
        assert!(!has(&head, gone), "{gone} in {head}");
    }
    assert!(!head.contains(":authority") && !head.contains('_'), "{head}");
    assert_eq!((answer.status.as_str(), answer.text.as_str()), ("200", "ok"));
    assert_eq!((answer.value("content-length"), answer.reset), (Some("2"), None));

    for (fields, line, host) in [
        (vec![(":method", "OPTIONS"), (":path", "*")], "OPTIONS * HTTP/1.1", "site.example"),
        (vec![(":authority", ""), ("host", "b.example")], "GET / HTTP/1.1", "b.example"),
        (vec![(":authority", "C.example:80"), ("host", "c.example:80")], "GET", "C.example:80"),
        (vec![(":path", "//other.example/")], "GET //other.example/ HTTP/1.1", "site.example"),
    ] {
        let stream = 3 + 2 * u32::try_from(host.len() + line.len()).unwrap();
        let mut client = connect(&proxy);
        let (head, answer) = exchange(&application, &mut wire, (&mut client, stream), &fields, OK);
        assert!(head.starts_with(line), "{head}");
        assert_eq!(values(&head, "host"), [host]);
        assert_eq!(answer.status, "200");
    }
    assert!(application.is_left_alone());
}

/// What RFC 9113 calls malformed never becomes a request of HTTP/1.1, whatever that would be.
#[test]
fn what_is_malformed_never_reaches_the_application() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let long = format!("/{}", "x".repeat(9_000));
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[(":method", "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET")], "reset"),
        (&[(":method", "")], "reset"),
        (&[(":method", "GET"), (":method", "GET")], "reset"),
        (&[(":path", "/ HTTP/1.1\r\nx: y")], "reset"),
        (&[(":path", "/a b")], "reset"),
        (&[(":path", "/\0")], "reset"),
        (&[(":path", "")], "reset"),
        (&[(":path", "a")], "reset"),
        (&[(":path", "http://other.example/")], "reset"),
        (&[(":path", "*")], "400"),
        (&[(":path", &long)], "414"),
        (&[(":scheme", "")], "reset"),
        (&[(":scheme", "ftp")], "400"),
        (&[(":scheme", "http://a/ HTTP/1.1\r\n")], "reset"),
        (&[(":authority", "")], "400"),
        (&[(":authority", "user@site.example")], "400"),
        (&[(":authority", "a b")], "reset"),
        (&[(":authority", "a\r\nx: y")], "reset"),
        (&[("host", "other.example")], "400"),
        (&[("host", "site.example"), ("host", "site.example")], "400"),
        (&[(":authority", ""), ("host", "a"), ("host", "b")], "400"),
        (&[(":authority", ""), ("host", "a/b")], "400"),
        (&[(":status", "200")], "reset"),
        (&[(":other", "x")], "reset"),
        (&[("X-Capital", "x")], "reset"),
        (&[("x y", "x")], "reset"),
        (&[("x:", "x")], "reset"),
        (&[("", "x")], "reset"),
        (&[("x", "a\r\ny: b")], "reset"),
        (&[("x", "a\nb")], "reset"),
        (&[("x", "a\0")], "reset"),
        (&[("x", " a")], "400"),
        (&[("cookie", "a=1\t")], "400"),
        (&[("connection", "close")], "reset"),
        (&[("connection", "x-forwarded-for")], "reset"),
        (&[("keep-alive", "1")], "reset"),
        (&[("proxy-connection", "close")], "reset"),
        (&[("transfer-encoding", "chunked")], "reset"),
        (&[("upgrade", "h2c")], "reset"),
        (&[("te", "gzip")], "reset"),
        (&[("content-length", "5")], "reset"),
        (&[("content-length", "5, 5")], "reset"),
        (&[("content-length", "+0")], "reset"),
        (&[("content-length", "0"), ("content-length", "1")], "reset"),
        (&[(":method", "CONNECT"), (":scheme", ""), (":path", "")], "405"),
        (&[(":method", "CONNECT"), (":protocol", "websocket")], "501"),
    ];
    for (fields, expected) in cases {
        let mut client = connect(&proxy);
        client.get(1, fields);
        // A stream error, or an error of the whole connection, or a refusal.
        let seen = loop {
            let event = client.event();
            match event["event"].as_str() {
                Some("headers") => break event["fields"][0][1].as_str().unwrap().to_owned(),
                Some("reset" | "goaway") if event["code"] == PROTOCOL_ERROR => {
                    break "reset".to_owned();
                }
                Some("reset" | "goaway" | "closed") => break event.to_string(),
                _ => {}
            }
        };
        assert_eq!(seen, *expected, "{fields:?}");
    }
    assert!(application.is_left_alone());
}

#[test]
fn bodies_go_both_ways_with_their_trailers() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = connect(&proxy);
    client.request(1, &[(":method", "POST"), ("trailer", "x-sum"), ("te", "trailers")], false);
    client.data(1, "hello", false);
    client.trailers(1, &[("x-sum", "1"), ("cookie", "sessionid=late"), ("x_y", "2")]);
    let mut wire = application.accept();
    let head = wire.head();
    assert_eq!(values(&head, "transfer-encoding"), ["chunked"]);
    assert!(!has(&head, "content-length"), "{head}");
    assert_eq!(wire.until("\r\n0\r\n"), "5\r\nhello\r\n0\r\n");
    assert_eq!(wire.until("\r\n\r\n"), "x-sum: 1\r\n\r\n");
    wire.send(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Inside\r\nKeep-Alive: timeout=5\r\n\
         X-Inside: 1\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         2\r\nok\r\n0\r\nX-Sum: 2\r\nConnection: close\r\n\r\n",
    );
    let answer = client.answer(1);
    assert_eq!((answer.status.as_str(), answer.text.as_str()), ("200", "ok"));
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "2".to_owned())]);
    for gone in ["connection", "keep-alive", "x-inside", "transfer-encoding"] {
        assert_eq!(answer.value(gone), None, "{answer:?}");
    }

    client.request(
        3,
        &[(":method", "POST"), ("content-length", "2"), ("content-length", "2")],
        false,
    );
    client.data(3, "hi", true);
    let head = wire.head();
    assert_eq!(values(&head, "content-length"), ["2"]);
    assert!(!has(&head, "transfer-encoding"), "{head}");
    assert_eq!(wire.exactly(2), b"hi");
    wire.send(OK);
    assert_eq!(client.answer(3).status, "200");
}

#[test]
fn a_body_of_another_length_than_said_is_cut_off_on_both_sides() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    for (data, length) in [("hello", "3"), ("hello", "9")] {
        let mut client = connect(&proxy);
        client.request(1, &[(":method", "POST"), ("content-length", length)], false);
        let mut wire = application.accept();
        assert_eq!(values(&wire.head(), "content-length"), [length]);
        client.data(1, data, true);
        assert_eq!(client.answer(1).reset, Some(PROTOCOL_ERROR));
        // Nothing can stand behind it there: the connection ends.
        assert!(wire.rest().len() < length.parse().unwrap(), "a request that looks whole");
    }
}

#[test]
fn what_has_no_body_has_none_here_either() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let (mut client, mut wire) = (connect(&proxy), None);
    for (at, (method, answer, length)) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n", Some("12345")),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n", None),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Some("0")),
        ("GET", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Some("0")),
    ]
    .into_iter()
    .enumerate()
    {
        let stream = 1 + 2 * u32::try_from(at).unwrap();
        let client = (&mut client, stream);
        let (_, answer) = exchange(&application, &mut wire, client, &[(":method", method)], answer);
        assert_eq!((answer.bytes, answer.value("content-length")), (0, length), "{answer:?}");
        assert_eq!(answer.reset, None);
    }
    // A reply of our own.
    client.get(101, &[(":method", "HEAD"), ("host", "other.example")]);
    let answer = client.answer(101);
    assert_eq!((answer.status.as_str(), answer.bytes), ("400", 0));
    assert!(answer.value("content-length").is_some_and(|length| length != "0"), "{answer:?}");
    assert!(application.is_left_alone());
}

#[test]
fn more_headers_than_allowed_are_refused() {
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    settings.http2.header_list_bytes = 16 * 1024;
    let proxy = Proxy::start(settings);
    let mut client = connect(&proxy);
    let many: Vec<_> = (0..101).map(|_| ("x", "y")).collect();
    client.get(1, &many);
    assert_eq!(client.answer(1).status, "431");
    assert_eq!(proxy.failure(), "headers");
    // Crumbs are one line.
    let crumbs: Vec<_> = (0..200).map(|_| ("cookie", "a=b")).collect();
    client.get(3, &crumbs);
    let mut wire = application.accept();
    assert_eq!(values(&wire.head(), "cookie")[0].matches("; ").count(), 199);
    wire.send(OK);
    assert_eq!(client.answer(3).status, "200");
    let long = "x".repeat(160);
    let fields: Vec<_> = (0..90).map(|_| ("y", &*long)).collect();
    client.get(5, &fields);
    let answer = client.answer(5);
    assert_eq!(answer.status, "431");
    assert!(application.is_left_alone());
}

#[test]
fn exchanges_run_at_once_and_end_in_any_order() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = connect(&proxy);
    client.get(1, &[(":path", "/slow")]);
    let mut slow = application.accept();
    slow.head();
    client.get(3, &[(":path", "/fast")]);
    let mut fast = application.accept();
    assert!(fast.head().starts_with("GET /fast "));
    fast.send(OK);
    assert_eq!(client.answer(3).status, "200");
    slow.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok");
    drop(slow);
    let answer = client.answer(1);
    assert!(answer.reset.is_some(), "what broke off must not look whole: {answer:?}");
    assert!(client.is_open(), "others go on");
}

/// What a client begins with is read as it comes, in pieces or not.
#[test]
fn what_is_spoken_is_found_out_from_the_first_bytes() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut whole = connect(&proxy);
    whole.get(1, &[]);
    let mut wire = application.accept();
    wire.head();
    wire.send(OK);
    assert_eq!(whole.answer(1).status, "200");

    let mut pieces = Frames::connect(proxy.address(), &["preface=no", "acknowledge=no"]);
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0" {
        pieces.flood(&[*byte], 1);
    }
    pieces.get(1, &[]);
    wire.head();
    wire.send(OK);
    assert_eq!(pieces.answer(1).status, "200");

    for (request, status) in [
        ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "200"),
        ("PRI / HTTP/1.1\r\nHost: a\r\n\r\n", "200"),
        ("PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n", "400"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", "400"),
    ] {
        for piece in [1, request.len()] {
            let mut client = proxy.connect();
            for bytes in request.as_bytes().chunks(piece) {
                client.send(bytes);
            }
            if status == "200" {
                wire.head();
                wire.send(OK);
            }
            let head = client.head();
            let version = if request.contains("HTTP/2") { "HTTP/1.1 4" } else { "HTTP/1.1 2" };
            assert!(head.starts_with(version), "{request:?} got {head}");
            assert!(head.split(' ').nth(1) == Some(status), "{request:?} got {head}");
        }
    }
    assert!(application.is_left_alone());
}

#[test]
fn where_it_is_switched_off_nothing_but_http_1_is_spoken() {
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    settings.http2.enabled = false;
    let proxy = Proxy::start(settings);
    let mut client = proxy.connect();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(client.rest().starts_with("HTTP/1.1 400 "));
    assert!(application.is_left_alone());
}

#[test]
fn a_stop_lets_streams_end_and_tells_the_client() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = connect(&proxy);
    // Acknowledges nothing, and has nothing running: it is not waited for.
    let idle = Frames::connect(proxy.address(), &["acknowledge=no"]);
    idle.await_event("settings");
    client.get(1, &[]);
    let mut wire = application.accept();
    wire.head();
    proxy.running().stop();
    assert_eq!(client.await_event("goaway")["code"], NO_ERROR);
    assert_eq!(idle.end(), [NO_ERROR]);
    assert_eq!(client.await_event("goaway")["last"], 1);
    wire.send(OK);
    assert_eq!(client.answer(1).text, "ok");
    client.end();
    assert_eq!(proxy.wait(), 0, "nothing was cut");
}

#[test]
fn a_client_that_resets_a_stream_ends_its_exchange_and_no_other() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = connect(&proxy);
    client.get(1, &[]);
    client.get(3, &[]);
    let (mut one, mut other) = (application.accept(), application.accept());
    if !one.head().is_empty() {
        one.send("HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\nbegun");
    }
    client.await_event("data");
    client.reset(1);
    client.reset(3);
    other.head();
    // The head of its response is waited for, and nobody reads the body.
    other.send("HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\nbegun");
    for mut wire in [one, other] {
        assert_eq!(wire.rest(), "");
    }
    client.get(5, &[]);
    let mut wire = application.accept();
    wire.head();
    wire.send(OK);
    assert_eq!(client.answer(5).status, "200");
}

/// Over a real client: curl, with bodies of some megabytes in both directions.
#[test]
fn curl_gets_and_sends_long_bodies_whole() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let body: String =
        (0..8 * 1024 * 1024_u32).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
    let folder = crate::support::folder::Folder::new("http2-curl");
    let file = folder.path().join("body");
    std::fs::write(&file, &body).unwrap();
    let curl = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--max-time", "20", "--http2-prior-knowledge"])
        .args([
            "--data-binary".as_ref(),
            format!("@{}", file.display()).as_ref() as &std::ffi::OsStr,
        ])
        .args(["--write-out", "%{stderr}%{http_version}"])
        .arg(format!("http://{}/", proxy.address()))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut wire = application.accept();
    assert_eq!(values(&wire.head(), "content-length"), [body.len().to_string()]);
    assert!(wire.exactly(body.len()) == body.as_bytes(), "the upload was changed");
    wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
    let output = std::thread::scope(|scope| {
        scope.spawn(|| wire.send(&body));
        curl.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout == body.as_bytes(), "the download was changed");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "2");
}
