#![no_main]
//! Configuration files, of whatever bytes.

use std::collections::BTreeSet;
use std::time::Duration;

use floodwall::config::{Config, Overrides, Site};
use floodwall::guard::policy::Tier;
use floodwall::guard::route::{Action, Effect, PathPattern};
use libfuzzer_sys::fuzz_target;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

fuzz_target!(|data: &[u8]| match Config::parse("fuzz.toml", data, Overrides::default()) {
    Ok(config) => check(&config),
    Err(mistakes) => {
        let places = mistakes.places();
        assert!(mistakes.count() >= places.len() && !places.is_empty());
        let text = String::from_utf8_lossy(data);
        let lines: Vec<&str> = text.split('\n').collect();
        let said = mistakes.to_string();
        for (line, column) in places {
            let characters = lines.get(line - 1).expect("a line of the file").chars().count();
            assert!((1..=characters + 1).contains(&column), "{line}:{column} {said}");
            assert!(said.contains(&format!("fuzz.toml:{line}:{column}: ")));
        }
        assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{said:?}");
    }
});

/// The bounds that the documentation of each type gives.
fn check(config: &Config) {
    let listen: BTreeSet<_> = config.listen().iter().collect();
    assert!(!listen.is_empty() && listen.len() == config.listen().len());
    assert!(config.cores().is_none_or(|cores| cores.get() <= 1_024));
    assert!(config.drain_timeout() <= HOUR);
    assert!((SECOND / 10..=HOUR).contains(&config.save_interval()));
    for net in config.trusted_proxies() {
        assert!(net.prefix_len() > 0 && net.trunc() == *net);
        assert_eq!(net.addr().to_canonical(), net.addr());
    }
    let limits = config.downstream_limits();
    assert!((SECOND / 10..=SECOND * 300).contains(&limits.header_timeout));
    assert!((8 << 10..=1 << 20).contains(&limits.head_bytes));
    assert!((16..=1_024).contains(&limits.headers) && limits.refusal_pause <= SECOND);
    let log = config.log();
    assert!((SECOND..=DAY).contains(&log.flood_interval));
    assert!((SECOND..=DAY).contains(&log.flood_quiet));
    assert!(log.flood_events.get() <= 1_000);

    let mut names = BTreeSet::new();
    assert!((1..=256).contains(&config.sites().len()));
    for site in config.sites() {
        assert!(names.insert(site.name()));
        check_site(site);
    }
}

fn check_site(site: &Site) {
    let limits = site.upstream_limits();
    assert!((SECOND / 100..=SECOND * 300).contains(&limits.connect_timeout));
    assert!((SECOND / 10..=HOUR).contains(&limits.response_timeout));
    assert!((SECOND / 10..=HOUR).contains(&limits.idle_timeout));
    assert!(limits.idle_connections <= 65_536);

    let policy = site.policy();
    let session = &policy.session;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    assert!(!session.cookie.is_empty() && session.cookie.bytes().all(token));
    assert!(!session.cookie.starts_with('$'));
    assert!((SECOND * 60..=DAY * 400).contains(&session.lifetime));
    assert!((1_000..=100_000_000).contains(&session.capacity));
    assert!(session.in_flight_per_key > 0 && session.key_wait <= SECOND * 30);
    assert!(session.cookie_path.starts_with('/') && !session.cookie_path.contains(';'));
    assert!((1..=1_024).contains(&policy.recycle.spares));
    assert!(policy.recycle.slot_wait <= SECOND * 30 && policy.recycle.spacing <= 100);
    let client = &policy.client;
    assert!((8..=32).contains(&client.ipv4_prefix));
    assert!((16..=128).contains(&client.ipv6_prefix));
    assert!(client.ipv6_tiers.len() <= Tier::MOST);
    let mut narrower = client.ipv6_prefix;
    for tier in &client.ipv6_tiers {
        assert!(tier.prefix >= 8 && tier.prefix < narrower && tier.factor.get() <= 65_536);
        narrower = tier.prefix;
    }
    for network in &client.networks {
        assert!(network.budget < policy.budgets.len() && !network.addresses.is_empty());
    }
    assert!((1_000..=100_000_000).contains(&client.capacity));

    let learned = &policy.learned;
    assert!((256..=1_000_000).contains(&learned.capacity) && learned.passes <= 1_024);
    assert!((SECOND..=DAY).contains(&learned.quiet));
    let challenge = &policy.challenge_cookie;
    assert!(challenge.name != session.cookie && challenge.name.bytes().all(token));
    assert!((SECOND * 60..=DAY * 30).contains(&challenge.max_age));
    assert!(challenge.ceiling.get() <= 1_000);

    let names: BTreeSet<_> = policy.budgets.iter().map(|budget| &budget.name).collect();
    assert!(!names.is_empty() && names.len() == policy.budgets.len() && names.len() <= 64);
    for budget in &policy.budgets {
        assert!(budget.client.burst() <= budget.site.burst(), "{}", budget.name);
    }
    let names: BTreeSet<_> = policy.rules.iter().map(|rule| &rule.name).collect();
    assert_eq!(names.len(), policy.rules.len());
    for rule in &policy.rules {
        assert!(rule.budget < policy.budgets.len() && !rule.paths.is_empty());
        for path in &rule.paths {
            match path {
                PathPattern::Exact(path) | PathPattern::Prefix(path) => {
                    assert!(path.starts_with('/') && !path.starts_with("//"));
                    // What a rule is written for, it matches.
                    assert!(rule.paths.iter().any(|pattern| pattern.matches(path.as_bytes())));
                }
                PathPattern::Glob(glob) => assert!(glob.starts_with(['/', '*'])),
                PathPattern::LastSegment(segments) => assert!(!segments.is_empty()),
            }
        }
        match &rule.action {
            Action::Recycle => assert_eq!(rule.effect, Effect::Flush),
            Action::Answer(answer) => {
                let redirects = matches!(answer.status, 302 | 303);
                assert_eq!(answer.location.is_some(), redirects);
                assert!(matches!(answer.status, 200 | 204 | 302 | 303 | 403 | 404 | 410));
            }
            Action::Gate | Action::Forward => {}
        }
    }
}
