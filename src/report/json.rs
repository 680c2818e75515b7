//! The report for programs: one object. Times are RFC 3339 in UTC, spans in seconds, and what is
//! not known is `null`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::figures::{Time, rfc3339};
use super::model::{Quality, Report, Slot};
use super::words;
use crate::history::read::{Flood, Route};

/// The number of this shape; it changes where a field goes or means something else.
const VERSION: u64 = 1;

pub fn json(report: &Report) -> Value {
    let refused = reasons(report, "refused");
    let would_refuse = reasons(report, "would-refuse");
    let verdicts: BTreeMap<&str, u64> =
        report.verdicts.iter().map(|(word, count)| (&**word, *count)).collect();
    json!({
        "report": VERSION,
        "floodwall": env!("CARGO_PKG_VERSION"),
        "generated": rfc3339(report.generated),
        "from": rfc3339(report.from),
        "until": rfc3339(report.until),
        "ran_s": report.ran,
        "site": report.site,
        "sites": report.sites,
        "verdict": words::verdict(report),
        "requests": report.exchanges,
        "requests_by_verdict": verdicts,
        "records_prevented": report.prevented(),
        "records_written": report.all.created,
        "records_uncertain": report.all.uncertain,
        "records_spare": report.spares,
        "counts": counts(&report.all),
        "refused_by": refused,
        "would_refuse_by": would_refuse,
        "known_sessions": {
            "all": quality(&report.known.all),
            "during_floods": quality(&report.known.flooded),
            "else": quality(&report.known.quiet),
        },
        "floods": report.floods.iter().map(flood).collect::<Vec<_>>(),
        "top_clients": report.clients.iter().map(|client| json!({
            "client": client.prefix,
            "events_at_least": client.at_least,
            "floods": client.floods,
        })).collect::<Vec<_>>(),
        "routes": report.routes.iter().map(|route| json!({
            "site": route.site,
            "route": route.route,
            "counts": counts(route),
        })).collect::<Vec<_>>(),
        "tables": report.fills.iter().map(|fill| json!({
            "site": fill.site,
            "table": fill.what,
            "most": fill.most,
            "capacity": fill.capacity,
        })).collect::<Vec<_>>(),
        "slot_s": report.step,
        "slots": report.slots.iter().map(slot).collect::<Vec<_>>(),
    })
}

fn counts(route: &Route) -> Value {
    json!({
        "stopped": route.stopped(),
        "refused": route.refused,
        "recycled": route.recycled,
        "answered": route.answered,
        "cookies_removed": route.removed,
        "challenged": route.challenged,
        "would_stop": route.would,
        "written": route.created,
        "uncertain": route.uncertain,
    })
}

fn reasons<'a>(report: &'a Report, kind: &str) -> BTreeMap<&'a str, u64> {
    let reasons = report.reasons.iter().filter(|reason| reason.kind == kind);
    reasons.map(|reason| (&*reason.reason, reason.count)).collect()
}

fn quality(quality: &Quality) -> Value {
    json!({
        "requests": quality.exchanges,
        "failed": quality.failed,
        "median_ms": quality.median().map(Time::ms),
        "p99_ms": quality.p99().map(Time::ms),
    })
}

fn flood(flood: &Flood) -> Value {
    let mut tally: BTreeMap<String, u64> = BTreeMap::new();
    for (kind, detail, count) in &flood.tally {
        let name = if detail.is_empty() { kind.clone() } else { format!("{kind} {detail}") };
        *tally.entry(name).or_default() += count;
    }
    json!({
        "site": flood.site,
        "route": flood.route,
        "began": rfc3339(flood.began),
        "last": rfc3339(flood.last),
        "duration_s": flood.last - flood.began,
        "state": flood.state,
        "events": flood.events,
        "observed": flood.observed,
        "mean_rate_per_s": flood.mean_rate,
        "peak_rate_per_s": flood.peak_rate,
        "clients": flood.clients,
        "clients_exact": flood.clients_exact,
        "tally": tally,
        "top_clients": flood.top.iter().map(|(client, at_least, at_most)| json!({
            "client": client,
            "events_at_least": at_least,
            "events_at_most": at_most,
        })).collect::<Vec<_>>(),
    })
}

fn slot(slot: &Slot) -> Value {
    json!({
        "at": rfc3339(slot.at),
        "requests_by_verdict": slot.verdicts,
        "stopped": slot.stopped,
        "written": slot.created,
        "uncertain": slot.uncertain,
        "would_stop": slot.would,
        "known_failed": slot.failed,
        "known_median_ms": slot.times.quantile(0.5).map(Time::ms),
        "known_p99_ms": slot.times.quantile(0.99).map(Time::ms),
    })
}
