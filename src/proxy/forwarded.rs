//! Who is held responsible for a request, and what the application is told of it.
//!
//! Forwarded addresses are believed from trusted peers only, and then only as far back as the
//! first address that is not trusted: what stands before it was written by anybody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use super::fields::Fields;
use super::headers::tokens;
use super::socket::Peer;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The other end of the connection; of a Unix socket, the loopback address.
    pub peer: IpAddr,
    /// Who is held responsible.
    pub client: IpAddr,
    /// Whether the peer is a trusted proxy.
    pub trusted: bool,
    /// Whether `client` only answers for somebody whom it did not name by an address.
    pub stands_in: bool,
}

/// Finds the client: the peer, or what trusted peers say it is. `X-Forwarded-For` is read from
/// the right, over all its lines, past trusted addresses, to the first that is not trusted. At
/// something that is no address it stops: the last good one counts.
///
/// The other end of a Unix socket has no address: it is trusted, for the file's permissions say who
/// it may be, and stands in for whom it does not name.
pub fn origin(peer: Peer, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> Origin {
    let trusted = is_trusted(peer, trusted_proxies);
    let mut stands_in = peer == Peer::Unix;
    let peer = peer.ip();
    if !trusted {
        return Origin { peer, client: peer, trusted: false, stands_in: false };
    }
    let mut client = peer;
    let said: Vec<&[u8]> = tokens(headers, &X_FORWARDED_FOR).collect();
    for token in said.into_iter().rev() {
        let Some(address) = address(token) else {
            stands_in = true;
            break;
        };
        client = address;
        stands_in = false;
        if !trusts(client, trusted_proxies) {
            break;
        }
    }
    Origin { peer, client, trusted: true, stands_in }
}

/// Whether a peer is a trusted proxy.
pub fn is_trusted(peer: Peer, trusted_proxies: &[IpNet]) -> bool {
    match peer {
        Peer::Tcp(_) => trusts(peer.ip(), trusted_proxies),
        Peer::Unix => true,
    }
}

/// Whether an address is a trusted proxy's.
pub(super) fn trusts(peer: IpAddr, trusted_proxies: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    trusted_proxies.iter().any(|net| net.contains(&peer))
}

/// Where a request comes from, as it is sent on with it. It is not put among the request's headers,
/// which would have to be searched for each line: the lines are written behind theirs.
#[derive(Clone, Debug)]
pub struct Announced {
    chain: HeaderValue,
    proto: HeaderValue,
    host: Option<HeaderValue>,
}

impl Announced {
    /// Its lines, beside which the request has none of these names.
    pub fn lines(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let host = self.host.as_ref().map(|host| (&X_FORWARDED_HOST, host));
        [(&X_FORWARDED_FOR, &self.chain), (&X_FORWARDED_PROTO, &self.proto)].into_iter().chain(host)
    }

    /// Makes them headers like any others.
    pub fn put(&self, headers: &mut HeaderMap) {
        for (name, value) in self.lines() {
            headers.insert(name, value.clone());
        }
    }
}

/// What is sent on: `X-Forwarded-For` (from an untrusted peer the peer alone, else appended to what
/// came), `-Proto` (what a trusted peer says, else whether the connection itself is `https`) and
/// `-Host`, which is the request's `host` unless a trusted peer says another. What came of these is
/// removed, and of an untrusted peer whatever it says of itself. `fields` are those that came, and
/// `peer` is the peer's address [`written`].
pub fn announce(
    headers: &mut HeaderMap,
    fields: Fields,
    origin: &Origin,
    peer: &HeaderValue,
    https: bool,
    host: Option<HeaderValue>,
) -> Announced {
    let proto = match is_https(headers, origin, https) {
        true => const { HeaderValue::from_static("https") },
        false => const { HeaderValue::from_static("http") },
    };
    if !origin.trusted {
        if fields.has(Fields::CLAIM) {
            remove_claims(headers);
        }
        return Announced { chain: peer.clone(), proto, host };
    }
    let said = tokens(headers, &X_FORWARDED_HOST).next();
    let said = said.and_then(|token| HeaderValue::from_bytes(token).ok());
    let announced = Announced { chain: chain(headers, peer), proto, host: said.or(host) };
    if fields.has(Fields::CLAIM) {
        for name in [&X_FORWARDED_FOR, &X_FORWARDED_PROTO, &X_FORWARDED_HOST] {
            headers.remove(name);
        }
    }
    announced
}

/// Whether the client speaks HTTPS: what a trusted peer says, else whether the connection itself is
/// `https`. The same before [`announce`] and behind it.
pub fn is_https(headers: &HeaderMap, origin: &Origin, https: bool) -> bool {
    let said = || tokens(headers, &X_FORWARDED_PROTO).find_map(scheme);
    origin.trusted.then(said).flatten().map_or(https, |proto| proto == "https")
}

/// What came, and the peer behind it.
fn chain(headers: &HeaderMap, peer: &HeaderValue) -> HeaderValue {
    let mut chain = Vec::new();
    for token in tokens(headers, &X_FORWARDED_FOR) {
        chain.extend_from_slice(token);
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(peer.as_bytes());
    // Tokens come out of header values, so they make one again; if not, the peer is still true.
    HeaderValue::from_maybe_shared(bytes::Bytes::from(chain)).unwrap_or_else(|_| peer.clone())
}

/// An address as a value. What formats anything takes ten times as long for the usual one.
pub fn written(address: IpAddr) -> HeaderValue {
    let mut text = [0; "255.255.255.255".len()];
    let value = match address {
        IpAddr::V4(v4) => {
            let mut length = 0;
            let mut write = |byte| {
                text[length] = byte;
                length += 1;
            };
            for (index, octet) in v4.octets().into_iter().enumerate() {
                if index > 0 {
                    write(b'.');
                }
                if octet >= 100 {
                    write(b'0' + octet / 100);
                }
                if octet >= 10 {
                    write(b'0' + octet / 10 % 10);
                }
                write(b'0' + octet % 10);
            }
            HeaderValue::from_bytes(&text[..length])
        }
        IpAddr::V6(v6) => HeaderValue::try_from(v6.to_string()),
    };
    // Digits, letters, dots and colons make a value.
    value.unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// Whether a field, its name in lower case, is what proxies say of a client.
pub(super) fn is_claim(name: &str) -> bool {
    match name.as_bytes().first() {
        Some(b'f') => name == "forwarded",
        Some(b'x') => name == "x-real-ip" || name.starts_with("x-forwarded-"),
        _ => false,
    }
}

fn remove_claims(headers: &mut HeaderMap) {
    let claims: Vec<_> = headers.keys().filter(|name| is_claim(name.as_str())).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
}

fn scheme(token: &[u8]) -> Option<&'static str> {
    ["http", "https"].into_iter().find(|known| token.eq_ignore_ascii_case(known.as_bytes()))
}

/// An address as proxies write it: bare, with a port, or in brackets. Zone identifiers mean
/// nothing on another machine.
fn address(token: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(token).ok()?;
    let address = if let Some(bracketed) = text.strip_prefix('[') {
        let (v6, rest) = bracketed.split_once(']')?;
        if !rest.is_empty() && !is_port(rest.strip_prefix(':')?) {
            return None;
        }
        IpAddr::V6(v6.parse::<Ipv6Addr>().ok()?)
    } else if let Ok(address) = text.parse::<IpAddr>() {
        address
    } else {
        let (v4, port) = text.split_once(':')?;
        IpAddr::V4(v4.parse::<Ipv4Addr>().ok().filter(|_| is_port(port))?)
    };
    Some(address.to_canonical())
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() <= 5
}

#[cfg(test)]
#[path = "forwarded_tests.rs"]
mod tests;
