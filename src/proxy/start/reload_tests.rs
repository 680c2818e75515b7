use std::collections::BTreeSet;

use super::super::offline::unstarted;
use super::*;
use crate::config::Overrides;
use crate::config::tests::OTHERS;
use crate::proxy::clock::Clock;

/// What a key needs to be of any use; without the value that is tested.
const NEEDED: &[(&str, &str)] = &[
    ("health.", "health.path = '/x'\n"),
    ("upstream_tls.", "upstream = 'https://a'\n"),
    (
        "tls.redirect_port",
        "tls.listen = '[::]:8443'\ntls.certificates = [{ certificate = 'c', key = 'd' }]\n",
    ),
    (
        "tls.min_version",
        "tls.listen = '[::]:8443'\ntls.certificates = [{ certificate = 'c', key = 'd' }]\n",
    ),
    ("tls.certificates", "tls.listen = '[::]:443'\n"),
];

fn parse(text: &str) -> Config {
    let config = Config::parse("f.toml", text.as_bytes(), Overrides::default());
    config.unwrap_or_else(|mistakes| panic!("{text}\n{mistakes}"))
}

/// Everything that a reload puts in force: what it takes for all sites, after a start as `before`,
/// and for each of them.
fn in_force(config: &Config, before: &Config) -> String {
    let next = next(config, &settings(before));
    let site = |site: &config::Site| {
        let policy = site.policy().clone();
        (place(site), names(&policy), site_settings(site), policy)
    };
    let sites: Vec<_> = config.sites().iter().map(site).collect();
    let (token, keep) = (&config.admin().token_file, config.history().keep);
    let told = (config.access_log(), config.alerts(), config.refusal_sample());
    format!("{next:?} {sites:?} {:?} {told:?} {token:?} {keep:?}", floods(config))
}

#[test]
fn each_key_is_put_in_force_or_named() {
    const TLS: &str = "tls.certificates = [{ certificate = 'o', key = 'o' }]";
    let mut named = BTreeSet::new();
    for (key, value) in OTHERS.iter().copied().chain([("save.interval", "'1h'")]) {
        let needed = NEEDED.iter().find(|(prefix, _)| key.starts_with(prefix));
        let needed = needed.map_or("", |(_, needed)| needed);
        // No file is opened here.
        let stateless = format!("state = ''\n{needed}");
        let (needed, own, value) = match key {
            "state" => ("", "state = ''", "'/run/floodwall.state'"),
            "health.path" => ("state = ''\n", "", value),
            "tls.certificates" => (&*stateless, TLS, value),
            _ => (&*stateless, "", value),
        };
        let before = parse(&format!("{needed}{own}"));
        let after = parse(&format!("{needed}{key} = {value}"));
        let site = before.sites().first().expect("there is one");
        let (_, old) = unstarted(&before, site, Clock::start()).expect("nothing is read");
        let unchanged = unchanged(&before, &after, |_| Some(&old));
        let applied = in_force(&after, &before) != in_force(&before, &before);
        assert!(applied || !unchanged.is_empty(), "{key} is not seen, and nobody is told");
        named.extend(unchanged);
    }
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    let only = [
        "admin.listen",
        "client.capacity",
        "client.ipv6_tiers",
        "control",
        "cores",
        "history.file",
        "learned.capacity",
        "listen",
        "log.format",
        "log.level",
        "session.capacity",
        "state",
        "tls.listen",
        "tls.redirect",
        "unix_mode",
    ];
    assert_eq!(named, only);
}

/// As many run as there were at the start, whatever the configuration says by now.
#[test]
fn each_core_that_runs_counts_for_itself() {
    let config = parse("state = ''\ncores = 1");
    let shield = super::super::shield(&config, &config.sites()[0], 3, Clock::start());
    let telemetry = shield.expect("nothing is read").telemetry;
    let meters = [0, 1, 2].map(|core| Arc::as_ptr(telemetry.meter(core)));
    assert_eq!(BTreeSet::from(meters).len(), 3);
}

/// Another port of `tls.listen` is not listened on before a restart.
#[test]
fn redirects_go_to_the_port_that_speaks_tls() {
    let at = |port: u16| {
        let files = "{ certificate = 'c', key = 'd' }";
        parse(&format!("tls.listen = '[::]:{port}'\ntls.certificates = [{files}]"))
    };
    let started = settings(&at(443));
    let port = next(&at(8443), &started).tls.map(|tls| tls.port);
    assert_eq!(port, Some(443));
}
