//! The report for people.

use std::fmt::Write;

use super::{Report, VisitorReport, WorldReport};
use crate::guard::fact::{Event, Refusal, Write as Wrote};
use crate::replay::exact::Exactness;
use crate::replay::fields::Unread;
use crate::replay::visitors::{Hit, Visitors};
use crate::replay::world::Kind;
use crate::telemetry::escape::visible;
use crate::telemetry::flood::FloodRecord;
use crate::telemetry::sketch::ClientCount;
use crate::telemetry::tally::Tally;
use crate::telemetry::warmth::{rfc3339, span};

pub(super) fn of(report: &Report) -> String {
    let mut out = String::new();
    // Writing into a string does not fail.
    let _ = write(report, &mut out);
    out
}

fn write(report: &Report, out: &mut String) -> std::fmt::Result {
    writeln!(out, "site {}, mode {}", report.site, report.mode)?;
    read(report, out)?;
    match &report.exact {
        Some(exact) => exactness(exact, out)?,
        None => assumptions(report, out)?,
    }
    for world in &report.worlds {
        writeln!(out)?;
        of_world(report, world, out)?;
    }
    Ok(())
}

fn read(report: &Report, out: &mut String) -> std::fmt::Result {
    let counts = &report.read.counts;
    for (name, format) in &report.read.logs {
        writeln!(out, "  log        {} ({})", visible(name), format.word())?;
    }
    write!(out, "  read       {} lines, {} requests", counts.lines, counts.requests)?;
    if let Some(first) = counts.first_ms {
        let (first, last) = (rfc3339(first / 1_000), rfc3339(counts.last_ms / 1_000));
        write!(out, ", {first} to {last}, about {} clients", report.read.clients)?;
    }
    writeln!(out)?;
    let left_out: u64 = counts.unread.iter().sum();
    if left_out > 0 {
        let reasons = Unread::ALL.into_iter().zip(counts.unread).filter(|(_, lines)| *lines > 0);
        let reasons = reasons.map(|(why, lines)| format!("{lines} {}", why.words()));
        let reasons: Vec<String> = reasons.collect();
        writeln!(out, "  not read   {left_out} lines: {}", reasons.join("; "))?;
        let first = counts.examples.iter().map(|(line, why)| format!("{line} ({})", why.words()));
        let first: Vec<String> = first.collect();
        writeln!(out, "             the first: line {}", first.join(", line "))?;
    }
    for (number, what) in [
        (counts.requestless, "had no request that reaches a rule"),
        (counts.elsewhere, "were of another site"),
    ] {
        if number > 0 {
            writeln!(out, "             {number} lines {what}")?;
        }
    }
    if counts.forwarded > 0 {
        writeln!(
            out,
            "             {} clients' addresses were told by trusted proxies",
            counts.forwarded
        )?;
    }
    Ok(())
}

fn assumptions(report: &Report, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "\nA log without cookies tells neither who has a session nor what the application wrote. So\n\
         two worlds are told of, and the truth lies between them, if what is assumed is true:\n  \
         \"{}\": the most that could be refused\n  \
         \"{}\": a POST to a login that is answered by a redirection begins a session, known by\n    \
         address and agent until the logout",
        Kind::Strangers.word(),
        Kind::Members.word(),
    )?;
    if let Some(assumed) = report.assumed {
        writeln!(out, "assumed      {assumed}")?;
    }
    writeln!(
        out,
        "             each request was over before the next began; all lines of a second are of its\n             \
         beginning, and a line older than the one before it is of that one's time"
    )?;
    let (older, oldest) = report.worlds.first().map_or((0, 0), |world| world.older);
    if older > 0 {
        let most = span(std::time::Duration::from_millis(oldest));
        writeln!(
            out,
            "             {older} lines were older than those before, by {most} at most"
        )?;
    }
    if oldest > 60_000 {
        writeln!(
            out,
            "             if logs of several servers were given: merge them by time first, or replay one"
        )?;
    }
    Ok(())
}

fn exactness(exact: &Exactness, out: &mut String) -> std::fmt::Result {
    writeln!(out)?;
    for line in exact.words() {
        writeln!(out, "{line}")?;
    }
    for differing in &exact.differing {
        let path = visible(&differing.path);
        writeln!(
            out,
            "  {}  {} {path}  was {}, would be {}",
            rfc3339(differing.unix_ms / 1_000),
            differing.client,
            differing.was,
            differing.is
        )?;
    }
    Ok(())
}

fn of_world(report: &Report, world: &WorldReport, out: &mut String) -> std::fmt::Result {
    if let Some(kind) = world.kind {
        writeln!(out, "If {}:", kind.word())?;
    }
    let would = world.whole.tally.would_refuse() > 0;
    let absorb = world.whole.tally.count(Event::WouldAbsorb) > 0;
    let width = report.rules.iter().map(String::len).max().unwrap_or(0).max(9);
    write!(out, "  {:width$} {:>11} {:>11}", "rule", "seen", "forwarded")?;
    write!(out, " {:>10} {:>10} {:>10} {:>9}", "recycled", "refused", "challenged", "answered")?;
    if would {
        write!(out, " {:>12}", "would refuse")?;
    }
    if absorb {
        write!(out, " {:>12}", "would absorb")?;
    }
    writeln!(out, " {:>10}", "records")?;
    let routes = report.rules.iter().map(String::as_str).zip(&world.routes);
    for (rule, route) in routes.chain([("all", &world.whole)]) {
        if route.seen == 0 && rule != "all" {
            continue;
        }
        let tally = &route.tally;
        write!(out, "  {rule:width$} {:>11} {:>11}", route.seen, route.forwarded)?;
        let (challenged, answered) = (tally.count(Event::Challenged), tally.count(Event::Answered));
        write!(
            out,
            " {:>10} {:>10} {challenged:>10} {answered:>9}",
            route.recycled(),
            tally.refused()
        )?;
        if would {
            write!(out, " {:>12}", tally.would_refuse())?;
        }
        if absorb {
            write!(out, " {:>12}", tally.count(Event::WouldAbsorb))?;
        }
        writeln!(out, " {:>10}", tally.wrote(Wrote::Created))?;
    }
    let by = by_reason(&world.whole.tally);
    if !by.is_empty() {
        writeln!(out, "  refused by       {by}")?;
    }
    if !world.top.is_empty() {
        let top = world.top.iter().map(|top| {
            let more = if top.at_most > top.at_least { "+" } else { "" };
            format!("{} {}{more}", top.client, top.at_least)
        });
        writeln!(out, "  refused most     {}", top.collect::<Vec<_>>().join(", "))?;
    }
    if world.floods.is_empty() {
        writeln!(out, "  floods           none")?;
    }
    for flood in &world.floods {
        of_flood(report, world, flood, out)?;
    }
    if world.more_floods > 0 {
        writeln!(out, "  floods           {} more", world.more_floods)?;
    }
    match &world.visitors {
        Some(visitors) => of_visitors(report, visitors, out),
        None => Ok(()),
    }
}

fn by_reason(tally: &Tally) -> String {
    let reasons = Refusal::ALL.into_iter().map(|why| {
        let (is, would) = (Event::Refused(why), Event::WouldRefuse(why));
        (why.word(), tally.count(is) + tally.count(would))
    });
    let reasons = reasons.filter(|(_, number)| *number > 0);
    reasons.map(|(word, number)| format!("{word} {number}")).collect::<Vec<_>>().join(", ")
}

fn of_flood(
    report: &Report,
    world: &WorldReport,
    flood: &FloodRecord,
    out: &mut String,
) -> std::fmt::Result {
    let began = rfc3339(world.unix_ms(flood.first) / 1_000);
    let clients = match flood.clients {
        ClientCount::Exactly(number) => format!("{number} clients"),
        ClientCount::AtLeast(number) => format!("{number} clients or more"),
    };
    writeln!(
        out,
        "  flood            {began}, {}: {} requests in {}, {clients}, {} refused, {} recycled",
        report.rule(flood.route),
        flood.events,
        span(flood.duration),
        flood.tally.refused() + flood.tally.would_refuse(),
        flood.tally.count(Event::Recycled),
    )
}

fn of_visitors(report: &Report, visitors: &VisitorReport, out: &mut String) -> std::fmt::Result {
    let VisitorReport { hits, hit, refused, logged_in } = visitors;
    writeln!(
        out,
        "  honest visitors  {hit} refused that look honest, of {refused} refused; {logged_in} logged in"
    )?;
    if hits.is_empty() {
        return Ok(());
    }
    writeln!(out, "    ({})", Visitors::WORDS)?;
    for hit in hits {
        let Hit { client, method, path, why, refused, requests, agent, .. } = hit;
        let account = if hit.logged_in { ", has logged in" } else { "" };
        writeln!(
            out,
            "    {}  {client} {method} {} ({}, {}), {refused} of {requests} requests{account}: {}",
            rfc3339(hit.unix_ms / 1_000),
            visible(path),
            report.rule(hit.route),
            why.word(),
            visible(agent),
        )?;
    }
    let more = hit - hits.len() as u64;
    if more > 0 { writeln!(out, "    and {more} more (--list N tells of N)") } else { Ok(()) }
}
