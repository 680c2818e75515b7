//! How slots are shared among more paths than there are, and what does not get in the way of that.

use super::super::super::fact::{Event, Fact, Write};
use super::super::super::image::{Image, Wall};
use super::*;

/// A pattern may match more paths than there are slots. A record that one of them leaves behind is
/// paid for, and the path that people use comes by a slot whatever others are proved.
#[test]
fn paths_beyond_the_slots_take_them_from_others_and_pay_for_what_they_leave() {
    let guard = guard(roomy());
    // So soon after each other that no budget fills up.
    let at = |number: u64| START.after(Duration::from_nanos(number));
    let junk = |number: u64| Ask::get(v4(1), &format!("/{number}/logout/"));
    let mut charged = 0;
    for number in 0..40 {
        let ask = junk(number);
        let settled = prove_with(&guard, &ask, 100 + number, &text(&key(200 + number)), at(number));
        charged += usize::from(is_charged(&settled));
        assert!(guard.sizes().1 <= 4, "never more spares than configured");
    }
    // The first three paths got all slots, one of them two; each later one left a record behind.
    assert_eq!((guard.sizes().1, charged), (3, 37));
    prove_with(&guard, &logout(2), 1, &text(&key(2)), at(40));
    assert_eq!(peek(&guard, &logout(2), at(41)), key(2));
    // Who was used lately keeps its slot.
    for number in 40..60 {
        prove_with(&guard, &junk(number), 100 + number, &text(&key(200 + number)), at(2 * number));
        assert_eq!(peek(&guard, &logout(2), at(2 * number + 1)), key(2));
    }
}

/// Whether what was held for an exchange was not refunded.
fn is_charged(settled: &Settlement) -> bool {
    let lost = |fact: &Fact| fact.event == Event::Wrote(Write::Uncertain);
    settled.facts.as_slice().iter().any(lost)
}

/// Made-up paths that were proved before the one that people use keep no slots from it for good.
#[test]
fn a_path_that_needs_more_slots_gets_those_of_paths_not_used_for_long() {
    let guard = guard(roomy());
    for number in 0..3 {
        let junk = Ask::get(v4(1), &format!("/{number}/logout/"));
        prove_with(&guard, &junk, 100 + number, &text(&key(200 + number)), START);
    }
    prove_with(&guard, &logout(2), 1, &text(&key(2)), START.after(SECOND));
    let count = |now: Moment| {
        let mut tickets = Vec::new();
        while let Verdict::Forward(ticket, _) = logout(2).admit(&guard, Patience::Left, now) {
            tickets.push(*ticket);
        }
        tickets
    };
    let few = count(START.after(2 * SECOND));
    assert_eq!(few.len(), 1, "the others were used lately");
    for ticket in few {
        let _ = guard.settle(ticket, Outcome::Unsent, START.after(2 * SECOND));
    }
    let later = START.after(601 * SECOND);
    let mut tickets = count(later);
    assert_eq!(tickets.len(), 4);
    // One of the four is its own, and one held nothing. What was never sent has left a record all
    // the same.
    let unsent = tickets.pop().expect("four");
    let mut charged = usize::from(is_charged(&guard.settle(unsent, Outcome::Unsent, later)));
    for (ticket, number) in tickets.into_iter().zip(300..) {
        let evidence = evidence(&guard, 200, &text(&key(number)));
        let settled = guard.settle(ticket, Outcome::Answered(&evidence, None), later);
        charged += usize::from(is_charged(&settled));
    }
    assert_eq!(charged, 2);
    assert!(guard.sizes().1 <= 4);
}

/// However slots have moved between paths: a clean stop and a start orphan no record.
#[test]
fn a_restart_leaves_each_path_the_spares_that_it_has() {
    let guard = guard(roomy());
    let junk = |number: u64| Ask::get(v4(1), &format!("/{number}/logout/"));
    for number in 0..5 {
        let at = START.after(Duration::from_nanos(number));
        prove_with(&guard, &junk(number), 100 + number, &text(&key(200 + number)), at);
    }
    let restarted = |guard: &Guard, now: Moment| {
        let wall = Wall { origin_unix_nanos: 0 };
        let bytes = guard.snapshot(1, wall, true, now);
        Guard::restored(roomy(), Image::decode(&bytes).expect("whole"), wall, 0, now)
    };
    assert_eq!(guard.sizes().1, 3, "the first path has two slots");
    let guard = restarted(&guard, START);
    assert_eq!(guard.sizes().1, 3);
    assert_eq!(peek(&guard, &junk(4), START), key(204));

    // The one path that is in use comes by all of them.
    let later = START.after(601 * SECOND);
    let asks = std::iter::repeat_with(|| junk(4).ticket(&guard, later)).take(4);
    let tickets: Vec<Ticket> = asks.collect();
    for (ticket, number) in tickets.into_iter().zip(300..) {
        let _ = settle(&guard, ticket, 200, &text(&key(number)));
    }
    assert_eq!(guard.sizes().1, 4);
    assert_eq!(restarted(&guard, later).sizes().1, 4);
}

#[test]
fn a_slot_that_is_leased_is_not_taken() {
    let guard = guard(roomy());
    let junk = |number: u64| Ask::get(v4(1), &format!("/{number}/logout/"));
    let mut tickets = Vec::new();
    for number in 0..3 {
        let ask = junk(number);
        prove_with(&guard, &ask, 100 + number, &text(&key(200 + number)), START);
        while let Verdict::Forward(ticket, _) = ask.admit(&guard, Patience::Left, START) {
            tickets.push((*ticket, ask.clone()));
        }
    }
    assert_eq!(tickets.len(), 4);
    assert!(is_gated(&guard, &logout(2), START), "no slot can be had");
    for (number, (ticket, ask)) in (300..).zip(tickets) {
        let _ = settle(&guard, ticket, 200, &text(&key(number)));
        let kept = ask.ticket(&guard, START);
        assert!(matches!(kept.sent, Sent::Spare(_)));
        let _ = guard.settle(kept, Outcome::Unsent, START);
        assert!(guard.spares.holds(guard.secret.key(&key(number))));
    }
}

/// A POST without content cannot be sent twice: those that may prove the path do not wait for it.
#[test]
fn unsafe_methods_do_not_keep_a_path_from_its_proof() {
    let guard = guard(roomy());
    let post = logout(1).method("POST").ticket(&guard, START);
    assert!(matches!(post.sent, Sent::Nothing) && post.hold.is_some());
    prove_with(&guard, &logout(2), 1, &text(&key(2)), START);
    let _ = settle(&guard, post, 200, &text(&key(3)));
    assert_eq!(peek(&guard, &logout(2).method("POST"), START), key(2), "and recycle then");
}

/// The second request may have ended the session that the client gets, and left another record:
/// one was paid for, so the key is not worth one more.
#[test]
fn the_key_of_a_proof_that_failed_needs_a_hold() {
    for second in [None, Some("-"), Some("other")] {
        let guard = guard(policy());
        let ticket = logout(1).ticket(&guard, START);
        let one = evidence(&guard, 200, &text(&key(1)));
        let two = second.map(|set| match set {
            "other" => evidence(&guard, 500, &text(&key(2))),
            set => evidence(&guard, 500, set),
        });
        let settled = guard.settle(ticket, Outcome::Answered(&one, two.as_ref()), START);
        assert_eq!(settled.cookie, RelayCookie::Keep, "{second:?}");
        let ticket = Ask::get(v4(1), "/cart/").with(&key(1)).ticket(&guard, START);
        assert!(matches!(ticket.sent, Sent::Known(..)), "{second:?}");
        assert!(ticket.hold.is_some(), "{second:?}");
        let _ = guard.settle(ticket, Outcome::Unsent, START);
    }
}

/// Junk that is not there must not push out what was learned of a view that writes: its first
/// request would be sent twice again.
#[test]
fn junk_paths_do_not_push_out_a_path_that_writes() {
    let guard = guard(roomy());
    let cart = Ask::get(v4(1), "/cart/logout/");
    prove_with(&guard, &cart, 1, &text(&key(1)), START);
    for number in 0..500 {
        let junk = Ask::get(v4(2), &format!("/{number}/logout/"));
        for _ in 0..4 {
            let _ = junk.answered(&guard, 404, "-", START.after(SECOND));
        }
    }
    assert!(is_gated(&guard, &cart, START.after(SECOND)));
}
