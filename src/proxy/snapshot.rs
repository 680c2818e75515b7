//! How the process stands, and whether it can serve: what the admin listener and the control
//! socket are told.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::core::App;
use super::failure::Failure;
use super::health::Availability;
use super::process;
use super::server::Server;
use super::site::Site;
use crate::admin::{Readiness, Source};
use crate::guard::moment::Moment;
use crate::guard::status::Fill;
use crate::telemetry::kept::KeptCounts;
use crate::telemetry::snapshot::{ServerSnapshot, SiteSnapshot, Snapshot};

/// A core that has not run for so long hangs.
const HANGS: Duration = Duration::from_secs(10);

impl Source for App {
    fn snapshot(&self) -> Snapshot {
        let in_force = self.in_force.load_full();
        let (settings, now) = (&in_force.settings, self.clock.now());
        Snapshot {
            at: now,
            unix_ms: self.clock.unix_ms(),
            uptime: now.since(self.began),
            version: env!("CARGO_PKG_VERSION"),
            process: std::process::id(),
            cores: settings.cores,
            draining: self.draining.load(Ordering::Relaxed),
            connections: Fill {
                used: self.seats.taken(),
                capacity: settings.downstream_limits.connections,
            },
            tunnels: Fill { used: self.tunnels.number(), capacity: settings.upgrades.tunnels },
            lines_dropped: self.access.lines_dropped(),
            process_stats: process::look(),
            reloads: self.reloads.read(),
            certificates: in_force
                .tls
                .as_ref()
                .map(|tls| tls.certificates.expiries())
                .unwrap_or_default(),
            refusals_dropped: self.refusals.lines_dropped(),
            alerts: self.alerts.counts(),
            history: self.history.as_deref().map(KeptCounts::read),
            no_site: self.meters.read(),
            sites: in_force.sites.all().iter().map(|site| of(site, now)).collect(),
        }
    }

    fn now(&self) -> Moment {
        self.clock.now()
    }

    fn is_alive(&self) -> bool {
        self.pulses.all_since(self.clock.now().before(HANGS))
    }

    fn readiness(&self) -> Readiness {
        if self.draining.load(Ordering::Relaxed) {
            return Readiness::Not("draining".to_owned());
        }
        let in_force = self.in_force.load_full();
        let now = self.clock.now();
        let mut down = in_force.sites.all().iter().filter(|site| {
            let mut servers = site.upstream.servers();
            servers.all(|server| server.health.availability(now) == Availability::Down)
        });
        match down.next() {
            Some(site) => Readiness::Not(format!("site {}: every server is down", site.name)),
            None => Readiness::Ready,
        }
    }
}

fn of(site: &Site, now: Moment) -> SiteSnapshot {
    let (guard, telemetry) = (&site.shield.guard, &site.shield.telemetry);
    let status = guard.status(now);
    SiteSnapshot {
        name: site.name.to_string(),
        mode: guard.policy().mode.word(),
        guard: status,
        warm_at: site.shield.warm_at(status.warmth),
        under_way: guard.under_way(),
        budgets: guard.budgets_left(now),
        saved: site.shield.state.as_ref().map(|state| state.saved()),
        exchanges: telemetry.exchanges(),
        prevented: telemetry.prevented(),
        would_prevent: telemetry.would_prevent(),
        routes: telemetry.tallies().map(|(route, tally)| (route.to_owned(), tally)).collect(),
        floods: telemetry.running_floods(now),
        flood_totals: telemetry.flood_totals(),
        past_floods: telemetry.past_floods(),
        lessons: telemetry.lessons(),
        servers: site.upstream.servers().map(|server| server_of(server, now)).collect(),
        upstream_failures: each(&Failure::UPSTREAM_WORDS, telemetry.upstream_failures()),
        limits_met: each(&Failure::LIMIT_WORDS, telemetry.limits_met()),
    }
}

/// How often each word was counted, zero included.
fn each(words: &[&'static str], counted: Vec<(&'static str, u64)>) -> Vec<(&'static str, u64)> {
    let never = words.iter().filter(|word| !counted.iter().any(|(known, _)| known == *word));
    let never: Vec<(&'static str, u64)> = never.map(|word| (*word, 0)).collect();
    let mut all = [counted, never].concat();
    all.sort_unstable();
    all
}

fn server_of(server: &Server, now: Moment) -> ServerSnapshot {
    ServerSnapshot {
        name: server.name.to_string(),
        up: server.health.availability(now) != Availability::Down,
        exchanges: server.load(),
        connections: server.places.open(),
        waiting: server.places.waiting(),
    }
}
