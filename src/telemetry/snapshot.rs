//! How the process stands at a moment, as plain values: whatever shows it is rendered from this.
//!
//! It promises that no name in it is a stranger's, but for the paths of [`Lesson`], which are fit for
//! a line: sites, rules, budgets and servers are the operator's, all else are words of our own.

use std::time::Duration;

use super::alerts::{Counts, Destination};
use super::flood::{FloodRecord, FloodTotals};
use super::kept::Kept;
use super::lessons::Lesson;
use super::meter::Exchanges;
use super::tally::Tally;
use crate::guard::UnderWay;
use crate::guard::budget::Left;
use crate::guard::moment::Moment;
use crate::guard::status::{Fill, Status};

/// The whole process.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub at: Moment,
    /// The same in milliseconds since 1970.
    pub unix_ms: u64,
    pub uptime: Duration,
    pub version: &'static str,
    pub process: u32,
    pub cores: usize,
    /// It accepts no connections any more.
    pub draining: bool,
    /// Connections of clients.
    pub connections: Fill,
    pub tunnels: Fill,
    /// Lines of the access log that were dropped so far.
    pub lines_dropped: u64,
    pub process_stats: ProcessSnapshot,
    pub reloads: Reloaded,
    /// The file of each certificate in force, and its last second, since 1970.
    pub certificates: Vec<(String, u64)>,
    /// Lines of the refusal sample that were dropped so far.
    pub refusals_dropped: u64,
    /// What became of alerts, by destination.
    pub alerts: [Counts; Destination::ALL.len()],
    /// How well the history is kept, where there is one.
    pub history: Option<Kept>,
    /// What is for no site: it could not be read, or named a host that nobody serves.
    pub no_site: Exchanges,
    pub sites: Vec<SiteSnapshot>,
}

/// One site.
#[derive(Clone, Debug)]
pub struct SiteSnapshot {
    pub name: String,
    /// `enforce` or `observe`.
    pub mode: &'static str,
    pub guard: Status,
    /// When the ledger will be warm, in seconds since 1970.
    pub warm_at: u64,
    pub under_way: UnderWay,
    /// What is left of each budget for the whole site, by its name.
    pub budgets: Vec<(String, Left)>,
    /// `None`: no state is kept.
    pub saved: Option<Saved>,
    pub exchanges: Exchanges,
    /// Exchanges that were kept from writing to the store, and those that would have been in
    /// observe mode; each counts once, whatever happened in it.
    pub prevented: u64,
    pub would_prevent: u64,
    /// What happened on each route, by the name of its rule; of rules that are gone, too.
    pub routes: Vec<(String, Tally)>,
    /// Those that run, as they stand, with the names of their routes.
    pub floods: Vec<(String, FloodRecord)>,
    /// All floods of each route so far, by its name.
    pub flood_totals: Vec<(String, FloodTotals)>,
    /// The latest that have ended, oldest first.
    pub past_floods: Vec<PastFlood>,
    /// What was learned of paths lately, oldest first.
    pub lessons: Vec<Lesson>,
    pub servers: Vec<ServerSnapshot>,
    /// How often requests failed by the upstream, by each word for it.
    pub upstream_failures: Vec<(&'static str, u64)>,
    /// How often clients were held to a limit, by each word for it. What is for no site counts at
    /// the first one.
    pub limits_met: Vec<(&'static str, u64)>,
}

/// What the system says of the process; zero where it does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessSnapshot {
    /// In seconds since 1970.
    pub started_unix_s: f64,
    /// Of all its threads, in the kernel too.
    pub cpu_s: f64,
    pub virtual_bytes: u64,
    pub resident_bytes: u64,
    pub open_files: u64,
    pub most_files: u64,
}

/// How often the configuration was read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloaded {
    pub succeeded: u64,
    pub failed: u64,
    /// True where there was none.
    pub last_succeeded: bool,
    /// When what is in force was put there, in milliseconds since 1970.
    pub in_force_unix_ms: u64,
}

/// How often the state was saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    pub done: u64,
    pub failed: u64,
    /// When it was saved last, in milliseconds since 1970; zero: never.
    pub last_unix_ms: u64,
    /// How long that took.
    pub last_took: Duration,
    pub snapshot_bytes: u64,
    pub journal_bytes: u64,
}

/// A flood that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct PastFlood {
    pub route: String,
    pub record: FloodRecord,
}

/// One server of the application.
#[derive(Clone, Debug)]
pub struct ServerSnapshot {
    /// As in the configuration.
    pub name: String,
    /// Whether requests are sent there.
    pub up: bool,
    /// Exchanges that it has.
    pub exchanges: usize,
    /// Connections that are open, idle ones included.
    pub connections: usize,
    /// Exchanges that wait for one.
    pub waiting: usize,
}

impl SiteSnapshot {
    /// All that happened.
    pub fn tally(&self) -> Tally {
        self.routes.iter().fold(Tally::default(), |sum, (_, tally)| sum.plus(tally))
    }
}

#[cfg(test)]
impl Snapshot {
    /// Of a process that has done nothing yet.
    pub(crate) fn blank() -> Self {
        let fill = Fill { used: 0, capacity: 100 };
        let counts = |destination| Counts {
            destination,
            waiting: 0,
            delivered: 0,
            failed: 0,
            given_up: 0,
            dropped: 0,
        };
        Self {
            at: Moment::from_nanos(0),
            unix_ms: 0,
            uptime: Duration::ZERO,
            version: "1.2.3",
            process: 1,
            cores: 1,
            draining: false,
            connections: fill,
            tunnels: fill,
            lines_dropped: 0,
            process_stats: ProcessSnapshot::default(),
            reloads: Reloaded {
                succeeded: 0,
                failed: 0,
                last_succeeded: true,
                in_force_unix_ms: 0,
            },
            certificates: Vec::new(),
            refusals_dropped: 0,
            alerts: Destination::ALL.map(counts),
            history: None,
            no_site: Exchanges::default(),
            sites: Vec::new(),
        }
    }
}

#[cfg(test)]
impl SiteSnapshot {
    /// The same of a site.
    pub(crate) fn blank(name: &str) -> Self {
        let fill = Fill { used: 0, capacity: 100 };
        Self {
            name: name.to_owned(),
            mode: "enforce",
            guard: Status {
                warmth: crate::guard::fact::Warmth::Warm,
                keys: fill,
                spares: fill,
                clients: fill,
                classes: crate::guard::learned::Classes::default(),
            },
            warm_at: 0,
            under_way: UnderWay::default(),
            budgets: Vec::new(),
            saved: None,
            exchanges: Exchanges::default(),
            routes: Vec::new(),
            prevented: 0,
            would_prevent: 0,
            floods: Vec::new(),
            flood_totals: Vec::new(),
            past_floods: Vec::new(),
            lessons: Vec::new(),
            servers: Vec::new(),
            upstream_failures: Vec::new(),
            limits_met: Vec::new(),
        }
    }
}
