//! Upgrades, byte for byte: what is asked for, what counts as agreed, and the tunnel behind it.

use std::time::Duration;

use floodwall::proxy::settings::Protocols;

use crate::raw::{Application, HangUp, OK, Proxy, Wire, has, settings, values};
use crate::support::attack::bounded;

/// The handshake of RFC 6455, 1.3.
pub const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// What a server makes of its key.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Another protocol, of which nothing is known.
pub const ECHO: &str =
    "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo/1\r\n\r\n";
pub const ECHO_AGREED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo/1\r\n\r\n";

pub fn agreed() -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    )
}

/// A tunnel that stands: the client's end and the application's.
pub fn tunnel(proxy: &Proxy, application: &Application) -> (Wire, Wire) {
    let mut client = proxy.connect();
    client.send(ECHO);
    let mut wire = application.accept();
    wire.head();
    wire.send(ECHO_AGREED);
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    (client, wire)
}

/// What goes upstream, and how it is answered when the application says this.
fn handshake(protocols: Protocols, request: &str, answer: &str) -> (String, String) {
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    settings.upgrades.protocols = protocols;
    let proxy = Proxy::start(settings);
    let mut client = proxy.connect();
    client.send(request);
    let mut wire = application.accept();
    let head = wire.head();
    wire.send(answer);
    (head, client.head())
}

fn named(names: &[&str]) -> Protocols {
    Protocols::Named(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn a_handshake_goes_through_in_one_form_and_bytes_behind_both_heads_are_kept() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    client.send(format!("{HANDSHAKE}early"));
    let mut wire = application.accept();
    let head = wire.head();
    assert_eq!(values(&head, "connection"), ["upgrade"], "{head}");
    assert_eq!(values(&head, "upgrade"), ["websocket"]);
    assert_eq!(values(&head, "sec-websocket-key"), ["dGhlIHNhbXBsZSBub25jZQ=="]);
    assert_eq!(values(&head, "sec-websocket-version"), ["13"]);
    assert!(wire.is_silent(), "nothing goes through before both have agreed");
    wire.send(format!("{}first", agreed()));
    let answer = client.head();
    assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
    assert_eq!(values(&answer, "connection"), ["upgrade"], "{answer}");
    assert_eq!(values(&answer, "upgrade"), ["websocket"]);
    assert_eq!(values(&answer, "sec-websocket-accept"), [ACCEPT]);
    assert!(!has(&answer, "content-length") && !has(&answer, "transfer-encoding"), "{answer}");
    assert_eq!(client.until("first"), "first");
    assert_eq!(wire.until("early"), "early");
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(wire.until("\r\n\r\n"), "GET / HTTP/1.1\r\n\r\n", "as it came");
    wire.finish();
    assert_eq!(client.rest(), "");
    client.finish();
    assert_eq!(wire.rest(), "");
}

#[test]
fn what_is_no_complete_wish_is_a_request_like_any_other() {
    let (head, end) = ("GET / HTTP/1.1\r\nHost: a\r\n", "\r\n\r\n");
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    let websocket = "Connection: upgrade\r\nUpgrade: websocket";
    let requests = [
        format!("{head}{version}{key}Upgrade: websocket{end}"),
        format!("{head}{version}{key}Connection: close\r\nUpgrade: websocket{end}"),
        format!("{head}{version}{key}Connection: upgrade{end}"),
        format!("{head}{version}{websocket}{end}"),
        format!("{head}{key}{websocket}{end}"),
        format!("{head}{version}{version}{key}{websocket}{end}"),
        format!("{head}{version}{key}{key}{websocket}{end}"),
        format!("{head}Sec-WebSocket-Version: 1337\r\n{key}{websocket}{end}"),
        format!("{head}{version}Sec-WebSocket-Key: c2hvcnQ=\r\n{websocket}{end}"),
        format!("{head}{version}Sec-WebSocket-Key: ????????????????????????\r\n{websocket}{end}"),
        format!("{}{version}{key}{websocket}{end}", head.replace("1.1", "1.0")),
        format!("{}{version}{key}{websocket}{end}", head.replace("GET", "POST")),
        format!("{}{version}{key}{websocket}{end}", head.replace("GET", "HEAD")),
        format!("{head}{version}{key}{websocket}\r\nContent-Length: 2{end}hi"),
        format!("{head}{version}{key}{websocket}\r\nTransfer-Encoding: chunked{end}0\r\n\r\n"),
        format!("{head}Connection: upgrade\r\nUpgrade: irc/6.9{end}"),
        format!(
            "{head}Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__{end}"
        ),
        format!("{head}Connection: upgrade\r\nUpgrade: TLS/1.2{end}"),
        format!("{head}Connection: upgrade\r\nUpgrade: websocket/14{end}"),
    ];
    for request in requests {
        let (head, answer) = handshake(named(&["websocket"]), &request, &agreed());
        assert!(!has(&head, "upgrade"), "{request}{head}");
        assert!(!head.contains("upgrade\r\n") && !has(&head, "http2-settings"), "{request}{head}");
        // And an application that switches all the same is not believed.
        assert_eq!(answer.split(' ').nth(1), Some("502"), "{request}{answer}");
        let (_, answer) = handshake(named(&["websocket"]), &request, OK);
        assert_eq!(answer.split(' ').nth(1), Some("200"), "{request}{answer}");
    }
}

#[test]
fn only_what_is_configured_is_asked_for_and_never_http_or_tls() {
    let asks = |protocols: Protocols, line: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n{line}\r\n\r\n");
        let (head, _) = handshake(protocols, &request, OK);
        values(&head, "upgrade").join("; ")
    };
    assert_eq!(asks(named(&[]), "Upgrade: echo/1"), "");
    assert_eq!(asks(named(&["echo/1"]), "Upgrade: ECHO/1"), "ECHO/1");
    assert_eq!(asks(named(&["echo/1"]), "Upgrade: h2c, a, echo/1, b"), "echo/1", "one of them");
    assert_eq!(asks(named(&["echo/1"]), "Upgrade: h2c\r\nUpgrade: echo/1"), "echo/1");
    assert_eq!(asks(Protocols::Any, "Upgrade: anything"), "anything");
    for line in ["h2c", "H2C", "HTTP/2.0", "TLS/1.0", "tls", "h2", "http/1.1", "h2c, TLS/1.2"] {
        assert_eq!(asks(Protocols::Any, &format!("Upgrade: {line}")), "", "{line}");
        assert_eq!(asks(named(&["h2c", "tls"]), &format!("Upgrade: {line}")), "", "{line}");
    }
}

/// Each of them makes proxies believe in a tunnel where the application still reads requests.
#[test]
fn after_anything_but_a_real_agreement_no_byte_passes_unseen() {
    let hidden = "GET /hidden HTTP/1.1\r\nHost: b\r\nX-Hidden_: 1\r\n\r\n";
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
            .to_owned(),
        "HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nConnection: upgrade\r\n\
         Upgrade: websocket\r\nContent-Length: 0\r\n\r\n"
            .to_owned(),
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_owned(),
        // A page that answers with the status that its visitor wishes.
        "HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
            .to_owned(),
        agreed().replace("s3pP", "S3pP"),
        agreed().replace("WebSocket\r\n", "echo/1\r\n"),
        agreed().replace("WebSocket\r\n", "websocket, h2c\r\n"),
        agreed().replace("Upgrade: WebSocket\r\n", ""),
        agreed().replace("Connection: Upgrade\r\n", ""),
        agreed().replace("HTTP/1.1", "HTTP/1.0"),
        agreed().replace("\r\n\r\n", &format!("\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n")),
    ];
    let tried = answers.len() as u64;
    let mut unseen = 0;
    for answer in &answers {
        let application = Application::tcp();
        let proxy = Proxy::before(&application);
        let mut client = proxy.connect();
        client.send(format!("{HANDSHAKE}{hidden}"));
        let mut wire = application.accept();
        wire.head();
        wire.send(answer);
        let status = client.head();
        assert!(!status.starts_with("HTTP/1.1 101 "), "{answer}{status}");
        assert!(!has(&status, "upgrade"), "{answer}{status}");
        if answer.starts_with("HTTP/1.1 101") || answer.starts_with("HTTP/1.0 101") {
            assert!(status.starts_with("HTTP/1.1 502 "), "{answer}{status}");
            // The connection is given up: the application may believe in a tunnel.
            assert_eq!(wire.rest(), "", "{answer}");
            wire = application.accept();
        }
        // What came behind is a request, and cleaned as one.
        let next = wire.head();
        unseen += u64::from(next.contains("X-Hidden_") || !has(&next, "x-forwarded-for"));
        wire.send(OK);
    }
    assert_eq!(tried, 13);
    bounded("a tunnel that is none", "requests that pass unseen, of 13", 0, unseen);
}

#[test]
fn one_side_may_end_while_the_other_goes_on() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let (mut client, mut wire) = tunnel(&proxy, &application);
    client.send("question");
    client.finish();
    assert_eq!(wire.rest(), "question");
    wire.send("answer");
    assert_eq!(client.until("answer"), "answer");
    wire.send("more");
    wire.hang_up(HangUp::Finish);
    assert_eq!(client.rest(), "more");

    let (mut client, mut wire) = tunnel(&proxy, &application);
    wire.send("greeting");
    wire.finish();
    assert_eq!(client.rest(), "greeting");
    client.send("reply");
    client.hang_up(HangUp::Finish);
    assert_eq!(wire.rest(), "reply");
}

#[test]
fn who_breaks_off_ends_both() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let (client, mut wire) = tunnel(&proxy, &application);
    client.hang_up(HangUp::Reset);
    assert_eq!(wire.rest(), "");

    let (mut client, wire) = tunnel(&proxy, &application);
    wire.hang_up(HangUp::Reset);
    assert!(client.is_reset(), "what was broken off does not look finished");
    assert_eq!(proxy.failure(), "tunnel-broken");
}

#[test]
fn a_tunnel_in_which_nothing_moves_is_cut_and_one_in_which_something_does_is_not() {
    const SHORT: Duration = Duration::from_millis(300);
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    settings.upgrades.idle_timeout = SHORT;
    // Neither of these is for tunnels.
    settings.downstream_limits.header_timeout = SHORT / 2;
    settings.downstream_limits.idle_timeout = SHORT / 2;
    let proxy = Proxy::start(settings);
    let (mut client, mut wire) = tunnel(&proxy, &application);
    for _ in 0..6 {
        // In one direction only.
        assert_eq!(wire.drip(b"x", SHORT / 3, 1), 1);
        client.exactly(1);
    }
    assert!(client.is_open() && wire.is_open());
    assert_eq!(client.rest(), "");
    assert_eq!(wire.rest(), "");
}
