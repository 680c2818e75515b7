//! The report as one page that needs nothing else: no script, no font, no request to anybody. Whatever
//! is not ours in it is escaped.

use std::fmt::Write;

use super::figures::{Time, day, friendly, grouped, hour, long_span, minute, percent, short, span};
use super::model::{Quality, Report, Slot};
use super::plot::{Plot, Series, Shape};
use super::words::{self, DEFINITIONS, counted};
use crate::history::read::Flood;

const STYLE: &str = include_str!("style.css");

/// Floods that are listed; the latest.
const MOST_FLOODS: usize = 100;

/// Labels below a plot, about.
const LABELS: u64 = 8;

/// Text as HTML has it, also within quotes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // What no text has may mean something to a browser.
            c if c.is_control() && c != '\n' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

pub fn html(report: &Report) -> String {
    let (subject, period) = (escape(&words::subject(report)), escape(&words::period(report)));
    let mut out = String::new();
    put(
        &mut out,
        format_args!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
             style-src 'unsafe-inline'\">\n<meta name=\"robots\" content=\"noindex\">\n\
             <title>Floodwall report: {subject}, {period}</title>\n<style>\n{STYLE}</style>\n\
             </head>\n<body>\n<main>\n<header><p class=\"kicker\">Floodwall report</p>\
             <h1>{subject}</h1><p class=\"period\">{period} &middot; {}</p></header>\n",
            escape(&words::coverage(report))
        ),
    );
    let open = report.observes() && report.all.stopped() == 0;
    let class = if open { "verdict open" } else { "verdict" };
    put(&mut out, format_args!("<p class=\"{class}\">{}</p>\n", escape(&words::verdict(report))));
    if !report.is_empty() {
        for told in words::besides(report).into_iter().chain([words::honest(report)]) {
            put(&mut out, format_args!("<p>{}</p>\n", escape(&told)));
        }
        cards(&mut out, report);
        plots(&mut out, report);
        floods(&mut out, report);
        clients(&mut out, report);
        routes(&mut out, report);
        reasons(&mut out, report);
        known(&mut out, report);
        tables(&mut out, report);
        definitions(&mut out);
    }
    put(
        &mut out,
        format_args!(
            "<footer>Written by Floodwall {} on {} UTC. All times are UTC.</footer>\n</main>\n\
             </body>\n</html>\n",
            env!("CARGO_PKG_VERSION"),
            friendly(report.generated)
        ),
    );
    out
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = out.write_fmt(text);
}

fn heading(out: &mut String, text: &str) {
    put(out, format_args!("<h2>{}</h2>\n", escape(text)));
}

fn cards(out: &mut String, report: &Report) {
    heading(out, "In numbers");
    out.push_str("<dl class=\"cards\">\n");
    let mut card = |name: &str, class: &str, figure: &str, note: &str| {
        put(
            out,
            format_args!(
                "<div><dt>{}</dt><dd class=\"figure {class}\">{}</dd><dd class=\"note\">{}</dd>\
                 </div>\n",
                escape(name),
                escape(figure),
                escape(note)
            ),
        );
    };
    let all = &report.all;
    let uncertain = match (all.uncertain, report.spares) {
        (0, 0) => "as the answers prove".to_owned(),
        (0, spares) => format!("and {} kept as spares", grouped(spares)),
        (count, spares) => format!("up to {} more, {} spares", grouped(count), grouped(spares)),
    };
    if all.would > 0 {
        let figure = grouped(all.would);
        card("Only observed", "bad", &figure, "requests that would have been stopped");
    }
    let note = "one for each request that was stopped";
    card("Records prevented", "good", &grouped(report.prevented()), note);
    card("Records written", "", &grouped(all.created), &uncertain);
    let flooded: u64 = report.floods.iter().map(|flood| flood.last - flood.began).sum();
    let note = match report.floods.len() {
        0 => "none".to_owned(),
        _ => format!("{} in all", long_span(flooded)),
    };
    card("Floods", "", &grouped(report.floods.len() as u64), &note);
    let note = format!("{} were served", grouped(served(&|word| report.of_verdict(word))));
    card("Requests", "", &grouped(report.exchanges), &note);
    let known = &report.known;
    let p99 = |quality: &Quality| quality.p99().map_or("-".to_owned(), Time::words);
    let note = format!("of {}", counted(known.all.exchanges, "request", "requests"));
    let failed = percent(known.all.failed, known.all.exchanges);
    let class = if known.all.failed == 0 { "good" } else { "" };
    card("Known sessions: failed", class, &failed, &note);
    let note = match known.flooded.p99() {
        Some(time) => format!("{} during floods", time.words()),
        None => "no flood to compare with".to_owned(),
    };
    card("Known sessions: 99 of 100 within", "", &p99(&known.quiet), &note);
    out.push_str("</dl>\n");
}

/// What was sent on as it was.
fn served(of: &dyn Fn(&str) -> u64) -> u64 {
    of("forwarded") + of("tunnelled")
}

fn plots(out: &mut String, report: &Report) {
    heading(out, "Over time");
    let slots: Vec<String> = report
        .slots
        .iter()
        .map(|slot| format!("{} to {}", minute(slot.at), hour(slot.at + report.step)))
        .collect();
    let series = |name, class, of: &dyn Fn(&Slot) -> Option<f64>| Series {
        name,
        class,
        values: report.slots.iter().map(of).collect(),
    };
    let verdict = |word: &'static str| {
        move |slot: &Slot| Some(slot.verdicts.get(word).copied().unwrap_or(0) as f64)
    };
    let other = |slot: &Slot| {
        let of = |word: &str| slot.verdicts.get(word).copied().unwrap_or(0);
        Some((of("rejected") + of("none")) as f64)
    };
    let sent = |slot: &Slot| {
        let of = |word: &str| slot.verdicts.get(word).copied().unwrap_or(0);
        Some(served(&of) as f64)
    };
    let each = long_span(report.step);
    let requests = [
        series("served", "served", &sent),
        series("recycled", "recycled", &verdict("recycled")),
        series("refused", "refused", &verdict("refused")),
        series("challenged", "challenged", &verdict("challenged")),
        series("answered", "answered", &verdict("answered")),
        series("not readable, or for no site", "other", &other),
    ];
    let is_there = |series: &Series| series.values.iter().flatten().any(|value| *value > 0.0);
    let busiest = report.slots.iter().max_by_key(|slot| slot.verdicts.values().sum::<u64>());
    let busiest = busiest.map_or(String::new(), |slot| {
        let requests = slot.verdicts.values().sum();
        format!("; the most, {}, at {}", grouped(requests), minute(slot.at))
    });
    let plot = |id, title, description, shape, series, unit, whole| Plot {
        id,
        title,
        description,
        shape,
        series,
        shaded: shaded(report),
        below: below(report),
        slots: slots.clone(),
        unit,
        whole,
    };
    let all = &report.all;
    let told = format!("What became of requests, per {each}{busiest}.");
    let drawn: Vec<Series> = requests.into_iter().filter(is_there).collect();
    let shape = Shape::Stacked;
    out.push_str(&plot("requests", "Requests", told, shape, drawn, short, true).html());
    let told = format!(
        "By how many the session store could have grown without Floodwall, per {each}: {} were \
         prevented, {} written.",
        grouped(report.prevented()),
        grouped(all.created)
    );
    let drawn = vec![
        series("written", "written", &|slot| Some(slot.created as f64)),
        series("prevented", "prevented", &|slot| Some(slot.stopped as f64)),
    ];
    if drawn.iter().any(is_there) {
        out.push_str(&plot("records", "Records", told, shape, drawn, short, true).html());
    }
    let drawn = vec![
        series("99 of 100 within", "p99", &|slot| slot.times.quantile(0.99).map(Time::ms)),
        series("half of them within", "median", &|slot| slot.times.quantile(0.5).map(Time::ms)),
    ];
    if drawn.iter().any(is_there) {
        let told = "How long requests of known sessions took.".to_owned();
        let (shape, ms) = (Shape::Lines, |ms| Time::About((ms * 1e3) as u64).words());
        out.push_str(&plot("times", "Known sessions' time", told, shape, drawn, ms, false).html());
    }
    numbers(out, report);
}

/// Where floods were, as parts of the plots' width.
fn shaded(report: &Report) -> Vec<(f64, f64)> {
    let (from, until) = ends(report);
    let part = |unix: u64| (unix.clamp(from, until) - from) as f64 / (until - from).max(1) as f64;
    let mut shaded: Vec<(f64, f64)> =
        report.floods.iter().map(|flood| (part(flood.began), part(flood.last + 1))).collect();
    shaded.sort_by(|one, other| one.0.total_cmp(&other.0));
    // What overlaps is not to be darker.
    let mut merged: Vec<(f64, f64)> = Vec::new();
    for (from, until) in shaded {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(until),
            Some(_) | None => merged.push((from, until)),
        }
    }
    merged
}

/// The beginning of the first slot and the end of the last.
fn ends(report: &Report) -> (u64, u64) {
    let at = |slot: Option<&Slot>| slot.map_or(report.from, |slot| slot.at);
    (at(report.slots.first()), at(report.slots.last()) + report.step)
}

/// Round times below a plot.
fn below(report: &Report) -> Vec<(f64, String)> {
    const STEPS: [u64; 14] = [
        60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 604_800,
        2_592_000,
    ];
    let (from, until) = ends(report);
    let long = until - from;
    let fits = |step: &&u64| long / **step <= LABELS;
    let step = STEPS.iter().find(fits).copied().unwrap_or(long / LABELS);
    let first = from.div_ceil(step) * step;
    let label = |at: u64| match (at.is_multiple_of(86_400), step >= 86_400) {
        (true, _) | (_, true) => day(at),
        (false, false) => hour(at),
    };
    (first..until)
        .step_by(usize::try_from(step).unwrap_or(usize::MAX))
        .map(|at| ((at - from) as f64 / long as f64, label(at)))
        .collect()
}

/// The same for whoever does not look at plots.
fn numbers(out: &mut String, report: &Report) {
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

fn floods(out: &mut String, report: &Report) {
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

fn clients(out: &mut String, report: &Report) {
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

fn routes(out: &mut String, report: &Report) {
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

fn reasons(out: &mut String, report: &Report) {
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

fn known(out: &mut String, report: &Report) {
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

fn tables(out: &mut String, report: &Report) {
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

fn definitions(out: &mut String) {
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
