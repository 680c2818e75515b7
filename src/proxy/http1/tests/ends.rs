//! When a connection goes on, when it ends, and who is told.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

impl Stream for DuplexStream {}

fn get(version: &str, lines: &str) -> String {
    format!("GET /own HTTP/{version}\r\nHost: a\r\n{lines}\r\n{BEHIND}")
}

/// RFC 9112, 9.3.
#[test]
fn a_connection_is_kept_as_its_client_says() {
    for (version, lines, kept) in [
        ("1.1", "", true),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: closed\r\n", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: x, Close ,y\r\n", false),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("1.1", "Connection: close\r\nConnection: keep-alive\r\n", false),
        ("1.1", "Connection: close, keep-alive\r\n", false),
        ("1.1", "Connection: \u{e9}, close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: \u{e9}, keep-alive\r\n", false),
        ("1.0", "Connection: keep-alive\r\n", true),
        ("1.0", "Connection: x\r\nConnection: y, Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
        ("1.0", "Connection: close\r\nConnection: keep-alive\r\n", false),
    ] {
        let outcome = served(&[get(version, lines).as_bytes()], AMPLE, Reading::Whole);
        let targets: &[&str] = if kept { &["/own", "/behind"] } else { &["/own"] };
        assert_eq!(outcome.targets(), targets, "{version}, {lines:?}");
        assert_eq!(outcome.closed, !kept, "{version}, {lines:?}");
        let first = outcome.answers.split("\r\n\r\n").next().expect("an answer");
        let says = |what| first.contains(&format!("\r\nconnection: {what}"));
        assert!(first.starts_with(&format!("HTTP/{version} 200 ")), "{first}");
        assert_eq!(says("close"), version == "1.1" && !kept, "{version}, {lines:?}: {first}");
        assert_eq!(says("keep-alive"), version == "1.0" && kept, "{version}, {lines:?}: {first}");
    }
}

/// Only one of the two is woken when the client takes what is sent.
#[test]
fn who_sends_100_and_reads_beside_the_connection_is_woken_whoever_sends_the_rest() {
    for answers in [true, false] {
        let mut rig = Rig::new(AMPLE, Reading::Later);
        rig.send(post("Expect: 100-continue\r\nContent-Length: 5\r\n", ""));
        rig.client.takes(false);
        let mut body = rig.kept.borrow_mut().pop().expect("it is kept");
        let reader = Client::default();
        let waker = reader.waker();
        let cx = &mut Context::from_waker(&waker);
        assert!(Pin::new(&mut body).poll_frame(cx).is_pending());
        if answers {
            rig.run();
        } else {
            // Only that it has not gone is looked for.
            rig.connection.look(&mut Context::from_waker(&rig.client.waker())).expect("it has not");
        }
        rig.client.takes(true);
        assert!(reader.is_woken(), "answers: {answers}");
        assert!(Pin::new(&mut body).poll_frame(cx).is_pending());
        rig.run();
        rig.send(format!("hello{BEHIND}"));
        assert!(reader.is_woken(), "answers: {answers}");
        let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(cx) else {
            panic!("it has come: {answers}");
        };
        assert_eq!(frame.into_data().expect("it is data"), "hello");
        // The one behind is answered when it is polled again, too.
        rig.run();
        rig.run();
        assert_eq!(rig.outcome().statuses(), ["100", "200", "200"], "answers: {answers}");
    }
}

/// RFC 9110, 10.1.1.
#[test]
fn a_client_is_told_to_go_on_when_its_body_is_wanted_and_not_before() {
    let head = |lines: &str| post(&format!("Expect: 100-continue\r\n{lines}"), "");
    for (lines, body) in [
        ("Content-Length: 5\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ] {
        let mut rig = Rig::new(AMPLE, Reading::Whole);
        rig.send(head(lines));
        assert_eq!(rig.client.received(), "HTTP/1.1 100 Continue\r\n\r\n");
        rig.send(body);
        rig.send(BEHIND);
        let outcome = rig.outcome();
        assert_eq!(outcome.statuses(), ["100", "200", "200"], "{lines:?}");
        assert_eq!(outcome.found[0].body, b"hello");
        // Who cannot take it yet gets it before the answer.
        let mut rig = Rig::new(AMPLE, Reading::Whole);
        rig.client.takes(false);
        rig.send(head(lines) + body);
        rig.client.takes(true);
        rig.run();
        assert_eq!(rig.outcome().statuses(), ["100", "200"], "{lines:?}");
        // Nobody wants it: neither is it asked for, nor is what is behind it a request.
        let mut rig = Rig::new(AMPLE, Reading::Never);
        rig.send(head(lines));
        rig.send(BEHIND);
        let outcome = rig.outcome();
        assert_eq!(outcome.statuses(), ["200"], "{lines:?}");
        assert!(outcome.is_told_last() && outcome.closed, "{outcome:?}");
        assert_eq!(outcome.targets(), ["/own"]);
        // Once there is an answer, it is not asked for any more.
        let mut rig = Rig::new(AMPLE, Reading::Kept);
        rig.send(head(lines));
        for mut body in rig.kept.take() {
            let waker = rig.client.waker();
            let polled = Pin::new(&mut body).poll_frame(&mut Context::from_waker(&waker));
            assert!(polled.is_pending(), "{polled:?}");
        }
        assert_eq!(rig.outcome().statuses(), ["200"], "{lines:?}");
    }
    for (version, lines) in [
        ("1.0", "Expect: 100-continue\r\nContent-Length: 5\r\n"),
        ("1.1", "Expect: 100-continue\r\nContent-Length: 0\r\n"),
        ("1.1", "Expect: 100-continue\r\n"),
        ("1.1", "Expect: other\r\nContent-Length: 5\r\n"),
        ("1.1", "Content-Length: 5\r\n"),
    ] {
        let mut rig = Rig::new(AMPLE, Reading::Whole);
        rig.send(format!("POST /own HTTP/{version}\r\nHost: a\r\n{lines}\r\n"));
        rig.send("hello");
        assert!(!rig.outcome().statuses().contains(&"100"), "{version}, {lines:?}");
    }
}

#[test]
fn nobody_works_for_a_client_that_has_gone() {
    let gone = |rig: &Rig| match &rig.ended {
        Some(Err(flaw)) => flaw == "Flaw(Gone)",
        Some(Ok(_)) | None => false,
    };
    // Before anything, and between two requests: it is no flaw.
    for sent in ["", "\r\n", BEHIND] {
        let mut rig = Rig::new(AMPLE, Reading::Whole);
        if !sent.is_empty() {
            rig.send(sent);
        }
        rig.hang_up();
        assert_eq!(rig.ended, Some(Ok(End::Closed)), "{sent:?}");
        assert!(rig.client.is_told_the_end(), "{sent:?}");
    }
    // Within a head: it is no request.
    for length in 1..BEHIND.len() {
        let mut rig = Rig::new(AMPLE, Reading::Whole);
        rig.send(&BEHIND[..length]);
        rig.hang_up();
        assert!(gone(&rig) && rig.outcome().found.is_empty(), "{length}: {:?}", rig.outcome());
        assert_eq!(rig.client.received(), "");
    }
    // While it is waited for an answer: the exchange is dropped with the connection.
    let mut rig = Rig::new(AMPLE, Reading::Waits);
    rig.send(BEHIND);
    assert_eq!(rig.ended, None);
    rig.hang_up();
    assert!(gone(&rig), "{:?}", rig.outcome());
    // Within a body: who reads it is told.
    for (lines, part) in [
        ("Content-Length: 5\r\n", "hell"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n"),
    ] {
        let mut rig = Rig::new(AMPLE, Reading::Whole);
        rig.send(post(lines, part));
        assert_eq!(rig.outcome().found[0].end, None);
        rig.hang_up();
        let outcome = rig.outcome();
        assert_eq!(outcome.found[0].end, Some(Err("Body(Cut)".to_owned())), "{lines:?}");
        assert!(outcome.is_told_last() && outcome.closed, "{outcome:?}");
    }
    // While the answer is being written.
    let mut rig = Rig::new(AMPLE, Reading::Whole);
    rig.client.takes(false);
    rig.send(BEHIND);
    rig.hang_up();
    assert!(gone(&rig), "{:?}", rig.outcome());
}

#[test]
fn a_connection_that_is_to_end_takes_the_request_that_has_begun_and_no_other() {
    // Nothing has begun.
    for sent in ["", BEHIND] {
        let mut rig = Rig::new(AMPLE, Reading::Whole);
        rig.send(sent);
        rig.connection.graceful_shutdown();
        rig.run();
        assert_eq!(rig.ended, Some(Ok(End::Closed)), "{sent:?}");
        assert_eq!(rig.outcome().found.len(), usize::from(!sent.is_empty()));
    }
    // A head, or a body.
    let whole = post("Content-Length: 5\r\n", "hello");
    for length in 1..whole.len() {
        let mut rig = Rig::new(AMPLE, Reading::Whole);
        rig.send(&whole[..length]);
        rig.connection.graceful_shutdown();
        rig.run();
        rig.send(format!("{}{BEHIND}", &whole[length..]));
        let outcome = rig.outcome();
        assert_eq!(outcome.targets(), ["/own"], "{length}");
        assert!(outcome.is_told_last() && outcome.closed, "{length}: {outcome:?}");
        assert_eq!(outcome.ended, Some(Ok(End::Closed)), "{length}");
    }
}

/// Whoever reads the body then, in another task, hears of it.
#[tokio::test]
async fn a_connection_that_is_dropped_is_closed_though_somebody_has_the_body_of_a_request() {
    use http_body_util::BodyExt;

    let (mut client, server) = duplex(1_000);
    let mut reading = None;
    let service = |request: Request<Incoming>| {
        let mut body = request.into_body();
        reading =
            Some(tokio::spawn(async move { body.frame().await.is_some_and(|it| it.is_err()) }));
        std::future::pending::<Response<Full<Bytes>>>()
    };
    let mut connection = Http1::new(server, AMPLE, Clock::start(), service);
    client
        .write_all(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        .await
        .expect("room");
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(connection.poll(&mut cx).is_pending());
    // It waits for the body.
    tokio::task::yield_now().await;
    drop(connection);
    assert_eq!(client.read(&mut [0]).await.expect("an end"), 0);
    let reading = reading.expect("the request was found");
    assert!(reading.await.expect("it ends"), "its body has not broken off");
}
