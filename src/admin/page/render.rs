//! Events as the page reads them: server-sent events (WHATWG HTML, 9.2) with one JSON object each.
//!
//! Nothing in them is of a stranger's choice but the prefixes of clients and the paths of lessons.

use bytes::Bytes;
use serde_json::{Value, json};

use super::assets;
use super::columns::{Sample, names};
use super::recent::{Recent, Track};
use crate::guard::fact::{Event, Refusal, Warmth, Write};
use crate::guard::moment::Moment;
use crate::guard::status::Fill;
use crate::telemetry::flood::FloodRecord;
use crate::telemetry::sketch::ClientCount;
use crate::telemetry::snapshot::{PastFlood, SiteSnapshot, Snapshot};

/// After which time a browser comes again whose connection broke, in milliseconds.
const RETRY_MS: u32 = 2_000;

/// What a viewer of a site is told first: all that is kept; or, where it says by `last` what it was
/// told last by this process, all since then.
pub(super) fn backlog(recent: &Recent, site: &str, last: Option<&str>) -> Bytes {
    let (Some(now), Some(track)) = (recent.latest(), recent.track(site)) else {
        // The first look is taken within a second.
        return Bytes::from(format!("retry: {RETRY_MS}\n\n"));
    };
    let told = last.and_then(|last| told(last, recent, site));
    let told = told.filter(|told| *told <= recent.sequence());
    // Of as many seconds it was not told; what it has of longer spans it knows by their time.
    let missed = told.map_or(usize::MAX, |told| (recent.sequence() - told) as usize);
    let fine = track.fine.iter().skip(track.fine.len().saturating_sub(missed));
    let content = json!({
        "boot": format!("{:x}", recent.boot()),
        "page": assets::version(),
        "columns": names(),
        "continues": told.is_some(),
        "fine": rows(fine, now),
        "coarse": rows(track.coarse.iter(), now),
        "now": state(recent, now, site, Past::Told),
    });
    event("backlog", recent, site, &content, &format!("retry: {RETRY_MS}\n"))
}

/// What is new since the last look; `None` where the site is gone.
pub(super) fn news(recent: &Recent, site: &str) -> Option<Bytes> {
    let (now, track) = (recent.latest()?, recent.track(site)?);
    let newest = |samples: Option<&Sample>| rows(samples.into_iter(), now);
    let Track { fine, coarse, ends_span, .. } = track;
    let past = match (recent.before(site), of_site(now, site)) {
        (Some(before), Some(after)) if before.past_floods == after.past_floods => Past::AsBefore,
        (_, _) => Past::Told,
    };
    let content = json!({
        "fine": newest(fine.back()),
        "coarse": newest(if *ends_span { coarse.back() } else { None }),
        "now": state(recent, now, site, past),
    });
    Some(event("news", recent, site, &content, ""))
}

fn event(kind: &str, recent: &Recent, site: &str, content: &Value, before: &str) -> Bytes {
    let (boot, sequence) = (recent.boot(), recent.sequence());
    let site = percent_encoding::utf8_percent_encode(site, percent_encoding::NON_ALPHANUMERIC);
    // JSON has no line breaks outside of strings, and escapes those within.
    Bytes::from(format!(
        "{before}event: {kind}\nid: {boot:x}/{sequence}/{site}\ndata: {content}\n\n"
    ))
}

/// The sequence of an event's id, if this process has given it, for this site.
fn told(id: &str, recent: &Recent, site: &str) -> Option<u64> {
    let mut parts = id.split('/');
    let (of, sequence, for_site) = (parts.next()?, parts.next()?, parts.next()?);
    let for_site = percent_encoding::percent_decode_str(for_site).decode_utf8().ok()?;
    (of == format!("{:x}", recent.boot()) && for_site == site)
        .then(|| sequence.parse().ok())
        .flatten()
}

fn rows<'a>(samples: impl Iterator<Item = &'a Sample>, now: &Snapshot) -> Vec<Value> {
    samples.map(|sample| sample.row(unix_ms(now, sample.at))).collect()
}

/// A moment in milliseconds since 1970, by today's clock on the wall.
fn unix_ms(now: &Snapshot, at: Moment) -> u64 {
    let ago = u64::try_from(now.at.since(at).as_millis()).unwrap_or(u64::MAX);
    now.unix_ms.saturating_sub(ago)
}

fn of_site<'a>(now: &'a Snapshot, site: &str) -> Option<&'a SiteSnapshot> {
    now.sites.iter().find(|one| one.name == site)
}

/// Whether the floods that have ended are told, too.
#[derive(Clone, Copy)]
enum Past {
    Told,
    AsBefore,
}

fn state(recent: &Recent, now: &Snapshot, site: &str, past: Past) -> Value {
    let flooded = |site: &SiteSnapshot| -> Vec<String> {
        site.floods.iter().map(|(route, _)| route.clone()).collect()
    };
    let sites: Vec<Value> = now
        .sites
        .iter()
        .map(|site| json!({ "name": site.name, "mode": site.mode, "floods": flooded(site) }))
        .collect();
    json!({
        "t": now.unix_ms,
        "version": now.version,
        "process": now.process,
        "uptime_s": now.uptime.as_secs(),
        "draining": now.draining,
        "connections": fill(now.connections),
        "tunnels": fill(now.tunnels),
        "lines_dropped": now.lines_dropped,
        "no_site": now.no_site.total(),
        "sites": sites,
        "site": of_site(now, site).map(|site| of_one(recent, now, site, past)),
    })
}

fn of_one(recent: &Recent, now: &Snapshot, site: &SiteSnapshot, past: Past) -> Value {
    let guard = &site.guard;
    let running: Vec<Value> = site
        .floods
        .iter()
        .map(|(route, record)| {
            let rate = recent.rate(&site.name, route, record);
            flood(now, route, record, rate)
        })
        .collect();
    let budgets: Vec<Value> = site
        .budgets
        .iter()
        .map(|(name, left)| {
            json!({
                "name": name,
                "left": left.left,
                "held": left.held,
                "burst": left.burst,
                "period_s": left.period.as_secs_f64(),
            })
        })
        .collect();
    let servers: Vec<Value> = site
        .servers
        .iter()
        .map(|server| {
            json!({
                "name": server.name,
                "up": server.up,
                "exchanges": server.exchanges,
                "connections": server.connections,
                "waiting": server.waiting,
            })
        })
        .collect();
    let past = match past {
        Past::AsBefore => None,
        Past::Told => {
            let ended =
                |past: &PastFlood| flood(now, &past.route, &past.record, past.record.mean_rate);
            Some(site.past_floods.iter().rev().map(ended).collect::<Vec<_>>())
        }
    };
    let lessons: Vec<Value> = site
        .lessons
        .iter()
        .rev()
        .map(|lesson| {
            json!({
                "at": unix_ms(now, lesson.at),
                "what": lesson.what.word(),
                "of": lesson.of.map(|(method, standing)| [method, standing]),
                "path": lesson.path,
            })
        })
        .collect();
    let classes = guard.classes;
    json!({
        "name": site.name,
        "mode": site.mode,
        "warm": guard.warmth == Warmth::Warm,
        "warm_at": site.warm_at,
        "keys": fill(guard.keys),
        "spares": fill(guard.spares),
        "clients": fill(guard.clients),
        "held": site.under_way.held,
        "minute": recent.track(&site.name).map(|track| track.minute().row(now.unix_ms)),
        "classes": {
            "creating": classes.creating,
            "clean": classes.clean,
            "unproven": classes.unproven,
            "capacity": classes.capacity,
        },
        "budgets": budgets,
        "lessons": lessons,
        "servers": servers,
        "floods": running,
        "past": past,
    })
}

fn fill(fill: Fill) -> [usize; 2] {
    [fill.used, fill.capacity]
}

fn flood(now: &Snapshot, route: &str, record: &FloodRecord, rate: f64) -> Value {
    let tally = &record.tally;
    let (clients, more) = match record.clients {
        ClientCount::Exactly(count) => (count, false),
        ClientCount::AtLeast(count) => (count, true),
    };
    let top =
        record.top.iter().map(|top| json!([top.client.to_string(), top.at_least, top.at_most]));
    let reasons = Refusal::ALL.into_iter().filter_map(|refusal| {
        let events = [Event::Refused(refusal), Event::WouldRefuse(refusal)];
        let count: u64 = events.map(|event| tally.count(event)).iter().sum();
        (count > 0).then(|| json!([refusal.word(), count]))
    });
    json!({
        "route": route,
        "since": unix_ms(now, record.first),
        "seconds": record.duration.as_secs_f64().round(),
        "events": record.events,
        "observed": record.observed,
        "rate": rate,
        "clients": clients,
        "more_clients": more,
        "top": top.collect::<Vec<_>>(),
        "reasons": reasons.collect::<Vec<_>>(),
        "refused": tally.refused() + tally.would_refuse(),
        "recycled": tally.count(Event::Recycled),
        "answered": tally.count(Event::Answered),
        "challenged": tally.count(Event::Challenged),
        "removed": tally.count(Event::Removed),
        "created": tally.wrote(Write::Created),
        "uncertain": tally.wrote(Write::Uncertain),
    })
}
