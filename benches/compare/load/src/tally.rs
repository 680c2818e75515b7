//! What came of the requests: counts, latencies, and what it took.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use rustls::HandshakeKind;
use serde_json::{Value, json};

use crate::cpu::{self, Core};
use crate::wire::{Answer, SetSession};

/// A request that is sent so much later than it was due is late.
pub const LATE: Duration = Duration::from_millis(1);
/// More than this share of the CPU, or of late requests, is the generator's own limit: half of what the 99th
/// percentile leaves out.
const BUSY: f64 = 0.95;
const MANY_LATE: f64 = 0.005;

/// Why a request had no answer, or the wrong one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody listens.
    Refused,
    Reset,
    /// The connection ended before the whole answer had come.
    Closed,
    /// A kept connection ended when it was used again: browsers then ask once more.
    Stale,
    Timeout,
    /// No answer of HTTP/1.
    Unreadable,
    Tls,
    /// This machine has no port left.
    NoPort,
    /// A status that was not expected.
    Status,
    Other,
}

impl Failure {
    pub const ALL: [Self; 10] = [
        Self::Refused,
        Self::Reset,
        Self::Closed,
        Self::Stale,
        Self::Timeout,
        Self::Unreadable,
        Self::Tls,
        Self::NoPort,
        Self::Status,
        Self::Other,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::Stale => "stale",
            Self::Timeout => "timeout",
            Self::Unreadable => "unreadable",
            Self::Tls => "tls",
            Self::NoPort => "no_port",
            Self::Status => "status",
            Self::Other => "other",
        }
    }

    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => Self::NoPort,
            _ if error.get_ref().is_some_and(|source| source.is::<rustls::Error>()) => Self::Tls,
            _ => Self::Other,
        }
    }
}

/// When the window opened, and how much CPU had been used.
struct Opened {
    at: Instant,
    wall: f64,
    own: Duration,
    core: Option<Core>,
    watched: Vec<(u32, Option<Duration>)>,
}

/// When it was closed, and what it took.
struct Window {
    from: f64,
    to: f64,
    length: Duration,
    own: Duration,
    core: Option<f64>,
    watched: BTreeMap<String, Option<f64>>,
}

pub struct Tally {
    /// The core that we run on, if only there.
    core: Option<usize>,
    watch: Vec<u32>,
    opened: Option<Opened>,
    window: Option<Window>,
    statuses: Vec<u64>,
    failures: [u64; Failure::ALL.len()],
    /// In nanoseconds.
    latencies: Histogram<u64>,
    /// Heads and bodies, as far as they came while the window was open.
    bytes: u64,
    pub connections: u64,
    /// Kept connections that the other side closed while nothing was asked.
    pub closed_idle: u64,
    pub set_cookies: u64,
    pub deleted_cookies: u64,
    pub handshakes: u64,
    pub resumed: u64,
    pub late: u64,
    /// Sent late because all connections were waiting for answers.
    pub waited: u64,
    pub unfinished: u64,
}

impl Tally {
    pub fn new(core: Option<usize>, watch: Vec<u32>) -> Self {
        let latencies =
            Histogram::new_with_bounds(1, 1_000_000_000_000, 3).expect("bounds that it takes");
        Self {
            core,
            watch,
            opened: None,
            window: None,
            statuses: vec![0; 1000],
            failures: [0; Failure::ALL.len()],
            latencies,
            bytes: 0,
            connections: 0,
            closed_idle: 0,
            set_cookies: 0,
            deleted_cookies: 0,
            handshakes: 0,
            resumed: 0,
            late: 0,
            waited: 0,
            unfinished: 0,
        }
    }

    fn watched(&self) -> Vec<(u32, Option<Duration>)> {
        self.watch.iter().map(|process| (*process, cpu::of(*process))).collect()
    }

    /// What was counted before is forgotten.
    pub fn open(&mut self) {
        *self = Self::new(self.core, std::mem::take(&mut self.watch));
        self.opened = Some(Opened {
            watched: self.watched(),
            core: self.core.and_then(Core::read),
            wall: wall(),
            own: cpu::own(),
            at: Instant::now(),
        });
    }

    pub fn close(&mut self) {
        let Some(opened) = self.opened.take() else { return };
        let length = opened.at.elapsed();
        let own = cpu::own().saturating_sub(opened.own);
        let used = |(process, before): (u32, Option<Duration>)| {
            let used = cpu::of(process).zip(before);
            (
                process.to_string(),
                used.map(|(now, before)| now.saturating_sub(before).as_secs_f64()),
            )
        };
        let core = self.core.and_then(Core::read).zip(opened.core);
        self.window = Some(Window {
            from: opened.wall,
            to: wall(),
            length,
            own,
            core: core.map(|(now, before)| now.share(before)),
            watched: opened.watched.into_iter().map(used).collect(),
        });
    }

    pub fn answer(&mut self, answer: &Answer, latency: Duration, expected: bool) {
        self.statuses[usize::from(answer.status) % 1000] += 1;
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(nanoseconds.max(1));
        match answer.session {
            SetSession::No => {}
            SetSession::Key(_) => self.set_cookies += 1,
            SetSession::Deleted => self.deleted_cookies += 1,
        }
        if !expected {
            self.failure(Failure::Status);
        }
    }

    /// So many bytes have come.
    pub fn read(&mut self, length: usize) {
        if self.opened.is_some() {
            self.bytes += length as u64;
        }
    }

    pub fn failure(&mut self, failure: Failure) {
        self.failures[failure as usize] += 1;
    }

    pub fn handshake(&mut self, kind: HandshakeKind) {
        self.handshakes += 1;
        if kind == HandshakeKind::Resumed {
            self.resumed += 1;
        }
    }

    /// Answers that have come whole.
    pub fn answers(&self) -> u64 {
        self.latencies.len()
    }

    /// The result, once the window is closed.
    pub fn report(&self) -> Value {
        let Some(window) = &self.window else { return Value::Null };
        let seconds = window.length.as_secs_f64();
        let share = window.own.as_secs_f64() / seconds;
        let late = self.late as f64 / self.answers().max(1) as f64;
        let saturated =
            share > BUSY || window.core.is_some_and(|share| share > BUSY) || late > MANY_LATE;
        let by_status: BTreeMap<_, _> = (self.statuses.iter().enumerate())
            .filter(|(_, count)| **count > 0)
            .map(|(status, count)| (status.to_string(), *count))
            .collect();
        let errors: BTreeMap<_, _> = (Failure::ALL.into_iter())
            .map(|failure| (failure.word(), self.failures[failure as usize]))
            .filter(|(_, count)| *count > 0)
            .collect();
        let percentile = |share: f64| self.latencies.value_at_quantile(share) as f64 / 1e3;
        json!({
            "requests": self.answers(),
            "by_status": by_status,
            "errors": errors,
            "unfinished": self.unfinished,
            "set_cookies": self.set_cookies,
            "deleted_cookies": self.deleted_cookies,
            "bytes": self.bytes,
            "connections": self.connections,
            "closed_idle": self.closed_idle,
            "handshakes": self.handshakes,
            "resumed": self.resumed,
            "seconds": seconds,
            "rate": self.answers() as f64 / seconds,
            "p50": percentile(0.5),
            "p90": percentile(0.9),
            "p99": percentile(0.99),
            "p999": percentile(0.999),
            "max": self.latencies.max() as f64 / 1e3,
            "late": self.late,
            "waited": self.waited,
            "own_cpu_seconds": window.own.as_secs_f64(),
            "own_cpu_share": share,
            "core_busy_share": window.core,
            "watched_cpu_seconds": window.watched,
            "cpu_start": window.from,
            "cpu_end": window.to,
            "saturated": saturated,
        })
    }
}

/// Seconds since 1970.
fn wall() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
