//! Tunnels: what they may take, what they hold, and how they end.

use std::time::Duration;

use crate::raw::{Application, HangUp, OK, Proxy, Wire, settings, values};
use crate::support::attack::bounded;
use crate::support::inside::{Inside, await_that};
use crate::upgrades::{ECHO, ECHO_AGREED, HANDSHAKE, agreed, tunnel};

/// Waits until nothing is left of any tunnel.
fn await_none(proxy: &Proxy) {
    await_that("something is left of a tunnel", || {
        proxy.app.tunnels.number() == 0 && proxy.app.seats.taken() == 0
    });
}

#[test]
fn tunnels_are_bounded_for_all_and_for_a_client_and_never_shed() {
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    settings.upgrades.tunnels = 5;
    settings.upgrades.tunnels_per_client = 3;
    settings.downstream_limits.connections = 8;
    settings.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    let proxy = Proxy::start(settings);
    let ask = |client: u8| {
        let mut wire = proxy.connect();
        let forwarded = format!("\r\nX-Forwarded-For: 192.0.2.{client}\r\n\r\n");
        wire.send(ECHO.replace("\r\n\r\n", &forwarded));
        wire
    };
    let mut open = Vec::new();
    let mut stand = |client: u8| {
        let mut near = ask(client);
        let mut far = application.accept();
        far.head();
        far.send(ECHO_AGREED);
        assert!(near.head().starts_with("HTTP/1.1 101 "));
        open.push((near, far));
    };
    (0..3).for_each(|_| stand(1));
    assert!(ask(1).head().starts_with("HTTP/1.1 503 "));
    assert_eq!(proxy.failure(), "client-tunnels");
    (0..2).for_each(|_| stand(2));
    assert!(ask(3).head().starts_with("HTTP/1.1 503 "));
    assert_eq!(proxy.failure(), "tunnels");
    assert!(application.is_left_alone(), "the application is not asked");

    // A flood of connections that say nothing sheds no tunnel.
    let silent: Vec<Wire> = (0..40).map(|_| proxy.connect()).collect();
    let worst = proxy.app.tunnels.number() as u64;
    let broken = open.iter_mut().filter(|(near, _)| !near.is_open()).count() as u64;
    for (near, far) in &mut open {
        near.send("on");
        far.until("on");
    }
    bounded("handshakes without end", "tunnels at once", 5, worst);
    bounded("silent connections, beside tunnels", "tunnels that are shed", 0, broken);
    drop(silent);

    // A place is free when its tunnel has ended.
    let (near, mut far) = open.swap_remove(0);
    near.hang_up(HangUp::Finish);
    far.rest();
    drop(far);
    await_that("the place is kept", || proxy.app.tunnels.number() == 4);
    let mut near = ask(3);
    let mut far = application.accept();
    far.head();
    far.send(ECHO_AGREED);
    assert!(near.head().starts_with("HTTP/1.1 101 "));
}

#[test]
fn nothing_is_left_of_a_tunnel_however_it_ends() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    for how in [HangUp::Finish, HangUp::Reset] {
        let (client, mut wire) = tunnel(&proxy, &application);
        client.hang_up(how);
        wire.rest();
        drop(wire);
        await_none(&proxy);
        let (mut client, wire) = tunnel(&proxy, &application);
        wire.hang_up(how);
        client.rest();
        drop(client);
        await_none(&proxy);
    }
    // The client is gone before the application has answered.
    let mut client = proxy.connect();
    client.send(ECHO);
    let mut wire = application.accept();
    wire.head();
    client.hang_up(HangUp::Reset);
    // Whose turn comes later, on the only core.
    let mut other = proxy.connect();
    other.send("GET * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    other.rest();
    wire.send(ECHO_AGREED);
    assert_eq!(wire.rest(), "");
    await_none(&proxy);
}

#[test]
fn who_takes_nothing_holds_the_other_side_back_and_is_cut() {
    const MUCH: usize = 64 << 20;
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    settings.downstream_limits.send_timeout = Duration::from_secs(1);
    settings.downstream_limits.body_rate = 0;
    let proxy = Proxy::start(settings);

    let (mut client, mut wire) = tunnel(&proxy, &application);
    let sent = client.flood(MUCH, Duration::from_secs(5));
    assert_eq!(proxy.failure(), "tunnel-stalled");
    drop(client);
    let taken = wire.rest().len();
    bounded("an application that reads nothing", "MiB on their way", 16, (sent >> 20) as u64);
    assert!(taken <= sent);

    let (client, mut wire) = tunnel(&proxy, &application);
    let sent = wire.flood(MUCH, Duration::from_secs(5));
    assert_eq!(proxy.failure(), "send-stalled");
    bounded("a client that reads nothing", "MiB on their way", 16, (sent >> 20) as u64);
    drop((client, wire));
    await_none(&proxy);
}

#[test]
fn a_stop_lets_tunnels_go_on_for_as_long_as_it_may_take_then_cuts_and_counts_them() {
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    settings.drain_timeout = Duration::from_secs(2);
    let proxy = Proxy::start(settings);
    let (mut client, mut wire) = tunnel(&proxy, &application);
    let (mut ending, mut end) = tunnel(&proxy, &application);
    // One that is being asked for while it stops.
    let mut late = proxy.connect();
    late.send(HANDSHAKE);
    let mut far = application.accept();
    far.head();
    proxy.running().stop();
    client.send("still");
    assert_eq!(wire.until("still"), "still");
    end.finish();
    ending.finish();
    assert_eq!((ending.rest(), end.rest()), (String::new(), String::new()));
    far.send(agreed());
    let head = late.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    // hyper adds "close" to it, which is true.
    assert!(values(&head, "connection").iter().any(|line| line.starts_with("upgrade")), "{head}");
    far.send("welcome");
    assert_eq!(late.until("welcome"), "welcome");
    assert_eq!(proxy.wait(), 2, "both that did not end");
    assert_eq!((client.rest(), wire.rest()), (String::new(), String::new()));
}

#[test]
fn a_stop_without_tunnels_left_does_not_wait() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let (client, mut wire) = tunnel(&proxy, &application);
    proxy.running().stop();
    client.hang_up(HangUp::Finish);
    wire.rest();
    drop(wire);
    assert_eq!(proxy.wait(), 0);
}

/// An application, and a proxy with a guard that the test can look into.
fn guarded(configuration: &str) -> (Application, Inside) {
    let application = Application::tcp();
    let upstream = format!("http://{}", application.address.host());
    let inside = Inside::start(&upstream, configuration);
    (application, inside)
}

fn with_cookie(request: &str, cookie: &str) -> String {
    request.replace("\r\n\r\n", &format!("\r\nCookie: sessionid={cookie}\r\n\r\n"))
}

#[test]
fn a_tunnel_holds_neither_budget_nor_key_and_what_its_handshake_creates_is_charged() {
    const KEY: &str = "0123456789abcdef0123456789abcdef";
    let configuration = "[budget.anonymous]\nclient = { rate = '1/d', burst = 3 }\n\
        site = { rate = '1/d', burst = 10 }\n[session]\nkey_wait = '30s'\n";
    let (application, inside) = guarded(configuration);
    let connect = || Wire::tcp(std::net::TcpStream::connect(inside.target().address()).unwrap());
    let create = |key: &str| {
        let mut near = connect();
        near.send(HANDSHAKE);
        let mut far = application.accept();
        far.head();
        let cookie = format!("\r\nSet-Cookie: sessionid={key}; Path=/\r\n\r\n");
        far.send(agreed().replace("\r\n\r\n", &cookie));
        let head = near.head();
        assert_eq!(values(&head, "set-cookie"), [format!("sessionid={key}; Path=/")]);
        (near, far)
    };
    let first = create(KEY);
    // It is settled, though it goes on.
    inside.await_rest();
    assert_eq!(inside.app.tunnels.number(), 1);
    assert_eq!(inside.shield.guard.sizes().0, 1, "the ledger knows the key");

    // Whose tunnels are open logs out all the same: nothing waits for their end.
    let mut opened = Vec::new();
    for _ in 0..20 {
        let mut near = connect();
        near.send(with_cookie(HANDSHAKE, KEY));
        let mut far = application.accept();
        assert_eq!(values(&far.head(), "cookie"), [format!("sessionid={KEY}")]);
        far.send(agreed());
        assert!(near.head().starts_with("HTTP/1.1 101 "), "more of them than in_flight_per_key");
        opened.push((near, far));
    }
    let mut logout = connect();
    logout.send(with_cookie("GET /logout/ HTTP/1.1\r\nHost: a\r\n\r\n", KEY));
    let mut wire = application.accept();
    wire.head();
    wire.send(OK);
    logout.head();
    drop((logout, wire));

    // Anonymous handshakes create sessions: the budget counts them as any request's.
    let mut created = vec![first];
    let mut refused = 0;
    for number in 1..6 {
        let mut near = connect();
        near.send(HANDSHAKE);
        if created.len() == 3 {
            let head = near.head();
            assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
            refused += 1;
        } else {
            drop(near);
            // Nobody waits for this one any more: it is finished, and charged.
            let mut far = application.accept();
            far.head();
            let cookie = format!("\r\nSet-Cookie: sessionid={number:032x}; Path=/\r\n\r\n");
            far.send(agreed().replace("\r\n\r\n", &cookie));
            assert_eq!(far.rest(), "");
            inside.await_rest();
            created.push((connect(), far));
        }
    }
    bounded("WebSocket handshakes without a session", "records", 3, created.len() as u64);
    assert_eq!(refused, 3);
    assert!(application.is_left_alone());
}
