//! What the exchanges of one core share, and what all cores share.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;

use super::clock::Clock;
use super::failure::Failure;
use super::live::Live;
use super::seats::Seats;
use super::settings::Settings;
use super::shield::Shield;
use super::upstream::Upstream;

/// Shared by all cores, and alive after them: what must survive a connection belongs here.
pub struct App {
    pub clock: Clock,
    pub shield: Arc<Shield>,
    /// Told of every failed exchange, once, where it is handled. Must not block: it is called on
    /// the threads that move the bytes.
    pub failed: Box<dyn Fn(&Failure) + Send + Sync>,
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
    pub settings: Arc<Settings>,
    pub app: Arc<App>,
    pub clock: Clock,
    /// Shared by all cores.
    pub seats: Arc<Seats>,
    pub upstream: Upstream,
    /// Connections of clients.
    pub connections: Live,
    /// Exchanges, until the response was relayed.
    pub exchanges: Live,
    /// Exchanges that go on though their client has hung up.
    pub detached: Live,
    /// The `Host` of a request that names none.
    pub nameless: HeaderValue,
}

impl Core {
    /// A core with nothing running.
    pub fn new(settings: Arc<Settings>, app: Arc<App>, seats: Arc<Seats>) -> Self {
        let clock = app.clock;
        let (address, limits) = (settings.upstream.clone(), settings.upstream_limits);
        let upstream = Upstream::new(address, limits, clock, Arc::clone(&seats));
        let nameless = HeaderValue::from_str(&settings.upstream.host())
            .unwrap_or_else(|_| HeaderValue::from_static("localhost"));
        Self {
            settings,
            app,
            clock,
            seats,
            upstream,
            connections: Live::default(),
            exchanges: Live::default(),
            detached: Live::default(),
            nameless,
        }
    }

    /// Tells of a failed exchange: the one place where failures leave the shell.
    pub fn failed(&self, failure: &Failure) {
        (self.app.failed)(failure);
    }
}
