//! A world: what would have become of the requests of a foreign log, if one thing were so that the log
//! does not tell.
//!
//! It asks the same guard that a proxy asks, with the times of the log, one request after the other:
//! each is over before the next begins, as a log does not tell for how long requests went on
//! side by side.

use std::time::Duration;

use super::Setting;
use super::assume::{self, Asked, Keys};
use super::lines::{Batch, Line};
use super::tables::{Said, Tables};
use super::visitors::{Refused, Visitors};
use crate::guard::Guard;
use crate::guard::challenge::Challenged;
use crate::guard::cookie::Cookies;
use crate::guard::exchange::{Outcome, Request, Verdict};
use crate::guard::fact::Event;
use crate::guard::key::{Secret, SessionKey};
use crate::guard::ledger::Patience;
use crate::guard::moment::Moment;
use crate::guard::path;
use crate::guard::route::Effect;
use crate::guard::set_cookie::SetSession;

/// What is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nobody has a session: the most that could be refused.
    Strangers,
    /// Who has logged in has a session from then on, until the logout: less is refused.
    Members,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Strangers, Self::Members];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Strangers => "nobody has a session",
            Self::Members => "who logs in has one",
        }
    }
}

/// One of them.
pub struct World<'a> {
    pub kind: Kind,
    setting: &'a Setting,
    guard: Guard,
    keys: Keys,
    pub tables: Tables,
    pub visitors: Visitors,
    pub clock: LogClock,
}

impl<'a> World<'a> {
    pub fn new(kind: Kind, setting: &'a Setting, first_ms: u64) -> Self {
        let clock = LogClock::new(first_ms);
        let policy = setting.policy.clone();
        // Nobody aims at these hashes: a log was written before they are made.
        let guard = Guard::new(policy, Secret::new(setting.secret), 1, clock.now);
        Self {
            kind,
            tables: Tables::new(&setting.policy, setting.floods, clock.now),
            visitors: Visitors::new(setting.list),
            keys: Keys::default(),
            guard,
            setting,
            clock,
        }
    }

    /// Decides about all requests of a batch.
    pub fn take(&mut self, batch: &Batch) {
        for line in &batch.lines {
            self.decide(batch, line);
        }
    }

    /// No more requests come.
    pub fn end(&mut self) {
        self.tables.end(self.clock.now);
        self.visitors.end();
    }

    fn decide(&mut self, batch: &Batch, line: &Line) {
        let now = self.clock.read(line.unix_ms);
        let visitor = self.visitors.meet(line.visitor, line.asset);
        let session = visitor.session;
        let policy = &self.setting.policy;
        let header = session.map(|key| presented(&policy.session.cookie, &key));
        let lines = header.iter().map(Vec::as_slice);
        let cookies = Cookies::read(lines, &policy.session.cookie, policy.session.key_shape);
        let target = batch.str(line.target);
        let (raw, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let method = batch.str(line.method);
        let body = matches!(method, "POST" | "PUT" | "PATCH");
        let replayable = self.guard.challenges()
            && (matches!(method, "GET" | "HEAD" | "POST"))
            && !matches!(raw.as_bytes(), [b'/', b'/' | b'\\', ..]);
        let request = Request {
            client: line.client,
            terms: line.terms,
            challenged: Challenged::No { replayable },
            method,
            path: &path::decode(raw),
            query,
            body,
            authorization: line.authorization,
            cookies: &cookies,
        };
        let asked = Asked { status: line.status, method, asset: line.asset, session };
        let refused = |route, why| Refused {
            unix_ms: line.unix_ms,
            client: line.client,
            agent: batch.text(line.agent),
            method,
            path: raw,
            route,
            why,
        };
        // There is nothing that one could wait for.
        match self.guard.admit(&request, Patience::Spent, now) {
            Verdict::Forward(ticket, facts) => {
                // In observe mode.
                let spared = facts.as_slice().iter().find_map(|fact| match fact.event {
                    Event::WouldRefuse(why) => Some(why),
                    _ => None,
                });
                if let Some(why) = spared {
                    visitor.is_refused(&refused(facts.route(), why));
                }
                let (route, effect) = (facts.route(), assume::effect(policy, facts.route()));
                let assume = self.setting.assume;
                let (first, proof) =
                    assume::answer(assume, (route, effect), &asked, &ticket, &mut self.keys);
                let proof = proof.filter(|_| self.guard.proof_wanted(&ticket, &first).is_some());
                let logs_in = asked.logs_in(effect);
                if logs_in {
                    visitor.logs_in();
                }
                if self.kind == Kind::Members {
                    match (&first.session, effect) {
                        (_, Effect::Flush) if line.status < 400 => visitor.session = None,
                        (SetSession::Key { key, .. }, _) if logs_in || session.is_some() => {
                            visitor.session = Some(*key);
                        }
                        _ => {}
                    }
                }
                self.tables.admitted(line.client, Said::Forwarded, &facts, now);
                let outcome = Outcome::Answered(&first, proof.as_ref());
                let settlement = self.guard.settle(*ticket, outcome, now);
                self.tables.happened(&settlement.facts, now);
            }
            Verdict::Refuse { why, facts, .. } => {
                if asked.logs_in(assume::effect(policy, facts.route())) {
                    visitor.logs_in();
                }
                visitor.is_refused(&refused(facts.route(), why));
                self.tables.admitted(line.client, Said::Refused(why), &facts, now);
            }
            Verdict::Challenge { facts, .. } => {
                self.tables.admitted(line.client, Said::Challenged, &facts, now);
            }
            Verdict::Answer { facts, .. } => {
                self.tables.admitted(line.client, Said::Answered, &facts, now);
            }
            // With its patience spent nobody is told to wait.
            Verdict::Wait(_) => {}
        }
    }
}

/// A `Cookie` line with a session key.
pub fn presented(name: &str, key: &SessionKey) -> Vec<u8> {
    [name.as_bytes(), b"=", key.as_bytes()].concat()
}

/// The time of a log as the guard sees it.
///
/// It never runs backwards: lines are written when requests end, so that some are a little older than
/// those before, and count as of the same moment. Where a second has many lines, all are of its
/// beginning. A line that is a day and more ahead of those before counts as of their moment, unless
/// the next one is as far ahead: one damaged line shall not make all others old.
#[derive(Clone, Copy, Debug)]
pub struct LogClock {
    first_ms: u64,
    latest_ms: u64,
    ahead: Option<u64>,
    pub now: Moment,
    /// Lines that were older than those before, and by how much at most, in milliseconds.
    pub older: u64,
    pub oldest_ms: u64,
}

impl LogClock {
    const LEAP_MS: u64 = 86_400_000;

    fn new(first_ms: u64) -> Self {
        let now = Moment::from_nanos(0).after(Moment::HEADROOM);
        Self { first_ms, latest_ms: first_ms, ahead: None, now, older: 0, oldest_ms: 0 }
    }

    /// When its first moment was, in milliseconds since 1970.
    pub const fn origin_unix_ms(&self) -> u64 {
        self.first_ms
    }

    fn read(&mut self, unix_ms: u64) -> Moment {
        let leaps = unix_ms > self.latest_ms + Self::LEAP_MS;
        let alone = self.ahead.is_none_or(|ahead| ahead.abs_diff(unix_ms) >= Self::LEAP_MS);
        if leaps && alone {
            self.ahead = Some(unix_ms);
            return self.now;
        }
        self.ahead = None;
        if unix_ms < self.latest_ms {
            self.older += 1;
            self.oldest_ms = self.oldest_ms.max(self.latest_ms - unix_ms);
            return self.now;
        }
        self.latest_ms = unix_ms;
        let since = Duration::from_millis(unix_ms - self.first_ms);
        self.now = Moment::from_nanos(0).after(Moment::HEADROOM).after(since);
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_log_runs_forward_and_one_wrong_line_does_not_move_it() {
        let mut clock = LogClock::new(1_000_000);
        let start = clock.now;
        let mut at = |ms: u64| clock.read(ms).since(start).as_millis();
        assert_eq!(at(1_000_000), 0);
        assert_eq!(at(1_002_000), 2_000);
        assert_eq!(at(1_001_000), 2_000);
        assert_eq!(at(250_000_000_000_000), 2_000);
        assert_eq!(at(1_003_000), 3_000);
        assert_eq!(at(1_000_000_000), 3_000);
        assert_eq!(at(1_000_000_500), 999_000_500);
        assert_eq!((clock.older, clock.oldest_ms), (1, 1_000));
    }
}
