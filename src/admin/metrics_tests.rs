use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::family::ALL;
use super::*;
use crate::guard::budget::{CellWord, Rank};
use crate::guard::client::Client;
use crate::guard::fact::{Fact, RouteId};
use crate::guard::learned::Classes;
use crate::guard::moment::Moment;
use crate::telemetry::Telemetry;
use crate::telemetry::flood::FloodSettings;
use crate::telemetry::kept::Kept;
use crate::telemetry::meter::{BOUNDS_US, Measured};
use crate::telemetry::snapshot::Reloaded;

/// How much of everything there is.
#[derive(Clone, Copy)]
pub(in crate::admin) struct Size {
    pub(in crate::admin) rules: usize,
    pub(in crate::admin) budgets: usize,
    pub(in crate::admin) servers: usize,
}

/// A site after some exchanges, and in a flood of its first rule.
pub(in crate::admin) fn site(name: &str, size: Size) -> SiteSnapshot {
    let rules: Vec<String> = (0..size.rules).map(|rule| format!("rule \"{rule}\"")).collect();
    let second = Duration::from_secs(1);
    let floods = FloodSettings { events: 2, quiet: second, interval: second };
    let telemetry = Telemetry::new(rules, floods, Moment::from_nanos(0));
    for us in [100, 300, 30_000_001] {
        telemetry.meter(0).count(&Measured {
            standing: Some(StandingWord::Known),
            verdict: Some(Verdict::Forwarded),
            status: 200,
            duration: Duration::from_micros(us),
            upstream: Some(Duration::from_micros(us)),
        });
    }
    let client = Client::new("203.0.113.7".parse().expect("an address"), 32);
    for _ in 0..3 {
        let event = Event::Refused(Refusal::SiteBudget);
        let fact = Fact { route: RouteId::Rule(0), client, event };
        telemetry.record(&[fact], Moment::from_nanos(1));
    }
    let fill = Fill { used: 1, capacity: 2 };
    let left = Left {
        of: CellWord::Site(Rank::Regular),
        left: 1,
        held: 2,
        burst: 3,
        period: Duration::from_millis(500),
    };
    let budget = |budget| (format!("budget-{budget}"), left);
    let server = |server| ServerSnapshot {
        name: format!("http://10.0.0.{server}"),
        up: true,
        exchanges: 1,
        connections: 2,
        waiting: 3,
    };
    SiteSnapshot {
        guard: Status {
            warmth: Warmth::Warm,
            keys: fill,
            spares: fill,
            clients: fill,
            classes: Classes::default(),
        },
        budgets: (0..size.budgets).map(budget).collect(),
        saved: Some(Saved::default()),
        exchanges: telemetry.exchanges(),
        routes: telemetry.tallies().map(|(name, tally)| (name.to_owned(), tally)).collect(),
        prevented: telemetry.prevented(),
        would_prevent: telemetry.would_prevent(),
        floods: telemetry.running_floods(Moment::from_nanos(1)),
        flood_totals: telemetry.flood_totals(),
        servers: (0..size.servers).map(server).collect(),
        upstream_failures: vec![("closed", 1), ("connect", 0)],
        limits_met: vec![("headers", 1)],
        ..SiteSnapshot::blank(name)
    }
}

pub(in crate::admin) fn snapshot(sites: &[SiteSnapshot]) -> Arc<Snapshot> {
    let fill = Fill { used: 1, capacity: 2 };
    Arc::new(Snapshot {
        cores: 2,
        history: Some(Kept::default()),
        connections: fill,
        tunnels: fill,
        reloads: Reloaded {
            succeeded: 1,
            failed: 2,
            last_succeeded: false,
            in_force_unix_ms: 1_500,
        },
        certificates: vec![("a.pem".into(), 7), ("a.pem".into(), 5)],
        sites: sites.to_vec(),
        ..Snapshot::blank()
    })
}

fn page(sites: &[SiteSnapshot], format: Format) -> String {
    render(snapshot(sites), true, format).expect("a string takes everything")
}

fn samples(page: &str) -> BTreeMap<&str, &str> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let pairs: Vec<(&str, &str)> =
        lines.map(|line| line.rsplit_once(' ').expect("a value")).collect();
    let samples: BTreeMap<&str, &str> = pairs.iter().copied().collect();
    assert_eq!(samples.len(), pairs.len(), "a series stands twice");
    samples
}

const SMALL: Size = Size { rules: 2, budgets: 1, servers: 1 };

#[test]
fn each_family_is_told_once_with_its_labels() {
    let page = page(&[site("a", SMALL)], Format::Text);
    for family in ALL {
        let (name, kind) = (family.full_name(), family.kind());
        let kind = if kind == "info" { "gauge" } else { kind };
        let told = format!("# HELP {name} {}\n# TYPE {name} {kind}\n", family.help);
        assert_eq!(page.matches(&told).count(), 1, "{told}{page}");
        let behind = page.split(&told).nth(1).expect("it stands there");
        let first = behind.lines().next().expect("a sample");
        let labels = first.split_once('{').map_or("", |(_, rest)| rest);
        let keys = labels.split("\",").filter_map(|label| label.split('=').next());
        let keys: Vec<&str> = keys.filter(|key| !key.is_empty() && *key != "le").collect();
        let expected = if first.contains('{') { family.labels } else { &[] };
        assert_eq!(keys, expected, "{first}");
        assert!(first.starts_with(&name), "{name} has no series: {first}");
    }
    assert_eq!(page.matches("# TYPE ").count(), ALL.len());
    let help: BTreeSet<&str> = ALL.iter().map(|family| family.help).collect();
    assert_eq!(help.len(), ALL.len(), "two families mean the same");
    assert!(ALL.iter().all(|family| !family.help.ends_with('.') && !family.help.contains('\n')));
}

/// What an operator's configuration comes to. Nothing else adds a series.
#[test]
fn there_are_as_many_series_as_the_configuration_makes() {
    let count = |sites: &[SiteSnapshot]| samples(&page(sites, Format::Text)).len();
    let none = count(&[]);
    let of = |size: Size| count(&[site("a", size)]) - none;
    let least = Size { rules: 1, budgets: 1, servers: 1 };
    let rule = of(Size { rules: 2, ..least }) - of(least);
    let budget = of(Size { budgets: 2, ..least }) - of(least);
    let server = of(Size { servers: 2, ..least }) - of(least);
    assert_eq!((rule, budget, server), (30, 4, 4), "the README says so");
    let many = Size { rules: 50, budgets: 9, servers: 20 };
    assert_eq!(of(many) - of(least), 49 * rule + 8 * budget + 19 * server);
    let two = count(&[site("a", least), site("b", least)]) - none;
    assert_eq!(two, 2 * of(least));
}

#[test]
fn names_that_are_cut_to_the_same_are_one_series() {
    let long = |last: &str| format!("{}{last}", "x".repeat(300));
    let second = Duration::from_secs(1);
    let floods = FloodSettings { events: 2, quiet: second, interval: second };
    let names = vec![long("a"), long("b")];
    let telemetry = Telemetry::new(names, floods, Moment::from_nanos(0));
    let client = Client::new("203.0.113.7".parse().expect("an address"), 32);
    for rule in [0, 0, 1, 1] {
        let event = Event::Challenged;
        let fact = Fact { route: RouteId::Rule(rule), client, event };
        telemetry.record(&[fact], Moment::from_nanos(1));
    }
    let mut site = site("a", SMALL);
    site.routes = telemetry.tallies().map(|(name, tally)| (name.to_owned(), tally)).collect();
    site.flood_totals = telemetry.flood_totals();
    site.floods = telemetry.running_floods(Moment::from_nanos(1));
    let page = page(&[site], Format::Text);
    let samples = samples(&page);
    let of = |family: &str| {
        let mut all = samples
            .iter()
            .filter(|(name, _)| name.starts_with(&format!("{family}{{")) && name.contains("xxx"));
        let first = all.next().expect("a series");
        assert_eq!(all.count(), 0);
        *first.1
    };
    assert_eq!((of("floodwall_challenged_total"), of("floodwall_floods_total")), ("4", "2"));
    assert_eq!(of("floodwall_flood_events_total"), "4");
}

#[test]
fn a_flood_and_what_else_there_is_are_told() {
    let page = page(&[site("a", SMALL)], Format::Text);
    let samples = samples(&page);
    let is = |series: &str, value: &str| {
        assert_eq!(samples.get(series).copied(), Some(value), "{series}");
    };
    let rule = r#"{site="a",rule="rule %220%22"}"#;
    is(&format!("floodwall_flood_running{rule}"), "1");
    is(&format!("floodwall_flood_clients{rule}"), "1");
    is(&format!("floodwall_floods_total{rule}"), "1");
    is(&format!("floodwall_flood_events_total{rule}"), "3");
    is(r#"floodwall_flood_running{site="a",rule="(no rule)"}"#, "0");
    is(r#"floodwall_budget_sessions_per_second{site="a",budget="budget-0"}"#, "2.0");
    is(r#"floodwall_certificate_expiry_timestamp_seconds{certificate="a.pem"}"#, "5");
    is("floodwall_configuration_timestamp_seconds", "1.5");
    is("floodwall_reload_last_succeeded", "0");
    is(r#"floodwall_enforcing{site="a"}"#, "1");
}

#[test]
fn buckets_are_cumulative_and_end_at_the_count() {
    let page = page(&[site("a", SMALL)], Format::OpenMetrics);
    let known = |line: &&str| line.contains("duration_seconds") && line.contains("\"known\"");
    let lines: Vec<&str> = page.lines().filter(known).collect();
    let value = |line: &str| line.rsplit(' ').next().expect("a value").to_owned();
    assert_eq!(value(lines[0]), "30.000401", "{lines:?}");
    assert_eq!(value(lines[1]), "3");
    let buckets: Vec<u64> =
        lines[2..].iter().map(|line| value(line).parse().expect("a count")).collect();
    assert_eq!(buckets.len(), BOUNDS_US.len() + 1);
    assert!(buckets.is_sorted());
    assert_eq!((buckets[0], buckets[1], buckets[15], buckets[16]), (1, 2, 2, 3));
    assert!(lines.last().expect("one").contains("le=\"+Inf\""));
    assert!(page.ends_with("\n# EOF\n"));
}

/// The list that operators read.
#[test]
fn the_list_of_metrics_is_up_to_date() {
    let row = |family: &of::Family| {
        let labels = family.labels.iter().map(|label| format!("`{label}`"));
        let labels = labels.collect::<Vec<_>>().join(", ");
        format!("| `{}` | {} | {labels} | {} |\n", family.full_name(), family.kind(), family.help)
    };
    let rows: String = ALL.iter().map(row).collect();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/prometheus/metrics.md");
    let list = std::fs::read_to_string(file).expect("it is there");
    assert!(list.contains(&rows), "config/prometheus/metrics.md should have this table:\n{rows}");
    let listed = list.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(listed, ALL.len(), "a metric that is listed is gone");
}
