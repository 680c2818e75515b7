//! From a configuration to a running proxy, and to its end.

mod alerts;
mod offline;
mod reload;
mod tls;

use std::cell::RefCell;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::HeaderValue;

pub use self::alerts::{summary as alerts, test as test_alerts};
pub use self::offline::{explain, state_summary};
use self::reload::Reload;
pub use self::tls::summary as certificates;
use super::balance::Method;
use super::clock::Clock;
use super::control::Control;
use super::core::App;
use super::descriptors;
use super::failure::Side;
use super::handover::successor::Successor;
use super::health::{Change, ReturnBy, Rules, Thresholds};
use super::in_force::InForce;
use super::keeper;
use super::orders::Orders;
use super::passed::Passed;
use super::proxy_header::Version;
use super::pulses::Pulses;
use super::reloads::Reloads;
use super::run::Ear;
use super::seats::Seats;
use super::settings::{
    AcceptHeader, Address, CheckSettings, Door, DoorAddress, DoorKind, DownstreamLimits,
    Http2Limits, Protocols, ProxyProtocol, ServerSettings, Settings, SiteSettings, Upgrades,
    UpstreamClient, UpstreamLimits, UpstreamSettings,
};
use super::shield::Shield;
use super::site::Site;
use super::sites::{Host, Place, Sites};
use super::state::{self, StateError, StateFile};
use super::supervisor;
use super::tls::client::Client;
use super::upgrade::Program;
use super::upstream::{News, Told, Upstream};
use crate::admin::{self, Source};
use crate::config::{self, AccessFormat, Config, HostPattern, Listen, SendHeader};
use crate::guard::Guard;
use crate::guard::footprint::Footprint;
use crate::guard::image::Image;
use crate::guard::policy::{Mode, Policy};
use crate::guard::route::Rule;
use crate::history::{self, History};
use crate::telemetry::Telemetry;
use crate::telemetry::access::trace::{Mark, Marked};
use crate::telemetry::access::{AccessLog, Format, OpenError};
use crate::telemetry::alerts::Alerts;
use crate::telemetry::flood::FloodSettings;
use crate::telemetry::meter::Meters;
use crate::telemetry::refusals::Refusals;

/// How long a budget is held for an exchange. What is held does not leak: some hundred clients
/// that drip their uploads would else hold a site's budget for ever.
const HOLD_TIME: Duration = Duration::from_secs(10);

/// Serves until SIGTERM or SIGINT, drains, and saves the state. Everything that is shared is made
/// here, before the first connection, and saved after the last exchange. `load` reads the
/// configuration again, for a reload; its error is what `floodwall check` would say.
///
/// With `take_over` everything comes from the process at the control socket, which then ends.
pub fn run(
    config: Config,
    load: &dyn Fn() -> Result<Config, String>,
    take_over: bool,
) -> Result<(), Box<dyn Error>> {
    let ear = Ear::open()?;
    let program = Program::own().ok();
    let clock = Clock::start();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "floodwall starts");
    announce(&config);
    let mut settings = settings(&config);
    fit(&mut settings);
    let tls = tls::begin(&settings, None)?;
    tls::announce(tls.as_ref(), clock);
    let (mut successor, passed) = if take_over {
        let names: Vec<&str> = config.sites().iter().map(config::Site::name).collect();
        let path = config.control().ok_or("--take-over needs a control socket: set `control`")?;
        let (successor, passed) = Successor::ask(path, &names)?;
        (Some(successor), passed)
    } else {
        (None, Passed::by_systemd()?)
    };
    let access = AccessLog::off();
    put_access_log(&access, &config)?;
    let refusals = Refusals::off();
    alerts::put_refusals(&refusals, &config)?;
    let alerting = Arc::new(Alerts::new(alerts::now(clock)));
    alerting.put(alerts::settings(&config)?)?;
    alerts::announce(&config);
    let token = admin::token(config.admin().token_file.as_deref())?;
    // A second start fails here, before it looks at anything that the first one uses.
    let bind = |successor| config.control().map(|path| Control::bind(path, successor)).transpose();
    let control = RefCell::new(if take_over { None } else { bind(false)? });
    let limits = &settings.downstream_limits;
    let seats = Arc::new(Seats::new(limits.connections, limits.connections_per_client));
    let cores = settings.cores;
    let sites = config.sites().iter().map(|site| {
        let snapshot = successor.as_mut().and_then(|successor| successor.snapshot(site.name()));
        begin(&config, site, snapshot, cores, clock, &seats, &access)
    });
    let sites = all_or_none(sites, clock).map(Sites::new)?;
    sites.all().iter().for_each(|site| site.shield.telemetry.alert_by(&alerting));
    let app = Arc::new(App {
        clock,
        seats,
        tunnels: Arc::default(),
        access,
        alerts: alerting,
        refusals,
        history: config.history().file.as_ref().map(|_| Arc::default()),
        pulses: Pulses::new(cores),
        began: clock.now(),
        admin_token: Arc::new(ArcSwapOption::new(token)),
        draining: AtomicBool::new(false),
        reloads: Reloads::since(clock.unix_ms()),
        meters: Meters::new(cores),
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
    let beside = Beside::start(&app)?;
    let history = history(&app, &config)?;
    let reload = Reload::new(Arc::clone(&app), config.clone(), load, history.as_ref());
    let successor = RefCell::new(successor);
    let orders = Orders {
        control: &|| control.take().map_or_else(|| bind(true), |control| Ok(Some(control))),
        reload: &|| reload.reload(),
        program,
        serving: &|| match successor.take() {
            Some(successor) => successor.serve(app.in_force.load().sites.all()),
            None => Ok(()),
        },
    };
    let served = super::run::run(Arc::clone(&app), passed, &orders, ear);
    let kept = beside.end();
    app.access.finish(clock.now());
    let retired = reload.into_retired();
    let in_force = app.in_force.load_full();
    let sites = in_force.sites.all().iter().chain(&retired);
    // One that fails is no reason to lose what the others remember.
    let closed: Vec<_> = sites.map(|site| close(site, clock)).collect();
    app.alerts.finish();
    app.refusals.finish();
    if let Some(history) = history {
        // With the floods that have just ended.
        history.finish(app.snapshot());
    }
    closed.into_iter().collect::<Result<(), _>>()?;
    served?;
    kept.map_err(|_| "the keeper thread ended by a panic: please report this".into())
}

/// What is done beside the exchanges, each on a thread of its own, until told to end.
struct Beside {
    stop: Vec<mpsc::Sender<()>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Beside {
    fn start(app: &Arc<App>) -> io::Result<Self> {
        let mut beside = Self { stop: Vec::new(), threads: Vec::new() };
        beside.also("keeper", app, keeper::keep)?;
        if let Some(time) = supervisor::watchdog() {
            beside.also("watchdog", app, move |app, stopped| keeper::feed(app, time, stopped))?;
        }
        Ok(beside)
    }

    fn also(
        &mut self,
        name: &str,
        app: &Arc<App>,
        work: impl FnOnce(&App, &mpsc::Receiver<()>) + Send + 'static,
    ) -> io::Result<()> {
        let (stop, stopped) = mpsc::channel();
        let app = Arc::clone(app);
        let thread = thread::Builder::new().name(name.to_owned());
        self.threads.push(thread.spawn(move || work(&app, &stopped))?);
        self.stop.push(stop);
        Ok(())
    }

    /// Waits for what is just being done.
    fn end(self) -> thread::Result<()> {
        drop(self.stop);
        self.threads.into_iter().try_for_each(thread::JoinHandle::join)
    }
}

/// Keeps the history, where one is to be kept.
fn history(app: &Arc<App>, config: &Config) -> io::Result<Option<History>> {
    let config::History { file, keep } = config.history().clone();
    let (Some(file), Some(counts)) = (file, app.history.clone()) else { return Ok(None) };
    let shown = Arc::clone(app);
    History::start(history::Settings { file, keep }, counts, move || shown.snapshot()).map(Some)
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

/// All of these sites; or none, and what had begun before the one that failed is saved, with the
/// spares that its file has no more.
fn all_or_none<E>(
    begun: impl Iterator<Item = Result<(Place, Arc<Site>), E>>,
    clock: Clock,
) -> Result<Vec<(Place, Arc<Site>)>, E> {
    let mut sites = Vec::new();
    for site in begun {
        match site {
            Ok(site) => sites.push(site),
            Err(error) => {
                abandon(&sites, clock);
                return Err(error);
            }
        }
    }
    Ok(sites)
}

/// Ends sites that were not put in force.
fn abandon(sites: &[(Place, Arc<Site>)], clock: Clock) {
    for (_, site) in sites {
        if let Err(error) = close(site, clock) {
            tracing::error!(site = site.name, %error, "the state cannot be saved");
        }
    }
}

/// A site with what a predecessor's snapshot says, or else its state file.
fn begin(
    config: &Config,
    site: &config::Site,
    snapshot: Option<Vec<u8>>,
    cores: usize,
    clock: Clock,
    seats: &Arc<Seats>,
    access: &AccessLog,
) -> Result<(Place, Arc<Site>), Box<dyn Error>> {
    let client = tls::client(site)?;
    let shield = match snapshot {
        Some(snapshot) => succeed(config, site, &snapshot, cores, clock)?,
        None => shield(config, site, cores, clock)?,
    };
    let blank = shield.guard.blank_since(clock.now());
    let start = Mark { policy: site.policy().digest(), what: Marked::Start { blank } };
    let shield = Arc::new(shield.numbered(access.order(start)));
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

/// What is told of the servers of a site.
pub fn told(shield: &Arc<Shield>) -> Arc<Told> {
    let shield = Arc::clone(shield);
    Arc::new(move |server, news| {
        let telemetry = &shield.telemetry;
        match news {
            News::Changed(Change::Down(reason)) => {
                telemetry.server_down(&server.name, reason, shield.clock.now());
            }
            News::Changed(Change::Up(after)) => {
                telemetry.server_up(&server.name, *after, shield.clock.now());
            }
            News::Connected { core, time } => telemetry.meter(core).connected(time),
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

/// The guard with what it remembers, and what tells of it on so many cores.
pub fn shield(
    config: &Config,
    site: &config::Site,
    cores: usize,
    clock: Clock,
) -> Result<Shield, Box<dyn Error>> {
    let policy = site.policy().clone();
    let telemetry = telemetry_of(config, site, cores, clock);
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

/// The same, from the snapshot of a predecessor that has let go of the state file.
fn succeed(
    config: &Config,
    site: &config::Site,
    snapshot: &[u8],
    cores: usize,
    clock: Clock,
) -> Result<Shield, Box<dyn Error>> {
    let image = Image::decode(snapshot)?;
    let seed = u64::from_le_bytes(state::random()?);
    let (wall, now) = (clock.wall(), clock.now());
    let guard = Guard::taking_over(site.policy().clone(), image, wall, seed, now);
    let state = site.state().map(|path| StateFile::succeed(path, &guard, clock)).transpose()?;
    Ok(Shield::new(guard, telemetry_of(config, site, cores, clock), state, clock))
}

fn telemetry_of(config: &Config, site: &config::Site, cores: usize, clock: Clock) -> Telemetry {
    let name = (site.name() != config::Site::ONLY).then(|| site.name());
    Telemetry::of_site(name, names(site.policy()), floods(config), cores, clock.now())
}

/// What its rules are called in the log.
fn names(policy: &Policy) -> Vec<String> {
    policy.rules.iter().map(|rule: &Rule| rule.name.clone()).collect()
}

/// Raises the limit of file descriptors, and lowers that of connections where it must.
fn fit(settings: &mut Settings) {
    let cores = settings.cores;
    let Some(limit) = descriptors::raise() else { return };
    let fitting = descriptors::fitting(limit, cores, settings.http2.enabled);
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
        bytes: Telemetry::bytes(rules, floods(config), settings(config).cores),
    };
    site.policy().footprint().into_iter().chain([telemetry]).collect()
}

fn announce(config: &Config) {
    if let Some(doubt) = config.admin().token_file.as_deref().and_then(admin::doubt) {
        tracing::warn!("admin.token_file: {doubt}");
    }
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
    let (down, http2) = (config.downstream_limits(), config.http2());
    let cores = config.cores().or_else(|| thread::available_parallelism().ok());
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
        admin: config.admin().listen.iter().map(door_address).collect(),
        tls: tls::settings(config),
        unix_mode: config.unix_mode(),
        trusted_proxies: config.trusted_proxies().to_vec(),
        proxy_protocol: proxy_protocol(config.proxy_protocol()),
        cores: cores.map_or(1, NonZeroUsize::get),
        drain_timeout: config.drain_timeout(),
        save_interval: config.save_interval(),
        downstream_limits: DownstreamLimits {
            header_timeout: down.header_timeout,
            idle_timeout: down.idle_timeout,
            body_timeout: down.body_timeout,
            send_timeout: down.send_timeout,
            body_rate: down.body_rate as u64,
            refusal_pause: down.refusal_pause,
            head_bytes: down.head_bytes,
            headers: down.headers,
            target_bytes: down.target_bytes,
            body_bytes: down.body_bytes as u64,
            connections: down.connections,
            connections_per_client: down.connections_per_client,
        },
        http2: Http2Limits {
            enabled: http2.enabled,
            streams: http2.streams,
            header_list_bytes: u32::try_from(http2.header_list_bytes).unwrap_or(u32::MAX),
            resets: http2.resets,
        },
        upgrades: upgrades(config.upgrades()),
    }
}

fn upgrades(upgrades: &config::Upgrades) -> Upgrades {
    Upgrades {
        protocols: match &upgrades.protocols {
            config::UpgradeProtocols::Any => Protocols::Any,
            config::UpgradeProtocols::Named(names) => Protocols::Named(names.clone()),
        },
        idle_timeout: upgrades.idle_timeout,
        tunnels: upgrades.tunnels,
        tunnels_per_client: upgrades.tunnels_per_client,
    }
}

fn proxy_protocol(settings: &config::ProxyProtocol) -> ProxyProtocol {
    let accept = match settings.accept {
        config::AcceptHeader::Off => AcceptHeader::Off,
        config::AcceptHeader::Optional => AcceptHeader::Optional,
        config::AcceptHeader::Required => AcceptHeader::Required,
    };
    ProxyProtocol { accept, from: settings.from.clone() }
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
        header: match site.send_header() {
            SendHeader::Off => None,
            SendHeader::V1 => Some(Version::V1),
            SendHeader::V2 => Some(Version::V2),
        },
        client: match site.upstream_client() {
            config::UpstreamClient::Own => UpstreamClient::Own,
            config::UpstreamClient::Hyper => UpstreamClient::Hyper,
        },
    }
}
