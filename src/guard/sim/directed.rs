//! Attacks with the source in hand, one at a time, with scripted answers.

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::UnderWay;
use super::super::exchange::{Outcome, RelayCookie, Sent, Verdict, WaitFor};
use super::super::fact::{Refusal, Warmth};
use super::super::ledger::{Ledger, Patience};
use super::super::policy::{Mode, Policy};
use super::support::*;

/// `request.session.clear()` adopts whatever name a client made up, and echoes it: that must not
/// pass for an application that keeps its sessions in signed cookies, whose values need no budget.
#[test]
fn an_echoed_cookie_is_no_proof_of_signed_sessions() {
    let guard = guard(policy());
    let clear = Ask::get(v4(1), "/clear/").with_text("a:b:c");
    clear.answered(&guard, 200, "a:b:c", START);
    for number in 0..3 {
        let value = format!("a:b:{number}");
        Ask::get(v4(1), "/clear/").with_text(&value).answered(&guard, 200, &value, START);
    }
    assert_eq!(clear.refusal(&guard, START), Some(Refusal::ClientBudget));
}

#[test]
fn values_that_the_application_signed_itself_need_no_budget() {
    let guard = guard(policy());
    let mine = Ask::get(v4(1), "/").with_text("eyJhIjoxfQ:1bCdEf:c2lnbmF0dXJl");
    Ask::get(v4(2), "/").answered(&guard, 200, "eyJhIjoxfQ:1bCdEg:c2lnbmF0dXJl", START);
    for _ in 0..20 {
        let ticket = mine.ticket(&guard, START);
        assert!(ticket.hold.is_none());
        let nothing = evidence(&guard, 200, "-");
        let _ = guard.settle(ticket, Outcome::Answered(&nothing, None), START);
    }
    // One that issues keys has another backend now.
    Ask::get(v4(2), "/").answered(&guard, 200, &text(&key(1)), START);
    assert!(mine.ticket(&guard, START).hold.is_some());
}

/// `?next=http://[` makes the stock 1.7 logout raise after the flush: the record that was made has
/// no cookie, and the key that asked for it has no record any more. Asking again with the same key
/// makes another one each time, so only the first is free.
#[test]
fn a_paid_key_ends_uncertainly_once_and_needs_a_hold_from_then_on() {
    let guard = guard(policy());
    Ask::get(v4(1), "/cart/").answered(&guard, 200, &text(&key(1)), START);
    let now = START.after(10 * SECOND);
    let raise = Ask::get(v4(1), "/logout/?next=http://[").with(&key(1));
    raise.answered(&guard, 500, "-", now);
    let mut more = 0;
    while raise.refusal(&guard, now).is_none() {
        raise.answered(&guard, 500, "-", now);
        more += 1;
        assert!(more < 100, "a record for each request, and none is charged");
    }
    assert_eq!(more, 4, "the burst of a client");
}

/// Those that lost patience with each other are under way at once: all but one of them may have
/// added a record.
#[test]
fn of_several_uncertain_flushes_at_once_all_but_one_are_charged() {
    let guard = guard(policy());
    Ask::get(v4(1), "/cart/").answered(&guard, 200, &text(&key(1)), START);
    let now = START.after(10 * SECOND);
    let raise = Ask::get(v4(1), "/logout/?next=http://[").with(&key(1));
    let tickets: Vec<_> = (0..5).map(|_| raise.ticket(&guard, now)).collect();
    for ticket in tickets {
        let _ = guard.settle(ticket, Outcome::NoAnswer, now);
    }
    assert_eq!(Ask::get(v4(1), "/cart/").refusal(&guard, now), Some(Refusal::ClientBudget));
    assert_eq!(guard.under_way(), UnderWay::default());
}

/// Nobody is punished for a page that fails: a paid key stays paid after some of them, and they are
/// not charged. But where its record is gone each of them may add one that nobody sees, so that
/// whoever goes on needs a hold, which is refunded by every page that does not fail.
#[test]
fn a_paid_key_fails_freely_a_few_times_and_needs_a_hold_from_then_on() {
    let guard = guard(policy());
    Ask::get(v4(1), "/cart/").answered(&guard, 200, &text(&key(1)), START);
    let now = START.after(10 * SECOND);
    let page = Ask::get(v4(1), "/broken/").with(&key(1));
    let is_free = |page: &Ask| {
        let ticket = page.ticket(&guard, now);
        let free = ticket.hold.is_none();
        let _ = guard.settle(ticket, Outcome::Unsent, now);
        free
    };
    for _ in 0..Ledger::FREE_FAILURES {
        assert!(is_free(&page));
        page.answered(&guard, 500, "-", now);
    }
    assert!(!is_free(&page));
    // Fewer than would make the page a clean one, which needs no hold.
    for _ in 0..6 {
        page.answered(&guard, 200, "-", now);
    }
    for _ in 0..4 {
        page.answered(&guard, 500, "-", now);
    }
    assert_eq!(page.refusal(&guard, now), Some(Refusal::ClientBudget));
    // What it held when it was saved has paid for it.
    let later = now.after(10 * SECOND);
    page.answered(&guard, 200, &text(&key(1)), later);
    assert!(page.ticket(&guard, later).hold.is_none());
}

/// In observe mode the key that an old Django hands out after a logout reaches the client, so the
/// ledger must know it: else every such client passes for a sign of sessions issued elsewhere, and
/// the ledger is never warm.
#[test]
fn what_observe_mode_relays_after_a_logout_is_in_the_ledger() {
    let guard = guard(Policy { mode: Mode::Observe, ..policy() });
    Ask::get(v4(1), "/login/").answered(&guard, 200, &text(&key(1)), START);
    let logout = Ask::get(v4(1), "/logout/").with(&key(1));
    assert_eq!(logout.relayed(&guard, 200, &text(&key(2)), START), RelayCookie::Keep);
    let later = START.after(LIFETIME - SECOND);
    Ask::get(v4(1), "/cart/").with(&key(2)).answered(&guard, 200, &text(&key(2)), later);
    assert_eq!(guard.warmth(later.after(SECOND)), Warmth::Warm);
}

/// A /64's cell must not take the place where its /48's stands: what either owes would be lost.
#[test]
fn a_client_never_shares_a_place_with_its_wide_prefix() {
    let mut policy = policy();
    policy.client.capacity = 1000;
    policy.client.ipv6_tiers[0].factor = NonZeroU32::new(60_000).expect("not zero");
    for budget in &mut policy.budgets {
        budget.client = quota(1, SECOND);
        budget.site = quota(1_000_000, Duration::from_micros(1));
    }
    let guard = guard(policy);
    for wide in 0..300 {
        // The wide cell stands, and owes nothing any more.
        let now = START.after(20 * SECOND * u32::from(wide));
        Ask::get(v6(wide, 0), "/").answered(&guard, 200, &text(&key(u64::from(wide))), now);
        let later = now.after(10 * SECOND);
        let ask = Ask::get(v6(wide, 1), "/");
        ask.answered(&guard, 200, &text(&key(1000 + u64::from(wide))), later);
        assert_ne!(ask.refusal(&guard, later), None, "/48 number {wide}");
    }
}

/// A page that polls while its user logs in sends the old key a little later. Its answer arrives
/// after the one with the new key, and must not make the browser forget that.
#[test]
fn a_request_that_was_overtaken_by_a_login_does_not_log_out() {
    let guard = guard(policy());
    Ask::get(v4(1), "/cart/").answered(&guard, 200, &text(&key(1)), START);
    let poll = Ask::get(v4(1), "/poll/").with(&key(1));
    Ask::get(v4(1), "/login/").with(&key(1)).answered(&guard, 200, &text(&key(2)), START);
    assert_eq!(poll.relayed(&guard, 200, "-", START), RelayCookie::Keep);
    // A key that was deleted has none after it.
    let late = Ask::get(v4(1), "/poll/").with(&key(2));
    late.answered(&guard, 200, "", START);
    assert_eq!(late.relayed(&guard, 200, "-", START), RelayCookie::Delete);
}

/// 1.4 and 1.7 replace a session at logout, but the client never gets the new key: to it the
/// session has ended, and a cookie that it still has is deleted as after any other logout.
#[test]
fn a_cookie_that_outlived_its_logout_is_deleted() {
    let guard = guard(policy());
    Ask::get(v4(1), "/login/").answered(&guard, 302, &text(&key(1)), START);
    let logout = Ask::get(v4(1), "/logout/").with(&key(1));
    assert_eq!(logout.relayed(&guard, 200, &text(&key(2)), START), RelayCookie::Delete);
    let late = Ask::get(v4(1), "/read/").with(&key(1));
    assert_eq!(late.relayed(&guard, 200, "-", START), RelayCookie::Delete);
}

/// What is held does not leak. Whoever drips an upload would hold a budget for ever: after a while
/// the exchange is charged instead, whatever its answer will say, and the budget fills up again.
#[test]
fn an_exchange_that_takes_too_long_is_charged_before_its_end() {
    let guard = guard(policy());
    let mut tickets: Vec<_> =
        (0..4).map(|_| Ask::get(v4(1), "/x/").ticket(&guard, START)).collect();
    let ask = Ask::get(v4(1), "/x/");
    let later = START.after(10 * SECOND);
    assert_eq!(ask.refusal(&guard, later), Some(Refusal::ClientBudget), "four are held");
    for ticket in &mut tickets {
        guard.charge(ticket, later);
    }
    assert_eq!(guard.under_way(), UnderWay::default());
    assert_eq!(ask.refusal(&guard, later), Some(Refusal::ClientBudget), "four are charged");
    let leaked = later.after(4 * SECOND);
    let clean = evidence(&guard, 200, "-");
    let created = evidence(&guard, 200, &text(&key(1)));
    for (ticket, evidence) in tickets.into_iter().zip([&clean, &clean, &clean, &created]) {
        let _ = guard.settle(ticket, Outcome::Answered(evidence, None), leaked);
    }
    // Neither refunded nor charged twice, and what was created is paid for.
    for _ in 0..4 {
        Ask::get(v4(1), "/y/").answered(&guard, 200, &text(&key(2)), leaked);
    }
    assert_eq!(ask.refusal(&guard, leaked), Some(Refusal::ClientBudget));
    assert_eq!(ask.with(&key(1)).refusal(&guard, leaked), None);
}

/// A burst of an office's browsers is no flood: what stands in the way of one more is only what
/// others hold, so it waits; where charges stand in the way, it is refused at once.
#[test]
fn who_finds_a_budget_held_waits_and_who_finds_it_spent_is_refused() {
    let guard = guard(policy());
    let ask = Ask::get(v4(1), "/x/");
    let tickets: Vec<_> = (0..4).map(|_| ask.ticket(&guard, START)).collect();
    let waits = ask.admit(&guard, Patience::Left, START);
    assert!(matches!(waits, Verdict::Wait(WaitFor::Budget)), "{waits:?}");
    assert_eq!(ask.refusal(&guard, START), Some(Refusal::ClientBudget), "patience is spent");
    let created = evidence(&guard, 200, &text(&key(1)));
    for ticket in tickets {
        let _ = guard.settle(ticket, Outcome::Answered(&created, None), START);
    }
    let refused = ask.admit(&guard, Patience::Left, START);
    assert!(matches!(refused, Verdict::Refuse { .. }), "{refused:?}");
}

/// A page that answers without writing as often as an attacker likes, and then fails after it has
/// written: what passes with the budget spent because its class is clean is paid off all the same.
#[test]
fn a_clean_class_that_fails_is_charged() {
    let guard = guard(policy());
    let page = Ask::get(v4(1), "/page/");
    for _ in 0..8 {
        page.answered(&guard, 200, "-", START);
    }
    for _ in 0..4 {
        Ask::get(v4(1), "/cart/").answered(&guard, 500, "-", START);
    }
    let mut passed = 0;
    while page.refusal(&guard, START).is_none() {
        page.answered(&guard, 500, "-", START);
        passed += 1;
        assert!(passed < 100, "a record for each request, and none is charged");
    }
    assert_eq!(passed, 1);
}

/// A user whose pages are slow, or failed lately, logs out while one of them is under way, with no
/// budget left at all. Only of several such logouts at once all but one need a hold.
#[test]
fn a_logout_that_overtakes_a_page_needs_no_budget_whatever_came_before() {
    let guard = guard(policy());
    Ask::get(v4(1), "/cart/").answered(&guard, 200, &text(&key(1)), START);
    while Ask::get(v4(1), "/x/").refusal(&guard, START).is_none() {
        Ask::get(v4(1), "/x/").answered(&guard, 500, "-", START);
    }
    let page = Ask::get(v4(1), "/page/").with(&key(1));
    page.answered(&guard, 500, "-", START);
    // As many as go together, and one that cannot wait.
    let pages: Vec<_> = (0..5).map(|_| page.ticket(&guard, START)).collect();
    let ask = Ask::get(v4(1), "/logout/").with(&key(1));
    let logout = ask.ticket(&guard, START);
    assert!(matches!(logout.sent, Sent::Known(..)));
    assert_eq!(ask.refusal(&guard, START), Some(Refusal::ClientBudget));
    let settle = |ticket, set: &str| {
        let evidence = evidence(&guard, 200, set);
        let _ = guard.settle(ticket, Outcome::Answered(&evidence, None), START);
    };
    settle(logout, "-");
    settle(ask.ticket(&guard, START), "");
    pages.into_iter().for_each(|ticket| settle(ticket, "-"));
    assert_eq!(guard.under_way(), UnderWay::default());
}
