//! Clients of HTTP/2 that flood, stall or take back, against one that is honest.

use std::time::Duration;

use crate::raw::{Application, OK, Proxy, Wire, patient};
use crate::support::attack::bounded;
use crate::support::frames::{CANCEL, Frames, NO_ERROR, REFUSED_STREAM};
use crate::support::inside::await_that;
use crate::upgrades::ECHO_AGREED;

/// What a test waits for that is to happen after this.
const SHORT: Duration = Duration::from_millis(200);

fn connect(proxy: &Proxy) -> Frames {
    Frames::connect(proxy.address(), &[])
}

/// A whole exchange of somebody else, over HTTP/1.
fn serve_another(proxy: &Proxy, application: &Application) {
    let mut client = proxy.connect();
    client.send("GET /another HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let mut wire = application.accept();
    assert!(wire.head().starts_with("GET /another "));
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    assert!(client.rest().ends_with("ok"));
}

/// A frame: type, flags, stream, payload (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn ping() -> Vec<u8> {
    frame(6, 0, 0, b"frames!!")
}

/// Frames that are no request, and of which a client may send as many as it likes.
fn chatter() -> [(&'static str, Vec<u8>); 5] {
    [
        ("PING", ping()),
        ("SETTINGS", frame(4, 0, 0, &[])),
        ("PRIORITY", frame(2, 0, 1, &[0, 0, 0, 3, 1])),
        ("WINDOW_UPDATE and PING", [frame(8, 0, 0, &[0, 0, 0, 1]), ping()].concat()),
        ("unknown", frame(0xbe, 0, 0, b"x")),
    ]
}

/// As often as somebody sends it who does not stop by himself.
const ENDLESS: u64 = 1 << 40;

#[test]
fn frames_that_are_no_request_keep_no_connection_open() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    (settings.downstream_limits.header_timeout, settings.downstream_limits.idle_timeout) =
        (SHORT, SHORT);
    let proxy = Proxy::start(settings);
    for (name, frame) in chatter() {
        for requests in [0, 1] {
            println!("{name}, after {requests} requests");
            let mut client = connect(&proxy);
            if requests == 1 {
                client.get(1, &[]);
                let mut wire = application.accept();
                wire.head();
                wire.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
                assert_eq!(client.answer(1).status, "200");
            }
            client.flood_on(&frame, ENDLESS);
            serve_another(&proxy, &application);
            let told = client.end();
            assert!(told.iter().all(|code| *code == NO_ERROR), "{name}: {told:?}");
        }
    }
}

#[test]
fn an_idle_client_is_told_before_its_connection_is_closed() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.downstream_limits.idle_timeout = SHORT;
    let proxy = Proxy::start(settings);
    let mut client = connect(&proxy);
    client.get(1, &[]);
    let mut wire = application.accept();
    wire.head();
    // A slow application is not held against its client.
    std::thread::sleep(SHORT * 2);
    wire.send(OK);
    assert_eq!(client.answer(1).status, "200");
    assert_eq!(client.end(), [NO_ERROR, NO_ERROR]);
}

#[test]
fn a_head_that_drips_is_cut_off() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.downstream_limits.header_timeout = SHORT;
    let proxy = Proxy::start(settings);
    let mut client = Frames::connect(proxy.address(), &["acknowledge=no"]);
    client.flood(&frame(1, 0, 1, b"\x82\x84\x86"), 1);
    client.end();
    let mut client = Frames::connect(proxy.address(), &["preface=no"]);
    client.flood(b"PRI * HTTP/2.0\r\n", 1);
    client.end();
    assert_eq!(proxy.failure(), "head-timeout");
    assert!(application.is_left_alone());
}

#[test]
fn who_waits_makes_room_and_is_told() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.downstream_limits.connections_per_client = 1;
    let proxy = Proxy::start(settings);
    let mut client = connect(&proxy);
    client.get(1, &[]);
    let mut wire = application.accept();
    wire.head();
    wire.send(OK);
    assert_eq!(client.answer(1).status, "200");
    await_that("an idle connection does not make room", || {
        let mut other = proxy.connect();
        other.ask("GET * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").contains(" 400 ")
    });
    assert_eq!(client.end(), [NO_ERROR]);
}

/// Of a client that gives no room, each exchange is given up as its connection is in HTTP/1.
#[test]
fn a_stream_whose_client_takes_nothing_is_reset_and_others_go_on() {
    let application = Application::tcp();
    for window in ["4=0", "4=1"] {
        let mut settings = patient(&application);
        settings.downstream_limits.send_timeout = SHORT;
        let proxy = Proxy::start(settings);
        let mut client = Frames::connect(proxy.address(), &[window, "windows=no"]);
        let mut wires = Vec::new();
        for stream in (1..20).step_by(2) {
            client.get(stream, &[]);
            let mut wire = application.accept();
            wire.head();
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
            wire.send("x".repeat(20_000));
            wires.push(wire);
        }
        let mut reset = 0;
        while reset < wires.len() {
            let event = client.await_event("reset");
            assert_eq!(event["code"], CANCEL, "{event}");
            reset += 1;
        }
        for mut wire in wires {
            assert_eq!(wire.rest(), "", "the application is let go");
        }
        assert_eq!(proxy.failure(), "send-stalled");
        // One that takes what it gets is served on the same connection.
        client.get(21, &[]);
        client.window(21, 100_000);
        let mut wire = application.accept();
        wire.head();
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n");
        wire.send("x".repeat(50_000));
        assert_eq!(client.answer(21).bytes, 50_000);
    }
}

#[test]
fn an_upload_that_stalls_ends_alone() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.downstream_limits.body_timeout = SHORT;
    let proxy = Proxy::start(settings);
    let mut client = connect(&proxy);
    client.request(1, &[(":method", "POST")], false);
    let mut stalled = application.accept();
    stalled.head();
    // Frames without content are no progress.
    client.flood_on(&frame(0, 0, 1, b""), 50);
    let answer = client.answer(1);
    assert!(answer.status == "408" || answer.reset.is_some(), "{answer:?}");
    client.get(3, &[]);
    let mut wire = application.accept();
    wire.head();
    wire.send(OK);
    assert_eq!(client.answer(3).status, "200");
    assert_eq!(stalled.rest(), "");
}

/// Requests that were reset go on in the application: they keep their places.
#[test]
fn resets_get_no_more_into_the_application_than_streams_may_run() {
    const STREAMS: usize = 10;
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.http2.streams = STREAMS as u32;
    settings.http2.resets = 10_000;
    let proxy = Proxy::start(settings);
    let mut client = connect(&proxy);
    let mut running: Vec<Wire> = Vec::new();
    let mut most = 0;
    for round in 0..5 {
        let first = 1 + round * 1_000;
        for stream in (first..).step_by(2).take(STREAMS) {
            client.get(stream, &[]);
        }
        while running.len() < STREAMS {
            let mut wire = application.accept();
            wire.head();
            running.push(wire);
        }
        for stream in (first..).step_by(2).take(STREAMS) {
            client.reset(stream);
        }
        // And some more, each reset with the frame behind it.
        client.resets(first + 100, 100, &[]);
        // Not waiting until it is sent: what comes meanwhile would be passed over.
        client.flood_on(&ping(), 1);
        client.await_event("pong");
        while let Some(mut wire) = application.accept_more() {
            wire.head();
            running.push(wire);
        }
        most = most.max(running.len());
        // The application answers: the places are free again.
        for mut wire in running.drain(..) {
            wire.send(OK);
            assert_eq!(wire.rest(), "");
        }
    }
    bounded(
        "Requests over HTTP/2, reset as soon as they reach the application",
        "of a connection in the application at once",
        STREAMS as u64,
        most as u64,
    );
    client.get(9_001, &[]);
    let mut wire = application.accept();
    wire.head();
    wire.send(OK);
    assert_eq!(client.answer(9_001).status, "200");
}

/// Streams are no way around the limits of connections.
#[test]
fn a_client_has_no_more_exchanges_at_once_than_connections() {
    const MOST: usize = 16;
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.downstream_limits.connections_per_client = MOST;
    let proxy = Proxy::start(settings);
    let mut clients = [connect(&proxy), connect(&proxy)];
    let mut running = Vec::new();
    for number in 0..MOST {
        clients[number % 2].get(1 + 2 * number as u32, &[]);
        let mut wire = application.accept();
        wire.head();
        running.push(wire);
    }
    for client in &mut clients {
        client.get(1_001, &[]);
        // It may be sent again: nothing of it was begun.
        assert_eq!(client.answer(1_001).reset, Some(REFUSED_STREAM));
    }
    assert!(application.is_left_alone());
    running[0].send(OK);
    assert_eq!(clients[0].answer(1).status, "200");
    clients[1].get(1_003, &[]);
    let wire = &mut running[0];
    wire.head();
    wire.send(OK);
    assert_eq!(clients[1].answer(1_003).status, "200");
}

/// CVE-2023-44487: requests that are reset at once cost the client nothing.
#[test]
fn who_resets_too_much_loses_the_connection() {
    const RESETS: u32 = 50;
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.http2.resets = RESETS;
    let proxy = Proxy::start(settings);
    let mut client = connect(&proxy);
    client.resets_on(1, 100_000, &[]);
    client.end();
    while application.accept_more().is_some() {}
    assert_eq!(proxy.failure(), "resets");

    // One by one, each when it has reached the application: another, as the first may still be told of
    // connections that were opened for what was reset.
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.http2.resets = RESETS;
    let proxy = Proxy::start(settings);
    let mut client = connect(&proxy);
    let mut running = Vec::new();
    for number in 0..=RESETS {
        client.get(1 + number * 2, &[]);
        let mut wire = application.accept();
        wire.head();
        running.push(wire);
        client.reset(1 + number * 2);
    }
    assert_eq!(client.end(), [NO_ERROR]);
    assert_eq!(proxy.failure(), "resets");
}

/// Each is a task more than its stream, which ends without an answer of its own.
#[test]
fn tunnels_that_end_are_no_resets() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.http2.resets = 2;
    let proxy = Proxy::start(settings);
    let mut client = connect(&proxy);
    let mut open = Vec::new();
    for stream in (1..).step_by(2).take(8) {
        client.request(stream, &[(":method", "CONNECT"), (":protocol", "echo/1")], false);
        let mut wire = application.accept();
        wire.head();
        wire.send(ECHO_AGREED);
        client.await_event("headers");
        open.push((stream, wire));
    }
    for (stream, mut wire) in open {
        client.data(stream, "bye", true);
        assert_eq!(wire.rest(), "bye");
    }
    await_that("a tunnel is left", || proxy.app.tunnels.number() == 0);
    client.get(101, &[]);
    let mut wire = application.accept();
    wire.head();
    wire.send(OK);
    assert_eq!(client.answer(101).text, "ok");
}
