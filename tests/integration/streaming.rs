//! Bodies: long, slow, chunked, refused, cut.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::raw::{Application, OK, Proxy, has, settings, values};

/// More than all buffers between two ends of a connection hold, by far.
const ENDLESS: usize = 256 * 1024 * 1024;
/// What the kernel's four socket buffers and the proxy's own hold at most.
const BUFFERED: usize = 48 * 1024 * 1024;
/// A sender that is held back for so long is held back.
const PATIENCE: Duration = Duration::from_millis(500);

#[test]
fn chunked_bodies_go_both_ways_with_their_trailers() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\
         Connection: TE\r\nTrailer: X-Sum, Cookie, X_Sum\r\n\r\n",
    );
    let mut wire = application.accept();
    let head = wire.head();
    assert_eq!(values(&head, "transfer-encoding"), ["chunked"]);
    assert_eq!(values(&head, "te"), ["trailers"]);
    assert_eq!(values(&head, "connection"), ["te"]);
    client.send("3\r\nabc\r\n");
    assert_eq!(wire.until("abc\r\n"), "3\r\nabc\r\n");
    client.send("0\r\nX-Sum: 1\r\nCookie: sessionid=1\r\nX_Sum: 2\r\n\r\n");
    assert_eq!(wire.until("\r\n\r\n"), "0\r\nx-sum: 1\r\n\r\n");

    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n");
    let head = client.head();
    assert_eq!(values(&head, "transfer-encoding"), ["chunked"]);
    // Where a request ended with trailers not everybody sees the same end.
    assert_eq!(values(&head, "connection"), ["close"]);
    wire.send("3\r\nabc\r\n");
    assert_eq!(client.until("abc\r\n"), "3\r\nabc\r\n");
    wire.send("0\r\nX-Sum: 1\r\n\r\n");
    assert_eq!(client.rest(), "0\r\nx-sum: 1\r\n\r\n");

    // The application's connection goes on, and trailers that the client has not asked for are
    // left out.
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wire.head();
    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n");
    wire.send("0\r\nX-Sum: 1\r\n\r\n");
    client.head();
    assert_eq!(client.until("\r\n\r\n"), "0\r\n\r\n");
}

#[test]
fn the_chunked_body_of_a_get_is_not_lost() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let request = "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = proxy.connect();
    client.send(format!("{request}2\r\nhi\r\n0\r\n\r\n"));
    let mut wire = application.accept();
    assert_eq!(values(&wire.head(), "transfer-encoding"), ["chunked"]);
    assert_eq!(wire.until("0\r\n\r\n"), "2\r\nhi\r\n0\r\n\r\n");
}

#[test]
fn a_client_that_expects_100_gets_it_when_its_body_is_wanted() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    let expecting = "Host: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    client.send(format!("POST / HTTP/1.1\r\n{expecting}"));
    let mut wire = application.accept();
    assert!(!has(&wire.head(), "expect"));
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello");
    assert_eq!(wire.exactly(5), b"hello");
    wire.send(OK);
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    client.exactly(2);

    // Refused, it gets no 100, and the connection ends: nobody knows whether the body comes.
    client.send(format!("POST * HTTP/1.1\r\n{expecting}"));
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert_eq!(values(&head, "connection"), ["close"]);
    client.rest();
}

#[test]
fn a_refused_upload_can_read_the_refusal() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    // A short body is read away, and the connection goes on.
    client.send("POST * HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 400 ") && !has(&head, "connection"), "{head}");
    client.exactly(values(&head, "content-length")[0].parse().unwrap());
    client.send(vec![b'x'; 50_000]);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut wire = application.accept();
    wire.head();
    wire.send(OK);
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    client.exactly(2);
    // A long one is not waited for.
    client.send("POST * HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n");
    client.send(vec![b'x'; 50_000]);
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert_eq!(values(&head, "connection"), ["close"]);
    client.rest();
}

#[test]
fn curl_gets_and_sends_long_bodies_whole() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let body: Vec<u8> = (0..8 * 1024 * 1024_u32).map(|at| (at % 251) as u8).collect();
    for framing in ["Content-Length: 8388608", "Transfer-Encoding: chunked"] {
        let mut curl = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--max-time", "20", "--data-binary", "@-"])
            .args(["-H", "Content-Type: application/octet-stream", "-H", framing])
            .arg(format!("http://{}/", proxy.address()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        curl.stdin.take().unwrap().write_all(&body).unwrap();
        let mut wire = application.accept();
        let head = wire.head();
        assert!(has(&head, framing.split(':').next().unwrap()), "{head}");
        let received = if framing.starts_with("Content") {
            wire.exactly(body.len())
        } else {
            unchunk(&wire.bytes_until("\r\n0\r\n\r\n"))
        };
        assert!(received == body, "the upload was changed");
        wire.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 8388608\r\n\r\n");
        // At the same time: the buffers in between need not hold all of it.
        let output = thread::scope(|scope| {
            scope.spawn(|| wire.send(&body));
            curl.wait_with_output().unwrap()
        });
        assert!(output.status.success(), "{output:?}");
        assert!(output.stdout == body, "the download was changed");
    }
}

#[test]
fn a_client_that_does_not_read_holds_the_application_back() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut wire = application.accept();
    wire.head();
    wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {ENDLESS}\r\n\r\n"));
    let taken = wire.flood(ENDLESS, PATIENCE);
    assert!(taken < BUFFERED, "{taken} bytes were taken for a client that reads none");
    // And it goes on when the client does.
    client.head();
    client.exactly(taken);
}

#[test]
fn a_client_that_never_reads_is_cut_off() {
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    settings.downstream_limits.send_timeout = Duration::from_millis(500);
    let proxy = Proxy::start(settings);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut wire = application.accept();
    wire.head();
    wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {ENDLESS}\r\n\r\n"));
    wire.flood(ENDLESS, PATIENCE);
    assert_eq!(wire.rest(), "", "the application is let go");
    assert_eq!(proxy.failure(), "send-stalled");
    assert!(client.is_reset(), "the system keeps what nobody reads");
}

#[test]
fn an_application_that_does_not_read_holds_the_client_back() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {ENDLESS}\r\n\r\n"));
    let mut wire = application.accept();
    wire.head();
    let taken = client.flood(ENDLESS, PATIENCE);
    assert!(taken < BUFFERED, "{taken} bytes were taken for an application that reads none");
    wire.exactly(taken);
}

#[test]
fn a_response_that_breaks_off_does_not_look_whole() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    for (framing, part) in
        [("Content-Length: 100", "part"), ("Transfer-Encoding: chunked", "4\r\npart\r\n")]
    {
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut wire = application.accept();
        wire.head();
        wire.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{part}"));
        client.head();
        assert_eq!(client.until(part), part);
        drop(wire);
        assert_eq!(client.rest(), "");
        assert_eq!(proxy.failure(), "body");
    }
}

#[test]
fn a_response_that_stalls_is_broken_off() {
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    settings.site.upstream_limits.response_timeout = Duration::from_millis(50);
    let proxy = Proxy::start(settings);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut wire = application.accept();
    wire.head();
    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n");
    client.head();
    assert_eq!(client.rest(), "4\r\npart\r\n");
    assert_eq!(proxy.failure(), "body-stalled");
    assert_eq!(wire.rest(), "");
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16);
        let (chunk, behind) = rest[line + 2..].split_at(length.unwrap());
        if chunk.is_empty() {
            return body;
        }
        body.extend_from_slice(chunk);
        rest = &behind[2..];
    }
}
