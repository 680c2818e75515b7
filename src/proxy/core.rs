//! What the exchanges of one core share, and what all cores share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::clock::Clock;
use super::failure::Failure;
use super::in_force::InForce;
use super::live::Live;
use super::pace::Alarms;
use super::pulses::Pulses;
use super::reloads::Reloads;
use super::resting::Speakers;
use super::seats::Seats;
use super::site::Site;
use super::tunnels::Tunnels;
use crate::admin::Token;
use crate::guard::moment::Moment;
use crate::telemetry::Telemetry;
use crate::telemetry::access::{AccessLog, Lane};
use crate::telemetry::alerts::Alerts;
use crate::telemetry::kept::KeptCounts;
use crate::telemetry::meter::{Meter, Meters};
use crate::telemetry::refusals::Refusals;

/// What is told of a failed exchange, with the telemetry that it is told to.
pub type Failed = dyn Fn(&Failure, &Telemetry) + Send + Sync;

/// Shared by all cores, and alive after them: what must survive a connection belongs here.
pub struct App {
    pub clock: Clock,
    /// The connections of all cores.
    pub seats: Arc<Seats>,
    /// The tunnels of all cores.
    pub tunnels: Arc<Tunnels>,
    pub access: AccessLog,
    pub alerts: Arc<Alerts>,
    pub refusals: Refusals,
    /// How well the history is kept, where there is one.
    pub history: Option<Arc<KeptCounts>>,
    pub pulses: Pulses,
    pub began: Moment,
    /// What whoever asks the admin listener must know.
    pub admin_token: Arc<ArcSwapOption<Token>>,
    /// Whether no connections are accepted any more.
    pub draining: AtomicBool,
    pub reloads: Reloads,
    /// Of exchanges that are for no site.
    pub meters: Meters,
    /// Replaced by a reload.
    pub in_force: ArcSwap<InForce>,
    /// Told of every failed exchange, once, where it is handled. Must not block: it is called on the threads that move the bytes.
    pub failed: Box<Failed>,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// One core: a thread with a runtime of its own. A connection, its exchanges and the connections
/// to the application that they use stay on it.
#[derive(Debug)]
pub struct Core {
    /// From 0.
    pub index: usize,
    pub app: Arc<App>,
    pub clock: Clock,
    /// Its place in the access log.
    pub access: Arc<Lane>,
    /// Where exchanges are counted that are for no site.
    pub meter: Arc<Meter>,
    /// Shared by all cores.
    pub seats: Arc<Seats>,
    /// Connections of clients.
    pub connections: Live,
    /// Those of them that speak.
    pub speakers: Speakers,
    /// Exchanges, until the response was relayed.
    pub exchanges: Live,
    /// Exchanges that go on though their client has hung up.
    pub detached: Live,
    /// For deadlines of exchanges.
    pub alarms: Alarms,
}

impl Core {
    /// A core with nothing running.
    pub fn new(index: usize, app: Arc<App>) -> Self {
        let (clock, seats) = (app.clock, Arc::clone(&app.seats));
        Self {
            index,
            access: app.access.lane(),
            meter: Arc::clone(app.meters.of(index)),
            app,
            clock,
            seats,
            connections: Live::default(),
            speakers: Speakers::default(),
            exchanges: Live::default(),
            detached: Live::default(),
            alarms: Alarms::default(),
        }
    }

    /// What is in force now.
    pub fn in_force(&self) -> Arc<InForce> {
        self.app.in_force.load_full()
    }

    /// Tells of a failed exchange, to its site or else to the first: the one place where failures
    /// leave the shell.
    pub fn failed(&self, failure: &Failure, site: Option<&Site>) {
        match site {
            Some(site) => (self.app.failed)(failure, &site.shield.telemetry),
            None => {
                if let Some(site) = self.app.in_force.load().sites.all().first() {
                    (self.app.failed)(failure, &site.shield.telemetry);
                }
            }
        }
    }
}
