//! Attacks with the source in hand, one at a time, with scripted answers.

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
