//! The sentences of a report, the same in all its forms.

use super::figures::{friendly, grouped, long_span, percent};
use super::model::{Quality, Report};
use crate::history::read::Flood;

/// What its numbers mean, and what they do not: a term and its definition.
pub(super) const DEFINITIONS: [(&str, &str); 11] = [
    (
        "Records prevented",
        "One for each request that was stopped: a request without a live session that Floodwall \
         refused, recycled or answered itself. Unprotected, it could have left a record in the \
         session store. The records that are kept as spares are taken off. A client that was \
         challenged may have come back, and does not count.",
    ),
    (
        "Records written",
        "Records that reached the session store for requests without a live session: the \
         application's answers prove them, and a budget paid for them.",
    ),
    (
        "Spares",
        "Empty records that Floodwall had the application make once, and uses again for every \
         anonymous logout. There is a fixed number of them at most.",
    ),
    (
        "Made-up cookies removed",
        "Session cookies that stand for no live session, taken out of requests. On Django before \
         1.4.21, 1.7.9 and 1.8.3 (CVE-2015-5143) a page that reads its session would have left a \
         record for each. They are not among the records prevented, unless their request was \
         stopped as well.",
    ),
    (
        "Uncertain",
        "Answers that do not tell whether a record was written: an error without a session cookie, or \
         no answer. Each is at most one record more.",
    ),
    ("Refused", "Answered with 429 by Floodwall; the application never saw the request."),
    ("Recycled", "An anonymous logout that was given a spare, so that no record was added for it."),
    (
        "Known sessions",
        "Requests with a session that was issued through Floodwall and is alive: logged-in users, and \
         visitors who came before. Times are from the request to the end of the response, and are \
         known by ranges, so that a quantile is a good estimate.",
    ),
    (
        "Flood",
        "An episode of refusals and absorbed writes on one route, from the first to the last. A \
         flood that was cut ended with its process, and the last minute of it is not counted.",
    ),
    ("(no rule)", "The route of all pages that no rule of the configuration names."),
    (
        "Top clients",
        "Addresses, or prefixes of addresses, that certainly had so many events. In a flood from very \
         many there may be none.",
    ),
];

/// What the report is of.
pub(super) fn subject(report: &Report) -> String {
    match (&report.site, &*report.sites) {
        (Some(site), _) => format!("Site {site}"),
        (None, [site]) if site == "default" => "Session store".to_owned(),
        (None, [site]) => format!("Site {site}"),
        (None, []) => "Session store".to_owned(),
        (None, sites) => format!("All {} sites", sites.len()),
    }
}

/// `23 Nov 2026, 09:05 to 24 Nov 2026, 09:05 UTC`.
pub(super) fn period(report: &Report) -> String {
    format!("{} to {} UTC", friendly(report.from), friendly(report.until))
}

/// How much of the time is told of.
pub(super) fn coverage(report: &Report) -> String {
    let whole = report.until.min(report.generated).saturating_sub(report.from);
    let length = long_span(report.until - report.from);
    // The minute that runs is never told of, nor the moment of a restart.
    if report.ran + 150 >= whole {
        length
    } else {
        format!("{length}; Floodwall ran for {} of it", long_span(report.ran))
    }
}

/// The report in a sentence or two.
pub(super) fn verdict(report: &Report) -> String {
    if report.is_empty() {
        return nothing(report);
    }
    let all = &report.all;
    let prevented = report.prevented();
    let mut written = match all.created {
        1 => "1 was written".to_owned(),
        created => format!("{} were written", grouped(created)),
    };
    if all.uncertain > 0 {
        written += &format!(", and up to {} more", grouped(all.uncertain));
    }
    match report.spares {
        0 => {}
        1 => written += ", and 1 is kept as a spare",
        spares => written += &format!(", and {} are kept as spares", grouped(spares)),
    }
    let floods = match &*report.floods {
        [] => "There was no flood.".to_owned(),
        [flood] => format!("There was one flood, of {}.", long_span(flood.last - flood.began)),
        floods => {
            let longest = floods.iter().map(|flood| flood.last - flood.began).max();
            let longest = long_span(longest.unwrap_or_default());
            format!("There were {} floods, the longest of {longest}.", grouped(floods.len() as u64))
        }
    };
    if report.observes() && all.stopped() == 0 {
        return format!(
            "Floodwall only observed: it would have stopped {}, and the session store was not \
             protected. Of records, {written}. {floods}",
            counted(all.would, "request", "requests")
        );
    }
    if prevented == 0 {
        return format!(
            "{floods} Nothing had to be kept out of the session store. Of records, {written}."
        );
    }
    let without = prevented + all.created + report.spares;
    format!(
        "Floodwall kept {} out of the session store, one for each request that it stopped: {} of what \
         there could have been; {written}. {floods}",
        counted(prevented, "record", "records"),
        percent(prevented, without)
    )
}

/// What else was done, where something was.
pub(super) fn besides(report: &Report) -> Option<String> {
    let removed = counted(report.all.removed, "request", "requests");
    (report.all.removed > 0).then(|| {
        format!(
            "A made-up session cookie was removed from {removed}; where Django has CVE-2015-5143 each \
             could have left a record."
        )
    })
}

fn nothing(report: &Report) -> String {
    match report.kept {
        None => {
            "The history is empty: Floodwall writes to it at the end of each minute in which there \
                 were requests."
                .to_owned()
        }
        Some((first, last)) => format!(
            "Nothing is known of this time: there were no requests, or Floodwall did not run. The \
             history has {} to {} UTC.",
            friendly(first),
            friendly(last)
        ),
    }
}

/// `1 request`, `1,234 requests`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// How it went for who has a session.
pub(super) fn honest(report: &Report) -> String {
    let known = &report.known;
    if known.all.exchanges == 0 {
        return "There were no requests of known sessions.".to_owned();
    }
    let whole = format!(
        "Known sessions made {}, of which {} failed ({}).",
        counted(known.all.exchanges, "request", "requests"),
        grouped(known.all.failed),
        percent(known.all.failed, known.all.exchanges),
    );
    let p99 = |quality: &Quality| quality.p99().map(|time| time.words());
    match (p99(&known.flooded), p99(&known.quiet)) {
        (Some(flooded), Some(quiet)) => {
            format!(
                "{whole} 99 of 100 took no more than {flooded} during floods, and {quiet} else."
            )
        }
        (Some(flooded), None) => {
            format!(
                "{whole} 99 of 100 took no more than {flooded}; there was a flood all the time."
            )
        }
        (None, Some(quiet)) => format!("{whole} 99 of 100 took no more than {quiet}."),
        (None, None) => whole,
    }
}

/// A flood's clients: `8`, `10,000+`.
pub(super) fn clients(flood: &Flood) -> String {
    let more = if flood.clients_exact { "" } else { "+" };
    format!("{}{more}", grouped(flood.clients))
}

/// What was counted of a kind in a flood.
pub(super) fn tallied(flood: &Flood, kind: &str, detail: Option<&str>) -> u64 {
    let is = |of: &&(String, String, u64)| of.0 == kind && detail.is_none_or(|word| of.1 == word);
    flood.tally.iter().filter(is).map(|(_, _, count)| count).sum()
}

/// How a flood stands.
pub(super) fn state(flood: &Flood) -> &'static str {
    match &*flood.state {
        "running" => "runs",
        "cut" => "cut",
        _ => "ended",
    }
}
