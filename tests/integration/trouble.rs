//! What happens when one side fails.

use std::net::SocketAddr;
use std::time::Duration;

use floodwall::proxy::settings::Address;
use socket2::{Domain, Socket, Type};

use crate::raw::{Application, OK, Proxy, scratch, settings};
use crate::support::address::own_address;

const GET: &str = "GET / HTTP/1.1\r\nHost: site.example\r\n\r\n";

#[test]
fn an_application_that_refuses_connections_is_a_bad_gateway() {
    let closed = own_address();
    let proxy =
        Proxy::start(settings(Address::Tcp { host: "127.0.0.1".to_owned(), port: closed.port() }));
    let mut client = proxy.connect();
    for _ in 0..2 {
        client.send(GET);
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        let page = client.until("\n");
        assert!(!page.contains("127.0.0.1") && !page.contains("refused"), "{page}");
        assert_eq!(proxy.failure(), "connect");
    }
}

#[test]
fn an_application_that_takes_no_connections_is_a_gateway_timeout() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    // One connection waits to be accepted, and no other may.
    let waiting = std::net::TcpStream::connect(address).unwrap();
    let mut settings =
        settings(Address::Tcp { host: "127.0.0.1".to_owned(), port: address.port() });
    settings.site.upstream_limits.connect_timeout = Duration::from_millis(100);
    let proxy = Proxy::start(settings);
    let mut client = proxy.connect();
    client.send(GET);
    assert!(client.head().starts_with("HTTP/1.1 504 "));
    assert_eq!(proxy.failure(), "connect-timeout");
    drop(waiting);
}

#[test]
fn an_application_that_does_not_answer_is_a_gateway_timeout() {
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    settings.site.upstream_limits.response_timeout = Duration::from_millis(50);
    let proxy = Proxy::start(settings);
    let mut client = proxy.connect();
    client.send(GET);
    let mut wire = application.accept();
    wire.head();
    assert!(client.head().starts_with("HTTP/1.1 504 "));
    assert_eq!(proxy.failure(), "response-timeout");
    assert_eq!(wire.rest(), "", "an answer that comes later must not meet another request");
}

#[test]
fn what_may_have_been_written_is_not_sent_again() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    client.send(GET);
    let mut wire = application.accept();
    wire.head();
    wire.send(OK);
    client.head();
    client.exactly(2);
    // The pooled connection takes the request, and dies with it.
    client.send("GET /logout/ HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(wire.head().starts_with("GET /logout/ "));
    drop(wire);
    assert!(client.head().starts_with("HTTP/1.1 502 "));
    assert_eq!(proxy.failure(), "closed");
    assert!(application.is_left_alone());
}

#[test]
fn a_pooled_connection_that_the_application_closed_is_not_used() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    for _ in 0..3 {
        client.send(GET);
        let mut wire = application.accept();
        wire.head();
        wire.send(OK);
        client.head();
        client.exactly(2);
        wire.finish();
        assert_eq!(wire.rest(), "");
    }
}

#[test]
fn an_idle_connection_to_the_application_is_closed_in_time() {
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    settings.site.upstream_limits.idle_timeout = Duration::from_millis(50);
    let proxy = Proxy::start(settings);
    let mut client = proxy.connect();
    client.send(GET);
    let mut wire = application.accept();
    wire.head();
    wire.send(OK);
    client.head();
    assert_eq!(wire.rest(), "");
}

#[test]
fn no_more_connections_are_pooled_than_allowed() {
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    settings.site.upstream_limits.idle_connections = 1;
    let proxy = Proxy::start(settings);
    let mut pairs: Vec<_> = (0..2)
        .map(|_| {
            let mut client = proxy.connect();
            client.send(GET);
            (client, application.accept())
        })
        .collect();
    for (client, wire) in &mut pairs {
        wire.head();
        wire.send(OK);
        client.head();
        client.exactly(2);
    }
    assert_eq!(pairs[0].1.rest(), "");
    pairs[0].0.send(GET);
    pairs[1].1.head();
}

#[test]
fn an_application_on_a_unix_socket_is_served() {
    let directory = scratch("unix");
    let application = Application::unix(directory.join("app.sock"));
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    client.send(GET);
    let mut wire = application.accept();
    for _ in 0..2 {
        wire.head();
        wire.send(OK);
        client.head();
        client.exactly(2);
        client.send(GET);
    }
}

#[test]
fn what_a_client_that_hung_up_has_caused_is_seen_to_its_end() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut gone = proxy.connect();
    gone.send("GET /logout/ HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut wire = application.accept();
    wire.head();
    drop(gone);
    // By the time that another client's request is there, the hang-up has been noticed.
    let mut other = proxy.connect();
    other.send(GET);
    let mut second = application.accept();
    second.head();
    wire.send("HTTP/1.1 204 No Content\r\n\r\n");
    second.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    other.head();
    // The answer was read: its connection carries the next request.
    other.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(wire.head().starts_with("GET /next "));
}

#[test]
fn an_upload_that_breaks_off_breaks_off_upstream() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\npart");
    let mut wire = application.accept();
    wire.head();
    assert_eq!(wire.exactly(4), b"part");
    drop(client);
    assert_eq!(wire.rest(), "");
    assert_eq!(proxy.failure(), "upload");
}

#[test]
fn an_upload_that_stalls_is_the_clients_fault() {
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    settings.downstream_limits.body_timeout = Duration::from_millis(50);
    let proxy = Proxy::start(settings);
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\npart");
    let mut wire = application.accept();
    wire.head();
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 408 ") && head.contains("connection: close\r\n"), "{head}");
    client.rest();
    assert_eq!(proxy.failure(), "upload-stalled");
    assert_eq!(wire.rest(), "part");
}

#[test]
fn an_early_answer_to_an_upload_is_relayed() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    let mut wire = application.accept();
    wire.head();
    wire.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno");
    assert!(client.head().starts_with("HTTP/1.1 413 "));
    assert_eq!(client.exactly(2), b"no");
    // The rest is still taken, and then both connections go on.
    client.send("world");
    assert_eq!(wire.exactly(10), b"helloworld");
    client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(wire.head().starts_with("GET /next "));
}

#[test]
fn nonsense_from_the_application_is_a_bad_gateway() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    for (answer, word) in [
        ("nonsense\r\n\r\n", "closed"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "closed"),
        ("HTTP/1.1 200 OK\r\nFolded: a\r\n b\r\n\r\n", "closed"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "unrelayable"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "unrelayable"),
    ] {
        let mut client = proxy.connect();
        client.send(GET);
        let mut wire = application.accept();
        wire.head();
        wire.send(answer);
        assert!(client.head().starts_with("HTTP/1.1 502 "), "{answer}");
        assert_eq!(proxy.failure(), word, "{answer}");
    }
}

#[test]
fn heads_that_are_not_http_or_too_large_are_refused_and_told() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(100));
    for (request, status, word) in [
        ("\u{1}\r\n\r\n", 400, "head"),
        (&large[..], 431, "head-bytes"),
        (&many[..], 431, "head-bytes"),
    ] {
        let mut client = proxy.connect();
        client.send(request);
        let answer = client.rest();
        assert!(answer.contains(&format!(" {status} ")), "{answer}");
        assert_eq!(proxy.failure(), word);
    }
}

#[test]
fn a_client_that_sends_no_head_is_hung_up_on() {
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    settings.downstream_limits.header_timeout = Duration::from_millis(50);
    let proxy = Proxy::start(settings);
    for part in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        let mut client = proxy.connect();
        client.send(part);
        assert_eq!(client.rest(), "");
    }
}
