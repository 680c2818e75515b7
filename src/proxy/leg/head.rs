//! The head of a response: read strictly, and how its body ends (RFC 9112, 6.3).

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::response::{Parts, Response};
use http::{Method, StatusCode, Version};
use hyper::ext::ReasonPhrase;

use super::chunks::Chunks;
use super::flaw::Flaw;
use super::usual;

/// What is read of a head at most.
pub const HEAD_BYTES: usize = 128 << 10;
/// Header lines of a head, or of trailers, at most.
pub const HEADERS: usize = 100;
/// The map of a request that has room for more lines than this is not used again: the connection
/// keeps it for the next.
pub const SPARE_LINES: usize = 64;

/// How a body ends.
#[derive(Debug)]
pub enum Framing {
    /// It has none, or has ended.
    Ended,
    /// After so many bytes, which are not 0.
    Length(u64),
    Chunked(Chunks),
    /// With its connection.
    UntilEnd,
}

/// A head that was read.
#[derive(Debug)]
pub struct Head {
    pub parts: Parts,
    pub framing: Framing,
    /// Whether the connection may carry another exchange.
    pub again: bool,
    /// In bytes.
    pub length: usize,
}

/// Reads the head that `bytes` begin with, of the response to a request with this method; `None`
/// where it is not all there. `spare` has served the request, and serves the response.
pub fn read(bytes: &Bytes, method: &Method, spare: &mut HeaderMap) -> Result<Option<Head>, Flaw> {
    if let Some(b'\r' | b'\n') = bytes.first() {
        return Err(Flaw::Before);
    }
    let mut lines = [const { MaybeUninit::uninit() }; HEADERS];
    let mut read = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut read, bytes, &mut lines) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(Flaw::Head(error)),
    };
    if length > HEAD_BYTES {
        return Err(Flaw::HeadBytes);
    }
    if has_bare_line_feed(&bytes[..length], 0) {
        return Err(Flaw::LineFeed);
    }
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = read
        .code
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(Flaw::Head(httparse::Error::Status))?;
    parts.version = match read.version {
        Some(1) => Version::HTTP_11,
        Some(_) | None => Version::HTTP_10,
    };
    if let Some(reason) = read.reason
        && Some(reason) != parts.status.canonical_reason()
        && let Ok(reason) = ReasonPhrase::try_from(bytes.slice_ref(reason.as_bytes()))
    {
        parts.extensions.insert(reason);
    }
    let mut headers = std::mem::take(spare);
    headers.clear();
    if headers.capacity() > SPARE_LINES {
        headers = HeaderMap::with_capacity(read.headers.len());
    }
    let mut said = Said::default();
    for line in read.headers.iter() {
        let (name, usual) = name(line.name)?;
        let value = usual::value(bytes, line.value, usual)
            .map_err(|_| Flaw::Head(httparse::Error::HeaderValue))?;
        said.note(&name, line.value)?;
        headers.append(name, value);
    }
    parts.headers = headers;
    let framing = said.framing(&parts, method)?;
    // RFC 9112, 6.1: who sends both may have smuggled a response behind this one.
    let doubtful = said.chunked && said.length.is_some();
    let ends = said.close || doubtful || matches!(framing, Framing::UntilEnd);
    let again = parts.version == Version::HTTP_11 && !ends;
    Ok(Some(Head { parts, framing, again, length }))
}

/// A name as applications write it, or as any other may; and what they usually say there.
fn name(written: &str) -> Result<(HeaderName, &'static [HeaderValue]), Flaw> {
    Ok(match written {
        "Cache-Control" => (header::CACHE_CONTROL, &[]),
        "Connection" => (header::CONNECTION, &usual::CONNECTION),
        "Content-Language" => (header::CONTENT_LANGUAGE, &[]),
        "Content-Length" => (header::CONTENT_LENGTH, &[]),
        "Content-Type" => (header::CONTENT_TYPE, &usual::CONTENT_TYPE),
        "Date" => (header::DATE, &[]),
        "ETag" => (header::ETAG, &[]),
        "Expires" => (header::EXPIRES, &[]),
        "Last-Modified" => (header::LAST_MODIFIED, &[]),
        "Location" => (header::LOCATION, &[]),
        "Server" => (header::SERVER, &[]),
        "Set-Cookie" => (header::SET_COOKIE, &[]),
        "Transfer-Encoding" => (header::TRANSFER_ENCODING, &[]),
        "Vary" => (header::VARY, &usual::VARY),
        "X-Content-Type-Options" => (header::X_CONTENT_TYPE_OPTIONS, &usual::NOSNIFF),
        "X-Frame-Options" => (header::X_FRAME_OPTIONS, &usual::FRAME_OPTIONS),
        other => {
            let name = HeaderName::from_bytes(other.as_bytes());
            (name.map_err(|_| Flaw::Head(httparse::Error::HeaderName))?, &[])
        }
    })
}

/// Whether a line ends with a bare LF, which its parser would take, in or behind the byte at `from`.
pub(super) fn has_bare_line_feed(lines: &[u8], from: usize) -> bool {
    // Lines are short: looking at every byte, many at a time, is quicker than looking for their ends.
    let before = from.checked_sub(1).map_or(b'\n', |at| lines[at]);
    let first = lines.get(from).is_some_and(|byte| *byte == b'\n' && before != b'\r');
    let lines = &lines[from..];
    let pairs = lines.iter().zip(lines.get(1..).unwrap_or_default());
    pairs.fold(first, |bare, (before, byte)| bare | ((*byte == b'\n') & (*before != b'\r')))
}

/// What a head says of its body, and of its connection.
#[derive(Default)]
struct Said {
    close: bool,
    chunked: bool,
    length: Option<u64>,
}

impl Said {
    fn note(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), Flaw> {
        if name == header::CONNECTION {
            self.close |= value
                .split(|byte| *byte == b',')
                .any(|it| blank(it).eq_ignore_ascii_case(b"close"));
        } else if name == header::TRANSFER_ENCODING {
            // Nothing but this, and once.
            if self.chunked || !blank(value).eq_ignore_ascii_case(b"chunked") {
                return Err(Flaw::TransferCoding);
            }
            self.chunked = true;
        } else if name == header::CONTENT_LENGTH {
            for said in value.split(|byte| *byte == b',') {
                let length = number(blank(said)).ok_or(Flaw::Length)?;
                if self.length.replace(length).is_some_and(|before| before != length) {
                    return Err(Flaw::Length);
                }
            }
        }
        Ok(())
    }

    /// RFC 9112, 6.3, in its order; `CONNECT` is never sent.
    fn framing(&self, parts: &Parts, method: &Method) -> Result<Framing, Flaw> {
        let status = parts.status;
        if self.chunked && parts.version == Version::HTTP_10 {
            return Err(Flaw::TransferCoding);
        }
        if method == Method::HEAD
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED
        {
            return Ok(Framing::Ended);
        }
        Ok(match self.length {
            _ if self.chunked => Framing::Chunked(Chunks::default()),
            Some(0) => Framing::Ended,
            Some(length) => Framing::Length(length),
            None => Framing::UntilEnd,
        })
    }
}

/// Digits and nothing else, and no more than a signed number of 64 bits can hold: who reads it as
/// one would find another.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = str::from_utf8(digits).ok()?.parse::<i64>().ok()?;
    u64::try_from(number).ok()
}

/// Without optional whitespace around it (RFC 9110, 5.6.3).
fn blank(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_they_say_however_they_are_written() {
        let names = [
            "Cache-Control",
            "Connection",
            "Content-Language",
            "Content-Length",
            "Content-Type",
            "Date",
            "ETag",
            "Expires",
            "Last-Modified",
            "Location",
            "Server",
            "Set-Cookie",
            "Transfer-Encoding",
            "Vary",
            "X-Content-Type-Options",
            "X-Frame-Options",
            "X-Other",
        ];
        for written in names {
            let lower = written.to_ascii_lowercase();
            for written in [written, &lower, &written.to_ascii_uppercase()] {
                assert_eq!(name(written).expect("a name").0.as_str(), lower);
            }
        }
        assert!(name("no name").is_err());
    }

    #[test]
    fn a_bare_line_feed_is_found_wherever_it_stands() {
        for length in 1..80 {
            let mut lines = vec![b'a'; length];
            for at in 0..length {
                assert!(!has_bare_line_feed(&lines, 0), "{lines:?}");
                lines[at] = b'\n';
                for from in 0..=length {
                    assert_eq!(has_bare_line_feed(&lines, from), from <= at, "{lines:?}");
                }
                if let Some(before) = at.checked_sub(1) {
                    lines[before] = b'\r';
                    assert!(!has_bare_line_feed(&lines, 0), "{lines:?}");
                    assert!(!has_bare_line_feed(&lines, at), "{lines:?}");
                    lines[before] = b'a';
                }
                lines[at] = b'a';
            }
        }
    }
}
