//! The servers of a site: where they are, how they share its exchanges, how they are checked.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery};
use toml::de::DeValue;

use super::fault::{Fault, Faults, Unfit};
use super::table::{Entry, Table};
use super::value::{duration, integer, text, word};
use super::{Upstream, Written};

/// Servers of a site at most.
const MOST: usize = 64;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// One server of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub upstream: Upstream,
    /// Its share of the exchanges, in proportion to the others'. 1 to 1,000.
    pub weight: u32,
}

/// How servers take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    RoundRobin,
    LeastConnections,
}

impl Method {
    pub const ALL: [Self; 2] = [Self::RoundRobin, Self::LeastConnections];

    /// The word for it in TOML.
    pub const fn word(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::LeastConnections => "least-connections",
        }
    }
}

/// How the servers of a site share its exchanges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    pub method: Method,
    /// In which the share of a server that is back grows to the whole. At most 1 hour.
    pub slow_start: Duration,
    /// So many failed exchanges in a row put a server down; 0: none do. At most 1,000.
    pub eject_after: u32,
    /// After which it is tried again, where it is not checked. 100 milliseconds to 1 hour.
    pub eject_for: Duration,
}

/// How servers are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is asked for, query included; `None`: nothing is.
    pub path: Option<PathAndQuery>,
    /// The `Host`; `None`: that of the server's own address.
    pub host: Option<Authority>,
    /// Between two checks of one server. 100 milliseconds to 1 hour.
    pub interval: Duration,
    /// 10 milliseconds to 5 minutes.
    pub timeout: Duration,
    /// Good checks in a row that bring a server back. 1 to 100.
    pub healthy: u32,
    /// Failed checks in a row that put it down. 1 to 100.
    pub unhealthy: u32,
}

/// Reads `upstream`: a URL, or a list of URLs and of tables with `url` and `weight`.
pub(super) fn servers(
    table: &mut Table<'_, '_>,
    servers: &mut Vec<Server>,
    faults: &mut Faults,
) -> Option<Range<usize>> {
    table.read("upstream", servers, faults, |entry, faults| {
        let (members, is_list) = entry.members();
        if is_list && members.is_empty() {
            faults.add(entry.fault("an empty list").remedy("name at least one server"));
            return None;
        }
        if members.len() > MOST {
            faults.add(entry.fault(format_args!("more than {MOST} servers")));
            return None;
        }
        let mut read: Vec<Server> = Vec::new();
        let mut whole = true;
        for member in &members {
            match server(member, faults) {
                Some(server) if read.iter().any(|other| other.upstream == server.upstream) => {
                    let remedy = "give it a weight instead: { url = \"…\", weight = 2 }";
                    faults.add(member.fault("named twice").remedy(remedy));
                    whole = false;
                }
                Some(server) => read.push(server),
                None => whole = false,
            }
        }
        whole.then_some(read)
    })
}

fn server(entry: &Entry<'_, '_>, faults: &mut Faults) -> Option<Server> {
    let DeValue::Table(content) = entry.value.get_ref() else {
        let upstream = text(upstream)(entry, faults)?;
        return Some(Server { upstream, weight: 1 });
    };
    let mut table = Table::new("upstream", entry.span(), Some(content));
    let (mut url, mut weight) = (None, 1);
    let place = table
        .read("url", &mut url, faults, |entry, faults| text(upstream)(entry, faults).map(Some));
    if place.is_none() {
        let fault = Fault::missing(table.span(), "upstream: no `url`");
        faults.add(fault.remedy("write { url = \"http://127.0.0.1:8000\", weight = 2 }"));
    }
    table.read("weight", &mut weight, faults, integer(1..=1_000));
    table.finish(faults);
    url.map(|upstream| Server { upstream, weight })
}

fn upstream(text: &str) -> Result<Upstream, Unfit> {
    text.parse().map_err(|what: String| Unfit::new(what))
}

pub(super) fn balance(mut table: Table<'_, '_>, balance: &mut Balance, faults: &mut Faults) {
    table.read("method", &mut balance.method, faults, word(&Method::ALL, Method::word));
    table.read("slow_start", &mut balance.slow_start, faults, duration(Duration::ZERO..=HOUR));
    table.read("eject_after", &mut balance.eject_after, faults, integer(0..=1_000));
    let eject_for = duration(MILLISECOND * 100..=HOUR);
    table.read("eject_for", &mut balance.eject_for, faults, eject_for);
    table.finish(faults);
}

pub(super) fn health(mut table: Table<'_, '_>, health: &mut Health, faults: &mut Faults) {
    table.read("path", &mut health.path, faults, text(path));
    table.read("host", &mut health.host, faults, text(host));
    let interval = duration(MILLISECOND * 100..=HOUR);
    table.read("interval", &mut health.interval, faults, interval);
    let timeout = duration(MILLISECOND * 10..=SECOND * 300);
    table.read("timeout", &mut health.timeout, faults, timeout);
    table.read("healthy", &mut health.healthy, faults, integer(1..=100));
    table.read("unhealthy", &mut health.unhealthy, faults, integer(1..=100));
    table.finish(faults);
}

/// A path with its query; the empty string is none.
fn path(text: &str) -> Result<Option<PathAndQuery>, Unfit> {
    if text.is_empty() {
        return Ok(None);
    }
    let unfit = || {
        Unfit::new("not a path to ask for")
            .remedy("write it as it stands in a URL, behind the host: \"/healthz/\"")
    };
    if !text.starts_with('/') || text.contains('#') {
        return Err(unfit());
    }
    text.parse().map(Some).map_err(|_| unfit())
}

/// A host, with a port if it has one; the empty string is none.
fn host(text: &str) -> Result<Option<Authority>, Unfit> {
    if text.is_empty() {
        return Ok(None);
    }
    let authority = text.parse().ok().filter(|host: &Authority| !host.as_str().contains('@'));
    authority.map(Some).ok_or_else(|| {
        Unfit::new("not a host").remedy("write one that the site answers to: \"www.example.org\"")
    })
}

impl fmt::Display for Server {
    /// As in the file, with its weight where it is not the usual one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.weight {
            1 => write!(f, "{}", self.upstream),
            weight => write!(f, "{} (weight {weight})", self.upstream),
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.method.word())?;
        match self.eject_after {
            0 => f.write_str(", no server is ejected")?,
            failures => write!(
                f,
                ", ejected for {} after {failures} failures in a row",
                Written(self.eject_for)
            )?,
        }
        match self.slow_start {
            Duration::ZERO => Ok(()),
            slow_start => write!(f, ", slow start {}", Written(slow_start)),
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(path) = &self.path else { return f.write_str("not checked") };
        write!(f, "GET {path}")?;
        if let Some(host) = &self.host {
            write!(f, " of {host}")?;
        }
        let Self { healthy, unhealthy, .. } = self;
        write!(f, " each {} in {}", Written(self.interval), Written(self.timeout))?;
        write!(f, ", down after {unhealthy} failures, up after {healthy} answers of 200 to 399")
    }
}
