//! A site behind the guard in virtual time: requests wait, are applied and are answered in any
//! order, or not at all, as the shell would carry them out. What must never happen is checked
//! while it runs.
//!
//! Whatever the attackers do:
//!
//! - **Growth under holds**, in every window of time of length Δ: at most
//!   `f · (Σ burst + Σ rate · Δ) + spares`, summed over the site's budgets. `f` is the number of
//!   records that one request may add at most: 1, but 2 on a site that saves on every request and
//!   creates on load (the adopted name and a new one). Spares are refunded: each slot may be filled
//!   once without a charge in the window.
//! - **Growth without holds** (late evidence) comes from paid keys only. Of each key: at most
//!   `p + u` records over its whole life, where `p` is how many of its exchanges without a hold
//!   were under way at once at most (its own record may have gone behind the ledger's back: one;
//!   every other one was under way when the key ended), and `u` how many of them ended uncertainly
//!   on routes that do not flush: [`Ledger::FREE_FAILURES`], and those under way with the last.
//! - **What is told**: the store holds at most the records that were there, those whose creation
//!   was told as created or uncertain, the spares, and what is under way.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::exchange::{
    Outcome, RelayCookie, SendCookie, Sent, Settlement, Ticket, Verdict, WaitFor,
};
use super::super::fact::{Event, Write};
use super::super::key::SessionKey;
use super::super::ledger::{Ledger, Patience};
use super::super::moment::Moment;
use super::super::route::Effect;
use super::super::set_cookie::Evidence;
use super::super::{Guard, UnderWay};
use super::django::{Answer, Django};
use super::support::{Ask, Rng, START, evidence, text};
use std::time::Duration;

pub struct World {
    pub guard: Guard,
    pub django: Django,
    pub now: Moment,
    pub rng: Rng,
    pub flights: Vec<Flight>,
    waiting: Vec<Waiting>,
    /// Settled exchanges that their clients have not taken notice of.
    pub done: Vec<Done>,
    /// Chances in a hundred that an exchange ends without an answer, and that it is never sent.
    pub lost: u64,
    pub unsent: u64,
    /// When records were added under a hold.
    growth: Vec<(Moment, usize)>,
    late: HashMap<String, Late>,
    told: usize,
    initial: usize,
    /// Keys that the application ended while the ledger knew them.
    dead: BTreeSet<String>,
    /// Keys that must never be refused by a budget, by rules of our own.
    paid: BTreeMap<String, bool>,
    /// How many exchanges of a key ended uncertainly.
    failures: BTreeMap<String, u8>,
}

/// What a paid key did without a hold.
#[derive(Default)]
struct Late {
    under_way: usize,
    peak: usize,
    uncertain: usize,
    grown: i64,
}

pub struct Flight {
    ask: Ask,
    who: u32,
    ticket: Ticket,
    /// The session cookie that the application gets.
    sent: Option<String>,
    late: Option<String>,
    phase: Phase,
}

enum Phase {
    UnderWay,
    Applied(Answer),
    /// The first answer, and the key to send.
    Proving(Answer, SessionKey),
    Proved(Answer, Answer),
}

struct Waiting {
    ask: Ask,
    who: u32,
    what: WaitFor,
    until: Moment,
}

/// How a request ended for its client.
pub struct Done {
    pub who: u32,
    pub end: Ended,
}

pub enum Ended {
    Refused,
    NoAnswer,
    /// The cookie that the client gets: none, a deletion (empty), or a key.
    Answered {
        set: Option<String>,
    },
}

impl World {
    pub fn new(guard: Guard, django: Django, seed: u64) -> Self {
        Self {
            guard,
            django,
            now: START,
            rng: Rng(seed),
            flights: Vec::new(),
            waiting: Vec::new(),
            done: Vec::new(),
            lost: 0,
            unsent: 0,
            growth: Vec::new(),
            late: HashMap::new(),
            told: 0,
            initial: 0,
            dead: BTreeSet::new(),
            paid: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    /// From here on the store counts.
    pub fn begin(&mut self) {
        self.initial = self.django.rows();
    }

    pub fn send(&mut self, who: u32, ask: Ask) {
        self.ask(who, ask, Patience::Left, None);
    }

    fn ask(&mut self, who: u32, ask: Ask, patience: Patience, until: Option<Moment>) {
        match ask.admit(&self.guard, patience, self.now) {
            Verdict::Wait(what) => {
                assert_eq!(patience, Patience::Left, "who has no patience does not wait");
                let policy = self.guard.policy();
                let patience = match what {
                    WaitFor::Key(_) => policy.session.key_wait,
                    WaitFor::Spare | WaitFor::Budget => policy.recycle.slot_wait,
                };
                let until = until.unwrap_or_else(|| self.now.after(patience));
                self.waiting.push(Waiting { ask, who, what, until });
            }
            Verdict::Refuse { why, .. } => {
                if let Some(cookie) = &ask.cookie {
                    let paid = self.paid.get(cookie).copied().unwrap_or(false);
                    let dead = self.dead.contains(cookie);
                    // Of those that overtake others of their key most need a hold.
                    let overtakes = patience == Patience::Spent;
                    assert!(!paid || dead || overtakes, "a paid key was refused: {why:?} {ask:?}");
                }
                self.done.push(Done { who, end: Ended::Refused });
            }
            Verdict::Answer { .. } => panic!("no rule answers"),
            Verdict::Challenge { .. } => panic!("nobody can be challenged"),
            Verdict::Forward(ticket, _) => self.forward(who, ask, *ticket),
        }
    }

    fn forward(&mut self, who: u32, ask: Ask, ticket: Ticket) {
        let sent = match ticket.cookie() {
            SendCookie::Keep => ask.cookie.clone(),
            SendCookie::Remove => None,
            SendCookie::Replace(key) => Some(text(&key)),
        };
        if let Some(cookie) = &sent {
            assert!(!self.dead.contains(cookie), "a dead key was sent: {ask:?}");
            self.check_whose(who, cookie);
        }
        let late = sent.clone().filter(|_| ticket.hold.is_none());
        if let Some(cookie) = &late {
            let late = self.late.entry(cookie.clone()).or_default();
            late.under_way += 1;
            late.peak = late.peak.max(late.under_way);
            let known = matches!(ticket.sent, Sent::Known(..));
            assert!(known || ticket.passes, "without a hold: {ask:?}");
        }
        self.flights.push(Flight { ask, who, ticket, sent, late, phase: Phase::UnderWay });
    }

    /// No exchange is ever sent with a session that somebody else has written to. Sites that save a
    /// missing key on every request hand the one session `None` to everybody, which whoever logs in
    /// takes along: that is Django's own doing, without the guard as well.
    fn check_whose(&self, who: u32, cookie: &str) {
        if self.django.saves_every_request && !self.django.release.creates_on_load() {
            return;
        }
        if let Some((data, _)) = self.django.store.get(cookie) {
            let others = data.marks.iter().chain(&data.user).filter(|owner| **owner != who);
            assert_eq!(others.count(), 0, "{who} would see {data:?}");
        }
    }

    /// Something happens to one of the exchanges under way; `false` if there are none.
    pub fn step(&mut self) -> bool {
        if self.flights.is_empty() {
            return false;
        }
        let index = self.rng.below(self.flights.len());
        let mut flight = self.flights.swap_remove(index);
        match std::mem::replace(&mut flight.phase, Phase::UnderWay) {
            Phase::UnderWay if self.rng.percent(self.unsent) => {
                self.settle(flight, Outcome::Unsent, None);
            }
            Phase::UnderWay => {
                let sent = flight.sent.clone();
                let answer = self.serve(&flight, sent.as_deref());
                if self.rng.percent(self.lost) {
                    self.settle(flight, Outcome::NoAnswer, None);
                } else {
                    flight.phase = Phase::Applied(answer);
                    self.flights.push(flight);
                }
            }
            Phase::Applied(answer) => {
                let first = self.evidence(&answer);
                if let Some(key) = self.guard.proof_wanted(&flight.ticket, &first) {
                    flight.phase = Phase::Proving(answer, key);
                    self.flights.push(flight);
                } else {
                    self.settle(flight, Outcome::Answered(&first, None), Some(&answer));
                }
            }
            Phase::Proving(answer, key) => {
                self.check_whose(flight.who, &text(&key));
                let second = self.serve(&flight, Some(&text(&key)));
                if self.rng.percent(self.lost) {
                    let first = self.evidence(&answer);
                    self.settle(flight, Outcome::Answered(&first, None), Some(&answer));
                } else {
                    flight.phase = Phase::Proved(answer, second);
                    self.flights.push(flight);
                }
            }
            Phase::Proved(answer, second) => {
                let (first, second) = (self.evidence(&answer), self.evidence(&second));
                self.settle(flight, Outcome::Answered(&first, Some(&second)), Some(&answer));
            }
        }
        self.check();
        true
    }

    fn evidence(&self, answer: &Answer) -> Evidence {
        evidence(&self.guard, answer.status, answer.set.as_deref().unwrap_or("-"))
    }

    fn serve(&mut self, flight: &Flight, cookie: Option<&str>) -> Answer {
        let before = self.django.rows();
        let Ask { method, target, .. } = &flight.ask;
        let answer = self.django.serve(flight.who, method, target, cookie, self.now);
        let after = self.django.rows();
        match &flight.late {
            Some(key) => {
                let grown = i64::try_from(after).unwrap() - i64::try_from(before).unwrap();
                self.late.entry(key.clone()).or_default().grown += grown.max(0);
            }
            None if after > before => self.growth.push((self.now, after - before)),
            None => {}
        }
        answer
    }

    fn settle(&mut self, flight: Flight, outcome: Outcome<'_>, answer: Option<&Answer>) {
        let Flight { ask, who, ticket, sent, late, .. } = flight;
        let known = matches!(ticket.sent, Sent::Known(..));
        // The key of a proof whose second half failed is not worth another record.
        let half_proved = matches!(ticket.sent, Sent::Proof(_))
            && matches!(outcome, Outcome::Answered(_, second) if second.is_none_or(Evidence::failed));
        let held = ticket.hold.is_some() && !half_proved;
        let effect = ticket.effect;
        let app = answer.and_then(|answer| answer.set.clone());
        let silent = answer.is_none_or(|answer| answer.status >= 500 && app.is_none());
        let uncertain = silent && !matches!(outcome, Outcome::Unsent);
        if let Some(key) = &late {
            let late = self.late.entry(key.clone()).or_default();
            late.under_way -= 1;
            late.uncertain += usize::from(uncertain && effect != Effect::Flush);
        }
        let was_logged_in = self.django.user(ask.cookie.as_deref()) == Some(who);
        let stays = self.django.user(app.as_deref().or(sent.as_deref())) == Some(who);
        let settlement = self.guard.settle(ticket, outcome, self.now);
        self.note(&settlement);
        let set = match settlement.cookie {
            RelayCookie::Keep => app.clone(),
            RelayCookie::Strip => None,
            RelayCookie::Delete => Some(String::new()),
        };
        let relayed = set.clone().or_else(|| ask.cookie.clone());
        if was_logged_in && stays && effect != Effect::Flush {
            assert_eq!(self.django.user(relayed.as_deref()), Some(who), "logged out: {ask:?}");
        }
        if let Some(key) = set.as_ref().filter(|set| !set.is_empty()) {
            let parsed = SessionKey::parse(key.as_bytes(), self.guard.policy().session.key_shape);
            let hash = parsed.map(|key| self.guard.secret.key(&key));
            assert!(!hash.is_some_and(|hash| self.guard.spares.holds(hash)), "a spare got out");
        }
        self.learn(known, held, sent.as_deref(), app.as_deref(), effect, uncertain);
        let end = if answer.is_some() { Ended::Answered { set } } else { Ended::NoAnswer };
        self.done.push(Done { who, end });
        self.retry(settlement.wake);
    }

    /// Our own idea of which keys are dead and which are paid; it may think fewer paid than are.
    fn learn(
        &mut self,
        known: bool,
        held: bool,
        sent: Option<&str>,
        set: Option<&str>,
        effect: Effect,
        uncertain: bool,
    ) {
        let paid_before = sent.and_then(|key| self.paid.get(key).copied()).unwrap_or(false);
        if let Some(sent) = sent.filter(|_| known) {
            if uncertain {
                // It used its free rotation up; after a flush, or some failures, it needs a hold.
                let failures = self.failures.entry(String::from(sent)).or_default();
                *failures += 1;
                let certain = effect != Effect::Flush && *failures < Ledger::FREE_FAILURES;
                self.paid.insert(String::from(sent), paid_before && certain);
            }
            if set.is_some_and(|set| set != sent && is_key_or_deletion(set)) {
                self.dead.insert(String::from(sent));
                self.paid.insert(String::from(sent), false);
            }
        }
        if let Some(new) =
            set.filter(|set| !set.is_empty() && is_key_or_deletion(set) && Some(*set) != sent)
        {
            self.paid.insert(String::from(new), held);
        }
    }

    fn note(&mut self, settlement: &Settlement) {
        let tells =
            |event: &Event| matches!(event, Event::Wrote(Write::Created | Write::Uncertain));
        let facts = settlement.facts.as_slice();
        self.told += facts.iter().filter(|fact| tells(&fact.event)).count();
    }

    fn retry(&mut self, wake: Option<WaitFor>) {
        let Some(wake) = wake else { return };
        let (woken, rest) =
            std::mem::take(&mut self.waiting).into_iter().partition(|w| w.what == wake);
        self.waiting = rest;
        for Waiting { ask, who, until, .. } in woken {
            self.ask(who, ask, Patience::Left, Some(until));
        }
    }

    /// Time passes; those whose patience is spent go on.
    pub fn pass(&mut self, span: Duration) {
        self.now = self.now.after(span);
        let now = self.now;
        let (spent, rest) =
            std::mem::take(&mut self.waiting).into_iter().partition(|w| w.until <= now);
        self.waiting = rest;
        for Waiting { ask, who, .. } in spent {
            self.ask(who, ask, Patience::Spent, None);
        }
    }

    /// Everything under way ends.
    pub fn drain(&mut self) {
        while !self.flights.is_empty() || !self.waiting.is_empty() {
            if !self.step() {
                self.pass(Duration::from_millis(500));
            }
        }
        assert_eq!(self.guard.under_way(), UnderWay::default(), "something is held for ever");
        let spares = self.guard.sizes().1;
        let allowed = self.initial + self.records_each() * self.told + spares;
        assert!(self.django.rows() <= allowed, "{} records, {allowed} told", self.django.rows());
        self.check_windows();
    }

    fn records_each(&self) -> usize {
        let both = self.django.saves_every_request && self.django.release.creates_on_load();
        1 + usize::from(both)
    }

    fn check(&self) {
        let spares = usize::from(self.guard.policy().recycle.spares);
        assert!(self.guard.sizes().1 <= spares, "more spares than configured");
        for (key, late) in &self.late {
            let failures = usize::from(Ledger::FREE_FAILURES) + late.peak;
            let allowed = self.records_each() * (late.peak + late.uncertain.min(failures));
            let grown = usize::try_from(late.grown).expect("not negative");
            assert!(grown <= allowed, "{key} grew by {grown} without a hold, not {allowed}");
        }
    }

    fn check_windows(&self) {
        let policy = self.guard.policy();
        let each = self.records_each() as u128;
        for first in 0..self.growth.len() {
            let mut grown = 0;
            for (at, records) in &self.growth[first..] {
                grown += *records as u128;
                let window = at.since(self.growth[first].0).as_nanos();
                let budgets: u128 = policy
                    .budgets
                    .iter()
                    .map(|budget| {
                        u128::from(budget.site.burst().get())
                            + window / budget.site.period().as_nanos()
                    })
                    .sum();
                let allowed = each * budgets + u128::from(policy.recycle.spares);
                assert!(grown <= allowed, "{grown} records in {window} ns, allowed {allowed}");
            }
        }
    }
}

/// Whether the guard can read it; everything else is charged and told as of another shape.
fn is_key_or_deletion(set: &str) -> bool {
    set.is_empty() || set.len() == 32
}
