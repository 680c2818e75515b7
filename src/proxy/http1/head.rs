//! The head of a request: read strictly, and how its body ends (RFC 9112, 6.3).

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Uri, Version};

use super::Limits;
use super::flaw::Flaw;
use crate::proxy::leg::chunks::Chunks;
use crate::proxy::leg::head::{Framing, SPARE_LINES};
use crate::proxy::leg::usual;

/// Lines for which there is room without memory of their own.
const LINES: usize = 100;
/// What `http` takes.
const TARGET_BYTES: usize = u16::MAX as usize - 1;

/// A head that was read.
#[derive(Debug)]
pub struct Head {
    pub parts: Parts,
    pub framing: Framing,
    /// Whether the connection may carry another exchange.
    pub again: bool,
    /// The client waits for 100 before it sends the body (RFC 9110, 10.1.1).
    pub expects: bool,
    /// Trailers of the response are welcome (RFC 9110, 10.1.4).
    pub trailers: bool,
    /// In bytes.
    pub length: usize,
}

/// Reads the head that `bytes` begin with; `None` where it is not all there. `spare` is a map that
/// nobody uses.
pub fn read(bytes: &Bytes, limits: &Limits, spare: &mut HeaderMap) -> Result<Option<Head>, Flaw> {
    if limits.headers <= LINES {
        let mut lines = [const { MaybeUninit::uninit() }; LINES];
        read_with(&mut lines[..limits.headers], bytes, limits, spare)
    } else {
        let mut lines = vec![MaybeUninit::uninit(); limits.headers];
        read_with(&mut lines, bytes, limits, spare)
    }
}

fn read_with<'a>(
    lines: &mut [MaybeUninit<httparse::Header<'a>>],
    bytes: &'a Bytes,
    limits: &Limits,
    spare: &mut HeaderMap,
) -> Result<Option<Head>, Flaw> {
    let mut read = httparse::Request::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_request_with_uninit_headers(&mut read, bytes, lines) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Flaw::Headers),
        Err(error) => return Err(Flaw::Head(error)),
    };
    if length > limits.head_bytes {
        return Err(Flaw::HeadBytes);
    }
    let (Some(method), Some(target)) = (read.method, read.path) else {
        return Err(Flaw::RequestLine);
    };
    if target.len() > TARGET_BYTES {
        return Err(Flaw::TargetBytes);
    }
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = Method::from_bytes(method.as_bytes()).map_err(|_| Flaw::RequestLine)?;
    parts.uri = Uri::from_maybe_shared(bytes.slice_ref(target.as_bytes()))
        .map_err(|_| Flaw::RequestLine)?;
    parts.version = match read.version {
        Some(1) => Version::HTTP_11,
        Some(_) | None => Version::HTTP_10,
    };
    let mut headers = std::mem::take(spare);
    headers.clear();
    if headers.capacity() > SPARE_LINES {
        headers = HeaderMap::default();
    }
    headers.reserve(read.headers.len());
    let mut said = Said::default();
    for line in read.headers.iter() {
        let (name, usual) = name(line.name)?;
        let value = usual::value(bytes, line.value, usual)
            .map_err(|_| Flaw::Head(httparse::Error::HeaderValue))?;
        if said.note(&name, line.value)? {
            headers.append(name, value);
        }
    }
    if said.coded && said.length.is_some() {
        // RFC 9112, 6.3: it says nothing where there is a transfer coding.
        headers.remove(header::CONTENT_LENGTH);
    }
    parts.headers = headers;
    let framing = said.framing(parts.version)?;
    let expects =
        said.expects && parts.version == Version::HTTP_11 && !matches!(framing, Framing::Ended);
    let again = said.is_kept(parts.version);
    Ok(Some(Head { parts, framing, again, expects, trailers: said.trailers, length }))
}

/// A name as browsers write it, or as any other may; and what they usually say there.
fn name(written: &str) -> Result<(HeaderName, &'static [HeaderValue]), Flaw> {
    Ok(match written {
        "Accept" => (header::ACCEPT, &usual::ACCEPT),
        "Accept-Encoding" => (header::ACCEPT_ENCODING, &usual::CODINGS),
        "Accept-Language" => (header::ACCEPT_LANGUAGE, &usual::LANGUAGES),
        "Cache-Control" => (header::CACHE_CONTROL, &usual::CACHE_CONTROL),
        "Connection" => (header::CONNECTION, &usual::CONNECTION),
        "Content-Length" => (header::CONTENT_LENGTH, &[]),
        "Content-Type" => (header::CONTENT_TYPE, &usual::CONTENT_TYPE),
        "Cookie" => (header::COOKIE, &[]),
        "Host" => (header::HOST, &[]),
        "If-Modified-Since" => (header::IF_MODIFIED_SINCE, &[]),
        "If-None-Match" => (header::IF_NONE_MATCH, &[]),
        "Origin" => (header::ORIGIN, &[]),
        "Referer" => (header::REFERER, &[]),
        "Upgrade-Insecure-Requests" => (header::UPGRADE_INSECURE_REQUESTS, &usual::ONE),
        "User-Agent" => (header::USER_AGENT, &[]),
        // Names of which `http` would make a copy each time.
        "DNT" => (header::DNT, &[]),
        "Priority" => (const { HeaderName::from_static("priority") }, &usual::PRIORITY),
        "Sec-Fetch-Dest" => {
            (const { HeaderName::from_static("sec-fetch-dest") }, &usual::FETCH_DEST)
        }
        "Sec-Fetch-Mode" => {
            (const { HeaderName::from_static("sec-fetch-mode") }, &usual::FETCH_MODE)
        }
        "Sec-Fetch-Site" => {
            (const { HeaderName::from_static("sec-fetch-site") }, &usual::FETCH_SITE)
        }
        "Sec-Fetch-User" => {
            (const { HeaderName::from_static("sec-fetch-user") }, &usual::FETCH_USER)
        }
        "sec-ch-ua" => (const { HeaderName::from_static("sec-ch-ua") }, &[]),
        "sec-ch-ua-mobile" => {
            (const { HeaderName::from_static("sec-ch-ua-mobile") }, &usual::MOBILE)
        }
        "sec-ch-ua-platform" => {
            (const { HeaderName::from_static("sec-ch-ua-platform") }, &usual::PLATFORM)
        }
        "X-Forwarded-For" => (const { HeaderName::from_static("x-forwarded-for") }, &[]),
        "X-Forwarded-Proto" => (const { HeaderName::from_static("x-forwarded-proto") }, &[]),
        "X-Requested-With" => (const { HeaderName::from_static("x-requested-with") }, &[]),
        other => {
            let name = HeaderName::from_bytes(other.as_bytes());
            (name.map_err(|_| Flaw::Head(httparse::Error::HeaderName))?, &[])
        }
    })
}

/// What a head says of its body, and of its connection.
#[derive(Default)]
struct Said {
    close: bool,
    keep_alive: bool,
    coded: bool,
    /// Whether the last coding is `chunked`.
    chunked: bool,
    length: Option<u64>,
    expects: bool,
    trailers: bool,
}

impl Said {
    /// Takes note of a line. Whether it says anything that none before has said.
    fn note(&mut self, name: &HeaderName, value: &[u8]) -> Result<bool, Flaw> {
        // Tokens are ASCII: of a list that has other bytes nobody knows where they end. It can ask for
        // no more than is usual.
        let asks = |token| has(value, token) && value.is_ascii();
        match *name {
            header::CONNECTION => {
                self.close |= has(value, b"close");
                self.keep_alive |= asks(b"keep-alive");
            }
            header::TRANSFER_ENCODING => {
                let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
                self.coded = true;
                self.chunked =
                    value.is_ascii() && last.trim_ascii().eq_ignore_ascii_case(b"chunked");
            }
            // Whatever it says: see `is_kept`.
            header::CONTENT_LENGTH if self.coded => {
                self.length.get_or_insert(0);
            }
            header::CONTENT_LENGTH => {
                let length = number(value).ok_or(Flaw::Length)?;
                match self.length.replace(length) {
                    Some(before) if before != length => return Err(Flaw::Length),
                    Some(_) => return Ok(false),
                    None => {}
                }
            }
            header::EXPECT => self.expects = value.eq_ignore_ascii_case(b"100-continue"),
            header::TE => self.trailers |= asks(b"trailers"),
            _ => {}
        }
        Ok(true)
    }

    /// RFC 9112, 6.3, in its order.
    fn framing(&self, version: Version) -> Result<Framing, Flaw> {
        if self.coded {
            return if self.chunked && version == Version::HTTP_11 {
                Ok(Framing::Chunked(Chunks::default()))
            } else {
                Err(Flaw::TransferCoding)
            };
        }
        Ok(match self.length {
            None | Some(0) => Framing::Ended,
            Some(length) => Framing::Length(length),
        })
    }

    /// RFC 9112, 9.3. Who sends a length and a coding may have smuggled a request behind this one
    /// (6.1).
    fn is_kept(&self, version: Version) -> bool {
        let doubtful = self.coded && self.length.is_some();
        !self.close && !doubtful && (version == Version::HTTP_11 || self.keep_alive)
    }
}

/// Whether a list has a token.
pub fn has(value: &[u8], token: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(token))
}

/// Digits and nothing else, and no more than 64 bits.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_they_say_however_they_are_written() {
        let names = [
            "Accept",
            "Accept-Encoding",
            "Accept-Language",
            "Cache-Control",
            "Connection",
            "Content-Length",
            "Content-Type",
            "Cookie",
            "Host",
            "If-Modified-Since",
            "If-None-Match",
            "Origin",
            "Referer",
            "Upgrade-Insecure-Requests",
            "User-Agent",
            "DNT",
            "Priority",
            "Sec-Fetch-Dest",
            "Sec-Fetch-Mode",
            "Sec-Fetch-Site",
            "Sec-Fetch-User",
            "sec-ch-ua",
            "sec-ch-ua-mobile",
            "sec-ch-ua-platform",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "X-Requested-With",
            "X-Other",
        ];
        for written in names {
            let lower = written.to_ascii_lowercase();
            for written in [written, &lower, &written.to_ascii_uppercase()] {
                let (name, _) = name(written).expect("a name");
                assert_eq!(name, HeaderName::from_bytes(lower.as_bytes()).expect("a name"));
                assert_eq!(name.as_str(), lower);
            }
        }
        assert!(name("no name").is_err());
    }
}
