//! The first words of a connection: who is at its other end, where a proxy says so by a PROXY
//! header.
//!
//! It promises that a header is read from those peers only that may send one, in time, and that not
//! a byte behind it is lost. From then on the connection counts as that of the client which the
//! header names.

use std::fmt;

use bytes::{BufMut, Bytes};
use tokio::io::AsyncReadExt;

use super::downstream::Downstream;
use super::proxy_header::{self, Beginning, MOST_BYTES, Malformed, Named};
use super::settings::{AcceptHeader, ProxyProtocol};
use super::socket::Peer;

/// What is read at first; a header and most heads of requests behind it fit.
const READ_BYTES: usize = 1024;

/// Why a connection is closed without an answer.
#[derive(Debug)]
pub enum Refusal {
    /// A header is required, and there is none.
    Missing(Peer),
    Malformed(Peer, Malformed),
    /// It ended, or broke.
    Gone,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(peer) => {
                write!(f, "{peer} sent no PROXY header, which proxy_protocol.accept requires")
            }
            Self::Malformed(peer, Malformed::Length) => {
                write!(f, "{peer} sent a PROXY header that is longer than allowed")
            }
            Self::Malformed(peer, Malformed::Form) => {
                write!(f, "{peer} sent a PROXY header that is none by its protocol")
            }
            Self::Gone => f.write_str("the client has gone"),
        }
    }
}

/// Whether a PROXY header of this peer is read.
pub fn is_expected(peer: Peer, settings: &ProxyProtocol) -> bool {
    match (settings.accept, peer) {
        (AcceptHeader::Off, _) => false,
        (AcceptHeader::Optional | AcceptHeader::Required, Peer::Unix) => true,
        (AcceptHeader::Optional | AcceptHeader::Required, Peer::Tcp(_)) => {
            settings.from.iter().any(|net| net.contains(&peer.ip()))
        }
    }
}

/// Reads the header of a peer that may send one, and gives back what is behind it; whom it names.
pub async fn read(
    stream: &mut Downstream,
    peer: Peer,
    accept: AcceptHeader,
) -> Result<Option<Named>, Refusal> {
    let mut bytes = Vec::with_capacity(READ_BYTES);
    loop {
        let room = MOST_BYTES.saturating_sub(bytes.len());
        let read = stream.read_buf(&mut (&mut bytes).limit(room)).await;
        let ended = read.map_err(|_| Refusal::Gone)? == 0;
        let found = match proxy_header::read(&bytes) {
            Ok(Beginning::Partial) if !ended => continue,
            Ok(Beginning::Partial) if bytes.is_empty() => return Err(Refusal::Gone),
            Ok(found) => found,
            Err(malformed) => return Err(Refusal::Malformed(peer, malformed)),
        };
        let (length, named) = match (found, accept) {
            (Beginning::Header { length, named }, _) => (length, named),
            (Beginning::Partial | Beginning::Other, AcceptHeader::Required) => {
                return Err(Refusal::Missing(peer));
            }
            (Beginning::Partial | Beginning::Other, AcceptHeader::Optional | AcceptHeader::Off) => {
                (0, None)
            }
        };
        stream.unread(Bytes::from(bytes).slice(length..));
        return Ok(named);
    }
}
