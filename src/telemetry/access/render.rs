//! The lines of the access log.
//!
//! What strangers chose is cut to the lengths below and escaped: in `common` and `combined` as nginx
//! does it (a quote, a backslash and whatever is not visible ASCII is `\xHH`), in JSON as JSON has
//! it, with U+FFFD for what is not UTF-8.

use std::net::IpAddr;
use std::time::Duration;

use super::trace::{Answer, Decided, End, Mark, Marked, Session, Set, Trace};
use super::{Check, Exchange, Format, put};
use crate::guard::challenge::Challenged;
use crate::guard::moment::Moment;

/// The most that is told of a target, a referer, a user agent, a host and a method, in bytes.
const TARGET: usize = 4096;
const REFERER: usize = 2048;
const AGENT: usize = 512;
const HOST: usize = 255;
const METHOD: usize = 32;

/// Appends the line of an exchange.
pub(super) fn line(format: Format, exchange: &Exchange<'_>, out: &mut Vec<u8>) {
    match format {
        Format::Off => return,
        Format::Common => common(exchange, out),
        Format::Combined => {
            common(exchange, out);
            for (value, most) in [(exchange.referer, REFERER), (exchange.user_agent, AGENT)] {
                out.extend_from_slice(b" \"");
                put::plain(cut(value.unwrap_or(b"-"), most), out);
                out.push(b'"');
            }
        }
        Format::Json => json(exchange, out),
    }
    out.push(b'\n');
}

/// `%h %l %u %t "%r" %>s %b` of Apache's mod_log_config, with the client for `%h`; nobody is known
/// by name.
fn common(exchange: &Exchange<'_>, out: &mut Vec<u8>) {
    put::address(exchange.client, out);
    out.extend_from_slice(b" - - [");
    put::common_time(exchange.began_unix_ms, out);
    out.extend_from_slice(b"] \"");
    match &exchange.request {
        Some(request) => {
            put::plain(cut(request.method.as_bytes(), METHOD), out);
            out.push(b' ');
            put::plain(cut(request.target.as_bytes(), TARGET), out);
            out.push(b' ');
            out.extend_from_slice(request.protocol.as_bytes());
        }
        None => out.push(b'-'),
    }
    out.extend_from_slice(b"\" ");
    put::number(exchange.status.into(), out);
    out.push(b' ');
    put::number(exchange.bytes, out);
}

fn json(exchange: &Exchange<'_>, out: &mut Vec<u8>) {
    time(exchange.began_unix_ms, out);
    let request = exchange.request.as_ref();
    text("site", exchange.site.map(str::as_bytes), usize::MAX, out);
    address("client", exchange.client, out);
    address("peer", exchange.peer, out);
    text("method", request.map(|request| request.method.as_bytes()), METHOD, out);
    text("host", exchange.host, HOST, out);
    text("path", request.map(|request| request.target.as_bytes()), TARGET, out);
    word("protocol", request.map(|request| request.protocol), out);
    number("status", exchange.status.into(), out);
    number("bytes", exchange.bytes, out);
    millis("duration_ms", Some(exchange.duration), out);
    millis("upstream_ms", exchange.upstream_time, out);
    text("upstream", exchange.upstream.map(str::as_bytes), usize::MAX, out);
    word("standing", exchange.standing.map(|standing| standing.word()), out);
    text("route", exchange.route.map(str::as_bytes), usize::MAX, out);
    word("class", exchange.class, out);
    word("verdict", exchange.verdict.map(|verdict| verdict.word()), out);
    word("why", exchange.why, out);
    out.extend_from_slice(if exchange.aborted {
        b",\"aborted\":true"
    } else {
        b",\"aborted\":false"
    });
    text("user_agent", exchange.user_agent, AGENT, out);
    text("referer", exchange.referer, REFERER, out);
    if let Some(trace) = exchange.trace {
        replay(trace, exchange.stands_in, out);
    }
    out.push(b'}');
}

/// The line of a health check.
pub(super) fn check(check: &Check<'_>, out: &mut Vec<u8>) {
    time(check.unix_ms, out);
    out.extend_from_slice(b",\"event\":\"check\"");
    text("site", Some(check.site.as_bytes()), usize::MAX, out);
    address("client", check.client, out);
    word("method", Some("GET"), out);
    text("path", Some(check.target.as_bytes()), TARGET, out);
    replay(check.trace, false, out);
    out.extend_from_slice(b"}\n");
}

/// What a replay reads.
fn replay(trace: &Trace, stands_in: bool, out: &mut Vec<u8>) {
    object("replay", out);
    // Everything else stands behind it.
    out.extend_from_slice(b"\"run\":\"");
    put::hex::<8>(trace.run.into(), out);
    out.push(b'"');
    for mark in trace.marks() {
        self::mark(mark, out);
    }
    pair("admitted", trace.admitted, out);
    let asked = &trace.asked;
    let session = match asked.session {
        Session::Nothing => "none",
        Session::Key(_) => "key",
        Session::Signed => "signed",
        Session::Malformed => "malformed",
    };
    word("session", Some(session), out);
    if let Session::Key(key) = asked.session {
        hash("key", key, out);
    }
    let (challenge, token) = match asked.challenged {
        Challenged::No { replayable: false } => (None, None),
        Challenged::No { replayable: true } => (Some("possible"), None),
        Challenged::Failed => (Some("failed"), None),
        Challenged::Passed(token) => (Some("passed"), Some(token)),
    };
    if challenge.is_some() {
        word("challenge", challenge, out);
    }
    if let Some(token) = token {
        hash("token", token.0, out);
    }
    let flags = [
        ("carried", asked.carried),
        ("body", asked.body),
        ("authorization", asked.authorization),
        ("spent", asked.spent),
        ("stands_in", stands_in),
        ("shared", asked.shared),
    ];
    for (name, _) in flags.into_iter().filter(|(_, set)| *set) {
        flag(name, out);
    }
    if let Some(charged) = trace.charged() {
        pair("charged", charged, out);
    }
    if let Some((settled, end)) = trace.settled() {
        pair("settled", settled, out);
        let (how, answer, proof) = match end {
            End::Unsent => ("unsent", None, None),
            End::NoAnswer => ("no answer", None, None),
            End::Answered(answer, proof) => ("answered", Some(answer), proof),
        };
        word("end", Some(how), out);
        for (name, answer) in [("answer", answer), ("proof", proof)] {
            if let Some(answer) = answer {
                self::answer(name, answer, out);
            }
        }
    }
    out.push(b'}');
}

/// What happened before.
fn mark(Mark { policy, what }: &Mark, out: &mut Vec<u8>) {
    match what {
        Marked::Start { blank } => {
            object("start", out);
            out.extend_from_slice(
                concat!("\"version\":\"", env!("CARGO_PKG_VERSION"), "\"").as_bytes(),
            );
            hash("policy", *policy, out);
            if let Some(since) = blank {
                number("blank", nanos(*since), out);
            }
        }
        Marked::Reload(decided) => {
            object("reload", out);
            out.extend_from_slice(b"\"policy\":\"");
            put::hex::<16>(*policy, out);
            out.push(b'"');
            pair("made", *decided, out);
        }
    }
    out.push(b'}');
}

fn answer(name: &str, answer: Answer, out: &mut Vec<u8>) {
    let Answer { status, session, lookalike } = answer;
    let what = match session {
        Set::Nothing => "none",
        Set::Deletion => "deletion",
        Set::Key { .. } => "key",
        Set::Signed { empty: false } => "signed",
        Set::Signed { empty: true } => "empty signed",
        Set::OtherShape => "malformed",
    };
    object(name, out);
    out.extend_from_slice(b"\"status\":");
    put::number(status.into(), out);
    word("session", Some(what), out);
    if let Set::Key { key, spare, max_age } = session {
        hash("key", key, out);
        if spare {
            flag("spare", out);
        }
        if let Some(age) = max_age {
            number("max_age", age.as_secs(), out);
        }
    }
    if lookalike {
        flag("lookalike", out);
    }
    out.push(b'}');
}

/// The number of a decision and its moment.
fn pair(name: &str, Decided { number, at }: Decided, out: &mut Vec<u8>) {
    put::key(name, out);
    out.push(b'[');
    put::number(number, out);
    out.push(b',');
    put::number(nanos(at), out);
    out.push(b']');
}

/// A moment in nanoseconds since the process began.
fn nanos(at: Moment) -> u64 {
    at.as_nanos().saturating_sub(Moment::from_nanos(0).after(Moment::HEADROOM).as_nanos())
}

/// The time in front of every JSON line.
fn time(unix_ms: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    put::time(unix_ms, out);
    out.push(b'"');
}

// The names of fields are copied as constants where these are a part of their callers.

/// A time in milliseconds.
#[inline(always)]
fn millis(name: &str, time: Option<Duration>, out: &mut Vec<u8>) {
    put::key(name, out);
    match time {
        Some(time) => put::millis(time, out),
        None => out.extend_from_slice(b"null"),
    }
}

/// A whole number.
#[inline(always)]
fn number(name: &str, value: u64, out: &mut Vec<u8>) {
    put::key(name, out);
    put::number(value, out);
}

/// A hash.
#[inline(always)]
fn hash(name: &str, value: u64, out: &mut Vec<u8>) {
    put::key(name, out);
    out.push(b'"');
    put::hex::<16>(value, out);
    out.push(b'"');
}

#[inline(always)]
fn address(name: &str, address: IpAddr, out: &mut Vec<u8>) {
    put::key(name, out);
    out.push(b'"');
    put::address(address, out);
    out.push(b'"');
}

/// A word of our own.
#[inline(always)]
fn word(name: &str, value: Option<&str>, out: &mut Vec<u8>) {
    put::key(name, out);
    match value {
        Some(value) => {
            out.push(b'"');
            out.extend_from_slice(value.as_bytes());
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}

/// Whatever a stranger or the operator chose.
#[inline(always)]
fn text(name: &str, value: Option<&[u8]>, most: usize, out: &mut Vec<u8>) {
    put::key(name, out);
    match value {
        Some(value) => put::string(cut(value, most), out),
        None => out.extend_from_slice(b"null"),
    }
}

/// That something is so.
#[inline(always)]
fn flag(name: &str, out: &mut Vec<u8>) {
    put::key(name, out);
    out.extend_from_slice(b"true");
}

/// The beginning of an object within.
#[inline(always)]
fn object(name: &str, out: &mut Vec<u8>) {
    put::key(name, out);
    out.push(b'{');
}

fn cut(value: &[u8], most: usize) -> &[u8] {
    &value[..value.len().min(most)]
}
