//! What the shell must be told, as plain values that `config` has validated.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;
use ipnet::IpNet;

use super::balance::Method;
use super::health::{ReturnBy, Rules, Thresholds};
use super::proxy_header::Version;
use super::tls::TlsSettings;
use super::tls::client::ClientSettings;

/// Everything that the shell must know, but for what concerns one site.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens. Port 0 takes a free one.
    pub doors: Vec<Door>,
    /// Where operators look at how things stand.
    pub admin: Vec<DoorAddress>,
    /// The permissions of those that are Unix sockets.
    pub unix_mode: u32,
    /// Peers whose `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Runtimes, each on a thread of its own: at least one.
    pub cores: usize,
    /// How long running exchanges may take after a stop was asked for.
    pub drain_timeout: Duration,
    /// Between two savings of the state.
    pub save_interval: Duration,
    pub downstream_limits: DownstreamLimits,
    pub upgrades: Upgrades,
    pub proxy_protocol: ProxyProtocol,
    pub http2: Http2Limits,
    /// Where a door speaks TLS.
    pub tls: Option<TlsSettings>,
}

/// Whose PROXY headers are read.
#[derive(Clone, Debug, Default)]
pub struct ProxyProtocol {
    pub accept: AcceptHeader,
    /// The peers that may send one. Those of Unix sockets may.
    pub from: Vec<IpNet>,
}

/// Whether those peers that may send a PROXY header must.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AcceptHeader {
    /// Nobody's is read.
    #[default]
    Off,
    Optional,
    Required,
}

/// HTTP/2 with clients, and what one connection of it may take.
#[derive(Clone, Copy, Debug)]
pub struct Http2Limits {
    /// Otherwise clients are spoken to in HTTP/1.1 only.
    pub enabled: bool,
    /// Requests at once on one connection, and as many of its exchanges at most with the application,
    /// those included that the client has reset.
    pub streams: u32,
    /// The header list of a request (RFC 9113, 6.5.2): names, values, and 32 bytes for each line.
    pub header_list_bytes: u32,
    /// Unanswered requests that a client may reset on one connection. Each that is answered gives one
    /// back.
    pub resets: u32,
}

/// Where connections come in, and what is spoken there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    pub address: DoorAddress,
    pub kind: DoorKind,
}

/// Where a door is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DoorAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl DoorAddress {
    /// The address, if it has one.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for DoorAddress {
    /// As in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What is spoken on a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorKind {
    /// HTTP without TLS.
    Plain,
    /// HTTP within TLS.
    Tls,
    /// HTTP without TLS, answered with the way to TLS.
    Redirect,
}

/// Everything that the shell must know about one site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteSettings {
    pub upstream: UpstreamSettings,
    pub upstream_limits: UpstreamLimits,
    /// How long a budget is held for an exchange, before it is charged.
    pub hold_time: Duration,
}

/// Where the application listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host name is resolved at each connect.
    Tcp {
        host: String,
        port: u16,
    },
    /// The same, with TLS.
    Tls {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

impl Address {
    /// The `Host` of a request whose client named none (HTTP/1.0): the upstream's own name.
    pub fn host(&self) -> String {
        match self {
            Self::Tcp { host, port } | Self::Tls { host, port } if host.contains(':') => {
                format!("[{host}]:{port}")
            }
            Self::Tcp { host, port } | Self::Tls { host, port } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for Address {
    /// As in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { .. } => write!(f, "http://{}", self.host()),
            Self::Tls { .. } => write!(f, "https://{}", self.host()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The servers of the application, and how they share its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// At least one, and at most [`MOST_SERVERS`].
    pub servers: Vec<ServerSettings>,
    pub method: Method,
    /// When a server is put down, and how it comes back.
    pub rules: Rules,
    /// Where they are checked.
    pub check: Option<CheckSettings>,
    /// Where one of them speaks TLS.
    pub tls: Option<ClientSettings>,
    /// Of the PROXY headers that connections begin with, if they do.
    pub header: Option<Version>,
    pub client: UpstreamClient,
}

/// Who speaks HTTP with the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamClient {
    /// [`Leg`](super::leg::Leg).
    Own,
    /// hyper's client.
    Hyper,
}

impl UpstreamSettings {
    /// What the application is called in the `Host` of a request that names none.
    pub fn host(&self) -> String {
        self.servers.first().map_or_else(|| "localhost".to_owned(), |first| first.address.host())
    }

    /// One server, and nothing special.
    pub fn single(address: Address) -> Self {
        Self {
            servers: vec![ServerSettings { address, weight: 1 }],
            method: Method::RoundRobin,
            rules: Rules {
                eject_after: 0,
                eject_for: Duration::ZERO,
                slow_start: Duration::ZERO,
                return_by: ReturnBy::Trial,
            },
            check: None,
            tls: None,
            header: None,
            client: UpstreamClient::Own,
        }
    }
}

/// Servers of a site at most.
pub const MOST_SERVERS: usize = 64;

/// One server of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    pub address: Address,
    /// Its share of the exchanges, in proportion to the others': 1 to 1,000.
    pub weight: u32,
}

/// How servers are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckSettings {
    /// What is asked for, query included.
    pub target: PathAndQuery,
    /// The `Host`; that of the server's own address where there is none.
    pub host: Option<HeaderValue>,
    pub interval: Duration,
    /// For all of it.
    pub timeout: Duration,
    pub thresholds: Thresholds,
}

/// How long the application may take, and how many connections to it are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// For resolving the name and connecting.
    pub connect_timeout: Duration,
    /// Until the head of the response, counted from the last progress of the request's body; and
    /// between two pieces of the response's body.
    pub response_timeout: Duration,
    /// A pooled connection is closed after this.
    pub idle_timeout: Duration,
    /// Pooled for each core, of each server.
    pub idle_connections: usize,
    /// To each server, of all cores together, idle ones included; 0: any number.
    pub connections: usize,
    /// Who waits for one at most, for each server.
    pub queue: usize,
    /// For how long.
    pub queue_timeout: Duration,
}

/// Which upgrades are tunnelled, and how many, and for how long.
#[derive(Clone, Debug)]
pub struct Upgrades {
    pub protocols: Protocols,
    /// A tunnel without a byte in either direction is cut after this.
    pub idle_timeout: Duration,
    /// Tunnels at once, all cores together.
    pub tunnels: usize,
    /// Tunnels of one client.
    pub tunnels_per_client: usize,
}

/// Which protocols may be upgraded to. HTTP and TLS are never among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocols {
    Any,
    /// In lower case; none where there is none.
    Named(Vec<String>),
}

/// What a client may take of our time and memory.
#[derive(Clone, Copy, Debug)]
pub struct DownstreamLimits {
    /// For the head of a request, from its first byte; and until that comes on a new connection.
    pub header_timeout: Duration,
    /// An idle connection is closed after this.
    pub idle_timeout: Duration,
    /// How long a client may pause in its request's body: see [`Pace`](super::pace::Pace).
    pub body_timeout: Duration,
    /// How long it may take nothing of a response, in the same way.
    pub send_timeout: Duration,
    /// Bytes a second that it must keep up with in both directions, while it is waited for; 0:
    /// any number will do.
    pub body_rate: u64,
    /// Between two refusals on one connection; zero: none.
    pub refusal_pause: Duration,
    /// The target of a request, in bytes.
    pub target_bytes: usize,
    /// The body of a request.
    pub body_bytes: u64,
    /// Request line and headers, in bytes. Less than 8 KiB counts as 8 KiB for the buffer.
    pub head_bytes: usize,
    /// Header lines of a request.
    pub headers: usize,
    /// Connections of clients, all cores together.
    pub connections: usize,
    /// Connections of one client. Trusted proxies and Unix sockets have no such limit.
    pub connections_per_client: usize,
}
