//! What the guard hands out for an exchange: the request as it must see it, the verdict, the
//! ticket that must be settled, and what the settlement asks of the shell.

use std::time::Duration;

use super::budget::{Debtor, Hold};
use super::challenge::Challenged;
use super::client::Client;
use super::cookie::Cookies;
use super::fact::{Event, Fact, Notice, Refusal, RouteId, Write};
use super::key::{KeyHash, SessionKey};
use super::learned::Page;
use super::ledger::{KeyLease, KeyRecord};
use super::policy::Terms;
use super::route::{Answer, Effect, StandingWord};
use super::set_cookie::Evidence;
use super::spares::{Nature, ProofLease, SpareLease};

/// A request, as far as the guard needs it.
#[derive(Debug)]
pub struct Request<'a> {
    pub client: Client,
    /// By which budget it is limited.
    pub terms: Terms,
    pub challenged: Challenged,
    /// As it stands on the request line; methods are case-sensitive (RFC 9110, section 9.1).
    pub method: &'a str,
    /// Decoded by `path::decode`.
    pub path: &'a [u8],
    pub query: Option<&'a str>,
    /// Whether content comes with it, of whatever length.
    pub body: bool,
    /// Whether it has an `Authorization` field.
    pub authorization: bool,
    pub cookies: &'a Cookies<'a>,
}

impl Request<'_> {
    /// Whether the method is safe (RFC 9110, section 9.2.1), so that sending it twice asks for
    /// nothing that sending it once does not.
    pub fn is_safe(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "OPTIONS")
    }
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Verdict {
    Forward(Box<Ticket>, Facts),
    Refuse {
        why: Refusal,
        retry_after: Duration,
        facts: Facts,
        /// Who may go on, because this exchange does not.
        wake: Option<WaitFor>,
    },
    /// Out of budget, but not refused yet: to be sent back where it came from, with what
    /// [`super::Guard::challenge`] makes.
    Challenge {
        facts: Facts,
        wake: Option<WaitFor>,
    },
    /// The proxy replies itself, and deletes the session cookie where the request carried one.
    Answer {
        answer: Answer,
        delete: bool,
        facts: Facts,
    },
    /// Another exchange must end first; ask again when it has, or when patience is spent.
    Wait(WaitFor),
}

/// What an exchange waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// Other exchanges of this key.
    Key(KeyHash),
    /// A slot with a spare, or the proof of a path.
    Spare,
    /// Room in a budget that is taken by exchanges under way, and by nothing else.
    Budget,
}

/// An admitted exchange, to be settled when it has ended, however it has.
#[derive(Debug)]
#[must_use = "an exchange that is not settled keeps its hold, its key and its spare"]
pub struct Ticket {
    pub(super) route: RouteId,
    pub(super) debtor: Debtor,
    /// No budget limits it, and none is charged.
    pub(super) exempt: bool,
    pub(super) standing: StandingWord,
    pub(super) budget: usize,
    pub(super) effect: Effect,
    pub(super) observe: bool,
    pub(super) body: bool,
    pub(super) carried: bool,
    /// The key that was taken out of the request had been replaced by another.
    pub(super) replaced: bool,
    pub(super) nature: Nature,
    /// The path, where the rule recycles.
    pub(super) path: Option<Box<[u8]>>,
    pub(super) sent: Sent,
    pub(super) hold: Option<Hold>,
    /// What it held was charged before it ended.
    pub(super) charged: bool,
    /// What the answer teaches of, where no rule names the request and it had no live session.
    pub(super) page: Option<Page<'static>>,
    /// It went without a hold because its class is clean.
    pub(super) passes: bool,
}

/// What the application gets as the session of a request.
#[derive(Debug)]
pub(super) enum Sent {
    Nothing,
    Known(SessionKey, KeyLease),
    Unknown(SessionKey),
    /// A cookie that holds no key.
    Foreign,
    Spare(SpareLease),
    /// Nothing; the answer may prove the path.
    Proof(ProofLease),
}

/// What to do with the session cookie on its way upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendCookie {
    /// The clean line as it is.
    Keep,
    Remove,
    Replace(SessionKey),
}

impl Ticket {
    /// What to do with the session cookie on its way upstream.
    pub fn cookie(&self) -> SendCookie {
        match &self.sent {
            Sent::Known(..) | Sent::Unknown(_) | Sent::Foreign => SendCookie::Keep,
            Sent::Nothing | Sent::Proof(_) => SendCookie::Remove,
            Sent::Spare(lease) => SendCookie::Replace(*lease.key()),
        }
    }

    /// Whether the request goes on exactly as it came, cookies included.
    pub fn observes(&self) -> bool {
        self.observe
    }

    /// Whether a budget is held until it is settled.
    pub fn holds(&self) -> bool {
        self.hold.is_some()
    }

    /// Whether the same request may be sent again where nobody knows what became of it: nothing is
    /// held for it, it has no spare, proves no path and only writes to a session that it has; and
    /// it went without a hold by a rule or for its session, not because its class is clean.
    pub fn is_replayable(&self) -> bool {
        let kept = match self.sent {
            Sent::Nothing | Sent::Known(..) | Sent::Unknown(_) | Sent::Foreign => true,
            Sent::Spare(_) | Sent::Proof(_) => false,
        };
        let effect = match self.effect {
            Effect::Write => true,
            Effect::Rotate | Effect::Flush => false,
        };
        kept && effect && self.hold.is_none() && !self.charged && !self.passes
    }

    /// Whether the same request may have to be sent again, to prove that its path flushes.
    pub fn may_want_proof(&self) -> bool {
        matches!(self.sent, Sent::Proof(_))
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// Not a byte of it reached the application: nothing was written.
    Unsent,
    /// It may have been carried out; there is no answer that would tell.
    NoAnswer,
    /// With this answer; and, where a proof was made, with this one to the second request.
    Answered(&'a Evidence, Option<&'a Evidence>),
}

/// What is left to do when an exchange has been settled.
#[derive(Debug)]
pub struct Settlement {
    pub cookie: RelayCookie,
    pub facts: Facts,
    pub notice: Option<Notice>,
    /// For the journal, before the answer is relayed.
    pub records: [Option<KeyRecord>; 2],
    /// Who may go on now.
    pub wake: Option<WaitFor>,
}

/// What becomes of the session cookie in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayCookie {
    /// As the application sent it, or none.
    Keep,
    /// Taken out: the client had none and gets none.
    Strip,
    /// Replaced by a deletion, or a deletion added.
    Delete,
}

/// A few facts about one exchange, without an allocation.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    standing: StandingWord,
    facts: [Fact; Self::MOST],
    number: usize,
}

impl Facts {
    const MOST: usize = 3;

    pub(super) const fn none(route: RouteId, client: Client, standing: StandingWord) -> Self {
        let blank = Fact { route, client, event: Event::Wrote(Write::None) };
        Self { standing, facts: [blank; Self::MOST], number: 0 }
    }

    pub(super) fn and(mut self, event: Event) -> Self {
        // No exchange says more than there is room for.
        if let Some(place) = self.facts.get_mut(self.number) {
            place.event = event;
            self.number += 1;
        }
        self
    }

    /// The facts, in the order in which they happened.
    pub fn as_slice(&self) -> &[Fact] {
        &self.facts[..self.number]
    }

    /// The rule that the request fell under.
    pub fn route(&self) -> RouteId {
        // Those that say nothing yet have it too.
        let [first, ..] = self.facts;
        first.route
    }

    /// The standing with which the request came.
    pub fn standing(&self) -> StandingWord {
        self.standing
    }
}
