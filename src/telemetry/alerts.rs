//! Alerts: a flood's beginning and its end, told to whoever is to wake up.
//!
//! There are three [`Destination`]s: a webhook, a syslog and journald. Each has a bounded queue and a
//! thread of its own, so that no request ever waits for a receiver, and no receiver for another.
//! What cannot be delivered is tried again for a while; what finds no place in the queue, or is given
//! up, is counted and told of in the log. Of two alerts the one that tells of an end stays: it says
//! everything that the beginning said.
//!
//! It promises that what it sends holds no session key and nothing that a stranger chose but
//! addresses; and that the address of a webhook, which may be a secret, is in no line of the log but
//! for its host.

mod channel;
mod journald;
mod message;
mod syslog;
mod webhook;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::channel::Channel;
use self::journald::Journald;
use self::message::{Flood, Message};
use self::syslog::Syslog;
pub use self::syslog::SyslogAddress;
use self::webhook::Webhook;
pub use self::webhook::{Secret, WebhookSettings};
use super::flood::{FloodRecord, Phase};
use crate::guard::moment::Moment;

/// For how long the last alerts may take on their way, at the end of the process.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// Floods that are remembered from their beginning to their end. There is one for each route of each
/// site at most; what is beyond has another name at its end.
const MOST_RUNNING: usize = 100_000;

/// The present: as a moment, and in milliseconds since 1970.
pub type Now = dyn Fn() -> (Moment, u64) + Send + Sync;

/// Where an alert goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    Webhook,
    Syslog,
    Journald,
}

impl Destination {
    pub const ALL: [Self; 3] = [Self::Webhook, Self::Syslog, Self::Journald];

    /// The word for it in TOML, logs and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Syslog => "syslog",
            Self::Journald => "journald",
        }
    }
}

/// Where alerts go, and how long they are tried for.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub webhook: Option<WebhookSettings>,
    pub syslog: Option<SyslogAddress>,
    /// journald's socket.
    pub journald: Option<PathBuf>,
    /// How many wait for each destination at most.
    pub queue: usize,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// For how long an alert is tried again.
    pub retry_for: Duration,
}

/// What became of the alerts to one destination since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub destination: Destination,
    /// They wait, or are on their way.
    pub waiting: u64,
    pub delivered: u64,
    /// Attempts that failed; some alerts were delivered by a later one.
    pub failed: u64,
    /// Alerts that were tried and given up.
    pub given_up: u64,
    /// Alerts that found no place in the queue.
    pub dropped: u64,
}

/// Why a flood has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// There was no event for `flood_quiet`.
    Quiet,
    /// Whoever watched it stops: the process, or the site.
    Stopped,
}

impl End {
    const fn word(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Stopped => "stopped",
        }
    }
}

/// The alerts of a process. Shared by the cores.
pub struct Alerts {
    now: Arc<Now>,
    host: String,
    /// The floods that run, by site and route.
    running: Mutex<HashMap<(String, String), Running>>,
    channels: [Channel; Destination::ALL.len()],
    settings: Mutex<Settings>,
}

/// What is kept of a flood until its end.
#[derive(Clone)]
struct Running {
    id: String,
    started_unix_ms: u64,
}

/// What became of a test at one destination.
#[derive(Debug)]
pub struct Tried {
    pub destination: Destination,
    /// As far as it is no secret.
    pub to: String,
    pub outcome: Result<(), String>,
}

/// A line for each destination that was tried.
///
/// # Errors
/// One has not got it, or there is none.
pub fn told(tried: &[Tried]) -> Result<String, String> {
    if tried.is_empty() {
        let remedy = "give webhook, syslog or journald in [alerts] a value";
        return Err(format!("floodwall: alerts go nowhere\n  = {remedy}"));
    }
    let line = |tried: &Tried| {
        let (destination, to) = (tried.destination.word(), &tried.to);
        match &tried.outcome {
            Ok(()) => format!("{destination} {to}: sent\n"),
            Err(why) => format!("{destination} {to}: not delivered: {why}\n"),
        }
    };
    let text: String = tried.iter().map(line).collect();
    if tried.iter().all(|tried| tried.outcome.is_ok()) { Ok(text) } else { Err(text) }
}

impl Alerts {
    /// To nobody, until [`Alerts::put`] is called.
    pub fn new(now: Arc<Now>) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let channels = Destination::ALL.map(|destination| Channel::new(destination, &now));
        Self {
            now,
            host: host.trim().to_owned(),
            running: Mutex::default(),
            channels,
            settings: Mutex::default(),
        }
    }

    /// Puts destinations in force. What waits goes on to the new address of its destination, and is
    /// dropped where that is gone.
    ///
    /// # Errors
    /// A thread cannot be had. Some destinations are as they were then.
    pub fn put(&self, settings: Settings) -> io::Result<()> {
        let patience = channel::Patience {
            queue: settings.queue,
            timeout: settings.timeout,
            retry_for: settings.retry_for,
        };
        let destinations = Destination::ALL.map(|destination| Way::of(destination, &settings));
        for (channel, way) in self.channels.iter().zip(destinations) {
            channel.put(way.map(Arc::new), patience)?;
        }
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings;
        Ok(())
    }

    /// What is in force.
    pub fn settings(&self) -> Settings {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells of a flood, if it begins or ends. `site` and `route` are fit for a line.
    pub(super) fn flood(&self, site: Option<&str>, route: &str, record: &FloodRecord, end: End) {
        let site = site.unwrap_or(DEFAULT_SITE);
        let (_, now) = (self.now)();
        let key = (site.to_owned(), route.to_owned());
        let duration = u64::try_from(record.duration.as_millis()).unwrap_or(u64::MAX);
        // As its latest event was just now.
        let begun = || Running { id: random_name(), started_unix_ms: now.saturating_sub(duration) };
        let (running, end) = match record.phase {
            Phase::Continues => return,
            Phase::Started => {
                let begun = begun();
                let mut running = self.running();
                if running.len() < MOST_RUNNING {
                    running.insert(key, begun.clone());
                }
                (begun, None)
            }
            Phase::Ended => (self.running().remove(&key).unwrap_or_else(begun), Some(end)),
        };
        if !self.channels.iter().any(Channel::is_on) {
            return;
        }
        let message = Arc::new(Message::of_flood(&Flood {
            host: &self.host,
            now_unix_ms: now,
            id: &running.id,
            site,
            route,
            started_unix_ms: running.started_unix_ms,
            end,
            record,
        }));
        for channel in &self.channels {
            channel.tell(&message);
        }
    }

    /// Sends one alert that says it is a test to each of these destinations, now, once, and waits
    /// for what becomes of it: for as long as `timeout` for each.
    pub fn test(settings: &Settings, now: &Now) -> Vec<Tried> {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let ways = Destination::ALL.map(|destination| Way::of(destination, settings));
        let tried = Destination::ALL.into_iter().zip(ways).filter_map(|(destination, way)| {
            let way = way?;
            let (_, unix_ms) = now();
            let message = Message::of_test(host.trim(), unix_ms, &random_name());
            let outcome = way.send(&message, unix_ms, settings.timeout);
            let outcome = outcome.map_err(|failure| failure.why);
            Some(Tried { destination, to: way.to_string(), outcome })
        });
        tried.collect()
    }

    /// What became of them, by destination.
    pub fn counts(&self) -> [Counts; Destination::ALL.len()] {
        self.channels.each_ref().map(Channel::counts)
    }

    /// Tells of alerts that were dropped. To be called once a second.
    pub fn tick(&self, now: Moment) {
        self.channels.iter().for_each(|channel| channel.tell_dropped(now));
    }

    /// Sends what is left, for five seconds at most, and tells of what could not be sent. To be
    /// called once, after the last flood has ended.
    pub fn finish(&self) {
        let (now, _) = (self.now)();
        let until = now.after(LAST_PATIENCE);
        self.channels.iter().for_each(|channel| channel.end(until));
        for channel in &self.channels {
            channel.await_end((self.now)().0, until);
        }
    }

    /// Nothing is inconsistent between two steps.
    fn running(&self) -> MutexGuard<'_, HashMap<(String, String), Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the one site is called that a configuration without `[[site]]` has.
const DEFAULT_SITE: &str = "default";

/// A way to a destination.
enum Way {
    Webhook(Webhook),
    Syslog(Syslog),
    Journald(Journald),
}

impl Way {
    fn of(destination: Destination, settings: &Settings) -> Option<Self> {
        match destination {
            Destination::Webhook => settings.webhook.as_ref().map(Webhook::new).map(Self::Webhook),
            Destination::Syslog => settings.syslog.clone().map(Syslog::new).map(Self::Syslog),
            Destination::Journald => {
                settings.journald.clone().map(Journald::new).map(Self::Journald)
            }
        }
    }

    /// Sends a message once, in this time.
    fn send(&self, message: &Message, unix_ms: u64, timeout: Duration) -> Result<(), Failure> {
        match self {
            Self::Webhook(webhook) => webhook.send(message, unix_ms, timeout),
            Self::Syslog(syslog) => syslog.send(message, timeout).map_err(Failure::from),
            Self::Journald(journald) => journald.send(message, timeout).map_err(Failure::from),
        }
    }
}

impl fmt::Display for Way {
    /// Where it leads, as far as that is no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook(webhook) => webhook.fmt(f),
            Self::Syslog(syslog) => syslog.fmt(f),
            Self::Journald(journald) => journald.fmt(f),
        }
    }
}

/// Why a message was not delivered.
struct Failure {
    /// Fit for a line.
    why: String,
    again: Again,
}

/// Whether another attempt is of use.
enum Again {
    No,
    Yes,
    /// Not before this has passed: the receiver says so.
    After(Duration),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self { why: super::escape::visible(&error), again: Again::Yes }
    }
}

/// A name that nothing else has: 16 hexadecimal digits.
fn random_name() -> String {
    format!("{:016x}", random())
}

/// 64 random bits; where the system has none, there are worse things than names that repeat.
fn random() -> u64 {
    getrandom::u64().unwrap_or_default()
}

impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alerts").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
