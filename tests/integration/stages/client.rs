//! The client hangs up. What the application does with its request is seen to the end all the same.

use super::{
    CHARGED, CLEAN, CREATED, Cost, DELETION, FAILED, FREE, LOST, Rig, Stage, WHOLE, created, key,
    play,
};
use crate::raw::{HangUp, Wire, values};
use crate::support::attack::bounded;

const UPLOAD: &str = "POST /x/ HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n";

/// The application's end of an exchange whose client is gone, and noticed to be.
fn gone(rig: &Rig, target: &str, how: HangUp) -> Wire {
    let (client, wire) = rig.get(target);
    client.hang_up(how);
    rig.serve_another();
    wire
}

const STAGES: [Stage; 22] = [
    (
        "within the head",
        |rig, how| {
            let mut client = rig.connect();
            client.send("GET /x/ HTTP/1.1\r\nHost: a\r\nX");
            client.hang_up(how);
            rig.serve_another();
        },
        FREE,
    ),
    (
        "before the body",
        |rig, how| {
            let (client, mut wire) = rig.asked(UPLOAD);
            client.hang_up(how);
            assert_eq!(wire.rest(), "");
        },
        CHARGED,
    ),
    (
        "within the body",
        |rig, how| {
            let (mut client, mut wire) = rig.asked(UPLOAD);
            client.send("hello");
            assert_eq!(wire.exactly(5), b"hello");
            client.hang_up(how);
            assert_eq!(wire.rest(), "");
        },
        CHARGED,
    ),
    (
        "within a chunk",
        |rig, how| {
            let (mut client, mut wire) =
                rig.asked("POST /x/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            client.send("5\r\nhello\r\n5\r\n");
            wire.until("hello\r\n");
            client.hang_up(how);
            assert!(!wire.rest().contains("0\r\n\r\n"), "it looks whole");
        },
        CHARGED,
    ),
    (
        "while it waits for budget",
        |rig, how| {
            let mut held: Vec<_> = (0..super::BURST).map(|_| rig.get("/x/")).collect();
            let mut client = rig.connect();
            client.send("GET /waits/ HTTP/1.1\r\nHost: a\r\n\r\n");
            rig.serve_another();
            assert!(client.is_silent(), "it waits");
            client.hang_up(how);
            rig.serve_another();
            for (client, wire) in &mut held {
                wire.send(CLEAN);
                client.head();
            }
        },
        FREE,
    ),
    (
        "while it waits for a proof",
        |rig, how| {
            let (mut first, mut wire) = rig.get("/logout/");
            let mut client = rig.connect();
            client.send("GET /logout/?next=/waits/ HTTP/1.1\r\nHost: a\r\n\r\n");
            rig.serve_another();
            assert!(client.is_silent(), "it waits");
            client.hang_up(how);
            rig.serve_another();
            wire.send(CLEAN);
            first.head();
        },
        Cost { spares: 0, ..WHOLE },
    ),
    (
        "while it waits for a spare",
        |rig, how| {
            rig.prove(1, 2);
            let (mut first, mut wire) = rig.get("/logout/");
            let mut client = rig.connect();
            client.send("GET /logout/?next=/waits/ HTTP/1.1\r\nHost: a\r\n\r\n");
            rig.serve_another();
            assert!(client.is_silent(), "it waits");
            client.hang_up(how);
            rig.serve_another();
            wire.send(created(3));
            first.head();
        },
        WHOLE,
    ),
    (
        "while it waits for its key",
        |rig, how| {
            let (mut first, mut wire) = rig.get("/x/");
            wire.send(created(1));
            first.head();
            let cookie = format!("Cookie: sessionid={}", key(1));
            let (mut first, mut wire) =
                rig.asked(&format!("GET /logout/ HTTP/1.1\r\nHost: a\r\n{cookie}\r\n\r\n"));
            let mut client = rig.connect();
            client.send(format!("GET /waits/ HTTP/1.1\r\nHost: a\r\n{cookie}\r\n\r\n"));
            rig.serve_another();
            assert!(client.is_silent(), "it waits");
            client.hang_up(how);
            rig.serve_another();
            wire.send(DELETION);
            first.head();
        },
        CREATED,
    ),
    (
        "while the application thinks, and creates",
        |rig, how| {
            let mut wire = gone(rig, "/x/", how);
            wire.send(created(1));
        },
        CREATED,
    ),
    (
        "while the application thinks, and writes nothing",
        |rig, how| {
            let mut wire = gone(rig, "/x/", how);
            wire.send(CLEAN);
        },
        FREE,
    ),
    (
        "while the application thinks, and fails",
        |rig, how| {
            let mut wire = gone(rig, "/x/", how);
            wire.send(FAILED);
        },
        CHARGED,
    ),
    (
        "while the application thinks, and dies",
        |rig, how| {
            let wire = gone(rig, "/x/", how);
            wire.hang_up(how);
        },
        CHARGED,
    ),
    (
        "within the head of the answer",
        |rig, how| {
            let (client, mut wire) = rig.get("/x/");
            let answer = created(1);
            let (part, rest) = answer.split_at(answer.len() - 10);
            wire.send(part);
            client.hang_up(how);
            rig.serve_another();
            wire.send(rest);
        },
        CREATED,
    ),
    (
        "within the body of the answer",
        |rig, how| {
            let (mut client, mut wire) = rig.get("/x/");
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
            client.until("hello");
            client.hang_up(how);
            assert_eq!(wire.rest(), "");
        },
        FREE,
    ),
    (
        "within the body of an answer that creates",
        |rig, how| {
            let (mut client, mut wire) = rig.get("/x/");
            wire.send(created(1).replace("Content-Length: 0", "Content-Length: 9"));
            wire.send("hello");
            client.until("hello");
            client.hang_up(how);
            assert_eq!(wire.rest(), "");
        },
        CREATED,
    ),
    (
        "between pipelined requests",
        |rig, how| {
            let mut client = rig.connect();
            client.send("GET /x/ HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3));
            let mut wire = rig.application.accept();
            wire.head();
            wire.send(CLEAN);
            client.head();
            let mut wire = rig.application.accept();
            wire.head();
            client.hang_up(how);
            rig.serve_another();
            // The third is not begun any more.
            wire.send(created(1));
        },
        CREATED,
    ),
    (
        "with a spare, which comes back",
        |rig, how| {
            rig.prove(1, 2);
            let mut wire = gone(rig, "/logout/", how);
            wire.send(created(3));
        },
        WHOLE,
    ),
    (
        "with a spare, which is deleted",
        |rig, how| {
            rig.prove(1, 2);
            let mut wire = gone(rig, "/logout/", how);
            wire.send(DELETION);
        },
        Cost { spares: 0, ..WHOLE },
    ),
    (
        "with a spare, which is lost",
        |rig, how| {
            rig.prove(1, 2);
            let wire = gone(rig, "/logout/", how);
            wire.hang_up(how);
        },
        LOST,
    ),
    (
        "with a spare, within the body of the answer",
        |rig, how| {
            rig.prove(1, 2);
            let (mut client, mut wire) = rig.get("/logout/");
            wire.send(created(3).replace("Content-Length: 0", "Content-Length: 9"));
            wire.send("hello");
            client.until("hello");
            client.hang_up(how);
            assert_eq!(wire.rest(), "");
        },
        WHOLE,
    ),
    (
        "before a proof, which is made all the same",
        |rig, how| {
            let mut wire = gone(rig, "/logout/", how);
            wire.send(created(1));
            let mut proof = rig.application.accept();
            assert_eq!(values(&proof.head(), "cookie"), [format!("sessionid={}", key(1))]);
            proof.send(created(2));
        },
        WHOLE,
    ),
    (
        "within a proof",
        |rig, how| {
            let (client, mut wire) = rig.get("/logout/");
            wire.send(created(1));
            let mut proof = rig.application.accept();
            proof.head();
            client.hang_up(how);
            rig.serve_another();
            proof.send(created(2));
        },
        WHOLE,
    ),
];

#[test]
fn a_client_that_hangs_up_leaves_nothing_behind_at_any_stage() {
    let (stages, sent_again) = play(&STAGES);
    let attack = format!("{stages} hang-ups of a client of two servers, at every stage");
    bounded(&attack, "requests sent again", 0, sent_again as u64);
}
