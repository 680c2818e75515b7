//! The decision core: who has a session, what a request may cost, what an answer proves.
//!
//! Pure and synchronous. It owns the ledger, the budgets and the spares; it refuses to know about
//! sockets, files, logs and clocks: bytes come in parsed or as slices, time is an argument, and
//! what happened goes out as values.
//!
//! [`Guard::admit`] gives a verdict on a request, [`Guard::settle`] draws the conclusions from its
//! answer; `image` turns what must outlive the process into bytes and back.

pub mod budget;
pub mod challenge;
pub mod client;
pub mod cookie;
pub mod exchange;
pub mod explain;
pub mod fact;
pub mod footprint;
pub mod gcra;
pub mod handover;
pub mod image;
pub mod key;
pub mod learned;
pub mod ledger;
pub mod moment;
pub mod path;
pub mod policy;
pub mod protocol;
pub mod regulars;
pub mod reload;
pub mod route;
pub mod set_cookie;
pub mod sharded;
pub mod spares;
pub mod status;
pub mod warmth;

mod admit;
mod settle;

#[cfg(test)]
pub(crate) mod sim;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use budget::Budgets;
use challenge::{Challenged, Tokens};
use client::Client;
use fact::Warmth;
use key::{Secret, SessionKey, Token};
use learned::Learned;
use ledger::{KeyRecord, Ledger, Patience};
use moment::Moment;
use policy::Policy;
use regulars::Regulars;
use route::{Effect, Glances};
use set_cookie::Dress;
use sharded::Locked;
use spares::Spares;
use warmth::WarmUp;

/// The guard of one site: its policy, and everything that it remembers. Shared by all cores.
///
/// What it remembers can be shared by guards of other policies, see [`Guard::reconfigured`]; an
/// exchange is settled by the guard that admitted it.
pub struct Guard {
    policy: Policy,
    /// Of the policy's rules.
    glances: Glances,
    secret: Secret,
    /// The session cookie whose keys are hashed with `secret`: that of the first policy.
    home: Arc<str>,
    /// Behind the hashes of the session cookie's keys.
    keys: Secret,
    /// Behind what stands for keys in the access log.
    trace: Secret,
    run: u32,
    ledger: Ledger,
    budgets: Budgets,
    spares: Spares,
    learned: Learned,
    regulars: Regulars,
    tokens: Tokens,
    challenges: bool,
    warm_up: Arc<Locked<WarmUp>>,
    /// Another process serves the same site, see [`handover`].
    shared: Arc<AtomicBool>,
    dress: Arc<Locked<Dress>>,
    habits: Arc<Habits>,
}

/// What answers have shown of the application.
#[derive(Default)]
struct Habits {
    /// Whether the application was seen to keep its sessions in signed cookies.
    signed: AtomicBool,
    /// Whether who only looks at a login page was seen to get no session with it.
    bare_logins: AtomicBool,
}

impl Guard {
    /// No session cookie is believed to live longer: browsers cap ages at 400 days
    /// (RFC 6265bis, section 5.5).
    pub const LONGEST_AGE: Duration = Duration::from_secs(400 * 86_400);

    /// A guard that remembers nothing. `secret` and `seed` must be random; the seed new with
    /// every process.
    pub fn new(policy: Policy, secret: Secret, seed: u64, now: Moment) -> Self {
        let home = Arc::from(&*policy.session.cookie);
        Self::begun(policy, secret, home, seed, now)
    }

    fn begun(policy: Policy, secret: Secret, home: Arc<str>, seed: u64, now: Moment) -> Self {
        let keys = secret.of_keys(&home, &policy.session.cookie);
        let trace = secret.of_trace(seed);
        Self {
            ledger: Ledger::new(
                policy.session.capacity,
                policy.session.in_flight_per_key,
                policy.session.in_flight_anonymous,
            ),
            budgets: Budgets::new(
                &policy.budgets,
                &policy.client,
                &policy.challenge_cookie,
                secret,
            ),
            spares: Spares::new(&policy.recycle, policy.session.lifetime, keys, seed),
            learned: Learned::new(&policy.learned, secret),
            regulars: Regulars::new(secret, now),
            challenges: policy.challenges(),
            tokens: Tokens::new(secret, seed, policy.challenge_cookie.max_age),
            warm_up: Arc::new(Locked::new(WarmUp::cold(now, policy.session.lifetime))),
            shared: Arc::default(),
            dress: Arc::new(Locked::new(Dress::configured(&policy.session))),
            habits: Arc::default(),
            trace,
            // The lower half.
            run: trace.number(0) as u32,
            glances: Glances::new(&policy.rules),
            secret,
            home,
            keys,
            policy,
        }
    }

    /// What the guard obeys.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether the ledger knows every live session.
    pub fn warmth(&self, now: Moment) -> Warmth {
        self.warm_up.lock().warmth(now)
    }

    /// What stands for a session key in the access log: a hash that nobody can make who has not the
    /// secret of this process, the same for the same key for as long as it runs.
    pub fn traced(&self, key: &SessionKey) -> u64 {
        self.trace.key(key).0
    }

    /// What stands for the token of a challenge there.
    pub fn traced_token(&self, token: Token) -> Token {
        Token(self.trace.number(token.0))
    }

    /// Takes in a key of which it is known that it is alive, as one that came of a login, if the
    /// ledger has never heard of it; says whether it had not. For whoever has only a part of what
    /// happened.
    pub fn adopt(&self, key: &SessionKey, now: Moment) -> bool {
        let hash = self.keys.key(key);
        let known = self.ledger.look(hash, Effect::Write, now, Patience::Spent);
        if known != ledger::Looked::Unknown {
            return false;
        }
        let expires = now.after(self.policy.session.lifetime);
        let flags = KeyRecord::PAID | KeyRecord::LOGGED_IN;
        self.ledger.issue(hash, expires, flags, now);
        true
    }

    /// A number for this process and this site, that no other is likely to have.
    pub fn run(&self) -> u32 {
        self.run
    }

    /// When it began, if it remembers nothing of before: neither keys nor spares nor debts, and it
    /// never missed anything. To be asked before the first exchange.
    pub fn blank_since(&self, now: Moment) -> Option<Moment> {
        let warm_up = *self.warm_up.lock();
        let blank = warm_up == WarmUp::cold(warm_up.since, self.policy.session.lifetime)
            && self.sizes() == (0, 0)
            && self.spares.saved(false, now).is_empty()
            && self.budgets.owed(now).all(|owed| owed.is_empty());
        blank.then_some(warm_up.since)
    }

    /// The value of a `Set-Cookie` line that makes a browser forget the session cookie.
    pub fn deletion(&self) -> String {
        self.dress.lock().deletion(&self.policy.session.cookie)
    }

    /// Whether any client can be challenged.
    pub fn challenges(&self) -> bool {
        self.challenges
    }

    /// What a request says of challenges, by the values of its cookies under the challenge
    /// cookie's name and by the marker in its URL, at `unix` seconds since 1970. Of many cookies
    /// only the first few are looked at.
    pub fn challenged<'a>(
        &self,
        client: Client,
        cookies: impl Iterator<Item = &'a [u8]>,
        marker: Option<&[u8]>,
        replayable: bool,
        unix: u64,
    ) -> Challenged {
        const LOOKED_AT: usize = 4;
        let read = |text| self.tokens.read(text, client, unix);
        match cookies.take(LOOKED_AT).find_map(read) {
            Some(token) => Challenged::Passed(token),
            None if marker.is_some_and(|text| Tokens::is_recent(text, unix)) => Challenged::Failed,
            None => Challenged::No { replayable },
        }
    }

    /// What a client is sent that is challenged, at `unix` seconds since 1970.
    pub fn challenge(&self, client: Client, unix: u64) -> challenge::Sent {
        self.tokens.make(client, unix)
    }

    /// Whether a first answer calls for the same request again, with this session key: the proof
    /// that its path flushes. The answer to it goes into the settlement, never to the client.
    pub fn proof_wanted(
        &self,
        ticket: &exchange::Ticket,
        first: &set_cookie::Evidence,
    ) -> Option<key::SessionKey> {
        match &ticket.sent {
            exchange::Sent::Proof(_) => Spares::proof_wanted(first),
            exchange::Sent::Nothing
            | exchange::Sent::Known(..)
            | exchange::Sent::Unknown(_)
            | exchange::Sent::Foreign
            | exchange::Sent::Spare(_) => None,
        }
    }

    /// How much of the tables is in use by exchanges under way; all zero when there are none.
    pub fn under_way(&self) -> UnderWay {
        UnderWay {
            held: self.budgets.held(),
            keys: self.ledger.in_flight(),
            spares: self.spares.leased(),
            passes: self.learned.passing(),
        }
    }

    /// Session keys in the ledger, dead ones included, and records kept as spares.
    pub fn sizes(&self) -> (usize, usize) {
        (self.ledger.len(), self.spares.len())
    }

    fn issues_signed(&self) -> bool {
        self.habits.signed.load(Ordering::Relaxed)
    }

    fn set_issues_signed(&self, signed: bool) {
        if self.issues_signed() != signed {
            self.habits.signed.store(signed, Ordering::Relaxed);
        }
    }
}

/// What exchanges under way hold: a check that nothing leaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnderWay {
    pub held: u64,
    pub keys: usize,
    pub spares: usize,
    pub passes: usize,
}
