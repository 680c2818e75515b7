//! A request of HTTP/2 as one of HTTP/1.1: everything else then reads one kind of request.
//!
//! What RFC 9113 calls malformed in frames and names h2 has refused already, with PROTOCOL_ERROR:
//! fields that concern one connection, names in capitals, control characters, unknown or repeated
//! pseudo-headers, a length that is not that of the body. Here is what it lets pass.

use http::header::{CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderValue};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{Method, Version};

use super::headers::{Fault, is_host};

/// Puts `:authority` into `Host`, the target into origin-form, and the crumbs of cookies into one
/// line; `headers` is the most lines that there may be.
pub fn to_http1(parts: &mut Parts, headers: usize) -> Result<(), Fault> {
    if !parts.headers.values().all(is_trimmed) {
        return Err(Fault::Field);
    }
    put_host(&parts.uri, &mut parts.headers)?;
    parts.uri = Uri::from(target(&parts.uri, &parts.method)?);
    join_cookies(&mut parts.headers);
    one_length(&mut parts.headers);
    if parts.headers.len() > headers {
        return Err(Fault::Headers);
    }
    parts.version = Version::HTTP_11;
    Ok(())
}

/// RFC 9113, 8.2.1: no white space at either end. HTTP/1.1 would lose it on the way, and the
/// application would read another value than was decided on.
fn is_trimmed(value: &HeaderValue) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    !blank(value.as_bytes().first()) && !blank(value.as_bytes().last())
}

/// RFC 9113, 8.3.1: `:authority` is what `Host` says; where both are, they must agree. h2 gives
/// `:authority` and `:scheme` as those of the URI.
fn put_host(uri: &Uri, headers: &mut HeaderMap) -> Result<(), Fault> {
    let mut lines = headers.get_all(HOST).iter();
    let (host, another) = (lines.next(), lines.next());
    let Some(authority) = uri.authority() else {
        return if host.is_some() && another.is_none() { Ok(()) } else { Err(Fault::Host) };
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(Fault::Target);
    }
    let name = authority.as_str();
    let agrees = host.is_none_or(|host| host.as_bytes().eq_ignore_ascii_case(name.as_bytes()));
    if !agrees || another.is_some() || !is_host(name.as_bytes()) {
        return Err(Fault::Host);
    }
    let name = HeaderValue::from_str(name).map_err(|_| Fault::Host)?;
    headers.insert(HOST, name);
    Ok(())
}

/// RFC 9113, 8.3.1: a path that begins with a slash, or `*` with OPTIONS. Anything else would be
/// another request in HTTP/1.1: "http://elsewhere/" is absolute-form there.
fn target(uri: &Uri, method: &Method) -> Result<PathAndQuery, Fault> {
    let path = uri.path_and_query().ok_or(Fault::Target)?;
    let fits =
        path.as_str().starts_with('/') || (path.as_str() == "*" && method == Method::OPTIONS);
    if fits { Ok(path.clone()) } else { Err(Fault::Target) }
}

/// RFC 9113, 8.2.3: crumbs are one line again, in their order, before anything reads them.
fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (lines.next(), lines.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for line in std::iter::once(second).chain(lines) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(line.as_bytes());
    }
    // Each was a header value, and what joins them could be one.
    if let Ok(mut joined) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
        joined.set_sensitive(true);
        headers.insert(COOKIE, joined);
    } else {
        headers.remove(COOKIE);
    }
}

/// Several lines of one length, which h2 lets pass if they agree, are one.
fn one_length(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    if let (Some(length), Some(_)) = (lines.next(), lines.next()) {
        let length = length.clone();
        headers.insert(CONTENT_LENGTH, length);
    }
}
