//! How many connections a server has, and who waits for one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::raw::{Application, OK, Wire};
use crate::support::attack::bounded;
use crate::support::backend::{Backend, Manner};
use crate::support::inside::{Inside, await_that};
use crate::support::sending::send_on;

use super::{client, get, of};

fn limited(url: &str, limits: &str, cores: usize) -> Inside {
    of(&format!("upstream = '{url}'\n[upstream_limits]\n{limits}\n"), cores)
}

/// One connection, two cores, more clients than either serves: each gets its answers, in turn, and
/// the server never has a second connection.
#[test]
fn two_cores_share_one_connection() {
    const CLIENTS: usize = 12;
    const REQUESTS: usize = 20;
    let server = Backend::start();
    let limits = "connections = 1\nqueue = 100\nqueue_timeout = '30s'";
    let floodwall = limited(&server.url(), limits, 2);
    let served: Vec<AtomicUsize> = (0..CLIENTS).map(|_| AtomicUsize::new(0)).collect();
    let ahead = AtomicUsize::new(0);
    thread::scope(|scope| {
        for mine in &served {
            let (floodwall, served, ahead) = (&floodwall, &served, &ahead);
            scope.spawn(move || {
                let mut client = client(floodwall);
                for _ in 0..REQUESTS {
                    let answer = send_on(&mut client, floodwall.target(), "GET /static/", "");
                    assert_eq!(answer.status, 200);
                    let done = mine.fetch_add(1, Ordering::SeqCst) + 1;
                    let least = served.iter().map(|other| other.load(Ordering::SeqCst)).min();
                    ahead.fetch_max(done - least.unwrap_or(0), Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(server.number(), CLIENTS * REQUESTS);
    // It was not made anew for each request. That it goes from core to core is shown below: here all
    // clients may have come in on one.
    let connections = server.connections();
    assert!(connections < CLIENTS * REQUESTS, "{connections} connections");
    let most = server.most_open() as u64;
    bounded("12 clients on two cores, limit 1", "connections at once to a server", 1, most);
    println!("one client was {} answers ahead of another", ahead.load(Ordering::SeqCst));
}

/// Idle on one core, it is closed for who waits on the other.
#[test]
fn an_idle_connection_is_closed_for_who_waits_on_another_core() {
    let server = Backend::start();
    let limits = "connections = 1\nqueue = 0\nqueue_timeout = '30s'";
    let floodwall = limited(&server.url(), limits, 2);
    // A connection of a client's is on one core to its end: one after the other, until the
    // server's has gone to the other core and back.
    await_that("all connections come in on one core", || {
        let mut client = client(&floodwall);
        let answer = send_on(&mut client, floodwall.target(), "GET /", "");
        assert_eq!(answer.status, 200, "an idle connection keeps who could have its place");
        server.connections() >= 3
    });
    assert_eq!(server.most_open(), 1);
}

#[test]
fn who_finds_no_place_in_the_line_or_waits_too_long_is_told_to_come_back() {
    let server = Backend::start();
    let limits = "connections = 1\nqueue = 1\nqueue_timeout = '300ms'";
    let floodwall = limited(&server.url(), limits, 1);
    server.set(Manner::Hanging);
    thread::scope(|scope| {
        let first = scope.spawn(|| get(&floodwall, "/first/"));
        server.await_request("/first/");
        let waiting: Vec<_> = (0..2).map(|_| scope.spawn(|| get(&floodwall, "/late/"))).collect();
        for answer in waiting {
            let answer = answer.join().expect("no panic");
            assert_eq!(answer.status, 503);
            assert_eq!(answer.header("retry-after").collect::<Vec<_>>(), ["1"]);
        }
        server.set(Manner::Well);
        assert_eq!(first.join().expect("no panic").status, 200);
    });
    floodwall.await_rest();
    assert_eq!(server.requests(), ["GET /first/"]);
    assert_eq!(server.most_open(), 1);
}

/// Whoever hangs up makes room in the line, and costs nothing.
#[test]
fn who_hangs_up_leaves_the_line() {
    let application = Application::tcp();
    let limits = "connections = 1\nqueue = 1\nqueue_timeout = '30s'\n\
                  [budget.anonymous]\nclient = { rate = '1/d', burst = 3 }\n\
                  site = { rate = '1/d', burst = 3 }";
    let floodwall = limited(&application.address.to_string(), limits, 1);
    let ask = |path: &str| {
        let target = floodwall.target().address();
        let mut wire = Wire::tcp(std::net::TcpStream::connect(target).expect("it listens"));
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        wire
    };
    let mut first = ask("/first/");
    let mut wire = application.accept();
    wire.head();
    // As many as there were never room for, were one of them to stay in the line.
    for _ in 0..20 {
        let waiting = ask("/gone/");
        await_that("nobody waits", || floodwall.shield.guard.under_way().held == 2);
        drop(waiting);
        await_that("it waits still", || floodwall.shield.guard.under_way().held == 1);
    }
    let mut last = ask("/last/");
    await_that("nobody waits", || floodwall.shield.guard.under_way().held == 2);
    wire.send(OK);
    assert!(first.head().starts_with("HTTP/1.1 200 "));
    assert!(wire.head().starts_with("GET /last/ "), "on the same connection");
    wire.send(OK);
    assert!(last.head().starts_with("HTTP/1.1 200 "));
    assert!(application.is_left_alone());
    floodwall.await_rest();
}

/// The response fills what is read at once, so that nobody has seen what is behind it.
#[test]
fn who_waits_is_not_given_a_connection_on_which_something_came() {
    const READ_AT_ONCE: usize = 16 << 10;
    let application = Application::tcp();
    let limits = "connections = 1\nqueue = 1\nqueue_timeout = '30s'";
    let floodwall = limited(&application.address.to_string(), limits, 1);
    let ask = || {
        let target = floodwall.target().address();
        let mut wire = Wire::tcp(std::net::TcpStream::connect(target).expect("it listens"));
        wire.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        wire
    };
    let mut first = ask();
    let mut wire = application.accept();
    wire.head();
    let mut second = ask();
    await_that("nobody waits", || floodwall.shield.guard.under_way().held == 2);
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 16000\r\nA: ";
    let rest = READ_AT_ONCE - 16_000 - head.len() - 4;
    let answer = format!("{head}{}\r\n\r\n{}", "a".repeat(rest), "b".repeat(16_000));
    assert_eq!(answer.len(), READ_AT_ONCE);
    wire.send(answer + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
    assert!(first.rest().ends_with('b'));
    let mut fresh = application.accept();
    fresh.head();
    fresh.send(OK);
    assert!(second.rest().ends_with("ok"));
}

/// Those who wait for a server that goes down go to another.
#[test]
fn who_waits_for_a_server_that_goes_down_is_served_by_another() {
    let servers = [Backend::start(), Backend::start()];
    let floodwall = of(
        &format!(
            "upstream = ['{}', '{}']\n[upstream_limits]\nconnections = 1\nqueue = 9\n\
             queue_timeout = '30s'\nresponse_timeout = '500ms'\n\
             [balance]\neject_after = 1\neject_for = '1h'\n",
            servers[0].url(),
            servers[1].url()
        ),
        1,
    );
    servers.iter().for_each(|server| server.set(Manner::Hanging));
    thread::scope(|scope| {
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| get(&floodwall, "/x/").status)).collect();
        await_that("a server has no request", || servers.iter().all(|server| server.number() == 1));
        servers[1].set(Manner::Well);
        let answers: Vec<u16> =
            asked.into_iter().map(|one| one.join().expect("no panic")).collect();
        let lost = answers.iter().filter(|status| **status != 200).count();
        assert_eq!(lost, 1, "but that which the first server had: {answers:?}");
    });
    assert_eq!((servers[0].number(), servers[1].number()), (1, 7));
    assert!(servers.iter().all(|server| server.most_open() == 1));
}

/// Without a limit, nobody waits.
#[test]
fn many_connections_are_made_where_none_is_set() {
    let server = Backend::start();
    let floodwall = limited(&server.url(), "connections = 0\nqueue = 0", 2);
    server.set(Manner::Hanging);
    thread::scope(|scope| {
        let asked: Vec<_> =
            (0..20).map(|_| scope.spawn(|| get(&floodwall, "/x/").status)).collect();
        await_that("some wait", || server.number() == 20);
        server.set(Manner::Well);
        assert!(asked.into_iter().all(|one| one.join().expect("no panic") == 200));
    });
    assert_eq!(server.most_open(), 20);
}
