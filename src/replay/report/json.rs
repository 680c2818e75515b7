//! The report for programs.

use serde_json::{Map, Value, json};

use super::{Report, Route, VisitorReport, WorldReport};
use crate::guard::fact::{Event, Refusal, Write as Wrote};
use crate::replay::fields::Unread;
use crate::replay::visitors::{Hit, Visitors};
use crate::telemetry::flood::FloodRecord;
use crate::telemetry::sketch::{ClientCount, TopClient};
use crate::telemetry::warmth::rfc3339;

pub(super) fn of(report: &Report) -> Value {
    let counts = &report.read.counts;
    let log = |(name, format): &(String, crate::replay::lines::Format)| json!({ "log": name, "format": format.word() });
    let unread = Unread::ALL.into_iter().zip(counts.unread);
    let unread: Map<String, Value> =
        unread.map(|(why, lines)| (why.words().to_owned(), lines.into())).collect();
    let time = |ms: u64| rfc3339(ms / 1_000);
    json!({
        "site": report.site,
        "mode": report.mode,
        "logs": report.read.logs.iter().map(log).collect::<Vec<_>>(),
        "lines": counts.lines,
        "requests": counts.requests,
        "unread": unread,
        "without_request": counts.requestless,
        "of_other_sites": counts.elsewhere,
        "first": counts.first_ms.map(time),
        "last": counts.first_ms.map(|_| time(counts.last_ms)),
        "clients_about": report.read.clients,
        "assumed": report.assumed,
        "honest": report.assumed.map(|_| Visitors::WORDS),
        "exact": report.exact.as_ref().map(|exact| exact.json()),
        "worlds": report.worlds.iter().map(|world| of_world(report, world)).collect::<Vec<_>>(),
    })
}

fn of_world(report: &Report, world: &WorldReport) -> Value {
    let routes = report.rules.iter().zip(&world.routes).filter(|(_, route)| route.seen > 0);
    let routes: Map<String, Value> =
        routes.map(|(rule, route)| (rule.clone(), of_route(route))).collect();
    json!({
        "world": world.kind.map_or("as it was", |kind| kind.word()),
        "all": of_route(&world.whole),
        "rules": routes,
        "refused_most": world.top.iter().map(of_client).collect::<Vec<_>>(),
        "floods": world.floods.iter().map(|flood| of_flood(report, world, flood)).collect::<Vec<_>>(),
        "more_floods": world.more_floods,
        "older_lines": world.older.0,
        "oldest_by_ms": world.older.1,
        "visitors": world.visitors.as_ref().map(|visitors| of_visitors(report, visitors)),
    })
}

fn of_route(route: &Route) -> Value {
    let tally = &route.tally;
    let by = |event: fn(Refusal) -> Event| {
        let reasons = Refusal::ALL.into_iter().map(|why| (why.word(), tally.count(event(why))));
        let reasons = reasons.filter(|(_, number)| *number > 0);
        Value::Object(reasons.map(|(word, number)| (word.to_owned(), number.into())).collect())
    };
    json!({
        "seen": route.seen,
        "forwarded": route.forwarded,
        "recycled": route.recycled(),
        "refused": tally.refused(),
        "refused_by": by(Event::Refused),
        "challenged": tally.count(Event::Challenged),
        "answered": tally.count(Event::Answered),
        "would_refuse": tally.would_refuse(),
        "would_refuse_by": by(Event::WouldRefuse),
        "would_absorb": tally.count(Event::WouldAbsorb),
        "created": tally.wrote(Wrote::Created),
        "uncertain": tally.wrote(Wrote::Uncertain),
    })
}

fn of_client(top: &TopClient) -> Value {
    json!({ "client": top.client.to_string(), "at_least": top.at_least, "at_most": top.at_most })
}

fn of_flood(report: &Report, world: &WorldReport, flood: &FloodRecord) -> Value {
    let (clients, exactly) = match flood.clients {
        ClientCount::Exactly(number) => (number, true),
        ClientCount::AtLeast(number) => (number, false),
    };
    json!({
        "began": rfc3339(world.unix_ms(flood.first) / 1_000),
        "rule": report.rule(flood.route),
        "requests": flood.events,
        "seconds": flood.duration.as_secs_f64(),
        "clients": clients,
        "clients_exactly": exactly,
        "refused": flood.tally.refused(),
        "would_refuse": flood.tally.would_refuse(),
        "recycled": flood.tally.count(Event::Recycled),
        "top": flood.top.iter().map(of_client).collect::<Vec<_>>(),
    })
}

fn of_visitors(report: &Report, visitors: &VisitorReport) -> Value {
    let hit = |hit: &Hit| {
        json!({
            "time": rfc3339(hit.unix_ms / 1_000),
            "client": hit.client.to_string(),
            "agent": hit.agent,
            "method": hit.method,
            "path": hit.path,
            "rule": report.rule(hit.route),
            "why": hit.why.word(),
            "refused": hit.refused,
            "requests": hit.requests,
            "logged_in": hit.logged_in,
        })
    };
    json!({
        "refused": visitors.refused,
        "look_honest": visitors.hit,
        "logged_in": visitors.logged_in,
        "hits": visitors.hits.iter().map(hit).collect::<Vec<_>>(),
    })
}
