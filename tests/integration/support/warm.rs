//! State files as weeks of running leave them, so that the ledger is warm from the start; or would
//! be, but for something.

use std::fs;
use std::time::Duration;

use floodwall::config::{Config, Overrides};
use floodwall::guard::Guard;
use floodwall::guard::image::Wall;
use floodwall::guard::key::Secret;
use floodwall::proxy::clock::Clock;

use super::folder::Folder;

/// Writes the state of a guard that began, with this configuration, a day more than a session
/// lifetime ago and has seen nothing since.
pub fn state(folder: &Folder, configuration: &str) {
    left(folder, configuration, 24 * 3600, Duration::ZERO, |_, _| {});
}

/// The same of one that ran for `longer` seconds than a lifetime before it was stopped, `ago`, and
/// to which this has happened.
pub fn left(
    folder: &Folder,
    configuration: &str,
    longer: i64,
    ago: Duration,
    happened: impl FnOnce(&Guard, Clock),
) {
    let config = Config::parse("test", configuration.as_bytes(), Overrides::default())
        .expect("a valid configuration");
    let clock = Clock::start();
    let lifetime = config.sites()[0].policy().session.lifetime.as_secs();
    let ran = Duration::from_secs(lifetime.saturating_add_signed(longer));
    let began = clock.now().before(ran);
    let guard = Guard::new(config.sites()[0].policy().clone(), Secret::new([7; 16]), 0, began);
    happened(&guard, clock);
    let since_origin = clock.wall().origin_unix_nanos;
    let ago = i128::try_from(ago.as_nanos()).expect("not that long ago");
    let wall = Wall { origin_unix_nanos: since_origin - ago };
    let image = guard.snapshot(1, wall, true, clock.now());
    fs::write(folder.path().join("state"), image).expect("the state can be written");
}
