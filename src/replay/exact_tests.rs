//! Whatever a guard is asked and told, in whatever order: the log of it, replayed, says the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::{Config, Overrides};
use crate::guard::Guard;
use crate::guard::challenge::Challenged;
use crate::guard::cookie::Cookies;
use crate::guard::exchange::{Facts, Outcome, Request, SendCookie, Ticket, Verdict};
use crate::guard::fact::Event;
use crate::guard::key::{Secret, SessionKey, Token};
use crate::guard::ledger::Patience;
use crate::guard::path;
use crate::guard::policy::{Mode, Policy, Unknown};
use crate::guard::set_cookie::{Evidence, SetSession};
use crate::guard::sim::support::{Random, SECOND, policy};
use crate::replay::assume::Assume;
use crate::telemetry::access::trace::{Mark, Marked, Order, Trace};
use crate::telemetry::access::{
    AccessLog, Exchange, Format as Logged, RequestLine, Verdict as Was,
};

/// The first moment of a process.
const START: Moment = Moment::from_nanos(Moment::HEADROOM.as_nanos() as u64);

const PATHS: [&str; 7] = [
    "/accounts/logout/",
    "/accounts/logout/?next=/a/&__floodwall=00000000",
    "/accounts/logout/?x=1",
    "/sign-out/",
    "/accounts/login/",
    "/cart/add/?a=%22\\",
    "/item/1/",
];

/// A process in front of an application that answers as it likes.
struct Played {
    random: Random,
    guard: Arc<Guard>,
    order: Order,
    log: AccessLog,
    lane: Arc<crate::telemetry::access::Lane>,
    now: Moment,
    open: Vec<Open>,
    issued: Vec<SessionKey>,
    keys: u64,
    lines: u64,
}

struct Open {
    ticket: Box<Ticket>,
    guard: Arc<Guard>,
    trace: Arc<Trace>,
    line: Line,
}

/// What its line says beside.
#[derive(Clone)]
struct Line {
    address: IpAddr,
    method: &'static str,
    target: &'static str,
    facts: Facts,
    verdict: Was,
}

impl Played {
    fn new(seed: u64, policy: Policy, file: &Path) -> Self {
        let log = AccessLog::off();
        log.put(Logged::Json, Some(file)).expect("a log");
        let start = Mark { policy: policy.digest(), what: Marked::Start { blank: Some(START) } };
        let guard = Guard::new(policy, Secret::new([seed as u8; 16]), seed, START);
        assert_eq!(guard.blank_since(START), Some(START));
        Self {
            random: Random(seed),
            guard: Arc::new(guard),
            order: log.order(start),
            lane: log.lane(),
            log,
            now: START,
            open: Vec::new(),
            issued: Vec::new(),
            keys: 0,
            lines: 0,
        }
    }

    fn key(&mut self) -> SessionKey {
        self.keys += 1;
        Secret::new([9; 16]).placeholder(self.keys)
    }

    fn step(&mut self) {
        // Cores read the clock before they wait for their turn: sometimes it is a little older.
        let back = Duration::from_micros(self.random.next() % 50);
        let ahead = match self.random.below(40) {
            0 => SECOND * 20,
            1..=9 => SECOND / 2,
            _ => Duration::from_micros(self.random.next() % 3_000),
        };
        self.now = self.now.after(ahead).before(back).max(START);
        match self.random.below(100) {
            0 => self.reload(),
            1..=3 => self.charge(),
            4..=54 => self.ask(),
            _ => self.settle(),
        }
    }

    fn reload(&mut self) {
        let policy = self.guard.policy().clone();
        let turn = self.order.turn().expect("it is logged");
        self.guard = Arc::new(self.guard.reconfigured(policy.clone(), self.now));
        turn.reloaded(policy.digest(), self.now);
    }

    fn charge(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let index = self.random.below(self.open.len());
        // As the proxy does, once.
        if !self.open[index].ticket.holds() {
            return;
        }
        let turn = self.order.turn().expect("it is logged");
        let Open { ticket, guard, trace, .. } = &mut self.open[index];
        guard.charge(ticket, self.now);
        trace.charge(turn.made(self.now));
    }

    fn ask(&mut self) {
        let random = &mut self.random;
        let address = match random.below(6) {
            0 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, random.below(3) as u16)),
            number => IpAddr::V4(Ipv4Addr::new(10, 0, 0, number as u8)),
        };
        let method = random.pick(&["GET", "GET", "GET", "POST", "HEAD"]);
        let target = random.pick(&PATHS);
        let cookie = match random.below(10) {
            0..=3 => None,
            4..=7 if !self.issued.is_empty() => Some(random.below(self.issued.len())),
            _ => None,
        };
        let cookie = match (cookie, random.below(12)) {
            (Some(index), _) => {
                format!("sessionid={}", String::from_utf8_lossy(self.issued[index].as_bytes()))
            }
            (None, 0) => String::from("sessionid=e30:1abc:sig"),
            (None, 1) => String::from("sessionid=short"),
            (None, 2) => String::from("sessionid=\"a b"),
            (None, 3) => format!("sessionid={:032x}; a=b", random.next()),
            (None, _) => String::from("a=b"),
        };
        let challenged = match random.below(6) {
            0 => Challenged::Failed,
            1 => Challenged::Passed(Token(random.next() % 3)),
            number => Challenged::No { replayable: number % 2 == 0 },
        };
        let (body, authorization) = (method == "POST", random.percent(3));
        let patience = if random.percent(30) { Patience::Spent } else { Patience::Left };
        let policy = self.guard.policy();
        let (raw, query) = match target.split_once('?') {
            // The proxy takes the marker out, where clients are challenged.
            Some((path, query)) if self.guard.challenges() => (path, query.split('&').next()),
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let lines = std::iter::once(cookie.as_bytes());
        let cookies = Cookies::read(lines, &policy.session.cookie, policy.session.key_shape);
        let request = Request {
            client: Client::fold(address, &policy.client),
            terms: policy.client.terms(address),
            challenged,
            method,
            path: &path::decode(raw),
            query,
            body,
            authorization,
            cookies: &cookies,
        };
        let turn = self.order.turn().expect("it is logged");
        let verdict = self.guard.admit(&request, patience, self.now);
        if matches!(verdict, Verdict::Wait(_)) {
            return;
        }
        let made = turn.made_with_marks(self.now);
        let trace = Trace::new(&self.guard, &request, patience, made);
        let line = |facts, verdict| Line { address, method, target, facts, verdict };
        match verdict {
            Verdict::Forward(ticket, facts) => {
                let (guard, line) = (Arc::clone(&self.guard), line(facts, Was::Forwarded));
                self.open.push(Open { ticket, guard, trace, line });
            }
            Verdict::Refuse { facts, .. } => self.write(&line(facts, Was::Refused), &trace),
            Verdict::Challenge { facts, .. } => self.write(&line(facts, Was::Challenged), &trace),
            Verdict::Answer { facts, .. } => self.write(&line(facts, Was::Answered), &trace),
            Verdict::Wait(_) => {}
        }
    }

    fn evidence(&mut self, sent: Option<SessionKey>) -> Evidence {
        let status = self.random.pick(&[200, 200, 302, 302, 404, 500]);
        let max_age = self.random.percent(20).then_some(Duration::from_secs(1_209_600));
        let session = match (self.random.below(20), sent) {
            (0..=5, _) => SetSession::Nothing,
            (6..=7, _) => SetSession::Deletion,
            (8, _) => SetSession::Signed { empty: self.random.percent(50) },
            (9, _) => SetSession::OtherShape,
            (10..=11, Some(key)) => SetSession::Key { key, max_age },
            _ => SetSession::Key { key: self.key(), max_age },
        };
        let lookalike = self.random.percent(3).then(|| String::from("sid"));
        Evidence { status, session, lookalike, dress: None }
    }

    fn settle(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let index = self.random.below(self.open.len());
        let Open { ticket, guard, trace, mut line } = self.open.swap_remove(index);
        let spare = match ticket.cookie() {
            SendCookie::Replace(key) => Some(key),
            SendCookie::Keep | SendCookie::Remove => None,
        };
        let sent = spare.or_else(|| self.issued.last().copied());
        let (first, second) = (self.evidence(sent), self.evidence(sent));
        let wanted = guard.proof_wanted(&ticket, &first).is_some();
        let second = (wanted && self.random.percent(90)).then_some(&second);
        let outcome = match self.random.below(20) {
            0 => Outcome::Unsent,
            1 => Outcome::NoAnswer,
            _ => Outcome::Answered(&first, second),
        };
        let turn = self.order.turn().expect("it is logged");
        let settlement = guard.settle(*ticket, outcome, self.now);
        let made = turn.made_with_marks(self.now);
        trace.settle(&guard, made, outcome, spare.as_ref());
        if let SetSession::Key { key, .. } = first.session {
            self.issued.push(key);
            if self.issued.len() > 30 {
                self.issued.remove(0);
            }
        }
        let recycled = |fact: &crate::guard::fact::Fact| fact.event == Event::Recycled;
        if settlement.facts.as_slice().iter().any(recycled) {
            line.verdict = Was::Recycled;
        }
        self.write(&line, &trace);
    }

    fn write(&mut self, line: &Line, trace: &Trace) {
        let why = line.facts.as_slice().iter().find_map(|fact| match fact.event {
            Event::Refused(why) | Event::WouldRefuse(why) => Some(why.word()),
            _ => None,
        });
        self.lines += 1;
        self.lane.log(&Exchange {
            began_unix_ms: 1_798_761_599_000 + self.now.since(START).as_millis() as u64,
            duration: Duration::ZERO,
            site: Some("default"),
            client: line.address,
            peer: line.address,
            request: Some(RequestLine {
                method: line.method,
                target: line.target,
                protocol: "HTTP/1.1",
            }),
            host: None,
            user_agent: None,
            referer: None,
            status: 200,
            bytes: 0,
            upstream: None,
            upstream_time: None,
            standing: Some(line.facts.standing()),
            route: None,
            class: None,
            verdict: Some(line.verdict),
            why,
            aborted: false,
            trace: Some(trace),
            stands_in: false,
        });
    }

    /// Settles what is open, and writes everything.
    fn end(mut self) -> u64 {
        while !self.open.is_empty() {
            self.settle();
        }
        self.log.finish(self.now);
        self.lines
    }
}

fn exactness(policy: &Policy, file: &Path) -> Report {
    let config = Config::parse("test", b"", Overrides::default()).expect("the defaults");
    let mut setting = Setting::new(&config, &config.sites()[0]);
    setting.policy = policy.clone();
    setting.assume = Assume::Rules;
    crate::replay::replay(&setting, &[file.to_owned()], &mut |_| ()).expect("it is read")
}

fn policies() -> Vec<Policy> {
    let challenging = Policy { challenge: crate::guard::policy::Challenge::Cookie, ..policy() };
    let observing = Policy { mode: Mode::Observe, ..policy() };
    let mut dropping = policy();
    dropping.session.unknown = Unknown::Drop;
    dropping.recycle.spares = 1;
    vec![policy(), challenging, observing, dropping]
}

#[test]
fn whatever_is_asked_and_answered_a_replay_decides_as_it_was_decided() {
    for (number, policy) in policies().into_iter().enumerate() {
        for seed in 1..=8_u64 {
            let name = format!("floodwall-exact-{}-{number}-{seed}.log", std::process::id());
            let file = std::env::temp_dir().join(name);
            let mut played = Played::new(seed + 100 * number as u64, policy.clone(), &file);
            (0..1_500).for_each(|_| played.step());
            let lines = played.end();
            let report = exactness(&policy, &file);
            let other = (seed == 1).then(|| {
                let mut other = policy.clone();
                other.recycle.spares = 9;
                other.budgets.iter_mut().for_each(|budget| {
                    budget.client = crate::guard::sim::support::quota(1000, SECOND / 1000);
                    budget.site = crate::guard::sim::support::quota(1000, SECOND / 1000);
                });
                exactness(&other, &file)
            });
            std::fs::remove_file(&file).expect("it is ours");
            let exact = report.exact.expect("it is our own");
            assert!(exact.is_exact() && exact.different() == 0, "{number} {seed}: {:?}", exact);
            assert_eq!(exact.same, lines, "{number} {seed}");
            assert!(lines > 400, "{lines}");
            if let Some(other) = other.and_then(|report| report.exact)
                && policy.mode == Mode::Enforce
            {
                assert!(other.different() > 10 && !other.is_exact(), "{number}: {other:#?}");
            }
        }
    }
}
