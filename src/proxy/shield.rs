//! The guard at work: its verdicts waited for, its settlements carried out.
//!
//! Shared by all cores. It promises that an admitted exchange is settled exactly once, whatever
//! becomes of the task that carries it, and that the journal knows of a key before the client
//! does.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::clock::Clock;
use super::handover::Outbox;
use super::state::StateFile;
use super::waiters::Waiters;
use crate::guard::Guard;
use crate::guard::exchange::{
    Facts, Outcome, Request, SendCookie, Settlement, Ticket, Verdict, WaitFor,
};
use crate::guard::fact::{Notice, Refusal, Warmth};
use crate::guard::key::SessionKey;
use crate::guard::ledger::Patience;
use crate::guard::moment::Moment;
use crate::guard::policy::Policy;
use crate::guard::route::Answer;
use crate::guard::set_cookie::Evidence;
use crate::telemetry::Telemetry;
use crate::telemetry::access::trace::{Order, Trace};

/// The guard, and what carries out its decisions.
pub struct Shield {
    pub guard: Guard,
    pub telemetry: Arc<Telemetry>,
    /// `None` keeps nothing.
    pub state: Option<Arc<StateFile>>,
    pub clock: Clock,
    /// While another process serves the same site: what that is told.
    pub outbox: Arc<ArcSwapOption<Outbox>>,
    waiters: Arc<Waiters>,
    /// In which order the guard decides; shared by those that share its memory.
    order: Arc<Order>,
}

/// What became of the question whether a request is admitted.
pub struct Admission {
    pub decision: Decision,
    /// What was found of it.
    pub facts: Facts,
    /// What it takes to decide so again, where that is logged.
    pub trace: Option<Arc<Trace>>,
    /// When it was decided.
    pub at: Moment,
}

/// What is done with a request.
pub enum Decision {
    Forward(Admitted),
    Refuse { why: Refusal, retry_after: Duration },
    Challenge,
    Answer { answer: Answer, delete: bool },
}

impl Shield {
    /// A guard with its surroundings.
    pub fn new(guard: Guard, telemetry: Telemetry, state: Option<StateFile>, clock: Clock) -> Self {
        let (telemetry, state) = (Arc::new(telemetry), state.map(Arc::new));
        let (outbox, waiters, order) = (Arc::default(), Arc::default(), Arc::default());
        Self { guard, telemetry, state, clock, outbox, waiters, order }
    }

    /// The same, its decisions numbered for the access log.
    pub fn numbered(self, order: Order) -> Self {
        Self { order: Arc::new(order), ..self }
    }

    /// The same with another guard, which shares its memory with this one's, and with what tells
    /// of it: what a reload puts in force. Who waits for the one is woken by the other.
    pub fn reconfigured(&self, guard: Guard, telemetry: Telemetry) -> Self {
        if let Some(state) = &self.state {
            // Under which configuration things were remembered is in the snapshot only.
            state.missed();
        }
        Self {
            guard,
            telemetry: Arc::new(telemetry),
            state: self.state.clone(),
            clock: self.clock,
            outbox: Arc::clone(&self.outbox),
            waiters: Arc::clone(&self.waiters),
            order: Arc::clone(&self.order),
        }
    }

    /// The guard of another policy, for [`Self::reconfigured`].
    pub fn reconfigure(&self, policy: Policy) -> Guard {
        let digest = policy.digest();
        let (turn, now) = (self.order.turn(), self.clock.now());
        let guard = self.guard.reconfigured(policy, now);
        if let Some(turn) = turn {
            turn.reloaded(digest, now);
        }
        guard
    }

    /// The verdict on a request, after waiting for exchanges that must end first.
    pub async fn admit(self: &Arc<Self>, request: &Request<'_>) -> Admission {
        match self.admit_now(request) {
            Ok(admission) => admission,
            // Few wait: what that takes is not to be carried about by all.
            Err(what) => Box::pin(self.admit_later(request, what)).await,
        }
    }

    /// The same without waiting, or what it has to wait for: [`Self::admit_later`].
    pub fn admit_now(self: &Arc<Self>, request: &Request<'_>) -> Result<Admission, WaitFor> {
        self.ask(request, Patience::Left)
    }

    /// The verdict on a request that had to wait for `what` when it came.
    pub async fn admit_later(self: &Arc<Self>, request: &Request<'_>, what: WaitFor) -> Admission {
        let policy = self.guard.policy();
        let patience = match what {
            WaitFor::Key(_) => policy.session.key_wait,
            WaitFor::Spare | WaitFor::Budget => policy.recycle.slot_wait,
        };
        let ask = |spent| {
            let patience = if spent { Patience::Spent } else { Patience::Left };
            self.ask(request, patience)
        };
        self.waiters.until_admitted(what, request.client, patience, ask).await
    }

    /// The verdict on a request, or what it has to wait for.
    fn ask(
        self: &Arc<Self>,
        request: &Request<'_>,
        patience: Patience,
    ) -> Result<Admission, WaitFor> {
        // Not when it came: another core may have charged something since.
        let (turn, now) = (self.order.turn(), self.clock.now());
        let verdict = self.guard.admit(request, patience, now);
        let trace = match (&verdict, turn) {
            // That changes nothing, and is no decision.
            (Verdict::Wait(_), _) | (_, None) => None,
            (_, Some(turn)) => {
                let made = turn.made_with_marks(now);
                Some(Trace::new(&self.guard, request, patience, made))
            }
        };
        let (decision, facts) = match verdict {
            Verdict::Wait(what) => return Err(what),
            Verdict::Forward(ticket, facts) => {
                let shield = Arc::clone(self);
                let of = trace.clone();
                let admitted = Admitted { shield, ticket: Some(ticket), trace: of, at: now };
                (Decision::Forward(admitted), facts)
            }
            Verdict::Refuse { why, retry_after, facts, wake } => {
                if let Some(what) = wake {
                    self.waiters.wake(what);
                }
                if why == Refusal::TableFull {
                    self.telemetry.notice(&Notice::ClientTableFull, now);
                }
                (Decision::Refuse { why, retry_after }, facts)
            }
            Verdict::Challenge { facts, wake } => {
                if let Some(what) = wake {
                    self.waiters.wake(what);
                }
                (Decision::Challenge, facts)
            }
            Verdict::Answer { answer, delete, facts } => {
                (Decision::Answer { answer, delete }, facts)
            }
        };
        self.tell(&facts, now);
        Ok(Admission { decision, facts, trace, at: now })
    }

    /// When the ledger will be warm, in seconds since 1970, if nothing happens before.
    pub fn warm_at(&self, warmth: Warmth) -> u64 {
        let (remaining, _) = warmth.span();
        self.clock.unix(self.clock.now().after(remaining))
    }

    /// Writes a line that says how the guard stands.
    pub fn tell_status(&self) {
        let status = self.guard.status(self.clock.now());
        self.telemetry.status(&status, self.warm_at(status.warmth));
    }

    /// Another process that serves the same site, where it is told what became of keys: it is to know
    /// that before the client does.
    pub fn hears_of(&self, settlement: &Settlement) -> Option<Arc<Outbox>> {
        if settlement.records.iter().all(Option::is_none) {
            return None;
        }
        self.outbox.load_full()
    }

    fn tell(&self, facts: &Facts, now: Moment) {
        if !facts.as_slice().is_empty() {
            self.telemetry.record(facts.as_slice(), now);
        }
    }

    fn settle(
        &self,
        ticket: Box<Ticket>,
        outcome: Outcome<'_>,
        trace: Option<&Trace>,
        now: Moment,
    ) -> Settlement {
        let spare = match ticket.cookie() {
            SendCookie::Replace(key) => Some(key),
            SendCookie::Keep | SendCookie::Remove => None,
        };
        let turn = self.order.turn();
        // Whoever waited for its turn comes after those who had theirs before.
        let now = if turn.is_some() { self.clock.now() } else { now };
        let settlement = self.guard.settle(ticket, outcome, now);
        if let Some(made) = turn.map(|turn| turn.made_with_marks(now))
            && let Some(trace) = trace
        {
            trace.settle(&self.guard, made, outcome, spare.as_ref());
        }
        if let Some(state) = &self.state {
            state.append(&settlement.records);
        }
        if settlement.records.iter().any(Option::is_some)
            && let Some(outbox) = &*self.outbox.load()
        {
            outbox.tell(self, &settlement.records);
        }
        if let Some(what) = settlement.wake {
            self.waiters.wake(what);
        }
        self.tell(&settlement.facts, now);
        if let Some(notice) = &settlement.notice {
            self.telemetry.notice(notice, now);
        }
        settlement
    }
}

/// An admitted exchange. Dropped without a settlement, it is settled as one without an answer.
#[must_use = "an exchange that is dropped is settled as one without an answer"]
pub struct Admitted {
    shield: Arc<Shield>,
    ticket: Option<Box<Ticket>>,
    trace: Option<Arc<Trace>>,
    at: Moment,
}

impl Admitted {
    /// When it was admitted.
    pub const fn at(&self) -> Moment {
        self.at
    }

    /// What to do with the session cookie on its way upstream; `None` leaves every cookie as it
    /// came.
    pub fn cookie(&self) -> Option<SendCookie> {
        let ticket = self.ticket.as_ref()?;
        (!ticket.observes()).then(|| ticket.cookie())
    }

    /// Whether a budget is held for it.
    pub fn holds(&self) -> bool {
        self.ticket.as_ref().is_some_and(|ticket| ticket.holds())
    }

    /// Whether the request may be sent again where nobody knows what became of it.
    pub fn is_replayable(&self) -> bool {
        self.ticket.as_ref().is_some_and(|ticket| ticket.is_replayable())
    }

    /// Charges what is held for it, before its answer is there.
    pub fn charge(&mut self) {
        if let Some(ticket) = &mut self.ticket {
            let (turn, now) = (self.shield.order.turn(), self.shield.clock.now());
            self.shield.guard.charge(ticket, now);
            if let Some(made) = turn.map(|turn| turn.made(now))
                && let Some(trace) = &self.trace
            {
                trace.charge(made);
            }
        }
    }

    /// Whether the same request may have to be sent again, for a proof.
    pub fn may_want_proof(&self) -> bool {
        self.ticket.as_ref().is_some_and(|ticket| ticket.may_want_proof())
    }

    /// The session key to send the same request again with, if its answer calls for that.
    pub fn proof_wanted(&self, first: &Evidence) -> Option<SessionKey> {
        self.shield.guard.proof_wanted(self.ticket.as_ref()?, first)
    }

    /// Settles it.
    pub fn settle(mut self, outcome: Outcome<'_>, now: Moment) -> Option<Settlement> {
        let ticket = self.ticket.take()?;
        Some(self.shield.settle(ticket, outcome, self.trace.as_deref(), now))
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let now = self.shield.clock.now();
            self.shield.settle(ticket, Outcome::NoAnswer, self.trace.as_deref(), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::guard::UnderWay;
    use crate::guard::challenge::Challenged;
    use crate::guard::client::Client;
    use crate::guard::cookie::Cookies;
    use crate::guard::key::Secret;
    use crate::guard::policy::Terms;
    use crate::guard::sim::support::policy;
    use crate::telemetry::flood::FloodSettings;

    /// Two sessions for a client: a guard of its tests' own policy.
    fn shield() -> Arc<Shield> {
        let clock = Clock::start();
        let second = Duration::from_secs(1);
        let floods = FloodSettings { events: 20, quiet: second, interval: second };
        let guard = Guard::new(policy(), Secret::new([1; 16]), 1, clock.now());
        let telemetry = Telemetry::new(Vec::new(), floods, clock.now());
        Arc::new(Shield::new(guard, telemetry, None, clock))
    }

    async fn admit(shield: &Arc<Shield>) -> Decision {
        let policy = shield.guard.policy();
        let none = std::iter::empty();
        let cookies = Cookies::read(none, &policy.session.cookie, policy.session.key_shape);
        let request = Request {
            client: Client::fold(IpAddr::V4(Ipv4Addr::LOCALHOST), &policy.client),
            terms: Terms::Usual,
            challenged: Challenged::UNABLE,
            method: "GET",
            path: b"/cart/",
            query: None,
            body: false,
            authorization: false,
            cookies: &cookies,
        };
        shield.admit(&request).await.decision
    }

    #[tokio::test]
    async fn an_exchange_that_is_dropped_is_settled_and_charged() {
        let shield = shield();
        let mut admitted = 0;
        while let Decision::Forward(exchange) = admit(&shield).await {
            assert_eq!(shield.guard.under_way().held, 1);
            drop(exchange);
            assert_eq!(shield.guard.under_way(), UnderWay::default());
            admitted += 1;
            assert!(admitted < 10_000, "nothing is charged");
        }
        assert!(admitted > 0);
    }
}
