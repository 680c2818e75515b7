//! Pages that no rule names: what passes because they were clean, though they turn to creating, and
//! what is admitted before anything is known of them.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::super::exchange::{Outcome, Ticket, Verdict};
use super::super::fact::Notice;
use super::super::ledger::Patience;
use super::super::moment::Moment;
use super::super::policy::Policy;
use super::super::route::StandingWord;
use super::super::{Guard, UnderWay};
use super::support::*;

/// A page of a class of its own.
fn turncoat(client: u32, number: usize) -> Ask {
    let letter = char::from(b'a' + u8::try_from(number).expect("few"));
    Ask::get(v4(client), &format!("/turncoat/{letter}/"))
}

/// Answers without a record, until the class of the page is clean.
fn train(guard: &Guard, ask: &Ask, now: Moment) {
    for _ in 0..8 {
        ask.answered(guard, 200, "-", now);
    }
}

/// Nothing is left of the site's budget, and nothing is owed beyond it.
fn drain(guard: &Guard, now: Moment) -> u64 {
    let cart = |client| Ask::get(v4(client), "/cart/");
    let mut records = 0;
    for client in 100..200 {
        while cart(client).refusal(guard, now).is_none() {
            cart(client).answered(guard, 200, &text(&key(1_000_000 + records)), now);
            records += 1;
        }
    }
    records
}

fn passing(ask: &Ask, guard: &Guard, now: Moment) -> Option<Ticket> {
    match ask.admit(guard, Patience::Spent, now) {
        Verdict::Forward(ticket, _) => Some(*ticket),
        Verdict::Refuse { .. }
        | Verdict::Challenge { .. }
        | Verdict::Answer { .. }
        | Verdict::Wait(_) => None,
    }
}

/// However many pages turn, only what passes at once comes through, and no more until it is paid
/// off. The bound holds for a site of tiny budgets, too: there fewer pass at once.
#[test]
fn of_pages_that_turn_to_creating_only_what_passes_at_once_gets_through() {
    for (burst, configured) in [(8, 32), (2, 32), (600, 32), (600, 3), (8, 0)] {
        let mut policy = policy();
        policy.learned.passes = configured;
        policy.budgets[0].client = quota(burst.min(4), SECOND);
        policy.budgets[0].site = quota(burst, SECOND / 2);
        let guard = guard(policy);
        (0..20).for_each(|number| train(&guard, &turncoat(1, number), START));
        assert_eq!(drain(&guard, START), u64::from(burst.min(400)));
        let allowed = usize::from(configured).min(burst as usize);
        let mut records = 0;
        for round in 0..20 {
            let ask = turncoat(100, round);
            let tickets: Vec<Ticket> =
                (0..100).map_while(|_| passing(&ask, &guard, START)).collect();
            assert_eq!(tickets.len(), if round == 0 { allowed } else { 0 }, "round {round}");
            for ticket in tickets {
                assert!(ticket.hold.is_none() && ticket.passes);
                records += 1;
                let created = evidence(&guard, 200, &text(&key(records)));
                let _ = guard.settle(ticket, Outcome::Answered(&created, None), START);
            }
        }
        assert_eq!(records, allowed as u64);
        assert_eq!(guard.under_way(), UnderWay::default());
        // It is paid off, and then others pass again; that page does not.
        let paid = START.after(SECOND * (u32::try_from(allowed).expect("few") + 1));
        assert!(passing(&turncoat(100, 0), &guard, paid).is_none_or(|ticket| !ticket.passes));
    }
}

/// The same by threads, on a guard that is out of budget: the clock stands still, so nothing is
/// paid off.
#[test]
fn racing_threads_get_no_more_through_than_passes_at_once() {
    for _ in 0..10 {
        let guard = guard(policy());
        (0..20).for_each(|number| train(&guard, &turncoat(1, number), START));
        drain(&guard, START);
        let records = AtomicU64::new(0);
        let start = Barrier::new(8);
        thread::scope(|scope| {
            for thread in 0..8 {
                let (guard, records, start) = (&guard, &records, &start);
                scope.spawn(move || {
                    start.wait();
                    for round in 0..200 {
                        let ask = turncoat(100, (round + thread) % 20);
                        let Some(ticket) = passing(&ask, guard, START) else { continue };
                        let number = records.fetch_add(1, Ordering::Relaxed);
                        let created = evidence(guard, 200, &text(&key(number)));
                        let _ = guard.settle(ticket, Outcome::Answered(&created, None), START);
                    }
                });
            }
        });
        // The site's burst is smaller than the configured passes.
        let records = records.into_inner();
        assert!((1..=8).contains(&records), "{records} records above the budget");
        assert_eq!(guard.under_way(), UnderWay::default());
    }
}

/// Thousands of first requests at once, before anything is known of the path: what is under way
/// never exceeds the burst, and neither does what is created.
#[test]
fn racing_first_requests_on_an_unknown_page_create_what_the_budget_has_and_no_more() {
    for each in [4, 1] {
        let mut policy = policy();
        policy.budgets[0].client = quota(each, Duration::from_secs(86_400));
        policy.budgets[0].site = quota(24, Duration::from_secs(86_400));
        let guard = guard(policy);
        let records = AtomicU64::new(0);
        let start = Barrier::new(8);
        thread::scope(|scope| {
            for thread in 0..8 {
                let (guard, records, start) = (&guard, &records, &start);
                scope.spawn(move || {
                    start.wait();
                    let mut under_way = Vec::new();
                    for round in 0..1_000 {
                        // Of all lanes that need no rule: without a cookie, and with a made-up one.
                        let number = 100_000 * (thread + 1) + round;
                        let ask = Ask::get(v4(number as u32 % 40), "/cart/");
                        let ask = if round % 2 == 0 { ask } else { ask.with(&key(number)) };
                        under_way.extend(passing(&ask, guard, START));
                        assert!(guard.under_way().held <= 24);
                    }
                    for ticket in under_way {
                        let number = records.fetch_add(1, Ordering::Relaxed);
                        let created = evidence(guard, 200, &text(&key(number)));
                        let _ = guard.settle(ticket, Outcome::Answered(&created, None), START);
                    }
                });
            }
        });
        assert_eq!(records.into_inner(), 24);
        assert_eq!(guard.under_way(), UnderWay::default());
    }
}

/// Exchanges that take longer than what they hold may be held: charged, they leave room again as
/// time passes, at the budget's rate. So what is admitted and not refunded is within burst and rate,
/// however long it takes; and an exchange that was charged creates for no further charge.
#[test]
fn slow_exchanges_are_admitted_at_the_rate_of_the_budget_and_no_faster() {
    let guard = guard(policy());
    let mut now = START;
    let mut slow: Vec<(Ticket, Moment)> = Vec::new();
    for second in 0..300 {
        for client in 0..10 {
            while let Some(ticket) = passing(&Ask::get(v4(client), "/cart/"), &guard, now) {
                slow.push((ticket, now));
            }
        }
        for (ticket, since) in &mut slow {
            if now.since(*since) >= Duration::from_secs(10) {
                guard.charge(ticket, now);
            }
        }
        let allowed = 8 + 2 * second;
        assert!(slow.len() <= allowed, "{} after {second} s, allowed {allowed}", slow.len());
        now = now.after(SECOND);
    }
    // Held for ten seconds, then back at two a second: not starved either.
    assert!(slow.len() >= 100, "{}", slow.len());
    let held = guard.under_way().held;
    assert!(held <= 8, "{held}");
    for (number, (ticket, _)) in slow.into_iter().enumerate() {
        let created = evidence(&guard, 200, &text(&key(number as u64)));
        let _ = guard.settle(ticket, Outcome::Answered(&created, None), now);
    }
    assert_eq!(guard.under_way(), UnderWay::default());
    let later = now.after(Duration::from_secs(20));
    assert_eq!(Ask::get(v4(1), "/cart/").refusal(&guard, later), None, "charged once");
}

#[test]
fn a_page_that_turns_to_creating_is_told_once_with_its_method_and_its_standing() {
    let guard = guard(policy());
    let ask = Ask::get(v4(1), "/search/%0A%1B[31m?add=1").method("HEAD").with(&key(7));
    let told = |number: u64, now| ask.answered(&guard, 200, &text(&key(number)), now).notice;
    let expected = Notice::PathCreates {
        method: "GET",
        standing: StandingWord::Unknown,
        path: String::from("/search/\n\u{1b}[31m"),
    };
    assert_eq!(told(1, START), Some(expected.clone()));
    assert_eq!(told(2, START), None);
    let later = START.after(Duration::from_secs(700));
    assert_eq!(told(3, later), Some(expected), "it had come to rest");
    let login = Ask::get(v4(2), "/login/").answered(&guard, 200, &text(&key(8)), later);
    assert_eq!(login.notice, None, "what a rule names is not learned");
}

/// With passes switched off, whoever is out of budget is refused on every page.
#[test]
fn without_passes_a_clean_page_needs_budget_as_well() {
    let mut policy: Policy = policy();
    policy.learned.passes = 0;
    let guard = guard(policy);
    train(&guard, &turncoat(1, 0), START);
    drain(&guard, START);
    assert!(passing(&turncoat(1, 0), &guard, START).is_none());
}
