//! What is in force, in a few lines: `floodwall check` prints it.

use std::fmt;
use std::net::SocketAddr;

use super::{
    AccessFormat, AccessLog, Admin, Alerts, Config, History, HostPattern, RefusalSample, Site,
    Syslog, Tls, Written,
};
use crate::guard::policy::{Policy, Quota};
use crate::guard::route::Rule;

impl Config {
    /// A few lines that say what is in force; `Display` ends each with a newline.
    pub fn summary(&self) -> Summary<'_> {
        Summary(self)
    }
}

/// See [`Config::summary`].
pub struct Summary<'a>(&'a Config);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.0;
        let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
        writeln!(f, "  listen    {}", listen.join(", "))?;
        of_tls(&config.tls, f)?;
        of_watching(config, f)?;
        if let AccessLog { format, file: Some(file) } = &config.access_log
            && *format != AccessFormat::Off
        {
            writeln!(f, "  access    {} into {}", format.word(), file.display())?;
        }
        told(&config.alerts, f)?;
        of_sample(&config.refusal_sample, f)?;
        for site in &config.sites {
            if config.sites.len() > 1 || site.name != Site::ONLY {
                writeln!(f, "site {}", site.name)?;
                let hosts: Vec<String> = site.hosts.iter().map(ToString::to_string).collect();
                let hosts =
                    if hosts.is_empty() { "all that are left".into() } else { hosts.join(", ") };
                let paths = site.paths.join(", ");
                writeln!(
                    f,
                    "  hosts     {hosts}{}{paths}",
                    if paths.is_empty() { "" } else { "; paths " }
                )?;
            }
            of_site(site, f)?;
        }
        Ok(())
    }
}

/// Where alerts go: of a webhook's address, which may be a secret, the host alone.
fn told(alerts: &Alerts, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let webhook = alerts.webhook.as_ref().map(|url| {
        let authority = url.authority().map_or("", |authority| authority.as_str());
        format!("webhook {}://{authority}", url.scheme_str().unwrap_or_default())
    });
    let syslog = alerts.syslog.as_ref().map(|syslog| match syslog {
        Syslog::Unix(path) => format!("syslog {}", path.display()),
        Syslog::Udp(authority) => format!("syslog udp://{authority}"),
    });
    let journald = alerts.journald.as_ref().map(|path| format!("journald {}", path.display()));
    let all: Vec<String> = [webhook, syslog, journald].into_iter().flatten().collect();
    match all.is_empty() {
        true => Ok(()),
        false => writeln!(f, "  alerts    {}", all.join(", ")),
    }
}

/// Where it is written who is refused, if not into the ordinary log.
fn of_sample(sample: &RefusalSample, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match (&sample.file, sample.per_second) {
        (_, 0) => writeln!(f, "  refused   no sample is written"),
        (None, _) => Ok(()),
        (Some(file), most) => {
            writeln!(f, "  refused   at most {most} lines a second into {}", file.display())
        }
    }
}

fn of_watching(config: &Config, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Admin { listen, token_file } = &config.admin;
    let addresses: Vec<String> = listen.iter().map(ToString::to_string).collect();
    let token = match token_file {
        Some(file) => format!(", with the token of {}", file.display()),
        None => String::new(),
    };
    match &*addresses {
        [] => writeln!(f, "  admin     nowhere")?,
        addresses => writeln!(f, "  admin     {}{token}", addresses.join(", "))?,
    }
    let History { file, keep } = &config.history;
    match file {
        Some(file) => writeln!(f, "  history   {}, {}", file.display(), Written(*keep)),
        None => writeln!(f, "  history   none is kept"),
    }
}

fn of_tls(tls: &Tls, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let list =
        |all: &[SocketAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if tls.listen.is_empty() {
        return match tls.certificates.is_empty() {
            true => Ok(()),
            false => writeln!(f, "  tls       nowhere: certificates, but no `listen` in [tls]"),
        };
    }
    writeln!(f, "  tls       {}, from version {}", list(&tls.listen), tls.min_version.word())?;
    match tls.redirect.is_empty() {
        true => Ok(()),
        false => writeln!(f, "  redirect  {}", list(&tls.redirect)),
    }
}

fn of_site(site: &Site, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let policy = &site.policy;
    let servers: Vec<String> = site.servers.iter().map(ToString::to_string).collect();
    writeln!(f, "  upstream  {}", servers.join(", "))?;
    if servers.len() > 1 {
        writeln!(f, "  balance   {}", site.balance)?;
    }
    if servers.len() > 1 || site.health.path.is_some() {
        writeln!(f, "  health    {}", site.health)?;
    }
    let limits = &site.upstream_limits;
    if limits.connections > 0 {
        let (connections, queue) = (limits.connections, limits.queue);
        let patience = Written(limits.queue_timeout);
        writeln!(
            f,
            "  limit     {connections} connections to each server; {queue} wait {patience}"
        )?;
    }
    match &site.state {
        Some(path) => writeln!(f, "  state     {}", path.display())?,
        None => writeln!(f, "  state     none: a restart forgets every session")?,
    }
    let (mode, profile) = (policy.mode.word(), site.profile.word());
    writeln!(f, "  mode      {mode}, profile {profile}")?;
    let session = &policy.session;
    let (cookie, lifetime) = (&session.cookie, Written(session.lifetime));
    writeln!(f, "  session   {cookie}, {lifetime}, unknown: {}", session.unknown.word())?;
    for budget in &policy.budgets {
        let (client, site) = (Limit(budget.client), Limit(budget.site));
        writeln!(f, "  budget    {}: client {client}; site {site}", budget.name)?;
    }
    for rule in &policy.rules {
        writeln!(f, "  rule      {}", Line(rule, policy))?;
    }
    Ok(())
}

impl fmt::Display for HostPattern {
    /// As in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Below(host) => write!(f, "*.{host}"),
        }
    }
}

struct Limit(Quota);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at once, one more each {}", self.0.burst(), Written(self.0.period()))
    }
}

struct Line<'a>(&'a Rule, &'a Policy);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(rule, policy) = self;
        let budget = policy.budgets.get(rule.budget).map_or("", |budget| &budget.name);
        write!(f, "{}: {}, budget {budget}", rule.name, rule.action.word())?;
        match rule.mode {
            Some(mode) => write!(f, ", {}", mode.word()),
            None => Ok(()),
        }
    }
}
