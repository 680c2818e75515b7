//! The PROXY header, which stands before the first byte of a connection and says whose it is
//! (`proxy-protocol.txt` of HAProxy, versions 1 and 2).
//!
//! Owns where a header ends and how long it may be; the addresses are read by the crate `ppp`. It
//! promises to read nothing that is not whole, and refuses to know who may send a header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ppp::{v1, v2};

/// With its line end (2.1: "107 chars").
const V1_BYTES: usize = 107;
const V1_BEGINS: &[u8] = b"PROXY ";
/// Signature, command, family and length (2.2).
const V2_HEAD_BYTES: usize = 16;
/// As nginx: the addresses take 216 bytes at most, and what HAProxy adds some hundred.
const V2_BYTES: usize = 4096;
/// Version 2, and the command.
const V2_LOCAL: u8 = 0x20;
const V2_PROXY: u8 = 0x21;
/// Family and transport.
const V2_TCP4: u8 = 0x11;
const V2_TCP6: u8 = 0x21;
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

/// The header that a connection to the application begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub version: Version,
    pub named: Option<Named>,
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
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
    if header[12] == V2_LOCAL {
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

impl Header {
    /// As it is written. Both addresses are of one family: where one is IPv6, the other is written
    /// as IPv6 as well.
    pub fn bytes(&self) -> Vec<u8> {
        match self.version {
            Version::V1 => self.v1().into_bytes(),
            Version::V2 => self.v2(),
        }
    }

    fn v1(&self) -> String {
        let Some(Named { source, destination }) = self.named else {
            return "PROXY UNKNOWN\r\n".to_owned();
        };
        let (from, to) = (source.port(), destination.port());
        match of_one_family(source.ip(), destination.ip()) {
            Family::V4(source, destination) => {
                format!("PROXY TCP4 {source} {destination} {from} {to}\r\n")
            }
            Family::V6(source, destination) => {
                format!("PROXY TCP6 {source} {destination} {from} {to}\r\n")
            }
        }
    }

    fn v2(&self) -> Vec<u8> {
        let Some(Named { source, destination }) = self.named else {
            return [v2::PROTOCOL_PREFIX, &[V2_LOCAL, 0, 0, 0]].concat();
        };
        let (family, addresses) = match of_one_family(source.ip(), destination.ip()) {
            Family::V4(source, destination) => {
                (V2_TCP4, [source.octets(), destination.octets()].concat())
            }
            Family::V6(source, destination) => {
                (V2_TCP6, [source.octets(), destination.octets()].concat())
            }
        };
        let (from, to) = (source.port().to_be_bytes(), destination.port().to_be_bytes());
        // 12 or 36.
        let length = [0, u8::try_from(addresses.len() + from.len() + to.len()).unwrap_or(0)];
        [v2::PROTOCOL_PREFIX, &[V2_PROXY, family], &length, &addresses, &from, &to].concat()
    }
}

enum Family {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

fn of_one_family(one: IpAddr, other: IpAddr) -> Family {
    let v6 = |address| match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    match (one.to_canonical(), other.to_canonical()) {
        (IpAddr::V4(one), IpAddr::V4(other)) => Family::V4(one, other),
        (one, other) => Family::V6(v6(one), v6(other)),
    }
}

#[cfg(test)]
#[path = "proxy_header_tests.rs"]
mod tests;
