//! What a replay needs of an exchange to decide about it again as it was decided: in which order,
//! when, on what, and what the answer said.
//!
//! The guard's decisions about a site are numbered while the JSON log is written: [`Order::turn`]
//! is a lock that is held while one is made, so that the numbers are the order in which the guard
//! was asked, whatever core asked it. It costs two uncontended locks for each exchange, and a wait
//! of a microsecond where two cores decide at once; without the JSON log it is two loads.
//!
//! Session keys and tokens stand here as hashes that only this process can make, see
//! [`Guard::traced`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use super::{Format, Shared, lock};
use crate::guard::Guard;
use crate::guard::challenge::Challenged;
use crate::guard::cookie::Presented;
use crate::guard::exchange::{Outcome, Request};
use crate::guard::key::SessionKey;
use crate::guard::ledger::Patience;
use crate::guard::moment::Moment;
use crate::guard::policy::Terms;
use crate::guard::set_cookie::{Evidence, SetSession};

/// The numbers of a site's decisions.
#[derive(Default)]
pub struct Order {
    /// `None`: nothing is ever logged.
    shared: Option<Arc<Shared>>,
    next: Mutex<Next>,
    /// Decisions were made that have no number: the next number is left out, which tells of them.
    missed: AtomicBool,
}

#[derive(Default)]
struct Next {
    number: u64,
    /// To be told with the next decision about an exchange.
    marks: Vec<Mark>,
}

/// The right to make the next decision.
pub struct Turn<'a>(MutexGuard<'a, Next>);

/// Something that changes what the guard decides, and is no exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// [`Policy::digest`](crate::guard::policy::Policy::digest) of what is in force from here on.
    pub policy: u64,
    pub what: Marked,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    /// The process has begun. The guard began with nothing at this moment; `None`: it remembers
    /// something of before.
    Start { blank: Option<Moment> },
    /// A reload has put a configuration in force.
    Reload(Decided),
}

impl Order {
    /// Reloads that are told of, if nothing is asked for between them.
    const MOST_MARKS: usize = 16;

    pub(super) fn new(shared: &Arc<Shared>, start: Mark) -> Self {
        let next = Next { number: 0, marks: vec![start] };
        Self { shared: Some(Arc::clone(shared)), next: Mutex::new(next), ..Self::default() }
    }

    /// Waits until nobody else decides; `None` at once where decisions are not logged.
    pub fn turn(&self) -> Option<Turn<'_>> {
        let exact = self.shared.as_ref().is_some_and(|shared| shared.format() == Format::Json);
        if !exact {
            if !self.missed.load(Ordering::Relaxed) {
                self.missed.store(true, Ordering::Relaxed);
            }
            return None;
        }
        let mut next = lock(&self.next);
        if self.missed.load(Ordering::Relaxed) {
            self.missed.store(false, Ordering::Relaxed);
            next.number += 1;
            next.marks.clear();
        }
        Some(Turn(next))
    }
}

impl Turn<'_> {
    /// The decision was made, on this moment. Dropped instead, there was none to be told of.
    pub fn made(mut self, at: Moment) -> Decided {
        self.number(at)
    }

    /// The same, with what is to be told with it.
    pub fn made_with_marks(mut self, at: Moment) -> (Decided, Vec<Mark>) {
        (self.number(at), std::mem::take(&mut self.0.marks))
    }

    /// The decision was to obey this policy from now on.
    pub fn reloaded(mut self, policy: u64, at: Moment) {
        let what = Marked::Reload(self.number(at));
        if self.0.marks.len() < Order::MOST_MARKS {
            self.0.marks.push(Mark { policy, what });
        }
    }

    fn number(&mut self, at: Moment) -> Decided {
        let number = self.0.number;
        self.0.number += 1;
        Decided { number, at }
    }
}

/// A decision: its number, from 0, and the moment that the guard was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    pub number: u64,
    pub at: Moment,
}

/// What the guard was asked of one exchange, and told of its answer.
#[derive(Debug)]
pub struct Trace {
    pub admitted: Decided,
    /// Of the process and the site.
    pub run: u32,
    pub asked: Asked,
    /// What happened before it.
    marks: Vec<Mark>,
    charged: OnceLock<Decided>,
    settled: OnceLock<(Decided, End)>,
    /// What happened before that.
    late_marks: OnceLock<Vec<Mark>>,
}

/// A request, as far as it does not stand in its line anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub session: Session,
    /// Whether there was anything under the session cookie's name.
    pub carried: bool,
    pub body: bool,
    pub authorization: bool,
    /// It had waited for as long as it could.
    pub spent: bool,
    /// Nobody is told another budget than that of the route: of a proxy that stands in for others,
    /// whatever its own address would get.
    pub usual: bool,
    pub challenged: Challenged,
    /// Another process serves the site as well, and has its part in what is spent.
    pub shared: bool,
}

/// What the session cookie of a request holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    Nothing,
    Key(u64),
    Signed,
    Malformed,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Unsent,
    NoAnswer,
    /// With this answer, and this one to a proof.
    Answered(Answer, Option<Answer>),
}

/// What the head of an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub session: Set,
    /// Another cookie looks like a session key.
    pub lookalike: bool,
}

/// What became of the session cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    Nothing,
    Deletion,
    Key {
        key: u64,
        /// It is the spare, or the placeholder, that was sent.
        spare: bool,
        max_age: Option<Duration>,
    },
    Signed {
        empty: bool,
    },
    OtherShape,
}

impl Trace {
    /// Of an exchange that the guard has just decided about.
    pub fn new(
        guard: &Guard,
        request: &Request<'_>,
        patience: Patience,
        (admitted, marks): (Decided, Vec<Mark>),
    ) -> Arc<Self> {
        let session = match request.cookies.presented() {
            Presented::Nothing => Session::Nothing,
            Presented::Key(key) => Session::Key(guard.traced(&key)),
            Presented::Signed => Session::Signed,
            Presented::Malformed => Session::Malformed,
        };
        let challenged = match request.challenged {
            Challenged::Passed(token) => Challenged::Passed(guard.traced_token(token)),
            other @ (Challenged::No { .. } | Challenged::Failed) => other,
        };
        Arc::new(Self {
            admitted,
            run: guard.run(),
            asked: Asked {
                session,
                carried: request.cookies.carried(),
                body: request.body,
                authorization: request.authorization,
                spent: patience == Patience::Spent,
                usual: request.terms == Terms::Usual,
                challenged,
                shared: guard.is_shared(),
            },
            marks,
            charged: OnceLock::new(),
            settled: OnceLock::new(),
            late_marks: OnceLock::new(),
        })
    }

    /// What it held was charged before it ended.
    pub fn charge(&self, charged: Decided) {
        // There is one charge at most.
        let _ = self.charged.set(charged);
    }

    /// It has ended; `sent` is the spare that went with it.
    pub fn settle(
        &self,
        guard: &Guard,
        (settled, marks): (Decided, Vec<Mark>),
        outcome: Outcome<'_>,
        sent: Option<&SessionKey>,
    ) {
        let answer = |evidence| Answer::of(guard, evidence, sent);
        let end = match outcome {
            Outcome::Unsent => End::Unsent,
            Outcome::NoAnswer => End::NoAnswer,
            Outcome::Answered(first, proof) => End::Answered(answer(first), proof.map(answer)),
        };
        // There is one settlement.
        let _ = self.settled.set((settled, end));
        let _ = self.late_marks.set(marks);
    }

    /// When it was charged before it ended.
    pub fn charged(&self) -> Option<Decided> {
        self.charged.get().copied()
    }

    /// What happened before it was admitted, or settled, that no other line tells of.
    pub fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.marks.iter().chain(self.late_marks.get().into_iter().flatten())
    }

    /// When and how it was settled.
    pub fn settled(&self) -> Option<(Decided, End)> {
        self.settled.get().copied()
    }
}

impl Answer {
    fn of(guard: &Guard, evidence: &Evidence, sent: Option<&SessionKey>) -> Self {
        let session = match &evidence.session {
            SetSession::Nothing => Set::Nothing,
            SetSession::Deletion => Set::Deletion,
            SetSession::Key { key, max_age } => {
                Set::Key { key: guard.traced(key), spare: sent == Some(key), max_age: *max_age }
            }
            SetSession::Signed { empty } => Set::Signed { empty: *empty },
            SetSession::OtherShape => Set::OtherShape,
        };
        Self { status: evidence.status, session, lookalike: evidence.lookalike.is_some() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::AccessLog;
    use super::*;

    /// Whoever reads the log sees from the numbers that something is missing.
    #[test]
    fn decisions_that_are_not_logged_leave_a_gap_and_no_news_of_a_start() {
        let log = AccessLog::off();
        let at = Moment::from_nanos(1);
        let start = Mark { policy: 7, what: Marked::Start { blank: None } };
        let (order, other) = (log.order(start), log.order(start));
        assert!(order.turn().is_none());
        log.shared.format.store(Format::Json as u8, Ordering::Relaxed);
        let next = |order: &Order| order.turn().expect("it is logged").made_with_marks(at);
        assert_eq!(next(&other), (Decided { number: 0, at }, vec![start]));
        assert_eq!(next(&order), (Decided { number: 1, at }, Vec::new()));
        drop(order.turn());
        assert_eq!(next(&order), (Decided { number: 2, at }, Vec::new()));
        log.shared.format.store(Format::Common as u8, Ordering::Relaxed);
        assert!(order.turn().is_none());
        log.shared.format.store(Format::Json as u8, Ordering::Relaxed);
        order.turn().expect("it is logged").reloaded(8, at);
        let reload = Mark { policy: 8, what: Marked::Reload(Decided { number: 4, at }) };
        assert_eq!(next(&order), (Decided { number: 5, at }, vec![reload]));
    }
}
