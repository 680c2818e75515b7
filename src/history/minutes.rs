//! From the counts of a process, which only grow, to what each minute had: pure, the time comes with
//! the snapshots.
//!
//! A minute is that of the wall clock. Where that is set back, minutes come again, and whoever keeps
//! them adds them up; where nobody looked for a while, all that happened meanwhile is in the minute
//! in which it began.

use std::collections::HashMap;

use super::words::words;
use crate::guard::moment::Moment;
use crate::guard::route::StandingWord;
use crate::guard::status::Fill;
use crate::telemetry::access::Verdict;
use crate::telemetry::flood::{FloodRecord, Phase};
use crate::telemetry::meter::{BOUNDS_US, Exchanges, Histogram, StatusClass};
use crate::telemetry::sketch::{ClientCount, TopClient};
use crate::telemetry::snapshot::{SiteSnapshot, Snapshot};
use crate::telemetry::tally::{Tally, events};

/// The site of what is for no site.
pub const NO_SITE: &str = "";
/// The standing of what ended before its cookies were read.
const UNREAD: &str = "unread";
/// The verdict of what ended before one was given.
const NO_VERDICT: &str = "none";

/// What happened in a part of a minute, without what did not happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Minute {
    /// Minutes since 1970.
    pub minute: u64,
    pub exchanges: Vec<ExchangeCount>,
    pub events: Vec<EventCount>,
    pub durations: Vec<DurationCount>,
    pub fills: Vec<MostFilled>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeCount {
    pub site: String,
    pub standing: &'static str,
    pub verdict: &'static str,
    pub status: &'static str,
    pub count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventCount {
    pub site: String,
    pub route: String,
    pub kind: &'static str,
    pub detail: &'static str,
    pub count: u64,
}

/// How many exchanges took so long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurationCount {
    pub site: String,
    /// `known`: exchanges of known sessions that were sent on, in all; `other`: all others that
    /// were; `upstream`: until the application's response began.
    pub kind: &'static str,
    /// No longer than this, and longer than the next lower bound, in microseconds; 0: longer than
    /// all bounds.
    pub upto_us: u64,
    pub count: u64,
}

/// How full a table was at most, of all looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MostFilled {
    pub site: String,
    pub what: &'static str,
    pub most: u64,
    pub capacity: u64,
}

/// A flood as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Flood {
    pub site: String,
    pub route: String,
    /// Tells it from other floods of the route: nanoseconds of this process's clock.
    pub first_ns: u64,
    /// Seconds since 1970, of its first and its last event.
    pub began: u64,
    pub last: u64,
    pub ended: bool,
    pub events: u64,
    pub observed: u64,
    pub clients: u64,
    /// Whether there were no more clients than that.
    pub clients_exact: bool,
    pub mean_rate: f64,
    /// Events per second between two looks, at most.
    pub peak_rate: f64,
    /// Kind, detail and count.
    pub tally: Vec<(&'static str, &'static str, u64)>,
    pub top: Vec<TopClient>,
}

/// What a look at the process has shown.
#[derive(Debug, Default)]
pub struct Look {
    /// A minute that is over.
    pub over: Option<Minute>,
    /// The floods that have changed.
    pub floods: Vec<Flood>,
    /// A flood has begun or ended.
    pub news: bool,
}

/// What was told of a process so far.
#[derive(Debug)]
pub struct Minutes {
    minute: u64,
    no_site: Exchanges,
    sites: HashMap<String, Told>,
    fills: HashMap<(String, &'static str), Fill>,
    floods: HashMap<(String, String, Moment), ToldFlood>,
}

#[derive(Debug, Default)]
struct Told {
    exchanges: Exchanges,
    routes: HashMap<String, Tally>,
}

#[derive(Clone, Copy, Debug)]
struct ToldFlood {
    began: u64,
    events: u64,
    at: Moment,
    peak: f64,
    ended: bool,
}

impl Minutes {
    /// Nothing was told yet of a process that has just begun, at this time since 1970.
    pub fn new(unix_ms: u64) -> Self {
        Self {
            minute: unix_ms / 60_000,
            no_site: Exchanges::default(),
            sites: HashMap::new(),
            fills: HashMap::new(),
            floods: HashMap::new(),
        }
    }

    /// Looks at the process. To be done several times a minute, and at the beginning of each.
    pub fn look(&mut self, snapshot: &Snapshot) -> Look {
        let mut look = self.look_at_floods(snapshot);
        self.look_at_fills(snapshot);
        if snapshot.unix_ms / 60_000 != self.minute {
            look.over = Some(self.take(snapshot));
        }
        look
    }

    /// What happened since a minute was taken last, although this one may not be over.
    pub fn take(&mut self, snapshot: &Snapshot) -> Minute {
        let mut minute = Minute { minute: self.minute, ..Minute::default() };
        self.minute = snapshot.unix_ms / 60_000;
        minute.add_exchanges(NO_SITE, &self.no_site, &snapshot.no_site);
        self.no_site = snapshot.no_site.clone();
        for site in &snapshot.sites {
            let told = self.sites.entry(site.name.clone()).or_default();
            let rows = minute.rows();
            minute.add_exchanges(&site.name, &told.exchanges, &site.exchanges);
            for (route, tally) in &site.routes {
                let before = told.routes.entry(route.clone()).or_default();
                minute.add_events(&site.name, route, before, tally);
                *before = tally.clone();
            }
            told.exchanges = site.exchanges.clone();
            if minute.rows() > rows {
                let of_site = self.fills.iter().filter(|((name, _), _)| *name == site.name);
                minute.fills.extend(of_site.map(|((_, what), fill)| MostFilled {
                    site: site.name.clone(),
                    what,
                    most: fill.used as u64,
                    capacity: fill.capacity as u64,
                }));
            }
        }
        self.fills.clear();
        minute
    }

    fn look_at_fills(&mut self, snapshot: &Snapshot) {
        for site in &snapshot.sites {
            for (what, fill) in fills(site) {
                let most = self.fills.entry((site.name.clone(), what)).or_insert(fill);
                let used = most.used.max(fill.used);
                *most = Fill { used, capacity: fill.capacity };
            }
        }
    }

    fn look_at_floods(&mut self, snapshot: &Snapshot) -> Look {
        let mut look = Look::default();
        let mut seen = HashMap::new();
        for site in &snapshot.sites {
            let past = site.past_floods.iter().map(|past| (&past.route, &past.record));
            let running = site.floods.iter().map(|(route, record)| (route, record));
            for (route, record) in past.chain(running) {
                let key = (site.name.clone(), route.clone(), record.first);
                let before = self.floods.get(&key).copied();
                let flood = ToldFlood::after(before, record, snapshot);
                seen.insert(key, flood);
                if before.is_none_or(|before| !before.ended) {
                    look.news |= before.is_none() || flood.ended;
                    look.floods.push(flood_of(&site.name, route, record, flood));
                }
            }
        }
        self.floods = seen;
        look
    }
}

impl Minute {
    /// How many rows it is.
    pub fn rows(&self) -> usize {
        self.exchanges.len() + self.events.len() + self.durations.len() + self.fills.len()
    }

    fn add_exchanges(&mut self, site: &str, before: &Exchanges, after: &Exchanges) {
        let standings = StandingWord::ALL.into_iter().map(Some).chain([None]);
        for standing in standings {
            for verdict in Verdict::ALL.into_iter().map(Some).chain([None]) {
                for class in StatusClass::ALL {
                    let count = |of: &Exchanges| of.count(standing, verdict, class);
                    let count = count(after).saturating_sub(count(before));
                    if count > 0 {
                        self.exchanges.push(ExchangeCount {
                            site: site.to_owned(),
                            standing: standing.map_or(UNREAD, StandingWord::word),
                            verdict: verdict.map_or(NO_VERDICT, Verdict::word),
                            status: class.word(),
                            count,
                        });
                    }
                }
            }
        }
        self.add_durations(site, "known", &before.known_duration, &after.known_duration);
        self.add_durations(site, "other", &before.other_duration, &after.other_duration);
        self.add_durations(site, "upstream", &before.upstream, &after.upstream);
    }

    fn add_durations(
        &mut self,
        site: &str,
        kind: &'static str,
        before: &Histogram,
        after: &Histogram,
    ) {
        let bounds = BOUNDS_US.into_iter().chain([0]);
        for (upto_us, count) in bounds.zip(after.since(before).counts) {
            if count > 0 {
                self.durations.push(DurationCount { site: site.to_owned(), kind, upto_us, count });
            }
        }
    }

    fn add_events(&mut self, site: &str, route: &str, before: &Tally, after: &Tally) {
        for (kind, detail, count) in counts(before, after) {
            let (site, route) = (site.to_owned(), route.to_owned());
            self.events.push(EventCount { site, route, kind, detail, count });
        }
    }
}

impl ToldFlood {
    fn after(before: Option<Self>, record: &FloodRecord, snapshot: &Snapshot) -> Self {
        let ago = |moment: Moment| snapshot.at.since(moment).as_secs();
        // The beginning by the wall clock as it stood when it was seen first.
        let began = (snapshot.unix_ms / 1_000).saturating_sub(ago(record.first));
        let (began, events, at, peak) = match before {
            Some(before) => (before.began, before.events, before.at, before.peak),
            None => (began, 0, record.first, 0.0),
        };
        let ended = record.phase == Phase::Ended;
        // Of one that ended, the time since is no part of it.
        let to = record.first.after(record.duration).max(at);
        let to = if ended { to } else { snapshot.at };
        let rate = (record.events - events.min(record.events)) as f64
            / to.since(at).as_secs_f64().max(1.0);
        let peak = peak.max(rate).max(record.mean_rate);
        Self { began, events: record.events, at: snapshot.at, peak, ended }
    }
}

fn flood_of(site: &str, route: &str, record: &FloodRecord, told: ToldFlood) -> Flood {
    let (clients, clients_exact) = match record.clients {
        ClientCount::Exactly(count) => (count, true),
        ClientCount::AtLeast(count) => (count, false),
    };
    Flood {
        site: site.to_owned(),
        route: route.to_owned(),
        first_ns: record.first.as_nanos(),
        began: told.began,
        last: told.began.saturating_add(record.duration.as_secs()),
        ended: told.ended,
        events: record.events,
        observed: record.observed,
        clients,
        clients_exact,
        mean_rate: record.mean_rate,
        peak_rate: (told.peak * 10.0).round() / 10.0,
        tally: counts(&Tally::default(), &record.tally).collect(),
        top: record.top.clone(),
    }
}

/// What was counted between two tallies, where there is anything.
fn counts(
    before: &Tally,
    after: &Tally,
) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
    events().filter_map(|event| {
        let count = after.count(event).saturating_sub(before.count(event));
        let (kind, detail) = words(event);
        (count > 0).then_some((kind, detail, count))
    })
}

fn fills(site: &SiteSnapshot) -> [(&'static str, Fill); 4] {
    let classes = &site.guard.classes;
    let classes = Fill {
        used: classes.creating + classes.clean + classes.unproven,
        capacity: classes.capacity,
    };
    [
        ("keys", site.guard.keys),
        ("spares", site.guard.spares),
        ("clients", site.guard.clients),
        ("classes", classes),
    ]
}

#[cfg(test)]
#[path = "minutes_tests.rs"]
mod tests;
