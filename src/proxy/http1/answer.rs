//! The head of a response, as it is written: how its body ends, and whether the connection does
//! (RFC 9112, 6 and 9).

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRAILER, TRANSFER_ENCODING};
use http::response::Parts;
use http_body::Body;
use hyper::ext::ReasonPhrase;

use super::head::has;
use crate::proxy::clock::Clock;
use crate::proxy::leg::buffers;
use crate::proxy::leg::outgoing::{Ends, Outgoing, length, line, named};

/// What of a request its response depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// It spoke HTTP/1.0.
    pub is_old: bool,
    /// Its method is `HEAD`.
    pub is_head: bool,
    /// Trailers are welcome.
    pub trailers: bool,
}

/// A response that is to be written.
pub struct Answer {
    pub outgoing: Outgoing,
    /// Whether the connection may carry another exchange.
    pub again: bool,
}

/// Makes ready a response with this head, whose body has this much; `again` where the connection is to be kept.
pub fn answer(parts: &Parts, body: &impl Body, asked: Asked, again: bool, clock: Clock) -> Answer {
    let mut head = buffers::take_head();
    status_line(&mut head, parts, asked.is_old);
    let bodiless = is_bodiless(parts.status);
    let (mut again, mut dated, mut said, mut closing, mut keeping) =
        (again, false, None, false, false);
    for (name, value) in &parts.headers {
        match *name {
            CONTENT_LENGTH => {
                said = said.or(Some(value));
                continue;
            }
            TRANSFER_ENCODING => continue,
            TRAILER if asked.is_old || asked.is_head || bodiless => continue,
            CONNECTION => {
                closing |= has(value.as_bytes(), b"close");
                keeping |= has(value.as_bytes(), b"keep-alive");
            }
            DATE => dated = true,
            _ => {}
        }
        line(&mut head, name, value.as_bytes());
    }
    again &= !closing;
    let none = body.is_end_stream();
    let ends = match (body.size_hint().exact(), said.and_then(length)) {
        _ if bodiless => Ends::Length(0),
        // The length that there would be.
        (_, Some(length)) if asked.is_head => Ends::Length(length),
        _ if none => Ends::Length(0),
        (Some(length), _) | (None, Some(length)) => Ends::Length(length),
        (None, None) if asked.is_head => Ends::Length(0),
        (None, None) if asked.is_old => Ends::UntilEnd,
        (None, None) if asked.trailers => Ends::Chunked(named(&parts.headers)),
        (None, None) => Ends::Chunked(Vec::new()),
    };
    // Of HEAD nothing is said where nothing is known.
    let is_said = match &ends {
        Ends::Length(0) if asked.is_head => said.is_some(),
        Ends::Length(_) | Ends::Chunked(_) => !bodiless,
        Ends::UntilEnd => true,
    };
    if is_said {
        ends.say(&mut head);
    }
    again &= !matches!(ends, Ends::UntilEnd);
    if again && asked.is_old && !keeping {
        line(&mut head, &CONNECTION, b"keep-alive");
    } else if !again && !asked.is_old && !closing && parts.status != StatusCode::SWITCHING_PROTOCOLS
    {
        line(&mut head, &CONNECTION, b"close");
    }
    if !dated {
        date(&mut head, clock);
    }
    head.extend_from_slice(b"\r\n");
    let ends = if asked.is_head { Ends::Length(0) } else { ends };
    Answer { outgoing: Outgoing::with(head, ends), again }
}

/// A reply of our own to a head that is not taken, behind which the connection ends.
pub fn refusal(status: StatusCode, clock: Clock) -> Outgoing {
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = status;
    let body = http_body_util::Empty::<bytes::Bytes>::new();
    answer(&parts, &body, Asked::default(), false, clock).outgoing
}

fn status_line(head: &mut Vec<u8>, parts: &Parts, is_old: bool) {
    let reason = parts.extensions.get::<ReasonPhrase>();
    if parts.status == StatusCode::OK && reason.is_none() && !is_old {
        head.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    head.extend_from_slice(if is_old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    head.extend_from_slice(parts.status.as_str().as_bytes());
    head.push(b' ');
    // Many parsers expect one.
    let usual = || parts.status.canonical_reason().unwrap_or("<none>").as_bytes();
    head.extend_from_slice(reason.map_or_else(usual, ReasonPhrase::as_bytes));
    head.extend_from_slice(b"\r\n");
}

/// Whether no body, and no length, can be behind it, whatever was asked (RFC 9110, 8.6).
fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// As it is written: always so many bytes (RFC 9110, 5.6.7).
const DATE_BYTES: usize = 29;

thread_local! {
    /// The second that was written last, since 1970, and how.
    static WRITTEN: Cell<(u64, [u8; DATE_BYTES])> = const { Cell::new((0, [0; DATE_BYTES])) };
}

/// The line with the present time.
fn date(head: &mut Vec<u8>, clock: Clock) {
    let second = clock.unix_ms() / 1000;
    let known = WRITTEN.try_with(Cell::get).ok().filter(|(known, _)| *known == second);
    let written = known.map_or_else(
        || {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            let mut written = [b' '; DATE_BYTES];
            let text = httpdate::fmt_http_date(time);
            let length = text.len().min(DATE_BYTES);
            written[..length].copy_from_slice(&text.as_bytes()[..length]);
            // A thread that ends writes it anew each time.
            let _ = WRITTEN.try_with(|last| last.set((second, written)));
            written
        },
        |(_, written)| written,
    );
    line(head, &DATE, &written);
}
