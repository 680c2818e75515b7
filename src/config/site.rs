//! What one site says: the keys of the top level, which every site inherits, and those of each
//! `[[site]]`, which hold in their place.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::address::is_host;
use super::budgets::Own;
use super::fault::{Fault, Faults, Unfit};
use super::table::{Entry, Table};
use super::value::{self, Empty, boolean, text, word};
use super::{
    Balance, Health, Profile, SendHeader, Server, UpstreamClient, UpstreamLimits, UpstreamTls,
    budgets, clients, pattern, rules, sections, tls, upstreams,
};
use crate::guard::policy::{Challenge, Mode, Policy};
use crate::guard::route::Rule;

/// Sites at most: each has tables of its own.
const MOST: usize = 256;

/// What holds for one site.
#[derive(Clone, Debug)]
pub struct Site {
    pub(super) name: String,
    pub(super) hosts: Vec<HostPattern>,
    pub(super) paths: Vec<String>,
    pub(super) servers: Vec<Server>,
    pub(super) balance: Balance,
    pub(super) health: Health,
    pub(super) state: Option<PathBuf>,
    pub(super) profile: Profile,
    pub(super) policy: Policy,
    pub(super) upstream_limits: UpstreamLimits,
    pub(super) upstream_tls: UpstreamTls,
    pub(super) send_header: SendHeader,
    pub(super) upstream_client: UpstreamClient,
    /// The operator's rules, without the profile's.
    pub(super) own_rules: Vec<Rule>,
    pub(super) profile_rules: bool,
}

/// Which hosts a site has; in lower case, without a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPattern {
    /// This one.
    Exact(String),
    /// `*.example.org`: any below this one.
    Below(String),
}

impl Site {
    /// The name of the only site of a file without `[[site]]`.
    pub const ONLY: &str = "default";

    /// How logs and commands call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The hosts that it is for; none: all that no other site has.
    pub fn hosts(&self) -> &[HostPattern] {
        &self.hosts
    }

    /// What the paths that it is for begin with; none: all.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// Where the application is: at least one server, none twice, at most 64.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// How the servers share the exchanges.
    pub fn balance(&self) -> &Balance {
        &self.balance
    }

    /// How the servers are checked.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The file that the state is kept in; `None` keeps nothing over a restart. A relative path
    /// is relative to the working directory.
    pub fn state(&self) -> Option<&Path> {
        self.state.as_deref()
    }

    /// The framework that the defaults are made for.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// What the guard obeys.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// How `https://` servers are spoken with.
    pub fn upstream_tls(&self) -> &UpstreamTls {
        &self.upstream_tls
    }

    pub fn upstream_limits(&self) -> &UpstreamLimits {
        &self.upstream_limits
    }

    /// Who speaks HTTP with its application.
    pub fn upstream_client(&self) -> UpstreamClient {
        self.upstream_client
    }

    /// What connections to the application begin with.
    pub fn send_header(&self) -> SendHeader {
        self.send_header
    }
}

/// Where something stands in the file that two keys may contradict each other about.
#[derive(Default)]
pub(super) struct Places {
    pub(super) upstream: Option<Range<usize>>,
}

/// What is checked when all sites have been read.
#[derive(Default)]
pub(super) struct Budgets {
    own: Vec<(Vec<Own>, Policy)>,
    used: BTreeSet<String>,
}

impl Budgets {
    /// Reports the budgets that no rule and no network of any site names.
    pub(super) fn finish(self, faults: &mut Faults) {
        for (own, policy) in self.own {
            let names = policy.budgets.iter().enumerate();
            let used = names.filter(|(_, budget)| self.used.contains(&budget.name));
            let used = used.map(|(index, _)| index).collect();
            budgets::unused(own, &policy.budgets, &used, faults);
        }
    }
}

/// Reads the keys that the top level and each `[[site]]` have in common.
pub(super) fn keys(
    table: &mut Table<'_, '_>,
    site: &mut Site,
    all: &mut Budgets,
    faults: &mut Faults,
) -> Places {
    let upstream = upstreams::servers(table, &mut site.servers, faults);
    let client = word(&UpstreamClient::ALL, UpstreamClient::word);
    table.read("upstream_client", &mut site.upstream_client, faults, client);
    upstreams::balance(table.table("balance", faults), &mut site.balance, faults);
    upstreams::health(table.table("health", faults), &mut site.health, faults);
    let policy = &mut site.policy;
    table.read("mode", &mut policy.mode, faults, word(&Mode::ALL, Mode::word));
    table.read("profile", &mut site.profile, faults, word(&Profile::ALL, Profile::word));
    policy.session.key_shape = site.profile.key_shape();
    table.read("profile_rules", &mut site.profile_rules, faults, boolean);
    sections::session(table.table("session", faults), &mut policy.session, faults);
    sections::recycle(table.table("recycle", faults), &mut policy.recycle, faults);
    clients::client(table.table("client", faults), &mut policy.client, faults);
    table.read("exempt", &mut policy.client.exempt, faults, clients::prefixes(Empty::Allowed));
    table.read("challenge", &mut policy.challenge, faults, word(&Challenge::ALL, Challenge::word));
    let cookie = table.table("challenge_cookie", faults);
    clients::challenge_cookie(cookie, &mut policy.challenge_cookie, &policy.session, faults);
    sections::learned(table.table("learned", faults), &mut policy.learned, faults);
    let own = budgets::read(table.table("budget", faults), &mut policy.budgets, faults);
    let mut used = BTreeSet::new();
    let rule = table.entry("rule", faults);
    // Those of this table go before those that it inherits, and these before the profile's.
    let inherited = std::mem::take(&mut site.own_rules);
    site.own_rules = rules::read(rule, &policy.budgets, &mut used, inherited, faults);
    let taken: BTreeSet<&str> = site.own_rules.iter().map(|rule| rule.name.as_str()).collect();
    let profile = if site.profile_rules { site.profile.rules() } else { Vec::new() };
    let profile = profile.into_iter().filter(|rule| !taken.contains(rule.name.as_str()));
    policy.rules = site.own_rules.iter().cloned().chain(profile).collect();
    let network = table.entry("network", faults);
    let networks = clients::networks(network, &policy.budgets, &mut used, faults);
    policy.client.networks.splice(0..0, networks);
    let limits = table.table("upstream_limits", faults);
    sections::upstream_limits(limits, &mut site.upstream_limits, faults);
    tls::upstream(table.table("upstream_tls", faults), &mut site.upstream_tls, faults);
    let header = table.table("upstream_proxy_protocol", faults);
    sections::upstream_proxy_protocol(header, &mut site.send_header, faults);
    all.used.extend(used.into_iter().map(|budget| policy.budgets[budget].name.clone()));
    all.own.push((own, policy.clone()));
    Places { upstream }
}

/// Reads `[[site]]`; without it there is one site, `base`. Each that is read begins as `base`.
/// `keeps_nothing` is the command line's word that no site has a state file.
pub(super) fn read(
    entry: Option<Entry<'_, '_>>,
    base: Site,
    keeps_nothing: bool,
    all: &mut Budgets,
    faults: &mut Faults,
) -> Vec<(Site, Places)> {
    let Some(entry) = entry else { return vec![(base, Places::default())] };
    let mut sites: Vec<(Site, Places)> = Vec::new();
    let mut names = BTreeSet::new();
    let mut taken = BTreeMap::new();
    let remedy = "write [[site]], in two pairs of brackets, above each site";
    let (members, is_list) = entry.members();
    if !is_list {
        faults.add(entry.wrong_type("a list of tables").remedy(remedy));
        return vec![(base, Places::default())];
    }
    for member in members {
        let DeValue::Table(content) = member.value.get_ref() else {
            faults.add(member.wrong_type("a table").remedy(remedy));
            continue;
        };
        let mut table = Table::new("site", member.span(), Some(content));
        let mut site = base.clone();
        let before = faults.len();
        let name = table.read("name", &mut site.name, faults, text(pattern::rule_name));
        match name {
            Some(place) if !names.insert(site.name.clone()) && faults.len() == before => {
                let what = format!("site.name: two sites are named \"{}\"", site.name);
                faults.add(Fault::new(place, what).remedy("give each site a name of its own"));
            }
            Some(_) => {}
            None => {
                let fault = Fault::missing(table.span(), "site: no `name`");
                faults.add(fault.remedy("write name = \"shop\": logs and commands call it so"));
            }
        }
        let hosts = table.read("hosts", &mut site.hosts, faults, |entry, faults| {
            value::list(entry, faults, Empty::Allowed, text(host))
        });
        let paths = table.read("paths", &mut site.paths, faults, |entry, faults| {
            value::list(entry, faults, Empty::Allowed, text(path))
        });
        let place = paths.or(hosts).unwrap_or_else(|| table.span());
        if faults.len() == before {
            claim(&site, place, &mut taken, faults);
        }
        site.state = base.state.as_deref().map(|path| beside(path, &site.name));
        table.read("state", &mut site.state, faults, text(state));
        if keeps_nothing {
            site.state = None;
        }
        let places = keys(&mut table, &mut site, all, faults);
        table.finish(faults);
        sites.push((site, places));
    }
    if sites.is_empty() && faults.len() == 0 {
        faults.add(entry.fault("no site at all").remedy("leave it out to have one for everything"));
    }
    if sites.len() > MOST {
        faults.add(entry.fault(format_args!("more than {MOST} sites")));
    }
    if sites.is_empty() { vec![(base, Places::default())] } else { sites }
}

/// Each host and path belongs to one site.
fn claim(
    site: &Site,
    place: Range<usize>,
    taken: &mut BTreeMap<(Option<HostPattern>, Option<String>), String>,
    faults: &mut Faults,
) {
    let hosts = site.hosts.iter().cloned().map(Some);
    let hosts: Vec<_> = if site.hosts.is_empty() { vec![None] } else { hosts.collect() };
    let paths = site.paths.iter().cloned().map(Some);
    let paths: Vec<_> = if site.paths.is_empty() { vec![None] } else { paths.collect() };
    for host in &hosts {
        for path in &paths {
            let other = taken.insert((host.clone(), path.clone()), site.name.clone());
            if let Some(other) = other {
                let what = format!("site \"{other}\" has these hosts and paths already");
                let remedy =
                    "name other hosts or paths; a site without hosts has all that are left";
                faults.add(Fault::new(place.clone(), what).remedy(remedy));
                return;
            }
        }
    }
}

/// The state file of a site that names none.
fn beside(path: &Path, name: &str) -> PathBuf {
    let mut file = path.as_os_str().to_os_string();
    file.push("-");
    file.push(name);
    PathBuf::from(file)
}

fn host(text: &str) -> Result<HostPattern, Unfit> {
    if text == "*" {
        let remedy = "leave `hosts` out: the site then has every host that no other has";
        return Err(Unfit::new("not a host").remedy(remedy));
    }
    let (below, host) = match text.strip_prefix("*.") {
        Some(host) => (true, host),
        None => (false, text),
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let fits = match address {
        Some(address) => !below && address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host(&host),
    };
    if !fits {
        let remedy = "write \"example.org\" or \"*.example.org\", without scheme and port; other \
                      letters than a-z as in \"xn--bcher-kva.example\"";
        return Err(Unfit::new("not a host").remedy(remedy));
    }
    Ok(if below { HostPattern::Below(host) } else { HostPattern::Exact(host) })
}

fn path(text: &str) -> Result<String, Unfit> {
    if text.starts_with('/') && !text.contains(['?', '#', '%']) {
        return Ok(text.to_owned());
    }
    Err(Unfit::new("not what a decoded path begins with").remedy("write it as in \"/shop/\""))
}

/// A path; the empty string keeps nothing.
pub(super) fn state(text: &str) -> Result<Option<PathBuf>, Unfit> {
    if text.contains('\0') {
        return Err(Unfit::new("a path cannot hold a NUL byte"));
    }
    if text.ends_with('/') {
        return Err(Unfit::new("a directory; the state is one file")
            .remedy(format!("write \"{text}floodwall.state\"")));
    }
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}
