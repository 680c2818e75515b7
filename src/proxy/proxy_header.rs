//! The PROXY header, which stands before the first byte of a connection and says whose it is
//! (`proxy-protocol.txt` of HAProxy, versions 1 and 2).
//!
//! Owns where a header ends and how long it may be; the addresses are read by the crate `ppp`. It
//! promises to read nothing that is not whole, and refuses to know who may send a header.

use std::net::SocketAddr;

use ppp::{v1, v2};

/// With its line end (2.1: "107 chars").
const V1_BYTES: usize = 107;
const V1_BEGINS: &[u8] = b"PROXY ";
/// Signature, command, family and length (2.2).
const V2_HEAD_BYTES: usize = 16;
/// As nginx: the addresses take 216 bytes at most, and what HAProxy adds some hundred.
const V2_BYTES: usize = 4096;
/// The longest header.
pub const MOST_BYTES: usize = V2_BYTES;

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// More must come before that is known.
    Partial,
    /// It is no PROXY header.
    Other,
    /// A PROXY header.
    Header {
        /// In bytes.
        length: usize,
        named: Option<Named>,
    },
}

/// Whose connection it is. Nobody is named by a proxy that speaks for itself (a health check), or
/// that knows no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    pub source: SocketAddr,
    /// What the source has connected to.
    pub destination: SocketAddr,
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It is longer than allowed.
    Length,
    /// It is none by the protocol.
    Form,
}

/// What `bytes` begin with. However they are split, the outcome is that of the whole.
pub fn read(bytes: &[u8]) -> Result<Beginning, Malformed> {
    let begins = |signature: &[u8]| {
        let common = signature.len().min(bytes.len());
        (bytes[..common] == signature[..common]).then_some(common == signature.len())
    };
    match (begins(V1_BEGINS), begins(v2::PROTOCOL_PREFIX)) {
        (Some(true), _) => read_v1(bytes),
        (_, Some(true)) => read_v2(bytes),
        (Some(false), _) | (_, Some(false)) => Ok(Beginning::Partial),
        (None, None) => Ok(Beginning::Other),
    }
}

fn read_v1(bytes: &[u8]) -> Result<Beginning, Malformed> {
    let within = &bytes[..bytes.len().min(V1_BYTES)];
    let Some(end) = within.windows(2).position(|two| two == b"\r\n") else {
        let full = bytes.len() >= V1_BYTES;
        return if full { Err(Malformed::Length) } else { Ok(Beginning::Partial) };
    };
    let length = end + 2;
    let line = &bytes[V1_BEGINS.len()..end];
    // What stands behind it is to be ignored.
    if line.strip_prefix(b"UNKNOWN").is_some_and(|rest| matches!(rest, [] | [b' ', ..])) {
        return Ok(Beginning::Header { length, named: None });
    }
    let header = v1::Header::try_from(&bytes[..length]).map_err(|_| Malformed::Form)?;
    let named = match header.addresses {
        v1::Addresses::Unknown => None,
        v1::Addresses::Tcp4(v4) => Some(Named {
            source: SocketAddr::from((v4.source_address, v4.source_port)),
            destination: SocketAddr::from((v4.destination_address, v4.destination_port)),
        }),
        v1::Addresses::Tcp6(v6) => Some(Named {
            source: SocketAddr::from((v6.source_address, v6.source_port)),
            destination: SocketAddr::from((v6.destination_address, v6.destination_port)),
        }),
    };
    Ok(Beginning::Header { length, named })
}

fn read_v2(bytes: &[u8]) -> Result<Beginning, Malformed> {
    let Some((head, _)) = bytes.split_at_checked(V2_HEAD_BYTES) else {
        return Ok(Beginning::Partial);
    };
    let length = V2_HEAD_BYTES + usize::from(u16::from_be_bytes([head[14], head[15]]));
    if length > V2_BYTES {
        return Err(Malformed::Length);
    }
    let Some(header) = bytes.get(..length) else { return Ok(Beginning::Partial) };
    // LOCAL: "the receiver must [...] discard the protocol block including the family".
    if header[12] == 0x20 {
        return Ok(Beginning::Header { length, named: None });
    }
    let header = v2::Header::try_from(header).map_err(|_| Malformed::Form)?;
    let named = match (header.addresses, header.protocol) {
        (v2::Addresses::IPv4(v4), v2::Protocol::Stream) => Some(Named {
            source: SocketAddr::from((v4.source_address, v4.source_port)),
            destination: SocketAddr::from((v4.destination_address, v4.destination_port)),
        }),
        (v2::Addresses::IPv6(v6), v2::Protocol::Stream) => Some(Named {
            source: SocketAddr::from((v6.source_address, v6.source_port)),
            destination: SocketAddr::from((v6.destination_address, v6.destination_port)),
        }),
        // It came by a Unix socket, or from where the proxy cannot tell: an address is missing.
        (v2::Addresses::Unix(_), v2::Protocol::Stream) | (v2::Addresses::Unspecified, _) => None,
        // Nothing that came in datagrams comes by this connection.
        (
            v2::Addresses::IPv4(_) | v2::Addresses::IPv6(_) | v2::Addresses::Unix(_),
            v2::Protocol::Unspecified | v2::Protocol::Datagram,
        ) => return Err(Malformed::Form),
    };
    Ok(Beginning::Header { length, named })
}

#[cfg(test)]
#[path = "proxy_header_tests.rs"]
mod tests;
