//! A panic costs its own exchange a 500 and what it was charged, and no other exchange anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use floodwall::guard::UnderWay;
use floodwall::guard::route::StandingWord;
use floodwall::proxy::server::Server;
use floodwall::proxy::upstream::News;
use floodwall::telemetry::access::Verdict;
use floodwall::telemetry::meter::StatusClass;

use crate::raw::{Application, OK, Proxy, settings, shield_of};
use crate::support::inside::await_that;

const GET: &str = "GET / HTTP/1.1\r\nHost: site.example\r\n\r\n";

/// Two sessions for a client, and no more.
const BUDGET: &str = "state = ''
[budget.anonymous]
client = { rate = '1/d', burst = 2 }
";

/// A session for whoever asks.
fn created(number: u8) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: sessionid={number:032x}; Path=/\r\n\r\n"
    )
}

#[test]
fn what_panics_is_a_500_and_stays_charged_and_others_finish() {
    let application = Application::tcp();
    let shield = shield_of(BUDGET);
    // The second connection to the application is one too many for somebody in the middle of it.
    let connected = AtomicUsize::new(0);
    let told = move |_: &Server, news: News<'_>| match news {
        News::Connected { .. } => {
            assert_ne!(connected.fetch_add(1, Ordering::Relaxed), 1, "on purpose");
        }
        News::Changed(_) => {}
    };
    let settings = settings(application.address.clone());
    let proxy = Proxy::telling_of_servers(settings, Arc::clone(&shield), Arc::new(told));

    let mut bystander = proxy.connect();
    bystander.send(GET);
    let mut wire = application.accept();
    wire.head();

    let mut unlucky = proxy.connect();
    unlucky.send(GET);
    let answer = unlucky.rest();
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(application.accept().rest(), "", "nothing of it was sent on");

    // Nothing was written for the one, and nobody knows what was for the other.
    wire.send(OK);
    assert!(bystander.head().starts_with("HTTP/1.1 200 "));
    assert_eq!(bystander.until("ok"), "ok");
    await_that("an exchange keeps what it holds", || {
        shield.guard.under_way() == UnderWay::default()
    });
    bystander.send(GET);
    wire.head();
    wire.send(created(1));
    assert!(bystander.head().starts_with("HTTP/1.1 200 "));
    bystander.send(GET);
    let refused = bystander.head();
    assert!(refused.starts_with("HTTP/1.1 429 "), "the panic is not charged: {refused}");

    let failed = || {
        let exchanges = shield.telemetry.exchanges();
        let forwarded = Some(Verdict::Forwarded);
        exchanges.count(Some(StandingWord::None), forwarded, StatusClass::ServerError)
    };
    await_that("it is not counted", || failed() == 1);
}

#[test]
fn a_panic_before_the_guard_was_asked_is_a_500_too() {
    let application = Application::tcp();
    let proxy = Proxy::telling(settings(application.address.clone()), |_| panic!("on purpose"));
    let mut bystander = proxy.connect();
    bystander.send(GET);
    let mut wire = application.accept();
    wire.head();
    for _ in 0..3 {
        let mut client = proxy.connect();
        client.send("GET * HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.rest().starts_with("HTTP/1.1 500 "));
    }
    wire.send(OK);
    assert!(bystander.head().starts_with("HTTP/1.1 200 "));
}
