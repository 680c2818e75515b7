//! Whether one server can be used. Pure but for atomics: time and outcomes are arguments.
//!
//! A server is put down by failures in a row, its own checks' or those of exchanges. Where it is
//! checked, checks bring it back; where it is not, it is tried again after a while with one
//! exchange at a time, and is back with the first that succeeds. A server that is back takes up
//! its share little by little.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::guard::moment::Moment;

/// When a server is put down, and when it is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// So many failures of exchanges in a row put it down; 0: none do.
    pub eject_after: u32,
    /// After which it is tried again.
    pub eject_for: Duration,
    /// In which its share grows from a tenth to the whole.
    pub slow_start: Duration,
    pub return_by: ReturnBy,
}

/// What brings a server back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnBy {
    /// Its checks.
    Checks,
    /// An exchange that succeeds.
    Trial,
}

/// Checks in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// That bring it back.
    pub healthy: u32,
    /// That put it down.
    pub unhealthy: u32,
}

/// Whether exchanges may be sent to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    Up,
    /// One at a time.
    OnTrial,
    Down,
}

/// A change that is worth a line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Down(Reason),
    /// After having been down for so long.
    Up(Duration),
}

/// Why a server is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// So many exchanges failed in a row, the latest like this.
    Exchanges { failures: u32, latest: &'static str },
    /// So many checks did.
    Checks { failures: u32, latest: String },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, failures, latest) = match self {
            Self::Exchanges { failures, latest } => ("exchanges", failures, *latest),
            Self::Checks { failures, latest } => ("checks", failures, latest.as_str()),
        };
        write!(f, "{what} failed {failures} times in a row: {latest}")
    }
}

/// The health of one server. Reading it takes no lock, nor does a success of one that is well.
#[derive(Debug, Default)]
pub struct Health {
    record: Mutex<Record>,
    /// When it may be used, in nanoseconds; 0: it is up.
    usable_from: AtomicU64,
    /// Since when it is up again; 0: always.
    back_since: AtomicU64,
    /// Whether a success changes anything.
    marked: AtomicBool,
    on_trial: AtomicBool,
}

#[derive(Debug, Default)]
struct Record {
    down_since: Option<Moment>,
    /// Of exchanges, in a row.
    failures: u32,
    /// Of checks, in a row.
    bad: u32,
    good: u32,
}

/// Until somebody says otherwise.
const NEVER: u64 = u64::MAX;

/// The share with which a server begins that is back, in thousandths.
const FIRST_SHARE: u32 = 100;
/// All of it.
const WHOLE_SHARE: u32 = 1000;

impl Health {
    /// Whether it can be used.
    pub fn availability(&self, now: Moment) -> Availability {
        match self.usable_from.load(Ordering::Acquire) {
            0 => Availability::Up,
            from if from <= now.as_nanos() => Availability::OnTrial,
            _ => Availability::Down,
        }
    }

    /// Which part of its share it takes, in thousandths; `None` if it takes none.
    pub fn share(&self, rules: &Rules, now: Moment) -> Option<u32> {
        match self.availability(now) {
            Availability::Up => Some(self.share_since(rules.slow_start, now)),
            Availability::OnTrial => {
                (!self.on_trial.load(Ordering::Acquire)).then_some(FIRST_SHARE)
            }
            Availability::Down => None,
        }
    }

    fn share_since(&self, slow_start: Duration, now: Moment) -> u32 {
        let since = self.back_since.load(Ordering::Acquire);
        if since == 0 || slow_start.is_zero() {
            return WHOLE_SHARE;
        }
        let up = now.since(Moment::from_nanos(since)).as_nanos();
        let share = up.saturating_mul(u128::from(WHOLE_SHARE)) / slow_start.as_nanos();
        u32::try_from(share).unwrap_or(WHOLE_SHARE).clamp(FIRST_SHARE, WHOLE_SHARE)
    }

    /// Begins a trial, if none runs. To be ended by [`Health::end_trial`].
    pub fn begin_trial(&self) -> bool {
        !self.on_trial.swap(true, Ordering::AcqRel)
    }

    /// The exchange of a trial is over, however it was.
    pub fn end_trial(&self) {
        self.on_trial.store(false, Ordering::Release);
    }

    /// Whether an exchange has failed by its fault since one was answered, or it is down.
    pub fn is_marked(&self) -> bool {
        self.marked.load(Ordering::Acquire)
    }

    /// It answered an exchange.
    pub fn succeeded(&self, rules: &Rules, now: Moment) -> Option<Change> {
        if !self.is_marked() {
            return None;
        }
        let mut record = self.lock();
        record.failures = 0;
        let change = match rules.return_by {
            ReturnBy::Checks => None,
            ReturnBy::Trial => self.bring_back(&mut record, now),
        };
        self.marked.store(record.down_since.is_some(), Ordering::Release);
        change
    }

    /// An exchange failed by its fault; `how` is a word of ours.
    pub fn failed(&self, how: &'static str, rules: &Rules, now: Moment) -> Option<Change> {
        if rules.eject_after == 0 {
            return None;
        }
        let mut record = self.lock();
        record.failures = record.failures.saturating_add(1);
        self.marked.store(true, Ordering::Release);
        if record.failures < rules.eject_after {
            return None;
        }
        let until = match rules.return_by {
            ReturnBy::Checks => NEVER,
            ReturnBy::Trial => now.after(rules.eject_for).as_nanos(),
        };
        let reason = Reason::Exchanges { failures: record.failures, latest: how };
        self.put_down(&mut record, until, reason, now)
    }

    /// It was checked; an error says how it failed.
    pub fn checked(
        &self,
        outcome: Result<(), String>,
        thresholds: Thresholds,
        now: Moment,
    ) -> Option<Change> {
        let mut record = self.lock();
        match outcome {
            Ok(()) => {
                record.bad = 0;
                record.good = record.good.saturating_add(1);
                if record.good < thresholds.healthy {
                    return None;
                }
                let change = self.bring_back(&mut record, now);
                if change.is_some() {
                    record.failures = 0;
                }
                change
            }
            Err(latest) => {
                record.good = 0;
                record.bad = record.bad.saturating_add(1);
                if record.bad < thresholds.unhealthy {
                    return None;
                }
                let reason = Reason::Checks { failures: record.bad, latest };
                self.marked.store(true, Ordering::Release);
                self.put_down(&mut record, NEVER, reason, now)
            }
        }
    }

    /// It is checked no longer: what checks have put down is tried again from now on.
    pub fn unchecked(&self, now: Moment) {
        let record = self.lock();
        if record.down_since.is_some() {
            self.usable_from.store(now.as_nanos(), Ordering::Release);
        }
    }

    fn put_down(
        &self,
        record: &mut Record,
        until: u64,
        reason: Reason,
        now: Moment,
    ) -> Option<Change> {
        record.good = 0;
        self.usable_from.store(until, Ordering::Release);
        match record.down_since {
            Some(_) => None,
            None => {
                record.down_since = Some(now);
                Some(Change::Down(reason))
            }
        }
    }

    fn bring_back(&self, record: &mut Record, now: Moment) -> Option<Change> {
        let since = record.down_since.take()?;
        self.back_since.store(now.as_nanos(), Ordering::Release);
        self.usable_from.store(0, Ordering::Release);
        Some(Change::Up(now.since(since)))
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        // A panic leaves counts that may be one off.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const UNCHECKED: Rules =
        Rules { eject_after: 3, eject_for: SECOND, slow_start: SECOND, return_by: ReturnBy::Trial };
    const THRESHOLDS: Thresholds = Thresholds { healthy: 2, unhealthy: 3 };
    const CHECKED: Rules = Rules { return_by: ReturnBy::Checks, ..UNCHECKED };

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(0).after(Moment::HEADROOM).after(Duration::from_millis(millis))
    }

    fn fail(health: &Health, rules: &Rules, times: u32, now: Moment) -> Vec<Change> {
        (0..times).filter_map(|_| health.failed("connect", rules, now)).collect()
    }

    #[test]
    fn failures_in_a_row_put_it_down_and_a_success_after_a_while_brings_it_back() {
        let health = Health::default();
        assert_eq!(fail(&health, &UNCHECKED, 2, at(0)), []);
        assert_eq!(health.succeeded(&UNCHECKED, at(0)), None, "they were not in a row");
        assert_eq!(fail(&health, &UNCHECKED, 2, at(0)), []);
        assert_eq!(health.availability(at(0)), Availability::Up);
        let down = Change::Down(Reason::Exchanges { failures: 3, latest: "connect" });
        assert_eq!(fail(&health, &UNCHECKED, 1, at(0)), [down]);
        assert_eq!(health.availability(at(999)), Availability::Down);
        assert_eq!(health.availability(at(1000)), Availability::OnTrial);
        assert!(health.begin_trial() && !health.begin_trial());
        assert_eq!(fail(&health, &UNCHECKED, 1, at(1000)), [], "it was told");
        health.end_trial();
        assert_eq!(health.availability(at(1999)), Availability::Down);
        assert_eq!(health.availability(at(2000)), Availability::OnTrial);
        assert_eq!(health.succeeded(&UNCHECKED, at(2000)), Some(Change::Up(SECOND * 2)));
        assert_eq!(health.availability(at(2000)), Availability::Up);
        assert_eq!(fail(&health, &UNCHECKED, 2, at(2000)), []);
    }

    #[test]
    fn checks_decide_where_there_are_any() {
        let health = Health::default();
        assert_eq!(fail(&health, &CHECKED, 3, at(0)).len(), 1);
        assert_eq!(health.availability(at(60_000)), Availability::Down);
        assert_eq!(health.succeeded(&CHECKED, at(60_000)), None, "it was sent before");
        assert_eq!(health.checked(Ok(()), THRESHOLDS, at(60_000)), None);
        assert_eq!(health.checked(Err("500".into()), THRESHOLDS, at(60_000)), None);
        assert_eq!(health.checked(Ok(()), THRESHOLDS, at(60_000)), None);
        let up = Some(Change::Up(SECOND * 60));
        assert_eq!(health.checked(Ok(()), THRESHOLDS, at(60_000)), up);
        assert_eq!(fail(&health, &CHECKED, 2, at(60_000)), [], "it begins anew");
        for _ in 0..2 {
            assert_eq!(health.checked(Err("500".into()), THRESHOLDS, at(60_000)), None);
        }
        let reason = Reason::Checks { failures: 3, latest: "500".into() };
        let down = Some(Change::Down(reason));
        assert_eq!(health.checked(Err("500".into()), THRESHOLDS, at(60_000)), down);
        assert_eq!(health.checked(Err("500".into()), THRESHOLDS, at(60_000)), None);
        health.unchecked(at(61_000));
        assert_eq!(health.availability(at(61_000)), Availability::OnTrial);
    }

    #[test]
    fn what_is_back_takes_up_its_share_little_by_little() {
        let health = Health::default();
        let share = |now| health.share(&UNCHECKED, at(now));
        assert_eq!(share(0), Some(WHOLE_SHARE), "it was never away");
        fail(&health, &UNCHECKED, 3, at(0));
        assert_eq!((share(999), share(1000)), (None, Some(FIRST_SHARE)));
        assert!(health.begin_trial());
        assert_eq!(share(1000), None, "one at a time");
        health.end_trial();
        health.succeeded(&UNCHECKED, at(2000));
        let shares = [2000, 2100, 2500, 3000, 9000].map(share);
        assert_eq!(shares, [100, 100, 500, 1000, 1000].map(Some));
        let at_once = Rules { slow_start: Duration::ZERO, ..UNCHECKED };
        assert_eq!(health.share(&at_once, at(2000)), Some(WHOLE_SHARE));
    }

    #[test]
    fn no_failure_of_an_exchange_puts_down_what_is_not_to_be_ejected() {
        let health = Health::default();
        let rules = Rules { eject_after: 0, ..UNCHECKED };
        assert_eq!(fail(&health, &rules, 100, at(0)), []);
        assert_eq!(health.availability(at(0)), Availability::Up);
    }
}
