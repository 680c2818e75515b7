//! From a configuration to a running proxy, and to its end.

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::clock::Clock;
use super::core::App;
use super::descriptors;
use super::failure::Side;
use super::in_force::InForce;
use super::seats::Seats;
use super::settings::{
    Address, Door, DoorKind, DownstreamLimits, Settings, SiteSettings, UpstreamLimits,
};
use super::shield::Shield;
use super::site::Site;
use super::sites::{Host, Place, Sites};
use super::state::{self, StateFile};
use super::tls::pair::Files;
use super::tls::{self, Tls, TlsSettings};
use super::upstream::Upstream;
use crate::config::{self, Config, HostPattern};
use crate::guard::fact::{Notice, Warmth};
use crate::guard::footprint::Footprint;
use crate::guard::moment::Moment;
use crate::guard::policy::{Mode, Unknown};
use crate::guard::route::Rule;
use crate::guard::warmth::WarmUp;
use crate::telemetry::flood::FloodSettings;
use crate::telemetry::{self, Telemetry};

/// Between two looks at what has become due.
const TICK: Duration = Duration::from_secs(1);

/// Between two signs of life in the state; a small part of the absence that matters.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// Between two lines that tell how far the ledger is from being warm.
const BETWEEN_EIGHTHS: Duration = Duration::from_secs(86_400);

/// How long a budget is held for an exchange. What is held does not leak: some hundred clients
/// that drip their uploads would else hold a site's budget for ever.
const HOLD_TIME: Duration = Duration::from_secs(10);

/// Serves until SIGTERM or SIGINT, drains, and saves the state. Everything that is shared is made
/// here, before the first connection, and saved after the last exchange.
pub fn run(config: &Config) -> Result<(), Box<dyn Error>> {
    let clock = Clock::start();
    announce(config);
    let mut settings = settings(config);
    fit(&mut settings);
    let limits = &settings.downstream_limits;
    let seats = Arc::new(Seats::new(limits.connections, limits.connections_per_client));
    let sites = sites(config, clock, &seats)?;
    let tls = settings.tls.as_ref().map(|tls| Tls::new(tls, None)).transpose()?;
    if let Some(tls) = &tls {
        tls.certificates.tell(clock.unix(clock.now()));
    }
    let general = Arc::clone(&sites.all()[0].shield);
    let app = Arc::new(App {
        clock,
        seats,
        in_force: ArcSwap::from_pointee(InForce { settings, sites, tls }),
        failed: Box::new(move |failure, site| {
            let telemetry = &site.map_or(&general, |site| &site.shield).telemetry;
            // What else a client does wrong is its own affair, and nobody's line in the log.
            match failure.side() {
                Side::Upstream => {
                    telemetry.upstream_failed(failure.word(), failure, clock.now());
                }
                Side::Downstream if failure.is_limit() => {
                    telemetry.limited(failure.word(), failure, clock.now());
                }
                Side::Downstream => {}
            }
        }),
    });
    let (stop, stopped) = mpsc::channel();
    let interval = config.save_interval();
    let keeper = {
        let app = Arc::clone(&app);
        thread::Builder::new()
            .name(String::from("keeper"))
            .spawn(move || keep(&app, interval, &stopped))?
    };
    let served = super::run::run(Arc::clone(&app));
    drop(stop);
    let kept = keeper.join();
    for site in app.in_force.load().sites.all() {
        let shield = &site.shield;
        shield.telemetry.finish(clock.now());
        if let Some(state) = &shield.state {
            state.close(&shield.guard)?;
            tracing::info!(site = site.name, "the state is saved");
        }
    }
    served?;
    kept.map_err(|_| "the keeper thread ended by a panic: please report this".into())
}

/// Every site with its guard, and the way to it.
fn sites(config: &Config, clock: Clock, seats: &Arc<Seats>) -> Result<Sites, Box<dyn Error>> {
    let cores = settings(config).cores();
    let made = config.sites().iter().map(|site| {
        let shield = Arc::new(shield(config, site, clock)?);
        let settings = site_settings(site);
        let upstream = Upstream::new(
            settings.upstream.clone(),
            settings.upstream_limits,
            cores,
            clock,
            Arc::clone(seats),
        );
        Ok((place(site), Arc::new(Site::new(site.name(), shield, settings, upstream))))
    });
    made.collect::<Result<_, Box<dyn Error>>>().map(Sites::new)
}

/// The requests that a site is for.
fn place(site: &config::Site) -> Place {
    let host = |host: &HostPattern| match host {
        HostPattern::Exact(host) => Host::Exact(host.clone()),
        HostPattern::Below(host) => Host::Below(host.clone()),
    };
    Place { hosts: site.hosts().iter().map(host).collect(), paths: site.paths().to_vec() }
}

/// The guard with what it remembers, and what tells of it.
pub fn shield(
    config: &Config,
    site: &config::Site,
    clock: Clock,
) -> Result<Shield, Box<dyn Error>> {
    let policy = site.policy().clone();
    let names = policy.rules.iter().map(|rule: &Rule| rule.name.clone()).collect();
    let telemetry = Telemetry::new(names, floods(config), clock.now());
    let (state, guard) = match site.state() {
        Some(path) => {
            let (state, guard) = StateFile::open(path, policy, clock)?;
            (Some(state), guard)
        }
        None => {
            let seed = u64::from_le_bytes(state::random()?);
            (None, state::begin(policy, clock, seed)?)
        }
    };
    Ok(Shield::new(guard, telemetry, state, clock))
}

/// Raises the limit of file descriptors, and lowers that of connections where it must.
fn fit(settings: &mut Settings) {
    let cores = settings.cores();
    let Some(limit) = descriptors::raise() else { return };
    let fitting = descriptors::fitting(limit, cores);
    let connections = &mut settings.downstream_limits.connections;
    if *connections > fitting {
        tracing::warn!(
            descriptors = limit,
            configured = *connections,
            connections = fitting,
            "fewer connections than configured: raise the limit of open files (ulimit -n, LimitNOFILE)"
        );
        *connections = fitting;
    }
}

fn floods(config: &Config) -> FloodSettings {
    let log = config.log();
    FloodSettings {
        events: log.flood_events.get(),
        quiet: log.flood_quiet,
        interval: log.flood_interval,
    }
}

/// Every table that grows with what clients do, and what it takes at most. Connections are no
/// tables: what they take goes with how many there are.
pub fn footprint(config: &Config, site: &config::Site) -> Vec<Footprint> {
    let rules = site.policy().rules.len();
    let telemetry = Footprint {
        table: "telemetry",
        key: "log.flood_events",
        entries: rules + 1,
        bytes: Telemetry::bytes(rules, floods(config)),
    };
    site.policy().footprint().into_iter().chain([telemetry]).collect()
}

fn announce(config: &Config) {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "floodwall starts");
    for site in config.sites() {
        let (name, mode) = (site.name(), site.policy().mode);
        tracing::info!(site = name, upstream = %site.upstream(), mode = mode.word(), "site");
        if mode == Mode::Observe {
            tracing::warn!(
                site = name,
                "observing only: every request is forwarded, and the store is not protected"
            );
        }
        if site.state().is_none() {
            tracing::warn!(
                site = name,
                "no state is kept: a restart forgets every session, and refills every budget"
            );
        }
    }
}

/// Saves the states once each interval, leaves signs of life in them, and says what has become due
/// once a second, until told to stop. On a thread of its own: disks block. Who sleeps here for
/// longer than asked was stopped, and all of the process with it.
fn keep(app: &App, interval: Duration, stopped: &mpsc::Receiver<()>) {
    let mut tellers: HashMap<String, Teller> = HashMap::new();
    let clock = app.clock;
    let (mut ticked, mut saved) = (clock.now(), clock.now());
    let mut lived = saved;
    loop {
        let asleep = clock.now();
        match stopped.recv_timeout(interval.min(TICK)) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = clock.now();
        let missed = WarmUp::absence(asleep.as_nanos(), now.as_nanos());
        let (save, live) = (now.since(saved) >= interval, now.since(lived) >= SIGN_OF_LIFE);
        let tick = now.since(ticked) >= TICK;
        for site in app.in_force.load().sites.all() {
            let shield = &site.shield;
            if let Some(missed) = missed {
                shield.guard.missed(missed, now);
                shield.state.iter().for_each(StateFile::missed);
            }
            if let Some(state) = &shield.state {
                if save {
                    state.save(&shield.guard);
                }
                if live {
                    state.live();
                }
            }
            if tick {
                shield.telemetry.tick(now);
                if shield.guard.policy().session.unknown == Unknown::Auto {
                    tellers.entry(site.name.clone()).or_default().tell(shield, now);
                }
            }
        }
        saved = if save { now } else { saved };
        lived = if live { now } else { lived };
        ticked = if tick { now } else { ticked };
    }
}

/// Tells whether the ledger is warm: when that changes, and how far it is at each eighth of the
/// way, once a day at most.
#[derive(Default)]
struct Teller {
    told: Option<(std::mem::Discriminant<Warmth>, u128, Moment)>,
}

impl Teller {
    fn tell(&mut self, shield: &Shield, now: Moment) {
        let warmth = shield.guard.warmth(now);
        if self.is_worth_telling(warmth, now) {
            let warm_at = shield.warm_at(warmth);
            shield.telemetry.notice(&Notice::Warmth { warmth, warm_at }, now);
        }
    }

    fn is_worth_telling(&mut self, warmth: Warmth, now: Moment) -> bool {
        let (remaining, whole) = warmth.span();
        let seen = whole.saturating_sub(remaining).as_nanos();
        let eighths = seen.saturating_mul(8).checked_div(whole.as_nanos()).unwrap_or(0);
        let kind = std::mem::discriminant(&warmth);
        let worth = self.told.is_none_or(|(told, before, at)| {
            told != kind || (eighths != before && now.since(at) >= BETWEEN_EIGHTHS)
        });
        if worth {
            self.told = Some((kind, eighths, now));
        }
        worth
    }
}

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

/// What the shell must know of a configuration.
pub fn settings(config: &Config) -> Settings {
    let down = config.downstream_limits();
    let of_tls = config.tls();
    let doors = |addresses: &[SocketAddr], kind| {
        let doors = addresses.iter().map(|address| Door { address: *address, kind });
        doors.collect::<Vec<_>>()
    };
    Settings {
        doors: [
            doors(config.listen(), DoorKind::Plain),
            doors(&of_tls.listen, DoorKind::Tls),
            doors(&of_tls.redirect, DoorKind::Redirect),
        ]
        .concat(),
        tls: of_tls.listen.first().map(|first| tls_settings(of_tls, first.port())),
        trusted_proxies: config.trusted_proxies().to_vec(),
        cores: config.cores().map_or(0, NonZeroUsize::get),
        drain_timeout: config.drain_timeout(),
        downstream_limits: DownstreamLimits {
            header_timeout: down.header_timeout,
            idle_timeout: down.idle_timeout,
            body_timeout: down.body_timeout,
            send_timeout: down.send_timeout,
            body_rate: down.body_rate as u64,
            head_bytes: down.head_bytes,
            headers: down.headers,
            target_bytes: down.target_bytes,
            body_bytes: down.body_bytes as u64,
            connections: down.connections,
            connections_per_client: down.connections_per_client,
        },
    }
}

fn tls_settings(tls: &config::Tls, port: u16) -> TlsSettings {
    let files = |files: &config::Certificate| Files {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
    };
    TlsSettings {
        certificates: tls.certificates.iter().map(files).collect(),
        min_version: match tls.min_version {
            config::TlsVersion::Tls12 => tls::Version::Tls12,
            config::TlsVersion::Tls13 => tls::Version::Tls13,
        },
        http2: false,
        port: if tls.redirect_port == 0 { port } else { tls.redirect_port },
    }
}

/// What the shell must know of a site.
pub fn site_settings(site: &config::Site) -> SiteSettings {
    let up = site.upstream_limits();
    SiteSettings {
        upstream: match site.upstream() {
            config::Upstream::Tcp(authority) => {
                Address::Tcp { host: authority.host().to_owned(), port: authority.port() }
            }
            config::Upstream::Unix(path) => Address::Unix(path.clone()),
        },
        hold_time: HOLD_TIME,
        upstream_limits: UpstreamLimits {
            connect_timeout: up.connect_timeout,
            response_timeout: up.response_timeout,
            idle_timeout: up.idle_timeout,
            idle_connections: up.idle_connections,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::fact::Missed;

    #[test]
    fn progress_is_told_at_each_eighth_and_once_a_day_at_most() {
        const HOUR: Duration = Duration::from_secs(3_600);
        for (days, expected) in [(14, 8), (80, 8), (4, 4), (1, 1)] {
            let whole = HOUR * 24 * days;
            let start = Clock::start().now();
            let mut teller = Teller::default();
            let mut told = 0;
            for hour in 0..24 * days {
                let remaining = whole.saturating_sub(HOUR * hour);
                let warmth = Warmth::Cold { missed: Missed::Everything, remaining, whole };
                told += usize::from(teller.is_worth_telling(warmth, start.after(HOUR * hour)));
            }
            assert_eq!(told, expected, "{days} days");
            assert!(teller.is_worth_telling(Warmth::Warm, start.after(whole)));
            assert!(!teller.is_worth_telling(Warmth::Warm, start.after(whole * 9)));
        }
    }
}
