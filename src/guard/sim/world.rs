//! A site behind the guard in virtual time: requests wait, are applied and are answered in any
//! order, or not at all, as the shell would carry them out. What must never happen is checked
//! while it runs.
//!
//! Whatever the attackers do:
//!
//! - **Growth under holds**, in every window of time of length Δ: at most
//!   `f · (Σ burst + Σ rate · Δ) + spares`, summed over the site's budgets, checked whenever a
//!   record is added; what a slow exchange holds counts from when it is charged. `f` is the number of
//!   records that one request may add at most: 1, but 2 on a site that saves on every request and
//!   creates on load (the adopted name and a new one). Spares are refunded: each slot may be filled
//!   once without a charge in the window.
//! - **Growth without holds** (late evidence) comes from paid keys only. Of each key: at most
//!   `p + u` records over its whole life, where `p` is how many of its exchanges without a hold
//!   were under way at once at most (its own record may have gone behind the ledger's back: one;
//!   every other one was under way when the key ended), and `u` how many of them ended uncertainly
//!   on routes that do not flush: [`Ledger::FREE_FAILURES`], and those under way with the last.
//! - **Growth without holds, on clean paths**: of each path at most `f` times as many as may pass at
//!   once, and then none for as long as a path that created is not clean.
//! - **What is told**: the store holds at most the records that were there, those whose creation
//!   was told as created or uncertain, the spares, and what is under way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::super::challenge::Challenged;
use super::super::exchange::{
    Outcome, RelayCookie, SendCookie, Sent, Settlement, Ticket, Verdict, WaitFor,
};
use super::super::fact::{Event, Write};
use super::super::key::{SessionKey, Token};
use super::super::ledger::{Ledger, Patience};
use super::super::moment::Moment;
use super::super::policy::Policy;
use super::super::route::Effect;
use super::super::set_cookie::Evidence;
use super::super::{Guard, UnderWay};
use super::django::{Answer, Django};
use super::explained;
use super::meter::Meter;
use super::support::{Ask, Random, START, evidence, text};
use std::time::Duration;

/// After which the shell charges what an exchange holds.
const HOLD_TIME: Duration = Duration::from_secs(10);

pub struct World {
    /// The one in force. Exchanges that began before it have their own.
    pub guard: Arc<Guard>,
    pub django: Django,
    pub now: Moment,
    pub rng: Random,
    pub flights: Vec<Flight>,
    waiting: Vec<Waiting>,
    /// Settled exchanges that their clients have not taken notice of.
    pub done: Vec<Done>,
    /// Chances in a hundred that an exchange ends without an answer, and that it is never sent.
    pub lost: u64,
    pub unsent: u64,
    /// Users of these numbers, from 1, use the site as it was meant to be used, and no session of
    /// theirs comes from elsewhere.
    pub honest: u32,
    /// Exchanges that their clients drip along, and until when.
    slow: Vec<(Moment, Flight)>,
    /// Records that were added under a hold.
    pub held: Meter,
    /// Those that were added on paths that were thought clean: in all, and since when how
    /// many at once.
    passed: HashMap<String, Passed>,
    late: HashMap<String, Late>,
    /// Whether each request is explained before it is decided.
    pub explains: bool,
    /// What happened to exchanges so far.
    pub events: u64,
    /// Clients that brought a challenge's cookie back.
    pub challenges: u64,
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

struct Passed {
    total: usize,
    first: Moment,
    at_once: usize,
}

pub struct Flight {
    guard: Arc<Guard>,
    ask: Ask,
    who: u32,
    ticket: Ticket,
    /// The session cookie that the application gets.
    sent: Option<String>,
    late: Option<String>,
    /// When it was sent; whether it was charged before its end.
    begun: Moment,
    charged: bool,
    fate: Fate,
    phase: Phase,
}

/// What its client does to an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Awaited,
    /// The client is gone before the answer; the exchange is observed all the same.
    HungUp,
    /// The request ends only after this.
    Dripped(Duration),
}

enum Phase {
    UnderWay,
    Applied(Answer),
    /// The first answer, and the key to send.
    Proving(Answer, SessionKey),
    Proved(Answer, Answer),
}

struct Waiting {
    guard: Arc<Guard>,
    ask: Ask,
    who: u32,
    fate: Fate,
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
            honest: 0,
            slow: Vec::new(),
            held: Meter::new(guard.policy(), records_each(&django), START),
            passed: HashMap::new(),
            explains: false,
            events: 0,
            challenges: 0,
            guard: Arc::new(guard),
            django,
            now: START,
            rng: Random(seed),
            flights: Vec::new(),
            waiting: Vec::new(),
            done: Vec::new(),
            lost: 0,
            unsent: 0,
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
        self.held = Meter::new(self.guard.policy(), records_each(&self.django), self.now);
    }

    /// Another policy is in force from now on.
    pub fn reload(&mut self, policy: Policy) {
        self.guard = Arc::new(self.guard.reconfigured(policy, self.now));
    }

    pub fn send(&mut self, who: u32, ask: Ask) {
        self.send_to(who, ask, Fate::Awaited);
    }

    pub fn send_to(&mut self, who: u32, ask: Ask, fate: Fate) {
        // What has content is not sent again.
        let ask = Ask { challenged: Challenged::No { replayable: !ask.body }, ..ask };
        let guard = Arc::clone(&self.guard);
        self.ask(guard, who, ask, fate, Patience::Left, None);
    }

    fn ask(
        &mut self,
        guard: Arc<Guard>,
        who: u32,
        ask: Ask,
        fate: Fate,
        patience: Patience,
        until: Option<Moment>,
    ) {
        self.events += 1;
        let explains = self.explains && patience == Patience::Left;
        let said = explains.then(|| explained::explain(&guard, &ask, self.events, self.now));
        let verdict = ask.admit(&guard, patience, self.now);
        if let Some(said) = said {
            explained::compare(&said, &verdict, &ask);
        }
        match verdict {
            Verdict::Wait(what) => {
                assert_eq!(patience, Patience::Left, "who has no patience does not wait");
                let policy = guard.policy();
                let patience = match what {
                    WaitFor::Key(_) => policy.session.key_wait,
                    WaitFor::Spare | WaitFor::Budget => policy.recycle.slot_wait,
                };
                let until = until.unwrap_or_else(|| self.now.after(patience));
                self.waiting.push(Waiting { guard, ask, who, fate, what, until });
            }
            Verdict::Refuse { why, .. } => {
                if let Some(cookie) = &ask.cookie {
                    let paid = self.paid.get(cookie).copied().unwrap_or(false);
                    let dead = self.dead.contains(cookie);
                    // Of those that overtake others of their key most need a hold.
                    let overtakes = patience == Patience::Spent;
                    assert!(!paid || dead || overtakes, "a paid key was refused: {why:?} {ask:?}");
                    let live = self.is_honest(who) && self.is_live(who, cookie);
                    assert!(!live, "a user was refused: {why:?} {ask:?}");
                }
                self.done.push(Done { who, end: Ended::Refused });
            }
            Verdict::Answer { .. } => panic!("no rule answers"),
            Verdict::Challenge { .. } => self.challenged(guard, who, ask, fate),
            Verdict::Forward(ticket, _) => self.forward(guard, who, ask, fate, *ticket),
        }
    }

    /// Who keeps cookies goes on with one; who does not gets no second challenge.
    fn challenged(&mut self, guard: Arc<Guard>, who: u32, ask: Ask, fate: Fate) {
        let known = !matches!(ask.challenged, Challenged::No { .. });
        assert!(!known, "challenged twice: {ask:?}");
        let keeps = self.is_honest(who) || who.is_multiple_of(3);
        let challenged = if keeps {
            self.challenges += 1;
            Challenged::Passed(Token(u64::from(who)))
        } else {
            Challenged::Failed
        };
        self.ask(guard, who, Ask { challenged, ..ask }, fate, Patience::Left, None);
    }

    fn is_honest(&self, who: u32) -> bool {
        (1..=self.honest).contains(&who)
    }

    /// Whether this is the cookie of a login of theirs that has not expired.
    pub fn is_live(&self, who: u32, cookie: &str) -> bool {
        let found = self.django.store.get(cookie);
        found.is_some_and(|(data, expires)| data.user == Some(who) && *expires > self.now)
    }

    fn forward(&mut self, guard: Arc<Guard>, who: u32, ask: Ask, fate: Fate, ticket: Ticket) {
        let sent = match ticket.cookie() {
            SendCookie::Keep => ask.cookie.clone(),
            SendCookie::Remove => None,
            SendCookie::Replace(key) => Some(text(&key)),
        };
        if let Some(cookie) = &sent {
            assert!(!self.dead.contains(cookie), "a dead key was sent: {ask:?}");
            self.check_whose(who, cookie);
        }
        if self.is_honest(who)
            && let Some(cookie) = ask.cookie.as_ref().filter(|_| sent.is_none())
        {
            assert!(!self.is_live(who, cookie), "a user's session was taken out: {ask:?}");
        }
        let late = sent.clone().filter(|_| ticket.hold.is_none() && !ticket.passes);
        if let Some(cookie) = &late {
            let late = self.late.entry(cookie.clone()).or_default();
            late.under_way += 1;
            late.peak = late.peak.max(late.under_way);
            let known = matches!(ticket.sent, Sent::Known(..));
            assert!(known, "without a hold: {ask:?}");
        }
        let (begun, charged, phase) = (self.now, false, Phase::UnderWay);
        let flight = Flight { guard, ask, who, ticket, sent, late, begun, charged, fate, phase };
        match fate {
            Fate::Awaited | Fate::HungUp => self.flights.push(flight),
            Fate::Dripped(span) => self.slow.push((self.now.after(span), flight)),
        }
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
        self.events += 1;
        let index = self.rng.below(self.flights.len());
        let mut flight = self.flights.swap_remove(index);
        match std::mem::replace(&mut flight.phase, Phase::UnderWay) {
            Phase::UnderWay if self.rng.percent(self.unsent) => {
                self.settle(flight, Outcome::Unsent, None);
            }
            Phase::UnderWay => {
                let sent = flight.sent.clone();
                let answer = self.serve(&flight, sent.as_deref());
                self.check(&flight);
                if self.rng.percent(self.lost) {
                    self.settle(flight, Outcome::NoAnswer, None);
                } else {
                    flight.phase = Phase::Applied(answer);
                    self.flights.push(flight);
                }
            }
            Phase::Applied(answer) => {
                let first = self.evidence(&answer);
                if let Some(key) = flight.guard.proof_wanted(&flight.ticket, &first) {
                    flight.phase = Phase::Proving(answer, key);
                    self.flights.push(flight);
                } else {
                    self.settle(flight, Outcome::Answered(&first, None), Some(&answer));
                }
            }
            Phase::Proving(answer, key) => {
                self.check_whose(flight.who, &text(&key));
                let second = self.serve(&flight, Some(&text(&key)));
                self.check(&flight);
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
                let grown = i64::try_from(after.saturating_sub(before)).expect("few records");
                self.late.entry(key.clone()).or_default().grown += grown;
            }
            // Counted when it was charged.
            None if flight.charged => {}
            None if after > before && flight.ticket.passes => {
                if let Some(page) = &flight.ticket.page {
                    let fresh = Passed { total: 0, first: self.now, at_once: 0 };
                    let passed = self.passed.entry(page.text()).or_insert(fresh);
                    if self.now.since(passed.first) >= self.guard.policy().learned.quiet {
                        (passed.first, passed.at_once) = (self.now, 0);
                    }
                    passed.total += after - before;
                    passed.at_once += after - before;
                }
            }
            None if after > before => self.held.add(after - before, self.now),
            None => {}
        }
        answer
    }

    fn settle(&mut self, flight: Flight, outcome: Outcome<'_>, answer: Option<&Answer>) {
        let Flight { guard, ask, who, ticket, sent, late, fate, .. } = flight;
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
        let settlement = guard.settle(ticket, outcome, self.now);
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
            let hash = parsed.map(|key| self.guard.keys.key(&key));
            assert!(!hash.is_some_and(|hash| self.guard.spares.holds(hash)), "a spare got out");
        }
        // What nobody got is in no ledger.
        let withheld = app.is_some() && settlement.cookie != RelayCookie::Keep;
        self.learn(known, held, sent.as_deref(), app.as_deref(), effect, uncertain);
        if let Some(app) = app.filter(|app| withheld && Some(app) != sent.as_ref()) {
            self.paid.remove(&app);
        }
        let gone = fate == Fate::HungUp;
        let answered = answer.is_some() && !gone;
        let end = if answered { Ended::Answered { set } } else { Ended::NoAnswer };
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
        if !self.waiting.iter().any(|waiting| waiting.what == wake) {
            return;
        }
        let (woken, rest) =
            std::mem::take(&mut self.waiting).into_iter().partition(|w| w.what == wake);
        self.waiting = rest;
        for Waiting { guard, ask, who, fate, until, .. } in woken {
            self.ask(guard, who, ask, fate, Patience::Left, Some(until));
        }
    }

    /// Time passes; those whose patience is spent go on.
    pub fn pass(&mut self, span: Duration) {
        self.now = self.now.after(span);
        let now = self.now;
        self.drip();
        if !self.waiting.iter().any(|waiting| waiting.until <= now) {
            return;
        }
        let (spent, rest) =
            std::mem::take(&mut self.waiting).into_iter().partition(|w| w.until <= now);
        self.waiting = rest;
        for Waiting { guard, ask, who, fate, .. } in spent {
            self.ask(guard, who, ask, fate, Patience::Spent, None);
        }
    }

    /// Slow exchanges are charged when they have taken too long, as the shell does, and go on when
    /// their requests have ended.
    fn drip(&mut self) {
        let each = records_each(&self.django);
        for index in (0..self.slow.len()).rev() {
            let (until, flight) = &mut self.slow[index];
            if !flight.charged && self.now.since(flight.begun) >= HOLD_TIME {
                flight.charged = flight.ticket.hold.is_some();
                flight.guard.charge(&mut flight.ticket, self.now);
                if flight.charged {
                    self.held.add(each, self.now);
                }
            }
            if *until <= self.now {
                let (_, flight) = self.slow.swap_remove(index);
                self.flights.push(flight);
            }
        }
    }

    /// Everything under way ends.
    pub fn drain(&mut self) {
        while !(self.flights.is_empty() && self.waiting.is_empty() && self.slow.is_empty()) {
            if !self.step() {
                self.pass(Duration::from_millis(500));
            }
        }
        assert_eq!(self.guard.under_way(), UnderWay::default(), "something is held for ever");
        let spares = self.guard.sizes().1;
        let allowed = self.initial + records_each(&self.django) * self.told + spares;
        assert!(self.django.rows() <= allowed, "{} records, {allowed} told", self.django.rows());
    }

    /// Records that were added without a hold: by paid keys, and on paths that were thought clean.
    pub fn without_hold(&self) -> (usize, usize) {
        let late = self.late.values().map(|late| usize::try_from(late.grown).unwrap_or(0)).sum();
        (late, self.passed.values().map(|passed| passed.total).sum())
    }

    /// What the exchange that was just carried out may have broken.
    fn check(&self, flight: &Flight) {
        let spares = usize::from(self.guard.policy().recycle.spares);
        assert!(self.guard.spares.len() <= spares, "more spares than configured");
        let each = records_each(&self.django);
        if let Some(key) = &flight.late
            && let Some(late) = self.late.get(key)
        {
            let failures = usize::from(Ledger::FREE_FAILURES) + late.peak;
            let allowed = each * (late.peak + late.uncertain.min(failures));
            let grown = usize::try_from(late.grown).expect("not negative");
            assert!(grown <= allowed, "{key} grew by {grown} without a hold, not {allowed}");
        }
        if let Some(page) = flight.ticket.page.as_ref().filter(|_| flight.ticket.passes)
            && let Some(passed) = self.passed.get(&page.text())
        {
            let burst = self.guard.policy().budgets[0].site.burst().get();
            let (passed, allowed) = (passed.at_once, each * self.guard.learned.passes(burst));
            let target = &flight.ask.target;
            assert!(passed <= allowed, "{passed} records on {target}, {allowed} allowed");
        }
    }
}

/// Records that one request may add at most.
fn records_each(django: &Django) -> usize {
    let both = django.saves_every_request && django.release.creates_on_load();
    1 + usize::from(both)
}

/// Whether the guard can read it; everything else is charged and told as of another shape.
fn is_key_or_deletion(set: &str) -> bool {
    set.is_empty() || set.len() == 32
}
