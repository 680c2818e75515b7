//! Who is refused on a connection again and again waits longer each time than the first; nobody else
//! does. The pause is longer than any of these tests may take.

use std::sync::Arc;
use std::time::Duration;

use floodwall::proxy::start;

use crate::raw::{Application, HangUp, OK, Proxy, Wire, settings, shield_of};
use crate::support::frames::Frames;
use crate::support::inside::await_that;
use crate::support::single::Single;

const GET: &str = "GET / HTTP/1.1\r\nHost: site.example\r\n\r\n";
const KEY: &str = "abcdefghijklmnopqrstuvwxyz012345";
/// One session for each client, and no other for as long as a test lasts.
const ONE: &str = "state = ''\n[budget.anonymous]\nclient = { rate = '1/d', burst = 1 }\n";

/// A site whose only client has used its budget up: the session's key is [`KEY`].
fn spent(change: impl FnOnce(&mut Single)) -> (Proxy, Application, Wire) {
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    settings.downstream_limits.refusal_pause = Duration::from_secs(300);
    change(&mut settings);
    let shield = shield_of(ONE);
    let told = start::told(&shield);
    let proxy = Proxy::telling_of_servers(settings, Arc::clone(&shield), told);
    let mut client = proxy.connect();
    client.send(GET);
    let mut wire = application.accept();
    wire.head();
    wire.send(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: sessionid={KEY}; Path=/\r\n\r\n"
    ));
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    (proxy, application, wire)
}

/// Asks, and is refused at once.
fn is_refused(client: &mut Wire) {
    client.send(GET);
    refused(client);
}

fn refused(client: &mut Wire) -> String {
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    client.until("\n");
    head
}

#[test]
fn the_second_refusal_on_a_connection_waits_and_those_on_others_do_not() {
    let (proxy, application, _wire) = spent(|_| {});
    let mut client = proxy.connect();
    // Both at once: what is pipelined has no pace of its own.
    client.send([GET, GET, GET].concat());
    refused(&mut client);
    for _ in 0..5 {
        is_refused(&mut proxy.connect());
    }
    assert!(!client.has_more(), "it waits");
    // A stop waits for nobody, and tells who waits.
    proxy.running().stop();
    assert!(refused(&mut client).contains("connection: close\r\n"));
    assert_eq!(client.rest(), "");
    assert!(application.is_left_alone());
    assert_eq!(proxy.wait(), 0, "no exchange was cut");
}

#[test]
fn what_is_not_refused_does_not_wait() {
    let (proxy, application, mut wire) = spent(|_| {});
    let mut client = proxy.connect();
    is_refused(&mut client);
    for _ in 0..3 {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: sessionid={KEY}\r\n\r\n"));
        wire.head();
        wire.send(OK);
        assert!(client.head().starts_with("HTTP/1.1 200 "));
        client.exactly(2);
    }
    assert!(application.is_left_alone());
}

#[test]
fn streams_of_a_connection_wait_for_each_other_and_not_those_that_are_not_refused() {
    let (proxy, _application, mut wire) = spent(|_| {});
    let mut client = Frames::connect(proxy.address(), &[]);
    client.get(1, &[]);
    assert_eq!(client.answer(1).status, "429");
    for stream in [3, 5, 7] {
        client.get(stream, &[]);
    }
    let cookie = format!("sessionid={KEY}");
    client.get(9, &[("cookie", &cookie)]);
    wire.head();
    wire.send(OK);
    // No other answer comes before it.
    assert_eq!(client.answer(9).status, "200");
    proxy.running().stop();
    let mut refused = 0;
    loop {
        let event = client.event();
        match event["event"].as_str() {
            Some("headers") => {
                assert!(event["fields"].to_string().contains("\"429\""), "{event}");
                refused += 1;
            }
            Some("closed") => break,
            _ => {}
        }
    }
    assert_eq!(refused, 3, "the stop waited for none");
    assert_eq!(proxy.wait(), 0);
}

#[test]
fn who_stands_behind_a_trusted_proxy_does_not_wait_for_who_shares_its_connection() {
    let trust = |settings: &mut Single| {
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    };
    let (proxy, _application, _wire) = spent(trust);
    let mut client = proxy.connect();
    for _ in 0..20 {
        is_refused(&mut client);
    }
}

#[test]
fn who_hangs_up_while_it_waits_is_gone() {
    let (proxy, _application, _wire) = spent(|_| {});
    await_that("the first client has gone", || proxy.app.seats.taken() == 0);
    let mut waiting: Vec<_> = std::iter::repeat_with(|| proxy.connect()).take(20).collect();
    for client in &mut waiting {
        is_refused(client);
        client.send(GET);
    }
    // Whose turn on the only core comes later.
    is_refused(&mut proxy.connect());
    assert!(waiting.iter().all(Wire::is_silent));
    for client in waiting {
        client.hang_up(HangUp::Reset);
    }
    await_that("nothing is kept of them", || proxy.app.seats.taken() == 0);
}

/// An answer of our own is one, too, where the application is spared a logout.
#[test]
fn answers_in_place_of_the_application_are_paced() {
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    settings.downstream_limits.refusal_pause = Duration::from_secs(300);
    let rule =
        "[[rule]]\nname = 'out'\npath = '/logout/'\naction = 'answer'\nanswer = { status = 200 }\n";
    let shield = shield_of(&format!("state = ''\n{rule}"));
    let told = start::told(&shield);
    let proxy = Proxy::telling_of_servers(settings, Arc::clone(&shield), told);
    let mut client = proxy.connect();
    let logout = "GET /logout/ HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send([logout, logout].concat());
    assert!(client.head().starts_with("HTTP/1.1 "));
    client.until("\n");
    let mut other = proxy.connect();
    other.send(logout);
    other.head();
    assert!(!client.has_more(), "it waits");
    proxy.running().stop();
    client.head();
    client.until("\n");
    assert_eq!(proxy.wait(), 0);
    assert!(application.is_left_alone());
}
