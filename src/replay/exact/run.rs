//! One process' decisions about the site, made again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::doubt::Doubt;
use super::{Shared, Told};
use crate::guard::Guard;
use crate::guard::challenge::{Challenged, MARKER};
use crate::guard::client::Client;
use crate::guard::cookie::Cookies;
use crate::guard::exchange::{Facts, Outcome, Request, SendCookie, Ticket, Verdict, WaitFor};
use crate::guard::fact::{Event, Notice, Refusal};
use crate::guard::key::{Secret, SessionKey};
use crate::guard::ledger::Patience;
use crate::guard::moment::Moment;
use crate::guard::path;
use crate::guard::policy::Terms;
use crate::guard::route::StandingWord;
use crate::guard::set_cookie::{Evidence, SetSession};
use crate::replay::assume::{self, Keys, key_of};
use crate::replay::own::TARGET;
use crate::replay::tables::Said;
use crate::replay::window::{Next, Unfit, Window};
use crate::replay::world::presented;
use crate::telemetry::access::Verdict as Was;
use crate::telemetry::access::trace::{Answer, Decided, End, Mark, Marked, Session, Set};

/// One process.
pub(super) struct Run {
    /// Which.
    pub(super) number: u32,
    window: Window<Step>,
    guard: Option<Arc<Guard>>,
    /// The rules that the process obeyed, as far as it is told.
    policy: Option<u64>,
    /// Admitted, and not settled.
    open: HashMap<u64, Open>,
    /// Told to wait, where the process did not let them.
    waiting: Vec<Waiting>,
    keys: Keys,
    /// Of the line that was taken out last.
    unix_ms: u64,
}

/// A decision.
enum Step {
    Admit(Box<Told>),
    /// Of the exchange that was admitted under this number.
    Charge(u64, Moment),
    Settle(u64, Moment),
    Reload(Mark, Moment),
}

struct Open {
    told: Box<Told>,
    guard: Arc<Guard>,
    ticket: Box<Ticket>,
    client: Client,
}

struct Waiting {
    told: Box<Told>,
    until: Moment,
}

/// When somebody asks, and how long it can still wait.
#[derive(Clone, Copy)]
struct Asking {
    now: Moment,
    patience: Patience,
    /// It waits already.
    until: Option<Moment>,
}

impl Asking {
    const fn at(now: Moment, patience: Patience) -> Self {
        Self { now, patience, until: None }
    }
}

impl Run {
    /// Who can wait at a time: beyond that nobody does.
    const WAITING: usize = 1_000;

    pub(super) fn new(first: &Told) -> Self {
        Self {
            number: first.run,
            window: Window::from_first(first.admitted.number),
            guard: None,
            policy: None,
            open: HashMap::new(),
            waiting: Vec::new(),
            keys: Keys::default(),
            unix_ms: first.unix_ms,
        }
    }

    /// Puts a line's decisions in their order, and makes those that are due.
    pub(super) fn take(&mut self, told: Told, shared: &mut Shared<'_>) {
        let admitted = told.admitted.number;
        let doubts = &mut shared.exactness.doubts;
        doubts.note(Doubt::Version, u64::from(!told.this_version), Some(told.unix_ms));
        let mut events = Vec::with_capacity(3);
        for mark in &told.marks {
            if let Marked::Reload(Decided { number, at }) = mark.what {
                events.push((number, Step::Reload(*mark, at)));
            }
        }
        if let Some(Decided { number, at }) = told.charged {
            events.push((number, Step::Charge(admitted, at)));
        }
        if let Some((Decided { number, at }, _)) = told.settled {
            events.push((number, Step::Settle(admitted, at)));
        }
        let unix_ms = told.unix_ms;
        events.push((admitted, Step::Admit(Box::new(told))));
        for (number, event) in events {
            match self.window.check(number) {
                Ok(()) => self.window.put(number, event),
                Err(Unfit::Late) => shared.exactness.doubts.note(Doubt::Late, 1, Some(unix_ms)),
                Err(Unfit::Far) => {
                    self.make(true, shared);
                    let missing = self.window.leap(number);
                    shared.exactness.doubts.note(Doubt::Missing, missing, Some(unix_ms));
                    self.window.put(number, event);
                }
            }
        }
        self.make(false, shared);
    }

    /// No more lines come.
    pub(super) fn end(mut self, shared: &mut Shared<'_>) {
        self.make(true, shared);
        for Waiting { told, until } in std::mem::take(&mut self.waiting) {
            self.admit(told, Asking::at(until, Patience::Spent), shared);
        }
        // Those that were cut off by the end of the process settle behind everything else.
        let Some(guard) = &self.guard else { return };
        let status = guard.status(Moment::NEVER);
        let classes = status.classes;
        let known = classes.creating + classes.clean + classes.unproven;
        let full =
            known * 10 > classes.capacity * 7 || status.keys.used * 10 > status.keys.capacity * 9;
        shared.exactness.doubts.note(Doubt::Full, u64::from(full), None);
    }

    fn make(&mut self, flush: bool, shared: &mut Shared<'_>) {
        while let Some(next) = self.window.next(flush) {
            match next {
                Next::Missing(number) => {
                    let doubt =
                        if self.guard.is_none() { Doubt::Beginning } else { Doubt::Missing };
                    shared.exactness.doubts.note(doubt, number, Some(self.unix_ms));
                }
                Next::Here(Step::Admit(told)) => {
                    self.unix_ms = told.unix_ms;
                    let at = told.admitted.at;
                    self.overdue(at, shared);
                    self.mark(&told, shared);
                    let patience = if told.asked.spent { Patience::Spent } else { Patience::Left };
                    self.admit(told, Asking::at(at, patience), shared);
                }
                Next::Here(Step::Charge(admitted, at)) => {
                    self.overdue(at, shared);
                    if let Some(open) = self.open.get_mut(&admitted) {
                        open.guard.charge(&mut open.ticket, at);
                    }
                }
                Next::Here(Step::Settle(admitted, at)) => {
                    self.overdue(at, shared);
                    self.no_longer(admitted, at, shared);
                    self.settle(admitted, at, shared);
                }
                Next::Here(Step::Reload(mark, at)) => self.reload(mark, at, shared),
            }
        }
    }

    /// What is told with a line of what came before it.
    fn mark(&mut self, told: &Told, shared: &mut Shared<'_>) {
        let start = told.marks.iter().find_map(|mark| match mark.what {
            Marked::Start { blank } => Some((blank, mark.policy)),
            Marked::Reload(_) => None,
        });
        if self.guard.is_some() {
            return;
        }
        let (at, since) = (told.admitted.at, Some(told.unix_ms));
        let (blank, policy) = match start {
            Some((blank, policy)) => {
                if blank.is_none() {
                    shared.exactness.doubts.note(Doubt::Remembered, 1, since);
                }
                (blank, Some(policy))
            }
            None => {
                if shared.exactness.doubts.count(Doubt::Beginning) == 0 {
                    shared.exactness.doubts.note(Doubt::Beginning, 1, since);
                }
                (None, None)
            }
        };
        let policy_now = shared.setting.policy.clone();
        let secret = Secret::new(shared.setting.secret);
        let guard = Guard::new(policy_now, secret, 1, blank.unwrap_or(at));
        self.guard = Some(Arc::new(guard));
        self.under(policy, shared);
    }

    /// From here on the process obeyed these rules.
    fn under(&mut self, policy: Option<u64>, shared: &mut Shared<'_>) {
        self.policy = policy;
        let same = policy.map(|policy| policy == shared.digest);
        let so_far = &mut shared.exactness.same_rules;
        *so_far = match (*so_far, same, shared.exactness.runs) {
            (Some(false), ..) | (_, Some(false), _) => Some(false),
            (None, same, 1) => same,
            (None, ..) | (_, None, _) => None,
            (Some(true), Some(true), _) => Some(true),
        };
    }

    fn reload(&mut self, mark: Mark, at: Moment, shared: &mut Shared<'_>) {
        if let Some(guard) = &self.guard {
            let policy = shared.setting.policy.clone();
            self.guard = Some(Arc::new(guard.reconfigured(policy, at)));
            self.under(Some(mark.policy), shared);
        }
    }

    /// Whether the process obeyed the same rules.
    fn is_same(&self, shared: &Shared<'_>) -> bool {
        self.policy == Some(shared.digest)
    }

    /// Who has waited for long enough asks for the last time; the others whenever something ends.
    fn overdue(&mut self, now: Moment, shared: &mut Shared<'_>) {
        let (due, wait): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|waiting| waiting.until <= now);
        self.waiting = wait;
        for Waiting { told, until } in due {
            self.admit(told, Asking::at(until, Patience::Spent), shared);
        }
    }

    /// The process had let it in by now.
    fn no_longer(&mut self, admitted: u64, at: Moment, shared: &mut Shared<'_>) {
        if let Some(index) =
            self.waiting.iter().position(|waiting| waiting.told.admitted.number == admitted)
        {
            let Waiting { told, .. } = self.waiting.swap_remove(index);
            self.admit(told, Asking::at(at, Patience::Spent), shared);
        }
    }

    fn admit(&mut self, told: Box<Told>, asking: Asking, shared: &mut Shared<'_>) {
        let Some(guard) = self.guard.clone() else { return };
        let policy = &shared.setting.policy;
        let client = Client::fold(told.address, &policy.client);
        let same = self.is_same(shared);
        let doubts = &mut shared.exactness.doubts;
        let (since, asked) = (Some(told.unix_ms), &told.asked);
        doubts.note(Doubt::Shared, u64::from(asked.shared), since);
        doubts.note(Doubt::Cut, u64::from(told.target.len() >= TARGET), since);
        let key = match asked.session {
            Session::Key(hash) => key_of(hash),
            Session::Nothing | Session::Signed | Session::Malformed => None,
        };
        let is_known = told.live.as_ref().is_some_and(|live| live.standing == StandingWord::Known);
        if let Some(key) = key.filter(|_| is_known && !doubts.is_empty()) {
            shared.exactness.adopted += u64::from(guard.adopt(&key, asking.now));
        }
        let name = &policy.session.cookie;
        let header = match asked.session {
            Session::Key(_) => key.map(|key| presented(name, &key)),
            Session::Signed => Some(format!("{name}=a:b:c").into_bytes()),
            Session::Malformed => Some(format!("{name}=x").into_bytes()),
            // What no parser takes for a pair.
            Session::Nothing if asked.carried => Some(format!("{name}=\" \\").into_bytes()),
            Session::Nothing => None,
        };
        let lines = header.iter().map(Vec::as_slice);
        let cookies = Cookies::read(lines, name, policy.session.key_shape);
        let (raw, query) = target(&told.target);
        let query = query.map(|query| unmarked(query, guard.challenges()));
        let terms = match &told.live {
            None => Terms::Exempt,
            Some(_) if told.stands_in => Terms::Usual,
            Some(_) => policy.client.terms(told.address),
        };
        let challenged = match asked.challenged {
            Challenged::No { .. } if !same => Challenged::No {
                replayable: guard.challenges() && matches!(&*told.method, "GET" | "HEAD" | "POST"),
            },
            as_it_was @ (Challenged::No { .. } | Challenged::Failed | Challenged::Passed(_)) => {
                as_it_was
            }
        };
        let request = Request {
            client,
            terms,
            challenged,
            method: &told.method,
            path: &path::decode(raw),
            query: query.as_deref(),
            body: asked.body,
            authorization: asked.authorization,
            cookies: &cookies,
        };
        let verdict = guard.admit(&request, asking.patience, asking.now);
        drop(cookies);
        self.is_admitted(verdict, told, client, asking, &guard, shared);
    }

    fn is_admitted(
        &mut self,
        verdict: Verdict,
        told: Box<Told>,
        client: Client,
        Asking { now, patience, until }: Asking,
        guard: &Arc<Guard>,
        shared: &mut Shared<'_>,
    ) {
        let at = shared.moment(told.unix_ms);
        let mut count = |said, facts: &Facts| {
            if told.live.is_some() {
                shared.tables.admitted(client, said, facts, at);
            }
        };
        match verdict {
            Verdict::Forward(ticket, facts) => {
                count(Said::Forwarded, &facts);
                let ended = told.settled.is_some();
                if !ended {
                    shared.compare(&told, client, Said::Forwarded, &facts, self.policy);
                }
                let reached = told.live.as_ref().is_none_or(|live| reaches(live.verdict));
                let number = told.admitted.number;
                let open = Open { told, guard: Arc::clone(guard), ticket, client };
                if ended || reached {
                    shared.exactness.doubts.note(Doubt::Unended, u64::from(!ended), None);
                    self.open.insert(number, open);
                } else {
                    self.assume(open, &facts, now, shared);
                }
            }
            Verdict::Refuse { why, facts, .. } => {
                count(Said::Refused(why), &facts);
                if why == Refusal::TableFull {
                    shared.exactness.doubts.note(Doubt::Full, 1, Some(told.unix_ms));
                }
                shared.compare(&told, client, Said::Refused(why), &facts, self.policy);
            }
            Verdict::Challenge { facts, .. } => {
                count(Said::Challenged, &facts);
                shared.compare(&told, client, Said::Challenged, &facts, self.policy);
            }
            Verdict::Answer { facts, .. } => {
                count(Said::Answered, &facts);
                shared.compare(&told, client, Said::Answered, &facts, self.policy);
            }
            Verdict::Wait(what) => {
                let policy = &shared.setting.policy;
                let wait = match what {
                    WaitFor::Key(_) => policy.session.key_wait,
                    WaitFor::Spare | WaitFor::Budget => policy.recycle.slot_wait,
                };
                let full = self.waiting.len() >= Self::WAITING || patience == Patience::Spent;
                let wait = if full { Duration::ZERO } else { wait };
                let until = until.unwrap_or_else(|| now.after(wait));
                self.waiting.push(Waiting { told, until });
                if full {
                    self.overdue(now, shared);
                }
            }
        }
    }

    /// The end of an exchange that the application never saw.
    fn assume(&mut self, open: Open, facts: &Facts, now: Moment, shared: &mut Shared<'_>) {
        let Open { told, guard, ticket, .. } = open;
        shared.exactness.doubts.note(Doubt::Assumed, 1, Some(told.unix_ms));
        let route = facts.route();
        let effect = assume::effect(&shared.setting.policy, route);
        let session = match told.asked.session {
            Session::Key(hash) => key_of(hash),
            Session::Nothing | Session::Signed | Session::Malformed => None,
        };
        let asked = assume::Asked { status: 200, method: &told.method, asset: false, session };
        let assume = shared.setting.assume;
        let answer = assume::answer(assume, (route, effect), &asked, &ticket, &mut self.keys);
        let proof = answer.1.filter(|_| guard.proof_wanted(&ticket, &answer.0).is_some());
        let outcome = Outcome::Answered(&answer.0, proof.as_ref());
        let settlement = guard.settle(*ticket, outcome, now);
        let at = shared.moment(told.unix_ms);
        shared.tables.happened(&settlement.facts, at);
    }

    fn settle(&mut self, admitted: u64, now: Moment, shared: &mut Shared<'_>) {
        let Some(Open { told, guard, ticket, client }) = self.open.remove(&admitted) else {
            return;
        };
        let Some((_, end)) = told.settled else { return };
        let sent = match ticket.cookie() {
            SendCookie::Replace(key) => Some(key),
            SendCookie::Keep | SendCookie::Remove => None,
        };
        let evidence = |answer: Answer| evidence(answer, sent);
        let (first, proof);
        let outcome = match end {
            End::Unsent => Outcome::Unsent,
            End::NoAnswer => Outcome::NoAnswer,
            End::Answered(answer, second) => {
                (first, proof) = (evidence(answer), second.map(evidence));
                Outcome::Answered(&first, proof.as_ref())
            }
        };
        let settlement = guard.settle(*ticket, outcome, now);
        if let Some(Notice::LedgerOverflowed | Notice::ClassesFull) = settlement.notice {
            shared.exactness.doubts.note(Doubt::Full, 1, Some(told.unix_ms));
        }
        let Some(live) = &told.live else { return };
        let at = shared.moment(told.unix_ms);
        shared.tables.happened(&settlement.facts, at);
        let recycled = settlement.facts.as_slice().iter().any(|fact| fact.event == Event::Recycled);
        let word = match live.verdict {
            Was::Tunnelled | Was::Rejected => live.verdict.word(),
            Was::Forwarded | Was::Recycled | Was::Refused | Was::Challenged | Was::Answered => {
                if recycled {
                    Was::Recycled.word()
                } else {
                    Was::Forwarded.word()
                }
            }
        };
        let is =
            with_standing(word, live.standing, settlement.facts.standing(), self.is_same(shared));
        shared.exactness.compare(&told, client, live.verdict.word(), &is);
        for waiting in std::mem::take(&mut self.waiting) {
            let until = Some(waiting.until);
            self.admit(waiting.told, Asking { now, patience: Patience::Left, until }, shared);
        }
    }
}

impl Shared<'_> {
    /// Compares what was said with what is said of a request that is not, or not known to be, settled.
    fn compare(
        &mut self,
        told: &Told,
        client: Client,
        said: Said,
        facts: &Facts,
        policy: Option<u64>,
    ) {
        let Some(live) = &told.live else { return };
        let was = match live.verdict {
            Was::Forwarded | Was::Recycled | Was::Tunnelled | Was::Rejected => {
                Said::Forwarded.word().to_owned()
            }
            Was::Refused => format!("refused ({})", live.why.as_deref().unwrap_or("?")),
            Was::Challenged | Was::Answered => live.verdict.word().to_owned(),
        };
        let is = match said {
            Said::Refused(why) => format!("refused ({})", why.word()),
            Said::Forwarded | Said::Challenged | Said::Answered => said.word().to_owned(),
        };
        let same = policy == Some(self.digest);
        let is = with_standing(&is, live.standing, facts.standing(), same);
        self.exactness.compare(told, client, &was, &is);
    }
}

/// Where the rules are the same the standing has to be, too.
fn with_standing(word: &str, was: StandingWord, is: StandingWord, same: bool) -> String {
    if same && was != is { format!("{word} as {}", is.word()) } else { word.to_owned() }
}

/// Whether the application saw a request with this verdict.
fn reaches(verdict: Was) -> bool {
    match verdict {
        Was::Forwarded | Was::Recycled | Was::Tunnelled | Was::Rejected => true,
        Was::Refused | Was::Challenged | Was::Answered => false,
    }
}

/// What an answer said, with the keys that stand for those that it set; `sent` is the spare that goes
/// with the request here.
fn evidence(answer: Answer, sent: Option<SessionKey>) -> Evidence {
    let session = match answer.session {
        Set::Nothing => SetSession::Nothing,
        Set::Deletion => SetSession::Deletion,
        Set::Key { key, spare, max_age } => match sent.filter(|_| spare).or_else(|| key_of(key)) {
            Some(key) => SetSession::Key { key, max_age },
            None => SetSession::OtherShape,
        },
        Set::Signed { empty } => SetSession::Signed { empty },
        Set::OtherShape => SetSession::OtherShape,
    };
    let lookalike = answer.lookalike.then(|| String::from("?"));
    Evidence { status: answer.status, session, lookalike, dress: None }
}

/// Path and query of a target; that of a `CONNECT` has no path.
fn target(target: &str) -> (&str, Option<&str>) {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    match path {
        "" => ("/", query),
        _ if path.starts_with('/') || path == "*" => (path, query),
        _ => ("", None),
    }
}

/// A query as the guard saw it, where clients are challenged: without the marker.
fn unmarked(query: &str, challenges: bool) -> String {
    let marks =
        |parameter: &&str| parameter.strip_prefix(MARKER).is_some_and(|rest| rest.starts_with('='));
    match challenges {
        true => query.split('&').filter(|one| !marks(one)).collect::<Vec<_>>().join("&"),
        false => query.to_owned(),
    }
}
