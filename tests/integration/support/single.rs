//! A proxy with one site, as tests set it up within their process.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use floodwall::proxy::clock::Clock;
use floodwall::proxy::core::App;
use floodwall::proxy::failure::Failure;
use floodwall::proxy::in_force::InForce;
use floodwall::proxy::pulses::Pulses;
use floodwall::proxy::reloads::Reloads;
use floodwall::proxy::seats::Seats;
use floodwall::proxy::settings::{Settings, SiteSettings};
use floodwall::proxy::shield::Shield;
use floodwall::proxy::site::Site;
use floodwall::proxy::sites::Sites;
use floodwall::proxy::start;
use floodwall::proxy::upstream::{Told, Upstream};
use floodwall::telemetry::Telemetry;
use floodwall::telemetry::access::AccessLog;
use floodwall::telemetry::alerts::Alerts;
use floodwall::telemetry::meter::Meters;
use floodwall::telemetry::refusals::Refusals;

/// What the shell must know, and what it must know of its only site.
#[derive(Clone, Debug)]
pub struct Single {
    pub shell: Settings,
    pub site: SiteSettings,
}

impl Single {
    /// What all cores share. `failed` is told of failures.
    pub fn app(
        self,
        clock: Clock,
        shield: Arc<Shield>,
        failed: impl Fn(&Failure) + Send + Sync + 'static,
    ) -> Arc<App> {
        let told = start::told(&shield);
        self.app_telling(clock, shield, failed, told)
    }

    /// The same; `told` is told of the servers.
    pub fn app_telling(
        self,
        clock: Clock,
        shield: Arc<Shield>,
        failed: impl Fn(&Failure) + Send + Sync + 'static,
        told: Arc<Told>,
    ) -> Arc<App> {
        let Self { shell: settings, site } = self;
        let limits = &settings.downstream_limits;
        let seats = Arc::new(Seats::new(limits.connections, limits.connections_per_client));
        let cores = settings.cores;
        let upstream = Upstream::new(&site, cores, clock, Arc::clone(&seats), told, None, None);
        let sites = Sites::single(Arc::new(Site::new("test", shield, site, Arc::new(upstream))));
        let (pulses, meters) = (Pulses::new(cores), Meters::new(cores));
        let in_force = ArcSwap::from_pointee(InForce { settings, sites, tls: None });
        let failed = Box::new(move |failure: &Failure, _: &Telemetry| failed(failure));
        Arc::new(App {
            history: None,
            clock,
            seats,
            tunnels: Arc::default(),
            began: clock.now(),
            admin_token: Arc::default(),
            draining: AtomicBool::new(false),
            pulses,
            reloads: Reloads::since(clock.unix_ms()),
            meters,
            access: AccessLog::off(),
            alerts: Arc::new(Alerts::new(Arc::new(move || (clock.now(), clock.unix_ms())))),
            refusals: Refusals::off(),
            in_force,
            failed,
        })
    }
}

impl Deref for Single {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.shell
    }
}

impl DerefMut for Single {
    fn deref_mut(&mut self) -> &mut Settings {
        &mut self.shell
    }
}
