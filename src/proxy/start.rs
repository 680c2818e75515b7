//! From a configuration to a running proxy, and to its end.

use std::error::Error;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::clock::Clock;
use super::core::App;
use super::descriptors;
use super::failure::Side;
use super::settings::{Address, DownstreamLimits, Settings, UpstreamLimits};
use super::shield::Shield;
use super::state::{self, StateFile};
use crate::config::{Config, Upstream};
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
    let shield = Arc::new(shield(config, clock)?);
    let failed = Arc::clone(&shield);
    let app = App {
        clock,
        shield: Arc::clone(&shield),
        failed: Box::new(move |failure| {
            // What else a client does wrong is its own affair, and nobody's line in the log.
            match failure.side() {
                Side::Upstream => {
                    failed.telemetry.upstream_failed(failure.word(), failure, clock.now());
                }
                Side::Downstream if failure.is_limit() => {
                    failed.telemetry.limited(failure.word(), failure, clock.now());
                }
                Side::Downstream => {}
            }
        }),
    };
    let (stop, stopped) = mpsc::channel();
    let interval = config.save_interval();
    let keeper = {
        let shield = Arc::clone(&shield);
        thread::Builder::new()
            .name(String::from("keeper"))
            .spawn(move || keep(&shield, interval, &stopped))?
    };
    let mut settings = settings(config);
    fit(&mut settings);
    let served = super::run::run(settings, Arc::new(app));
    drop(stop);
    let kept = keeper.join();
    shield.telemetry.finish(clock.now());
    if let Some(state) = &shield.state {
        state.close(&shield.guard)?;
        tracing::info!("the state is saved");
    }
    served?;
    kept.map_err(|_| "the keeper thread ended by a panic: please report this".into())
}

/// The guard with what it remembers, and what tells of it.
pub fn shield(config: &Config, clock: Clock) -> Result<Shield, Box<dyn Error>> {
    let policy = config.policy().clone();
    let names = policy.rules.iter().map(|rule: &Rule| rule.name.clone()).collect();
    let telemetry = Telemetry::new(names, floods(config), clock.now());
    let (state, guard) = match config.state() {
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
pub fn footprint(config: &Config) -> Vec<Footprint> {
    let rules = config.policy().rules.len();
    let telemetry = Footprint {
        table: "telemetry",
        key: "log.flood_events",
        entries: rules + 1,
        bytes: Telemetry::bytes(rules, floods(config)),
    };
    config.policy().footprint().into_iter().chain([telemetry]).collect()
}

fn announce(config: &Config) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        upstream = %config.upstream(),
        mode = config.policy().mode.word(),
        "floodwall starts"
    );
    if config.policy().mode == Mode::Observe {
        tracing::warn!(
            "observing only: every request is forwarded, and the store is not protected"
        );
    }
    if config.state().is_none() {
        tracing::warn!(
            "no state is kept: a restart forgets every session, and refills every budget"
        );
    }
}

/// Saves the state once each interval, leaves signs of life in it, and says what has become due
/// once a second, until told to stop. On a thread of its own: disks block. Who sleeps here for
/// longer than asked was stopped, and all of the process with it.
fn keep(shield: &Shield, interval: Duration, stopped: &mpsc::Receiver<()>) {
    let mut teller = Teller::default();
    let (mut ticked, mut saved) = (shield.clock.now(), shield.clock.now());
    let mut lived = saved;
    loop {
        let asleep = shield.clock.now();
        match stopped.recv_timeout(interval.min(TICK)) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = shield.clock.now();
        if let Some(missed) = WarmUp::absence(asleep.as_nanos(), now.as_nanos()) {
            shield.guard.missed(missed, now);
            shield.state.iter().for_each(StateFile::missed);
        }
        if now.since(saved) >= interval
            && let Some(state) = &shield.state
        {
            state.save(&shield.guard);
            saved = now;
        }
        if now.since(lived) >= SIGN_OF_LIFE
            && let Some(state) = &shield.state
        {
            state.live();
            lived = now;
        }
        if now.since(ticked) >= TICK {
            shield.telemetry.tick(now);
            if shield.guard.policy().session.unknown == Unknown::Auto {
                teller.tell(shield, now);
            }
            ticked = now;
        }
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
pub fn state_summary(config: &Config) -> Option<String> {
    let path = config.state()?;
    let clock = Clock::start();
    Some(match state::peek(path, config.policy().clone(), clock) {
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
    let (up, down) = (config.upstream_limits(), config.downstream_limits());
    Settings {
        listen: config.listen().to_vec(),
        upstream: match config.upstream() {
            Upstream::Tcp(authority) => {
                Address::Tcp { host: authority.host().to_owned(), port: authority.port() }
            }
            Upstream::Unix(path) => Address::Unix(path.clone()),
        },
        trusted_proxies: config.trusted_proxies().to_vec(),
        cores: config.cores().map_or(0, NonZeroUsize::get),
        drain_timeout: config.drain_timeout(),
        hold_time: HOLD_TIME,
        upstream_limits: UpstreamLimits {
            connect_timeout: up.connect_timeout,
            response_timeout: up.response_timeout,
            idle_timeout: up.idle_timeout,
            idle_connections: up.idle_connections,
        },
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
