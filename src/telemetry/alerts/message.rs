//! What an alert says: rendered once, for all destinations.

use serde_json::{Map, Value, json};

use super::End;
use crate::guard::fact::{Event, Refusal, Write};
use crate::telemetry::flood::{FloodRecord, Phase};
use crate::telemetry::sketch::ClientCount;
use crate::telemetry::tally::Tally;
use crate::telemetry::warmth::rfc3339_ms;

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    FloodStarted,
    FloodEnded,
    /// Somebody tries whether alerts arrive.
    Test,
}

impl Subject {
    /// The word for it in every destination.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::FloodStarted => "flood-started",
            Self::FloodEnded => "flood-ended",
            Self::Test => "test",
        }
    }
}

/// An alert, rendered.
pub(super) struct Message {
    pub(super) subject: Subject,
    /// The same however often it is sent, and another for each message.
    pub(super) id: String,
    /// Of the machine.
    pub(super) host: String,
    pub(super) unix_ms: u64,
    /// One line for people.
    pub(super) text: String,
    /// One JSON object.
    pub(super) body: String,
    /// For journald: names in upper case, and their values.
    pub(super) fields: Vec<(&'static str, String)>,
}

/// A flood that begins or ends.
pub(super) struct Flood<'a> {
    pub(super) host: &'a str,
    pub(super) now_unix_ms: u64,
    pub(super) id: &'a str,
    pub(super) site: &'a str,
    pub(super) route: &'a str,
    pub(super) started_unix_ms: u64,
    /// `None` where it begins.
    pub(super) end: Option<End>,
    pub(super) record: &'a FloodRecord,
}

impl Message {
    /// The start or the end of a flood.
    pub(super) fn of_flood(flood: &Flood<'_>) -> Self {
        let Flood { host, now_unix_ms, id, site, route, end, record, .. } = flood;
        let subject = if end.is_some() { Subject::FloodEnded } else { Subject::FloodStarted };
        let text = text(flood);
        let fields = vec![
            ("FLOODWALL_FLOOD", (*id).to_owned()),
            ("FLOODWALL_SITE", (*site).to_owned()),
            ("FLOODWALL_ROUTE", (*route).to_owned()),
            ("FLOODWALL_EVENTS", record.events.to_string()),
            ("FLOODWALL_CLIENTS", record.clients.number().to_string()),
            ("FLOODWALL_CREATED", record.tally.wrote(Write::Created).to_string()),
        ];
        Self {
            subject,
            id: format!("{id}-{}", subject.word()),
            host: (*host).to_owned(),
            unix_ms: *now_unix_ms,
            body: body(flood, subject, &text).to_string(),
            text,
            fields,
        }
    }

    /// One that says that it is none.
    pub(super) fn of_test(host: &str, unix_ms: u64, id: &str) -> Self {
        let subject = Subject::Test;
        let text = format!("Floodwall on {host}: this is a test, there is no flood");
        let body = json!({
            "text": text, "event": subject.word(), "host": host, "time": rfc3339_ms(unix_ms),
            "version": env!("CARGO_PKG_VERSION"),
        });
        Self {
            subject,
            id: format!("{id}-{}", subject.word()),
            host: host.to_owned(),
            unix_ms,
            text,
            body: body.to_string(),
            fields: Vec::new(),
        }
    }
}

/// The fields of a flood, all of them always.
fn body(flood: &Flood<'_>, subject: Subject, text: &str) -> Value {
    let Flood { host, now_unix_ms, id, site, route, started_unix_ms, end, record } = flood;
    let tally = &record.tally;
    let duration_ms = u64::try_from(record.duration.as_millis()).unwrap_or(u64::MAX);
    let top: Vec<Value> = record
        .top
        .iter()
        .map(|top| {
            let exact = top.at_most == top.at_least;
            json!({ "client": top.client.to_string(), "events": top.at_least, "exact": exact })
        })
        .collect();
    json!({
        "text": text,
        "event": subject.word(),
        "flood": id,
        "host": host,
        "site": site,
        "route": route,
        "time": rfc3339_ms(*now_unix_ms),
        "started_at": rfc3339_ms(*started_unix_ms),
        "ended_at": end.map(|_| rfc3339_ms(started_unix_ms.saturating_add(duration_ms))),
        "ended_by": end.map(End::word),
        "duration_s": record.duration.as_secs_f64(),
        "events": record.events,
        "enforced": record.events - record.observed,
        "observed": record.observed,
        "rate_per_s": record.rate,
        "mean_rate_per_s": record.mean_rate,
        "clients": record.clients.number(),
        "clients_exact": matches!(record.clients, ClientCount::Exactly(_)),
        "top_clients": top,
        "refused": tally.refused(),
        "refused_by": reasons(tally, Event::Refused),
        "would_refuse": tally.would_refuse(),
        "would_refuse_by": reasons(tally, Event::WouldRefuse),
        "would_absorb": tally.count(Event::WouldAbsorb),
        "recycled": tally.count(Event::Recycled),
        "answered": tally.count(Event::Answered),
        "challenged": tally.count(Event::Challenged),
        "removed": tally.count(Event::Removed),
        "stripped": tally.count(Event::Stripped),
        "deleted": tally.count(Event::Deleted),
        "created": tally.wrote(Write::Created),
        "uncertain": tally.wrote(Write::Uncertain),
        "version": env!("CARGO_PKG_VERSION"),
    })
}

/// Those that there were.
fn reasons(tally: &Tally, event: fn(Refusal) -> Event) -> Map<String, Value> {
    let counts = Refusal::ALL.map(|refusal| (refusal.word(), tally.count(event(refusal))));
    let counts = counts.into_iter().filter(|(_, count)| *count > 0);
    counts.map(|(word, count)| (word.to_owned(), count.into())).collect()
}

/// For people who have just woken up.
fn text(flood: &Flood<'_>) -> String {
    let Flood { host, site, route, record, .. } = flood;
    let FloodRecord { events, observed, phase, .. } = record;
    let clients = match record.clients {
        ClientCount::Exactly(number) => number.to_string(),
        ClientCount::AtLeast(number) => format!("at least {number}"),
    };
    let top: Vec<String> =
        record.top.iter().map(|top| format!("{} {}", top.client, top.at_least)).collect();
    let rate = match phase {
        Phase::Started | Phase::Continues => record.rate,
        Phase::Ended => record.mean_rate,
    };
    let after = match phase {
        Phase::Started | Phase::Continues => String::new(),
        Phase::Ended => format!(" after {:.1} s", record.duration.as_secs_f64()),
    };
    let seen = match *observed {
        0 => "refused or absorbed".to_owned(),
        observed if observed == *events => "only observed: the store is not protected".to_owned(),
        observed => format!("refused or absorbed, {observed} of them only observed"),
    };
    let created = record.tally.wrote(Write::Created);
    format!(
        "Floodwall on {host}: {words}{after} on site {site}, route {route}: {events} requests \
         {seen}, {rate} a second, {clients} clients ({top}), {created} sessions created",
        words = phase.words(),
        top = top.join(", "),
    )
}
