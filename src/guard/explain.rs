//! What would become of a request, and why: for an operator who asks. Changes nothing.
//!
//! It decides as [`Guard::admit`] does, from the same looks at the same tables; a test holds the two
//! together. It owns the words for it; what cannot be known (how an exchange will end) it leaves
//! out.

mod words;

use std::time::Duration;

use super::Guard;
use super::admit::Route;
use super::budget::{Debtor, Left, Refused};
use super::challenge::Challenged;
use super::cookie::Presented;
use super::exchange::{Facts, Request};
use super::fact::{Refusal, RouteId, Warmth};
use super::key::SessionKey;
use super::learned::{self, Page};
use super::ledger::{self, Patience};
use super::moment::Moment;
use super::policy::{Terms, Unknown};
use super::route::{Action, Answer, StandingWord};
use super::spares;

/// What would become of a request now.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    pub standing: StandingWord,
    pub session: Session,
    /// The rule that it falls under; `None` where no rule names it.
    pub rule: Option<String>,
    pub action: Action,
    /// Verdicts are not carried out on this route.
    pub observes: bool,
    /// What was learned of its path class, where no rule names it and it is gated.
    pub class: Option<learned::Looked>,
    pub terms: Terms,
    /// The budget that it draws on.
    pub budget: String,
    /// What is left of it, of the narrowest cell first; none where no budget is asked.
    pub left: Vec<Left>,
    pub fate: Fate,
}

/// What its session cookie stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// It has none.
    None,
    /// In the ledger, and alive.
    Known {
        /// Its creation was charged to a budget that had it.
        charged: bool,
        logged_in: bool,
    },
    /// No live session, or none that is known: removed from the request, or forwarded as it came.
    Removed(WhyRemoved),
    Forwarded(WhyForwarded),
    /// The application signs its sessions itself.
    Signed,
}

/// Why a session cookie is taken out of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyRemoved {
    /// The application has ended it.
    Dead,
    /// It was given another key.
    Replaced,
    /// It is that of a spare, which no client can have.
    Spare,
    /// `session.unknown` says so.
    Configured,
    /// The ledger knows every live session, and not this one.
    Warm,
}

/// Why one that is not known is left in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyForwarded {
    /// `session.unknown` says so.
    Configured,
    /// Another process serves the same site, and may have issued it.
    Handover,
    /// The ledger does not know every live session.
    NotWarm(Warmth),
}

/// What would be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    Forwarded {
        with: With,
        cover: Cover,
    },
    Refused {
        why: Refusal,
        retry_after: Duration,
    },
    /// Sent back where it came from with a cookie.
    Challenged {
        why: Refusal,
    },
    Answered(Answer),
    /// Until other exchanges have ended; then it is decided.
    Waits(For),
}

/// What the application gets as its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    /// The cookie as it came.
    Own,
    Nothing,
    Spare,
    /// A random key that nobody has: the slot is empty.
    Placeholder,
    /// Nothing; the answer may prove that the path flushes.
    Proof,
}

/// What it has of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cover {
    /// No budget is asked: its session was paid for.
    Paid,
    /// No budget is asked: the rule forwards.
    Rule,
    /// No budget is asked: the client is exempt.
    Exempt,
    /// No budget is asked: the application keeps nothing of a session that it has signed.
    Signed,
    /// No budget is asked: verdicts are not carried out.
    Unasked,
    /// One is held until its answer is there.
    Held,
    /// None was left, but its path class is clean.
    Clean,
    /// None was left, but verdicts are not carried out.
    Observed(Refusal),
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// Other exchanges of its session.
    Session,
    /// A spare, or the proof of its path.
    Spare,
    /// Budget that exchanges under way hold.
    Budget,
}

impl Guard {
    /// What would become of this request now, for a client that can wait.
    pub fn explain(&self, request: &Request<'_>, now: Moment) -> Explanation {
        let (route, session, paid) = self.look_up(request, now);
        let looking = Looking { guard: self, request, route, now };
        let fate = looking.fate(session, paid);
        let asks = !matches!(
            fate,
            Fate::Forwarded {
                cover: Cover::Paid | Cover::Rule | Cover::Exempt | Cover::Signed | Cover::Unasked,
                ..
            } | Fate::Answered(_)
                | Fate::Waits(For::Session)
        );
        Explanation {
            standing: route.standing,
            session,
            rule: route.rule.map(|rule| rule.name.clone()),
            action: route.action.clone(),
            observes: route.observe,
            class: looking.page().map(|page| looking.class(&page)),
            terms: request.terms,
            budget: self.budgets.name(route.budget).to_owned(),
            left: if asks { looking.left() } else { Vec::new() },
            fate,
        }
    }

    /// What is known of the path class of a request that no rule names.
    pub fn class(&self, request: &Request<'_>, facts: &Facts, now: Moment) -> Option<&'static str> {
        let Request { method, path, .. } = *request;
        let page = Page::new(method, facts.standing(), path);
        let unnamed = facts.route() == RouteId::Unnamed;
        unnamed.then(|| self.learned.look(&page, 0, now).word())
    }

    /// As `Guard::standing` does; and of a living key whether it is paid, `None` where it is busy.
    fn look_up(&self, request: &Request<'_>, now: Moment) -> (Route<'_>, Session, Option<bool>) {
        let route = |word| self.route(request, word);
        let strange = |word, session| (route(word), session, Some(false));
        match request.cookies.presented() {
            Presented::Nothing => strange(StandingWord::None, Session::None),
            Presented::Key(key) => self.look_up_key(request, key, now),
            Presented::Signed if self.issues_signed() => {
                strange(StandingWord::Known, Session::Signed)
            }
            Presented::Signed | Presented::Malformed => {
                strange(StandingWord::Malformed, self.unknown(now))
            }
        }
    }

    fn look_up_key(
        &self,
        request: &Request<'_>,
        key: SessionKey,
        now: Moment,
    ) -> (Route<'_>, Session, Option<bool>) {
        let hash = self.keys.key(&key);
        let known = self.route(request, StandingWord::Known);
        let patience = if known.observe { Patience::Spent } else { Patience::Left };
        let dead = match self.ledger.look(hash, known.effect, now, patience) {
            ledger::Looked::Alive { charged, logged_in, lease } => {
                return (known, Session::Known { charged, logged_in }, lease);
            }
            ledger::Looked::Dead { replaced: true } => Some(WhyRemoved::Replaced),
            ledger::Looked::Dead { replaced: false } => Some(WhyRemoved::Dead),
            ledger::Looked::Unknown => None,
        };
        let session = match (self.policy.session.unknown, dead) {
            _ if self.spares.holds(hash) => Session::Removed(WhyRemoved::Spare),
            (Unknown::Auto | Unknown::Drop, Some(dead)) => Session::Removed(dead),
            (Unknown::Auto | Unknown::Drop, None) | (Unknown::Forward, _) => self.unknown(now),
        };
        (self.route(request, StandingWord::Unknown), session, Some(false))
    }

    /// What becomes of a cookie that is not known to be dead.
    fn unknown(&self, now: Moment) -> Session {
        match self.policy.session.unknown {
            Unknown::Forward => Session::Forwarded(WhyForwarded::Configured),
            Unknown::Auto | Unknown::Drop if self.is_shared() => {
                Session::Forwarded(WhyForwarded::Handover)
            }
            Unknown::Drop => Session::Removed(WhyRemoved::Configured),
            Unknown::Auto if self.drops_unknown(now) => Session::Removed(WhyRemoved::Warm),
            Unknown::Auto => Session::Forwarded(WhyForwarded::NotWarm(self.warmth(now))),
        }
    }
}

/// A request that was looked up.
struct Looking<'a> {
    guard: &'a Guard,
    request: &'a Request<'a>,
    route: Route<'a>,
    now: Moment,
}

impl Looking<'_> {
    fn fate(&self, session: Session, paid: Option<bool>) -> Fate {
        let own = |cover| Fate::Forwarded { with: With::Own, cover };
        match session {
            Session::Known { .. } => match (paid, self.free()) {
                (None, _) => Fate::Waits(For::Session),
                (Some(true), _) => own(Cover::Paid),
                (Some(false), Some(free)) => own(free),
                // Who has a session waits for nothing but that.
                (Some(false), None) => match self.reserve() {
                    Ok(cover) => own(cover),
                    Err(refused) => self.refused(refused),
                },
            },
            Session::Signed => own(Cover::Signed),
            // What is no signature either is nothing to such an application.
            Session::Forwarded(_)
                if self.route.standing == StandingWord::Malformed && self.guard.issues_signed() =>
            {
                own(Cover::Signed)
            }
            Session::Forwarded(_) => match self.free() {
                Some(free) => own(free),
                None => self.gated(With::Own),
            },
            Session::None | Session::Removed(_) => self.sessionless(),
        }
    }

    /// Why no budget is asked, if none is.
    fn free(&self) -> Option<Cover> {
        if *self.route.action == Action::Forward {
            Some(Cover::Rule)
        } else {
            (self.request.terms == Terms::Exempt).then_some(Cover::Exempt)
        }
    }

    fn sessionless(&self) -> Fate {
        // Where verdicts are not carried out, everything goes on as it came.
        let with = if self.route.observe { With::Own } else { With::Nothing };
        let bare = |cover| Fate::Forwarded { with, cover };
        match self.route.action {
            Action::Forward => bare(Cover::Rule),
            Action::Gate => self.gated(with),
            Action::Answer(_) | Action::Recycle if self.route.observe => bare(Cover::Unasked),
            Action::Answer(answer) => Fate::Answered(answer.clone()),
            Action::Recycle => self.recycled(),
        }
    }

    fn recycled(&self) -> Fate {
        let cover = match self.reserve() {
            Ok(cover) => cover,
            Err(refused) => return self.refuse(refused),
        };
        let with = match self.guard.spares.look(self.route.asking(self.request), self.now) {
            spares::Looked::Gate => With::Nothing,
            spares::Looked::Spare => With::Spare,
            spares::Looked::Placeholder => With::Placeholder,
            spares::Looked::Prove => With::Proof,
            spares::Looked::Busy => return Fate::Waits(For::Spare),
        };
        Fate::Forwarded { with, cover }
    }

    fn gated(&self, with: With) -> Fate {
        match self.reserve() {
            Ok(cover) => Fate::Forwarded { with, cover },
            Err(refused) => self.refuse(refused),
        }
    }

    fn reserve(&self) -> Result<Cover, Refused> {
        if self.request.terms == Terms::Exempt {
            return Ok(Cover::Exempt);
        }
        match self.hold() {
            Ok(()) => Ok(Cover::Held),
            Err(refused) if self.route.observe => Ok(Cover::Observed(refused.why)),
            Err(_) if self.passes() => Ok(Cover::Clean),
            Err(refused) => Err(refused),
        }
    }

    /// Those who would pay, one after the other.
    fn debtors(&self) -> impl Iterator<Item = Debtor> {
        let first = self.route.holder(self.guard, self.request, self.now);
        let second = first.token.map(|_| Debtor { token: None, ..first });
        std::iter::once(first).chain(second)
    }

    fn hold(&self) -> Result<(), Refused> {
        let mut first = Ok(());
        for debtor in self.debtors() {
            match self.guard.budgets.look(self.route.budget, debtor, self.now).1 {
                Ok(()) => return Ok(()),
                Err(refused) => first = first.and(Err(refused)),
            }
        }
        first
    }

    fn left(&self) -> Vec<Left> {
        let mut left: Vec<Left> = Vec::new();
        for debtor in self.debtors() {
            for cell in self.guard.budgets.look(self.route.budget, debtor, self.now).0 {
                if !left.contains(&cell) {
                    left.push(cell);
                }
            }
        }
        left
    }

    fn passes(&self) -> bool {
        let debtor = self.route.debtor(self.request);
        !self.guard.budgets.in_debt(self.route.budget, debtor, self.now)
            && self.page().is_some_and(|page| self.class(&page).passes)
    }

    fn page(&self) -> Option<Page<'_>> {
        self.route.page(self.request)
    }

    fn class(&self, page: &Page<'_>) -> learned::Looked {
        let burst = self.guard.policy.budgets[self.route.budget].site.burst().get();
        self.guard.learned.look(page, burst, self.now)
    }

    fn refuse(&self, refused: Refused) -> Fate {
        if refused.held { Fate::Waits(For::Budget) } else { self.refused(refused) }
    }

    fn refused(&self, Refused { why, retry_after, .. }: Refused) -> Fate {
        let replayable = self.request.challenged == Challenged::No { replayable: true };
        if self.route.challenges && why != Refusal::NoSpare && replayable {
            Fate::Challenged { why }
        } else {
            Fate::Refused { why, retry_after }
        }
    }
}
