//! The report as one page that needs nothing else: no script, no font, no request to anybody. Whatever
//! is not ours in it is escaped.

mod tables;

use std::fmt::Write;

use super::figures::{Time, day, friendly, grouped, hour, long_span, minute, percent, short};
use super::model::{Quality, Report, Slot};
use super::plot::{Plot, Series, Shape};
use super::words::{self, counted};

const STYLE: &str = include_str!("style.css");

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
        tables::floods(&mut out, report);
        tables::clients(&mut out, report);
        tables::routes(&mut out, report);
        tables::reasons(&mut out, report);
        tables::known(&mut out, report);
        tables::fills(&mut out, report);
        tables::definitions(&mut out);
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
    tables::numbers(out, report);
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
