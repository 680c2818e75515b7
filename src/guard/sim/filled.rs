//! Sessions that are filled after a logout: told from empty ones where the application deletes
//! those.

use super::super::Guard;
use super::super::exchange::{Outcome, RelayCookie};
use super::super::fact::{Event, Write};
use super::super::key::SessionKey;
use super::super::moment::Moment;
use super::support::*;

/// A user of this number, who has just logged in.
fn user(guard: &Guard, number: u64) -> SessionKey {
    let client = v4(u32::try_from(number).expect("few"));
    Ask::get(client, "/login/").answered(guard, 302, &text(&key(number)), START);
    key(number)
}

/// As 1.8 answers the logout of a user.
fn delete(guard: &Guard, number: u64) {
    let key = user(guard, number);
    let logout = Ask::get(v4(1), "/logout/").with(&key);
    assert_eq!(logout.relayed(guard, 200, "", START), RelayCookie::Delete);
}

/// An anonymous logout of a path, and the same request again with the key that it got.
fn prove(guard: &Guard, first: &str, second: &str, now: Moment) -> RelayCookie {
    let ticket = Ask::get(v4(1), "/logout/").ticket(guard, now);
    let (first, second) = (evidence(guard, 200, first), evidence(guard, 200, second));
    guard.settle(ticket, Outcome::Answered(&first, Some(&second)), now).cookie
}

/// 1.7 and 1.8 carry the language over to a new session. On 1.7 that looks like the empty session
/// that it leaves after every logout; 1.8 deletes those.
#[test]
fn a_session_that_was_filled_after_a_logout_is_the_users_where_an_empty_one_is_deleted() {
    let guard = guard(policy());
    let (first, second) = (user(&guard, 1), user(&guard, 2));
    let logout = |key: &SessionKey, new| {
        Ask::get(v4(1), "/logout/").with(key).answered(&guard, 200, &text(&new), START)
    };
    assert_eq!(logout(&first, key(11)).cookie, RelayCookie::Delete, "nothing is known yet");
    delete(&guard, 3);
    let settled = logout(&second, key(12));
    assert_eq!(settled.cookie, RelayCookie::Keep);
    assert_eq!(settled.facts.as_slice()[0].event, Event::Wrote(Write::Rotated));
    // The new key is as good as the old one.
    assert!(Ask::get(v4(2), "/cart/").with(&key(12)).ticket(&guard, START).hold.is_none());
}

/// Somebody else's logout, an anonymous one, tells as much.
#[test]
fn the_proof_of_one_path_tells_how_the_application_treats_empty_sessions() {
    let guard = guard(policy());
    assert_eq!(prove(&guard, &text(&key(21)), "", START), RelayCookie::Strip);
    let key = user(&guard, 1);
    let logout = Ask::get(v4(1), "/bye/logout/").with(&key);
    assert_eq!(
        logout.relayed(&guard, 200, &text(&super::support::key(11)), START),
        RelayCookie::Keep
    );
}

/// A message after logout, kept in the session: a path that always fills it never shows a deletion
/// of its own, and would be recycled for ever, the messages lost.
#[test]
fn a_path_that_fills_the_session_is_noticed_where_empty_ones_are_deleted() {
    let guard = guard(policy());
    delete(&guard, 9);
    let proof = prove(&guard, &text(&key(21)), &text(&key(22)), START);
    assert_eq!(proof, RelayCookie::Strip, "the second request ended that session");
    for number in 0..3 {
        let now = START.after(SECOND * (number + 1));
        let new = text(&key(31 + u64::from(number)));
        let logout = Ask::get(v4(10 + number), "/logout/");
        let settled = logout.answered(&guard, 200, &new, now);
        assert_eq!(settled.cookie, RelayCookie::Keep, "the session is the client's");
        assert_eq!(settled.notice.is_some(), number == 2, "three clients make a habit");
    }
    // Gated: bare, against the budget.
    let gated = Ask::get(v4(20), "/logout/").ticket(&guard, START.after(10 * SECOND));
    assert!(gated.hold.is_some() && !gated.may_want_proof());
    assert_eq!(gated.cookie(), super::super::exchange::SendCookie::Remove);
}

/// 1.4 and 1.7 never delete: the path is recycled, whatever is in its sessions.
#[test]
fn without_a_deletion_a_new_key_after_a_logout_counts_as_an_empty_session() {
    let guard = guard(policy());
    assert_eq!(prove(&guard, &text(&key(21)), &text(&key(22)), START), RelayCookie::Strip);
    let key = user(&guard, 1);
    let logout = Ask::get(v4(1), "/logout/").with(&key);
    let new = text(&super::support::key(11));
    assert_eq!(logout.relayed(&guard, 200, &new, START), RelayCookie::Delete);
}

/// A view that deletes the cookie of somebody who has no session, as a home-made logout of any
/// release may, says nothing about the application.
#[test]
fn a_deletion_that_ends_no_live_session_proves_nothing() {
    let guard = guard(policy());
    let made_up = Ask::get(v4(1), "/logout/").with(&key(40));
    assert_eq!(made_up.relayed(&guard, 200, "", START), RelayCookie::Delete);
    let user = user(&guard, 1);
    let logout = Ask::get(v4(1), "/logout/").with(&user);
    assert_eq!(logout.relayed(&guard, 200, &text(&key(11)), START), RelayCookie::Delete);
}
