//! Upgrades: what a client asks for, and whether the application has agreed to it.
//!
//! It promises that a tunnel begins only where both sides speak another protocol from then on: a
//! complete wish goes upstream, in one form, and nothing but a complete agreement to that very
//! wish comes back. Everything else stays HTTP, of which no byte passes uninspected. A proxy that
//! takes a refusal for an agreement, or the 101 of a page that repeats what its visitor says, lets
//! requests pass that nobody looks at.

use base64ct::{Base64, Encoding};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, TE, UPGRADE,
};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version, response};
use http_body::Body;
use hyper::ext::Protocol;
use sha1::{Digest, Sha1};

use super::headers::{Fault, tokens};
use super::settings::Protocols;
use super::state::random;
use crate::guard::protocol::carries_requests;

/// The one protocol of which we can see whether it was really agreed to.
const WEBSOCKET: &str = "websocket";
/// RFC 6455, 1.3.
const WEBSOCKET_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// RFC 6455, 4.1: the only version that there is.
const WEBSOCKET_VERSION: &str = "13";
/// RFC 6455, 4.1: 16 bytes in base64.
const KEY_BYTES: usize = 16;

/// What a client wants to speak instead of HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    protocol: HeaderValue,
}

impl Wish {
    /// What a request asks for, if it may have it: a GET of HTTP/1.1 without content (what content
    /// there was would have to be told from the first bytes of the tunnel), whose `Connection`
    /// names `Upgrade`, and the first protocol in that which is allowed (RFC 9110, 7.8). A handshake
    /// of WebSocket must be complete. What is no wish is a request like any other.
    pub fn of(parts: &Parts, body: &impl Body, allowed: &Protocols) -> Option<Self> {
        let headers = &parts.headers;
        if !headers.contains_key(UPGRADE)
            || parts.version != Version::HTTP_11
            || parts.method != Method::GET
            || !body.is_end_stream()
            || !says_upgrade(headers)
        {
            return None;
        }
        let protocol = tokens(headers, &UPGRADE).find(|token| is_allowed(token, allowed))?;
        let protocol = HeaderValue::from_bytes(protocol).ok()?;
        (!is_websocket(&protocol) || is_handshake(headers)).then_some(Self { protocol })
    }

    /// What an extended CONNECT of HTTP/2 asks for (RFC 8441), which is made the GET of HTTP/1.1 that
    /// it stands for. Of WebSocket the key is ours: over HTTP/2 there is none.
    pub fn of_connect(
        parts: &mut Parts,
        protocol: &Protocol,
        allowed: &Protocols,
    ) -> Result<Self, Fault> {
        let name = protocol.as_str();
        if !is_allowed(name.as_bytes(), allowed) {
            return Err(Fault::Protocol);
        }
        let protocol = HeaderValue::from_str(name).map_err(|_| Fault::Protocol)?;
        parts.method = Method::GET;
        if is_websocket(&protocol) {
            let key: [u8; KEY_BYTES] = random().map_err(|_| Fault::Protocol)?;
            let key = HeaderValue::try_from(Base64::encode_string(&key));
            parts.headers.insert(SEC_WEBSOCKET_KEY, key.map_err(|_| Fault::Protocol)?);
            if !is_handshake(&parts.headers) {
                return Err(Fault::Protocol);
            }
        }
        Ok(Self { protocol })
    }

    /// Puts it into a request that has been cleaned.
    pub fn put(&self, headers: &mut HeaderMap) {
        headers.remove(TE);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, self.protocol.clone());
    }
}

/// What a request that goes upstream asks for, and how the agreement to it has to look.
#[derive(Clone, Debug)]
pub struct Asked {
    protocol: HeaderValue,
    /// Of WebSocket: what the other side must have made of the key (RFC 6455, 4.2.2).
    accept: Option<String>,
}

impl Asked {
    /// What [`Wish::put`] has put there.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let protocol = headers.get(UPGRADE)?.clone();
        let accept = is_websocket(&protocol).then(|| {
            headers.get(SEC_WEBSOCKET_KEY).map(|key| accept(key.as_bytes())).unwrap_or_default()
        });
        Some(Self { protocol, accept })
    }

    /// Whether a 101 agrees to it, and to nothing else.
    pub fn is_granted(&self, answer: &response::Parts) -> bool {
        let headers = &answer.headers;
        let mut named = tokens(headers, &UPGRADE);
        let is_named = named.next().is_some_and(|name| same(name, self.protocol.as_bytes()))
            && named.next().is_none();
        let is_understood = self.accept.as_ref().is_none_or(|accept| {
            one(headers, &SEC_WEBSOCKET_ACCEPT).is_some_and(|shown| shown == accept.as_str())
        });
        answer.version == Version::HTTP_11 && says_upgrade(headers) && is_named && is_understood
    }

    /// Puts the agreement into an answer that has been cleaned.
    pub fn put(&self, headers: &mut HeaderMap) {
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, self.protocol.clone());
    }
}

/// Makes an agreement the one that extended CONNECT has (RFC 8441, 5).
pub fn to_connect<B>(answer: &mut Response<B>) {
    *answer.status_mut() = StatusCode::OK;
    for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
        answer.headers_mut().remove(name);
    }
}

fn says_upgrade(headers: &HeaderMap) -> bool {
    tokens(headers, &CONNECTION).any(|token| same(token, b"upgrade"))
}

fn is_allowed(token: &[u8], allowed: &Protocols) -> bool {
    let Ok(name) = std::str::from_utf8(token) else { return false };
    !carries_requests(name)
        && match allowed {
            Protocols::Any => true,
            Protocols::Named(names) => names.iter().any(|known| known.eq_ignore_ascii_case(name)),
        }
}

fn is_websocket(protocol: &HeaderValue) -> bool {
    same(protocol.as_bytes(), WEBSOCKET.as_bytes())
}

/// A client's handshake of WebSocket (RFC 6455, 4.1), without which the answer to it proves nothing.
fn is_handshake(headers: &HeaderMap) -> bool {
    let is_key = |key: &HeaderValue| {
        key.to_str().is_ok_and(|key| {
            Base64::decode(key, &mut [0; KEY_BYTES]).is_ok_and(|key| key.len() == KEY_BYTES)
        })
    };
    one(headers, &SEC_WEBSOCKET_VERSION).is_some_and(|version| version == WEBSOCKET_VERSION)
        && one(headers, &SEC_WEBSOCKET_KEY).is_some_and(is_key)
}

/// What shows that a key was understood.
fn accept(key: &[u8]) -> String {
    let digest = Sha1::new().chain_update(key).chain_update(WEBSOCKET_GUID).finalize();
    Base64::encode_string(&digest)
}

/// The value of a header that stands there once.
fn one<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

fn same(token: &[u8], other: &[u8]) -> bool {
    token.eq_ignore_ascii_case(other)
}
