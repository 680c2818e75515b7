//! What the shell must be told, as plain values that `config` has validated.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// Everything that the shell must know about one site.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens. Port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    pub upstream: Address,
    /// Peers whose `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Runtimes, each on a thread of its own; 0 is one for each CPU.
    pub cores: usize,
    /// How long running exchanges may take after a stop was asked for.
    pub drain_timeout: Duration,
    /// How long a budget is held for an exchange, before it is charged.
    pub hold_time: Duration,
    pub upstream_limits: UpstreamLimits,
    pub downstream_limits: DownstreamLimits,
}

/// Where the application listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host name is resolved at each connect.
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

impl Address {
    /// The `Host` of a request whose client named none (HTTP/1.0): the upstream's own name.
    pub fn host(&self) -> String {
        match self {
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// How long the application may take, and how many connections to it are kept.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamLimits {
    /// For resolving the name and connecting.
    pub connect_timeout: Duration,
    /// Until the head of the response, counted from the last progress of the request's body;
    /// between two pieces of a body, in either direction; and until a client takes some of what
    /// was sent to it.
    pub response_timeout: Duration,
    /// A pooled connection is closed after this.
    pub idle_timeout: Duration,
    /// Pooled for each core.
    pub idle_connections: usize,
}

/// What a client may take of our time and memory.
#[derive(Clone, Copy, Debug)]
pub struct DownstreamLimits {
    /// For the head of a request, and for an idle connection.
    pub header_timeout: Duration,
    /// Request line and headers, in bytes. Less than 8 KiB counts as 8 KiB for the buffer.
    pub head_bytes: usize,
    /// Header lines of a request.
    pub headers: usize,
}
