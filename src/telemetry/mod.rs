//! What happened, told to the operator: facts and notices become lines of the log.
//!
//! Nobody can flood the log through Floodwall. No line is written for each request: refusals and
//! absorbed writes become [`flood`] records, some lines a minute for each route, and a [sample of
//! refusals](refusals), some lines a second at most; notices and failures are told once in a while
//! with a count of those left out. What strangers chose (paths, cookie names, error texts) is encoded
//! and cut before it is written. Session keys are in no line, and clients in flood records and that
//! sample only.
//!
//! Time is an argument, except for the timestamps that the log puts before its lines. Knows
//! nothing of the configuration, of runtimes and, but for [`alerts`], of sockets; whoever owns a clock
//! calls [`Telemetry::tick`] once a second.

pub mod access;
pub mod alerts;
pub mod escape;
mod failures;
pub mod flood;
pub mod kept;
pub mod lessons;
pub mod logs;
pub mod meter;
mod notice;
mod quantile;
pub mod refusals;
#[cfg(test)]
mod reload_tests;
mod repeat;
mod routes;
mod servers;
pub mod sketch;
pub mod snapshot;
pub mod status;
pub mod tally;
mod target;
#[cfg(test)]
mod tests;
pub mod warmth;

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use self::alerts::{Alerts, End};
use self::escape::visible;
use self::failures::Failures;
use self::flood::{FloodRecord, FloodSettings, FloodTotals, Floods, Phase, Side};
use self::lessons::{Lesson, Lessons};
use self::meter::{Exchanges, Meter, Meters};
use self::notice::Notices;
use self::routes::Routes;
use self::servers::{Servers, State};
use self::snapshot::PastFlood;
use self::tally::{SharedTally, Tally};
use crate::guard::fact::{Event, Fact, Notice, RouteId, Write};
use crate::guard::moment::Moment;
use crate::guard::route::StandingWord;
use crate::guard::status::Status;

/// What requests that no rule names are called in a line. No rule of the profile's is called so.
const UNNAMED: &str = "(no rule)";

/// All that is told of one site. Shared by the cores.
///
/// Lines are written by whoever calls, and outside all locks.
pub struct Telemetry {
    /// The name of one of several sites, fit for a line.
    site: Option<Arc<str>>,
    floods: Floods,
    notices: Notices,
    /// What happened on each route; of rules that are gone, too.
    tallies: Routes<SharedTally>,
    life: Arc<Life>,
}

/// What does not depend on the configuration.
struct Life {
    /// Told of each flood.
    alerts: OnceLock<Arc<Alerts>>,
    failures: Failures,
    limits: Failures,
    servers: Servers,
    /// Whether it was told of the session of the health checks.
    checks_begin: AtomicBool,
    meters: Meters,
    lessons: Lessons,
    /// Exchanges that the guard kept from writing, and those that it would have.
    prevented: AtomicU64,
    would_prevent: AtomicU64,
    /// The latest floods that have ended, oldest first.
    past: Mutex<VecDeque<PastFlood>>,
    started: Moment,
}

/// So many floods that have ended are remembered.
const MOST_PAST: usize = 20;

impl Telemetry {
    /// `route_names` are the names of the rules, in the order of `RouteId::Rule`.
    pub fn new(route_names: Vec<String>, floods: FloodSettings, now: Moment) -> Self {
        Self::of_site(None, route_names, floods, 1, now)
    }

    /// Of one of several sites, each line says of which; with a meter for each of so many cores.
    pub fn of_site(
        site: Option<&str>,
        route_names: Vec<String>,
        floods: FloodSettings,
        cores: usize,
        now: Moment,
    ) -> Self {
        let site: Option<Arc<str>> = site.map(|site| visible(site).into());
        let names: Vec<String> = route_names.iter().map(visible).collect();
        Self {
            floods: Floods::new(&names, floods),
            notices: Notices::new(site.clone(), &names),
            tallies: Routes::new(&names, SharedTally::default),
            life: Arc::new(Life {
                alerts: OnceLock::new(),
                failures: Failures::of_upstream(site.clone()),
                limits: Failures::of_limits(site.clone()),
                servers: Servers::new(site.clone()),
                checks_begin: AtomicBool::new(false),
                meters: Meters::new(cores),
                lessons: Lessons::default(),
                prevented: AtomicU64::new(0),
                would_prevent: AtomicU64::new(0),
                past: Mutex::default(),
                started: now,
            }),
            site,
        }
    }

    /// Has its floods told by alerts too, from now on and by what follows it after a reload.
    pub fn alert_by(&self, alerts: &Arc<Alerts>) {
        self.life.alerts.get_or_init(|| Arc::clone(alerts));
    }

    /// What tells of the same site under other rules and settings: counts go on, and so do floods,
    /// by the names of the rules; those of rules that are gone end in their time. What began before
    /// may still be told to this one, by the rules of then. From now on only the new one is to be
    /// ticked and finished.
    pub fn reconfigured(&self, route_names: Vec<String>, floods: FloodSettings) -> Self {
        let names: Vec<String> = route_names.iter().map(visible).collect();
        Self {
            site: self.site.clone(),
            floods: self.floods.reconfigured(&names, floods),
            notices: self.notices.reconfigured(&names),
            // A count that is told does not go back.
            tallies: self.tallies.followed_by(&names, SharedTally::default, |_| true),
            life: Arc::clone(&self.life),
        }
    }

    /// Bytes that all of it takes at most, for as many rules and cores.
    pub fn bytes(rules: usize, floods: FloodSettings, cores: usize) -> usize {
        let tallies = (rules + 1) * size_of::<SharedTally>();
        let fixed = size_of::<Self>() + size_of::<Life>() + Lessons::bytes() + Meters::bytes(cores);
        Floods::bytes(rules, floods) + Notices::bytes(rules) + tallies + fixed
    }

    /// Where a core, from 0, counts the exchanges that it carries.
    pub fn meter(&self, core: usize) -> &Arc<Meter> {
        self.life.meters.of(core)
    }

    /// Takes what happened in one exchange. May be called more than once for an exchange, but
    /// what a verdict consists of (a removed cookie, a refusal) belongs into one call, so that a
    /// flood counts it once. Writes a line only if a flood begins.
    pub fn record(&self, facts: &[Fact], now: Moment) {
        for fact in facts {
            self.tallies.of(fact.route).1.add(fact.event);
        }
        match Side::of_all(facts) {
            Some(Side::Enforced) => self.life.prevented.fetch_add(1, Ordering::Relaxed),
            Some(Side::Observed) => self.life.would_prevent.fetch_add(1, Ordering::Relaxed),
            None => 0,
        };
        self.log(&self.floods.record(facts, now), End::Quiet);
    }

    /// Tells the operator, or counts a repeat: the same kind on the same route is told once a
    /// minute at most.
    pub fn notice(&self, notice: &Notice, now: Moment) {
        self.life.lessons.note(notice, now);
        self.notices.tell(notice, now);
    }

    /// Writes a line that says how the guard stands. `warm_at` in seconds since 1970. To be called
    /// when the operator asks.
    pub fn status(&self, status: &Status, warm_at: u64) {
        let Status { warmth, keys, spares, clients, classes } = status;
        let progress = self::warmth::Progress::of(*warmth, warm_at);
        let progress = progress.as_ref();
        tracing::info!(
            site = self.site.as_deref(),
            ledger = if progress.is_none() { "warm" } else { "not warm" },
            seen = progress.map(|progress| &*progress.seen),
            of = progress.map(|progress| &*progress.of),
            warm_at = progress.map(|progress| &*progress.warm_at),
            why = progress.map(|progress| &*progress.why),
            keys = keys.used,
            keys_capacity = keys.capacity,
            spares = spares.used,
            spares_capacity = spares.capacity,
            clients = clients.used,
            clients_capacity = clients.capacity,
            classes_creating = classes.creating,
            classes_clean = classes.clean,
            classes_unproven = classes.unproven,
            classes_capacity = classes.capacity,
            "status"
        );
    }

    /// Tells of a request that the upstream failed: at most one line a second for each `kind`,
    /// which must be a word of our own.
    pub fn upstream_failed(&self, kind: &'static str, detail: &dyn Display, now: Moment) {
        self.life.failures.tell(kind, detail, now);
    }

    /// Tells of a client that was held to a limit: at most one line a minute for each `kind`, which
    /// must be a word of our own.
    pub fn limited(&self, kind: &'static str, detail: &dyn Display, now: Moment) {
        self.life.limits.tell(kind, detail, now);
    }

    /// Tells that nothing is sent to a server any more, if another is left: at most one line a
    /// second for each server.
    pub fn server_down(&self, server: &str, why: &dyn Display, now: Moment) {
        self.life.servers.tell(server, State::down(why), now);
    }

    /// Tells that it is, again.
    pub fn server_up(&self, server: &str, after: Duration, now: Moment) {
        self.life.servers.tell(server, State::Up(after), now);
    }

    /// Tells, once, that the health checks of this path have begun a session.
    pub fn check_begins_session(&self, path: &str) {
        if !self.life.checks_begin.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                site = self.site.as_deref(),
                path = visible(path),
                remedy = "check a path that needs no session; one record is kept for all checks",
                "health checks begin a session"
            );
        }
    }

    /// Writes what has become due. To be called once a second, by one core.
    pub fn tick(&self, now: Moment) {
        self.log(&self.floods.tick(now), End::Quiet);
        self.notices.tick(now);
        self.life.failures.tick(now);
        self.life.limits.tick(now);
        self.life.servers.tick(now);
    }

    /// Writes all that is still to be told: the end of each flood that runs, what was suppressed,
    /// and a summary. To be called once, after the last exchange.
    pub fn finish(&self, now: Moment) {
        self.log(&self.floods.finish(now), End::Stopped);
        self.notices.finish(now);
        self.life.failures.finish(now);
        self.life.limits.finish(now);
        self.life.servers.finish(now);
        self.log_summary(now);
    }

    /// What the rule of a request is called in a line.
    pub fn name(&self, route: RouteId) -> &str {
        self.floods.name(route)
    }

    /// What exchanges were, and how long they took.
    pub fn exchanges(&self) -> Exchanges {
        self.life.meters.read()
    }

    /// Exchanges that the guard kept from writing to the store: refused, challenged, answered,
    /// recycled, or rid of a session cookie that stands for no session. Each counts once.
    pub fn prevented(&self) -> u64 {
        self.life.prevented.load(Ordering::Relaxed)
    }

    /// Those that it would have kept from it, in observe mode.
    pub fn would_prevent(&self) -> u64 {
        self.life.would_prevent.load(Ordering::Relaxed)
    }

    /// The floods that run, as they stand, with the names of their routes.
    pub fn running_floods(&self, now: Moment) -> Vec<(String, FloodRecord)> {
        let named = |record: FloodRecord| (self.floods.name(record.route).to_owned(), record);
        self.floods.running(now).into_iter().map(named).collect()
    }

    /// All floods of each route, by its name; of rules that are gone while they still flood.
    pub fn flood_totals(&self) -> Vec<(String, FloodTotals)> {
        self.floods.totals().map(|(route, totals)| (route.to_owned(), totals)).collect()
    }

    /// How often requests failed by the upstream, by the word for it, where they did.
    pub fn upstream_failures(&self) -> Vec<(&'static str, u64)> {
        self.life.failures.counts()
    }

    /// How often clients were held to a limit, by the word for it, where they were.
    pub fn limits_met(&self) -> Vec<(&'static str, u64)> {
        self.life.limits.counts()
    }

    /// The latest floods that have ended, oldest first.
    pub fn past_floods(&self) -> Vec<PastFlood> {
        self.past().iter().cloned().collect()
    }

    /// What was learned of paths lately, oldest first.
    pub fn lessons(&self) -> Vec<Lesson> {
        self.life.lessons.latest()
    }

    /// What happened on each route, by its name; on those of rules that are gone, too.
    pub fn tallies(&self) -> impl Iterator<Item = (&str, Tally)> {
        self.tallies.all().map(|(route, tally)| (self.tallies.name(route), tally.tally()))
    }

    /// All that happened.
    pub fn tally(&self) -> Tally {
        self.tallies().fold(Tally::default(), |sum, (_, tally)| sum.plus(&tally))
    }

    /// `end` is why those have ended that have.
    fn log(&self, records: &[FloodRecord], end: End) {
        for record in records {
            let (site, route) = (self.site.as_deref(), self.floods.name(record.route));
            record.log(site, route);
            if let Some(alerts) = self.life.alerts.get() {
                alerts.flood(site, route, record, end);
            }
            if record.phase == Phase::Ended {
                let mut past = self.past();
                if past.len() == MOST_PAST {
                    past.pop_front();
                }
                past.push_back(PastFlood { route: route.to_owned(), record: record.clone() });
            }
        }
    }

    fn past(&self) -> MutexGuard<'_, VecDeque<PastFlood>> {
        self.life.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_summary(&self, now: Moment) {
        let exchanges = self.life.meters.read();
        let standing = |word| exchanges.of_standing(Some(word));
        let tally = self.tally();
        tracing::info!(
            site = self.site.as_deref(),
            uptime_s = now.since(self.life.started).as_secs(),
            exchanges = exchanges.total(),
            standing_none = standing(StandingWord::None),
            standing_known = standing(StandingWord::Known),
            standing_unknown = standing(StandingWord::Unknown),
            standing_malformed = standing(StandingWord::Malformed),
            refused = tally.refused(),
            would_refuse = tally.would_refuse(),
            would_absorb = tally.count(Event::WouldAbsorb),
            recycled = tally.count(Event::Recycled),
            answered = tally.count(Event::Answered),
            challenged = tally.count(Event::Challenged),
            removed = tally.count(Event::Removed),
            stripped = tally.count(Event::Stripped),
            deleted = tally.count(Event::Deleted),
            created = tally.wrote(Write::Created),
            rotated = tally.wrote(Write::Rotated),
            renewed = tally.wrote(Write::Renewed),
            records_deleted = tally.wrote(Write::Deleted),
            uncertain = tally.wrote(Write::Uncertain),
            "stopped"
        );
    }
}
