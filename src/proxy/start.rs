//! From a configuration to a running proxy, and to its end.

mod offline;
mod reload;
mod tls;

use std::error::Error;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;

pub use self::offline::{explain, state_summary};
use self::reload::Reload;
pub use self::tls::summary as certificates;
use super::balance::Method;
use super::clock::Clock;
use super::control::Control;
use super::core::App;
use super::descriptors;
use super::failure::Side;
use super::health::{Change, ReturnBy, Rules, Thresholds};
use super::in_force::InForce;
use super::keeper;
use super::passed::Passed;
use super::pulses::Pulses;
use super::run::Orders;
use super::seats::Seats;
use super::settings::{
    Address, CheckSettings, Door, DoorAddress, DoorKind, DownstreamLimits, ServerSettings,
    Settings, SiteSettings, UpstreamLimits, UpstreamSettings,
};
use super::shield::Shield;
use super::site::Site;
use super::sites::{Host, Place, Sites};
use super::state::{self, StateError, StateFile};
use super::tls::client::Client;
use super::upstream::{Told, Upstream};
use crate::config::{self, AccessFormat, Config, HostPattern, Listen};
use crate::guard::footprint::Footprint;
use crate::guard::policy::{Mode, Policy};
use crate::guard::route::Rule;
use crate::telemetry::Telemetry;
use crate::telemetry::access::{AccessLog, Format, OpenError};
use crate::telemetry::flood::FloodSettings;

/// How long a budget is held for an exchange. What is held does not leak: some hundred clients
/// that drip their uploads would else hold a site's budget for ever.
const HOLD_TIME: Duration = Duration::from_secs(10);

/// Serves until SIGTERM or SIGINT, drains, and saves the state. Everything that is shared is made
/// here, before the first connection, and saved after the last exchange. `load` reads the
/// configuration again, for a reload; its error is what `floodwall check` would say.
pub fn run(
    config: Config,
    load: &dyn Fn() -> Result<Config, String>,
) -> Result<(), Box<dyn Error>> {
    let clock = Clock::start();
    announce(&config);
    let mut settings = settings(&config);
    fit(&mut settings);
    let tls = tls::begin(&settings, None)?;
    tls::announce(tls.as_ref(), clock);
    let passed = Passed::by_systemd()?;
    let control = config.control().map(|path| Control::bind(path, false)).transpose()?;
    let limits = &settings.downstream_limits;
    let seats = Arc::new(Seats::new(limits.connections, limits.connections_per_client));
    let cores = settings.cores();
    let sites = config.sites().iter().map(|site| begin(&config, site, cores, clock, &seats));
    let sites = sites.collect::<Result<_, _>>().map(Sites::new)?;
    let access = AccessLog::off();
    put_access_log(&access, &config)?;
    let app = Arc::new(App {
        clock,
        seats,
        access,
        pulses: Pulses::new(cores),
        in_force: ArcSwap::from_pointee(InForce { settings, sites, tls }),
        failed: Box::new(move |failure, telemetry| {
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
    let keeper = {
        let app = Arc::clone(&app);
        thread::Builder::new()
            .name(String::from("keeper"))
            .spawn(move || keeper::keep(&app, &stopped))?
    };
    let reload = Reload::new(Arc::clone(&app), config, load);
    let orders = Orders { control: control.as_ref(), reload: &|| reload.reload() };
    let served = super::run::run(Arc::clone(&app), passed, &orders);
    drop(stop);
    let kept = keeper.join();
    app.access.finish(clock.now());
    let retired = reload.into_retired();
    for site in app.in_force.load().sites.all().iter().chain(&retired) {
        close(site, clock)?;
    }
    served?;
    kept.map_err(|_| "the keeper thread ended by a panic: please report this".into())
}

/// Puts the access log of a configuration in force, or leaves all as it was.
fn put_access_log(access: &AccessLog, config: &Config) -> Result<(), OpenError> {
    let format = match config.access_log().format {
        AccessFormat::Off => Format::Off,
        AccessFormat::Common => Format::Common,
        AccessFormat::Combined => Format::Combined,
        AccessFormat::Json => Format::Json,
    };
    access.put(format, config.access_log().file.as_deref())
}

/// Tells and saves what there is to tell and to save of a site at its end.
fn close(site: &Site, clock: Clock) -> Result<(), StateError> {
    let shield = &site.shield;
    shield.telemetry.finish(clock.now());
    if let Some(state) = &shield.state {
        state.close(&shield.guard)?;
        tracing::info!(site = site.name, "the state is saved");
    }
    Ok(())
}

/// A site that nothing is known of but what its state file says.
fn begin(
    config: &Config,
    site: &config::Site,
    cores: usize,
    clock: Clock,
    seats: &Arc<Seats>,
) -> Result<(Place, Arc<Site>), Box<dyn Error>> {
    let client = tls::client(site)?;
    let shield = Arc::new(shield(config, site, clock)?);
    let settings = site_settings(site);
    let upstream = upstream(&settings, cores, seats, &shield, client, None);
    Ok((place(site), Arc::new(Site::new(site.name(), shield, settings, upstream))))
}

/// The way to the application of a site, with what is known of its servers since `before`.
fn upstream(
    settings: &SiteSettings,
    cores: usize,
    seats: &Arc<Seats>,
    shield: &Arc<Shield>,
    client: Option<Arc<Client>>,
    before: Option<&Upstream>,
) -> Arc<Upstream> {
    let (clock, told) = (shield.clock, told(shield));
    Arc::new(Upstream::new(settings, cores, clock, Arc::clone(seats), told, client, before))
}

/// What is told when a server goes down, or is back.
pub fn told(shield: &Arc<Shield>) -> Arc<Told> {
    let shield = Arc::clone(shield);
    Arc::new(move |server, change| {
        let (telemetry, now) = (&shield.telemetry, shield.clock.now());
        match change {
            Change::Down(reason) => telemetry.server_down(&server.name, reason, now),
            Change::Up(after) => telemetry.server_up(&server.name, *after, now),
        }
    })
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
    let name = (site.name() != config::Site::ONLY).then(|| site.name());
    let telemetry = Telemetry::of_site(name, names(&policy), floods(config), clock.now());
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

/// What its rules are called in the log.
fn names(policy: &Policy) -> Vec<String> {
    policy.rules.iter().map(|rule: &Rule| rule.name.clone()).collect()
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
        let servers: Vec<String> = site.servers().iter().map(ToString::to_string).collect();
        let upstream = servers.join(", ");
        tracing::info!(site = name, upstream, mode = mode.word(), "site");
        if mode == Mode::Observe {
            tracing::warn!(
                site = name,
                "observing only: every request is forwarded, and the store is not protected"
            );
        }
        if !site.upstream_tls().verify {
            tracing::warn!(
                site = name,
                "verify = false in [upstream_tls]: whoever is between here and the application can \
                 read and change everything"
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

/// What the shell must know of a configuration.
pub fn settings(config: &Config) -> Settings {
    let down = config.downstream_limits();
    let of_tls = config.tls();
    let doors = |addresses: &[SocketAddr], kind| {
        let door = |address: &SocketAddr| Door { address: DoorAddress::Tcp(*address), kind };
        addresses.iter().map(door).collect::<Vec<_>>()
    };
    let plain = |listen: &Listen| Door { address: door_address(listen), kind: DoorKind::Plain };
    Settings {
        doors: [
            config.listen().iter().map(plain).collect(),
            doors(&of_tls.listen, DoorKind::Tls),
            doors(&of_tls.redirect, DoorKind::Redirect),
        ]
        .concat(),
        tls: tls::settings(of_tls),
        unix_mode: config.unix_mode(),
        trusted_proxies: config.trusted_proxies().to_vec(),
        cores: config.cores().map_or(0, NonZeroUsize::get),
        drain_timeout: config.drain_timeout(),
        save_interval: config.save_interval(),
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

fn door_address(listen: &Listen) -> DoorAddress {
    match listen {
        Listen::Tcp(address) => DoorAddress::Tcp(*address),
        Listen::Unix(path) => DoorAddress::Unix(path.clone()),
    }
}

/// What the shell must know of a site.
pub fn site_settings(site: &config::Site) -> SiteSettings {
    let up = site.upstream_limits();
    SiteSettings {
        upstream: upstream_settings(site),
        hold_time: HOLD_TIME,
        upstream_limits: UpstreamLimits {
            connect_timeout: up.connect_timeout,
            response_timeout: up.response_timeout,
            idle_timeout: up.idle_timeout,
            idle_connections: up.idle_connections,
            connections: up.connections,
            queue: up.queue,
            queue_timeout: up.queue_timeout,
        },
    }
}

fn upstream_settings(site: &config::Site) -> UpstreamSettings {
    let (balance, health) = (site.balance(), site.health());
    let server = |server: &config::Server| ServerSettings {
        address: match &server.upstream {
            config::Upstream::Tcp(authority) => {
                Address::Tcp { host: authority.host().to_owned(), port: authority.port() }
            }
            config::Upstream::Tls(authority) => {
                Address::Tls { host: authority.host().to_owned(), port: authority.port() }
            }
            config::Upstream::Unix(path) => Address::Unix(path.clone()),
        },
        weight: server.weight,
    };
    let check = health.path.clone().map(|target| CheckSettings {
        target,
        host: health.host.as_ref().and_then(|host| HeaderValue::from_str(host.as_str()).ok()),
        interval: health.interval,
        timeout: health.timeout,
        thresholds: Thresholds { healthy: health.healthy, unhealthy: health.unhealthy },
    });
    UpstreamSettings {
        tls: tls::of_upstream(site),
        servers: site.servers().iter().map(server).collect(),
        method: match balance.method {
            config::Method::RoundRobin => Method::RoundRobin,
            config::Method::LeastConnections => Method::LeastConnections,
        },
        rules: Rules {
            eject_after: balance.eject_after,
            eject_for: balance.eject_for,
            slow_start: balance.slow_start,
            return_by: if check.is_some() { ReturnBy::Checks } else { ReturnBy::Trial },
        },
        check,
    }
}
