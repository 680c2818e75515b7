//! What a guard decision costs: `cargo bench --bench decision`.
//!
//! Admission and settlement of one exchange, without any I/O, for each kind of request. The figures
//! of one run compare with each other; between runs and machines they do not.

#![allow(clippy::disallowed_methods, reason = "a cost is measured by the real clock")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use floodwall::config::{Config, Overrides};
use floodwall::guard::Guard;
use floodwall::guard::challenge::Challenged;
use floodwall::guard::client::Client;
use floodwall::guard::cookie::Cookies;
use floodwall::guard::exchange::{Outcome, Request, Verdict};
use floodwall::guard::key::Secret;
use floodwall::guard::ledger::Patience;
use floodwall::guard::moment::Moment;
use floodwall::guard::path;
use floodwall::guard::policy::Terms;
use floodwall::guard::set_cookie::Evidence;
use floodwall::telemetry::access::trace::{Mark, Marked};
use floodwall::telemetry::access::{AccessLog, Format};

const ROUNDS: u32 = 200_000;
const NOW: Moment = Moment::from_nanos(1 << 59);

fn main() {
    println!("guard decisions, ns each (median of 9 runs of {ROUNDS})");
    let config = Config::parse("bench", b"", Overrides::default()).expect("the defaults");
    let guard = Guard::new(config.sites()[0].policy().clone(), Secret::new([1; 16]), 1, NOW);
    // A login makes a key known.
    let key = "0123456789abcdef0123456789abcdef";
    let set = format!("sessionid={key}; Path=/");
    exchange(&guard, "/accounts/login/", "", 1, Some(&set), NOW);

    let known = format!("csrftoken=abc; sessionid={key}");
    measure("known session, page", |_| exchange(&guard, "/page/", &known, 1, None, NOW));
    measure("no session, page", |_| exchange(&guard, "/page/", "a=1", 2, None, NOW));
    let made_up = "sessionid=ffffffffffffffffffffffffffffffff";
    measure("made-up session, page", |_| exchange(&guard, "/page/", made_up, 3, None, NOW));
    let spent = |client| while exchange(&guard, "/cart/add/", "", client, Some(&set), NOW) {};
    spent(4);
    measure("refused, same client", |_| exchange(&guard, "/cart/add/", "", 4, None, NOW));
    measure("no session, a new client each time", |round| {
        exchange(&guard, "/page/", "", 1000 + round, None, NOW)
    });
    numbered(&guard);
}

/// What it costs that decisions are numbered for the JSON access log: their locks, also where two
/// cores decide at once.
fn numbered(guard: &Guard) {
    let log = AccessLog::off();
    let start = Mark { policy: 0, what: Marked::Start { blank: None } };
    let order = log.order(start);
    let decide = |client: u32| {
        // Admission and settlement have a turn each: here the first is held for both.
        let (first, exchanged) = (order.turn(), exchange(guard, "/page/", "", client, None, NOW));
        black_box(first.map(|turn| turn.made(NOW)));
        black_box(order.turn().map(|turn| turn.made(NOW)));
        exchanged
    };
    measure("no session, page, not logged", |_| decide(5));
    log.put(Format::Json, Some(Path::new("/dev/null"))).expect("it can be written");
    measure("no session, page, numbered", |_| decide(5));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                decide(6);
            }
        });
        measure("the same beside another core", |_| decide(5));
        stop.store(true, Ordering::Relaxed);
    });
}

/// One exchange: cookies read, admitted, settled. Whether it was forwarded.
fn exchange(
    guard: &Guard,
    target: &str,
    cookies: &str,
    client: u32,
    set_cookie: Option<&str>,
    now: Moment,
) -> bool {
    let policy = guard.policy();
    let lines = (!cookies.is_empty()).then_some(cookies.as_bytes()).into_iter();
    let cookies = Cookies::read(lines, &policy.session.cookie, policy.session.key_shape);
    let request = Request {
        client: Client::fold(IpAddr::V4(Ipv4Addr::from_bits(client)), &policy.client),
        terms: Terms::Usual,
        challenged: Challenged::UNABLE,
        method: "GET",
        path: &path::decode(target),
        query: None,
        body: false,
        authorization: false,
        cookies: &cookies,
    };
    match guard.admit(&request, Patience::Spent, now) {
        Verdict::Forward(ticket, _) => {
            let lines = set_cookie.map(str::as_bytes).into_iter();
            let evidence = Evidence::read(200, lines, &policy.session);
            black_box(guard.settle(*ticket, Outcome::Answered(&evidence, None), now));
            true
        }
        Verdict::Refuse { .. }
        | Verdict::Challenge { .. }
        | Verdict::Answer { .. }
        | Verdict::Wait(_) => false,
    }
}

fn measure(what: &str, mut once: impl FnMut(u32) -> bool) {
    let mut runs: Vec<Duration> = (0..9)
        .map(|run| {
            let began = Instant::now();
            for round in 0..ROUNDS {
                black_box(once(run * ROUNDS + round));
            }
            began.elapsed() / ROUNDS
        })
        .collect();
    runs.sort();
    println!("{what:>36}  {}", runs[4].as_nanos());
}
