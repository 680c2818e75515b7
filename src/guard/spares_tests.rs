//! Each sentence of the rules of spares, through the guard, as the shell would see it.

use super::super::Guard;
use super::super::exchange::{Outcome, RelayCookie, Sent, Settlement, Ticket, Verdict, WaitFor};
use super::super::fact::Refusal;
use super::super::ledger::Patience;
use super::super::policy::Policy;
use super::super::sim::support::*;
use super::*;

fn roomy() -> Policy {
    let mut policy = policy();
    for budget in &mut policy.budgets {
        (budget.client, budget.site) = (quota(1000, SECOND), quota(1000, SECOND));
    }
    policy
}

fn logout(client: u32) -> Ask {
    Ask::get(v4(client), "/logout/")
}

/// Ends a proof: the first answer brings key `first`, the second what `second` says.
fn prove_with(guard: &Guard, ask: &Ask, first: u64, second: &str, now: Moment) -> Settlement {
    let ticket = ask.ticket(guard, now);
    assert!(matches!(ticket.sent, Sent::Proof(_)), "{:?}", ticket.sent);
    let one = evidence(guard, 200, &text(&key(first)));
    assert_eq!(guard.proof_wanted(&ticket, &one), Some(key(first)));
    let two = evidence(guard, 200, second);
    guard.settle(ticket, Outcome::Answered(&one, Some(&two)), now)
}

/// A site whose `/logout/` is proved; key 2 is its spare.
fn proved() -> Guard {
    let guard = guard(roomy());
    let settled = prove_with(&guard, &logout(1), 1, &text(&key(2)), START);
    assert_eq!(settled.cookie, RelayCookie::Strip);
    assert!(matches!(settled.notice, Some(Notice::PathFlushes { .. })));
    guard
}

fn sent(ticket: &Ticket) -> SessionKey {
    match &ticket.sent {
        Sent::Spare(lease) => *lease.key(),
        other => panic!("not recycled: {other:?}"),
    }
}

/// What a request would be sent with, without sending it.
fn peek(guard: &Guard, ask: &Ask, now: Moment) -> SessionKey {
    let ticket = ask.ticket(guard, now);
    let key = sent(&ticket);
    let _ = guard.settle(ticket, Outcome::Unsent, now);
    key
}

fn is_gated(guard: &Guard, ask: &Ask, now: Moment) -> bool {
    let ticket = ask.ticket(guard, now);
    let gated = matches!(ticket.sent, Sent::Nothing) && ticket.hold.is_some();
    let _ = guard.settle(ticket, Outcome::Unsent, now);
    gated
}

fn settle(guard: &Guard, ticket: Ticket, status: u16, set: &str) -> Settlement {
    let evidence = evidence(guard, status, set);
    guard.settle(ticket, Outcome::Answered(&evidence, None), START)
}

/// How many more a client may create just now.
fn left(guard: &Guard, client: u32) -> usize {
    let asks = std::iter::repeat_with(|| Ask::get(v4(client), "/x/"));
    let admit = |ask: Ask| ask.admit(guard, Patience::Spent, START);
    let tickets: Vec<_> = asks
        .map(admit)
        .map_while(|verdict| match verdict {
            Verdict::Forward(ticket, _) => Some(*ticket),
            Verdict::Refuse { .. }
            | Verdict::Challenge { .. }
            | Verdict::Answer { .. }
            | Verdict::Wait(_) => None,
        })
        .collect();
    let left = tickets.len();
    for ticket in tickets {
        let _ = guard.settle(ticket, Outcome::Unsent, START);
    }
    left
}

#[test]
fn there_are_never_more_spares_than_configured_over_all_paths() {
    let guard = guard(roomy());
    let paths: Vec<String> = (0..8).map(|n| format!("/{n}/logout/")).collect();
    let mut next = 100;
    for path in &paths {
        let ask = Ask::get(v4(1), path);
        if is_gated(&guard, &ask, START) {
            continue;
        }
        prove_with(&guard, &ask, next, &text(&key(next + 1)), START);
        next += 2;
    }
    let mut tickets = Vec::new();
    for path in paths.iter().cycle().take(80) {
        if let Verdict::Forward(ticket, _) =
            Ask::get(v4(2), path).admit(&guard, Patience::Left, START)
        {
            tickets.push(*ticket);
        }
    }
    let recycled = tickets.iter().filter(|ticket| matches!(ticket.sent, Sent::Spare(_))).count();
    assert_eq!(recycled, 4, "slots over all paths");
    for ticket in tickets.into_iter().filter(|ticket| matches!(ticket.sent, Sent::Spare(_))) {
        next += 1;
        let _ = settle(&guard, ticket, 200, &text(&key(next)));
        assert!(guard.sizes().1 <= 4);
    }
    assert_eq!(guard.sizes().1, 4);
}

#[test]
fn slots_are_shared_among_the_paths_that_flush() {
    let guard = guard(roomy());
    for (path, first) in [("/a/logout/", 10), ("/b/logout/", 20), ("/c/logout/", 30)] {
        let ask = Ask::get(v4(1), path);
        prove_with(&guard, &ask, first, &text(&key(first + 1)), START);
        assert_eq!(peek(&guard, &ask, START), key(first + 1));
    }
}

#[test]
fn a_spare_never_leaves_its_path() {
    let guard = proved();
    let other = Ask::get(v4(1), "/en/logout/");
    prove_with(&guard, &other, 11, "", START);
    for _ in 0..3 {
        let ticket = other.ticket(&guard, START);
        assert_ne!(sent(&ticket), key(2));
        let _ = settle(&guard, ticket, 200, "");
    }
    assert_eq!(peek(&guard, &logout(1), START), key(2));
}

#[test]
fn a_path_that_flushes_is_never_reached_bare() {
    let guard = proved();
    let tickets: Vec<_> = (0..2).map(|_| logout(1).ticket(&guard, START)).collect();
    let third = logout(2);
    let verdict = third.admit(&guard, Patience::Left, START);
    assert!(matches!(verdict, Verdict::Wait(WaitFor::Spare)));
    assert_eq!(third.refusal(&guard, START), Some(Refusal::NoSpare));
    for ticket in tickets {
        let settled = settle(&guard, ticket, 200, "-");
        assert_eq!(settled.wake, Some(WaitFor::Spare));
    }
    assert_eq!(third.refusal(&guard, START), None);
}

/// Four slots are idle, and yet one logout at a time goes on, and the next not before the application
/// had three times as long for others.
#[test]
fn recycled_logouts_leave_the_application_time_for_others() {
    let mut policy = roomy();
    policy.recycle.spacing = 3;
    let guard = guard(policy);
    prove_with(&guard, &logout(1), 1, &text(&key(2)), START);
    let first = logout(1).ticket(&guard, START);
    let later = |millis| START.after(Duration::from_millis(millis));
    let asks = |millis| logout(2).admit(&guard, Patience::Left, later(millis));
    assert!(matches!(asks(9), Verdict::Wait(WaitFor::Spare)));
    let before = left(&guard, 3);
    assert_eq!(logout(2).refusal(&guard, later(9)), Some(Refusal::NoSpare));
    assert_eq!(left(&guard, 3), before, "who is refused charges nobody");
    let answer = evidence(&guard, 200, &text(&key(10)));
    let settled = guard.settle(first, Outcome::Answered(&answer, None), later(10));
    assert_eq!(settled.wake, None, "it would be for nothing");
    assert!(matches!(asks(39), Verdict::Wait(WaitFor::Spare)));
    let Verdict::Forward(ticket, _) = asks(40) else { panic!("it has its turn") };
    assert_eq!(sent(&ticket), key(10), "the same spare: no other was made meanwhile");
    let settled = guard.settle(ticket, Outcome::Unsent, later(50));
    assert_eq!(settled.wake, Some(WaitFor::Spare), "the application saw nothing of it");
}

#[test]
fn an_empty_slot_sends_a_placeholder_that_is_fresh_each_time() {
    let guard = proved();
    let _ = logout(1).answered(&guard, 200, "", START);
    let mut seen = Vec::new();
    for _ in 0..20 {
        let ticket = logout(1).ticket(&guard, START);
        let key = sent(&ticket);
        assert!(!seen.contains(&key) && key != super::super::sim::support::key(2));
        seen.push(key);
        let _ = settle(&guard, ticket, 200, "-");
    }
}

#[test]
fn a_new_key_replaces_the_spare_and_is_withheld() {
    let guard = proved();
    let before = left(&guard, 1);
    for number in 10..40 {
        let relayed = logout(1).relayed(&guard, 200, &text(&key(number)), START);
        assert_eq!(relayed, RelayCookie::Strip);
        assert_eq!(peek(&guard, &logout(1), START), key(number));
    }
    assert_eq!(left(&guard, 1), before, "nothing was charged");
    assert_eq!(guard.sizes(), (0, 1), "a spare is not in the ledger");
}

#[test]
fn a_deletion_leaves_a_placeholder_and_costs_nothing() {
    let guard = proved();
    let before = left(&guard, 1);
    assert_eq!(logout(1).relayed(&guard, 200, "", START), RelayCookie::Strip);
    assert_ne!(peek(&guard, &logout(1), START), key(2));
    assert_eq!((left(&guard, 1), guard.sizes().1), (before, 0));
}

#[test]
fn no_cookie_below_500_leaves_the_spare_as_it_was() {
    let guard = proved();
    let before = left(&guard, 1);
    for status in [200, 302, 403, 405, 499] {
        assert_eq!(logout(1).relayed(&guard, status, "-", START), RelayCookie::Keep);
    }
    assert_eq!(left(&guard, 1), before);
    assert_eq!(peek(&guard, &logout(1), START), key(2));
}

#[test]
fn a_failing_answer_without_a_cookie_or_none_at_all_loses_the_spare_and_is_charged() {
    for status in [Some(500), Some(502), None] {
        let guard = proved();
        let before = left(&guard, 1);
        let ticket = logout(1).ticket(&guard, START);
        assert_eq!(sent(&ticket), key(2));
        match status {
            Some(status) => drop(settle(&guard, ticket, status, "-")),
            None => drop(guard.settle(ticket, Outcome::NoAnswer, START)),
        }
        assert_eq!((left(&guard, 1), guard.sizes().1), (before - 1, 0), "{status:?}");
        assert_ne!(peek(&guard, &logout(1), START), key(2));
    }
}

#[test]
fn an_answer_of_another_shape_loses_the_spare_and_is_charged() {
    let guard = proved();
    let before = left(&guard, 1);
    assert_eq!(logout(1).relayed(&guard, 200, "short", START), RelayCookie::Strip);
    assert_eq!((left(&guard, 1), guard.sizes().1), (before - 1, 0));
}

#[test]
fn a_failing_answer_with_a_new_key_replaces_the_spare() {
    let guard = proved();
    let before = left(&guard, 1);
    assert_eq!(logout(1).relayed(&guard, 500, &text(&key(3)), START), RelayCookie::Strip);
    assert_eq!(peek(&guard, &logout(1), START), key(3));
    assert_eq!(left(&guard, 1), before);
}

#[test]
fn a_request_that_was_never_sent_gives_the_spare_back_and_costs_nothing() {
    let guard = proved();
    let before = left(&guard, 1);
    let ticket = logout(1).ticket(&guard, START);
    let _ = guard.settle(ticket, Outcome::Unsent, START);
    assert_eq!(left(&guard, 1), before);
    assert_eq!(peek(&guard, &logout(1), START), key(2));
}

/// Where every answer saves the session, one request that is turned away before the view (405, no
/// CSRF token) would else switch recycling off for everybody.
#[test]
fn the_same_key_with_an_error_loses_the_spare_and_leaves_the_path() {
    let guard = proved();
    let ticket = logout(1).method("DELETE").ticket(&guard, START);
    let same = text(&sent(&ticket));
    let settled = settle(&guard, ticket, 403, &same);
    assert_eq!((settled.cookie, settled.notice), (RelayCookie::Strip, None));
    assert!(!is_gated(&guard, &logout(2), START));
    assert_ne!(text(&peek(&guard, &logout(2), START)), same);
}

#[test]
fn the_same_key_burns_the_spare_withholds_the_cookie_and_gates_the_path() {
    let guard = proved();
    let before = left(&guard, 1);
    let settled = logout(1).answered(&guard, 200, &text(&key(2)), START);
    assert_eq!(settled.cookie, RelayCookie::Strip);
    assert!(matches!(settled.notice, Some(Notice::PathWrites { .. })));
    assert_eq!((left(&guard, 1), guard.sizes().1), (before - 1, 0));
    let gate = guard.policy().recycle.gate_for;
    assert!(is_gated(&guard, &logout(2), START.after(gate - SECOND)));
    assert!(!is_gated(&guard, &logout(2), START.after(gate)));
}

#[test]
fn several_unrelated_clients_that_write_after_a_deleting_logout_gate_the_path_with_a_notice() {
    let guard = proved();
    let _ = logout(1).answered(&guard, 200, "", START);
    let write = |client, number| logout(client).answered(&guard, 200, &text(&key(number)), START);
    // One client alone never does, however often.
    for number in 20..40 {
        let settled = write(1, number);
        assert_eq!((settled.cookie, settled.notice), (RelayCookie::Keep, None));
    }
    assert_eq!(write(2, 50).notice, None);
    let before = left(&guard, 3);
    let settled = write(3, 51);
    assert!(matches!(settled.notice, Some(Notice::WritesAfterLogout { .. })));
    assert_eq!(left(&guard, 3), before - 1, "what it wrote is charged");
    assert!(is_gated(&guard, &logout(4), START));
}

#[test]
fn an_expired_spare_is_a_placeholder() {
    let guard = proved();
    let late = START.after(LIFETIME);
    let before = logout(1).ticket(&guard, late.before(SECOND));
    assert_eq!(sent(&before), key(2));
    let _ = guard.settle(before, Outcome::Unsent, START);
    assert_ne!(peek(&guard, &logout(1), late), key(2));
    assert_eq!(guard.sizes().1, 0);
}

#[test]
fn the_life_of_a_spare_is_the_configured_one_not_the_cookies() {
    let mut policy = roomy();
    policy.session.lifetime = 60 * SECOND;
    let guard = super::super::sim::support::guard(policy);
    // Its cookie says fourteen days.
    prove_with(&guard, &logout(1), 1, &text(&key(2)), START);
    assert_ne!(peek(&guard, &logout(1), START.after(60 * SECOND)), key(2));
}

#[test]
fn a_client_that_sends_a_spares_key_gets_it_taken_out() {
    for unknown in super::super::policy::Unknown::ALL {
        let guard = proved();
        let mut policy = roomy();
        policy.session.unknown = unknown;
        let guard = Guard { policy, ..guard };
        for target in ["/read/", "/login/"] {
            let ticket = Ask::get(v4(9), target).with(&key(2)).ticket(&guard, START);
            assert!(matches!(ticket.sent, Sent::Nothing), "{unknown:?} {target}");
            // While it is under way, too.
            let lease = logout(1).ticket(&guard, START);
            let ticket = Ask::get(v4(9), target).with(&key(2)).ticket(&guard, START);
            assert!(matches!(ticket.sent, Sent::Nothing), "{unknown:?} {target}");
            let _ = guard.settle(lease, Outcome::Unsent, START);
        }
    }
}

#[test]
fn a_chain_starts_only_from_a_request_without_a_session() {
    let guard = guard(roomy());
    // An unknown key may be that of a user: its logout goes through as it came.
    let ticket = logout(1).with(&key(70)).ticket(&guard, START);
    assert!(matches!(ticket.sent, Sent::Unknown(_)));
    let _ = settle(&guard, ticket, 200, &text(&key(71)));
    assert_eq!(guard.sizes().1, 0);
}

#[test]
fn only_plain_requests_recycle() {
    let guard = proved();
    let plain = logout(1);
    for ask in [
        Ask { body: true, ..plain.clone() },
        Ask { authorization: true, ..plain.clone() },
        Ask::get(v4(1), "/logout/?next=/&x=1"),
        Ask::get(v4(1), "/logout/?n%65xt=/"),
    ] {
        assert!(is_gated(&guard, &ask, START), "{ask:?}");
    }
    assert!(!is_gated(&guard, &Ask::get(v4(1), "/logout/?next=/"), START));
}

#[test]
fn a_view_that_writes_proves_nothing_and_its_cookie_is_relayed() {
    let guard = guard(roomy());
    let before = left(&guard, 1);
    let settled = prove_with(&guard, &logout(1), 1, &text(&key(1)), START);
    assert_eq!(settled.cookie, RelayCookie::Keep);
    assert!(matches!(settled.notice, Some(Notice::PathWrites { .. })));
    assert_eq!(left(&guard, 1), before - 1, "the record is the client's, and charged to it");
    assert_eq!(guard.sizes(), (1, 0));
    assert!(is_gated(&guard, &logout(2), START));
    // The client's key is one like any other.
    let mine = Ask::get(v4(1), "/read/").with(&key(1)).ticket(&guard, START);
    assert!(matches!(mine.sent, Sent::Known(..)) && mine.hold.is_none());
}

#[test]
fn a_proof_that_deletes_costs_nothing_and_leaves_no_spare() {
    let guard = guard(roomy());
    let before = left(&guard, 1);
    let settled = prove_with(&guard, &logout(1), 1, "", START);
    assert_eq!(settled.cookie, RelayCookie::Strip);
    assert_eq!((left(&guard, 1), guard.sizes()), (before, (0, 0)));
    assert!(matches!(logout(1).ticket(&guard, START).sent, Sent::Spare(_)));
}

#[test]
fn a_first_answer_that_fails_or_sets_nothing_asks_for_no_proof() {
    let guard = guard(roomy());
    for (status, set) in [(500, text(&key(1))), (200, String::from("-")), (200, String::new())] {
        let ticket = logout(1).ticket(&guard, START);
        assert_eq!(guard.proof_wanted(&ticket, &evidence(&guard, status, &set)), None);
        let _ = guard.settle(ticket, Outcome::Unsent, START);
    }
}

#[test]
fn an_unproved_path_is_tried_by_one_exchange_at_a_time() {
    let guard = guard(roomy());
    let first = logout(1).ticket(&guard, START);
    assert!(matches!(logout(2).admit(&guard, Patience::Left, START), Verdict::Wait(_)));
    assert_eq!(logout(2).refusal(&guard, START), Some(Refusal::NoSpare));
    let _ = settle(&guard, first, 404, "-");
    assert_eq!(logout(2).refusal(&guard, START), None);
}

#[test]
fn a_path_that_stays_clean_is_no_longer_watched_one_exchange_at_a_time() {
    let guard = guard(roomy());
    for _ in 0..3 {
        let ticket = logout(1).ticket(&guard, START);
        assert!(matches!(ticket.sent, Sent::Proof(_)));
        let _ = settle(&guard, ticket, 200, "-");
    }
    let both = [logout(1).ticket(&guard, START), logout(2).ticket(&guard, START)];
    let [first, second] = both;
    assert!(matches!((&first.sent, &second.sent), (Sent::Nothing, Sent::Nothing)));
    let _ = settle(&guard, first, 200, "-");
    // One that writes after all puts it back under watch.
    let _ = settle(&guard, second, 200, &text(&key(1)));
    assert!(matches!(logout(1).ticket(&guard, START).sent, Sent::Proof(_)));
}

#[test]
fn unsafe_methods_never_prove_and_are_sent_once() {
    let guard = guard(roomy());
    for method in ["POST", "DELETE", "PUT", "PATCH", "get", "BREW"] {
        let ask = logout(1).method(method);
        let ticket = ask.ticket(&guard, START);
        let first = evidence(&guard, 200, &text(&key(1)));
        assert_eq!(guard.proof_wanted(&ticket, &first), None, "{method}");
        let settled = guard.settle(ticket, Outcome::Answered(&first, None), START);
        assert_eq!(settled.cookie, RelayCookie::Keep);
    }
    assert_eq!(guard.sizes().1, 0);
}

#[test]
fn junk_paths_are_bounded_and_do_not_keep_the_real_one_from_its_proof() {
    let guard = guard(roomy());
    for number in 0..500 {
        let junk = Ask::get(v4(2), &format!("/{number}/logout/"));
        let _ = junk.answered(&guard, 404, "-", START);
    }
    assert!(guard.spares.table.lock().paths.len() <= Table::UNPROVED);
    prove_with(&guard, &logout(1), 1, &text(&key(2)), START);
    for number in 500..1000 {
        let junk = Ask::get(v4(2), &format!("/{number}/logout/"));
        let _ = junk.answered(&guard, 404, "-", START);
    }
    assert_eq!(peek(&guard, &logout(1), START), key(2), "a proved path stays");
    assert!(guard.spares.table.lock().paths.len() <= Table::UNPROVED + 1);
}

#[test]
fn a_path_in_use_is_not_given_up_for_junk() {
    let guard = guard(roomy());
    let ticket = logout(1).ticket(&guard, START);
    for number in 0..500 {
        let junk = Ask::get(v4(2), &format!("/{number}/logout/"));
        let _ = junk.answered(&guard, 404, "-", START);
    }
    let (one, two) = (evidence(&guard, 200, &text(&key(1))), evidence(&guard, 200, ""));
    let settled = guard.settle(ticket, Outcome::Answered(&one, Some(&two)), START);
    assert!(matches!(settled.notice, Some(Notice::PathFlushes { path, .. }) if path == "/logout/"));
}

#[test]
fn a_recycled_exchange_holds_a_reservation_and_is_refused_without_one() {
    let guard = guard(policy());
    prove_with(&guard, &logout(1), 1, &text(&key(2)), START);
    for _ in 0..4 {
        let _ = Ask::get(v4(1), "/cart/").answered(&guard, 500, "-", START);
    }
    assert_eq!(logout(1).refusal(&guard, START), Some(Refusal::ClientBudget));
    // The slot that it had taken is free again.
    assert_eq!(guard.under_way(), super::super::UnderWay::default());
    assert_eq!(logout(2).refusal(&guard, START), None);
}

/// What is remembered of a path has the path in it: made-up ones must not fill the memory.
#[test]
fn a_path_of_more_than_a_kilobyte_is_gated_and_not_remembered() {
    let guard = guard(roomy());
    let path = |length: usize| format!("/{}/logout/", "a".repeat(length - "//logout/".len()));
    let longest = Ask::get(v4(1), &path(Spares::LONGEST_PATH));
    let _ = prove_with(&guard, &longest, 1, &text(&key(2)), START);
    let longer = Ask::get(v4(1), &path(Spares::LONGEST_PATH + 1));
    assert!(is_gated(&guard, &longer, START));
    assert_eq!(guard.spares.table.lock().paths.len(), 1);
}

#[path = "spares/sharing_tests.rs"]
mod sharing;
