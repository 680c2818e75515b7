//! The configuration: from TOML to a [`Config`] that cannot be invalid.
//!
//! Every mistake in a file is found and told at once ([`Mistakes`]), with its line, its column
//! and its remedy. Nothing here listens, connects or resolves; all that is read is the file.
//!
//! `config/floodwall.toml` is the reference: every key with its default. A test holds it against
//! `impl Default for Config`, the only place where defaults are stated.

mod address;
mod alerts;
mod budgets;
mod clients;
mod fault;
mod limits;
mod listen;
mod logging;
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
mod watching;

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

pub use address::{Authority, Upstream};
pub use alerts::{Alerts, RefusalSample, Syslog};
pub use fault::{Mistakes, nearest};
pub use limits::{
    AcceptHeader, DownstreamLimits, Http2, ProxyProtocol, SendHeader, UpgradeProtocols, Upgrades,
    UpstreamClient, UpstreamLimits,
};
pub use listen::{Listen, listen};
pub use logging::{AccessFormat, AccessLog, Log, LogFormat, LogLevel};
pub use profile::Profile;
pub use quantity::{Written, span};
pub use site::{HostPattern, Site};
pub use tls::{Certificate, Tls, TlsVersion, UpstreamTls};
pub use upstreams::{Balance, Health, Method, Server};
pub use watching::{Admin, History};

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
    alerts: Alerts,
    refusal_sample: RefusalSample,
    admin: Admin,
    history: History,
    save_interval: Duration,
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

    /// Who is told of floods.
    pub fn alerts(&self) -> &Alerts {
        &self.alerts
    }

    /// Which refusals are told.
    pub fn refusal_sample(&self) -> &RefusalSample {
        &self.refusal_sample
    }

    /// Where Floodwall shows how it stands.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// What is kept of floods and of each minute.
    pub fn history(&self) -> &History {
        &self.history
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
        config.put(overrides, &mut site, None, watching::Written::default());
        if let Some((_, upstream)) = config.circle(&site) {
            return Err(Error::Circle { upstream: upstream.clone() });
        }
        config.sites.push(site);
        Ok(config)
    }

    /// Puts `overrides` in place of what is there. Where the file says nothing of the control
    /// socket, the admin listener and the history, they stand beside the state.
    fn put(
        &mut self,
        overrides: Overrides,
        site: &mut Site,
        control: Option<Option<PathBuf>>,
        watching: watching::Written,
    ) {
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
        let state = site.state.as_deref();
        self.control =
            control.unwrap_or_else(|| state.map(|state| address::beside(state, ".control")));
        watching.put(&mut self.admin, &mut self.history, state);
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
