//! WebSocket between a client and a server of another language.

use std::process::Command;

use crate::support::inside::{Inside, await_that};
use crate::support::recorder::Recorder;
use crate::support::websockets::Program;

/// A server, Floodwall in front of it, and where clients go.
fn served() -> (Program, Inside, String) {
    let (server, address) = Program::server();
    let inside = Inside::start(&format!("http://{address}"), "");
    let front = inside.target().to_string();
    (server, inside, front)
}

/// Waits until nothing of a tunnel is held any more.
fn await_none(inside: &Inside) {
    await_that("something is left of a tunnel", || {
        inside.app.tunnels.number() == 0 && inside.app.seats.taken() == 0
    });
    inside.await_rest();
}

#[test]
fn messages_pings_and_close_codes_pass_both_ways() {
    let (server, inside, front) = served();
    let (mut client, shaken) = Program::client(&front, "/chat", None);
    assert_eq!(shaken["status"], 101);
    assert_eq!(shaken["protocol"], "chat", "subprotocols pass");
    assert!(shaken["extensions"].as_str().unwrap().starts_with("permessage-deflate"));
    let opened = server.said();
    assert_eq!(opened["forwarded"][0], "127.0.0.1");
    assert_eq!(client.ask("volley 1000")["whole"], 1_000);
    assert_eq!(client.ask("large 3")["whole"], 3);
    assert_eq!(client.ask("ping")["pong"], true);
    assert_eq!(client.ask("close 4001")["code"], 4001);
    let closed = server.said();
    assert_eq!((&closed["code"], &closed["reason"]), (&4001.into(), &"bye".into()));
    drop(client);
    await_none(&inside);

    let (mut client, _) = Program::client(&front, "/close/4002", None);
    let ended = client.ask("end");
    assert_eq!((&ended["code"], &ended["reason"]), (&4002.into(), &"as asked".into()));
    drop(client);

    let (_client, refused) = Program::client(&front, "/refuse", None);
    assert_eq!((&refused["status"], &refused["body"]), (&403.into(), &"not here\n".into()));
}

#[test]
fn a_side_that_is_killed_ends_the_other() {
    let (server, inside, front) = served();
    let (client, _) = Program::client(&front, "/", None);
    assert_eq!(server.said()["event"], "open");
    assert_eq!(inside.app.tunnels.number(), 1);
    client.kill();
    let closed = server.said();
    assert_eq!((&closed["event"], &closed["code"]), (&"closed".into(), &1006.into()));
    await_none(&inside);

    let (mut client, _) = Program::client(&front, "/", None);
    assert_eq!(client.ask("echo hello")["echo"], "hello");
    server.kill();
    assert_eq!(client.ask("end")["code"], 1006);
    await_none(&inside);
}

#[test]
fn curl_asks_for_another_protocol_and_reads_what_comes() {
    let (_server, inside, front) = served();
    let output = Command::new("curl")
        .args(["--silent", "--include", "--no-buffer", "--http1.1", "--max-time", "20"])
        .args(["--header", "Connection: Upgrade", "--header", "Upgrade: websocket"])
        .args(["--header", "Sec-WebSocket-Version: 13", "--header", "Sec-WebSocket-Protocol: chat"])
        .args(["--header", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="])
        .arg(format!("http://{front}/close/4003"))
        .output()
        .expect("curl runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{said}");
    assert!(said.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{said}");
    // The frame of a close: final, opcode 8, its code, and the reason.
    let frame = [&[0x88, 10][..], &4003_u16.to_be_bytes(), b"as asked"].concat();
    assert!(output.stdout.ends_with(&frame), "{:?}", output.stdout);
    await_none(&inside);
}

/// A client over HTTP/2, and how its handshake went.
fn streamed(
    front: &str,
    path: &str,
    protocol: &str,
    fields: &[&str],
) -> (Program, serde_json::Value) {
    let arguments = [&[front, path, protocol], fields].concat();
    let client = Program::start("stream", &arguments);
    let said = client.said();
    (client, said)
}

#[test]
fn over_http2_the_same_goes_by_extended_connect() {
    let (server, inside, front) = served();
    let (mut client, shaken) =
        streamed(&front, "/chat", "websocket", &["cookie=a=1", "cookie=b=2"]);
    assert_eq!((&shaken["allowed"], &shaken["status"]), (&1.into(), &"200".into()), "{shaken}");
    let headers = shaken["headers"].as_object().unwrap();
    assert_eq!(headers["sec-websocket-protocol"], "chat", "{shaken}");
    for name in ["connection", "upgrade", "sec-websocket-accept", "content-length"] {
        assert!(!headers.contains_key(name), "{shaken}");
    }
    let opened = server.said();
    assert_eq!(opened["cookies"], serde_json::json!(["a=1; b=2"]));
    assert_eq!(opened["protocol"], "chat");
    inside.await_rest();
    assert_eq!(client.ask("volley 1000")["whole"], 1_000);
    assert_eq!(client.ask("large 3")["whole"], 3);
    assert_eq!(client.ask("ping")["pong"], true);
    assert_eq!(client.ask("close 4001")["code"], 4001);
    assert_eq!(server.said()["code"], 4001);
    drop(client);
    await_none(&inside);

    let (mut client, _) = streamed(&front, "/close/4002", "websocket", &[]);
    assert_eq!(client.ask("end")["code"], 4002);
    drop(client);
    await_none(&inside);

    // A stream that is reset ends its tunnel, and so does a connection.
    assert_eq!(
        (&server.said()["event"], &server.said()["event"]),
        (&"open".into(), &"closed".into())
    );
    let (mut client, _) = streamed(&front, "/reset", "websocket", &[]);
    assert_eq!(server.said()["event"], "open");
    client.ask("reset");
    assert_eq!(server.said()["code"], 1006);
    await_that("the place is kept", || inside.app.tunnels.number() == 0);
    client.kill();
    let (client, _) = streamed(&front, "/killed", "websocket", &[]);
    assert_eq!(server.said()["event"], "open");
    client.kill();
    assert_eq!(server.said()["code"], 1006);
    await_none(&inside);

    let (mut client, _) = streamed(&front, "/", "websocket", &[]);
    assert_eq!(client.ask("echo hello")["echo"], "hello");
    server.kill();
    assert_eq!(client.ask("end")["code"], 1006);
    drop(client);
    await_none(&inside);
}

#[test]
fn over_http2_nothing_else_becomes_a_tunnel() {
    let (server, inside, front) = served();
    for (path, protocol, fields, status) in [
        ("/refuse", "websocket", &[][..], "403"),
        ("/", "connect-udp", &[], "501"),
        ("/", "h2c", &[], "501"),
        ("/", "none", &[], "405"),
        ("/", "websocket", &["sec-websocket-version=12"], "501"),
    ] {
        let (_client, answer) = streamed(&front, path, protocol, fields);
        assert_eq!(answer["status"], status, "{path} {protocol}: {answer}");
    }
    assert_eq!(inside.app.tunnels.number(), 0);
    drop((server, inside));

    // An application that knows of no upgrade answers 200, which to the client would be a tunnel.
    let shop = Recorder::start(|_| crate::raw::OK.to_owned());
    let inside = Inside::start(shop.upstream(), "");
    let front = inside.target().to_string();
    let (_client, answer) = streamed(&front, "/", "websocket", &[]);
    assert_eq!(answer["status"], "502", "{answer}");
    // Nor does a rule that answers by itself.
    let rule =
        "[[rule]]\nname = 'none'\npath = '/none'\naction = 'answer'\nanswer = { status = 200 }";
    let inside = Inside::start(shop.upstream(), rule);
    let (_client, answer) = streamed(&inside.target().to_string(), "/none", "websocket", &[]);
    assert_eq!(answer["status"], "502", "{answer}");
}
