//! syslog: one datagram for each message.
//!
//! On a Unix socket as `syslog(3)` writes it (RFC 3164 without time and host): rsyslog's imuxsock and
//! journald read no other form there, and put in the time at which it came. Over UDP as RFC 5424 and
//! RFC 5426 have it.

use std::fmt;
use std::io;
use std::net::{ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use super::journald::severity;
use super::message::Message;
use crate::telemetry::warmth::rfc3339_ms;

/// The facility `daemon`.
const FACILITY: u8 = 3;

/// Where a syslog listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogAddress {
    /// A Unix socket for datagrams.
    Unix(PathBuf),
    /// A host and a port.
    Udp { host: String, port: u16 },
}

pub(super) struct Syslog {
    address: SyslogAddress,
}

impl Syslog {
    pub(super) fn new(address: SyslogAddress) -> Self {
        Self { address }
    }

    /// Waits for no longer than `timeout` for a receiver that is busy; a name may take longer to be
    /// found.
    pub(super) fn send(&self, message: &Message, timeout: Duration) -> io::Result<()> {
        let timeout = Some(timeout.max(Duration::from_millis(1)));
        match &self.address {
            SyslogAddress::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_write_timeout(timeout)?;
                socket.send_to(local(message).as_bytes(), path)?;
            }
            SyslogAddress::Udp { host, port } => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    let own = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                    let sent = UdpSocket::bind(own).and_then(|socket| {
                        socket.set_write_timeout(timeout)?;
                        socket.send_to(remote(message).as_bytes(), address)
                    });
                    match sent {
                        Ok(_) => return Ok(()),
                        Err(error) => last = error,
                    }
                }
                return Err(last);
            }
        }
        Ok(())
    }
}

impl fmt::Display for Syslog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            SyslogAddress::Unix(path) => path.display().fmt(f),
            SyslogAddress::Udp { host, port } if host.contains(':') => {
                write!(f, "udp://[{host}]:{port}")
            }
            SyslogAddress::Udp { host, port } => write!(f, "udp://{host}:{port}"),
        }
    }
}

fn priority(message: &Message) -> u8 {
    FACILITY * 8 + severity(message.subject)
}

fn local(message: &Message) -> String {
    format!("<{}>floodwall[{}]: {}", priority(message), std::process::id(), message.text)
}

fn remote(message: &Message) -> String {
    let host = message.host.as_str();
    // HOSTNAME is at most 255 characters of visible ASCII, or nil.
    let fits = (1..=255).contains(&host.len()) && host.bytes().all(|byte| byte.is_ascii_graphic());
    format!(
        "<{}>1 {} {} floodwall {} {} - {}",
        priority(message),
        rfc3339_ms(message.unix_ms),
        if fits { host } else { "-" },
        std::process::id(),
        message.subject.word(),
        message.text
    )
}
