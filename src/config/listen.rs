//! Where Floodwall listens, as the file and the command line have it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::address;
use super::fault::Unfit;

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listen {
    /// Port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// The path is absolute and fits into `sun_path`.
    Unix(PathBuf),
}

impl Listen {
    /// Whether both cannot be listened on. A port of every address is taken on each.
    pub(super) fn collides_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix(one), Self::Unix(other)) => one == other,
            (Self::Tcp(one), Self::Tcp(other)) => {
                // Every address of IPv6 is none of IPv4.
                let every = |one: &SocketAddr, other: &SocketAddr| {
                    one.ip().is_unspecified() && one.is_ipv4() == other.is_ipv4()
                };
                let same = one.ip().to_canonical() == other.ip().to_canonical();
                one.port() != 0
                    && one.port() == other.port()
                    && (same || every(one, other) || every(other, one))
            }
            (Self::Unix(_), Self::Tcp(_)) | (Self::Tcp(_), Self::Unix(_)) => false,
        }
    }

    /// Its address, where it has one.
    pub(super) fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl std::str::FromStr for Listen {
    type Err = String;

    /// See [`listen`].
    fn from_str(text: &str) -> Result<Self, String> {
        listen(text)
    }
}

impl fmt::Display for Listen {
    /// As in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Reads where to listen: an IP address and a port, or `unix:` and an absolute path.
///
/// # Errors
/// A sentence that says what is wrong and what to write.
pub fn listen(text: &str) -> Result<Listen, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return address::unix(path).map(Listen::Unix);
    }
    if let Ok(address) = text.parse() {
        return Ok(Listen::Tcp(address));
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err(if text.contains(':') {
            format!("no port; write \"[{text}]:8080\"")
        } else {
            format!("no port; write \"{text}:8080\"")
        });
    }
    if text.starts_with('/') {
        return Err(format!("a path; write \"unix:{text}\" for a Unix socket"));
    }
    let remedy = match text.rsplit_once(':') {
        Some(("" | "*", port)) if port.parse::<u16>().is_ok() => {
            format!("; write \"0.0.0.0:{port}\" or \"[::]:{port}\" for every address")
        }
        Some(("localhost", port)) if port.parse::<u16>().is_ok() => {
            format!("; write \"127.0.0.1:{port}\"")
        }
        _ => ", as in \"127.0.0.1:8080\" or \"[::1]:8080\", or \"unix:/path\"".to_owned(),
    };
    Err(format!("not an IP address and a port{remedy}"))
}

/// The permissions of Unix sockets that are listened on, in octal digits as chmod(1) has them.
pub(super) fn mode(text: &str) -> Result<u32, Unfit> {
    let fits = (3..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    match u32::from_str_radix(text, 8) {
        Ok(mode) if fits && mode <= 0o777 => Ok(mode),
        _ => {
            let remedy = "write \"0660\" for owner and group, \"0666\" for everybody";
            Err(Unfit::new("not permissions in octal digits, up to 0777").remedy(remedy))
        }
    }
}
