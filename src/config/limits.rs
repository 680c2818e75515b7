//! What clients and the application may take, and what is spoken with either, as plain values.

use std::time::Duration;

use ipnet::IpNet;

/// The PROXY headers of those in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    pub accept: AcceptHeader,
    /// The peers that may send one. IPv4 is never written as IPv6. Those of Unix sockets may.
    pub from: Vec<IpNet>,
}

/// The PROXY header that connections to the application begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendHeader {
    /// None.
    Off,
    V1,
    V2,
}

/// Who speaks HTTP with the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamClient {
    /// Floodwall itself.
    Own,
    /// hyper, which it spoke by before.
    Hyper,
}

impl UpstreamClient {
    pub const ALL: [Self; 2] = [Self::Own, Self::Hyper];

    /// The word for it in TOML.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Hyper => "hyper",
        }
    }
}

impl SendHeader {
    pub const ALL: [Self; 3] = [Self::Off, Self::V1, Self::V2];

    /// The word for it in TOML.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// Whether those who may send a PROXY header must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptHeader {
    /// Nobody's is read.
    Off,
    Optional,
    Required,
}

impl AcceptHeader {
    pub const ALL: [Self; 3] = [Self::Off, Self::Optional, Self::Required];

    /// The word for it in TOML.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

/// Limits on the application's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// Until a connection stands. 10 milliseconds to 5 minutes.
    pub connect_timeout: Duration,
    /// From the end of the request to the head of the response, and for a pause in its body. 100
    /// milliseconds to 1 hour.
    pub response_timeout: Duration,
    /// After which a pooled connection is closed. 100 milliseconds to 1 hour.
    pub idle_timeout: Duration,
    /// Idle connections to each server kept for each core; 0 keeps none. At most 65,536.
    pub idle_connections: usize,
    /// Connections to each server, all cores together, idle ones included; 0: any number. At most
    /// 65,536.
    pub connections: usize,
    /// Requests that wait for a connection to a server. At most 65,536.
    pub queue: usize,
    /// How long a request waits so. 10 milliseconds to 5 minutes.
    pub queue_timeout: Duration,
}

/// Limits on the clients' side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownstreamLimits {
    /// For a request's head. 100 milliseconds to 5 minutes.
    pub header_timeout: Duration,
    /// For an idle connection. 100 milliseconds to 1 hour.
    pub idle_timeout: Duration,
    /// For a pause in a request's body. 100 milliseconds to 1 hour.
    pub body_timeout: Duration,
    /// For a client that takes nothing of a response. 100 milliseconds to 1 hour.
    pub send_timeout: Duration,
    /// Bytes a second that a client must keep up with; 0 for any number. At most 1 MiB.
    pub body_rate: usize,
    /// Between two refusals on one connection. At most 1 second; zero: none.
    pub refusal_pause: Duration,
    /// The target of a request. 256 bytes to 60 KiB (`http` takes little more).
    pub target_bytes: usize,
    /// The body of a request. 1 KiB to 1 TiB.
    pub body_bytes: usize,
    /// Request line and headers together. 8 KiB to 1 MiB.
    pub head_bytes: usize,
    /// Header lines of a request. 16 to 1,024.
    pub headers: usize,
    /// Connections of clients. 16 to 1,000,000.
    pub connections: usize,
    /// Connections of one client. 16 to 1,000,000.
    pub connections_per_client: usize,
}

/// Which upgrades are tunnelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrades {
    pub protocols: UpgradeProtocols,
    /// A tunnel without a byte in either direction is cut after this. 1 second to 1 day.
    pub idle_timeout: Duration,
    /// Tunnels at once. 1 to 1,000,000.
    pub tunnels: usize,
    /// Tunnels of one client. 1 to 1,000,000.
    pub tunnels_per_client: usize,
}

/// Protocols that may be upgraded to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpgradeProtocols {
    /// Any but HTTP and TLS, which are never tunnelled.
    Any,
    /// In lower case, none twice; perhaps none.
    Named(Vec<String>),
}

/// HTTP/2 with clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// Otherwise clients are spoken to in HTTP/1.1 only.
    pub enabled: bool,
    /// Requests at once on one connection. 1 to 1,024.
    pub streams: u32,
    /// The header list of a request. 8 KiB to 1 MiB.
    pub header_list_bytes: usize,
    /// Unanswered requests that a client may reset on one connection. 16 to 100,000.
    pub resets: u32,
}
