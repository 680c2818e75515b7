//! How the process stands at a moment, as plain values: whatever shows it is rendered from this.
//!
//! It promises that no name in it is a stranger's: sites, rules, budgets and servers are the
//! operator's, all else are words of our own.

use std::time::Duration;

use super::flood::FloodRecord;
use super::kept::Kept;
use super::meter::Exchanges;
use super::tally::Tally;
use crate::guard::UnderWay;
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
    pub exchanges: Exchanges,
    /// Exchanges that were kept from writing to the store, and those that would have been in
    /// observe mode; each counts once, whatever happened in it.
    pub prevented: u64,
    pub would_prevent: u64,
    /// What happened on each route, by the name of its rule; of rules that are gone, too.
    pub routes: Vec<(String, Tally)>,
    /// Those that run, as they stand, with the names of their routes.
    pub floods: Vec<(String, FloodRecord)>,
    /// The latest that have ended, oldest first.
    pub past_floods: Vec<PastFlood>,
    pub servers: Vec<ServerSnapshot>,
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
