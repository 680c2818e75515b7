//! The report on a terminal: plain, in 80 columns.

use std::fmt::Write;

use super::figures::{Time, grouped, minute, percent, span};
use super::model::{Quality, Report};
use super::words::{self, counted};
use crate::history::read::Flood;
use crate::telemetry::escape::is_visible;

const WIDTH: usize = 80;

/// Floods that are listed; the latest.
const MOST_FLOODS: usize = 20;

/// Columns of the plot.
const COLUMNS: usize = 48;

pub fn text(report: &Report) -> String {
    let mut out = String::new();
    let subject = words::subject(report);
    put(
        &mut out,
        format_args!("{subject}, {} to {} UTC", minute(report.from), minute(report.until)),
    );
    put(&mut out, format_args!("({})", words::coverage(report)));
    out.push('\n');
    wrapped(&mut out, &words::verdict(report), "");
    if report.is_empty() {
        return out;
    }
    if let Some(besides) = words::besides(report) {
        wrapped(&mut out, &besides, "");
    }
    wrapped(&mut out, &words::honest(report), "");
    figures(&mut out, report);
    over_time(&mut out, report);
    floods(&mut out, report);
    routes(&mut out, report);
    if !report.clients.is_empty() {
        heading(&mut out, "From where: top clients of all floods, with so many events at least");
        for client in &report.clients {
            let (prefix, floods) = (&client.prefix, counted(client.floods, "flood", "floods"));
            let events = grouped(client.at_least);
            put(&mut out, format_args!("  {prefix:<43} {events:>12} events, {floods}"));
        }
    }
    if !report.fills.is_empty() {
        heading(&mut out, "Tables, at their fullest");
        for fill in &report.fills {
            let of = percent(fill.most, fill.capacity);
            let (most, capacity) = (grouped(fill.most), grouped(fill.capacity));
            let name = of_site(report, &fill.site, &fill.what);
            put(&mut out, format_args!("  {name:<32} {most:>12} of {capacity:>12} {of:>9}"));
        }
    }
    out.push('\n');
    let note = "Stopped: requests without a live session that were refused, recycled or answered, each \
                of which could have left a record. Prevented: the same without those that became \
                spares. Written: what the application's answers prove. Who was challenged may have \
                come back. --format html has the definitions in full.";
    wrapped(&mut out, note, "");
    out
}

fn figures(out: &mut String, report: &Report) {
    heading(out, "In numbers");
    let all = &report.all;
    let mut row = |name: &str, count: u64, note: &str| {
        put(out, format_args!("  {name:<26} {:>14}  {note}", grouped(count)));
    };
    row("requests", report.exchanges, "");
    row("records prevented", report.prevented(), "one for each request stopped");
    row("  refused", all.refused, "");
    row("  recycled", all.recycled, "");
    row("  answered", all.answered, "");
    row("made-up cookies removed", all.removed, "from requests");
    row("challenged", all.challenged, "not prevented, for all we know");
    if all.would > 0 {
        row("would have been stopped", all.would, "but were only observed");
    }
    row("records written", all.created, "");
    row("uncertain", all.uncertain, "so many records more at most");
    row("kept as spares", report.spares, "used again for each logout");
    for reason in report.reasons.iter().filter(|reason| reason.kind == "refused") {
        row(&format!("refused: {}", reason.reason), reason.count, "");
    }
    heading(out, "Known sessions               requests    failed    median   99 of 100");
    let known = &report.known;
    for (name, quality) in
        [("all", &known.all), ("during floods", &known.flooded), ("else", &known.quiet)]
    {
        let Quality { exchanges, failed, .. } = quality;
        let (exchanges, failed) = (grouped(*exchanges), grouped(*failed));
        let time = |time: Option<Time>| time.map_or("-".to_owned(), Time::words);
        let (median, p99) = (time(quality.median()), time(quality.p99()));
        put(out, format_args!("  {name:<22} {exchanges:>12} {failed:>9} {median:>9} {p99:>11}"));
    }
}

/// Where something happened at all: requests, prevented and written, one line for some minutes.
fn over_time(out: &mut String, report: &Report) {
    // As many lines as a terminal has.
    let group = report.slots.len().div_ceil(24).max(1);
    let lines: Vec<_> = report
        .slots
        .chunks(group)
        .map(|slots| {
            let sum = |of: fn(&super::model::Slot) -> u64| slots.iter().map(of).sum::<u64>();
            let requests = sum(|slot| slot.verdicts.values().sum());
            let at = slots.first().map_or(0, |slot| slot.at);
            (at, requests, sum(|slot| slot.stopped), sum(|slot| slot.created))
        })
        .collect();
    let most = lines.iter().map(|line| line.2 + line.3).max().unwrap_or(0);
    if most == 0 {
        return;
    }
    heading(out, &format!("Each {}: # stopped, + written", span(report.step * group as u64)));
    for (at, requests, stopped, written) in lines {
        if requests + stopped + written == 0 {
            continue;
        }
        let columns = |count: u64| {
            let columns = (count as f64 * COLUMNS as f64 / most as f64).round() as usize;
            if count > 0 { columns.max(1) } else { 0 }
        };
        let bar = ["#".repeat(columns(stopped)), "+".repeat(columns(written))].concat();
        let number = grouped(stopped);
        put(out, format_args!("  {} {number:>11} {bar}", minute(at)));
    }
}

fn floods(out: &mut String, report: &Report) {
    if report.floods.is_empty() {
        return;
    }
    heading(out, "Floods");
    let skipped = report.floods.len().saturating_sub(MOST_FLOODS);
    if skipped > 0 {
        put(out, format_args!("  (the latest {MOST_FLOODS}; {skipped} before them)"));
    }
    for flood in report.floods.iter().skip(skipped) {
        let Flood { began, last, site, route, events, .. } = flood;
        let (route, state) = (of_site(report, site, route), words::state(flood));
        let long = span(last - began);
        put(out, format_args!("  {}  {route}, {long}, {state}", minute(*began)));
        let (events, clients) = (grouped(*events), words::clients(flood));
        let (mean, peak) = (flood.mean_rate, flood.peak_rate);
        put(
            out,
            format_args!("    {events} events, {mean}/s, up to {peak}/s, from {clients} clients"),
        );
        let reached = |word| grouped(words::tallied(flood, "wrote", Some(word)));
        let of = |kind| grouped(words::tallied(flood, kind, None));
        put(
            out,
            format_args!(
                "    refused {}, recycled {}, written {}, uncertain {}",
                of("refused"),
                of("recycled"),
                reached("created"),
                reached("uncertain")
            ),
        );
        if flood.observed > 0 {
            let observed = grouped(flood.observed);
            put(out, format_args!("    {observed} of the events were only observed"));
        }
        let top: Vec<String> = flood
            .top
            .iter()
            .filter(|(_, at_least, _)| *at_least > 0)
            .map(|(client, at_least, at_most)| {
                let more = if at_most > at_least { "+" } else { "" };
                format!("{client}={}{more}", grouped(*at_least))
            })
            .collect();
        if !top.is_empty() {
            wrapped(out, &format!("top: {}", top.join(" ")), "    ");
        }
    }
}

fn routes(out: &mut String, report: &Report) {
    if report.routes.is_empty() {
        return;
    }
    heading(out, "Routes                         stopped  challenged   written  uncertain");
    for route in &report.routes {
        let name = of_site(report, &route.site, &route.route);
        let [stopped, challenged, written, uncertain] =
            [route.stopped(), route.challenged, route.created, route.uncertain].map(grouped);
        put(
            out,
            format_args!(
                "  {name:<22} {stopped:>14} {challenged:>11} {written:>9} {uncertain:>10}"
            ),
        );
    }
}

/// A name of one of several sites.
fn of_site(report: &Report, site: &str, name: &str) -> String {
    match report.sites.len() {
        0 | 1 => name.to_owned(),
        _ => format!("{site} {name}"),
    }
}

fn heading(out: &mut String, text: &str) {
    out.push('\n');
    put(out, format_args!("{text}"));
}

/// Whoever writes a history chooses the names in it: they drive no terminal, and make no lines.
fn put(out: &mut String, line: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = write!(Plain(out), "{line}");
    while out.ends_with(' ') {
        out.pop();
    }
    out.push('\n');
}

/// Puts a mark in the place of what is not plainly visible.
struct Plain<'a>(&'a mut String);

impl Write for Plain<'_> {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        let plain = |c| if is_visible(c) { c } else { char::REPLACEMENT_CHARACTER };
        self.0.extend(part.chars().map(plain));
        Ok(())
    }
}

/// Breaks lines between words.
fn wrapped(out: &mut String, text: &str, indent: &str) {
    let mut line = indent.to_owned();
    for word in text.split_whitespace() {
        if line.len() > indent.len() && line.len() + 1 + word.len() > WIDTH {
            put(out, format_args!("{line}"));
            line = indent.to_owned();
        }
        if line.len() > indent.len() {
            line.push(' ');
        }
        line += word;
    }
    put(out, format_args!("{line}"));
}
