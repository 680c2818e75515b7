//! The cases of RFC 9112, section by section.

use super::Case;
use super::Found::{Cut, Refused, Whole};
use super::Kept::{No, Yes};
use super::Then::{Ends, Stays};
use crate::raw::CLIENTS;

fn check(cases: &[Case]) {
    for case in cases {
        for client in CLIENTS {
            case.check(client);
        }
    }
}

/// Section 4: status lines.
#[test]
fn status_lines_are_those_of_http_1() {
    const NO_BODY: Found = Whole(200, "", Yes);
    use super::Found;
    check(&[
        Case::get("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Stays, NO_BODY),
        Case::get("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", Stays, NO_BODY),
        Case::get("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", Stays, NO_BODY),
        Case::get("HTTP/1.1 200 Fein, \u{fc}\r\nContent-Length: 0\r\n\r\n", Stays, NO_BODY),
        Case::get("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", Stays, Whole(200, "ok", No)),
        Case::get(
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
            Stays,
            Whole(200, "ok", No),
        ),
        Case::get("HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", Stays, Whole(999, "", Yes)),
        Case::get("HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", Stays, Refused),
        Case::get("HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n", Stays, Refused),
        Case::get("HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n", Stays, Refused),
        Case::get("HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", Stays, Refused),
        Case::get("HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", Stays, Refused),
        Case::get("HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n", Stays, Refused),
        Case::get("HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n", Stays, Refused),
        Case::get("http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Stays, Refused),
        Case::get("HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n", Stays, Refused),
        Case::get("HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n", Stays, Refused),
        Case::get(" HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Stays, Refused),
        Case::get("SSH-2.0-OpenSSH_9.2\r\n", Stays, Refused),
        Case::get("<html>0.9</html>", Ends, Refused),
        Case::get("", Ends, Refused),
        Case::get("HTTP/1.1 200 OK\r\nContent-Le", Ends, Refused),
        // What is before a response belongs to the one before it.
        Case::get("\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Stays, Refused)
            .but_hyper(NO_BODY),
    ]);
}

/// Section 5: header lines.
#[test]
fn header_lines_are_plain() {
    const OK: super::Found = Whole(200, "ok", Yes);
    check(&[
        Case::get("HTTP/1.1 200 OK\r\nA:1\r\nB: \t2 \t\r\nContent-Length: 2\r\n\r\nok", Stays, OK),
        Case::get("HTTP/1.1 200 OK\r\nA: \r\nA:\r\nContent-Length:2\r\n\r\nok", Stays, OK),
        Case::get("HTTP/1.1 200 OK\r\nA : 1\r\nContent-Length: 2\r\n\r\nok", Stays, Refused),
        Case::get("HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", Stays, Refused),
        Case::get("HTTP/1.1 200 OK\r\n A: 1\r\nContent-Length: 2\r\n\r\nok", Stays, Refused),
        Case::get("HTTP/1.1 200 OK\r\nA: 1\r\n 2\r\nContent-Length: 2\r\n\r\nok", Stays, Refused),
        Case::get("HTTP/1.1 200 OK\r\nA: 1\r\n\t2\r\nContent-Length: 2\r\n\r\nok", Stays, Refused),
        Case::get("HTTP/1.1 200 OK\r\nA\r\nContent-Length: 2\r\n\r\nok", Stays, Refused),
        Case::get("HTTP/1.1 200 OK\r\n: 1\r\nContent-Length: 2\r\n\r\nok", Stays, Refused),
        Case::get("HTTP/1.1 200 OK\r\nA(: 1\r\nContent-Length: 2\r\n\r\nok", Stays, Refused),
        Case::get("HTTP/1.1 200 OK\r\nA: 1\0\r\nContent-Length: 2\r\n\r\nok", Stays, Refused),
        Case::get("HTTP/1.1 200 OK\r\nA: 1\r2\r\nContent-Length: 2\r\n\r\nok", Stays, Refused),
        Case::get("HTTP/1.1 200 OK\r\nA: \u{7f}\r\nContent-Length: 2\r\n\r\nok", Stays, Refused),
        // A bare line feed ends a line for some.
        Case::get("HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok", Stays, Refused).but_hyper(OK),
        Case::get("HTTP/1.1 200 OK\r\nA: 1\nContent-Length: 2\r\n\r\nok", Stays, Refused)
            .but_hyper(OK),
        Case::get("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\nok", Stays, Refused).but_hyper(OK),
    ]);
}

/// Section 6.3, 1 and 2: no body, whatever the head says. CONNECT is never sent.
#[test]
fn what_has_no_body_has_none() {
    check(&[
        Case::head("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Whole(200, "", Yes)),
        Case::head("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Whole(200, "", Yes)),
        Case::head("HTTP/1.1 200 OK\r\n\r\n", Whole(200, "", Yes)),
        Case::head("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", Whole(200, "", No)),
        Case::head("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Whole(200, "", No)),
        Case::get("HTTP/1.1 204 No Content\r\n\r\n", Stays, Whole(204, "", Yes)),
        Case::get("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", Stays, Whole(204, "", Yes)),
        Case::get(
            "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n",
            Stays,
            Whole(204, "", Yes),
        ),
        Case::get("HTTP/1.1 304 Not\r\nContent-Length: 5\r\n\r\n", Stays, Whole(304, "", Yes)),
        Case::get("HTTP/1.1 304 Not\r\n\r\nhello", Stays, Whole(304, "", No)),
        Case::get(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nContent-Length: 9\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            Stays,
            Whole(200, "ok", Yes),
        ),
        Case::get("HTTP/1.1 103 Early\r\n\r\n", Ends, Refused),
        // Nobody has asked for another protocol.
        Case::get(
            "HTTP/1.1 101 Switch\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            Stays,
            Refused,
        ),
        // A length that is none is refused here, too: it would be relayed.
        Case::head("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", Refused)
            .but_hyper(Whole(200, "", Yes)),
    ]);
}

/// Section 6.1 and 6.3, 3 and 4: transfer codings.
#[test]
fn chunked_is_the_only_transfer_coding() {
    const CHUNKS: super::Found = Whole(200, "ok", Yes);
    check(&[
        Case::get(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            Stays,
            CHUNKS,
        ),
        Case::get(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: \t ChunKed \r\n\r\n2\r\nok\r\n0\r\n\r\n",
            Stays,
            CHUNKS,
        ),
        Case::get("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok", Ends, Refused),
        Case::get("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok", Ends, Refused),
        Case::get(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            Stays,
            Refused,
        ),
        Case::get(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            Stays,
            Refused,
        ),
        Case::get(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            Stays,
            Refused,
        ),
        Case::get(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\nok\r\n0\r\n\r\n",
            Stays,
            Refused,
        ),
        Case::get("HTTP/1.1 200 OK\r\nTransfer-Encoding: \"chunked\"\r\n\r\nok", Ends, Refused),
        Case::get("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;a=b\r\n\r\nok", Ends, Refused),
        Case::get("HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nok", Ends, Refused),
        Case::get(
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            Ends,
            Refused,
        ),
        // An element of a list may be empty, but who sends none?
        Case::get("HTTP/1.1 200 OK\r\nTransfer-Encoding: \r\n\r\nok", Ends, Refused),
        Case::get("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked,\r\n\r\nok", Ends, Refused)
            .but_hyper(Whole(200, "ok", No)),
        // It overrides the length; and its sender is not trusted with another request.
        Case::get(
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\nok\r\n0\r\n\r\n",
            Stays,
            Whole(200, "ok", No),
        )
        .but_hyper(CHUNKS),
        Case::get(
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\nok\r\n0\r\n\r\n",
            Stays,
            Refused,
        )
        .but_hyper(CHUNKS),
    ]);
}

/// Section 6.2 and 6.3, 5 and 6: lengths.
#[test]
fn a_length_is_digits_and_one() {
    const OK: super::Found = Whole(200, "ok", Yes);
    check(&[
        Case::get("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Stays, OK),
        Case::get("HTTP/1.1 200 OK\r\nContent-Length: 002\r\n\r\nok", Stays, OK),
        Case::get("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", Stays, OK),
        Case::get("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", Stays, OK),
        Case::get("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Stays, Whole(200, "", Yes)),
        Case::get("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokay", Stays, Whole(200, "ok", No)),
        Case::get("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", Ends, Cut),
        Case::get("HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok", Stays, Refused),
        Case::get(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
            Stays,
            Refused,
        ),
        Case::get("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", Stays, Refused),
        Case::get("HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", Stays, Refused),
        Case::get("HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok", Stays, Refused),
        Case::get("HTTP/1.1 200 OK\r\nContent-Length: 2 2\r\n\r\nok", Stays, Refused),
        Case::get("HTTP/1.1 200 OK\r\nContent-Length: 2.0\r\n\r\nok", Stays, Refused),
        Case::get("HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nok", Stays, Refused),
        Case::get("HTTP/1.1 200 OK\r\nContent-Length: 2,\r\n\r\nok", Stays, Refused),
        Case::get("HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok", Stays, Refused),
        Case::get(
            "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nok",
            Stays,
            Refused,
        ),
        // As a signed number of 64 bits it would be another.
        Case::get(
            "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\nok",
            Ends,
            Refused,
        )
        .but_hyper(Cut),
    ]);
}

/// Section 6.3, 7 and 8: a request that has no body is not waited for; a response without a length
/// ends with its connection.
#[test]
fn a_response_without_a_length_ends_with_its_connection() {
    check(&[
        Case::get("HTTP/1.1 200 OK\r\n\r\nall of it", Ends, Whole(200, "all of it", No)),
        Case::get("HTTP/1.0 200 OK\r\n\r\nall of it", Ends, Whole(200, "all of it", No)),
        Case::get("HTTP/1.1 200 OK\r\n\r\n", Ends, Whole(200, "", No)),
        Case::get(
            "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\nall",
            Ends,
            Whole(200, "all", No),
        ),
    ]);
}

/// Section 7: chunks.
#[test]
fn chunks_are_whole_and_bounded() {
    const OK: super::Found = Whole(200, "ok", Yes);
    macro_rules! chunks {
        ($body:literal) => {
            concat!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", $body)
        };
    }
    check(&[
        Case::get(chunks!("0\r\n\r\n"), Stays, Whole(200, "", Yes)),
        Case::get(chunks!("1\r\no\r\n01\r\nk\r\n000\r\n\r\n"), Stays, OK),
        Case::get(
            chunks!("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"),
            Stays,
            Whole(200, "01234567890123456789", Yes),
        ),
        Case::get(chunks!("2;a=b;c=\"d;e\";f\r\nok\r\n0;x\r\n\r\n"), Stays, OK),
        Case::get(chunks!("2 \t\r\nok\r\n0 ;x\r\n\r\n"), Stays, OK),
        Case::get(chunks!("2\r\nok\r\n0\r\nA: 1\r\nB:\r\n\r\n"), Stays, OK),
        Case::get(chunks!("2\r\nok\r\n0\r\n\r\n2\r\nno\r\n0\r\n\r\n"), Stays, Whole(200, "ok", No)),
        Case::get(chunks!("2\r\nok\r\n0\r\n\r\n\r\n"), Stays, Whole(200, "ok", No)),
        Case::get(chunks!("2\r\nok\r\n0\r\n"), Ends, Cut),
        Case::get(chunks!("2\r\nok\r\n"), Ends, Cut),
        Case::get(chunks!("2\r\no"), Ends, Cut),
        Case::get(chunks!("2"), Ends, Cut),
        Case::get(chunks!(""), Ends, Cut),
        Case::get(chunks!("2\r\nokay\r\n0\r\n\r\n"), Ends, Cut),
        Case::get(chunks!("2\r\nok0\r\n\r\n"), Ends, Cut),
        Case::get(chunks!("2\r\nok\n0\r\n\r\n"), Ends, Cut),
        Case::get(chunks!("2\nok\r\n0\r\n\r\n"), Ends, Cut),
        Case::get(chunks!("2\r\nok\r\n0\n\n"), Ends, Cut),
        Case::get(chunks!("2\rok\r\n0\r\n\r\n"), Ends, Cut),
        Case::get(chunks!(" 2\r\nok\r\n0\r\n\r\n"), Ends, Cut),
        Case::get(chunks!("0x2\r\nok\r\n0\r\n\r\n"), Ends, Cut),
        Case::get(chunks!("+2\r\nok\r\n0\r\n\r\n"), Ends, Cut),
        Case::get(chunks!("-2\r\nok\r\n0\r\n\r\n"), Ends, Cut),
        Case::get(chunks!("2 2\r\nok\r\n0\r\n\r\n"), Ends, Cut),
        Case::get(chunks!("\r\n2\r\nok\r\n0\r\n\r\n"), Ends, Cut),
        Case::get(chunks!(";a=b\r\nok\r\n0\r\n\r\n"), Ends, Cut),
        Case::get(chunks!("10000000000000002\r\nok\r\n0\r\n\r\n"), Ends, Cut),
        Case::get(chunks!("2;a\nb\r\nok\r\n0\r\n\r\n"), Ends, Cut),
        Case::get(chunks!("2\r\nok\r\n0\r\nA : 1\r\n\r\n"), Ends, Cut),
        Case::get(chunks!("2\r\nok\r\n0\r\nA: 1\0\r\n\r\n"), Ends, Cut),
        Case::get(chunks!("2\r\nok\r\n0\r\nA\r\n\r\n"), Ends, Cut),
        Case::get(chunks!("2\r\nok\r\n0\r\n A: 1\r\n\r\n"), Ends, Cut),
        Case::get(chunks!("2\r\nok\r\n0\r\nA: 1\nB: 2\r\n\r\n"), Ends, Cut),
        // Stricter: controls in an extension.
        Case::get(chunks!("2;\0\r\nok\r\n0\r\n\r\n"), Ends, Cut).but_hyper(OK_ENDED),
        Case::get(chunks!("00000000000000002\r\nok\r\n0\r\n\r\n"), Ends, OK_ENDED),
    ]);
}

/// The connection has ended behind it.
const OK_ENDED: super::Found = Whole(200, "ok", No);

/// Section 9: how long a connection lasts.
#[test]
fn a_connection_ends_when_its_response_says_so() {
    check(&[
        Case::get(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
            Stays,
            Whole(200, "ok", No),
        ),
        Case::get(
            "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nConnection: x,Close\r\n\
             Content-Length: 2\r\n\r\nok",
            Stays,
            Whole(200, "ok", No),
        ),
        Case::get(
            "HTTP/1.1 200 OK\r\nConnection: closed, keep-alive\r\nContent-Length: 2\r\n\r\nok",
            Stays,
            Whole(200, "ok", Yes),
        ),
        // A line that is not all ASCII says the same.
        Case::get(
            "HTTP/1.1 200 OK\r\nConnection: \u{fc}, close\r\nContent-Length: 2\r\n\r\nok",
            Stays,
            Whole(200, "ok", No),
        )
        .but_hyper(Whole(200, "ok", Yes)),
        Case::get("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Ends, Whole(200, "ok", No)),
    ]);
}

/// What a response may have of each; nobody sends so much.
#[test]
fn a_response_is_bounded_in_everything_but_its_body() {
    let lines = |number: usize| "A: b\r\n".repeat(number);
    let interim = |number: usize| "HTTP/1.1 103 Early\r\n\r\n".repeat(number);
    let start = "HTTP/1.1 200 OK\r\n";
    let length = "Content-Length: 2\r\n";
    let chunked = format!("{start}Transfer-Encoding: chunked\r\n\r\n");
    let filled = |bytes: usize| "x".repeat(bytes);
    let ok = Whole(200, "ok", Yes);
    for (answer, own, hyper) in [
        (format!("{start}{}{length}\r\nok", lines(99)), ok, ok),
        (format!("{start}{}{length}\r\nok", lines(100)), Refused, Refused),
        (format!("{start}A: {}\r\n{length}\r\nok", filled(120 << 10)), ok, ok),
        (format!("{start}A: {}\r\n{length}\r\nok", filled(300 << 10)), Refused, Refused),
        (format!("{}{start}{length}\r\nok", interim(32)), ok, ok),
        (format!("{}{start}{length}\r\nok", interim(33)), Refused, ok),
        (format!("{chunked}2;{}\r\nok\r\n0\r\n\r\n", filled(16_000)), ok, ok),
        (format!("{chunked}2;{}\r\nok\r\n0\r\n\r\n", filled(17_000)), Cut, Cut),
        (format!("{chunked}{}0\r\n\r\n", "1;1234567890\r\nx\r\n".repeat(2_000)), Cut, Cut),
        (format!("{chunked}2{}\r\nok\r\n0\r\n\r\n", " ".repeat(16_000)), ok, ok),
        (format!("{chunked}2{}\r\nok\r\n0\r\n\r\n", " ".repeat(17_000)), Cut, ok),
        (format!("{chunked}2\r\nok\r\n0\r\n{}\r\n", lines(100)), ok, ok),
        (format!("{chunked}2\r\nok\r\n0\r\n{}\r\n", lines(101)), Cut, Cut),
        (format!("{chunked}2\r\nok\r\n0\r\nA: {}\r\n\r\n", filled(16_000)), ok, ok),
        (format!("{chunked}2\r\nok\r\n0\r\nA: {}\r\n\r\n", filled(17_000)), Cut, Cut),
    ] {
        let case = Case { method: "GET", answer: &answer, then: Stays, own, hyper };
        CLIENTS.into_iter().for_each(|client| case.check(client));
    }
}
