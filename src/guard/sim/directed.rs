//! Attacks with the source in hand, one at a time, with scripted answers.

use super::super::UnderWay;
use super::super::exchange::Outcome;
use super::super::fact::Refusal;
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

/// Nobody is punished for a page that fails: a paid key stays paid after it, and it is not charged.
#[test]
fn a_failing_page_takes_nothing_from_a_paid_key_but_its_free_rotation() {
    let guard = guard(policy());
    Ask::get(v4(1), "/cart/").answered(&guard, 200, &text(&key(1)), START);
    let now = START.after(10 * SECOND);
    for _ in 0..50 {
        let page = Ask::get(v4(1), "/broken/").with(&key(1));
        assert!(page.ticket(&guard, now).hold.is_none());
        page.answered(&guard, 500, "-", now);
    }
    for _ in 0..4 {
        Ask::get(v4(1), "/cart/").answered(&guard, 500, "-", now);
    }
    assert_eq!(Ask::get(v4(1), "/cart/").refusal(&guard, now), Some(Refusal::ClientBudget));
}
