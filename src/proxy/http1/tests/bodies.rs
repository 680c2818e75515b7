//! Where the body of a request ends, and that what is behind it is the next request or none.

use super::*;

/// A request whose body is this, with trailers, and whether another may follow.
fn assert_read(request: &str, body: &str, trailers: &[(&str, &str)], goes_on: bool) {
    let outcome = served_in_pieces(&format!("{request}{BEHIND}"));
    let own = &outcome.found[0];
    assert_eq!(own.end, Some(Ok(())), "{request:?}: {outcome:?}");
    assert_eq!(String::from_utf8_lossy(&own.body), body, "{request:?}");
    let found = own.trailers.iter().flatten();
    let found = found.map(|(name, value)| (name.as_str(), value.to_str().expect("text")));
    assert!(found.eq(trailers.iter().copied()), "{request:?}: {:?}", own.trailers);
    if goes_on {
        assert_eq!(outcome.targets(), ["/own", "/behind"], "{request:?}");
        assert_eq!(outcome.statuses(), ["200", "200"], "{request:?}");
        assert_eq!(outcome.ended, None, "{request:?}");
    } else {
        assert_eq!(outcome.targets(), ["/own"], "{request:?}");
        assert!(outcome.is_told_last() && outcome.closed, "{request:?}: {outcome:?}");
        assert_eq!(outcome.ended, Some(Ok(End::Closed)), "{request:?}");
    }
}

/// A request that none sees, nor what is behind it.
fn assert_refused(request: &str, status: &str) {
    let outcome = served_in_pieces(&format!("{request}{BEHIND}"));
    assert!(outcome.found.is_empty(), "{request:?}: {outcome:?}");
    assert_eq!(outcome.statuses(), [status], "{request:?}");
    assert!(outcome.is_told_last() && outcome.closed, "{request:?}: {outcome:?}");
    assert!(matches!(outcome.ended, Some(Err(_))), "{request:?}: {outcome:?}");
}

/// A request whose body has this flaw: there is no other on its connection, whoever answers and when.
fn assert_flawed(request: &str, flaw: &str) {
    let sent = format!("{request}{BEHIND}");
    let whole = served(&[sent.as_bytes()], AMPLE, Reading::Whole);
    let single: Vec<_> = sent.as_bytes().chunks(1).collect();
    for outcome in [whole, served(&single, AMPLE, Reading::Whole)] {
        let end = outcome.found[0].end.clone();
        assert_eq!(end, Some(Err(format!("Body({flaw})"))), "{request:?}");
        assert_eq!(outcome.targets(), ["/own"], "{request:?}");
        assert_eq!(outcome.ended, Some(Ok(End::Closed)), "{request:?}");
    }
    for reading in [Reading::Never, Reading::Kept] {
        let mut rig = Rig::new(AMPLE, reading);
        rig.send(&sent);
        // Who has it finds the flaw after the answer.
        for body in rig.kept.take() {
            let finding = Rc::clone(&rig.found);
            let mut reading = std::pin::pin!(super::read(body, &finding, 0));
            let waker = rig.client.waker();
            assert!(reading.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
        }
        rig.run();
        let outcome = rig.outcome();
        assert_eq!(outcome.targets(), ["/own"], "{request:?}, {reading:?}");
        assert_eq!(outcome.ended, Some(Ok(End::Closed)), "{request:?}, {reading:?}");
    }
}

#[test]
fn a_length_is_one_number_of_digits() {
    assert_read("GET /own HTTP/1.1\r\nHost: a\r\n\r\n", "", &[], true);
    for (lines, body) in [
        ("Content-Length: 5\r\n", "hello"),
        ("Content-Length:5\r\n", "hello"),
        ("content-length: \t5 \t\r\n", "hello"),
        ("Content-Length: 00005\r\n", "hello"),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
        ("Content-Length: 5\r\nX: y\r\nContent-Length: 05\r\n", "hello"),
        ("Content-Length: 0\r\n", ""),
        ("Content-Length: 00\r\n", ""),
    ] {
        assert_read(&post(lines, body), body, &[], true);
    }
    for value in [
        "",
        "5, 5",
        "5,5",
        "5 5",
        "+5",
        "-5",
        "5.0",
        "0x5",
        "5;",
        "'5'",
        "five",
        "\u{665}",
        "18446744073709551616",
        "99999999999999999999999",
    ] {
        assert_refused(&post(&format!("Content-Length: {value}\r\n"), "hello"), "400");
    }
    for (one, other) in [("5", "6"), ("6", "5"), ("0", "5"), ("5", "5, 5"), ("5", "x")] {
        let lines = format!("Content-Length: {one}\r\nContent-Length: {other}\r\n");
        assert_refused(&post(&lines, "hello"), "400");
    }
}

#[test]
fn chunked_is_the_last_coding_and_counts_before_a_length() {
    const BODY: &str = "5\r\nhello\r\n0\r\n\r\n";
    for value in ["chunked", "Chunked", " \tchunked\t", "gzip, chunked", "gzip,chunked", ",chunked"]
    {
        assert_read(&post(&format!("Transfer-Encoding: {value}\r\n"), BODY), "hello", &[], true);
    }
    let lines = "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n";
    assert_read(&post(lines, BODY), "hello", &[], true);
    for value in [
        "",
        "gzip",
        "identity",
        "chunked, gzip",
        "chunked,",
        "chunked;q=1",
        "xchunked",
        "chunked x",
        "\u{e4}, chunked",
    ] {
        assert_refused(&post(&format!("Transfer-Encoding: {value}\r\n"), BODY), "400");
    }
    let lines = "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n";
    assert_refused(&post(lines, BODY), "400");
    // Who sends both may have smuggled what is behind (RFC 9112, 6.1).
    for lines in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Content-Length: 15\r\nTransfer-Encoding: chunked\r\nContent-Length: 15\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: x\r\n",
    ] {
        assert_read(&post(lines, BODY), "hello", &[], false);
        let outcome = served(&[post(lines, BODY).as_bytes()], AMPLE, Reading::Whole);
        assert!(!outcome.found[0].headers.contains_key("content-length"), "{lines:?}");
    }
    let lines = "Content-Length: x\r\nTransfer-Encoding: chunked\r\n";
    assert_refused(&post(lines, BODY), "400");
    // HTTP/1.0 has none.
    for lines in ["", "Content-Length: 15\r\n", "Connection: keep-alive\r\n"] {
        let old = format!("POST /own HTTP/1.0\r\n{lines}Transfer-Encoding: chunked\r\n\r\n{BODY}");
        assert_refused(&old, "400");
    }
}

#[test]
fn chunks_are_as_long_as_they_say() {
    for (body, data) in [
        ("0\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("1\r\nh\r\n4\r\nello\r\n000\r\n\r\n", "hello"),
        ("0000000000000000A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("a \t\r\n0\r\n\r\nGET /\r\n0\r\n\r\n", "0\r\n\r\nGET /"),
        ("5;a=b;c=\"d\"\r\nhello\r\n0;x\r\n\r\n", "hello"),
        ("5 ;\r\nhello\r\n0\r\n\r\n", "hello"),
    ] {
        assert_read(&chunked(body), data, &[], true);
    }
    for (body, flaw) in [
        // What a reader that went on would take for an end.
        ("x0\r\n\r\n", "ChunkSize"),
        ("-0\r\n\r\n", "ChunkSize"),
        (" 0\r\n\r\n", "ChunkSize"),
        ("\r\n0\r\n\r\n", "ChunkSize"),
        (";0\r\n\r\n", "ChunkSize"),
        ("0x\r\n\r\n", "ChunkSize"),
        ("0\r\r\n\r\n", "ChunkSize"),
        ("0\n\r\n\r\n", "ChunkSize"),
        ("0;\n\r\n\r\n", "ChunkSize"),
        ("0;\0\r\n\r\n", "ChunkSize"),
        ("0;a\rb\r\n\r\n", "ChunkSize"),
        ("5 5\r\nhello\r\n0\r\n\r\n", "ChunkSize"),
        ("10000000000000000\r\n0\r\n\r\n", "ChunkSize"),
        ("5\r\nhello0\r\n\r\n", "ChunkEnd"),
        ("5\r\nhellox\r\n0\r\n\r\n", "ChunkEnd"),
        ("5\r\nhello\n0\r\n\r\n", "ChunkEnd"),
        ("5\r\nhello\rx\n0\r\n\r\n", "ChunkEnd"),
        ("4\r\nhello\r\n0\r\n\r\n", "ChunkEnd"),
    ] {
        assert_flawed(&chunked(body), flaw);
    }
}

#[test]
fn trailers_are_lines_and_end_once() {
    for (lines, trailers) in [
        ("X: y\r\n", &[("x", "y")][..]),
        ("X: y\r\nX: z\r\nA:\r\n", &[("x", "y"), ("x", "z"), ("a", "")]),
    ] {
        assert_read(&chunked(&format!("2\r\nhi\r\n0\r\n{lines}\r\n")), "hi", trailers, true);
    }
    for lines in [
        "X: y\n\r\n\r\n",
        "\n\r\n\r\n",
        "X: y\r\r\n\r\n",
        "X y\r\n\r\n",
        " X: y\r\n\r\n",
        "X : y\r\n\r\n",
        "X: y\r\n z\r\n\r\n",
        "X: \0\r\n\r\n",
        ": y\r\n\r\n",
    ] {
        assert_flawed(&chunked(&format!("0\r\n{lines}")), "Trailers");
    }
}

#[test]
fn extensions_and_trailers_have_an_end() {
    let extended = |bytes: usize| chunked(&format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(bytes)));
    let outcome = served(&[extended(16_000).as_bytes()], AMPLE, Reading::Whole);
    assert_eq!(outcome.found[0].end, Some(Ok(())));
    assert_flawed(&extended(16_384), "Extensions");
    // Of all chunks together.
    let each = format!("1;{}\r\nx\r\n", "e".repeat(1_000));
    assert_flawed(&chunked(&format!("{}0\r\n\r\n", each.repeat(17))), "Extensions");
    let trailers = |lines: usize| chunked(&format!("0\r\n{}\r\n", "X: y\r\n".repeat(lines)));
    let outcome = served(&[trailers(100).as_bytes()], AMPLE, Reading::Whole);
    assert_eq!(outcome.found[0].trailers.as_ref().map(HeaderMap::len), Some(100));
    assert_flawed(&trailers(101), "Trailers");
    assert_flawed(&chunked(&format!("0\r\nX: {}\r\n\r\n", "y".repeat(16_384))), "Trailers");
}

#[test]
fn a_body_that_nobody_reads_hides_no_request() {
    // All of it is there when there is an answer.
    let small = post("Content-Length: 5\r\n", "hello");
    for reading in [Reading::Never, Reading::Kept] {
        let mut rig = Rig::new(AMPLE, reading);
        rig.send(format!("{small}{BEHIND}"));
        if reading == Reading::Kept {
            assert_eq!(rig.outcome().targets(), ["/own"], "somebody has it still");
            rig.kept.take();
            assert!(rig.client.is_woken(), "it is given back");
            rig.run();
        }
        assert_eq!(rig.outcome().targets(), ["/own", "/behind"], "{reading:?}");
    }
    // Its rest comes later, and is no request.
    let late = post(&format!("Content-Length: {}\r\n", BEHIND.len() + 1), "x");
    let outcome = served(&[late.as_bytes(), BEHIND.as_bytes()], AMPLE, Reading::Never);
    assert_eq!(outcome.targets(), ["/own"]);
    assert!(outcome.is_told_last() && outcome.closed, "{outcome:?}");
    let outcome =
        served(&[chunked("5\r\nhe").as_bytes(), BEHIND.as_bytes()], AMPLE, Reading::Never);
    assert_eq!(outcome.targets(), ["/own"]);
    assert!(outcome.is_told_last() && outcome.closed, "{outcome:?}");
}
