//! A new configuration put in force while the process runs.
//!
//! It promises that all of it is in force or none: what can go wrong is done before anything is
//! replaced. No connection is dropped, no budget refilled, no session forgotten.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    abandon, alerts, all_or_none, announce, begin, fit, floods, names, place, put_access_log,
    settings, site_settings, tls, upstream,
};
use crate::admin::{self, Source};
use crate::config::{self, Config};
use crate::history::History;
use crate::proxy::core::App;
use crate::proxy::in_force::InForce;
use crate::proxy::settings::{DoorKind, Settings};
use crate::proxy::site::Site;
use crate::proxy::sites::{Place, Sites};
use crate::proxy::tls::client::Client;

/// What a reload needs, and what it leaves behind.
pub(super) struct Reload<'a> {
    app: Arc<App>,
    load: &'a dyn Fn() -> Result<Config, String>,
    history: Option<&'a History>,
    state: Mutex<State>,
}

struct State {
    /// What only a restart changes is as it was read at the start.
    started: Config,
    /// Sites that are in no configuration any more. Their exchanges may still run, so they are
    /// saved and closed at the very end, or taken back by a later reload.
    retired: Vec<Arc<Site>>,
}

impl<'a> Reload<'a> {
    /// `config` is in force, and `load` reads the next one.
    pub(super) fn new(
        app: Arc<App>,
        config: Config,
        load: &'a dyn Fn() -> Result<Config, String>,
        history: Option<&'a History>,
    ) -> Self {
        let state = Mutex::new(State { started: config, retired: Vec::new() });
        Self { app, load, history, state }
    }

    /// Reads the configuration again and puts it in force. What there is to tell, or why the old
    /// one stays.
    pub(super) fn reload(&self) -> Result<String, String> {
        let outcome = self.put_in_force();
        self.app.reloads.note(outcome.is_ok(), self.app.clock.unix_ms());
        outcome
    }

    fn put_in_force(&self) -> Result<String, String> {
        let config = (self.load)()?;
        let mut state = self.state();
        let before = self.app.in_force.load_full();
        let mut settings = next(&config, &before.settings);
        fit(&mut settings);
        // Where it is spoken only a restart changes.
        let tls = tls::begin(&settings, before.tls.as_ref());
        let tls = tls.map_err(|error| error.to_string())?.or_else(|| before.tls.clone());
        let clients = config.sites().iter().map(tls::client).collect::<Result<Vec<_>, _>>();
        let clients = clients.map_err(|error| error.to_string())?;
        let old = |site: &config::Site| {
            let mut old = before.sites.all().iter().chain(&state.retired);
            old.find(|old| old.name == site.name())
        };
        let (cores, clock) = (settings.cores, self.app.clock);
        let new = config.sites().iter().filter(|site| old(site).is_none()).map(|site| {
            let had = before.sites.all().iter().chain(&state.retired).find(|old| {
                let state = old.shield.state.as_ref().map(|state| state.path());
                state.is_some() && state == site.state()
            });
            if let Some(had) = had {
                return Err(format!(
                    "site {}: its state file is that of site {}: only a restart gives a site \
                     another name; without one give it another file",
                    site.name(),
                    had.name
                ));
            }
            let made = begin(&config, site, None, cores, clock, &self.app.seats, &self.app.access);
            made.map_err(|error| format!("site {}: {error}", site.name()))
        });
        let token = admin::token(config.admin().token_file.as_deref());
        let token = token.map_err(|error| error.to_string())?;
        let alerting = alerts::settings(&config).map_err(|error| error.to_string())?;
        let new = all_or_none(new, clock)?;
        let put = put_access_log(&self.app.access, &config).map_err(|error| error.to_string());
        let put = put.and_then(|()| {
            let sample = alerts::put_refusals(&self.app.refusals, &config);
            sample.map_err(|error| error.to_string())
        });
        let put = put.and_then(|()| {
            self.app.alerts.put(alerting).map_err(|error| format!("alerts: no thread: {error}"))
        });
        if let Err(error) = put {
            abandon(&new, clock);
            return Err(error);
        }
        let unchanged = unchanged(&state.started, &config, old);

        // Nothing fails from here on: what is made anew changes what is remembered.
        let mut new = new.into_iter();
        let sites = config.sites().iter().zip(clients);
        let sites = sites.filter_map(|(site, client)| match old(site) {
            Some(old) => Some(self.again(&config, site, old, client)),
            None => new.next(),
        });
        let sites = sites.collect();
        let limits = &settings.downstream_limits;
        self.app.seats.resize(limits.connections, limits.connections_per_client);
        let sites = Sites::new(sites);
        sites.all().iter().for_each(|site| site.shield.telemetry.alert_by(&self.app.alerts));
        let is_in = |site: &Arc<Site>| sites.all().iter().any(|now| now.name == site.name);
        state.retired.retain(|site| !is_in(site));
        let gone = before.sites.all().iter().filter(|site| !is_in(site));
        state.retired.extend(gone.cloned());
        tls::announce(tls.as_ref(), self.app.clock);
        self.app.admin_token.store(token);
        if let Some(history) = self.history {
            // Sites that go are not seen afterwards.
            history.note(self.app.snapshot());
            history.keep(config.history().keep);
        }
        self.app.in_force.store(Arc::new(InForce { settings, sites, tls }));
        announce(&config);
        alerts::announce(&config);
        Ok(match &*unchanged {
            [] => "the configuration is in force".to_owned(),
            keys => format!(
                "the configuration is in force; only a restart changes: {}",
                keys.join(", ")
            ),
        })
    }

    /// The sites that were in force once, when nothing runs any more.
    pub(super) fn into_retired(self) -> Vec<Arc<Site>> {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).retired
    }

    /// A site under a new configuration, with everything that it remembers.
    fn again(
        &self,
        config: &Config,
        site: &config::Site,
        old: &Site,
        client: Option<Arc<Client>>,
    ) -> (Place, Arc<Site>) {
        let policy = site.policy().clone();
        let telemetry = old.shield.telemetry.reconfigured(names(&policy), floods(config));
        let guard = old.shield.reconfigure(policy);
        let shield = Arc::new(old.shield.reconfigured(guard, telemetry));
        let settings = site_settings(site);
        let cores = self.app.in_force.load().settings.cores;
        let before = Some(&*old.upstream);
        let way = upstream(&settings, cores, &self.app.seats, &shield, client, before);
        (place(site), Arc::new(Site::new(site.name(), shield, settings, way)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is put in force for all sites after `before`: what only a restart changes stays.
fn next(config: &Config, before: &Settings) -> Settings {
    let mut settings = settings(config);
    settings.doors.clone_from(&before.doors);
    settings.admin.clone_from(&before.admin);
    settings.cores = before.cores;
    settings.unix_mode = before.unix_mode;
    let spoken = before.doors.iter().find(|door| door.kind == DoorKind::Tls);
    if config.tls().redirect_port == 0
        && let Some(tls) = &mut settings.tls
        && let Some(address) = spoken.and_then(|door| door.address.tcp())
    {
        tls.port = address.port();
    }
    settings
}

/// The keys whose new values only a restart puts in force, after a start with `before`.
fn unchanged<'a>(
    before: &Config,
    after: &Config,
    old: impl Fn(&config::Site) -> Option<&'a Arc<Site>>,
) -> Vec<String> {
    let mut keys = Vec::new();
    let mut note = |differs: bool, key: &str| {
        if differs {
            keys.push(key.to_owned());
        }
    };
    note(before.listen() != after.listen(), "listen");
    note(before.unix_mode() != after.unix_mode(), "unix_mode");
    note(before.tls().listen != after.tls().listen, "tls.listen");
    note(before.tls().redirect != after.tls().redirect, "tls.redirect");
    note(before.admin().listen != after.admin().listen, "admin.listen");
    note(before.history().file != after.history().file, "history.file");
    note(before.cores() != after.cores(), "cores");
    note(before.control() != after.control(), "control");
    note(before.log().format != after.log().format, "log.format");
    note(before.log().level != after.log().level, "log.level");
    for site in after.sites() {
        let of = |key: &str| match site.name() {
            config::Site::ONLY => key.to_owned(),
            name => format!("{key} of site {name}"),
        };
        if let Some(old) = old(site) {
            let state = old.shield.state.as_ref().map(|state| state.path());
            note(state != site.state(), &of("state"));
            for key in old.shield.guard.policy().needs_restart(site.policy()) {
                note(true, &of(key));
            }
        }
    }
    keys
}

#[cfg(test)]
#[path = "reload_tests.rs"]
mod tests;
