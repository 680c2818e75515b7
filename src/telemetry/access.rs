//! The access log: one line for each exchange, written off the request's way.
//!
//! A core renders its lines into a [`Lane`] of its own, a buffer in memory; one thread collects the
//! lanes twenty times a second and writes what is there, whole lines, to a file. Where the disk is
//! slow, full or gone, the lanes fill up to [`Lane::BYTES`], and what comes then is dropped and
//! counted: nobody ever waits for a disk. How many were dropped is told in the ordinary log, once a
//! minute at most.
//!
//! It promises a line for each [`Exchange`] that it was given and that was not counted as dropped,
//! in full, once, and without a line break or a control byte of a stranger's. Session keys have no
//! place in it: no cookie is ever given to it, but hashes of keys that only this process can make. It
//! refuses to know what an exchange is about.
//!
//! Lines in JSON have in them what a replay needs to decide again exactly as it was decided, see
//! [`trace`]: for that the decisions about a site are made one at a time, and numbered, while this
//! format is on. A line that was dropped leaves a gap in the numbers.

mod put;
mod render;
pub mod trace;
mod writer;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use self::trace::{Mark, Order, Trace};
use self::writer::{Orders, Writer};
use super::repeat::Repeat;
pub use super::target::OpenError;
use super::target::Target;
use crate::guard::moment::Moment;
use crate::guard::route::StandingWord;

/// Between two lines of the ordinary log that tell of dropped ones.
const TOLD_SPAN: Duration = Duration::from_secs(60);

/// For how long the last lines may take on their way to the disk, at the end.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// There is none.
    Off,
    /// The Common Log Format of Apache and nginx.
    Common,
    /// The same, and the fields `Referer` and `User-Agent`.
    Combined,
    /// One JSON object with all that is known.
    Json,
}

impl Format {
    pub const ALL: [Self; 4] = [Self::Off, Self::Common, Self::Combined, Self::Json];

    /// The word for it in TOML.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Common => "common",
            Self::Combined => "combined",
            Self::Json => "json",
        }
    }

    fn from_code(code: u8) -> Self {
        Self::ALL.into_iter().find(|format| *format as u8 == code).unwrap_or(Self::Off)
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Forwarded,
    /// Forwarded with a spare.
    Recycled,
    Refused,
    Challenged,
    /// The proxy replied itself.
    Answered,
    /// Forwarded, and relayed as another protocol from then on.
    Tunnelled,
    /// Not taken as it was: it could not be read, or no site is for it.
    Rejected,
}

impl Verdict {
    pub const ALL: [Self; 7] = [
        Self::Forwarded,
        Self::Recycled,
        Self::Refused,
        Self::Challenged,
        Self::Answered,
        Self::Tunnelled,
        Self::Rejected,
    ];

    /// The word for it in lines.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Recycled => "recycled",
            Self::Refused => "refused",
            Self::Challenged => "challenged",
            Self::Answered => "answered",
            Self::Tunnelled => "tunnelled",
            Self::Rejected => "rejected",
        }
    }
}

/// The request line, as it came.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// As in `HTTP/1.1`.
    pub protocol: &'a str,
}

/// What is told of one exchange. What strangers chose may be any bytes.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// When its head had come, in milliseconds since 1970.
    pub began_unix_ms: u64,
    pub duration: Duration,
    pub site: Option<&'a str>,
    /// Who is held responsible.
    pub client: IpAddr,
    /// The other end of the socket.
    pub peer: IpAddr,
    /// `None` where it could not be read.
    pub request: Option<RequestLine<'a>>,
    pub host: Option<&'a [u8]>,
    pub user_agent: Option<&'a [u8]>,
    pub referer: Option<&'a [u8]>,
    pub status: u16,
    /// Of the body, as far as it was relayed.
    pub bytes: u64,
    /// Where it was sent on, and how long it took to the head of the response.
    pub upstream: Option<&'a str>,
    pub upstream_time: Option<Duration>,
    pub standing: Option<StandingWord>,
    /// The name of its rule.
    pub route: Option<&'a str>,
    /// What was known of its path class, where no rule names it.
    pub class: Option<&'static str>,
    pub verdict: Option<Verdict>,
    /// Why it was refused or rejected, or how it failed: a word of our own.
    pub why: Option<&'static str>,
    /// Whether the response did not reach its end.
    pub aborted: bool,
    /// What it takes to decide about it again, where the guard was asked.
    pub trace: Option<&'a Trace>,
    /// It was told another budget than its address would get.
    pub stands_in: bool,
}

/// What is told of a health check.
#[derive(Clone, Copy, Debug)]
pub struct Check<'a> {
    pub unix_ms: u64,
    pub site: &'a str,
    pub client: IpAddr,
    pub target: &'a str,
    pub trace: &'a Trace,
}

/// The access log of a process.
pub struct AccessLog {
    shared: Arc<Shared>,
    told: Mutex<Told>,
}

/// What cores, writer and owner share.
struct Shared {
    format: AtomicU8,
    lanes: Mutex<Vec<Arc<Lane>>>,
    /// Lines that were dropped.
    dropped: AtomicU64,
    /// Why the latest could not be written; `None`: the disk did not keep up.
    trouble: Mutex<Option<String>>,
    orders: Mutex<Orders>,
    /// Told when the writer has carried out an order to end.
    ended: Condvar,
    writer: Mutex<Option<Thread>>,
}

/// Where one core puts its lines.
pub struct Lane {
    shared: Arc<Shared>,
    lines: Mutex<Vec<u8>>,
}

#[derive(Default)]
struct Told {
    repeat: Repeat,
    /// So many of the dropped lines were told of.
    told: u64,
}

impl AccessLog {
    /// None, until [`AccessLog::put`] is called.
    pub fn off() -> Self {
        let shared = Shared {
            format: AtomicU8::new(Format::Off as u8),
            lanes: Mutex::default(),
            dropped: AtomicU64::new(0),
            trouble: Mutex::default(),
            orders: Mutex::default(),
            ended: Condvar::new(),
            writer: Mutex::default(),
        };
        Self { shared: Arc::new(shared), told: Mutex::default() }
    }

    /// Puts a format and a file in force: `-` and `/dev/stdout` are standard output, `/dev/stderr`
    /// standard error; a new file is readable by its owner and group. What was logged before goes
    /// to the file before.
    ///
    /// # Errors
    /// The file cannot be opened: then all stays as it was. Never waits for the reader of a FIFO.
    pub fn put(&self, format: Format, file: Option<&Path>) -> Result<(), OpenError> {
        let Some(file) = file.filter(|_| format != Format::Off) else {
            self.shared.format.store(Format::Off as u8, Ordering::Relaxed);
            return Ok(());
        };
        let failed = |source| OpenError::new("access_log.file", file, source);
        let target = Target::open(file).map_err(failed)?;
        self.write_to(target).map_err(failed)?;
        self.shared.format.store(format as u8, Ordering::Relaxed);
        self.shared.wake();
        Ok(())
    }

    /// Lines that were dropped so far.
    pub fn lines_dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// A lane for a core. It is looked through for as long as this log lives.
    pub fn lane(&self) -> Arc<Lane> {
        let lane = Arc::new(Lane { shared: Arc::clone(&self.shared), lines: Mutex::default() });
        lock(&self.shared.lanes).push(Arc::clone(&lane));
        lane
    }

    /// The numbers of a site's decisions, from 0; `start` is told with the first.
    pub fn order(&self, start: Mark) -> Order {
        Order::new(&self.shared, start)
    }

    /// Opens the file anew, after what was logged before went to the one that was open: a rotation
    /// renames the file first, and then asks for this.
    pub fn reopen(&self) {
        lock(&self.shared.orders).reopen = true;
        self.shared.wake();
    }

    /// Tells of lines that were dropped. To be called once a second.
    pub fn tick(&self, now: Moment) {
        self.tell(now, TOLD_SPAN);
    }

    /// Writes what is left, for five seconds at most, and tells of what could not be written. To be
    /// called once, after the last exchange.
    pub fn finish(&self, now: Moment) {
        if lock(&self.shared.writer).is_some() {
            let mut orders = lock(&self.shared.orders);
            orders.end = true;
            self.shared.wake();
            let ended = |orders: &mut Orders| !orders.ended;
            orders = match self.shared.ended.wait_timeout_while(orders, LAST_PATIENCE, ended) {
                Ok((orders, _)) => orders,
                Err(poisoned) => poisoned.into_inner().0,
            };
            if !orders.ended {
                drop(orders);
                let lanes = lock(&self.shared.lanes);
                // The writer holds none of these locks while it writes.
                let left = lanes.iter().map(|lane| lines(&lock(&lane.lines))).sum();
                self.shared.drop_lines(left, None);
            }
        }
        self.tell(now, Duration::ZERO);
    }

    /// Has the writer write there, and starts it where none runs.
    fn write_to(&self, target: Target) -> io::Result<()> {
        let mut writer = lock(&self.shared.writer);
        if writer.is_some() {
            lock(&self.shared.orders).target = Some(target);
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new()
            .name(String::from("access-log"))
            .spawn(move || Writer::new(shared, target).run())?;
        *writer = Some(thread.thread().clone());
        Ok(())
    }

    fn tell(&self, now: Moment, span: Duration) {
        let mut told = lock(&self.told);
        let all = self.lines_dropped();
        let dropped = all - told.told;
        if dropped == 0 || told.repeat.admit(now, span).is_none() {
            return;
        }
        told.told = all;
        drop(told);
        let why = lock(&self.shared.trouble).take();
        let (why, remedy) = match &why {
            Some(why) => (why.as_str(), "make room, or mend access_log.file"),
            None => ("they came faster than they could be written", "give it a faster disk"),
        };
        tracing::warn!(dropped, why, remedy, "lines of the access log were dropped");
    }
}

impl Shared {
    fn format(&self) -> Format {
        Format::from_code(self.format.load(Ordering::Relaxed))
    }

    /// Has the writer look at what there is.
    fn wake(&self) {
        if let Some(writer) = &*lock(&self.writer) {
            writer.unpark();
        }
    }

    fn drop_lines(&self, number: u64, why: Option<String>) {
        if number > 0 {
            self.dropped.fetch_add(number, Ordering::Relaxed);
        }
        if why.is_some() {
            *lock(&self.trouble) = why;
        }
    }
}

impl Lane {
    /// What it holds at most, beside the line that reaches it; as much again is with the writer.
    pub const BYTES: usize = 1 << 20;

    /// Whether anything is logged. One load, of what no request changes.
    pub fn is_on(&self) -> bool {
        self.shared.format.load(Ordering::Relaxed) != Format::Off as u8
    }

    /// Puts the line of an exchange on its way, or drops and counts it. Waits for nothing but the
    /// writer's taking the whole buffer.
    pub fn log(&self, exchange: &Exchange<'_>) {
        self.put(|format, out| render::line(format, exchange, out));
    }

    /// The same for a health check: only a replay needs to know of it.
    pub fn log_check(&self, check: &Check<'_>) {
        if self.shared.format() == Format::Json {
            self.put(|_, out| render::check(check, out));
        }
    }

    fn put(&self, render: impl FnOnce(Format, &mut Vec<u8>)) {
        let format = self.shared.format();
        let mut lines = lock(&self.lines);
        if lines.len() >= Self::BYTES {
            drop(lines);
            self.shared.drop_lines(1, None);
            return;
        }
        let first = lines.is_empty();
        render(format, &mut lines);
        drop(lines);
        // Otherwise it has been woken, and has not come yet.
        if first {
            self.shared.wake();
        }
    }
}

/// A lock that no panic has left in a bad state: what it guards is whole between any two steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many lines end in these bytes.
fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").field("format", &self.shared.format()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
