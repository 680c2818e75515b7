//! The rules of keys, one row of their table after another, and what follows for cookies, budgets
//! and warmth.

use super::super::Guard;
use super::super::exchange::{Outcome, RelayCookie, Sent};
use super::super::fact::{Event, Notice, Refusal, Warmth, Write};
use super::super::policy::{AfterLogout, Unknown};
use super::super::set_cookie::Evidence;
use super::support::*;

/// What was told of the write in an exchange.
fn write(settled: &super::super::exchange::Settlement) -> Option<Write> {
    settled.facts.as_slice().iter().find_map(|fact| match fact.event {
        Event::Wrote(write) => Some(write),
        _ => None,
    })
}

/// How many more this client may create.
fn left(guard: &Guard, client: u32) -> usize {
    let ask = Ask::get(v4(client), "/x/");
    let mut tickets = Vec::new();
    while ask.refusal(guard, START).is_none() {
        tickets.push(ask.ticket(guard, START));
    }
    let left = tickets.len();
    for ticket in tickets {
        let _ = guard.settle(ticket, Outcome::Unsent, START);
    }
    left
}

/// A guard that knows key 1 as paid; client 1 has three left.
fn with_key() -> Guard {
    let guard = guard(policy());
    Ask::get(v4(1), "/cart/").answered(&guard, 200, &text(&key(1)), START);
    guard
}

#[test]
fn what_an_answer_says_of_a_known_key() {
    for (status, set, told, alive) in [
        (200, String::from("-"), None, true),
        (500, String::from("-"), Some(Write::Uncertain), true),
        (200, text(&key(1)), Some(Write::Renewed), true),
        (200, text(&key(2)), Some(Write::Rotated), false),
        (200, String::new(), Some(Write::Deleted), false),
    ] {
        let guard = with_key();
        let ask = Ask::get(v4(1), "/x/").with(&key(1));
        assert_eq!(write(&ask.answered(&guard, status, &set, START)), told);
        assert_eq!(left(&guard, 1), 3, "a known key costs nothing: {told:?}");
        let ticket = ask.ticket(&guard, START);
        assert_eq!(matches!(ticket.sent, Sent::Known(..)), alive, "{told:?}");
        let _ = guard.settle(ticket, Outcome::Unsent, START);
    }
}

#[test]
fn what_an_answer_says_of_an_unknown_key_or_none() {
    for carried in [false, true] {
        for set in [String::from("-"), String::new(), text(&key(50)), text(&key(2))] {
            let guard = guard(policy());
            let ask = Ask::get(v4(1), "/x/");
            let ask = if carried { ask.with(&key(50)) } else { ask };
            let settled = ask.answered(&guard, 200, &set, START);
            let expected = match set.as_str() {
                "-" | "" => (None, 4),
                _ => (Some(Write::Created), 3),
            };
            assert_eq!((write(&settled), left(&guard, 1)), expected, "{carried} {set}");
        }
        let guard = guard(policy());
        let ask = Ask::get(v4(1), "/x/");
        let ask = if carried { ask.with(&key(50)) } else { ask };
        assert_eq!(write(&ask.answered(&guard, 500, "-", START)), Some(Write::Uncertain));
        let ticket = ask.ticket(&guard, START);
        let _ = guard.settle(ticket, Outcome::NoAnswer, START);
        assert_eq!(left(&guard, 1), 2, "no evidence, no refund");
    }
}

#[test]
fn a_key_created_in_debt_is_known_but_needs_a_hold_so_that_growth_cannot_compound() {
    let guard = with_key();
    // Eight at once rotate key 1; the last ones find no room.
    let ask = Ask::get(v4(1), "/x/").with(&key(1));
    let tickets: Vec<_> = (0..8).map(|_| ask.ticket(&guard, START)).collect();
    for (ticket, number) in tickets.into_iter().zip(10..) {
        let other = evidence(&guard, 200, &text(&key(number)));
        let _ = guard.settle(ticket, Outcome::Answered(&other, None), START);
    }
    let debts = (10..18)
        .filter(|number| {
            Ask::get(v4(1), "/x/").with(&key(*number)).refusal(&guard, START).is_some()
        })
        .count();
    // Three of the client's four were left: eight came, none of them free, as patience was spent.
    assert_eq!(debts, 5);
    assert_eq!(left(&guard, 1), 0);
    // Debts are paid off before anything new: five, and one for what is new.
    assert!(Ask::get(v4(1), "/x/").refusal(&guard, START.after(5 * SECOND)).is_some());
    assert!(Ask::get(v4(1), "/x/").refusal(&guard, START.after(6 * SECOND)).is_none());
    // An unpaid key that a budget has paid for since is like any other.
    let later = START.after(20 * SECOND);
    let unpaid = Ask::get(v4(1), "/x/").with(&key(17));
    unpaid.answered(&guard, 200, &text(&key(17)), later);
    assert!(unpaid.ticket(&guard, later).hold.is_none());
}

#[test]
fn the_free_rotation_of_an_unpaid_key_is_unpaid_unless_a_hold_paid_for_it() {
    let mut policy = policy();
    policy.rules.push(super::super::route::Rule {
        name: String::from("free"),
        paths: vec![super::super::route::PathPattern::Exact(String::from("/free/"))],
        action: super::super::route::Action::Forward,
        ..policy.rules[1].clone()
    });
    let guard = guard(policy);
    let free = Ask::get(v4(1), "/free/");
    for number in 1..=6 {
        free.answered(&guard, 200, &text(&key(number)), START);
    }
    // In debt since the fifth: key 6 is unpaid, and so is what it is rotated into for nothing.
    free.clone().with(&key(6)).answered(&guard, 200, &text(&key(7)), START);
    let now = START.after(10 * SECOND);
    let ask = Ask::get(v4(1), "/x/").with(&key(7));
    let ticket = ask.ticket(&guard, now);
    assert!(matches!(ticket.sent, Sent::Known(..)) && ticket.hold.is_some());
    let other = evidence(&guard, 200, &text(&key(8)));
    let _ = guard.settle(ticket, Outcome::Answered(&other, None), now);
    assert!(Ask::get(v4(1), "/x/").with(&key(8)).ticket(&guard, now).hold.is_none());
}

#[test]
fn a_logout_on_an_old_django_is_answered_with_a_deletion() {
    let after = |relay: AfterLogout, body: bool| {
        let mut policy = policy();
        policy.session.after_logout = relay;
        let guard = guard(policy);
        Ask::get(v4(1), "/cart/").answered(&guard, 200, &text(&key(1)), START);
        let ask = Ask { body, ..Ask::get(v4(1), "/logout/").with(&key(1)) };
        let cookie = ask.relayed(&guard, 200, &text(&key(2)), START);
        // Dead either way.
        let ticket = Ask::get(v4(1), "/x/").with(&key(1)).ticket(&guard, START);
        assert!(matches!(ticket.sent, Sent::Nothing));
        cookie
    };
    assert_eq!(after(AfterLogout::Delete, false), RelayCookie::Delete);
    // What comes with content may be a login to the same path.
    assert_eq!(after(AfterLogout::Delete, true), RelayCookie::Keep);
    assert_eq!(after(AfterLogout::Relay, false), RelayCookie::Keep);
}

#[test]
fn a_warm_ledger_removes_what_it_does_not_know_and_tells_the_browser_to_forget_it() {
    let guard = guard(policy());
    let unknown = Ask::get(v4(2), "/read/").with(&key(77));
    let before = START.after(LIFETIME - 2 * SECOND);
    assert!(matches!(unknown.ticket(&guard, before).sent, Sent::Unknown(_)));
    Ask::get(v4(1), "/cart/").answered(&guard, 200, &text(&key(1)), before);
    let warm = START.after(LIFETIME);
    assert_eq!(guard.warmth(warm), Warmth::Warm);
    for ask in [unknown, Ask::get(v4(2), "/read/").with_text("nonsense")] {
        assert!(matches!(ask.ticket(&guard, warm).sent, Sent::Nothing));
        assert_eq!(ask.relayed(&guard, 200, "-", warm), RelayCookie::Delete);
    }
    let known = Ask::get(v4(1), "/read/").with(&key(1));
    assert!(matches!(known.ticket(&guard, warm).sent, Sent::Known(..)));
}

#[test]
fn an_unknown_key_that_proves_alive_keeps_the_ledger_from_being_warm() {
    let guard = guard(policy());
    let late = START.after(LIFETIME - SECOND);
    Ask::get(v4(2), "/cart/").with(&key(77)).answered(&guard, 200, &text(&key(77)), late);
    let warmth = guard.warmth(late.after(2 * SECOND));
    assert!(matches!(warmth, Warmth::IssuedElsewhere { .. }), "{warmth:?}");
    // One that is answered with another key proves nothing: old releases do that to any key.
    let other = super::support::guard(policy());
    Ask::get(v4(2), "/cart/").with(&key(77)).answered(&other, 200, &text(&key(78)), late);
    assert_eq!(other.warmth(late.after(2 * SECOND)), Warmth::Warm);
}

#[test]
fn a_dead_key_is_removed_though_the_ledger_is_cold_unless_all_is_to_be_forwarded() {
    for (unknown, removed) in
        [(Unknown::Auto, true), (Unknown::Drop, true), (Unknown::Forward, false)]
    {
        let mut policy = policy();
        policy.session.unknown = unknown;
        let guard = guard(policy);
        Ask::get(v4(1), "/cart/").answered(&guard, 200, &text(&key(1)), START);
        let ask = Ask::get(v4(1), "/x/").with(&key(1));
        ask.answered(&guard, 200, "", START);
        let ticket = ask.ticket(&guard, START);
        assert_eq!(matches!(ticket.sent, Sent::Nothing), removed, "{unknown:?}");
        assert!(ticket.hold.is_some(), "dead is as good as none");
    }
}

#[test]
fn a_cookie_of_another_name_that_looks_like_a_session_keeps_the_charge_and_warns() {
    let guard = guard(policy());
    let line = format!("mysession={}; HttpOnly; Path=/", text(&key(5)));
    let session = &guard.policy().session;
    let evidence = Evidence::read(200, std::iter::once(line.as_bytes()), session);
    let ticket = Ask::get(v4(1), "/x/").ticket(&guard, START);
    let settled = guard.settle(ticket, Outcome::Answered(&evidence, None), START);
    assert!(matches!(settled.notice, Some(Notice::OtherCookieLooksLikeKey { .. })));
    assert_eq!(left(&guard, 1), 3);
}

#[test]
fn logins_have_a_budget_that_no_other_route_can_drain() {
    let guard = guard(policy());
    for client in 0..8 {
        let ask = Ask::get(v4(100 + client), "/cart/");
        ask.answered(&guard, 200, &text(&key(100 + u64::from(client))), START);
    }
    assert_eq!(Ask::get(v4(1), "/x/").refusal(&guard, START), Some(Refusal::SiteBudget));
    assert_eq!(Ask::get(v4(1), "/login/").refusal(&guard, START), None);
}

#[test]
fn a_client_out_of_budget_still_uses_its_paid_session() {
    let guard = with_key();
    for number in 10..13 {
        Ask::get(v4(1), "/cart/").answered(&guard, 200, &text(&key(number)), START);
    }
    assert_eq!(left(&guard, 1), 0);
    for target in ["/read/", "/login/", "/cart/"] {
        assert!(Ask::get(v4(1), target).with(&key(1)).ticket(&guard, START).hold.is_none());
    }
}

#[test]
fn a_key_of_another_shape_is_charged_and_told() {
    let guard = guard(policy());
    let settled = Ask::get(v4(1), "/x/").answered(&guard, 200, "short", START);
    assert!(matches!(settled.notice, Some(Notice::KeyOfOtherShape { .. })));
    assert_eq!((settled.cookie, left(&guard, 1)), (RelayCookie::Keep, 3));
}
