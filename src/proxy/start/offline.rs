//! What a start would find and do, told without one: nothing is locked, written or listened on.

use std::error::Error;
use std::sync::Arc;

use serde_json::Value;

use super::{floods, names, place, settings, site_settings, upstream};
use crate::config::{self, Config};
use crate::proxy::clock::Clock;
use crate::proxy::explain;
use crate::proxy::seats::Seats;
use crate::proxy::shield::Shield;
use crate::proxy::site::Site;
use crate::proxy::sites::{Place, Sites};
use crate::proxy::state;
use crate::telemetry::{self, Telemetry};

/// What `floodwall check` says of the state that a start would find.
pub fn state_summary(site: &config::Site) -> Option<String> {
    let path = site.state()?;
    let clock = Clock::start();
    Some(match state::peek(path, site.policy().clone(), clock) {
        Ok(None) => "none yet: no session is known at the first start".to_owned(),
        Ok(Some(guard)) => {
            let now = clock.now();
            let warmth = guard.warmth(now);
            let (keys, _) = guard.sizes();
            let warm_at = clock.unix(now.after(warmth.span().0));
            format!("{keys} keys, {}", telemetry::warmth::describe(warmth, warm_at))
        }
        Err(error) => error.to_string(),
    })
}

/// What would become of a request (as [`explain::explain`] takes it) right after a start with this
/// configuration: with what its state files hold, and nothing under way.
///
/// # Errors
/// What is wrong with the request; a state file that cannot be read.
pub fn explain(config: &Config, question: &Value) -> Result<(String, Value), String> {
    let clock = Clock::start();
    let sites = config.sites().iter().map(|site| {
        unstarted(config, site, clock).map_err(|error| format!("site {}: {error}", site.name()))
    });
    let sites = Sites::new(sites.collect::<Result<_, _>>()?);
    explain::explain(&sites, &settings(config).downstream_limits, clock, question)
}

pub(super) fn unstarted(
    config: &Config,
    site: &config::Site,
    clock: Clock,
) -> Result<(Place, Arc<Site>), Box<dyn Error>> {
    let policy = site.policy().clone();
    let telemetry = Telemetry::new(names(&policy), floods(config), clock.now());
    let known = match site.state() {
        Some(path) => state::peek(path, policy.clone(), clock)?,
        None => None,
    };
    let guard = match known {
        Some(guard) => guard,
        None => state::begin(policy, clock, 0)?,
    };
    let shield = Arc::new(Shield::new(guard, telemetry, None, clock));
    let settings = site_settings(site);
    let way = upstream(&settings, 1, &Arc::new(Seats::new(1, 1)), &shield, None, None);
    Ok((place(site), Arc::new(Site::new(site.name(), shield, settings, way))))
}
