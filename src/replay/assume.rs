//! What is assumed of answers that a log does not tell: it has no cookies, so what the application
//! wrote is not in it.

use crate::guard::exchange::{SendCookie, Ticket};
use crate::guard::fact::RouteId;
use crate::guard::key::SessionKey;
use crate::guard::policy::{KeyShape, Policy};
use crate::guard::route::Effect;
use crate::guard::set_cookie::{Evidence, SetSession};

/// Which answers are taken to have begun a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assume {
    /// Those of the rules.
    Rules,
    /// Those of every page.
    Everything,
    /// Those of logins alone.
    Logins,
}

impl Assume {
    pub const ALL: [Self; 3] = [Self::Rules, Self::Everything, Self::Logins];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Everything => "everything",
            Self::Logins => "logins",
        }
    }

    /// What it says, in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Rules => {
                "the application is vulnerable: each logout without a session begins one, and so does \
                 each answer with 2xx or 3xx on a page that a rule names; pages that no rule names begin \
                 none"
            }
            Self::Everything => {
                "every answer with 2xx or 3xx begins a session where there was none, but for styles, \
                 pictures and scripts"
            }
            Self::Logins => {
                "nothing but a login that succeeds begins a session: the application is patched, and \
                 its pages begin none"
            }
        }
    }
}

/// What a request was.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub status: u16,
    pub method: &'a str,
    pub asset: bool,
    /// The key that it came with.
    pub session: Option<SessionKey>,
}

impl Asked<'_> {
    /// Whether it was a login that succeeded: content was sent to a login, and the answer sends the
    /// client elsewhere.
    pub fn logs_in(&self, effect: Effect) -> bool {
        effect == Effect::Rotate && self.method == "POST" && matches!(self.status, 301..=303)
    }
}

/// Keys as an application would issue them, none twice.
#[derive(Default)]
pub struct Keys(u64);

impl Keys {
    pub fn fresh(&mut self) -> Option<SessionKey> {
        self.0 += 1;
        // A counted one is no hash: other halves.
        key(0xf100_d3a1_1000_0000, self.0)
    }
}

/// The key that stands for a hash.
pub fn key_of(hash: u64) -> Option<SessionKey> {
    key(hash, hash)
}

fn key(upper: u64, lower: u64) -> Option<SessionKey> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    let number = u128::from(upper) << 64 | u128::from(lower);
    for (place, byte) in text.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        place[0] = HEX[usize::from(byte >> 4)];
        place[1] = HEX[usize::from(byte & 15)];
    }
    SessionKey::parse(&text, KeyShape::Hex32)
}

/// What a rule's view does to a session.
pub fn effect(policy: &Policy, route: RouteId) -> Effect {
    match route {
        RouteId::Rule(rule) => {
            policy.rules.get(usize::from(rule)).map_or(Effect::Write, |rule| rule.effect)
        }
        RouteId::Unnamed => Effect::Write,
    }
}

/// The answer to a forwarded request, and to a proof if one is wanted.
pub fn answer(
    assume: Assume,
    (route, effect): (RouteId, Effect),
    asked: &Asked<'_>,
    ticket: &Ticket,
    keys: &mut Keys,
) -> (Evidence, Option<Evidence>) {
    let status = asked.status;
    let evidence = |session| Evidence { status, session, lookalike: None, dress: None };
    let mut fresh = || match keys.fresh() {
        Some(key) => SetSession::Key { key, max_age: None },
        None => SetSession::Nothing,
    };
    if !matches!(status, 200..=303 | 305..=399) {
        return (evidence(SetSession::Nothing), None);
    }
    let bare = match (ticket.cookie(), asked.session) {
        (SendCookie::Keep, Some(_)) => false,
        (SendCookie::Keep | SendCookie::Remove | SendCookie::Replace(_), _) => true,
    };
    let begins = match (assume, effect, route) {
        // A session that ends is followed by an empty one, on releases that need protection.
        (Assume::Rules | Assume::Everything, Effect::Flush, _) => true,
        (Assume::Logins, Effect::Flush, _) => {
            let ends = if bare { SetSession::Nothing } else { SetSession::Deletion };
            return (evidence(ends), None);
        }
        _ if asked.logs_in(effect) => true,
        (Assume::Rules, Effect::Rotate, _) | (Assume::Logins, ..) => false,
        (Assume::Rules, Effect::Write, RouteId::Rule(_)) => bare,
        (Assume::Rules, Effect::Write, RouteId::Unnamed) => false,
        (Assume::Everything, Effect::Write | Effect::Rotate, _) => bare && !asked.asset,
    };
    if !begins {
        return (evidence(SetSession::Nothing), None);
    }
    let first = evidence(fresh());
    let proof = ticket.may_want_proof().then(|| evidence(fresh()));
    (first, proof)
}
