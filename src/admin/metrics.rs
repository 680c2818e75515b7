//! The metrics: a snapshot as OpenMetrics 1.0, and as the text format that is older.
//!
//! Labels are words of our own, and names of the configuration: sites, rules, budgets, servers and
//! certificates. So how many series there are does not depend on what strangers send, and each is
//! there from the start, with zero: a rate over a counter that appears has no beginning.

mod family;
pub(super) mod negotiation;
mod page;
mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text as open_metrics};
use prometheus_client::registry::Registry;

use self::family as of;
use self::negotiation::Format;
use self::page::Page;
use crate::guard::budget::Left;
use crate::guard::fact::{Event, Refusal, Warmth, Write};
use crate::guard::policy::Mode;
use crate::guard::route::StandingWord;
use crate::guard::status::{Fill, Status};
use crate::telemetry::access::Verdict;
use crate::telemetry::alerts::Counts;
use crate::telemetry::flood::{FloodRecord, FloodTotals};
use crate::telemetry::meter::StatusClass;
use crate::telemetry::sketch::ClientCount;
use crate::telemetry::snapshot::{Saved, ServerSnapshot, SiteSnapshot, Snapshot};
use crate::telemetry::tally::Tally;

/// What a scrape tells.
///
/// # Errors
/// None that a string has.
pub(super) fn render(
    snapshot: Arc<Snapshot>,
    ready: bool,
    format: Format,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { snapshot, ready }));
    let mut page = String::with_capacity(64 << 10);
    open_metrics::encode(&mut page, &registry)?;
    Ok(match format {
        Format::OpenMetrics => page,
        Format::Text => text::of_open_metrics(&page),
    })
}

#[derive(Debug)]
struct Scrape {
    snapshot: Arc<Snapshot>,
    ready: bool,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page(&mut encoder);
        of_program(&self.snapshot, self.ready, &mut page)?;
        let sites: Vec<Site<'_>> = self.snapshot.sites.iter().map(Site::of).collect();
        of_exchanges(&sites, &mut page)?;
        of_rules(&sites, &mut page)?;
        of_tables(&sites, &mut page)?;
        of_upstream(&sites, &mut page)?;
        of_floods(&sites, &mut page)?;
        of_state(&sites, &mut page)?;
        of_process(&self.snapshot, &mut page)
    }
}

/// A site, with its names in order and each once: two rules whose names are cut to the same are one
/// series, which else would spoil the whole scrape.
struct Site<'a> {
    name: &'a str,
    is: &'a SiteSnapshot,
    rules: BTreeMap<&'a str, Tally>,
    running: BTreeMap<&'a str, &'a FloodRecord>,
    floods: BTreeMap<&'a str, FloodTotals>,
}

impl<'a> Site<'a> {
    fn of(site: &'a SiteSnapshot) -> Self {
        let mut rules: BTreeMap<&str, Tally> = BTreeMap::new();
        for (name, tally) in &site.routes {
            let sum = rules.entry(name).or_default();
            *sum = std::mem::take(sum).plus(tally);
        }
        let mut floods: BTreeMap<&str, FloodTotals> = BTreeMap::new();
        for (name, totals) in &site.flood_totals {
            let sum = floods.entry(name).or_default();
            sum.started += totals.started;
            sum.events += totals.events;
        }
        let running = site.floods.iter().map(|(name, record)| (&**name, record)).collect();
        Self { name: &site.name, is: site, rules, running, floods }
    }

    /// What happened on each rule, for a family that is told apart by a word besides.
    fn by_rule<'s>(
        &'s self,
        words: &'s [(&'static str, Event)],
    ) -> impl Iterator<Item = ([&'s str; 3], u64)> {
        self.rules.iter().flat_map(move |(rule, tally)| {
            words.iter().map(move |(word, event)| ([self.name, rule, word], tally.count(*event)))
        })
    }

    fn tables(&self) -> [([&'a str; 2], Fill); 4] {
        let Status { keys, spares, clients, classes, warmth: _ } = self.is.guard;
        let known = classes.creating + classes.clean + classes.unproven;
        let classes = Fill { used: known, capacity: classes.capacity };
        [("classes", classes), ("clients", clients), ("keys", keys), ("spares", spares)]
            .map(|(table, fill)| ([self.name, table], fill))
    }

    /// How often something happened on each rule.
    fn once_by_rule(&self, event: Event) -> impl Iterator<Item = ([&str; 2], u64)> {
        self.rules.iter().map(move |(rule, tally)| ([self.name, rule], tally.count(event)))
    }
}

fn of_program(snapshot: &Snapshot, ready: bool, page: &mut Page<'_, '_>) -> fmt::Result {
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    page.info(&of::BUILD, [snapshot.version, arch, os])?;
    page.gauge(&of::READY, flag(ready))?;
    page.gauge(&of::DRAINING, flag(snapshot.draining))?;
    page.gauge(&of::CORES, snapshot.cores)?;
    page.gauge(&of::CONNECTIONS, snapshot.connections.used)?;
    page.gauge(&of::CONNECTIONS_CAPACITY, snapshot.connections.capacity)?;
    page.gauge(&of::TUNNELS, snapshot.tunnels.used)?;
    page.gauge(&of::TUNNELS_CAPACITY, snapshot.tunnels.capacity)?;
    page.counter(&of::LINES_DROPPED, snapshot.lines_dropped)?;
    page.counter(&of::SAMPLE_DROPPED, snapshot.refusals_dropped)?;
    of_alerts(&snapshot.alerts, page)?;
    if let Some(history) = &snapshot.history {
        page.counter(&of::HISTORY_TALLIES, history.minutes)?;
        page.counter(&of::HISTORY_LOST, history.minutes_lost)?;
        page.counter(&of::HISTORY_FAILURES, history.failures)?;
        page.gauge(&of::HISTORY_WRITTEN, history.last_unix.unwrap_or(0))?;
    }
    let reloads = &snapshot.reloads;
    page.counters(&of::RELOADS, [(["success"], reloads.succeeded), (["failure"], reloads.failed)])?;
    page.gauge(&of::RELOAD_SUCCEEDED, flag(reloads.last_succeeded))?;
    page.gauge(&of::CONFIGURED_AT, seconds(reloads.in_force_unix_ms))?;
    // Of a file that is named twice the earlier end counts.
    let mut certificates: BTreeMap<&str, u64> = BTreeMap::new();
    for (file, expires) in &snapshot.certificates {
        let earliest = certificates.entry(file).or_insert(*expires);
        *earliest = (*earliest).min(*expires);
    }
    page.gauges(&of::CERTIFICATE_EXPIRES, certificates.into_iter().map(|(file, at)| ([file], at)))?;
    let nowhere = |class: StatusClass| {
        let of = |standing| {
            verdicts().map(move |(_, verdict)| snapshot.no_site.count(standing, verdict, class))
        };
        ([class.word()], standings().flat_map(|(_, standing)| of(standing)).sum())
    };
    page.counters(&of::WITHOUT_SITE, StatusClass::ALL.map(nowhere))
}

fn of_alerts(alerts: &[Counts], page: &mut Page<'_, '_>) -> fmt::Result {
    let outcomes = alerts.iter().flat_map(|counts| {
        let to = counts.destination.word();
        [
            ([to, "delivered"], counts.delivered),
            ([to, "given-up"], counts.given_up),
            ([to, "dropped"], counts.dropped),
        ]
    });
    page.counters(&of::ALERTS, outcomes)?;
    let failed = alerts.iter().map(|counts| ([counts.destination.word()], counts.failed));
    page.counters(&of::ALERT_FAILURES, failed)?;
    let waiting = alerts.iter().map(|counts| ([counts.destination.word()], counts.waiting));
    page.gauges(&of::ALERTS_WAITING, waiting)
}

fn of_exchanges(sites: &[Site<'_>], page: &mut Page<'_, '_>) -> fmt::Result {
    page.gauges(
        &of::ENFORCING,
        sites.iter().map(|site| ([site.name], flag(site.is.mode == Mode::Enforce.word()))),
    )?;
    let counts = sites.iter().flat_map(|site| {
        standings().flat_map(move |(standing_word, standing)| {
            verdicts().flat_map(move |(verdict_word, verdict)| {
                StatusClass::ALL.into_iter().map(move |class| {
                    let labels = [site.name, standing_word, verdict_word, class.word()];
                    (labels, site.is.exchanges.count(standing, verdict, class))
                })
            })
        })
    });
    page.counters(&of::EXCHANGES, counts)?;
    let durations = sites.iter().flat_map(|site| {
        let exchanges = &site.is.exchanges;
        [
            ([site.name, "known"], &exchanges.known_duration),
            ([site.name, "other"], &exchanges.other_duration),
        ]
    });
    page.histograms(&of::DURATION, durations)?;
    let responses = sites.iter().map(|site| ([site.name], &site.is.exchanges.upstream));
    page.histograms(&of::RESPONSE, responses)?;
    page.histograms(
        &of::CONNECT,
        sites.iter().map(|site| ([site.name], &site.is.exchanges.connect)),
    )
}

fn of_rules(sites: &[Site<'_>], page: &mut Page<'_, '_>) -> fmt::Result {
    // That nothing was written is no write.
    let writes = Write::ALL.into_iter().filter(|write| *write != Write::None);
    let writes: Vec<_> = writes.map(|write| (write.word(), Event::Wrote(write))).collect();
    page.counters(&of::WRITES, sites.iter().flat_map(|site| site.by_rule(&writes)))?;
    page.counters(&of::PREVENTED, sites.iter().map(|site| ([site.name], site.is.prevented)))?;
    let would = sites.iter().map(|site| ([site.name], site.is.would_prevent));
    page.counters(&of::WOULD_PREVENT, would)?;
    let refused = Refusal::ALL.map(|why| (why.word(), Event::Refused(why)));
    page.counters(&of::REFUSED, sites.iter().flat_map(|site| site.by_rule(&refused)))?;
    let would = Refusal::ALL.map(|why| (why.word(), Event::WouldRefuse(why)));
    page.counters(&of::WOULD_REFUSE, sites.iter().flat_map(|site| site.by_rule(&would)))?;
    let absorbed = [("answered", Event::Answered), ("recycled", Event::Recycled)];
    page.counters(&of::ABSORBED, sites.iter().flat_map(|site| site.by_rule(&absorbed)))?;
    let would = sites.iter().flat_map(|site| site.once_by_rule(Event::WouldAbsorb));
    page.counters(&of::WOULD_ABSORB, would)?;
    let challenged = sites.iter().flat_map(|site| site.once_by_rule(Event::Challenged));
    page.counters(&of::CHALLENGED, challenged)?;
    let cookies =
        [("deleted", Event::Deleted), ("removed", Event::Removed), ("stripped", Event::Stripped)];
    page.counters(&of::COOKIES, sites.iter().flat_map(|site| site.by_rule(&cookies)))
}

fn of_tables(sites: &[Site<'_>], page: &mut Page<'_, '_>) -> fmt::Result {
    let tables = || sites.iter().flat_map(Site::tables);
    page.gauges(&of::TABLE_ENTRIES, tables().map(|(labels, fill)| (labels, fill.used)))?;
    page.gauges(&of::TABLE_CAPACITY, tables().map(|(labels, fill)| (labels, fill.capacity)))?;
    let leased = sites.iter().map(|site| ([site.name], site.is.under_way.spares));
    page.gauges(&of::SPARES_LEASED, leased)?;
    let classes = sites.iter().flat_map(|site| {
        let classes = site.is.guard.classes;
        [
            ([site.name, "clean"], classes.clean),
            ([site.name, "creating"], classes.creating),
            ([site.name, "unproven"], classes.unproven),
        ]
    });
    page.gauges(&of::CLASSES, classes)?;
    let budgets = |value: fn(&Left) -> f64| {
        sites.iter().flat_map(move |site| {
            let budgets = site.is.budgets.iter();
            budgets.map(move |(name, left)| ([site.name, name.as_str()], value(left)))
        })
    };
    page.gauges(&of::BUDGET_LEFT, budgets(|left| left.left.into()))?;
    page.gauges(&of::BUDGET_HELD, budgets(|left| left.held.into()))?;
    page.gauges(&of::BUDGET_BURST, budgets(|left| left.burst.into()))?;
    page.gauges(&of::BUDGET_RATE, budgets(|left| 1.0 / left.period.as_secs_f64().max(1e-9)))
}

fn of_upstream(sites: &[Site<'_>], page: &mut Page<'_, '_>) -> fmt::Result {
    let servers = |value: fn(&ServerSnapshot) -> usize| {
        sites.iter().flat_map(move |site| {
            let servers = site.is.servers.iter();
            servers.map(move |server| ([site.name, server.name.as_str()], value(server)))
        })
    };
    page.gauges(&of::SERVER_UP, servers(|server| server.up.into()))?;
    page.gauges(&of::SERVER_EXCHANGES, servers(|server| server.exchanges))?;
    page.gauges(&of::SERVER_CONNECTIONS, servers(|server| server.connections))?;
    page.gauges(&of::SERVER_WAITING, servers(|server| server.waiting))?;
    let words = |counts: fn(&SiteSnapshot) -> &[(&'static str, u64)]| {
        sites.iter().flat_map(move |site| {
            counts(site.is).iter().map(move |(word, count)| ([site.name, *word], *count))
        })
    };
    page.counters(&of::UPSTREAM_FAILURES, words(|site| &site.upstream_failures))?;
    page.counters(&of::LIMITS_MET, words(|site| &site.limits_met))
}

fn of_floods(sites: &[Site<'_>], page: &mut Page<'_, '_>) -> fmt::Result {
    let rules = || sites.iter().flat_map(|site| site.rules.keys().map(move |rule| (site, *rule)));
    let running =
        rules().map(|(site, rule)| ([site.name, rule], flag(site.running.contains_key(rule))));
    page.gauges(&of::FLOOD_RUNNING, running)?;
    let clients = rules().map(|(site, rule)| {
        let clients = site.running.get(rule).map_or(0, |flood| match flood.clients {
            ClientCount::Exactly(count) | ClientCount::AtLeast(count) => count,
        });
        ([site.name, rule], clients)
    });
    page.gauges(&of::FLOOD_CLIENTS, clients)?;
    let totals = |site: &Site<'_>, rule| site.floods.get(rule).copied().unwrap_or_default();
    let started = rules().map(|(site, rule)| ([site.name, rule], totals(site, rule).started));
    page.counters(&of::FLOODS, started)?;
    let events = rules().map(|(site, rule)| ([site.name, rule], totals(site, rule).events));
    page.counters(&of::FLOOD_EVENTS, events)
}

fn of_state(sites: &[Site<'_>], page: &mut Page<'_, '_>) -> fmt::Result {
    let saved = || sites.iter().filter_map(|site| Some((site.name, site.is.saved?)));
    let saves = saved().flat_map(|(site, Saved { done, failed, .. })| {
        [([site, "success"], done), ([site, "failure"], failed)]
    });
    page.counters(&of::SAVES, saves)?;
    let at = saved().map(|(site, saved)| ([site], seconds(saved.last_unix_ms)));
    page.gauges(&of::SAVED_AT, at)?;
    let took = saved().map(|(site, saved)| ([site], saved.last_took.as_secs_f64()));
    page.gauges(&of::SAVE_DURATION, took)?;
    let sizes = saved().flat_map(|(site, saved)| {
        [([site, "snapshot"], saved.snapshot_bytes), ([site, "journal"], saved.journal_bytes)]
    });
    page.gauges(&of::STATE_SIZE, sizes)?;
    let warm = sites.iter().map(|site| ([site.name], flag(site.is.guard.warmth == Warmth::Warm)));
    page.gauges(&of::LEDGER_WARM, warm)?;
    page.gauges(&of::LEDGER_WARM_AT, sites.iter().map(|site| ([site.name], site.is.warm_at)))
}

fn of_process(snapshot: &Snapshot, page: &mut Page<'_, '_>) -> fmt::Result {
    let process = &snapshot.process_stats;
    page.gauge(&of::PROCESS_START, process.started_unix_s)?;
    page.counter(&of::PROCESS_CPU, process.cpu_s)?;
    page.gauge(&of::PROCESS_RESIDENT, process.resident_bytes)?;
    page.gauge(&of::PROCESS_VIRTUAL, process.virtual_bytes)?;
    page.gauge(&of::PROCESS_FILES, process.open_files)?;
    page.gauge(&of::PROCESS_MOST_FILES, process.most_files)
}

/// What exchanges are told apart by, with what ended before there was one.
fn standings() -> impl Iterator<Item = (&'static str, Option<StandingWord>)> {
    let words = StandingWord::ALL.into_iter().map(|standing| (standing.word(), Some(standing)));
    words.chain([("unread", None)])
}

fn verdicts() -> impl Iterator<Item = (&'static str, Option<Verdict>)> {
    let words = Verdict::ALL.into_iter().map(|verdict| (verdict.word(), Some(verdict)));
    words.chain([("none", None)])
}

fn flag(is: bool) -> u32 {
    u32::from(is)
}

fn seconds(unix_ms: u64) -> f64 {
    unix_ms as f64 / 1e3
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
pub(super) mod tests;
