//! The last hour: every second of five minutes, and every ten seconds of the rest.
//!
//! Memory is bounded by the number of sites, whatever happens: [`Recent::site_bytes`] for each, and
//! what [`SNAPSHOTS`] looks at the process take.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::Name;
use super::columns::{Counters, Sample};
use crate::guard::moment::Moment;
use crate::telemetry::flood::FloodRecord;
use crate::telemetry::snapshot::{SiteSnapshot, Snapshot};

/// Seconds that are kept one by one: five minutes.
pub(super) const FINE: usize = 300;
/// Spans of [`SPAN`]: an hour.
pub(super) const COARSE: usize = 360;
pub(super) const SPAN: Duration = Duration::from_secs(10);
/// Looks are not taken on the dot.
const SLACK: Duration = Duration::from_millis(500);
/// What is said of the last minute is over as many spans at most, and the one that is not over.
const MINUTE: usize = 6;
/// The rate of a flood is over as many seconds.
const SNAPSHOTS: usize = 6;

/// What is kept of the last hour.
pub(super) struct Recent {
    /// Tells this run of the program from another.
    boot: u64,
    /// How many looks were taken.
    sequence: u64,
    /// The latest, newest last.
    snapshots: VecDeque<Arc<Snapshot>>,
    tracks: Vec<Track>,
}

/// One site.
pub(super) struct Track {
    pub(super) name: Name,
    last: Counters,
    /// As they were at the ends of the latest spans, oldest first; never empty.
    ends: VecDeque<Counters>,
    /// Whether the last look ended one.
    pub(super) ends_span: bool,
    pub(super) fine: VecDeque<Sample>,
    pub(super) coarse: VecDeque<Sample>,
}

/// Whether a look was new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Now,
    Before,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            // Without random numbers nothing of the program would have started.
            boot: getrandom::u64().unwrap_or_default(),
            sequence: 0,
            snapshots: VecDeque::with_capacity(SNAPSHOTS),
            tracks: Vec::new(),
        }
    }
}

impl Recent {
    /// Bytes that are kept of a site.
    #[cfg(test)]
    pub(super) const fn site_bytes() -> usize {
        size_of::<Track>() + (FINE + COARSE) * size_of::<Sample>() + MINUTE * size_of::<Counters>()
    }

    /// Takes a look, unless it is the one that was taken last.
    pub(super) fn take(&mut self, snapshot: Arc<Snapshot>) -> Taken {
        if self.latest().is_some_and(|latest| latest.at == snapshot.at) {
            return Taken::Before;
        }
        self.sequence += 1;
        let mut before = std::mem::take(&mut self.tracks);
        for site in &snapshot.sites {
            let counters = Counters::of(site, snapshot.at);
            let known = before.iter().position(|track| *track.name == *site.name);
            let track = match known {
                None => Track::new(&site.name, counters),
                Some(index) => before.swap_remove(index).followed_by(counters),
            };
            self.tracks.push(track);
        }
        push(&mut self.snapshots, SNAPSHOTS, snapshot);
        Taken::Now
    }

    /// What tells this run of the program from another.
    pub(super) fn boot(&self) -> u64 {
        self.boot
    }

    /// How many looks were taken: as many samples there were, if as many were kept.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(super) fn latest(&self) -> Option<&Snapshot> {
        self.snapshots.back().map(|latest| &**latest)
    }

    /// How the past floods of a site were before the last look.
    pub(super) fn before(&self, site: &str) -> Option<&SiteSnapshot> {
        let before = self.snapshots.iter().rev().nth(1)?;
        before.sites.iter().find(|before| before.name == site)
    }

    /// The name of this site; where there is none of it, that of the first.
    pub(super) fn site(&self, wanted: Option<&str>) -> Name {
        let wanted = wanted.and_then(|name| self.track(name));
        let track = wanted.or_else(|| self.tracks.first());
        track.map_or_else(|| "".into(), |track| Arc::clone(&track.name))
    }

    pub(super) fn track(&self, name: &str) -> Option<&Track> {
        self.tracks.iter().find(|track| *track.name == *name)
    }

    /// Events a second of a flood that runs, over the last seconds.
    pub(super) fn rate(&self, site: &str, route: &str, now: &FloodRecord) -> f64 {
        let same = |flood: &&(String, FloodRecord)| flood.0 == route && flood.1.first == now.first;
        let earlier = self.snapshots.iter().rev().skip(1).rev().find_map(|snapshot| {
            let site = snapshot.sites.iter().find(|before| before.name == site)?;
            Some((snapshot.at, site.floods.iter().find(same)?.1.events))
        });
        let at = self.latest().map_or(now.first, |latest| latest.at);
        let (since, before) = earlier.unwrap_or((now.first, 0));
        per_second(now.events.saturating_sub(before), since, at)
    }
}

fn per_second(events: u64, since: Moment, until: Moment) -> f64 {
    let rate = events as f64 / until.since(since).as_secs_f64().max(1.0);
    (rate * 10.0).round() / 10.0
}

impl Track {
    fn new(name: &str, counters: Counters) -> Self {
        Self {
            name: name.into(),
            last: counters.clone(),
            ends: VecDeque::from([counters]),
            ends_span: false,
            fine: VecDeque::with_capacity(FINE),
            coarse: VecDeque::with_capacity(COARSE),
        }
    }

    /// All that happened in about the last minute; in less, where it has not run for so long.
    pub(super) fn minute(&self) -> Sample {
        Sample::between(self.ends.front().unwrap_or(&self.last), &self.last)
    }

    fn followed_by(mut self, counters: Counters) -> Self {
        push(&mut self.fine, FINE, Sample::between(&self.last, &counters));
        let end = self.ends.back().unwrap_or(&self.last);
        self.ends_span = counters.at.since(end.at) + SLACK >= SPAN;
        if self.ends_span {
            push(&mut self.coarse, COARSE, Sample::between(end, &counters));
            push(&mut self.ends, MINUTE, counters.clone());
        }
        self.last = counters;
        self
    }
}

fn push<T>(ring: &mut VecDeque<T>, most: usize, newest: T) {
    if ring.len() == most {
        ring.pop_front();
    }
    ring.push_back(newest);
}
