//! The lines of the access log.
//!
//! What strangers chose is cut to the lengths below and escaped: in `common` and `combined` as nginx
//! does it (a quote, a backslash and whatever is not visible ASCII is `\xHH`), in JSON as JSON has
//! it, with U+FFFD for what is not UTF-8.

use std::io::Write;
use std::time::Duration;

use super::super::warmth::Civil;
use super::{Exchange, Format};

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
    let Civil { year, month, day, hour, minute, second } =
        Civil::of(exchange.began_unix_ms / 1_000);
    let ms = exchange.began_unix_ms % 1_000;
    put(
        out,
        format_args!(
            "{{\"time\":\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z\""
        ),
    );
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
    out.push(b'}');
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
