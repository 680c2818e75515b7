//! Addresses as the file and the command line have them: what is upstream, which peers are trusted.
//!
//! Pure functions from text; nothing is resolved here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net};

use super::Listen;
use super::fault::Unfit;

/// The bytes that a Unix socket's path may have: `sun_path` of unix(7), less the final NUL.
const UNIX_PATH_BYTES: usize = 107;

/// The application's side: where exchanges are forwarded to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// Plain HTTP over TCP.
    Tcp(Authority),
    /// HTTP within TLS.
    Tls(Authority),
    /// Plain HTTP over a Unix socket; the path is absolute and fits into `sun_path`.
    Unix(PathBuf),
}

/// A host and a port. The host may be a name: whoever connects resolves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    host: String,
    port: u16,
}

impl Authority {
    /// A DNS name, or an address without brackets: fit for `(host, port)` lookups.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Never zero.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address, where the host is one.
    pub fn address(&self) -> Option<SocketAddr> {
        self.host.parse().ok().map(|ip| SocketAddr::new(ip, self.port))
    }
}

impl fmt::Display for Authority {
    /// As in a URL: an IPv6 address in brackets, the port always.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Upstream {
    /// As in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "http://{authority}"),
            Self::Tls(authority) => write!(f, "https://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Upstream {
    /// The upstream of the reference configuration.
    pub(super) fn standard() -> Self {
        Self::Tcp(Authority { host: "127.0.0.1".to_owned(), port: 8000 })
    }

    /// Whether what listens on `listen` would forward to itself, as far as addresses tell.
    pub(super) fn is(&self, listen: &Listen) -> bool {
        let (authority, listen) = match (self, listen) {
            (Self::Tcp(authority) | Self::Tls(authority), Listen::Tcp(listen)) => {
                (authority, listen)
            }
            (Self::Unix(path), Listen::Unix(listen)) => return path == listen,
            (Self::Tcp(_) | Self::Tls(_), Listen::Unix(_)) | (Self::Unix(_), Listen::Tcp(_)) => {
                return false;
            }
        };
        if authority.port != listen.port() {
            return false;
        }
        let local = |ip: IpAddr| ip.to_canonical().is_loopback() || ip.is_unspecified();
        match (authority.host.as_str(), authority.address()) {
            (_, Some(address)) => {
                address.ip().to_canonical() == listen.ip().to_canonical()
                    || (local(address.ip()) && listen.ip().is_unspecified())
            }
            (host, None) => host.eq_ignore_ascii_case("localhost") && local(listen.ip()),
        }
    }
}

impl std::str::FromStr for Upstream {
    type Err = String;

    /// Reads `http://host`, `https://host:port` or `unix:/path`. The error is a sentence that
    /// says what is wrong and what to write.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path).map(Self::Unix);
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| {
            format!("no scheme; write \"http://{}\" or \"unix:/path\"", text.escape_debug())
        })?;
        let scheme = scheme.to_ascii_lowercase();
        let (of, standard): (fn(Authority) -> Self, _) = match scheme.as_str() {
            "http" => (Self::Tcp, 80),
            "https" => (Self::Tls, 443),
            _ => {
                let remedy = "write \"http://\", \"https://\" or \"unix:\"";
                return Err(format!("not a scheme that is spoken; {remedy}"));
            }
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            let end = authority.find(['/', '?', '#']).unwrap_or(authority.len());
            let host = authority[..end].escape_debug();
            return Err(format!(
                "a path or query has no place here, requests keep their own; write \"{scheme}://{host}\""
            ));
        }
        if authority.contains('@') {
            return Err(
                "a user name or password has no place here; write \"http://host:port\"".to_owned()
            );
        }
        host_and_port(authority, standard).map(of)
    }
}

/// What stands beside a state file, with this at the end of its name.
pub(super) fn beside(state: &Path, end: &str) -> PathBuf {
    let mut path = state.as_os_str().to_os_string();
    path.push(end);
    PathBuf::from(path)
}

/// The path of the control socket; the empty string has none.
pub(super) fn control_path(text: &str) -> Result<Option<PathBuf>, Unfit> {
    if text.contains('\0') {
        return Err(Unfit::new("a path cannot hold a NUL byte"));
    }
    if text.len() > UNIX_PATH_BYTES {
        let what = format!("the path of a Unix socket has at most {UNIX_PATH_BYTES} bytes");
        return Err(Unfit::new(what));
    }
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}

/// The path of a Unix socket, behind `unix:`.
pub(super) fn unix(path: &str) -> Result<PathBuf, String> {
    if !path.starts_with('/') {
        return Err(
            "the path of a Unix socket begins with \"/\": \"unix:/run/site/app.sock\"".into()
        );
    }
    if path.contains('\0') {
        return Err("a path cannot hold a NUL byte".into());
    }
    if path.len() > UNIX_PATH_BYTES {
        return Err(format!("the path of a Unix socket has at most {UNIX_PATH_BYTES} bytes"));
    }
    Ok(Path::new(path).to_owned())
}

pub(super) fn host_and_port(authority: &str, standard: u16) -> Result<Authority, String> {
    let bad_port = || "the port is a number from 1 to 65535".to_owned();
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port != 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => Err(bad_port()),
    };
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("`[` without `]`")?;
        let host: Ipv6Addr =
            host.parse().map_err(|_| "not an IPv6 address between the brackets")?;
        let port = match rest.strip_prefix(':') {
            Some(text) => port(text)?,
            None if rest.is_empty() => standard,
            None => return Err(bad_port()),
        };
        return Ok(Authority { host: host.to_string(), port });
    }
    let (host, port) = match authority.split_once(':') {
        Some((_, text)) if text.contains(':') => {
            return Err("an IPv6 address stands in brackets: \"http://[::1]:8000\"".into());
        }
        Some((host, text)) => (host, port(text)?),
        None => (authority, standard),
    };
    if is_host(host) {
        Ok(Authority { host: host.to_owned(), port })
    } else {
        Err("not a host name or address; write \"http://127.0.0.1:8000\"".into())
    }
}

/// An IPv4 address, or a name that DNS or /etc/hosts can hold. What consists of digits and dots
/// only must be an address: resolvers read `127.1` as one, or do not.
pub(super) fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(label)
}

/// Reads a trusted peer: an address or a prefix. IPv4-mapped IPv6 becomes IPv4, as peers do.
pub(super) fn trusted(text: &str) -> Result<IpNet, String> {
    let net = match (text.parse::<IpAddr>(), text.parse::<IpNet>()) {
        (Ok(address), _) => IpNet::from(address.to_canonical()),
        (_, Ok(net)) => net,
        _ => return Err("not an address or prefix, as in \"10.0.0.5\" or \"10.0.0.0/8\"".into()),
    };
    if net.prefix_len() == 0 {
        return Err("trusts everybody: any client could then name the address it likes; name the \
                    peers in front of Floodwall"
            .to_owned());
    }
    if net.trunc() != net {
        return Err(format!("has bits behind its prefix; write \"{}\"", net.trunc()));
    }
    let mapped = match net {
        IpNet::V6(v6) => v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    match mapped.and_then(|(v4, bits)| Ipv4Net::new(v4, bits).ok()) {
        Some(v4) if v4.prefix_len() > 0 => Ok(IpNet::V4(v4)),
        Some(_) => Err("trusts everybody who comes over IPv4".to_owned()),
        None => Ok(net),
    }
}
