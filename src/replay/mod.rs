//! What a configuration would have done to the requests of an access log.
//!
//! Two ways, which ask the same [`Guard`](crate::guard::Guard) that a running proxy asks, with the
//! times of the log:
//!
//! - *Foreign* logs (the Common Log Format and its kin, JSON) have no cookies in them. Two [`world`]s
//!   are told of, between which the truth lies, as far as what is [`assume`]d of answers is true.
//! - Floodwall's own JSON log tells in which order the guard decided, on what, and what it was told of
//!   each answer: decided [`exact`]ly so again, each line has the verdict that it had. Where something
//!   is missing, the report says what and from when on.
//!
//! Memory is bounded whatever is in a log: attackers wrote it. It knows neither sockets nor the proxy,
//! and reads no clock.

pub mod assume;
pub mod exact;
pub mod fields;
mod foreign;
pub mod input;
pub mod lines;
pub mod own;
pub mod report;
pub mod scan;
pub mod stamp;
pub mod tables;
pub mod visitors;
mod window;
pub mod world;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ipnet::IpNet;

use self::assume::Assume;
use self::input::{InputError, Log};
use self::lines::Format;
use self::report::Report;
use crate::config::{Config, HostPattern, Site};
use crate::guard::policy::Policy;
use crate::telemetry::flood::FloodSettings;

/// Under what the requests are decided.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The name of the site.
    pub site: String,
    pub policy: Policy,
    pub floods: FloodSettings,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted: Vec<IpNet>,
    pub assume: Assume,
    /// `None`: it is found out.
    pub format: Option<Format>,
    /// Visitors, and lines, that are told of one by one.
    pub list: usize,
    /// Behind the hashes of the guards.
    pub secret: [u8; 16],
    /// Those of the site, where there are others; none takes every host.
    hosts: Vec<HostPattern>,
}

impl Setting {
    /// As this site of a configuration has it.
    pub fn new(config: &Config, site: &Site) -> Self {
        let log = config.log();
        Self {
            site: site.name().to_owned(),
            policy: site.policy().clone(),
            floods: FloodSettings {
                events: log.flood_events.get(),
                quiet: log.flood_quiet,
                interval: log.flood_interval,
            },
            trusted: config.trusted_proxies().to_vec(),
            assume: Assume::Rules,
            format: None,
            list: 20,
            secret: *b"replayed offline",
            hosts: if config.sites().len() > 1 { site.hosts().to_vec() } else { Vec::new() },
        }
    }

    /// Whether a request for this host is for the site; one that names none is.
    fn is_for(&self, host: Option<&[u8]>) -> bool {
        let Some(host) = host.filter(|host| !self.hosts.is_empty() && !host.is_empty()) else {
            return true;
        };
        let host = String::from_utf8_lossy(host).to_ascii_lowercase();
        let bare = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => &host,
        };
        self.hosts.iter().any(|pattern| match pattern {
            HostPattern::Exact(exact) => bare == exact,
            HostPattern::Below(above) => {
                bare.strip_suffix(above.as_str()).is_some_and(|name| name.ends_with('.'))
            }
        })
    }
}

/// How far it has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Of the logs, as they stand on the disk.
    pub bytes: u64,
    /// All of them; `None` where standard input is one.
    pub of: Option<u64>,
    pub lines: u64,
}

/// What the threads count.
#[derive(Debug, Default)]
struct Counters {
    bytes: Arc<AtomicU64>,
    lines: AtomicU64,
}

/// Reads all of these logs, the oldest first, and says what would have become of their requests.
/// `progress` is called a few times a second.
///
/// # Errors
/// One of them cannot be read.
pub fn replay(
    setting: &Setting,
    logs: &[PathBuf],
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, InputError> {
    let counters = Counters::default();
    let opened = logs.iter().map(|path| Log::open(path, &counters.bytes));
    let opened: Vec<Log> = opened.collect::<Result<_, _>>()?;
    let mut dated: Vec<(Format, Option<u64>, Log)> = Vec::new();
    for log in opened {
        let format = setting.format.or_else(|| Format::detect(log.start()));
        let format = format.unwrap_or(Format::Text);
        dated.push((format, format.first_time(log.start()), log));
    }
    // Those without a time stay in front of the one that they were named before.
    let mut latest = 0;
    let mut keyed: Vec<_> = dated
        .into_iter()
        .map(|(format, time, log)| {
            latest = time.unwrap_or(latest);
            (latest, format, log)
        })
        .collect();
    keyed.sort_by_key(|(time, ..)| *time);
    let logs: Vec<(Format, Log)> =
        keyed.into_iter().map(|(_, format, log)| (format, log)).collect();
    let exact = !logs.is_empty() && logs.iter().all(|(format, _)| *format == Format::Own);
    let of = logs.iter().map(|(_, log)| log.bytes).sum::<Option<u64>>();
    watched(&counters, of, progress, || {
        if exact {
            exact::replay(setting, logs, &counters)
        } else {
            foreign::replay(setting, logs, &counters)
        }
    })
}

/// Does the work on a thread of its own, and tells meanwhile how far it has come.
fn watched<T: Send>(
    counters: &Counters,
    of: Option<u64>,
    progress: &mut dyn FnMut(Progress),
    work: impl FnOnce() -> T + Send,
) -> T {
    const PAUSE: Duration = Duration::from_millis(200);
    thread::scope(|scope| {
        let (done, ended) = mpsc::channel::<()>();
        let worker = scope.spawn(move || {
            let _ended_when_dropped = done;
            work()
        });
        while ended.recv_timeout(PAUSE) == Err(mpsc::RecvTimeoutError::Timeout) {
            let bytes = counters.bytes.load(Ordering::Relaxed);
            progress(Progress { bytes, of, lines: counters.lines.load(Ordering::Relaxed) });
        }
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
