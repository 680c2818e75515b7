//! What all of the guard's larger tests share: a policy, requests, answers and a seeded source of
//! choices.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

pub use super::random::Random;

use super::super::Guard;
use super::super::challenge::Challenged;
use super::super::client::Client;
use super::super::cookie::Cookies;
use super::super::exchange::{Outcome, RelayCookie, Request, Settlement, Ticket, Verdict};
use super::super::explain::Explanation;
use super::super::fact::Refusal;
use super::super::key::{Secret, SessionKey};
use super::super::ledger::Patience;
use super::super::moment::Moment;
use super::super::path;
use super::super::policy::{
    AfterLogout, Budget, Challenge, ChallengePolicy, ClientPolicy, KeyShape, LearnedPolicy, Mode,
    Policy, Quota, RecyclePolicy, SessionPolicy, Terms, Tier, Unknown,
};
use super::super::route::{Action, Effect, PathPattern, Rule};
use super::super::set_cookie::Evidence;

pub const START: Moment = Moment::from_nanos(1 << 60);
pub const SECOND: Duration = Duration::from_secs(1);
pub const LIFETIME: Duration = Duration::from_secs(14 * 86_400);

/// Index of the budget that logins draw on.
pub const LOGIN: usize = 1;

pub fn quota(burst: u32, period: Duration) -> Quota {
    Quota::new(count(burst), period).expect("fits")
}

pub fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("not zero")
}

/// The profile's rules with small budgets: a client may create 4 at once and one a second, the
/// site 8 at once and two a second.
pub fn policy() -> Policy {
    let budget = |name: &str| Budget {
        name: String::from(name),
        client: quota(4, SECOND),
        site: quota(8, SECOND / 2),
        challenge: None,
    };
    Policy {
        mode: Mode::Enforce,
        session: SessionPolicy {
            cookie: String::from("sessionid"),
            key_shape: KeyShape::Alnum32,
            lifetime: LIFETIME,
            unknown: Unknown::Auto,
            after_logout: AfterLogout::Delete,
            cookie_path: String::from("/"),
            cookie_domain: None,
            cookie_secure: false,
            capacity: 100_000,
            in_flight_per_key: 4,
            in_flight_anonymous: 1_024,
            key_wait: Duration::from_millis(500),
        },
        recycle: RecyclePolicy {
            spares: 4,
            slot_wait: Duration::from_secs(2),
            spacing: 0,
            gate_for: Duration::from_secs(600),
        },
        client: ClientPolicy {
            ipv4_prefix: 32,
            ipv6_prefix: 64,
            ipv6_tiers: vec![Tier { prefix: 48, factor: count(2) }],
            capacity: 10_000,
            exempt: Vec::new(),
            networks: Vec::new(),
        },
        challenge: Challenge::None,
        challenge_cookie: ChallengePolicy {
            name: String::from("floodwall"),
            max_age: Duration::from_secs(3600),
            quota: quota(2, SECOND),
            ceiling: count(1),
        },
        learned: LearnedPolicy {
            capacity: 1024,
            clean_answers: NonZeroU8::new(8).expect("not zero"),
            quiet: Duration::from_secs(600),
            passes: 32,
        },
        budgets: vec![budget("anonymous"), budget("login")],
        rules: vec![
            rule("logout", "logout", Action::Recycle, Effect::Flush, Budget::ANONYMOUS),
            rule("login", "login", Action::Gate, Effect::Rotate, LOGIN),
        ],
    }
}

fn rule(name: &str, segment: &str, action: Action, effect: Effect, budget: usize) -> Rule {
    Rule {
        name: String::from(name),
        paths: vec![PathPattern::LastSegment(vec![String::from(segment)])],
        methods: Vec::new(),
        standings: Vec::new(),
        action,
        budget,
        mode: None,
        challenge: None,
        effect,
        query: vec![String::from("next")],
    }
}

pub fn guard(policy: Policy) -> Guard {
    Guard::new(policy, Secret::new([5; 16]), 1, START)
}

pub fn v4(number: u32) -> Client {
    Client::new(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number)), 32)
}

/// The `number`-th /64 of the `wide`-th /48.
pub fn v6(wide: u16, number: u16) -> Client {
    Client::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, wide, number, 0, 0, 0, 1)), 64)
}

/// The `number`-th key that an application might issue.
pub fn key(number: u64) -> SessionKey {
    Secret::new([9; 16]).placeholder(number)
}

pub fn text(key: &SessionKey) -> String {
    String::from_utf8(key.as_bytes().to_vec()).expect("ASCII")
}

/// What a client asks for. Everything else is as in a plain GET.
#[derive(Clone, Debug)]
pub struct Ask {
    pub client: Client,
    pub method: &'static str,
    pub target: Cow<'static, str>,
    pub cookie: Option<String>,
    pub body: bool,
    pub authorization: bool,
    pub terms: Terms,
    pub challenged: Challenged,
}

impl Ask {
    pub fn get(client: Client, target: &str) -> Self {
        Self::of(client, Cow::Owned(String::from(target)))
    }

    /// The same without a copy, where there are millions of them.
    pub fn at(client: Client, target: &'static str) -> Self {
        Self::of(client, Cow::Borrowed(target))
    }

    fn of(client: Client, target: Cow<'static, str>) -> Self {
        Self {
            client,
            method: "GET",
            target,
            cookie: None,
            body: false,
            authorization: false,
            terms: Terms::Usual,
            challenged: Challenged::UNABLE,
        }
    }

    pub fn with(self, key: &SessionKey) -> Self {
        Self { cookie: Some(text(key)), ..self }
    }

    pub fn with_text(self, value: &str) -> Self {
        Self { cookie: Some(String::from(value)), ..self }
    }

    pub fn method(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    /// Asks the guard as the shell does.
    pub fn admit(&self, guard: &Guard, patience: Patience, now: Moment) -> Verdict {
        self.as_request(guard, |request| guard.admit(request, patience, now))
    }

    /// What the guard says would become of it.
    pub fn explain(&self, guard: &Guard, now: Moment) -> Explanation {
        self.as_request(guard, |request| guard.explain(request, now))
    }

    fn as_request<R>(&self, guard: &Guard, ask: impl FnOnce(&Request<'_>) -> R) -> R {
        let session = &guard.policy().session;
        let line = self.cookie.as_ref().map(|value| format!("{}={value}", session.cookie));
        let lines = line.iter().map(|line| line.as_bytes());
        let cookies = Cookies::read(lines, &session.cookie, session.key_shape);
        let (path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (&*self.target, None),
        };
        let request = Request {
            client: self.client,
            terms: self.terms,
            challenged: self.challenged,
            method: self.method,
            path: &path::decode(path),
            query,
            body: self.body,
            authorization: self.authorization,
            cookies: &cookies,
        };
        ask(&request)
    }

    /// The ticket of an exchange that must be admitted.
    pub fn ticket(&self, guard: &Guard, now: Moment) -> Ticket {
        match self.admit(guard, Patience::Spent, now) {
            Verdict::Forward(ticket, _) => *ticket,
            other => panic!("{self:?} was not forwarded: {other:?}"),
        }
    }

    /// Why it is refused, if it is; a ticket is settled as an exchange that was never sent.
    pub fn refusal(&self, guard: &Guard, now: Moment) -> Option<Refusal> {
        match self.admit(guard, Patience::Spent, now) {
            Verdict::Forward(ticket, _) => {
                let _ = guard.settle(*ticket, Outcome::Unsent, now);
                None
            }
            Verdict::Refuse { why, .. } => Some(why),
            other @ (Verdict::Challenge { .. } | Verdict::Answer { .. } | Verdict::Wait(_)) => {
                panic!("{self:?}: {other:?}")
            }
        }
    }

    /// Admitted, answered with this and settled.
    pub fn answered(&self, guard: &Guard, status: u16, set: &str, now: Moment) -> Settlement {
        let evidence = evidence(guard, status, set);
        let ticket = self.ticket(guard, now);
        guard.settle(ticket, Outcome::Answered(&evidence, None), now)
    }

    /// Admitted, answered with this and settled; the cookie that the client gets to see.
    pub fn relayed(&self, guard: &Guard, status: u16, set: &str, now: Moment) -> RelayCookie {
        self.answered(guard, status, set, now).cookie
    }
}

/// An answer: `set` is the session cookie's value, `-` for none at all.
pub fn evidence(guard: &Guard, status: u16, set: &str) -> Evidence {
    let line = (set != "-").then(|| format!("sessionid={set}; Path=/; Max-Age=1209600"));
    let lines = line.iter().map(|line| line.as_bytes());
    Evidence::read(status, lines, &guard.policy().session)
}

/// How many seeds to play: few by default, many with `FLOODWALL_FULL=1`.
pub fn seeds(few: u64, many: u64) -> std::ops::Range<u64> {
    0..if std::env::var_os("FLOODWALL_FULL").is_some() { many } else { few }
}
