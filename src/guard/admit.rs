//! Admission: what becomes of a request, decided before the application sees it.

use std::time::Duration;

use super::Guard;
use super::budget::{Debtor, Hold, Rank, Refused};
use super::challenge::Challenged;
use super::cookie::Presented;
use super::exchange::{Facts, Request, Sent, Ticket, Verdict, WaitFor};
use super::fact::{Event, Refusal, RouteId, Warmth};
use super::key::SessionKey;
use super::learned::Page;
use super::ledger::{Entered, KeyLease, Patience};
use super::moment::Moment;
use super::path::only_parameters;
use super::policy::{Budget, Challenge, Mode, Terms, Unknown};
use super::route::{Action, Effect, Rule, StandingWord};
use super::spares::{Asking, Lane, Nature};

/// What a route asks of a request.
#[derive(Clone, Copy)]
pub(super) struct Route<'a> {
    pub(super) id: RouteId,
    pub(super) rule: Option<&'a Rule>,
    pub(super) standing: StandingWord,
    pub(super) action: &'a Action,
    pub(super) budget: usize,
    pub(super) effect: Effect,
    pub(super) observe: bool,
    /// Whether who is out of budget is challenged.
    pub(super) challenges: bool,
}

impl Route<'_> {
    /// Who is to pay, should it come to light late: then all ranks are alike.
    pub(super) fn debtor(&self, request: &Request<'_>) -> Debtor {
        let token = match request.challenged {
            Challenged::Passed(token) if self.challenges => Some(token),
            Challenged::Passed(_) | Challenged::No { .. } | Challenged::Failed => None,
        };
        Debtor { token, ..Debtor::from(request.client) }
    }

    /// Who is to pay for what is held. Where nobody is challenged, nothing of the site's budget is
    /// kept for those who were.
    pub(super) fn holder(&self, guard: &Guard, request: &Request<'_>, now: Moment) -> Debtor {
        let rank = match request.challenged {
            _ if !self.challenges => Rank::Regular,
            _ if guard.regulars.know(request.client, now) => Rank::Regular,
            Challenged::Passed(_) => Rank::Challenged,
            Challenged::No { .. } | Challenged::Failed => Rank::Newcomer,
        };
        Debtor { rank, ..self.debtor(request) }
    }

    /// A request that no rule names, as its path class is found.
    pub(super) fn page<'a>(&self, request: &Request<'a>) -> Option<Page<'a>> {
        let Request { method, path, .. } = *request;
        (self.id == RouteId::Unnamed).then(|| Page::new(method, self.standing, path))
    }

    /// What it brings to the decision about spares.
    pub(super) fn asking<'a>(&self, request: &Request<'a>) -> Asking<'a> {
        let allowed = self.rule.map_or(&[][..], |rule| &rule.query);
        Asking {
            path: request.path,
            route: self.id,
            eligible: !request.body
                && !request.authorization
                && only_parameters(request.query, allowed),
            safe: request.is_safe(),
        }
    }
}

/// What is left of a request's session once it has been looked up.
enum Standing {
    /// The application gets no session from it.
    Sessionless {
        removed: bool,
        /// What was removed had been replaced by another key.
        replaced: bool,
    },
    Known(SessionKey, KeyLease),
    /// Forwarded as it came.
    Unproven(Sent),
    Busy(WaitFor),
}

impl Guard {
    /// Decides about a request. Where the verdict is to wait, the shell asks again; with its
    /// patience spent it gets another verdict.
    pub fn admit(&self, request: &Request<'_>, patience: Patience, now: Moment) -> Verdict {
        let (route, standing) = self.standing(request, patience, now);
        let replaced = matches!(standing, Standing::Sessionless { replaced: true, .. });
        let ticket = Drawing { guard: self, request, route, replaced, patience, now };
        match standing {
            Standing::Busy(wait) => Verdict::Wait(wait),
            Standing::Known(key, lease) => ticket.known(key, lease),
            Standing::Unproven(sent) => ticket.unproven(sent),
            Standing::Sessionless { removed, .. } => ticket.sessionless(removed),
        }
    }

    /// Looks the session up and finds the route, which may depend on what was found.
    fn standing(
        &self,
        request: &Request<'_>,
        patience: Patience,
        now: Moment,
    ) -> (Route<'_>, Standing) {
        let route = |word| self.route(request, word);
        match request.cookies.presented() {
            Presented::Nothing => (
                route(StandingWord::None),
                Standing::Sessionless { removed: false, replaced: false },
            ),
            Presented::Key(key) => self.key_standing(request, key, patience, now),
            Presented::Signed if self.issues_signed() => {
                (route(StandingWord::Known), Standing::Unproven(Sent::Foreign))
            }
            Presented::Signed | Presented::Malformed => {
                let standing = if self.drops_unknown(now) {
                    Standing::Sessionless { removed: true, replaced: false }
                } else {
                    Standing::Unproven(Sent::Foreign)
                };
                (route(StandingWord::Malformed), standing)
            }
        }
    }

    fn key_standing(
        &self,
        request: &Request<'_>,
        key: SessionKey,
        patience: Patience,
        now: Moment,
    ) -> (Route<'_>, Standing) {
        let hash = self.keys.key(&key);
        let known = self.route(request, StandingWord::Known);
        // Nobody waits in observe mode.
        let patience = if known.observe { Patience::Spent } else { patience };
        let dead = match self.ledger.enter(hash, known.effect, now, patience) {
            Entered::Alive(lease) => return (known, Standing::Known(key, lease)),
            Entered::Busy => return (known, Standing::Busy(WaitFor::Key(hash))),
            Entered::Dead { replaced } => Some(replaced),
            Entered::Unknown => None,
        };
        // A dead key is no honest user's whatever the ledger has seen so far, and a spare was
        // given to nobody.
        let remove = match self.policy.session.unknown {
            Unknown::Forward => self.spares.holds(hash),
            Unknown::Auto | Unknown::Drop => {
                dead.is_some() || self.drops_unknown(now) || self.spares.holds(hash)
            }
        };
        let standing = if remove {
            Standing::Sessionless { removed: true, replaced: dead == Some(true) }
        } else {
            Standing::Unproven(Sent::Unknown(key))
        };
        (self.route(request, StandingWord::Unknown), standing)
    }

    /// Whether unknown and malformed session cookies are removed from requests.
    pub(super) fn drops_unknown(&self, now: Moment) -> bool {
        match self.policy.session.unknown {
            Unknown::Forward => false,
            // The other process may have issued it just now.
            Unknown::Auto | Unknown::Drop if self.is_shared() => false,
            Unknown::Drop => true,
            Unknown::Auto => self.warmth(now) == Warmth::Warm,
        }
    }

    /// The first rule that matches. What none matches is gated; what was learned of it
    /// matters once the budget is spent.
    pub(super) fn route(&self, request: &Request<'_>, standing: StandingWord) -> Route<'_> {
        let Request { path, method, .. } = *request;
        let site = self.policy.mode == Mode::Observe;
        let mut route = match self.glances.first(&self.policy.rules, path, method, standing) {
            Some((index, rule)) => Route {
                id: RouteId::Rule(index),
                rule: Some(rule),
                standing,
                action: &rule.action,
                budget: rule.budget,
                effect: rule.effect,
                observe: rule.mode.map_or(site, |mode| mode == Mode::Observe),
                challenges: false,
            },
            None => Route {
                id: RouteId::Unnamed,
                rule: None,
                standing,
                action: &Action::Gate,
                budget: Budget::ANONYMOUS,
                effect: Effect::Write,
                observe: site,
                challenges: false,
            },
        };
        if let Terms::Own(budget) = request.terms {
            route.budget = budget;
        }
        let own = route.rule.and_then(|rule| rule.challenge);
        let own = own.or(self.policy.budgets[route.budget].challenge);
        let challenge = own.unwrap_or(self.policy.challenge);
        route.challenges = challenge == Challenge::Cookie && !route.observe;
        route
    }
}

/// A ticket in the making.
struct Drawing<'a> {
    guard: &'a Guard,
    request: &'a Request<'a>,
    route: Route<'a>,
    replaced: bool,
    patience: Patience,
    now: Moment,
}

impl Drawing<'_> {
    /// A paid key is never refused by any budget; an unpaid one needs a hold like an unknown one,
    /// so that growth cannot compound.
    fn known(self, key: SessionKey, lease: KeyLease) -> Verdict {
        if lease.paid || self.is_free() {
            return self.forward(Sent::Known(key, lease), Cover::Needless);
        }
        match self.reserve() {
            Ok(hold) => self.forward(Sent::Known(key, lease), hold),
            Err(refused) => {
                let freed = WaitFor::Key(lease.key);
                self.guard.ledger.leave(lease);
                self.refused(refused, Some(freed))
            }
        }
    }

    fn unproven(self, sent: Sent) -> Verdict {
        let signed = matches!(sent, Sent::Foreign) && self.guard.issues_signed();
        if signed || self.is_free() {
            return self.forward(sent, Cover::Needless);
        }
        self.gated(sent)
    }

    /// Whether no budget is asked.
    fn is_free(&self) -> bool {
        *self.route.action == Action::Forward || self.request.terms == Terms::Exempt
    }

    fn sessionless(mut self, removed: bool) -> Verdict {
        if self.route.observe {
            return self.sessionless_observed();
        }
        match self.route.action {
            Action::Forward => self.forward(Sent::Nothing, Cover::Needless),
            Action::Gate => self.gated(Sent::Nothing),
            Action::Answer(answer) => Verdict::Answer {
                answer: answer.clone(),
                delete: self.request.cookies.carried(),
                facts: self.facts(removed).and(Event::Answered),
            },
            Action::Recycle => self.recycled(),
        }
    }

    fn sessionless_observed(&mut self) -> Verdict {
        match self.route.action {
            Action::Forward => self.forward(Sent::Nothing, Cover::Needless),
            Action::Gate => self.gated(Sent::Nothing),
            Action::Answer(_) | Action::Recycle => {
                let verdict = self.forward(Sent::Nothing, Cover::Needless);
                verdict.also(Event::WouldAbsorb)
            }
        }
    }

    fn recycled(&self) -> Verdict {
        let hold = match self.reserve() {
            Ok(hold) => hold,
            Err(refused) => return self.refuse(refused),
        };
        match self.guard.spares.enter(self.route.asking(self.request), self.now) {
            Lane::Gate => self.forward(Sent::Nothing, hold),
            Lane::Spare(lease) => self.forward(Sent::Spare(lease), hold),
            Lane::Prove(lease) => self.forward(Sent::Proof(lease), hold),
            Lane::Busy => {
                if self.patience == Patience::Spent && self.request.terms == Terms::Exempt {
                    return self.forward(Sent::Nothing, hold);
                }
                if let Cover::Taken(hold) = hold {
                    self.guard.budgets.refund(hold);
                }
                if self.patience == Patience::Left {
                    return Verdict::Wait(WaitFor::Spare);
                }
                let (why, retry_after) = (Refusal::NoSpare, Duration::from_secs(1));
                self.refuse(Refused { why, retry_after, held: false, in_debt: false })
            }
        }
    }

    fn gated(&self, sent: Sent) -> Verdict {
        match self.reserve() {
            Ok(hold) => self.forward(sent, hold),
            Err(refused) => self.refuse(refused),
        }
    }

    /// In observe mode nothing is refused: what would have been is told, and goes on without.
    fn reserve(&self) -> Result<Cover, Refused> {
        if self.request.terms == Terms::Exempt {
            return Ok(Cover::Needless);
        }
        match self.hold() {
            Ok(hold) => Ok(Cover::Taken(hold)),
            Err(refused) if self.route.observe => Ok(Cover::Missing(refused.why)),
            // Who is out of budget still reaches pages that create nothing.
            Err(refused) if self.passes(&refused) => Ok(Cover::Pass),
            Err(refused) => Err(refused),
        }
    }

    /// Of what a returned cookie brings; where that is spent, of what its client has as well.
    fn hold(&self) -> Result<Hold, Refused> {
        let debtor = self.route.holder(self.guard, self.request, self.now);
        let reserve = |debtor| self.guard.budgets.reserve(self.route.budget, debtor, self.now);
        reserve(debtor).or_else(|refused| match debtor.token {
            Some(_) => reserve(Debtor { token: None, ..debtor }).map_err(|_| refused),
            None => Err(refused),
        })
    }

    fn debtor(&self) -> Debtor {
        self.route.debtor(self.request)
    }

    /// Not while what passed before, and created all the same, is to be paid off: there are more
    /// classes than an attacker can use up.
    fn passes(&self, refused: &Refused) -> bool {
        let burst = self.guard.policy.budgets[self.route.budget].site.burst().get();
        let clean = |page| self.guard.learned.pass(&page, burst, self.now);
        !refused.in_debt && self.page().is_some_and(clean)
    }

    /// Refuses, or waits where only exchanges under way stand in the way: a burst of an office's
    /// browsers is no flood.
    fn refuse(&self, refused: Refused) -> Verdict {
        if refused.held && self.patience == Patience::Left {
            return Verdict::Wait(WaitFor::Budget);
        }
        self.refused(refused, None)
    }

    fn refused(&self, refused: Refused, wake: Option<WaitFor>) -> Verdict {
        let Refused { why, retry_after, .. } = refused;
        if self.route.challenges
            && why != Refusal::NoSpare
            && self.request.challenged == (Challenged::No { replayable: true })
        {
            let facts = self.facts(false).and(Event::Challenged);
            return Verdict::Challenge { facts, wake };
        }
        let facts = self.facts(false).and(Event::Refused(why));
        Verdict::Refuse { why, retry_after, facts, wake }
    }

    fn forward(&self, sent: Sent, hold: Cover) -> Verdict {
        let recycles = *self.route.action == Action::Recycle;
        let nature = if self.route.effect == Effect::Flush {
            self.guard.spares.nature(self.request.path, self.now)
        } else {
            Nature::Unproved
        };
        let removed = match sent {
            Sent::Nothing | Sent::Spare(_) | Sent::Proof(_) => {
                !self.route.observe && self.request.cookies.carried()
            }
            Sent::Known(..) | Sent::Unknown(_) | Sent::Foreign => false,
        };
        let facts = self.facts(removed);
        let passes = matches!(hold, Cover::Pass);
        let page = (!matches!(hold, Cover::Needless)).then(|| self.page()).flatten();
        let (hold, facts) = match hold {
            Cover::Needless | Cover::Pass => (None, facts),
            Cover::Taken(hold) => (Some(hold), facts),
            Cover::Missing(why) => (None, facts.and(Event::WouldRefuse(why))),
        };
        let ticket = Ticket {
            route: self.route.id,
            debtor: self.debtor(),
            exempt: self.request.terms == Terms::Exempt,
            standing: self.route.standing,
            budget: self.route.budget,
            effect: self.route.effect,
            observe: self.route.observe,
            body: self.request.body,
            carried: self.request.cookies.carried(),
            replaced: self.replaced,
            nature,
            path: recycles.then(|| self.request.path.into()),
            sent,
            hold,
            charged: false,
            page: page.map(Page::into_owned),
            passes,
        };
        Verdict::Forward(Box::new(ticket), facts)
    }

    fn page(&self) -> Option<Page<'_>> {
        self.route.page(self.request)
    }

    fn facts(&self, removed: bool) -> Facts {
        let facts = Facts::none(self.route.id, self.request.client, self.route.standing);
        if removed { facts.and(Event::Removed) } else { facts }
    }
}

/// What an exchange has of its budget.
enum Cover {
    /// It needs none.
    Needless,
    Taken(Hold),
    /// None was left; the class of the request is clean.
    Pass,
    /// There was none left; observe mode lets it pass.
    Missing(Refusal),
}

impl Verdict {
    fn also(self, event: Event) -> Self {
        match self {
            Self::Forward(ticket, facts) => Self::Forward(ticket, facts.and(event)),
            other @ (Self::Refuse { .. }
            | Self::Challenge { .. }
            | Self::Answer { .. }
            | Self::Wait(_)) => other,
        }
    }
}
