//! What is plotted of a site: one row of numbers for a span of time.

use serde_json::{Value, json};

use crate::guard::fact::{Event, Refusal, Write};
use crate::guard::moment::Moment;
use crate::guard::route::StandingWord;
use crate::telemetry::access::Verdict;
use crate::telemetry::meter::{Histogram, StatusClass};
use crate::telemetry::snapshot::SiteSnapshot;

/// Columns that count, by their names in the page.
const COUNTS: [&str; 16] = [
    "forwarded",
    "recycled",
    "refused",
    "challenged",
    "answered",
    "tunnelled",
    "rejected",
    "unjudged",
    "known",
    "known_refused",
    "known_failed",
    "created",
    "uncertain",
    "changed",
    "prevented",
    "would_prevent",
];

const COLUMNS: usize = COUNTS.len() + Refusal::ALL.len();

/// Quantiles of the time that exchanges took that were sent on, in this order.
const TIMES: [&str; 4] = ["p50", "p95", "p99", "others_p99"];

/// All counts of a site since its start.
#[derive(Clone, Debug)]
pub(super) struct Counters {
    pub(super) at: Moment,
    counts: [u64; COLUMNS],
    known: Histogram,
    others: Histogram,
}

impl Counters {
    pub(super) fn of(site: &SiteSnapshot, at: Moment) -> Self {
        let (exchanges, tally) = (&site.exchanges, site.tally());
        let known = Some(StandingWord::Known);
        let of_known = |verdict, class| exchanges.count(known, Some(verdict), class);
        let known_refused = [Verdict::Refused, Verdict::Challenged]
            .into_iter()
            .flat_map(|verdict| StatusClass::ALL.map(|class| of_known(verdict, class)));
        let known_failed = [Verdict::Forwarded, Verdict::Recycled, Verdict::Tunnelled];
        let known_failed = known_failed.map(|verdict| of_known(verdict, StatusClass::ServerError));
        let verdicts = Verdict::ALL.map(|verdict| exchanges.of_verdict(Some(verdict)));
        let own = [
            exchanges.of_verdict(None),
            exchanges.of_standing(known),
            known_refused.sum(),
            known_failed.iter().sum(),
            tally.wrote(Write::Created),
            tally.wrote(Write::Uncertain),
            [Write::Rotated, Write::Renewed, Write::Deleted]
                .map(|write| tally.wrote(write))
                .iter()
                .sum(),
            site.prevented,
            site.would_prevent,
        ];
        let reasons = Refusal::ALL.map(|refusal| {
            tally.count(Event::Refused(refusal)) + tally.count(Event::WouldRefuse(refusal))
        });
        let mut counts = [0; COLUMNS];
        let all = verdicts.into_iter().chain(own).chain(reasons);
        counts.iter_mut().zip(all).for_each(|(count, value)| *count = value);
        Self {
            at,
            counts,
            known: exchanges.known_duration.clone(),
            others: exchanges.other_duration.clone(),
        }
    }
}

/// What happened within a span of time.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Its end.
    pub(super) at: Moment,
    span_ms: u32,
    counts: [u32; COLUMNS],
    /// In microseconds.
    times: [Option<u32>; TIMES.len()],
}

impl Sample {
    /// Where a count has gone back, because the site is another one now, nothing happened.
    pub(super) fn between(before: &Counters, after: &Counters) -> Self {
        let mut counts = [0; COLUMNS];
        for (count, (after, before)) in
            counts.iter_mut().zip(after.counts.iter().zip(before.counts))
        {
            *count = u32::try_from(after.saturating_sub(before)).unwrap_or(u32::MAX);
        }
        let known = after.known.since(&before.known);
        let others = after.others.since(&before.others);
        // No time of a histogram is longer than its last bound, half a minute.
        let us = |histogram: &Histogram, q| histogram.quantile_us(q).map(|us| us as u32);
        Self {
            at: after.at,
            span_ms: u32::try_from(after.at.since(before.at).as_millis()).unwrap_or(u32::MAX),
            counts,
            times: [us(&known, 0.5), us(&known, 0.95), us(&known, 0.99), us(&others, 0.99)],
        }
    }

    /// The values of [`names`]; `unix_ms` is its end in milliseconds since 1970. Times are in
    /// milliseconds.
    pub(super) fn row(&self, unix_ms: u64) -> Value {
        let mut row = Vec::with_capacity(2 + COLUMNS + TIMES.len());
        row.extend([json!(unix_ms), json!(self.span_ms)]);
        row.extend(self.counts.iter().map(|count| json!(count)));
        row.extend(self.times.iter().map(|us| json!(us.map(|us| f64::from(us) / 1_000.0))));
        Value::Array(row)
    }
}

/// What the values of a row are.
pub(super) fn names() -> Vec<&'static str> {
    let reasons = Refusal::ALL.map(Refusal::word);
    let names = ["t", "span"].into_iter().chain(COUNTS);
    names.chain(reasons).chain(TIMES).collect()
}
