//! Everything that a report tells, worked out of a history.

use std::collections::BTreeMap;

use super::figures::{Buckets, Time};
use crate::history::read::{Flood, MostFilled, Reader, Reason, Route, Span};

/// Slots of a plot, at most.
const MOST_SLOTS: u64 = 96;

/// How long a slot may be, in minutes.
const STEPS: [u64; 15] =
    [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1_440, 2_880, 10_080, 43_200];

/// Clients that are named.
const MOST_CLIENTS: usize = 10;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Seconds since 1970; whole minutes are told, those that it touches.
    pub from: u64,
    pub until: u64,
    pub now: u64,
    /// `None`: all sites.
    pub site: Option<String>,
}

/// A report. Times are in seconds since 1970.
#[derive(Clone, Debug)]
pub struct Report {
    pub generated: u64,
    pub from: u64,
    pub until: u64,
    /// `None`: all sites.
    pub site: Option<String>,
    /// Those that the history knows.
    pub sites: Vec<String>,
    /// The first minute that the history has, and the end of the last.
    pub kept: Option<(u64, u64)>,
    /// For how long of the span Floodwall ran.
    pub ran: u64,
    pub exchanges: u64,
    /// By verdict, most first.
    pub verdicts: Vec<(String, u64)>,
    /// Over all routes.
    pub all: Route,
    /// Records that are kept as spares, at most.
    pub spares: u64,
    /// Each route of each site where anything but plain answers happened, most stopped first.
    pub routes: Vec<Route>,
    pub reasons: Vec<Reason>,
    pub known: KnownSessions,
    pub floods: Vec<Flood>,
    /// The clients with most events in all floods.
    pub clients: Vec<Client>,
    pub fills: Vec<MostFilled>,
    /// Seconds of a slot.
    pub step: u64,
    pub slots: Vec<Slot>,
}

/// How it went for who has a session.
#[derive(Clone, Debug, Default)]
pub struct KnownSessions {
    pub all: Quality,
    /// In minutes that had a flood.
    pub flooded: Quality,
    /// In all others.
    pub quiet: Quality,
}

#[derive(Clone, Debug, Default)]
pub struct Quality {
    pub exchanges: u64,
    /// With a status of 500 or above.
    pub failed: u64,
    pub times: Buckets,
}

impl Quality {
    pub fn median(&self) -> Option<Time> {
        self.times.quantile(0.5)
    }

    pub fn p99(&self) -> Option<Time> {
        self.times.quantile(0.99)
    }
}

/// A client's part in floods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub prefix: String,
    /// Events, at least.
    pub at_least: u64,
    pub floods: u64,
}

/// A part of the span.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    /// Its beginning.
    pub at: u64,
    /// By verdict.
    pub verdicts: BTreeMap<String, u64>,
    /// Requests that were stopped.
    pub stopped: u64,
    pub created: u64,
    pub uncertain: u64,
    /// Requests that there would have been no answer to, had it not only observed.
    pub would: u64,
    /// Of known sessions.
    pub times: Buckets,
    pub failed: u64,
}

impl Report {
    /// Reads what is asked of a history.
    pub fn read(reader: &Reader, ask: &Ask) -> rusqlite::Result<Self> {
        let (from, until) = (ask.from / 60, ask.until.div_ceil(60).max(ask.from / 60 + 1));
        let minutes = until - from;
        let fits = |step: &&u64| minutes.div_ceil(**step) < MOST_SLOTS;
        let step = STEPS.iter().find(fits).copied().unwrap_or_else(|| minutes.div_ceil(MOST_SLOTS));
        let span = Span { from, until, step, site: ask.site.clone() };
        reader.note_floods(&span)?;
        let mut report = Self {
            generated: ask.now,
            from: from * 60,
            until: until * 60,
            site: ask.site.clone(),
            sites: reader.sites()?,
            kept: reader.minutes()?.map(|(first, last)| (first * 60, last * 60 + 60)),
            ran: ran(reader, &span)?,
            exchanges: 0,
            verdicts: Vec::new(),
            all: Route::default(),
            spares: 0,
            routes: Vec::new(),
            reasons: reader.reasons(&span)?,
            known: KnownSessions::default(),
            floods: reader.floods(&span)?,
            clients: Vec::new(),
            fills: reader.fills(&span)?,
            step: step * 60,
            slots: Vec::new(),
        };
        let mut slots = (from / step..=(until - 1) / step)
            .map(|slot| (slot * step, Slot { at: slot * step * 60, ..Slot::default() }))
            .collect();
        report.add_exchanges(reader, &span, &mut slots)?;
        report.add_routes(reader, &span, &mut slots)?;
        report.add_known(reader, &span, &mut slots)?;
        report.slots = slots.into_values().collect();
        let spares = report.fills.iter().filter(|fill| fill.what == "spares");
        report.spares = spares.map(|fill| fill.most).sum();
        report.clients = clients(&report.floods);
        Ok(report)
    }

    /// Whether anything was kept of the span.
    pub fn is_empty(&self) -> bool {
        self.exchanges == 0 && self.floods.is_empty()
    }

    /// Whether something would have been done, and was only observed.
    pub fn observes(&self) -> bool {
        self.all.would > 0
    }

    /// Records that were prevented: one for each request that was stopped, but for those that became
    /// spares.
    pub fn prevented(&self) -> u64 {
        self.all.stopped().saturating_sub(self.spares)
    }

    /// The numbers of a verdict.
    pub fn of_verdict(&self, word: &str) -> u64 {
        self.verdicts.iter().find(|(verdict, _)| verdict == word).map_or(0, |(_, count)| *count)
    }

    fn add_exchanges(
        &mut self,
        reader: &Reader,
        span: &Span,
        slots: &mut BTreeMap<u64, Slot>,
    ) -> rusqlite::Result<()> {
        let mut verdicts: BTreeMap<String, u64> = BTreeMap::new();
        for row in reader.exchanges(span)? {
            self.exchanges += row.count;
            *verdicts.entry(row.verdict.clone()).or_default() += row.count;
            if let Some(slot) = slots.get_mut(&row.slot) {
                *slot.verdicts.entry(row.verdict).or_default() += row.count;
                if row.standing == "known" && row.status == "5xx" {
                    slot.failed += row.count;
                }
            }
        }
        self.verdicts = verdicts.into_iter().collect();
        self.verdicts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Ok(())
    }

    fn add_routes(
        &mut self,
        reader: &Reader,
        span: &Span,
        slots: &mut BTreeMap<u64, Slot>,
    ) -> rusqlite::Result<()> {
        let mut routes: BTreeMap<(String, String), Route> = BTreeMap::new();
        for row in reader.routes(span)? {
            add(&mut self.all, &row);
            if let Some(slot) = slots.get_mut(&row.slot) {
                slot.stopped += row.stopped();
                slot.created += row.created;
                slot.uncertain += row.uncertain;
                slot.would += row.would;
            }
            let sum = routes.entry((row.site.clone(), row.route.clone())).or_insert_with(|| {
                Route { site: row.site.clone(), route: row.route.clone(), ..Route::default() }
            });
            add(sum, &row);
        }
        let is_worth_telling = |route: &Route| {
            route.stopped() + route.would + route.challenged + route.created > 0
                || route.removed + route.uncertain > 0
        };
        self.routes = routes.into_values().filter(is_worth_telling).collect();
        self.routes.sort_by_key(|route| std::cmp::Reverse((route.stopped(), route.created)));
        Ok(())
    }

    fn add_known(
        &mut self,
        reader: &Reader,
        span: &Span,
        slots: &mut BTreeMap<u64, Slot>,
    ) -> rusqlite::Result<()> {
        let KnownSessions { all, flooded, quiet } = &mut self.known;
        for row in reader.known(span)? {
            for quality in [&mut *all, if row.flooded { &mut *flooded } else { &mut *quiet }] {
                quality.exchanges += row.exchanges;
                quality.failed += row.failed;
            }
        }
        for row in reader.known_durations(span)? {
            let times = [
                &mut all.times,
                &mut match row.flooded {
                    true => &mut *flooded,
                    false => &mut *quiet,
                }
                .times,
            ];
            for times in times {
                times.add(row.upto_us, row.count);
            }
            if let Some(slot) = slots.get_mut(&row.slot) {
                slot.times.add(row.upto_us, row.count);
            }
        }
        Ok(())
    }
}

/// For how many seconds of a span Floodwall ran; times in which two processes did count once.
fn ran(reader: &Reader, span: &Span) -> rusqlite::Result<u64> {
    let (from, until) = (span.from * 60, span.until * 60);
    let (mut ran, mut upto) = (0, from);
    for run in reader.runs(span)? {
        let began = run.began.max(upto);
        let seen = run.seen.min(until);
        ran += seen.saturating_sub(began);
        upto = upto.max(seen);
    }
    Ok(ran)
}

fn add(sum: &mut Route, row: &Route) {
    sum.refused += row.refused;
    sum.recycled += row.recycled;
    sum.answered += row.answered;
    sum.removed += row.removed;
    sum.challenged += row.challenged;
    sum.would += row.would;
    sum.created += row.created;
    sum.uncertain += row.uncertain;
}

fn clients(floods: &[Flood]) -> Vec<Client> {
    let mut clients: BTreeMap<&str, Client> = BTreeMap::new();
    for flood in floods {
        // Of a flood from many addresses nobody may certainly have had more than none.
        for (prefix, at_least, _) in flood.top.iter().filter(|(_, at_least, _)| *at_least > 0) {
            let client = clients.entry(prefix).or_insert_with(|| Client {
                prefix: prefix.clone(),
                at_least: 0,
                floods: 0,
            });
            client.at_least += at_least;
            client.floods += 1;
        }
    }
    let mut clients: Vec<Client> = clients.into_values().collect();
    clients.sort_by_key(|client| std::cmp::Reverse(client.at_least));
    clients.truncate(MOST_CLIENTS);
    clients
}
