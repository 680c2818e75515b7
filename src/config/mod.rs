//! The configuration: from TOML to a [`Config`] that cannot be invalid.
//!
//! Every mistake in a file is found and told at once ([`Mistakes`]), with its line, its column
//! and its remedy. Nothing here listens, connects or resolves; all that is read is the file.
//!
//! `config/floodwall.toml` is the reference: every key with its default. A test holds it against
//! `impl Default for Config`, the only place where defaults are stated.

mod address;
mod budgets;
mod clients;
mod fault;
mod listen;
mod pattern;
mod profile;
mod quantity;
mod read;
mod rules;
mod sections;
mod site;
mod standard;
mod summary;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod tls;
mod upstreams;
mod value;

use std::fs::File;
use std::io::{self, Read};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

pub use address::{Authority, Upstream};
pub use fault::{Mistakes, nearest};
pub use listen::{Listen, listen};
pub use profile::Profile;
pub use quantity::Written;
pub use site::{HostPattern, Site};
pub use tls::{Certificate, Tls, TlsVersion, UpstreamTls};
pub use upstreams::{Balance, Health, Method, Server};

/// Everything that the operator has decided. Only this module makes one, from a file without
/// mistakes or from the defaults, so none is invalid.
#[derive(Clone, Debug)]
pub struct Config {
    listen: Vec<Listen>,
    unix_mode: u32,
    tls: Tls,
    sites: Vec<Site>,
    control: Option<PathBuf>,
    trusted_proxies: Vec<IpNet>,
    proxy_protocol: ProxyProtocol,
    cores: Option<NonZeroUsize>,
    drain_timeout: Duration,
    downstream_limits: DownstreamLimits,
    upgrades: Upgrades,
    http2: Http2,
    log: Log,
    access_log: AccessLog,
    save_interval: Duration,
}

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
    /// The target of a request. 256 bytes to 60 KiB (hyper takes little more).
    pub target_bytes: usize,
    /// The body of a request. 1 KiB to 1 TiB.
    pub body_bytes: usize,
    /// Request line and headers together. 8 KiB (hyper takes no less) to 1 MiB.
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

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
    /// Between two reports of one flood. 1 second to 1 day.
    pub flood_interval: Duration,
    /// Without an event for this long, a flood has ended. 1 second to 1 day.
    pub flood_quiet: Duration,
    /// This many events within `flood_quiet` begin a flood. At most 1,000.
    pub flood_events: NonZeroU32,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON lines elsewhere.
    Auto,
    Text,
    Json,
}

impl LogFormat {
    pub const ALL: [Self; 3] = [Self::Auto, Self::Text, Self::Json];

    /// The word for it in TOML.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// One line for each exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// There is a file unless this is [`AccessFormat::Off`].
    pub format: AccessFormat,
    /// `-` is standard output. A relative path is relative to the working directory.
    pub file: Option<PathBuf>,
}

/// How a line of the access log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    Off,
    /// The Common Log Format.
    Common,
    /// The same with referer and user agent.
    Combined,
    Json,
}

impl AccessFormat {
    pub const ALL: [Self; 4] = [Self::Off, Self::Common, Self::Combined, Self::Json];

    /// The word for it in TOML.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Common => "common",
            Self::Combined => "combined",
            Self::Json => "json",
        }
    }
}

/// The least important lines that are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

impl LogLevel {
    pub const ALL: [Self; 4] = [Self::Error, Self::Warn, Self::Info, Self::Debug];

    /// The word for it in TOML.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl Config {
    /// Where to listen for plain HTTP. None twice; at least one, if it is not for TLS alone.
    pub fn listen(&self) -> &[Listen] {
        &self.listen
    }

    /// TLS with clients.
    pub fn tls(&self) -> &Tls {
        &self.tls
    }

    /// The permissions of the Unix sockets that are listened on. At most 0777.
    pub fn unix_mode(&self) -> u32 {
        self.unix_mode
    }

    /// What is protected: at least one site, no two with the same requests.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The Unix socket by which a running process is told to reload and asked how it stands;
    /// `None`: it cannot be.
    pub fn control(&self) -> Option<&Path> {
        self.control.as_deref()
    }

    /// The peers whose `X-Forwarded-*` headers are believed. IPv4 is never written as IPv6.
    pub fn trusted_proxies(&self) -> &[IpNet] {
        &self.trusted_proxies
    }

    pub fn proxy_protocol(&self) -> &ProxyProtocol {
        &self.proxy_protocol
    }

    /// How many runtimes; `None`: one for each CPU. At most 1,024.
    pub fn cores(&self) -> Option<NonZeroUsize> {
        self.cores
    }

    /// How long running exchanges may take after SIGTERM. At most 1 hour.
    pub fn drain_timeout(&self) -> Duration {
        self.drain_timeout
    }

    pub fn downstream_limits(&self) -> &DownstreamLimits {
        &self.downstream_limits
    }

    pub fn upgrades(&self) -> &Upgrades {
        &self.upgrades
    }

    pub fn http2(&self) -> &Http2 {
        &self.http2
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    pub fn access_log(&self) -> &AccessLog {
        &self.access_log
    }

    /// How much of the budgets' history may be lost in a crash. 100 milliseconds to 1 hour.
    pub fn save_interval(&self) -> Duration {
        self.save_interval
    }
}

/// What the command line says in place of the file. Empty by default.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// In place of all addresses of the file, unless empty.
    pub listen: Vec<Listen>,
    pub upstream: Option<Upstream>,
    /// `Some(None)` keeps nothing.
    pub state: Option<Option<PathBuf>>,
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum Error {
    /// The file could not be read.
    Unreadable { path: PathBuf, source: io::Error },
    /// The file is wrong.
    Mistakes(Mistakes),
    /// The flags alone make Floodwall its own upstream.
    Circle { upstream: Upstream },
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Mistakes(_) | Self::Circle { .. } => None,
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable { path, source } => {
                write!(f, "{}: cannot be read: {source}", path.display())
            }
            Self::Mistakes(mistakes) => write!(f, "{mistakes}"),
            Self::Circle { upstream } => {
                write!(f, "{upstream} is where Floodwall itself listens: {CIRCLE_REMEDY}")
            }
        }
    }
}

const CIRCLE_REMEDY: &str = "let the application listen elsewhere, and name that as upstream";

impl Config {
    /// A longer file is no configuration; /dev/zero is not either.
    const LONGEST_FILE: u64 = 1 << 20;

    /// Reads the file at `path`, and puts `overrides` in place of what it says.
    ///
    /// # Errors
    /// The file cannot be read, or is longer than 1 MiB, or has mistakes: all of them are told.
    pub fn load(path: &Path, overrides: Overrides) -> Result<Self, Error> {
        let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(Self::LONGEST_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > Self::LONGEST_FILE {
            let why = "longer than 1 MiB, which no configuration is";
            return Err(unreadable(io::Error::new(io::ErrorKind::FileTooLarge, why)));
        }
        Self::parse(&path.display().to_string(), &bytes, overrides).map_err(Error::Mistakes)
    }

    /// Reads the text of a file; `file` is its name in messages.
    ///
    /// # Errors
    /// All mistakes of the file. Whatever the bytes are, it does not panic.
    pub fn parse(file: &str, bytes: &[u8], overrides: Overrides) -> Result<Self, Mistakes> {
        let (text, config, faults) = read::read(bytes, overrides);
        match faults.finish(file, &text) {
            None => Ok(config),
            Some(mistakes) => Err(mistakes),
        }
    }

    /// The defaults with `overrides` in place of some.
    ///
    /// # Errors
    /// The upstream is an address that Floodwall listens on.
    pub fn without_file(overrides: Overrides) -> Result<Self, Error> {
        let mut config = Self::default();
        let mut site = config.sites.swap_remove(0);
        config.put(overrides, &mut site, None);
        if let Some((_, upstream)) = config.circle(&site) {
            return Err(Error::Circle { upstream: upstream.clone() });
        }
        config.sites.push(site);
        Ok(config)
    }

    /// Puts `overrides` in place of what is there. Where the file says nothing of the control
    /// socket it stands beside the state.
    fn put(&mut self, overrides: Overrides, site: &mut Site, control: Option<Option<PathBuf>>) {
        let Overrides { listen, upstream, state } = overrides;
        if !listen.is_empty() {
            self.listen = listen;
            let mut seen = std::collections::BTreeSet::new();
            self.listen.retain(|address| seen.insert(address.clone()));
        }
        if let Some(upstream) = upstream {
            site.servers = vec![Server { upstream, weight: 1 }];
        }
        site.state = state.unwrap_or_else(|| site.state.take());
        self.control = control.unwrap_or_else(|| site.state.as_deref().map(address::control));
    }

    /// Whether PROXY headers are to be read, but nobody may send one.
    fn awaits_nobodys_header(&self) -> bool {
        let unix = self.listen.iter().any(|listen| matches!(listen, Listen::Unix(_)));
        let ProxyProtocol { accept, from } = &self.proxy_protocol;
        *accept != AcceptHeader::Off && from.is_empty() && !unix
    }

    /// The address that one of a site's servers shares with a listener, if one does.
    fn circle<'a>(&self, site: &'a Site) -> Option<(Listen, &'a Upstream)> {
        let Tls { listen, redirect, .. } = &self.tls;
        let of_tls = listen.iter().chain(redirect).map(|address| Listen::Tcp(*address));
        let mut addresses = self.listen.iter().cloned().chain(of_tls);
        let all = site.servers.iter().map(|server| &server.upstream);
        let of = |listen: &Listen| all.clone().find(|one| one.is(listen));
        addresses.find_map(|listen| of(&listen).map(|upstream| (listen, upstream)))
    }
}
