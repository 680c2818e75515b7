//! Plain HTTP that is sent away to HTTPS.
//!
//! It leads nowhere but to hosts that a certificate names, so that a made-up `Host` cannot make
//! us, or a cache in between, send somebody elsewhere.

use http::header::{HOST, HeaderValue};
use http::request::Parts;
use http::{Method, Uri};
use percent_encoding::{CONTROLS, utf8_percent_encode};

use super::headers::Fault;
use super::sites;
use super::tls::Tls;

/// Where answers to ACME's challenges are asked for, in plain HTTP (RFC 8555, 8.3).
const CHALLENGE: &str = "/.well-known/acme-challenge/";

/// Whether a request is one of a certificate authority, that whoever renews certificates answers
/// behind us: `GET` of one token, and nothing that could lead elsewhere.
pub fn is_challenge(method: &Method, uri: &Uri) -> bool {
    let token = uri.path().strip_prefix(CHALLENGE);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    [Method::GET, Method::HEAD].contains(method)
        && uri.query().is_none()
        && token.is_some_and(|token| !token.is_empty() && token.bytes().all(fits))
}

/// Where a request is sent to: the same over HTTPS. Its target is in origin-form.
pub fn location(parts: &Parts, tls: &Tls) -> Result<HeaderValue, Fault> {
    let host = parts.headers.get(HOST).ok_or(Fault::Host)?;
    let host = sites::bare(host.as_bytes());
    let name = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&host);
    // A wildcard covers labels that nobody could have in DNS.
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if !name.bytes().all(fits) || !tls.certificates.name(name) {
        return Err(Fault::UnknownHost);
    }
    let target = parts.uri.path_and_query().filter(|target| target.as_str().starts_with('/'));
    let target = utf8_percent_encode(target.ok_or(Fault::Target)?.as_str(), CONTROLS);
    let location = match tls.port {
        443 => format!("https://{host}{target}"),
        port => format!("https://{host}:{port}{target}"),
    };
    HeaderValue::try_from(location).map_err(|_| Fault::Target)
}
