//! The application hangs up. Its answer is evidence as far as it came, and what may have been done
//! is not asked for again.

use std::net::SocketAddr;

use floodwall::proxy::settings::Address;

use super::{
    CHARGED, CLEAN, CREATED, FAILED, FREE, LOST, Rig, Stage, WHOLE, created, inside, key, play,
};
use crate::raw::{Application, HangUp, Wire, values};
use crate::support::address::own_address;
use crate::support::attack::bounded;

const UPLOAD: &str = "POST /x/ HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n";

/// The client is told that there is no answer, and the connection to it has not become unusable
/// by a half-told one.
fn is_told(mut client: Wire) {
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
}

/// What the client has got so far does not look whole.
fn is_cut(mut client: Wire) {
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    let rest = client.rest();
    assert!(rest.len() < 10 && !rest.contains("0\r\n\r\n"), "{rest:?}");
}

fn within_the_proof(rig: &Rig, answer: &str, how: HangUp) {
    let (mut client, mut wire) = rig.get("/logout/");
    wire.send(created(1));
    let mut proof = rig.application.accept();
    proof.head();
    if !answer.is_empty() {
        proof.send(answer);
    }
    proof.hang_up(how);
    // It was created for this client, who gets it.
    assert_eq!(values(&client.head(), "set-cookie"), [format!("sessionid={}", key(1))]);
}

const STAGES: [Stage; 18] = [
    (
        "before the body",
        |rig, how| {
            let (client, wire) = rig.asked(UPLOAD);
            wire.hang_up(how);
            is_told(client);
        },
        CHARGED,
    ),
    (
        "within the body",
        |rig, how| {
            let (mut client, mut wire) = rig.asked(UPLOAD);
            client.send("hello");
            wire.exactly(5);
            wire.hang_up(how);
            is_told(client);
        },
        CHARGED,
    ),
    (
        "instead of an answer",
        |rig, how| {
            let (client, wire) = rig.get("/x/");
            wire.hang_up(how);
            is_told(client);
        },
        CHARGED,
    ),
    (
        "after 100",
        |rig, how| {
            let (client, mut wire) = rig.get("/x/");
            wire.send("HTTP/1.1 100 Continue\r\n\r\n");
            wire.hang_up(how);
            is_told(client);
        },
        CHARGED,
    ),
    (
        "within the status line",
        |rig, how| {
            let (client, mut wire) = rig.get("/x/");
            wire.send("HTTP/1.1 20");
            wire.hang_up(how);
            is_told(client);
        },
        CHARGED,
    ),
    (
        "within the head",
        |rig, how| {
            let (client, mut wire) = rig.get("/x/");
            let answer = created(1);
            wire.send(&answer[..answer.len() - 2]);
            wire.hang_up(how);
            is_told(client);
        },
        CHARGED,
    ),
    (
        "before the body of the answer",
        |rig, how| {
            let (client, mut wire) = rig.get("/x/");
            wire.send(CLEAN.replace(": 0", ": 10"));
            rig.serve_another();
            wire.hang_up(how);
            is_cut(client);
        },
        FREE,
    ),
    (
        "within the body of the answer",
        |rig, how| {
            let (client, mut wire) = rig.get("/x/");
            wire.send(CLEAN.replace(": 0", ": 10"));
            wire.send("hello");
            rig.serve_another();
            wire.hang_up(how);
            is_cut(client);
        },
        FREE,
    ),
    (
        "within a chunk of the answer",
        |rig, how| {
            let (client, mut wire) = rig.get("/x/");
            wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhe");
            rig.serve_another();
            wire.hang_up(how);
            is_cut(client);
        },
        FREE,
    ),
    (
        "after a head that creates",
        |rig, how| {
            let (client, mut wire) = rig.get("/x/");
            wire.send(created(1).replace("Content-Length: 0", "Content-Length: 10"));
            rig.serve_another();
            wire.hang_up(how);
            is_cut(client);
        },
        CREATED,
    ),
    (
        "with a spare, instead of an answer",
        |rig, how| {
            rig.prove(1, 2);
            let (client, wire) = rig.get("/logout/");
            wire.hang_up(how);
            is_told(client);
            // What was lost is not lent again.
            let mut client = rig.connect();
            client.send("GET /logout/ HTTP/1.1\r\nHost: a\r\n\r\n");
            let mut wire = rig.application.accept();
            assert_ne!(values(&wire.head(), "cookie"), [format!("sessionid={}", key(2))]);
            wire.send(CLEAN);
            client.head();
        },
        LOST,
    ),
    (
        "with a spare, within the head",
        |rig, how| {
            rig.prove(1, 2);
            let (client, mut wire) = rig.get("/logout/");
            let answer = created(3);
            wire.send(&answer[..answer.len() - 2]);
            wire.hang_up(how);
            is_told(client);
        },
        LOST,
    ),
    (
        "with a spare, after the head",
        |rig, how| {
            rig.prove(1, 2);
            let (client, mut wire) = rig.get("/logout/");
            wire.send(created(3).replace("Content-Length: 0", "Content-Length: 10"));
            rig.serve_another();
            wire.hang_up(how);
            is_cut(client);
        },
        WHOLE,
    ),
    (
        "with a spare, after a failure",
        |rig, how| {
            rig.prove(1, 2);
            let (mut client, mut wire) = rig.get("/logout/");
            wire.send(FAILED);
            assert!(client.head().starts_with("HTTP/1.1 500 "));
            wire.hang_up(how);
        },
        LOST,
    ),
    (
        "before a proof",
        |rig, how| {
            let (client, wire) = rig.get("/logout/");
            wire.hang_up(how);
            is_told(client);
        },
        LOST,
    ),
    ("instead of a proof", |rig, how| within_the_proof(rig, "", how), PROOF_LOST),
    (
        "within the head of a proof",
        |rig, how| {
            let answer = created(2);
            within_the_proof(rig, &answer[..answer.len() - 2], how);
        },
        PROOF_LOST,
    ),
    ("within a proof that fails", |rig, how| within_the_proof(rig, FAILED, how), PROOF_LOST),
];

/// The session of the first answer is its client's, and paid.
const PROOF_LOST: super::Cost = super::Cost { keys: 1, ..LOST };

#[test]
fn an_application_that_hangs_up_is_not_asked_again_at_any_stage() {
    let (stages, sent_again) = play(&STAGES);
    let attack = format!("{stages} hang-ups of one of two servers, at every stage");
    bounded(&attack, "requests sent again", 0, sent_again as u64);
}

/// Whether the request had been written when the reset came nobody knows: it may be charged. Where
/// it had not, another server would be asked, if there were one.
#[test]
fn an_application_that_resets_before_it_reads_is_asked_once() {
    for how in [HangUp::Finish, HangUp::Reset] {
        let rig = Rig::alone();
        let mut client = rig.connect();
        client.send("GET /x/ HTTP/1.1\r\nHost: a\r\n\r\n");
        rig.application.accept().hang_up(how);
        is_told(client);
        rig.floodwall.await_rest();
        assert!(rig.room("anonymous") + 1 >= super::BURST);
        rig.serve_another();
        assert!(rig.application.is_left_alone());
    }
}

#[test]
fn an_application_that_refuses_connections_costs_nothing_and_is_served_when_it_is_back() {
    let (address, other) = (own_address(), own_address());
    let of =
        |address: SocketAddr| Address::Tcp { host: address.ip().to_string(), port: address.port() };
    let floodwall = inside(&of(address), Some(&of(other)));
    let mut rig = Rig { floodwall, application: Application::tcp(), other: Application::tcp() };
    for target in ["/x/", "/logout/"] {
        let mut client = rig.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        is_told(client);
    }
    rig.floodwall.await_rest();
    assert_eq!((rig.room("anonymous"), rig.room("logout")), (super::BURST, super::BURST));
    rig.application = Application::at(address);
    rig.serve_another();
    rig.prove(1, 2);
    assert_eq!(rig.spares(), 1);
}
