//! The tables of the page, and what its words mean.

use super::super::figures::{Time, grouped, minute, percent, short, span};
use super::super::model::Report;
use super::super::words::{self, DEFINITIONS};
use super::{escape, heading, put};
use crate::history::read::Flood;

/// Floods that are listed; the latest.
const MOST_FLOODS: usize = 100;

/// The same for whoever does not look at plots.
pub(super) fn numbers(out: &mut String, report: &Report) {
    out.push_str("<details><summary>The same as numbers</summary>\n");
    let heads = ["From", "Requests", "Stopped", "Written", "Uncertain", "Known: 99 of 100 within"];
    table(out, "Of each part of the time in which something happened", &heads, 1, |row| {
        for slot in &report.slots {
            let requests: u64 = slot.verdicts.values().sum();
            if requests + slot.stopped + slot.created + slot.uncertain > 0 {
                row(&[
                    minute(slot.at),
                    grouped(requests),
                    grouped(slot.stopped),
                    grouped(slot.created),
                    grouped(slot.uncertain),
                    slot.times.quantile(0.99).map_or("-".to_owned(), Time::words),
                ]);
            }
        }
    });
    out.push_str("</details>\n");
}

pub(super) fn floods(out: &mut String, report: &Report) {
    heading(out, "Floods");
    if report.floods.is_empty() {
        out.push_str("<p>There was none.</p>\n");
        return;
    }
    let skipped = report.floods.len().saturating_sub(MOST_FLOODS);
    let caption = match skipped {
        0 => "In the order in which they began".to_owned(),
        _ => format!("The latest {MOST_FLOODS}; {} were before them", grouped(skipped as u64)),
    };
    let heads =
        ["Began", "Route", "Lasted", "Events", "Per second", "Clients", "Written", "Top clients"];
    table(out, &caption, &heads, 2, |row| {
        for flood in report.floods.iter().skip(skipped) {
            let written = words::tallied(flood, "wrote", Some("created"));
            let state = match words::state(flood) {
                "ended" => String::new(),
                state => format!(" ({state})"),
            };
            row(&[
                minute(flood.began),
                of_site(report, &flood.site, &flood.route),
                format!("{}{state}", span(flood.last - flood.began)),
                grouped(flood.events),
                format!("{} (up to {})", short(flood.mean_rate), short(flood.peak_rate)),
                words::clients(flood),
                grouped(written),
                top(flood),
            ]);
        }
    });
}

/// The clients of a flood that had most of it.
fn top(flood: &Flood) -> String {
    let certain = flood.top.iter().filter(|(_, at_least, _)| *at_least > 0).take(3);
    let certain: Vec<String> =
        certain.map(|(client, at_least, _)| format!("{client} ({})", grouped(*at_least))).collect();
    if certain.is_empty() { "none had many".to_owned() } else { certain.join(", ") }
}

pub(super) fn clients(out: &mut String, report: &Report) {
    if report.clients.is_empty() {
        return;
    }
    heading(out, "From where");
    let heads = ["Client", "Events, at least", "Floods"];
    table(out, "The clients that had most events in floods", &heads, 1, |row| {
        for client in &report.clients {
            row(&[client.prefix.clone(), grouped(client.at_least), grouped(client.floods)]);
        }
    });
}

pub(super) fn routes(out: &mut String, report: &Report) {
    if report.routes.is_empty() {
        return;
    }
    heading(out, "On which routes");
    let heads = [
        "Route",
        "Stopped",
        "Refused",
        "Recycled",
        "Answered",
        "Cookies removed",
        "Challenged",
        "Written",
        "Uncertain",
    ];
    table(out, "By the rule that requests fell under", &heads, 1, |row| {
        for route in &report.routes {
            row(&[
                of_site(report, &route.site, &route.route),
                grouped(route.stopped()),
                grouped(route.refused),
                grouped(route.recycled),
                grouped(route.answered),
                grouped(route.removed),
                grouped(route.challenged),
                grouped(route.created),
                grouped(route.uncertain),
            ]);
        }
    });
}

pub(super) fn reasons(out: &mut String, report: &Report) {
    if report.reasons.is_empty() {
        return;
    }
    heading(out, "Why requests were refused");
    table(out, "By reason", &["Reason", "Requests"], 1, |row| {
        for reason in &report.reasons {
            let only = if reason.kind == "refused" { "" } else { " (only observed)" };
            row(&[format!("{}{only}", reason.reason), grouped(reason.count)]);
        }
    });
}

pub(super) fn known(out: &mut String, report: &Report) {
    if report.known.all.exchanges == 0 {
        return;
    }
    heading(out, "Known sessions");
    let heads = ["When", "Requests", "Failed", "Share", "Half of them within", "99 of 100 within"];
    table(out, "Logged-in users, and visitors who came before", &heads, 1, |row| {
        let known = &report.known;
        for (name, quality) in [
            ("All the time", &known.all),
            ("During floods", &known.flooded),
            ("Else", &known.quiet),
        ] {
            let time = |time: Option<Time>| time.map_or("-".to_owned(), Time::words);
            row(&[
                name.to_owned(),
                grouped(quality.exchanges),
                grouped(quality.failed),
                percent(quality.failed, quality.exchanges),
                time(quality.median()),
                time(quality.p99()),
            ]);
        }
    });
}

pub(super) fn fills(out: &mut String, report: &Report) {
    if report.fills.is_empty() {
        return;
    }
    heading(out, "Floodwall's own tables");
    table(out, "At their fullest", &["Table", "Entries", "Room for", "Full"], 1, |row| {
        for fill in &report.fills {
            row(&[
                of_site(report, &fill.site, &fill.what),
                grouped(fill.most),
                grouped(fill.capacity),
                percent(fill.most, fill.capacity),
            ]);
        }
    });
}

pub(super) fn definitions(out: &mut String) {
    heading(out, "What the words mean");
    out.push_str("<dl class=\"words\">\n");
    for (word, means) in DEFINITIONS {
        put(out, format_args!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(word), escape(means)));
    }
    out.push_str("</dl>\n");
}

/// A table whose first `words` columns are text, and the rest numbers; a last one of top clients is
/// text.
fn table(
    out: &mut String,
    caption: &str,
    heads: &[&str],
    words: usize,
    fill: impl FnOnce(&mut dyn FnMut(&[String])),
) {
    let is_text = |index: usize| index < words || heads.get(index) == Some(&"Top clients");
    let class = |index: usize| match index {
        _ if !is_text(index) => " class=\"n\"",
        _ if heads.get(index) == Some(&"Top clients") => "",
        _ => " class=\"k\"",
    };
    put(
        out,
        format_args!(
            "<div class=\"wide\"><table{}><caption>{}</caption><thead><tr>",
            if heads.len() > 5 { " class=\"many\"" } else { "" },
            escape(caption)
        ),
    );
    for (index, head) in heads.iter().enumerate() {
        put(out, format_args!("<th scope=\"col\"{}>{}</th>", class(index), escape(head)));
    }
    out.push_str("</tr></thead><tbody>\n");
    fill(&mut |cells: &[String]| {
        out.push_str("<tr>");
        for (index, cell) in cells.iter().enumerate() {
            let cell = escape(cell);
            match index {
                0 => put(out, format_args!("<th scope=\"row\"{}>{cell}</th>", class(0))),
                _ => put(out, format_args!("<td{}>{cell}</td>", class(index))),
            }
        }
        out.push_str("</tr>\n");
    });
    out.push_str("</tbody></table></div>\n");
}

/// A name of one of several sites.
fn of_site(report: &Report, site: &str, name: &str) -> String {
    match report.sites.len() {
        0 | 1 => name.to_owned(),
        _ => format!("{site}: {name}"),
    }
}
