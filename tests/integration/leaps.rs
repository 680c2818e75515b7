//! Leaps of the clocks. A machine that slept, or a wall clock that was set, must refill no budget
//! beyond its burst, shut nobody out for long, and log nobody out whose session the application
//! still holds.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use floodwall::config::{Config, Overrides};
use floodwall::guard::challenge::Challenged;
use floodwall::guard::client::Client;
use floodwall::guard::cookie::Cookies;
use floodwall::guard::exchange::{Outcome, Request, Ticket, Verdict};
use floodwall::guard::fact::{Notice, Warmth};
use floodwall::guard::image::{Image, Wall};
use floodwall::guard::key::Secret;
use floodwall::guard::ledger::Patience;
use floodwall::guard::moment::Moment;
use floodwall::guard::policy::Terms;
use floodwall::guard::set_cookie::Evidence;
use floodwall::guard::{Guard, UnderWay};
use floodwall::proxy::clock::Clock;
use floodwall::telemetry::Telemetry;
use floodwall::telemetry::flood::FloodSettings;

use crate::raw::DEADLINE;
use crate::support::attack::bounded;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::load::http::{Connection, Request as Bytes};
use crate::support::random::Random;
use crate::support::recorder::{Recorder, Seen};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

const BURST: u64 = 5;
const CONFIGURATION: &str = "
[budget.anonymous]
client = { rate = '1/h', burst = 5 }
site = { rate = '10/h', burst = 50 }
[client]
capacity = 1000
[session]
capacity = 1000
";

fn guard(now: Moment) -> Guard {
    let config = Config::parse("test", CONFIGURATION.as_bytes(), Overrides::default());
    Guard::new(config.expect("valid").sites()[0].policy().clone(), Secret::new([7; 16]), 1, now)
}

fn start() -> Moment {
    Moment::from_nanos(0).after(Moment::HEADROOM)
}

fn key(number: u64) -> String {
    format!("{number:032x}")
}

fn client(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, number)
}

/// Asks as a client would; `Some` when it is forwarded.
fn ask(guard: &Guard, client: Ipv4Addr, cookie: &str, now: Moment) -> Option<Ticket> {
    let policy = guard.policy();
    let lines = (!cookie.is_empty()).then(|| format!("sessionid={cookie}"));
    let lines = lines.iter().map(String::as_bytes);
    let cookies = Cookies::read(lines, &policy.session.cookie, policy.session.key_shape);
    let request = Request {
        client: Client::fold(IpAddr::V4(client), &policy.client),
        method: "GET",
        path: b"/take/",
        query: None,
        body: false,
        authorization: false,
        cookies: &cookies,
        terms: Terms::Usual,
        challenged: Challenged::UNABLE,
    };
    match guard.admit(&request, Patience::Spent, now) {
        Verdict::Forward(ticket, _) => Some(*ticket),
        _refused => None,
    }
}

fn answer(guard: &Guard, ticket: Ticket, cookie: Option<u64>, now: Moment) {
    let line = cookie.map(|number| format!("sessionid={}; Max-Age=1209600; Path=/", key(number)));
    let lines = line.iter().map(String::as_bytes);
    let evidence = Evidence::read(200, lines, &guard.policy().session);
    let _ = guard.settle(ticket, Outcome::Answered(&evidence, None), now);
}

/// How many sessions one client creates at once.
fn creates(guard: &Guard, client: Ipv4Addr, next: &mut u64, now: Moment) -> u64 {
    let mut created = 0;
    while let Some(ticket) = ask(guard, client, "", now) {
        *next += 1;
        created += 1;
        answer(guard, ticket, Some(*next), now);
        assert!(created < 1000, "there is no limit");
    }
    created
}

const LEAPS: [Duration; 9] = [
    Duration::ZERO,
    Duration::from_secs(1),
    HOUR,
    DAY,
    YEAR,
    Duration::from_secs(100 * 365 * 86_400),
    Duration::from_nanos(1),
    DAY,
    HOUR,
];

#[test]
fn a_leap_of_the_clock_refills_no_more_than_a_burst() {
    let (mut now, mut next, mut worst) = (start(), 0, 0);
    let guard = guard(now);
    for leap in LEAPS {
        now = now.after(leap);
        worst = worst.max(creates(&guard, client(1), &mut next, now));
        // What is under way as the machine sleeps takes its room all the time, and no more after.
        let later = now.after(leap).after(10 * HOUR);
        let held: Vec<_> = (0..3).map_while(|_| ask(&guard, client(2), "", later)).collect();
        let woken = later.after(leap);
        let taken = held.len() as u64;
        let at_once = creates(&guard, client(2), &mut next, woken);
        worst = worst.max(at_once + taken);
        for ticket in held {
            next += 1;
            answer(&guard, ticket, Some(next), woken);
        }
        worst = worst.max(at_once + taken + creates(&guard, client(2), &mut next, woken));
        assert_eq!(guard.under_way(), UnderWay::default());
        now = woken;
    }
    bounded(
        "monotonic clock leaps an hour to a century",
        "sessions at once, burst 5",
        BURST,
        worst,
    );
}

#[test]
fn a_leap_of_the_clock_ends_sessions_and_warms_the_ledger_in_their_time() {
    let now = start();
    let guard = guard(now);
    answer(&guard, ask(&guard, client(1), "", now).expect("admitted"), Some(1), now);
    while ask(&guard, client(1), "", now).is_some_and(|ticket| {
        answer(&guard, ticket, Some(99), now);
        true
    }) {}
    // Only who has a live session is let in now.
    let is_known = |now| {
        let ticket = ask(&guard, client(1), &key(1), now);
        let known = ticket.as_ref().is_some_and(|ticket| !ticket.holds());
        if let Some(ticket) = ticket {
            let _ = guard.settle(ticket, Outcome::Unsent, now);
        }
        known
    };
    for (days, known) in [(0, true), (1, true), (13, true), (15, false), (365, false)] {
        let then = now.after(DAY * days);
        assert_eq!(is_known(then), known, "{days} days");
        assert_eq!(guard.warmth(then) == Warmth::Warm, days >= 14, "{days} days");
    }
    assert_eq!(guard.under_way(), UnderWay::default());
}

/// The wall clock is set while the process is away, again and again.
#[test]
fn a_wall_clock_that_is_set_refills_no_more_than_a_burst_and_shuts_nobody_out() {
    let (now, mut next, mut worst) = (start(), 0, 0);
    let (day, year) = (86_400_000_000_000_i128, 365 * 86_400_000_000_000_i128);
    for leap in [-20 * year, -year, -day, -3_600_000_000_000, 0, day, year, 20 * year] {
        let mut wall = Wall { origin_unix_nanos: 1_800_000_000_000_000_000 };
        let mut guard = guard(now);
        let at_first = creates(&guard, client(1), &mut next, now);
        for restart in 0..5 {
            let bytes = guard.snapshot(1, wall, true, now);
            wall.origin_unix_nanos += leap;
            let image = Image::decode(&bytes).expect("whole");
            guard = Guard::restored(guard.policy().clone(), image, wall, 1, now);
            let created = creates(&guard, client(1), &mut next, now);
            assert!(leap > 0 || created == 0, "{created} in no time, {leap}");
            worst = worst.max(at_first.max(created));
            // What cannot be owed is not believed; an hour could be.
            let soon = now.after(if leap == -3_600_000_000_000 { 2 * HOUR } else { HOUR / 2 });
            let others = (10..20).filter(|number| {
                let ticket = ask(&guard, client(number + 20 * restart), "", soon);
                ticket.map(|ticket| guard.settle(ticket, Outcome::Unsent, soon)).is_some()
            });
            assert_eq!(others.count(), 10, "{leap}");
        }
    }
    bounded(
        "wall clock set by an hour to 20 years, at restarts",
        "sessions at once, burst 5",
        BURST,
        worst,
    );
}

/// Whatever leaps, at whatever moment, up to the end of time: nothing panics, and nothing leaks.
#[test]
fn leaps_at_any_moment_break_nothing() {
    for seed in 0..20 {
        let mut random = Random(seed);
        let (mut now, mut next) = (start(), 0);
        let mut wall = Wall { origin_unix_nanos: 1_800_000_000_000_000_000 };
        let mut guard = guard(now);
        let floods = FloodSettings { events: 3, quiet: HOUR, interval: HOUR };
        let telemetry = Telemetry::new(Vec::new(), floods, now);
        for _ in 0..300 {
            let cookie = if random.percent(50) { key(random.next() % 50) } else { String::new() };
            match random.below(8) {
                0 => now = now.after(LEAPS[random.below(LEAPS.len())]),
                1 => now = now.after(Duration::from_nanos(random.next() >> random.below(64))),
                2 => {
                    let bytes = guard.snapshot(1, wall, true, now);
                    let leap = (random.next() >> random.below(64)).cast_signed();
                    wall.origin_unix_nanos += i128::from(leap);
                    let image = Image::decode(&bytes).expect("whole");
                    guard = Guard::restored(guard.policy().clone(), image, wall, 1, now);
                }
                3 => {
                    for entry in guard.changes(wall, now) {
                        guard.replay(entry, wall, now);
                    }
                    telemetry.tick(now);
                }
                _ => match ask(&guard, client(1), &cookie, now) {
                    Some(ticket) => {
                        next += 1;
                        answer(&guard, ticket, random.percent(70).then_some(next % 50), now);
                    }
                    None => telemetry.notice(&Notice::ClientTableFull, now),
                },
            }
            let _ = guard.warmth(now);
        }
        telemetry.finish(now);
        assert_eq!(guard.under_way(), UnderWay::default(), "seed {seed}");
    }
}

/// The program itself, started with a state file of another wall time: what becomes of a session
/// that is alive, and of a budget that is spent.
fn restarted(leap: i128, folder: &Folder) -> (Floodwall, Recorder) {
    let clock = Clock::start();
    let now = clock.now();
    let guard = guard(now.before(15 * DAY));
    let mut next = 0;
    answer(&guard, ask(&guard, client(9), "", now).expect("admitted"), Some(1000), now);
    creates(&guard, Ipv4Addr::LOCALHOST, &mut next, now);
    assert_eq!(next, BURST);
    assert_eq!(guard.warmth(now), Warmth::Warm);
    // Written by a clock that was wrong by so much.
    let wall = Wall { origin_unix_nanos: clock.wall().origin_unix_nanos - leap };
    let state = guard.snapshot(1, wall, false, now);
    std::fs::write(folder.path().join("state"), state).expect("the state can be written");
    let issued = AtomicU64::new(1);
    let recorder = Recorder::start(move |_| {
        let key = issued.fetch_add(1, Ordering::Relaxed);
        format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: sessionid=f{key:031x}\r\n\r\n")
    });
    (Floodwall::start(folder, recorder.upstream(), CONFIGURATION), recorder)
}

/// Sends a request; its status, and the cookie that the application got.
fn send(
    floodwall: &Floodwall,
    recorder: &Recorder,
    source: Ipv4Addr,
    cookie: u64,
) -> (u16, String) {
    let before = recorder.seen().len();
    let cookie =
        if cookie == 0 { String::new() } else { format!("Cookie: sessionid={}\r\n", key(cookie)) };
    let bytes = format!("GET /take/ HTTP/1.1\r\nHost: a\r\n{cookie}\r\n").into_bytes();
    let mut connection = Connection::new(floodwall.target(), source);
    let request = Bytes { bytes, head: false };
    let answer = connection.exchange(&request, Instant::now() + DEADLINE).expect("an answer");
    let got = match recorder.seen().get(before) {
        Some(Seen::Request(request)) => request.values("cookie").collect(),
        Some(Seen::Cut | Seen::Malformed(..)) | None => String::new(),
    };
    (answer.status, got)
}

#[test]
fn a_program_that_is_started_at_another_wall_time_keeps_budgets_and_sessions() {
    let day = 86_400_000_000_000_i128;
    let (spender, other) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 7));
    let mut worst = 0;
    for leap in [-365 * day, -day, 0, day, 365 * day] {
        let folder = Folder::new("leap");
        let (floodwall, recorder) = restarted(leap, &folder);
        // After a year the key has ended, as it has in the store.
        if leap < 365 * day {
            let alive = format!("sessionid={}", key(1000));
            assert_eq!(send(&floodwall, &recorder, other, 1000), (200, alive), "{leap}");
        }
        let created = (0..2 * BURST)
            .filter(|_| send(&floodwall, &recorder, spender, 0).0 == 200)
            .count() as u64;
        assert!(leap > 0 || created == 0, "{created} in no time, {leap}");
        worst = worst.max(created);
        assert!(floodwall.stop().success());
    }
    bounded(
        "started with the wall clock a day, a year off",
        "sessions at once, burst 5",
        BURST,
        worst,
    );
}
