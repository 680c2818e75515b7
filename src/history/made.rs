//! Snapshots for tests, of a process that nobody runs.

use std::time::Duration;

use crate::guard::client::Client;
use crate::guard::fact::{Event, RouteId, Warmth};
use crate::guard::learned::Classes;
use crate::guard::moment::Moment;
use crate::guard::route::StandingWord;
use crate::guard::status::{Fill, Status};
use crate::telemetry::access::Verdict;
use crate::telemetry::flood::{FloodRecord, Phase};
use crate::telemetry::meter::{Measured, Meters};
use crate::telemetry::sketch::{ClientCount, TopClient};
use crate::telemetry::snapshot::{SiteSnapshot, Snapshot};
use crate::telemetry::tally::Tally;

/// The beginning of a minute, in seconds since 1970.
pub(crate) const BEGAN: u64 = 1_798_761_600;

/// A process that counts.
pub(crate) struct Process {
    meters: Meters,
    pub(crate) routes: Vec<(String, Tally)>,
    pub(crate) floods: Vec<(String, FloodRecord)>,
    pub(crate) keys: usize,
    pub(crate) number: u32,
    pub(crate) site: &'static str,
}

impl Process {
    pub(crate) fn new() -> Self {
        Self {
            meters: Meters::new(1),
            routes: Vec::new(),
            floods: Vec::new(),
            keys: 0,
            number: std::process::id(),
            site: "default",
        }
    }

    /// So many requests of this standing, with this verdict and status, took so long.
    pub(crate) fn serve(&self, number: u64, standing: StandingWord, verdict: Verdict, status: u16) {
        let time = Duration::from_millis(3);
        for _ in 0..number {
            self.meters.of(0).count(&Measured {
                standing: Some(standing),
                verdict: Some(verdict),
                status,
                duration: time,
                upstream: (verdict == Verdict::Forwarded).then_some(time),
            });
        }
    }

    pub(crate) fn happen(&mut self, number: u64, route: &str, event: Event) {
        if !self.routes.iter().any(|(name, _)| name == route) {
            self.routes.push((route.to_owned(), Tally::default()));
        }
        for (_, tally) in self.routes.iter_mut().filter(|(name, _)| name == route) {
            (0..number).for_each(|_| tally.add(event));
        }
    }

    /// So many seconds after the beginning.
    pub(crate) fn at(&self, seconds: u64) -> Snapshot {
        let fill = |used| Fill { used, capacity: 100 };
        Snapshot {
            at: moment(seconds),
            unix_ms: (BEGAN + seconds) * 1_000,
            uptime: Duration::from_secs(seconds),
            process: self.number,
            sites: vec![SiteSnapshot {
                guard: Status {
                    warmth: Warmth::Warm,
                    keys: fill(self.keys),
                    spares: fill(0),
                    clients: fill(0),
                    classes: Classes { creating: 0, clean: 1, unproven: 2, capacity: 100 },
                },
                exchanges: self.meters.read(),
                prevented: 0,
                would_prevent: 0,
                routes: self.routes.clone(),
                floods: self.floods.clone(),
                ..SiteSnapshot::blank(self.site)
            }],
            ..Snapshot::blank()
        }
    }
}

pub(crate) fn moment(seconds: u64) -> Moment {
    Moment::from_nanos(0).after(Moment::HEADROOM).after(Duration::from_secs(seconds))
}

/// A flood that began then and has had so many events, all of one client.
pub(crate) fn flood(began: u64, seconds: u64, events: u64) -> FloodRecord {
    let address = [203, 0, 113, 7].into();
    FloodRecord {
        route: RouteId::Unnamed,
        phase: Phase::Continues,
        first: moment(began),
        events,
        observed: 0,
        tally: Tally::default(),
        top: vec![TopClient {
            client: Client::new(address, 32),
            at_least: events,
            at_most: events,
        }],
        clients: ClientCount::Exactly(1),
        rate: 0.0,
        mean_rate: events as f64 / seconds.max(1) as f64,
        duration: Duration::from_secs(seconds),
    }
}
