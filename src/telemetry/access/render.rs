//! The lines of the access log.
//!
//! What strangers chose is cut to the lengths below and escaped: in `common` and `combined` as nginx
//! does it (a quote, a backslash and whatever is not visible ASCII is `\xHH`), in JSON as JSON has
//! it, with U+FFFD for what is not UTF-8.

use std::io::Write;
use std::time::Duration;

use super::super::warmth::Civil;
use super::trace::{Answer, Decided, End, Mark, Marked, Session, Set, Trace};
use super::{Check, Exchange, Format};
use crate::guard::challenge::Challenged;
use crate::guard::moment::Moment;

/// The most that is told of a target, a referer, a user agent, a host and a method, in bytes.
const TARGET: usize = 4096;
const REFERER: usize = 2048;
const AGENT: usize = 512;
const HOST: usize = 255;
const METHOD: usize = 32;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Appends the line of an exchange.
pub(super) fn line(format: Format, exchange: &Exchange<'_>, out: &mut Vec<u8>) {
    match format {
        Format::Off => return,
        Format::Common => common(exchange, out),
        Format::Combined => {
            common(exchange, out);
            for (value, most) in [(exchange.referer, REFERER), (exchange.user_agent, AGENT)] {
                out.extend_from_slice(b" \"");
                plain(value.unwrap_or(b"-"), most, out);
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
    let Civil { year, month, day, hour, minute, second } =
        Civil::of(exchange.began_unix_ms / 1_000);
    let month = MONTHS[(month as usize).saturating_sub(1) % MONTHS.len()];
    put(
        out,
        format_args!(
            "{} - - [{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000] \"",
            exchange.client
        ),
    );
    match &exchange.request {
        Some(request) => {
            plain(request.method.as_bytes(), METHOD, out);
            out.push(b' ');
            plain(request.target.as_bytes(), TARGET, out);
            put(out, format_args!(" {}", request.protocol));
        }
        None => out.push(b'-'),
    }
    put(out, format_args!("\" {} {}", exchange.status, exchange.bytes));
}

fn json(exchange: &Exchange<'_>, out: &mut Vec<u8>) {
    time(exchange.began_unix_ms, out);
    let request = exchange.request.as_ref();
    text("site", exchange.site.map(str::as_bytes), usize::MAX, out);
    put(out, format_args!(",\"client\":\"{}\",\"peer\":\"{}\"", exchange.client, exchange.peer));
    text("method", request.map(|request| request.method.as_bytes()), METHOD, out);
    text("host", exchange.host, HOST, out);
    text("path", request.map(|request| request.target.as_bytes()), TARGET, out);
    text("protocol", request.map(|request| request.protocol.as_bytes()), usize::MAX, out);
    let (status, bytes) = (exchange.status, exchange.bytes);
    put(out, format_args!(",\"status\":{status},\"bytes\":{bytes}"));
    millis("duration_ms", Some(exchange.duration), out);
    millis("upstream_ms", exchange.upstream_time, out);
    text("upstream", exchange.upstream.map(str::as_bytes), usize::MAX, out);
    text("standing", exchange.standing.map(|word| word.word().as_bytes()), usize::MAX, out);
    text("route", exchange.route.map(str::as_bytes), usize::MAX, out);
    text("class", exchange.class.map(str::as_bytes), usize::MAX, out);
    text("verdict", exchange.verdict.map(|verdict| verdict.word().as_bytes()), usize::MAX, out);
    text("why", exchange.why.map(str::as_bytes), usize::MAX, out);
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
    put(out, format_args!(",\"client\":\"{}\",\"method\":\"GET\"", check.client));
    text("path", Some(check.target.as_bytes()), TARGET, out);
    replay(check.trace, false, out);
    out.extend_from_slice(b"}\n");
}

/// What a replay reads.
fn replay(trace: &Trace, stands_in: bool, out: &mut Vec<u8>) {
    put(out, format_args!(",\"replay\":{{\"run\":\"{:08x}\"", trace.run));
    for mark in &trace.marks {
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
    put(out, format_args!(",\"session\":\"{session}\""));
    if let Session::Key(key) = asked.session {
        put(out, format_args!(",\"key\":\"{key:016x}\""));
    }
    let (challenge, token) = match asked.challenged {
        Challenged::No { replayable: false } => (None, None),
        Challenged::No { replayable: true } => (Some("possible"), None),
        Challenged::Failed => (Some("failed"), None),
        Challenged::Passed(token) => (Some("passed"), Some(token)),
    };
    if let Some(word) = challenge {
        put(out, format_args!(",\"challenge\":\"{word}\""));
    }
    if let Some(token) = token {
        put(out, format_args!(",\"token\":\"{:016x}\"", token.0));
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
        put(out, format_args!(",\"{name}\":true"));
    }
    if let Some(charged) = trace.charged() {
        pair("charged", charged, out);
    }
    if let Some((settled, end)) = trace.settled() {
        pair("settled", settled, out);
        let (word, answer, proof) = match end {
            End::Unsent => ("unsent", None, None),
            End::NoAnswer => ("no answer", None, None),
            End::Answered(answer, proof) => ("answered", Some(answer), proof),
        };
        put(out, format_args!(",\"end\":\"{word}\""));
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
            let version = env!("CARGO_PKG_VERSION");
            put(
                out,
                format_args!(",\"start\":{{\"version\":\"{version}\",\"policy\":\"{policy:016x}\""),
            );
            if let Some(since) = blank {
                put(out, format_args!(",\"blank\":{}", nanos(*since)));
            }
        }
        Marked::Reload(decided) => {
            put(out, format_args!(",\"reload\":{{\"policy\":\"{policy:016x}\""));
            pair("made", *decided, out);
        }
    }
    out.push(b'}');
}

fn answer(name: &str, answer: Answer, out: &mut Vec<u8>) {
    let Answer { status, session, lookalike } = answer;
    let word = match session {
        Set::Nothing => "none",
        Set::Deletion => "deletion",
        Set::Key { .. } => "key",
        Set::Signed { empty: false } => "signed",
        Set::Signed { empty: true } => "empty signed",
        Set::OtherShape => "malformed",
    };
    put(out, format_args!(",\"{name}\":{{\"status\":{status},\"session\":\"{word}\""));
    if let Set::Key { key, spare, max_age } = session {
        put(out, format_args!(",\"key\":\"{key:016x}\""));
        if spare {
            out.extend_from_slice(b",\"spare\":true");
        }
        if let Some(age) = max_age {
            put(out, format_args!(",\"max_age\":{}", age.as_secs()));
        }
    }
    if lookalike {
        out.extend_from_slice(b",\"lookalike\":true");
    }
    out.push(b'}');
}

/// The number of a decision and its moment.
fn pair(name: &str, Decided { number, at }: Decided, out: &mut Vec<u8>) {
    put(out, format_args!(",\"{name}\":[{number},{}]", nanos(at)));
}

/// A moment in nanoseconds since the process began.
fn nanos(at: Moment) -> u64 {
    at.as_nanos().saturating_sub(Moment::from_nanos(0).after(Moment::HEADROOM).as_nanos())
}

/// The time in front of every JSON line.
fn time(unix_ms: u64, out: &mut Vec<u8>) {
    let Civil { year, month, day, hour, minute, second } = Civil::of(unix_ms / 1_000);
    let ms = unix_ms % 1_000;
    put(
        out,
        format_args!(
            "{{\"time\":\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z\""
        ),
    );
}

fn put(out: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    // A write into memory does not fail.
    let _ = out.write_fmt(what);
}

fn key(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// A time in milliseconds, to the microsecond.
fn millis(name: &str, time: Option<Duration>, out: &mut Vec<u8>) {
    key(name, out);
    match time.map(|time| time.as_micros()) {
        Some(micros) => put(out, format_args!("{}.{:03}", micros / 1_000, micros % 1_000)),
        None => out.extend_from_slice(b"null"),
    }
}

/// A field of a JSON object, behind others.
fn text(name: &str, value: Option<&[u8]>, most: usize, out: &mut Vec<u8>) {
    key(name, out);
    let Some(value) = value else {
        out.extend_from_slice(b"null");
        return;
    };
    out.push(b'"');
    for chunk in cut(value, most).utf8_chunks() {
        let valid = chunk.valid();
        if valid.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
            out.extend_from_slice(valid.as_bytes());
        } else {
            valid.chars().for_each(|char| escaped(char, out));
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

/// A character within a JSON string: what drives terminals or turns the direction of writing is
/// spelled out.
fn escaped(char: char, out: &mut Vec<u8>) {
    match char {
        '"' | '\\' => out.extend_from_slice(&[b'\\', char as u8]),
        _ if char.is_control()
            || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}') =>
        {
            put(out, format_args!("\\u{:04x}", char as u32));
        }
        _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// As nginx escapes a variable in its log (`ngx_http_log_escape`).
fn plain(value: &[u8], most: usize, out: &mut Vec<u8>) {
    for byte in cut(value, most) {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f..=0xff => put(out, format_args!("\\x{byte:02X}")),
            _ => out.push(*byte),
        }
    }
}

fn cut(value: &[u8], most: usize) -> &[u8] {
    &value[..value.len().min(most)]
}
