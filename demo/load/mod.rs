//! Load for a site on this machine: floods, and a user who browses meanwhile.
//!
//! The program `flood` and the integration tests share it. It promises to speak to loopback only,
//! to be bounded in count and in time, and to send the same requests for the same seed. It knows
//! nothing of Floodwall: a direct run and one through the proxy are the same run.
//!
//! Threads and blocking sockets, because a flood here is some tens of connections, and what it
//! measures should not depend on the runtime that the proxy uses.

#![allow(clippy::disallowed_methods, reason = "what is measured here is real time")]

pub mod browser;
pub mod flood;
pub mod http;
pub mod visit;

use std::error::Error;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::str::FromStr;

/// An address on this machine. Nothing in here connects to anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target(SocketAddrV4);

impl Target {
    /// IPv4 only: 127.0.0.0/8 is a whole network of client addresses, `::1` is one.
    pub fn new(address: SocketAddr) -> Result<Self, NotLoopback> {
        match address {
            SocketAddr::V4(address) if address.ip().is_loopback() => Ok(Self(address)),
            _ => Err(NotLoopback),
        }
    }

    pub const fn address(self) -> SocketAddrV4 {
        self.0
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Target {
    type Err = NotLoopback;

    fn from_str(text: &str) -> Result<Self, NotLoopback> {
        Self::new(text.parse().map_err(|_| NotLoopback)?)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotLoopback;

impl fmt::Display for NotLoopback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the target must be an address in 127.0.0.0/8 and a port, as in 127.0.0.1:8080")
    }
}

impl Error for NotLoopback {}

/// Where connection number `index` comes from, of so many source addresses. They begin at
/// 127.0.0.2: 127.0.0.1 is left to honest users, so that a flood does not spend their budgets.
pub fn source(index: usize, sources: u8) -> Ipv4Addr {
    let offset = index % usize::from(sources.clamp(1, MAX_SOURCES));
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 0, 2).to_bits() + offset as u32)
}

/// 127.0.0.2 to 127.0.0.254.
pub const MAX_SOURCES: u8 = 253;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::http::{Connection, Request};
    use super::*;

    #[test]
    fn nothing_but_loopback_is_a_target() {
        assert!("127.0.0.1:80".parse::<Target>().is_ok());
        assert!("127.9.9.9:80".parse::<Target>().is_ok());
        for other in ["10.0.0.1:80", "0.0.0.0:80", "[::1]:80", "localhost:80", "127.0.0.1", ""] {
            assert_eq!(other.parse::<Target>(), Err(NotLoopback), "{other}");
        }
    }

    /// It may have been carried out: only what was closed without a byte is sent again.
    #[test]
    fn what_was_answered_in_part_is_not_sent_again() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let target = listener.local_addr().expect("it is bound").to_string();
        let target: Target = target.parse().expect("loopback");
        let request = Request { bytes: b"GET / HTTP/1.1\r\n\r\n".to_vec(), head: false };
        for (part, resent) in [("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", 0), ("", 1)] {
            let mut client = Connection::new(target, Ipv4Addr::LOCALHOST);
            thread::scope(|scope| {
                scope.spawn(|| {
                    let (mut server, _) = listener.accept().expect("it connects");
                    for answer in ["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", part] {
                        server.read_exact(&mut request.bytes.clone()).expect("a request");
                        server.write_all(answer.as_bytes()).expect("it is taken");
                    }
                    drop(server);
                    // The second time, if there is one.
                    if part.is_empty() {
                        drop(listener.accept());
                    }
                });
                let deadline = Instant::now() + Duration::from_secs(20);
                assert!(client.exchange(&request, deadline).is_ok());
                assert!(client.exchange(&request, deadline).is_err());
            });
            assert_eq!(client.resent, resent, "{part:?}");
        }
    }
}
