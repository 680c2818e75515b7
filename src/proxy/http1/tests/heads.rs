//! What the head of a request is, and how large it may be.

use super::*;

/// That is refused, however it comes, with all behind it.
fn assert_refused(head: &str, status: &str) {
    let outcome = served_in_pieces(&format!("{head}\r\n{BEHIND}"));
    assert!(outcome.found.is_empty(), "{head:?}: {outcome:?}");
    assert_eq!(outcome.statuses(), [status], "{head:?}");
    assert!(outcome.is_told_last() && outcome.closed, "{head:?}: {outcome:?}");
}

#[test]
fn lines_that_two_readers_could_read_differently_are_none() {
    for lines in [
        "X: a\r\n b\r\n",
        "X: a\r\n\tb\r\n",
        " X: a\r\n",
        "X : a\r\n",
        "X\t: a\r\n",
        "X\r\n",
        ": a\r\n",
        "X: a\rb\r\n",
        "X: a\r\r\n",
        "X\r: a\r\n",
        "X: \0\r\n",
        "X\0: a\r\n",
        "X: \u{1}\r\n",
        "X\u{e4}: a\r\n",
        "(X): a\r\n",
    ] {
        assert_refused(&format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}"), "400");
    }
    for line in [
        "GET /",
        "GET",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / HTTP/11",
        "GET / http/1.1",
        "GET / HTTP/1.1 x",
        "GET  / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /\r HTTP/1.1",
        "G,T / HTTP/1.1",
        " GET / HTTP/1.1",
    ] {
        assert_refused(&format!("{line}\r\nHost: a\r\n"), "400");
    }
}

#[test]
fn a_bare_line_feed_and_empty_lines_in_front_are_read_as_they_are_meant() {
    for head in [
        "GET /own HTTP/1.1\nHost: a\n\n",
        "GET /own HTTP/1.1\r\nHost: a\n\r\n",
        "GET /own HTTP/1.1\nHost: a\r\n\n",
        "\r\nGET /own HTTP/1.1\r\nHost: a\r\n\r\n",
        "\n\r\n\nGET /own HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let outcome = served_in_pieces(&format!("{head}\r\n\r\n{BEHIND}"));
        assert_eq!(outcome.targets(), ["/own", "/behind"], "{head:?}");
    }
}

#[test]
fn a_target_is_passed_on_in_the_form_that_it_has() {
    for target in ["/", "/a?b=c", "*", "http://b/c?d", "https://b:1/", "/%00", "//b/c"] {
        for method in ["GET", "OPTIONS", "X"] {
            let sent = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n{BEHIND}");
            let outcome = served(&[sent.as_bytes()], AMPLE, Reading::Whole);
            assert_eq!(outcome.found[0].line, format!("{method} {target} HTTP/1.1"));
            assert_eq!(outcome.found.len(), 2, "{sent:?}");
        }
    }
    let tunnel = format!("CONNECT b:80 HTTP/1.1\r\nHost: a\r\n\r\n{BEHIND}");
    let outcome = served(&[tunnel.as_bytes()], AMPLE, Reading::Whole);
    assert_eq!(outcome.found[0].line, "CONNECT b:80 HTTP/1.1");
    for target in ["http://", "a/b", "http://b c/"] {
        let sent = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n{BEHIND}");
        let outcome = served(&[sent.as_bytes()], AMPLE, Reading::Whole);
        assert_eq!((outcome.found.len(), &*outcome.statuses()), (0, &["400"][..]), "{sent:?}");
    }
    // As long as any may be.
    let limits = Limits { head_bytes: 1 << 20, ..AMPLE };
    for (length, status) in [(65_534, "200"), (65_535, "414")] {
        let sent = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(length - 1));
        let outcome = served(&[sent.as_bytes()], limits, Reading::Whole);
        assert_eq!(outcome.statuses(), [status], "{length}");
    }
}

/// Served whole, in halves, and in small pieces.
fn statuses(sent: &str, limits: Limits) -> Vec<String> {
    let (bytes, half) = (sent.as_bytes(), sent.len() / 2);
    let mut all = Vec::new();
    for pieces in [vec![bytes], vec![&bytes[..half], &bytes[half..]], bytes.chunks(7).collect()] {
        let outcome = served(&pieces, limits, Reading::Whole);
        all.push(outcome.statuses().join(" "));
    }
    all
}

#[test]
fn a_head_has_as_many_bytes_and_lines_as_it_may_have_and_no_more() {
    let limits = Limits { head_bytes: 1_000, headers: 5 };
    let large = |length: usize| {
        let rest = "GET / HTTP/1.1\r\nX: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(length - rest))
    };
    let many = |lines: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(lines));
    for (sent, status) in [
        (large(1_000), "200"),
        (large(1_001), "431"),
        (many(5), "200"),
        (many(6), "431"),
        // What is behind a head is none of it.
        (format!("{}{}", large(999), large(1_000)), "200 200"),
        // Nor are empty lines in front of one, but they are bounded as well.
        (format!("{}{}", "\r\n".repeat(500), large(1_000)), "200"),
        (format!("{}{}", "\n".repeat(1_001), large(100)), "431"),
        ("\r\n".repeat(600), "431"),
        (format!("{0}{1}{0}{1}", "\r\n".repeat(400), large(100)), "200 200"),
        // One that has no end.
        ("x".repeat(1_000), "431"),
        (format!("GET / HTTP/1.1\r\n{}", "X: y\r\n".repeat(170)), "431"),
    ] {
        let start = &sent[..sent.len().min(60)];
        assert_eq!(statuses(&sent, limits), [status, status, status], "{start:?} {}", sent.len());
    }
    // More lines than there is room for without memory of their own.
    let limits = Limits { head_bytes: 65_536, headers: 150 };
    for (lines, status) in [(150, "200"), (151, "431")] {
        assert_eq!(statuses(&many(lines), limits), [status, status, status], "{lines}");
    }
    // A body is not bounded by it, wherever it begins.
    let limits = Limits { head_bytes: 200, headers: 5 };
    let sent = post("Content-Length: 1000\r\n", &"x".repeat(1_000));
    assert_eq!(statuses(&sent, limits), ["200", "200", "200"]);
}
