//! Floodwall within the test's process, so that a test can look at what its guard holds.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use floodwall::config::{Config, Overrides, Upstream};
use floodwall::guard::UnderWay;
use floodwall::proxy::clock::Clock;
use floodwall::proxy::core::App;
use floodwall::proxy::passed::Passed;
use floodwall::proxy::run::{Bound, Running};
use floodwall::proxy::shield::Shield;
use floodwall::proxy::start;

use super::load::Target;
use super::single::Single;

/// How long anything may take that is expected to happen.
const DEADLINE: Duration = Duration::from_secs(30);

pub struct Inside {
    pub running: Option<Running>,
    pub app: Arc<App>,
    pub shield: Arc<Shield>,
}

impl Inside {
    /// In front of `upstream`, on a free port, keeping no state.
    pub fn start(upstream: &str, configuration: &str) -> Self {
        Self::start_with(upstream, configuration, |_| {})
    }

    /// The same with settings that no configuration has.
    pub fn start_with(upstream: &str, configuration: &str, set: impl FnOnce(&mut Single)) -> Self {
        let upstream = Some(upstream.parse().expect("an upstream"));
        Self::begin(upstream, configuration, set)
    }

    /// In front of the servers that the configuration names.
    pub fn before(configuration: &str, set: impl FnOnce(&mut Single)) -> Self {
        Self::begin(None, configuration, set)
    }

    fn begin(
        upstream: Option<Upstream>,
        configuration: &str,
        set: impl FnOnce(&mut Single),
    ) -> Self {
        let overrides = Overrides {
            listen: vec!["127.0.0.1:0".parse().expect("an address")],
            upstream,
            state: Some(None),
        };
        let config = Config::parse("test", configuration.as_bytes(), overrides)
            .expect("a valid configuration");
        let clock = Clock::start();
        let site = &config.sites()[0];
        let mut settings =
            Single { shell: start::settings(&config), site: start::site_settings(site) };
        set(&mut settings);
        let shield = start::shield(&config, site, settings.shell.cores, clock);
        let shield = Arc::new(shield.expect("a shield"));
        let app = settings.app(clock, Arc::clone(&shield), |_| {});
        let bound = Bound::new(Arc::clone(&app), Passed::none()).expect("a free port");
        let running = bound.start().expect("it starts");
        Self { running: Some(running), app, shield }
    }

    pub fn target(&self) -> Target {
        let running = self.running.as_ref().expect("it runs");
        let address = running.addresses()[0].tcp().expect("it has an address");
        Target::new(address).expect("it listens on loopback")
    }

    /// Waits until no exchange holds anything any more: neither a budget, nor a key, nor a spare.
    pub fn await_rest(&self) {
        await_that("an exchange keeps what it holds", || {
            self.shield.guard.under_way() == UnderWay::default()
        });
    }

    /// Records kept as spares.
    pub fn spares(&self) -> u64 {
        let (_, spares) = self.shield.guard.sizes();
        spares as u64
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            running.wait().expect("no core panicked");
        }
    }
}

/// Waits for a condition, and fails with `otherwise` if it does not come.
pub fn await_that(otherwise: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{otherwise}");
        thread::yield_now();
    }
}
