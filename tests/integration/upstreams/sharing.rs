//! Who gets which request.

use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::raw::{Application, OK, Wire};
use crate::support::address::own_address;
use crate::support::attack::bounded;
use crate::support::backend::{Backend, Manner};
use crate::support::inside::{Inside, await_that};
use crate::support::sending::send;

use super::{ask, before, get, of, of_server};

#[test]
fn servers_take_turns_in_proportion_to_their_weights() {
    let servers: Vec<Backend> = (0..3).map(|_| Backend::start()).collect();
    let url = |index: usize| servers[index].url();
    let floodwall = of(
        &format!(
            "upstream = [{{ url = '{}', weight = 3 }}, '{}', {{ url = '{}' }}]\n",
            url(0),
            url(1),
            url(2)
        ),
        1,
    );
    let answers = ask(&floodwall, 50);
    let numbers: Vec<usize> = servers.iter().map(|server| of_server(&answers, server)).collect();
    assert_eq!(numbers, [30, 10, 10]);
    // Evenly spread: of any five in a row, three.
    assert!(answers.chunks(5).all(|five| of_server(five, &servers[0]) == 3), "{answers:?}");
}

#[test]
fn the_server_with_the_fewest_exchanges_is_next() {
    let servers = [Backend::start(), Backend::start()];
    let configuration = "[balance]\nmethod = 'least-connections'\n";
    let floodwall = before(&[&servers[0], &servers[1]], configuration);
    servers[0].set(Manner::Hanging);
    thread::scope(|scope| {
        // One: a second one, coming late, could meet both with one exchange each.
        let waiting = scope.spawn(|| get(&floodwall, "/slow/"));
        await_that("nothing reaches the slow server", || servers[0].number() > 0);
        // All that come meanwhile go to the other, one by one: it has none when the next comes.
        let before = servers[0].number();
        assert_eq!(of_server(&ask(&floodwall, 20), &servers[1]), 20);
        assert_eq!(servers[0].number(), before);
        servers[0].set(Manner::Well);
        assert_eq!(waiting.join().expect("no panic").status, 200);
    });
}

#[test]
fn who_refuses_connections_is_passed_over_and_tried_again_after_a_while() {
    let (away, well) = (Backend::start(), Backend::start());
    let address = away.address();
    let configuration = "[balance]\neject_for = '100ms'\nslow_start = '0s'\n";
    let floodwall = before(&[&away, &well], configuration);
    drop(away);
    // Nothing was sent to the other, so anything may be sent on: forms, too.
    assert_eq!(of_server(&ask(&floodwall, 10), &well), 10);
    for _ in 0..10 {
        let head = "POST /form/\nContent-Length: 0";
        assert_eq!(send(floodwall.target(), head, "").status, 200);
    }
    floodwall.await_rest();
    let back = Backend::at(address);
    await_that("it is not tried again", || of_server(&ask(&floodwall, 4), &back) == 2);
    assert_eq!(well.requests().iter().filter(|line| line.starts_with("POST")).count(), 10);
}

#[test]
fn where_all_are_down_all_are_tried() {
    let servers = [Backend::start(), Backend::start()];
    let addresses = [servers[0].address(), servers[1].address()];
    let floodwall = before(&[&servers[0], &servers[1]], "[balance]\neject_for = '1h'\n");
    drop(servers);
    for _ in 0..12 {
        assert_eq!(get(&floodwall, "/").status, 502);
    }
    let back = addresses.map(Backend::at);
    // The one that answers first is up, and the other ejected still.
    let answers = ask(&floodwall, 10);
    let numbers = [of_server(&answers, &back[0]), of_server(&answers, &back[1])];
    assert!(numbers == [10, 0] || numbers == [0, 10], "{numbers:?}");
}

/// One of garbage, of silence, of closed connections: as many exchanges as its failures in a row
/// are lost, and no more.
#[test]
fn who_fails_is_ejected_after_failures_in_a_row() {
    for manner in [Manner::Garbage, Manner::Closing, Manner::Hanging] {
        let servers = [Backend::start(), Backend::start()];
        let configuration = "[balance]\neject_after = 3\neject_for = '1h'\n\
                             [upstream_limits]\nresponse_timeout = '100ms'\n\
                             [budget.anonymous]\nclient = { rate = '1/d', burst = 100 }\n\
                             site = { rate = '1/d', burst = 100 }\n";
        let floodwall = before(&[&servers[0], &servers[1]], configuration);
        servers[0].set(manner);
        let answers: Vec<u16> = (0..20).map(|_| get(&floodwall, "/").status).collect();
        let lost = answers.iter().filter(|status| **status != 200).count();
        assert_eq!((lost, servers[0].number()), (3, 3), "{manner:?}: {answers:?}");
        // What is answered with 503 is answered.
        servers[1].set(Manner::Failing);
        assert_eq!(get(&floodwall, "/").status, 503);
    }
}

/// Two servers; the first one has all requests, for its weight.
struct Pair {
    first: Application,
    second: Application,
    floodwall: Inside,
}

const FORWARD: &str = "[[rule]]\nname = 'static'\nprefix = '/static/'\naction = 'forward'\n";

impl Pair {
    fn start() -> Self {
        let (first, second) = (Application::tcp(), Application::tcp());
        let configuration = format!(
            "upstream = [{{ url = '{}', weight = 1000 }}, '{}']\n{FORWARD}",
            first.address, second.address
        );
        Self { floodwall: of(&configuration, 1), first, second }
    }

    fn client(&self) -> Wire {
        Wire::tcp(TcpStream::connect(self.floodwall.target().address()).expect("a port"))
    }

    /// A connection to the first server that has been used, and is idle; and its client.
    fn pooled(&self) -> (Wire, Wire) {
        let mut client = self.client();
        client.send("GET /static/ HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut wire = self.first.accept();
        wire.head();
        wire.send(OK);
        client.head();
        client.exactly(2);
        (client, wire)
    }
}

/// Safe, held by no budget, no logout: it is asked again, of the next server, and only where the
/// connection had been used before and not a byte of an answer has come.
#[test]
fn only_what_is_safe_and_holds_nothing_is_asked_again() {
    let mut sent_again = 0;
    let requests = [
        ("GET /static/x HTTP/1.1\r\nHost: a\r\n\r\n", true),
        ("HEAD /static/x HTTP/1.1\r\nHost: a\r\n\r\n", true),
        // It holds a budget.
        ("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", false),
        ("POST /static/x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", false),
        ("DELETE /static/x HTTP/1.1\r\nHost: a\r\n\r\n", false),
        ("GET /static/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nform", false),
        // It has a spare, or may prove a path.
        ("GET /logout/ HTTP/1.1\r\nHost: a\r\n\r\n", false),
    ];
    for (request, again) in requests {
        let pair = Pair::start();
        let (mut client, mut wire) = pair.pooled();
        client.send(request);
        wire.head();
        drop(wire);
        if again {
            // On a new connection to the same server, which is asked once more at most.
            let mut wire = pair.first.accept();
            wire.head();
            drop(wire);
            assert!(client.head().starts_with("HTTP/1.1 502 "), "{request}");
        } else {
            assert!(client.head().starts_with("HTTP/1.1 502 "), "{request}");
            sent_again += usize::from(!pair.first.is_left_alone());
        }
        sent_again += usize::from(!pair.second.is_left_alone());
        pair.floodwall.await_rest();
    }
    // A connection that is new proves that the server is there.
    let pair = Pair::start();
    let mut client = pair.client();
    client.send(requests[0].0);
    pair.first.accept().head();
    assert!(client.head().starts_with("HTTP/1.1 502 "));
    sent_again += usize::from(!pair.first.is_left_alone() || !pair.second.is_left_alone());
    // As much as a byte of an answer is an answer.
    let pair = Pair::start();
    let (mut client, mut wire) = pair.pooled();
    client.send(requests[0].0);
    wire.head();
    wire.send("H");
    drop(wire);
    assert!(client.head().starts_with("HTTP/1.1 502 "));
    sent_again += usize::from(!pair.first.is_left_alone() || !pair.second.is_left_alone());
    bounded(
        "9 used and new connections that are closed",
        "requests sent again that write",
        0,
        sent_again as u64,
    );
}

/// A server that is gone with its connections: what may be asked again is asked of another.
#[test]
fn what_was_sent_to_a_server_that_is_gone_goes_to_another_if_it_may() {
    let listener = TcpListener::bind(own_address()).expect("the port is its own");
    let first = format!("http://{}", listener.local_addr().expect("it is bound"));
    let second = Application::tcp();
    let configuration = format!(
        "upstream = [{{ url = '{first}', weight = 1000 }}, '{}']\n{FORWARD}",
        second.address
    );
    let floodwall = of(&configuration, 1);
    let request = "GET /static/x HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = Wire::tcp(TcpStream::connect(floodwall.target().address()).expect("a port"));
    client.send(request);
    let mut wire = Wire::tcp(listener.accept().expect("it connects").0);
    wire.head();
    wire.send(OK);
    client.head();
    client.exactly(2);
    client.send(request);
    wire.head();
    drop(listener);
    drop(wire);
    let mut wire = second.accept();
    assert!(wire.head().starts_with("GET /static/x "));
    wire.send(OK);
    assert!(client.head().starts_with("HTTP/1.1 200 "));
}
