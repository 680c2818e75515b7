//! A state file as fifteen days of running leave it, so that the ledger is warm from the start.

use std::fs;
use std::time::Duration;

use floodwall::config::{Config, Overrides};
use floodwall::guard::Guard;
use floodwall::guard::key::Secret;
use floodwall::proxy::clock::Clock;

use super::folder::Folder;

/// Writes the state of a guard that began, with this configuration, a day more than a default
/// session lifetime ago and has seen nothing since.
pub fn state(folder: &Folder, configuration: &str) {
    let config = Config::parse("test", configuration.as_bytes(), Overrides::default())
        .expect("a valid configuration");
    let clock = Clock::start();
    let began = clock.now().before(config.policy().session.lifetime + Duration::from_secs(86_400));
    let guard = Guard::new(config.policy().clone(), Secret::new([7; 16]), 0, began);
    let image = guard.snapshot(1, clock.wall(), false, clock.now());
    fs::write(folder.path().join("state"), image).expect("the state can be written");
}
