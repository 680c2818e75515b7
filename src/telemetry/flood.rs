//! Floods: one episode of refusals or absorbed writes on one route, from first to last.
//!
//! Ten million refusals become some tens of records. Time is an argument, nothing is written
//! here, and memory is bounded whatever the attacker does: a ring of the latest events for each
//! route, and one sketch of the clients for each route that was ever flooded. The routes are the
//! operator's.

mod record;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use self::record::{FloodRecord, Phase};
use super::routes::Routes;
use super::sketch::Clients;
use super::tally::{EventSet, Tally};
use crate::guard::client::Client;
use crate::guard::fact::{Event, Fact, RouteId};
use crate::guard::moment::Moment;

/// When a flood begins, is told of, and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodSettings {
    /// This many events within `quiet` begin a flood. 1 to [`Self::MOST_EVENTS`]; what is beyond
    /// is taken as the nearest bound.
    pub events: u32,
    /// This long without an event ends a flood. At least a second.
    pub quiet: Duration,
    /// The time between two records of a flood that continues. At least a second.
    pub interval: Duration,
}

impl FloodSettings {
    /// The most events that may be asked for to begin a flood. The latest are remembered, 32
    /// bytes each, for each route.
    pub const MOST_EVENTS: u32 = 1_000;

    fn within_bounds(self) -> Self {
        Self {
            events: self.events.clamp(1, Self::MOST_EVENTS),
            quiet: self.quiet.max(Duration::from_secs(1)),
            interval: self.interval.max(Duration::from_secs(1)),
        }
    }
}

/// The floods of all routes. Shared by the cores; one short lock for each route, which exchanges
/// without a flood event take only while a flood runs.
pub struct Floods {
    settings: FloodSettings,
    routes: Routes<Route>,
}

impl Floods {
    /// Bytes of all of it, once every route was flooded by many.
    pub fn bytes(rules: usize, settings: FloodSettings) -> usize {
        let events = settings.within_bounds().events as usize;
        let route = size_of::<Route>() + events * size_of::<Seen>() + Clients::bytes();
        (rules + 1) * route
    }

    /// No flood on any of the routes of these names, which are fit for a line, nor on
    /// `RouteId::Unnamed`.
    pub fn new(names: &[String], settings: FloodSettings) -> Self {
        let settings = settings.within_bounds();
        Self { settings, routes: Routes::new(names, || Route::new(settings)) }
    }

    /// The floods of other rules, by other settings. Those that run go on, also where their rule is
    /// gone; exchanges that began before may still be counted by the floods of before.
    pub fn reconfigured(&self, names: &[String], settings: FloodSettings) -> Self {
        let settings = settings.within_bounds();
        let floods = |route: &Route| route.floods.load(Ordering::Relaxed);
        let routes = self.routes.followed_by(names, || Route::new(settings), floods);
        for (_, route) in routes.all() {
            let latest = &mut route.lock().latest;
            latest.reserve((settings.events as usize).saturating_sub(latest.len()));
        }
        Self { settings, routes }
    }

    /// The name of a route that a record tells of, fit for a line.
    pub(super) fn name(&self, route: RouteId) -> &str {
        self.routes.name(route)
    }

    /// Counts what happened in one exchange, and returns the record of each flood that it began.
    ///
    /// An exchange is at most one event of a flood, however many of its facts are flood events: a
    /// request whose invented cookie was removed and that was then refused is one refusal.
    /// Allocates nothing but the records.
    pub fn record(&self, facts: &[Fact], now: Moment) -> Vec<FloodRecord> {
        facts
            .chunk_by(|one, other| one.route == other.route)
            .filter_map(|facts| self.record_on_one_route(facts, now))
            .collect()
    }

    fn record_on_one_route(&self, facts: &[Fact], now: Moment) -> Option<FloodRecord> {
        let (id, route) = self.routes.of(facts.first()?.route);
        let seen = Seen::of(facts, now);
        // A race with the beginning of a flood loses a withheld cookie from its tally, no more.
        if seen.is_none() && !route.floods.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = route.lock();
        if state.floods {
            for fact in facts {
                state.flood.tally.add(fact.event);
            }
            if let Some(seen) = seen {
                state.flood.count(seen);
                state.totals.events += 1;
            }
            return None;
        }
        if !state.begins(seen?, self.settings) {
            return None;
        }
        route.floods.store(true, Ordering::Relaxed);
        Some(state.flood.tell(id, Phase::Started, now))
    }

    /// The records that are due: of floods that continue or have ended. To be called once a
    /// second; a flood ends, and records are written, no sooner than this is called.
    pub fn tick(&self, now: Moment) -> Vec<FloodRecord> {
        self.tell_each(|flood| {
            if now.since(flood.last) >= self.settings.quiet {
                Some((Phase::Ended, now))
            } else if now.since(flood.told) >= self.settings.interval {
                Some((Phase::Continues, now))
            } else {
                None
            }
        })
    }

    /// The floods that run, as they stand. Nothing is remembered of having told them.
    pub fn running(&self, now: Moment) -> Vec<FloodRecord> {
        let mut records = Vec::new();
        for (id, route) in self.routes.all() {
            if route.floods.load(Ordering::Relaxed) {
                let state = route.lock();
                if state.floods {
                    records.push(state.flood.record(id, Phase::Continues, now));
                }
            }
        }
        records
    }

    /// How often it flooded on each route, and how many events all of that had.
    pub(super) fn totals(&self) -> impl Iterator<Item = (&str, FloodTotals)> {
        self.routes.all().map(|(id, route)| (self.routes.name(id), route.lock().totals))
    }

    /// Ends every flood, and returns its record.
    pub fn finish(&self, now: Moment) -> Vec<FloodRecord> {
        self.tell_each(|_| Some((Phase::Ended, now)))
    }

    fn tell_each(&self, due: impl Fn(&Flood) -> Option<(Phase, Moment)>) -> Vec<FloodRecord> {
        let mut records = Vec::new();
        for (id, route) in self.routes.all() {
            if !route.floods.load(Ordering::Relaxed) {
                continue;
            }
            let mut state = route.lock();
            if !state.floods {
                continue;
            }
            let Some((phase, now)) = due(&state.flood) else { continue };
            records.push(state.flood.tell(id, phase, now));
            if phase == Phase::Ended {
                state.floods = false;
                route.floods.store(false, Ordering::Relaxed);
            }
        }
        records
    }
}

/// One route.
struct Route {
    /// The same as in `state`, to be read without the lock.
    floods: AtomicBool,
    state: Mutex<State>,
}

impl Route {
    fn new(settings: FloodSettings) -> Self {
        let latest = VecDeque::with_capacity(settings.events as usize);
        let totals = FloodTotals::default();
        let state = State { latest, floods: false, flood: Flood::none(), totals };
        Self { floods: AtomicBool::new(false), state: Mutex::new(state) }
    }

    /// The counts are telemetry: those that a panic left half made are good enough.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct State {
    /// The latest events while no flood runs, oldest first: no more than begin one, and none
    /// older than the quiet time.
    latest: VecDeque<Seen>,
    floods: bool,
    /// The flood that runs; else the last one, kept for its memory.
    flood: Flood,
    totals: FloodTotals,
}

/// All floods of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FloodTotals {
    /// How many began.
    pub started: u64,
    /// Exchanges that were refused or absorbed in them, and those that would have been.
    pub events: u64,
}

impl State {
    /// Whether a flood begins with `seen`. It began with the oldest of the latest events, and has
    /// all of them in its tally.
    fn begins(&mut self, seen: Seen, settings: FloodSettings) -> bool {
        while let Some(oldest) = self.latest.front()
            && seen.at.since(oldest.at) > settings.quiet
        {
            self.latest.pop_front();
        }
        self.latest.push_back(seen);
        if self.latest.len() < settings.events as usize {
            return false;
        }
        self.floods = true;
        self.totals.started += 1;
        self.totals.events += self.latest.len() as u64;
        self.flood.restart(self.latest.front().map_or(seen.at, |oldest| oldest.at));
        for seen in self.latest.drain(..) {
            self.flood.tally.add_set(seen.events);
            self.flood.count(seen);
        }
        true
    }
}

/// An exchange that is an event of a flood.
#[derive(Clone, Copy)]
struct Seen {
    at: Moment,
    client: Client,
    side: Side,
    /// Everything that happened in it.
    events: EventSet,
}

impl Seen {
    /// What the facts of one exchange on one route are to a flood; `None` if none is an event.
    fn of(facts: &[Fact], at: Moment) -> Option<Self> {
        let (client, side) =
            facts.iter().find_map(|fact| Some((fact.client, Side::of(fact.event)?)))?;
        let mut events = EventSet::default();
        for fact in facts {
            events.insert(fact.event);
        }
        Some(Self { at, client, side, events })
    }
}

/// Whether the guard acted, or observe mode kept it from acting.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Enforced,
    Observed,
}

impl Side {
    /// Of the facts of one exchange.
    pub(super) fn of_all(facts: &[Fact]) -> Option<Self> {
        facts.iter().find_map(|fact| Self::of(fact.event))
    }

    /// The side of a flood event; `None` for an event that makes no flood: withheld cookies and
    /// writes belong to everyday life, and only add to the tally of a flood that runs.
    fn of(event: Event) -> Option<Self> {
        match event {
            Event::Refused(_)
            | Event::Recycled
            | Event::Answered
            | Event::Challenged
            | Event::Removed => Some(Self::Enforced),
            Event::WouldRefuse(_) | Event::WouldAbsorb => Some(Self::Observed),
            Event::Stripped | Event::Deleted | Event::Wrote(_) => None,
        }
    }
}

/// One flood.
struct Flood {
    first: Moment,
    last: Moment,
    /// When the last record was made; the beginning, before there was one.
    told: Moment,
    events: u64,
    /// How many of `events` the last record told of.
    events_told: u64,
    observed: u64,
    tally: Tally,
    /// `None` until the first flood, so that routes without one cost little.
    clients: Option<Box<Clients>>,
}

impl Flood {
    fn none() -> Self {
        let origin = Moment::from_nanos(0);
        Self {
            first: origin,
            last: origin,
            told: origin,
            events: 0,
            events_told: 0,
            observed: 0,
            tally: Tally::default(),
            clients: None,
        }
    }

    /// Begins anew, in the memory of the last one.
    fn restart(&mut self, first: Moment) {
        let mut clients = self.clients.take().unwrap_or_else(|| Box::new(Clients::new()));
        clients.clear();
        *self = Self { first, last: first, told: first, clients: Some(clients), ..Self::none() };
    }

    /// Counts an event. Its tally is added by the caller.
    fn count(&mut self, seen: Seen) {
        // Cores read the clock before they wait for the lock: the order may be another one.
        self.last = self.last.max(seen.at);
        self.events += 1;
        self.observed += u64::from(seen.side == Side::Observed);
        if let Some(clients) = &mut self.clients {
            clients.add(seen.client);
        }
    }
}
