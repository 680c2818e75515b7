//! What is told of a flood: the record, and its one line in the log.

use std::time::Duration;

use super::Flood;
use crate::guard::fact::{Event, RouteId, Write};
use crate::guard::moment::Moment;
use crate::telemetry::sketch::{ClientCount, TopClient};
use crate::telemetry::tally::Tally;

/// How many of the clients with most events a record names.
const TOP: usize = 5;

/// Where in a flood a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Started,
    Continues,
    Ended,
}

impl Phase {
    pub const ALL: [Self; 3] = [Self::Started, Self::Continues, Self::Ended];

    /// The message of the record in the log.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Started => "flood started",
            Self::Continues => "flood continues",
            Self::Ended => "flood ended",
        }
    }
}

/// A flood as it stands. All counts are from its beginning.
#[derive(Clone, Debug, PartialEq)]
pub struct FloodRecord {
    pub route: RouteId,
    pub phase: Phase,
    /// Of the first event.
    pub first: Moment,
    /// Exchanges that were refused or absorbed, and those that would have been.
    pub events: u64,
    /// How many of `events` were only observed, not enforced.
    pub observed: u64,
    /// All that happened on the route meanwhile, by kind.
    pub tally: Tally,
    /// The clients with most events, at most five.
    pub top: Vec<TopClient>,
    pub clients: ClientCount,
    /// Events per second since the last record, or since the beginning; over at least one second.
    pub rate: f64,
    /// Events per second from the first to the last; over at least one second.
    pub mean_rate: f64,
    /// From the first event to the last.
    pub duration: Duration,
}

impl Flood {
    /// Makes a record and remembers what it told.
    pub(super) fn tell(&mut self, route: RouteId, phase: Phase, now: Moment) -> FloodRecord {
        let record = self.record(route, phase, now);
        self.told = now;
        self.events_told = self.events;
        record
    }

    /// Makes a record.
    pub(super) fn record(&self, route: RouteId, phase: Phase, now: Moment) -> FloodRecord {
        let duration = self.last.since(self.first);
        let clients = self.clients.as_ref();
        FloodRecord {
            route,
            phase,
            first: self.first,
            events: self.events,
            observed: self.observed,
            tally: self.tally.clone(),
            top: clients.map(|clients| clients.top(TOP)).unwrap_or_default(),
            clients: clients.map_or(ClientCount::Exactly(0), |clients| clients.count()),
            rate: per_second(self.events - self.events_told, now.since(self.told)),
            mean_rate: per_second(self.events, duration),
            duration,
        }
    }
}

impl FloodRecord {
    /// Writes the record as one line. `route` is the name of the route, and `site` that of one of
    /// several sites, fit for a line.
    ///
    /// Counts that most floods do not have are left out where they are zero.
    pub(crate) fn log(&self, site: Option<&str>, route: &str) {
        let (clients, clients_at_least) = match self.clients {
            ClientCount::Exactly(count) => (Some(count), None),
            ClientCount::AtLeast(count) => (None, Some(count)),
        };
        let tally = &self.tally;
        tracing::warn!(
            site,
            route,
            events = self.events,
            rate_per_s = self.rate,
            mean_rate_per_s = self.mean_rate,
            duration_s = tenths(self.duration.as_secs_f64()),
            clients,
            clients_at_least,
            top_clients = self.top_clients(),
            enforced = self.events - self.observed,
            observed = self.observed,
            refused = tally.refused(),
            refused_by = tally.refused_by(),
            would_refuse = some(tally.would_refuse()),
            would_refuse_by = tally.would_refuse_by(),
            would_absorb = some(tally.count(Event::WouldAbsorb)),
            recycled = some(tally.count(Event::Recycled)),
            answered = some(tally.count(Event::Answered)),
            challenged = some(tally.count(Event::Challenged)),
            removed = some(tally.count(Event::Removed)),
            stripped = some(tally.count(Event::Stripped)),
            deleted = some(tally.count(Event::Deleted)),
            created = tally.wrote(Write::Created),
            uncertain = tally.wrote(Write::Uncertain),
            "{}",
            self.phase.words()
        );
    }

    /// `198.51.100.7=512 2001:db8::/64=30+`: a plus says that it may be more.
    fn top_clients(&self) -> String {
        let words: Vec<String> = self
            .top
            .iter()
            .map(|top| {
                let more = if top.at_most > top.at_least { "+" } else { "" };
                format!("{}={}{more}", top.client, top.at_least)
            })
            .collect();
        words.join(" ")
    }
}

fn some(count: u64) -> Option<u64> {
    (count > 0).then_some(count)
}

fn per_second(events: u64, span: Duration) -> f64 {
    tenths(events as f64 / span.as_secs_f64().max(1.0))
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
