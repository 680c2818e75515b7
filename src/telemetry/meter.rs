//! What exchanges were and how long they took, counted by the core that carried them.
//!
//! Each core has a meter of its own for each site, and nobody else counts there: so counting takes
//! no atomic addition, which would cost more than the rest of it. It promises that each exchange is
//! counted once, and that no series grows with what strangers send: what is told apart is an enum.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::access::Verdict;
use crate::guard::route::StandingWord;

/// What is known of an exchange at its end.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// `None`: it ended before its cookies were read.
    pub standing: Option<StandingWord>,
    /// `None`: it ended before one was given.
    pub verdict: Option<Verdict>,
    /// As it was sent to the client, or would have been.
    pub status: u16,
    /// From its head to the end of the response.
    pub duration: Duration,
    /// From sending it on to the head of the response, or to the failure.
    pub upstream: Option<Duration>,
}

/// The first digit of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusClass {
    Informational,
    Success,
    Redirection,
    ClientError,
    ServerError,
}

impl StatusClass {
    pub const ALL: [Self; 5] = [
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
    ];

    /// Of a status (RFC 9110, 15); what is beyond all classes counts as a server's error.
    pub const fn of(status: u16) -> Self {
        match status {
            0..200 => Self::Informational,
            200..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }

    /// The word for it in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }
}

/// One more than there are standings: those that were not read.
const STANDINGS: usize = StandingWord::ALL.len() + 1;
/// One more than there are verdicts: none was given.
const VERDICTS: usize = Verdict::ALL.len() + 1;
const CLASSES: usize = StatusClass::ALL.len();

/// The meters of one site, one for each core.
#[derive(Debug)]
pub struct Meters(Box<[Arc<Meter>]>);

/// Counts of one core. Alone on its cache lines, together with how many hold it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Meter {
    exchanges: [[[AtomicU64; CLASSES]; VERDICTS]; STANDINGS],
    /// Of exchanges that were sent on: those of known sessions, and all others.
    duration: [Buckets; 2],
    upstream: Buckets,
    connect: Buckets,
}

impl Meters {
    /// Bytes of those of so many cores.
    pub const fn bytes(cores: usize) -> usize {
        cores * size_of::<Meter>()
    }

    /// Nothing is counted yet.
    pub fn new(cores: usize) -> Self {
        Self((0..cores.max(1)).map(|_| Arc::default()).collect())
    }

    /// That of one core, from 0; others count somewhere, too.
    pub fn of(&self, core: usize) -> &Arc<Meter> {
        &self.0[core % self.0.len()]
    }

    /// The sums over all cores; they are not read at one instant.
    pub fn read(&self) -> Exchanges {
        let mut all = Exchanges::default();
        for meter in &self.0 {
            for (sums, counts) in all.counts.iter_mut().zip(&meter.exchanges) {
                for (sums, counts) in sums.iter_mut().zip(counts) {
                    for (sum, count) in sums.iter_mut().zip(counts) {
                        *sum += count.load(Ordering::Relaxed);
                    }
                }
            }
            meter.duration[1].add_to(&mut all.known_duration);
            meter.duration[0].add_to(&mut all.other_duration);
            meter.upstream.add_to(&mut all.upstream);
            meter.connect.add_to(&mut all.connect);
        }
        all
    }
}

impl Meter {
    /// Counts an exchange at its end.
    pub fn count(&self, measured: &Measured) {
        let standing = measured.standing.map_or(STANDINGS - 1, |word| word as usize);
        let verdict = measured.verdict.map_or(VERDICTS - 1, |verdict| verdict as usize);
        let class = StatusClass::of(measured.status) as usize;
        add(&self.exchanges[standing][verdict][class], 1);
        if let Some(upstream) = measured.upstream {
            let known = measured.standing == Some(StandingWord::Known);
            self.duration[usize::from(known)].add(measured.duration);
            self.upstream.add(upstream);
        }
    }

    /// Counts a connection to the application, and how long it took to be made.
    pub fn connected(&self, time: Duration) {
        self.connect.add(time);
    }
}

/// What was counted of exchanges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchanges {
    counts: [[[u64; CLASSES]; VERDICTS]; STANDINGS],
    /// How long exchanges of known sessions took that were sent on, in all.
    pub known_duration: Histogram,
    /// The same of all others.
    pub other_duration: Histogram,
    /// From sending on to the head of the application's response, or to the failure.
    pub upstream: Histogram,
    /// How long connections to the application took to be made.
    pub connect: Histogram,
}

impl Exchanges {
    /// How many of this standing had this verdict and a status of this class; `None` is what
    /// ended before there was one.
    pub fn count(
        &self,
        standing: Option<StandingWord>,
        verdict: Option<Verdict>,
        class: StatusClass,
    ) -> u64 {
        let standing = standing.map_or(STANDINGS - 1, |word| word as usize);
        let verdict = verdict.map_or(VERDICTS - 1, |verdict| verdict as usize);
        self.counts[standing][verdict][class as usize]
    }

    /// All of this verdict.
    pub fn of_verdict(&self, verdict: Option<Verdict>) -> u64 {
        let verdict = verdict.map_or(VERDICTS - 1, |verdict| verdict as usize);
        self.counts.iter().flat_map(|verdicts| verdicts[verdict]).sum()
    }

    /// All of this standing.
    pub fn of_standing(&self, standing: Option<StandingWord>) -> u64 {
        let standing = standing.map_or(STANDINGS - 1, |word| word as usize);
        self.counts[standing].iter().flatten().sum()
    }

    /// All.
    pub fn total(&self) -> u64 {
        self.counts.iter().flatten().flatten().sum()
    }
}

/// The upper bounds of buckets in microseconds, each included; above the last there is one more.
pub const BOUNDS_US: [u64; 16] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// Only the core whose meter it is does so; others read.
fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

#[derive(Debug, Default)]
struct Buckets {
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Buckets {
    fn add(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX >> 16);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        add(&self.counts[bucket], 1);
        add(&self.sum_us, us);
    }

    fn add_to(&self, histogram: &mut Histogram) {
        for (sum, count) in histogram.counts.iter_mut().zip(&self.counts) {
            *sum += count.load(Ordering::Relaxed);
        }
        histogram.sum_us += self.sum_us.load(Ordering::Relaxed);
    }
}

/// How often something took how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// One for each of [`BOUNDS_US`], and one for what is above; not cumulative.
    pub counts: [u64; BOUNDS_US.len() + 1],
    /// In microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// How often.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(standing: Option<StandingWord>, status: u16, us: u64) -> Measured {
        let time = Duration::from_micros(us);
        let verdict = Some(Verdict::Forwarded);
        Measured { standing, verdict, status, duration: time, upstream: Some(time) }
    }

    #[test]
    fn each_exchange_is_counted_once_whatever_core_carried_it() {
        let meters = Meters::new(2);
        for core in 0..3 {
            meters.of(core).count(&measured(Some(StandingWord::Known), 200, 250));
        }
        meters.of(0).count(&measured(None, 999, u64::MAX));
        let read = meters.read();
        let known = Some(StandingWord::Known);
        let forwarded = Some(Verdict::Forwarded);
        assert_eq!(read.count(known, forwarded, StatusClass::Success), 3);
        assert_eq!(read.count(None, forwarded, StatusClass::ServerError), 1);
        assert_eq!((read.total(), read.of_verdict(forwarded), read.of_standing(known)), (4, 4, 3));
        assert_eq!((read.known_duration.count(), read.other_duration.count()), (3, 1));
    }

    #[test]
    fn a_bound_is_in_its_bucket() {
        let meters = Meters::new(1);
        for us in [0, 250, 251, 30_000_000, 30_000_001] {
            meters.of(0).count(&measured(Some(StandingWord::Known), 200, us));
        }
        let counts = meters.read().known_duration.counts;
        assert_eq!((counts[0], counts[1], counts[15], counts[16]), (2, 1, 1, 1));
        assert_eq!(meters.read().known_duration.sum_us, 60_000_502);
    }
}
