//! Which site a request is for: by its host, then by its path.
//!
//! An exact host goes before a wildcard, the longer wildcard before the shorter one, and any of
//! them before the sites without hosts; among those of one host the longest path goes first. What
//! a host's sites have no path for goes on to the next that match.

use std::collections::HashMap;
use std::sync::Arc;

use super::site::Site;
use crate::guard::path;

/// The longest name that there is, in bytes (RFC 1035, 2.3.4, without the root's).
const LONGEST_NAME: usize = 253;

/// The requests that a site is for. Empty lists match everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub hosts: Vec<Host>,
    /// What the decoded path begins with, whole segments only, each with a slash in front.
    pub paths: Vec<String>,
}

/// A host, in lower case and without a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// This one.
    Exact(String),
    /// Any below this one: `*.example.org`.
    Below(String),
}

/// Why no site is for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// None has its host.
    Host,
    /// Those that have its host have other paths.
    Path,
}

/// All sites.
#[derive(Debug)]
pub struct Sites {
    all: Vec<Arc<Site>>,
    exact: HashMap<String, Vec<Entry>>,
    below: HashMap<String, Vec<Entry>>,
    anywhere: Vec<Entry>,
    tells_clients: bool,
}

/// A path and the index of its site; the longest path first.
#[derive(Debug)]
struct Entry {
    path: Option<String>,
    site: usize,
}

impl Sites {
    /// Sites with the requests that they are for.
    pub fn new(sites: Vec<(Place, Arc<Site>)>) -> Self {
        let mut made = Self {
            all: Vec::new(),
            exact: HashMap::new(),
            below: HashMap::new(),
            anywhere: Vec::new(),
            tells_clients: sites.iter().any(|(_, site)| site.upstream.tells_clients()),
        };
        for (place, site) in sites {
            let index = made.all.len();
            made.all.push(site);
            let entries = || {
                let everywhere =
                    place.paths.is_empty().then_some(Entry { path: None, site: index });
                let paths =
                    place.paths.iter().map(|path| Entry { path: Some(path.clone()), site: index });
                paths.chain(everywhere)
            };
            for host in &place.hosts {
                match host {
                    Host::Exact(host) => {
                        made.exact.entry(host.clone()).or_default().extend(entries())
                    }
                    Host::Below(host) => {
                        made.below.entry(host.clone()).or_default().extend(entries())
                    }
                }
            }
            if place.hosts.is_empty() {
                made.anywhere.extend(entries());
            }
        }
        let lists = made.exact.values_mut().chain(made.below.values_mut());
        for list in lists.chain([&mut made.anywhere]) {
            list.sort_by_key(|entry| std::cmp::Reverse(entry.path.as_ref().map(String::len)));
        }
        made
    }

    /// One site for everything.
    pub fn single(site: Arc<Site>) -> Self {
        Self::new(vec![(Place::default(), site)])
    }

    /// All of them, in the order of the configuration.
    pub fn all(&self) -> &[Arc<Site>] {
        &self.all
    }

    /// Whether the servers of any are sent PROXY headers.
    pub fn tells_clients(&self) -> bool {
        self.tells_clients
    }

    /// The one for a request with this `Host`, if it has one, and this path as it came.
    pub fn find(&self, host: Option<&[u8]>, target: &str) -> Result<&Arc<Site>, Lost> {
        if let [only] = &*self.all
            && let [Entry { path: None, .. }] = &*self.anywhere
        {
            return Ok(only);
        }
        let path = path::decode(target);
        let host = host.map(bare).unwrap_or_default();
        let mut lost = Lost::Host;
        let above = names_above(&host).filter_map(|above| self.below.get(above));
        let lists = self.exact.get(&host).into_iter().chain(above);
        for list in lists.chain([&self.anywhere]).filter(|list| !list.is_empty()) {
            lost = Lost::Path;
            if let Some(entry) = list.iter().find(|entry| entry.has(&path)) {
                return Ok(&self.all[entry.site]);
            }
        }
        Err(lost)
    }
}

impl Entry {
    fn has(&self, path: &[u8]) -> bool {
        let Some(prefix) = &self.path else { return true };
        path.strip_prefix(prefix.as_bytes())
            .is_some_and(|rest| prefix.ends_with('/') || rest.is_empty() || rest.starts_with(b"/"))
    }
}

/// The names that a host is below, the closest first. Longer ones than a name can be are left out: a
/// client may write a host of ten thousand labels, and looking each of them up would take as long
/// as all of them are together.
fn names_above(host: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(host.split_once('.'), |(_, rest)| rest.split_once('.'))
        .map(|(_, above)| above)
        .filter(|above| above.len() <= LONGEST_NAME)
}

/// A host without its port and final dot, in lower case. It may be an IPv6 address in brackets.
pub(super) fn bare(host: &[u8]) -> String {
    let end = match host.iter().rposition(|byte| *byte == b']') {
        Some(bracket) => bracket + 1,
        None => host.iter().position(|byte| *byte == b':').unwrap_or(host.len()),
    };
    let host = &host[..end];
    String::from_utf8_lossy(host.strip_suffix(b".").unwrap_or(host)).to_ascii_lowercase()
}

#[cfg(test)]
#[path = "sites_tests.rs"]
mod tests;
