//! What a guard decision costs: `cargo bench --bench decision`; with `BENCH_QUICK=1`, or with
//! `-- --test`, to see within a second that it still runs. It ends with a table of medians.
//!
//! A decision is the admission of one request and, where it is forwarded, the settlement of its
//! answer, without any I/O. Cookies, paths and answers are read before: what that costs has rows of
//! its own. *Hot* is the same request again and again; *cold* another client or session each time,
//! in tables that no cache holds: 1,000,000 clients, 2,000,000 sessions.
//!
//! Each is made by 1, 2, 4 and 8 threads at once. Up to the number of cores this shows what it costs
//! that tables and locks are shared; beyond, what it costs that threads are set aside, some of them
//! with a lock in their hands. The figures of one run compare with each other; between machines they
//! do not.

#![allow(clippy::disallowed_methods, reason = "a cost is measured by the real clock")]

use std::cell::RefCell;
use std::fmt;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use floodwall::config::{Config, Overrides};
use floodwall::guard::Guard;
use floodwall::guard::budget::Budgets;
use floodwall::guard::challenge::Challenged;
use floodwall::guard::client::Client;
use floodwall::guard::cookie::Cookies;
use floodwall::guard::exchange::{Outcome, Request, SendCookie, Ticket, Verdict};
use floodwall::guard::fact::Refusal;
use floodwall::guard::key::{Secret, SessionKey};
use floodwall::guard::ledger::Patience;
use floodwall::guard::moment::Moment;
use floodwall::guard::path;
use floodwall::guard::policy::{Challenge, Terms};
use floodwall::guard::set_cookie::Evidence;
use floodwall::telemetry::Telemetry;
use floodwall::telemetry::access::trace::{Mark, Marked, Order};
use floodwall::telemetry::access::{AccessLog, Format};
use floodwall::telemetry::flood::FloodSettings;

const NOW: Moment = Moment::from_nanos(1 << 59);
const THREADS: [usize; 4] = [1, 2, 4, 8];
const SAMPLES: usize = 15;
/// No part of the number of requests.
const STRIDE: usize = 101_117;

fn main() {
    let tests = std::env::args().any(|argument| argument == "--test");
    let quick = tests || std::env::var_os("BENCH_QUICK").is_some();
    let size = if quick { Size::QUICK } else { Size::FULL };
    let criterion = Criterion::default().without_plots().sample_size(SAMPLES).nresamples(1_001);
    let time = if quick { Duration::from_millis(2) } else { Duration::from_millis(250) };
    let criterion = criterion.warm_up_time(time / 5).measurement_time(time).configure_from_args();

    let mut bench = Bench { criterion, medians: Vec::new() };
    let lines = Lines::new(size);
    bench.decisions(&Site::roomy(size), &lines, |case| !case.wants_debt());
    let mut indebted = Site::indebted(size);
    bench.decisions(&indebted, &lines, |case| case.wants_debt() && case != Case::Challenged);
    indebted.challenge();
    bench.decisions(&indebted, &lines, |case| case == Case::Challenged);
    bench.numbered();
    bench.beside();
    bench.print();
    bench.criterion.final_summary();
}

/// How much is in the tables.
#[derive(Clone, Copy)]
struct Size {
    clients: u32,
    sessions: u32,
    /// Requests that are made before any is decided about, so that this is no part of the time.
    asks: u32,
}

impl Size {
    const FULL: Self = Self { clients: 1_000_000, sessions: 2_000_000, asks: 1 << 19 };
    const QUICK: Self = Self { clients: 2_000, sessions: 4_000, asks: 1 << 10 };

    /// Numbers below `most` in no order that any cache could foresee.
    fn shuffled(self, most: u32) -> impl Iterator<Item = u32> {
        let number = move |index: u32| {
            let mixed = u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            // Less than `most`.
            ((mixed * u64::from(most)) >> 32) as u32
        };
        (0..self.asks).map(number)
    }
}

/// A request, and what the tables hold of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Known,
    Nothing,
    MadeUp,
    Recycled,
    Refused,
    TableFull,
    Challenged,
}

impl Case {
    const ALL: [Self; 7] = [
        Self::Known,
        Self::Nothing,
        Self::MadeUp,
        Self::Recycled,
        Self::Refused,
        Self::TableFull,
        Self::Challenged,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Known => "known session",
            Self::Nothing => "no session",
            Self::MadeUp => "made-up session",
            Self::Recycled => "recycled logout",
            Self::Refused => "refused, all in debt",
            Self::TableFull => "refused, table full",
            Self::Challenged => "challenged, all in debt",
        }
    }

    const fn wants_debt(self) -> bool {
        match self {
            Self::Known | Self::Nothing | Self::MadeUp | Self::Recycled => false,
            Self::Refused | Self::TableFull | Self::Challenged => true,
        }
    }

    const fn path(self) -> &'static [u8] {
        match self {
            Self::Recycled => LOGOUT,
            Self::Known
            | Self::Nothing
            | Self::MadeUp
            | Self::Refused
            | Self::TableFull
            | Self::Challenged => b"/articles/2026/november/",
        }
    }

    /// Its requests: from clients that have cells, and with keys that are known, where it says so.
    fn asks<'a>(self, site: &Site, lines: &'a Lines) -> Vec<Ask<'a>> {
        let policy = site.guard.policy();
        let Size { clients, sessions, asks } = site.size;
        let first = match self {
            Self::TableFull => NEWCOMERS,
            Self::Known
            | Self::Nothing
            | Self::MadeUp
            | Self::Recycled
            | Self::Refused
            | Self::Challenged => 0,
        };
        let numbers = site.size.shuffled(clients).zip(site.size.shuffled(sessions)).zip(0..asks);
        let ask = |((client, session), ask): ((u32, u32), u32)| {
            let line = match self {
                Self::Known => Some(lines.line(session)),
                Self::MadeUp => Some(lines.line(sessions + ask)),
                Self::Nothing
                | Self::Recycled
                | Self::Refused
                | Self::TableFull
                | Self::Challenged => None,
            };
            let cookies = line.into_iter();
            let session = &policy.session;
            let cookies = Cookies::read(cookies, &session.cookie, session.key_shape);
            Ask { client: address(first + client), cookies }
        };
        numbers.map(ask).collect()
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

const LOGOUT: &[u8] = b"/accounts/logout/";
/// The first of those who find no place.
const NEWCOMERS: u32 = 1 << 28;

fn address(number: u32) -> Client {
    Client::new(IpAddr::V4(Ipv4Addr::from_bits(number)), 32)
}

/// A request as it is decided about.
struct Ask<'a> {
    client: Client,
    cookies: Cookies<'a>,
}

/// The cookie line of each session there is, and as many of sessions that there are not.
struct Lines {
    text: String,
    each: usize,
}

impl Lines {
    fn new(size: Size) -> Self {
        let line = |number| format!("sessionid={}", text(key(number)));
        let text: String = (0..size.sessions + size.asks).map(line).collect();
        Self { each: line(0).len(), text }
    }

    fn line(&self, number: u32) -> &[u8] {
        let from = number as usize * self.each;
        &self.text.as_bytes()[from..from + self.each]
    }
}

fn key(number: u32) -> SessionKey {
    Secret::new([9; 16]).placeholder(number.into())
}

fn text(key: SessionKey) -> String {
    String::from_utf8(key.as_bytes().to_vec()).expect("ASCII")
}

/// What a decision came to: so that nothing else is measured than what is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Became {
    Forwarded,
    Recycled,
    Refused(Refusal),
    Challenged,
}

impl Case {
    const fn becomes(self) -> Became {
        match self {
            Self::Known | Self::Nothing | Self::MadeUp => Became::Forwarded,
            Self::Recycled => Became::Recycled,
            Self::Refused => Became::Refused(Refusal::ClientBudget),
            Self::TableFull => Became::Refused(Refusal::TableFull),
            Self::Challenged => Became::Challenged,
        }
    }
}

/// Answers that an application gives.
struct Answers {
    page: Evidence,
    /// Two, so that a spare is never answered with itself.
    flushed: [(SessionKey, Evidence); 2],
}

impl Answers {
    fn new(guard: &Guard, thread: usize) -> Self {
        let first = u32::MAX - 2 * thread as u32;
        let flushed = |number| (key(number), issued(guard, key(number)));
        Self { page: answer(guard, None), flushed: [flushed(first), flushed(first - 1)] }
    }

    fn to(&self, ticket: &Ticket) -> (&Evidence, Became) {
        match ticket.cookie() {
            SendCookie::Replace(spare) => {
                let other = usize::from(self.flushed[0].0 == spare);
                (&self.flushed[other].1, Became::Recycled)
            }
            SendCookie::Keep | SendCookie::Remove => (&self.page, Became::Forwarded),
        }
    }
}

fn answer(guard: &Guard, line: Option<&str>) -> Evidence {
    Evidence::read(200, line.map(str::as_bytes).into_iter(), &guard.policy().session)
}

fn issued(guard: &Guard, key: SessionKey) -> Evidence {
    answer(guard, Some(&format!("sessionid={}; Path=/; Max-Age=1209600", text(key))))
}

/// One decision of those whose time is taken. Not inlined, so that a profiler finds it.
#[inline(never)]
fn measured(guard: &Guard, case: Case, ask: &Ask<'_>, answers: &Answers) {
    assert_eq!(decide(guard, case, ask, answers), case.becomes());
}

fn decide(guard: &Guard, case: Case, ask: &Ask<'_>, answers: &Answers) -> Became {
    match guard.admit(&request(case.path(), ask), Patience::Spent, NOW) {
        Verdict::Forward(ticket, facts) => {
            black_box(facts);
            let (answer, became) = answers.to(&ticket);
            black_box(guard.settle(*ticket, Outcome::Answered(answer, None), NOW));
            became
        }
        Verdict::Refuse { why, facts, .. } => {
            black_box(facts);
            Became::Refused(why)
        }
        Verdict::Challenge { facts, .. } => {
            black_box(facts);
            Became::Challenged
        }
        Verdict::Answer { .. } | Verdict::Wait(_) => unreachable!("no such rule, no patience"),
    }
}

fn request<'a>(path: &'a [u8], ask: &'a Ask<'_>) -> Request<'a> {
    Request {
        client: ask.client,
        terms: Terms::Usual,
        challenged: Challenged::No { replayable: true },
        method: "GET",
        path,
        query: None,
        body: false,
        authorization: false,
        cookies: &ask.cookies,
    }
}

/// A guard with full tables.
struct Site {
    guard: Guard,
    size: Size,
}

impl Site {
    const ROOM: &str = r#"{ rate = "1/min", burst = 10_000 }"#;
    const ONE: &str = r#"{ rate = "1/d", burst = 1 }"#;

    /// Everybody has a session and room for more of them; logouts recycle.
    fn roomy(size: Size) -> Self {
        let site = Self::new(size, Self::ROOM);
        for session in 0..size.sessions {
            site.create(session % size.clients, session);
        }
        assert!(site.guard.sizes().0 >= size.sessions as usize);
        site.prove_logout();
        site
    }

    /// Nobody has budget left: neither who has a cell nor who finds no place for one.
    fn indebted(size: Size) -> Self {
        let site = Self::new(size, Self::ONE);
        for client in 0..size.clients {
            site.create(client, client);
        }
        // Whoever comes when all places are taken shares one bucket, which is then spent as well.
        let mut others = size.clients..NEWCOMERS;
        while site.guard.status(NOW).clients.used < Budgets::places(size.clients as usize) {
            others.by_ref().take(10_000).for_each(|client| site.create(client, client));
        }
        site.create(NEWCOMERS, 0);
        site
    }

    fn new(size: Size, client: &str) -> Self {
        let Size { clients, sessions, .. } = size;
        let text = format!(
            r#"
[session]
capacity = {sessions}
unknown = "drop"
[recycle]
spacing = 0
[client]
capacity = {clients}
[budget.anonymous]
client = {client}
site = {{ rate = "100000/s", burst = 20_000_000 }}
"#
        );
        let config = Config::parse("bench", text.as_bytes(), Overrides::default());
        let policy = config.expect("a valid configuration").sites()[0].policy().clone();
        Self { guard: Guard::new(policy, Secret::new([1; 16]), 1, NOW), size }
    }

    /// Who is out of budget is challenged from now on.
    fn challenge(&mut self) {
        let mut policy = self.guard.policy().clone();
        policy.challenge = Challenge::Cookie;
        self.guard = self.guard.reconfigured(policy, NOW);
    }

    fn create(&self, client: u32, session: u32) {
        let evidence = issued(&self.guard, key(session % self.size.sessions));
        if let Some(ticket) = self.admit(client, b"/cart/add/") {
            let _ = self.guard.settle(*ticket, Outcome::Answered(&evidence, None), NOW);
        }
    }

    fn prove_logout(&self) {
        let ticket = self.admit(0, LOGOUT).expect("there is budget");
        assert!(ticket.may_want_proof());
        let answers = Answers::new(&self.guard, THREADS[3]);
        let [(_, first), (_, second)] = &answers.flushed;
        let _ = self.guard.settle(*ticket, Outcome::Answered(first, Some(second)), NOW);
    }

    /// A request without cookies.
    fn bare(&self, client: u32) -> Ask<'static> {
        let session = &self.guard.policy().session;
        let cookies = Cookies::read(std::iter::empty(), &session.cookie, session.key_shape);
        Ask { client: address(client), cookies }
    }

    fn admit(&self, client: u32, path: &[u8]) -> Option<Box<Ticket>> {
        match self.guard.admit(&request(path, &self.bare(client)), Patience::Spent, NOW) {
            Verdict::Forward(ticket, _) => Some(ticket),
            Verdict::Refuse { .. }
            | Verdict::Challenge { .. }
            | Verdict::Answer { .. }
            | Verdict::Wait(_) => None,
        }
    }
}

/// What was measured: the median of nanoseconds for each of all decisions, whoever made them.
struct Median {
    what: String,
    how: &'static str,
    threads: usize,
    nanos: f64,
}

struct Bench {
    criterion: Criterion,
    medians: Vec<Median>,
}

impl Bench {
    fn decisions(&mut self, site: &Site, lines: &Lines, which: impl Fn(Case) -> bool) {
        for case in Case::ALL.into_iter().filter(|case| which(*case)) {
            let mut asks = case.asks(site, lines);
            let (all, answers) = (asks.len(), Answers::new(&site.guard, 0));
            asks.retain(|ask| decide(&site.guard, case, ask, &answers) == case.becomes());
            // A few clients find no place in a table that is nearly full.
            assert!(asks.len() >= all - all / 100, "{case}: {} of {all}", asks.len());
            for (how, asks) in [("hot", &asks[..1]), ("cold", &asks[..])] {
                let begun = AtomicUsize::new(0);
                for threads in THREADS {
                    let once = |thread| {
                        let answers = Answers::new(&site.guard, thread);
                        // Each goes on elsewhere, that none finds what another has just looked at.
                        let mut next = begun.fetch_add(STRIDE, Ordering::Relaxed) % asks.len();
                        move || {
                            next = if next + 1 < asks.len() { next + 1 } else { 0 };
                            measured(&site.guard, case, &asks[next], &answers);
                        }
                    };
                    self.measure(case.name(), how, threads, once);
                }
            }
        }
    }

    /// What it costs that decisions are numbered for the JSON access log: their locks, also where
    /// two cores decide at once.
    fn numbered(&mut self) {
        let site = Site::new(Size::QUICK, Site::ROOM);
        let log = AccessLog::off();
        let order = log.order(Mark { policy: 0, what: Marked::Start { blank: None } });
        let once = |thread| {
            let answers = Answers::new(&site.guard, thread);
            let ask = site.bare(thread as u32);
            let (site, order) = (&site, &order);
            move || decide_in_turn(order, &site.guard, &ask, &answers)
        };
        for threads in [1, 2] {
            self.measure("no session, not logged", "hot", threads, once);
        }
        log.put(Format::Json, Some(Path::new("/dev/null"))).expect("it can be written");
        for threads in [1, 2] {
            self.measure("no session, numbered for the log", "hot", threads, once);
        }
    }

    /// What is done for a decision beside it.
    fn beside(&mut self) {
        let site = Site::new(Size::QUICK, Site::ONE);
        let session = &site.guard.policy().session;
        let line = format!("csrftoken=0123456789abcdef; sessionid={}", text(key(1)));
        self.measure("its cookies read", "hot", 1, |_| {
            || {
                let lines = std::iter::once(line.as_bytes());
                black_box(Cookies::read(lines, &session.cookie, session.key_shape));
            }
        });
        self.measure("its path decoded", "hot", 1, |_| {
            || {
                black_box(path::decode(black_box("/articles/2026/november/")));
            }
        });
        let set = format!("sessionid={}; Path=/; HttpOnly; Max-Age=1209600", text(key(1)));
        self.measure("its answer read", "hot", 1, |_| {
            || {
                let lines = std::iter::once(set.as_bytes());
                black_box(Evidence::read(200, lines, session));
            }
        });
        let second = Duration::from_secs(1);
        let floods = FloodSettings { events: 20, quiet: 10 * second, interval: 60 * second };
        let rules = site.guard.policy().rules.iter().map(|rule| rule.name.clone()).collect();
        let telemetry = Telemetry::new(rules, floods, NOW);
        site.create(0, 0);
        let ask = site.bare(0);
        let verdict = site.guard.admit(&request(Case::Refused.path(), &ask), Patience::Spent, NOW);
        let Verdict::Refuse { facts, .. } = verdict else { unreachable!("the budget is spent") };
        for threads in [1, 2] {
            self.measure("its refusal told", "hot", threads, |_| {
                || telemetry.record(black_box(facts.as_slice()), NOW)
            });
        }
    }

    /// Has each of some threads do it over and over; `once` makes what one does.
    fn measure<F: FnMut()>(
        &mut self,
        what: &str,
        how: &'static str,
        threads: usize,
        once: impl Fn(usize) -> F + Sync,
    ) {
        let samples = RefCell::new(Vec::new());
        let mut group = self.criterion.benchmark_group(what);
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("{how}, {threads}"), |bencher| {
            bencher.iter_custom(|decisions| {
                let took = timed(threads, decisions, &once);
                samples.borrow_mut().push(took.as_nanos() as f64 / decisions as f64);
                took
            });
        });
        group.finish();
        // The warm-up came before.
        let mut samples = samples.into_inner();
        let mut samples = samples.split_off(samples.len().saturating_sub(SAMPLES));
        samples.sort_by(f64::total_cmp);
        if let Some(nanos) = samples.get(samples.len() / 2) {
            self.medians.push(Median { what: what.to_owned(), how, threads, nanos: *nanos });
        }
    }

    /// The medians: nanoseconds of one thread, and millions a second of all.
    fn print(&self) {
        println!("\n{:>34} {:>6} {:>8}   million a second of so many threads", "", "", "ns");
        let heads: String = THREADS.iter().map(|threads| format!("{threads:>8}")).collect();
        println!("{:>34} {:>6} {:>8} {heads}", "median of", "", "each");
        for one in self.medians.iter().filter(|median| median.threads == 1) {
            let same = self.medians.iter().filter(|m| m.what == one.what && m.how == one.how);
            let rates: String = same.map(|median| format!("{:>8.2}", 1e3 / median.nanos)).collect();
            println!("{:>34} {:>6} {:>8.0} {rates}", one.what, one.how, one.nanos);
        }
    }
}

/// The same, as the proxy does it where the JSON log is written: a turn each for admission and
/// settlement. Here the first is held for both.
fn decide_in_turn(order: &Order, guard: &Guard, ask: &Ask<'_>, answers: &Answers) {
    let first = order.turn();
    assert_eq!(decide(guard, Case::Nothing, ask, answers), Became::Forwarded);
    black_box(first.map(|turn| turn.made(NOW)));
    black_box(order.turn().map(|turn| turn.made(NOW)));
}

/// How long so many take, if each of the threads does its part.
fn timed<F: FnMut()>(threads: usize, number: u64, once: &(impl Fn(usize) -> F + Sync)) -> Duration {
    let each = number.div_ceil(threads as u64);
    let start = Barrier::new(threads);
    let run = |thread: usize| {
        let mut once = once(thread);
        start.wait();
        let began = Instant::now();
        (0..each).for_each(|_| once());
        began.elapsed()
    };
    let longest = if threads == 1 {
        run(0)
    } else {
        thread::scope(|scope| {
            let run = &run;
            let threads: Vec<_> =
                (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
            let took = threads.into_iter().map(|thread| thread.join().expect("no panic"));
            took.max().unwrap_or_default()
        })
    };
    // For as many as were asked for, not for those that were rounded up.
    longest.mul_f64(number as f64 / (each * threads as u64) as f64)
}
