//! Another policy while exchanges are under way: what is kept, and what must not come of it.

use std::time::Duration;

use super::super::challenge::Challenged;
use super::super::exchange::{Outcome, RelayCookie, SendCookie, Sent, Verdict};
use super::super::fact::{Missed, Refusal, Warmth};
use super::super::image::{Image, Wall};
use super::super::ledger::Patience;
use super::super::moment::Moment;
use super::super::policy::{Challenge, KeyShape, Policy, Quota};
use super::super::{Guard, UnderWay};
use super::support::*;

fn with(change: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = policy();
    change(&mut policy);
    policy
}

fn with_quota(client: Quota, site: Quota) -> Policy {
    with(|policy| {
        policy.budgets[0].client = client;
        policy.budgets[0].site = site;
    })
}

/// Creates for this client until it is refused; how often.
fn spend(guard: &Guard, client: u32, now: Moment) -> usize {
    let ask = Ask::get(v4(client), "/cart/");
    let mut created = 0;
    while ask.refusal(guard, now).is_none() {
        ask.answered(guard, 200, &text(&key(1000 + created as u64)), now);
        created += 1;
    }
    created
}

/// What was owed in sessions stays owed, at the new rate, whichever way it changes.
#[test]
fn a_changed_rate_leaves_as_many_sessions_owed() {
    for (period, after) in [(10 * SECOND, 10 * SECOND), (SECOND / 10, SECOND / 10)] {
        let old = guard(policy());
        assert_eq!(spend(&old, 1, START), 4);
        // Two are paid off at the old rate.
        let now = START.after(2 * SECOND);
        let new = old.reconfigured(with_quota(quota(4, period), quota(100, SECOND)), now);
        assert_eq!(spend(&new, 1, now), 2);
        let just_before = now.after(after).before(Duration::from_nanos(1));
        assert_eq!(spend(&new, 1, just_before), 0);
        assert_eq!(spend(&new, 1, now.after(after)), 1);
    }
}

/// Of a client's debt that was taken in from a state file it is not known whose it is, until it is
/// met with: until then it leaks at the rate of the start.
#[test]
fn a_changed_rate_leaves_as_many_sessions_owed_that_a_state_file_remembers() {
    let before = guard(policy());
    assert_eq!(spend(&before, 1, START), 4);
    let wall = Wall { origin_unix_nanos: 0 };
    let bytes = before.snapshot(1, wall, true, START);
    let image = Image::decode(&bytes).expect("whole");
    let old = Guard::restored(policy(), image, wall, 7, START);
    let slower = with_quota(quota(4, 10 * SECOND), quota(100, SECOND));
    let new = old.reconfigured(slower, START);
    let met = START.after(2 * SECOND);
    assert_eq!(spend(&new, 1, met), 2);
    assert_eq!(spend(&new, 1, met.after(9 * SECOND)), 0);
    assert_eq!(spend(&new, 1, met.after(10 * SECOND)), 1);
    // And back, now that it was met with.
    let back = new.reconfigured(policy(), met.after(10 * SECOND));
    assert_eq!(spend(&back, 1, met.after(10 * SECOND)), 0);
    assert_eq!(spend(&back, 1, met.after(11 * SECOND)), 1);
}

/// There and back again, and nothing has changed.
#[test]
fn a_reload_and_its_reversal_refill_nothing() {
    let old = guard(policy());
    assert_eq!(spend(&old, 1, START), 4);
    assert_eq!(spend(&old, 2, START), 4);
    let strict = old.reconfigured(with_quota(quota(1, 60 * SECOND), quota(1, 60 * SECOND)), START);
    assert_eq!(Ask::get(v4(3), "/cart/").refusal(&strict, START), Some(Refusal::SiteBudget));
    // What comes to light late, of a key that was admitted before, makes no debt smaller.
    strict.budgets.charge_late(0, v4(1), START);
    let back = strict.reconfigured(policy(), START);
    assert_eq!(spend(&back, 1, START.after(SECOND)), 0);
    assert_eq!(spend(&back, 1, START.after(2 * SECOND)), 1);
}

#[test]
fn a_larger_burst_brings_the_difference_and_a_smaller_one_nothing() {
    let guard = guard(policy());
    assert_eq!(spend(&guard, 1, START), 4);
    let larger = guard.reconfigured(with_quota(quota(6, SECOND), quota(20, SECOND / 2)), START);
    assert_eq!(spend(&larger, 1, START), 2);
    let smaller = larger.reconfigured(with_quota(quota(2, SECOND), quota(8, SECOND / 2)), START);
    assert_eq!(spend(&smaller, 1, START.after(4 * SECOND)), 0, "six are owed, two too many");
    assert_eq!(spend(&smaller, 1, START.after(5 * SECOND)), 1);
}

/// A budget that is renamed is another one; under its old name it finds its debt.
#[test]
fn a_budget_that_comes_back_finds_its_debt() {
    let old = guard(policy());
    assert_eq!(spend(&old, 1, START), 4);
    let ticket = Ask::get(v4(2), "/cart/").ticket(&old, START);
    let renamed = with(|policy| policy.budgets[0].name = String::from("other"));
    let other = old.reconfigured(renamed, START);
    assert_eq!(spend(&other, 1, START), 4);
    // What was held of it when it went is charged to it.
    let created = evidence(&old, 200, &text(&key(1)));
    let _ = old.settle(ticket, Outcome::Answered(&created, None), START);
    assert_eq!(spend(&other, 2, START), 4);
    let back = other.reconfigured(policy(), START);
    assert_eq!((spend(&back, 1, START), spend(&back, 2, START)), (0, 3));
    assert_eq!(back.under_way(), UnderWay::default());
}

/// An exchange that began under one policy and ends under another takes what it holds with it.
#[test]
fn what_is_held_counts_under_the_new_policy_and_settles_with_the_old_guard() {
    for keeps in [true, false] {
        let old = guard(policy());
        let tickets: Vec<_> =
            (0..3).map(|_| Ask::get(v6(1, 1), "/cart/").ticket(&old, START)).collect();
        // Other tiers, other ranks, another order of the budgets.
        let new = old.reconfigured(
            with(|policy| {
                policy.budgets.swap(0, 1);
                policy.budgets[1].client = quota(4, 20 * SECOND);
                policy.rules[0].budget = 1;
                policy.rules[1].budget = 0;
            }),
            START,
        );
        assert_eq!(new.under_way().held, 3);
        // What no rule names draws on the first budget, which is the one for logins now.
        let logout = Ask::get(v6(1, 1), "/junk/logout/?x=1");
        let one = logout.ticket(&new, START);
        assert_eq!(logout.refusal(&new, START), Some(Refusal::ClientBudget));
        for ticket in tickets {
            let created = evidence(&old, 200, &text(&key(1)));
            let nothing = evidence(&old, 200, "-");
            let evidence = if keeps { &created } else { &nothing };
            let _ = old.settle(ticket, Outcome::Answered(evidence, None), START);
        }
        let _ = new.settle(one, Outcome::Unsent, START);
        assert_eq!(new.under_way(), UnderWay::default());
        let left = (0..).take_while(|_| new.budgets.charge_late(1, v6(1, 1), START)).count();
        assert_eq!(left, if keeps { 1 } else { 4 });
    }
}

/// The /48 is counted by its own factor, whichever tiers there are beside it.
#[test]
fn tiers_that_change_refill_no_prefix() {
    let old = guard(policy());
    // Twice a client's four.
    for client in 0..2 {
        for number in 0..4 {
            let ask = Ask::get(v6(1, client), "/cart/");
            ask.answered(&old, 200, &text(&key(number)), START);
        }
    }
    let wider = |factor| {
        with(|policy| {
            policy.client.ipv6_tiers[0].factor = count(factor);
            let narrow = super::super::policy::Tier { prefix: 56, factor: count(100) };
            policy.client.ipv6_tiers.insert(0, narrow);
            policy.budgets[0].site = quota(1000, SECOND);
        })
    };
    let new = old.reconfigured(wider(2), START);
    assert_eq!(Ask::get(v6(1, 3), "/cart/").refusal(&new, START), Some(Refusal::WideBudget));
    let twice = new.reconfigured(wider(4), START);
    let ask = Ask::get(v6(1, 3), "/cart/");
    let more = (0..10).take_while(|_| {
        let free = ask.refusal(&twice, START).is_none();
        if free {
            ask.answered(&twice, 200, &text(&key(1)), START);
        }
        free
    });
    assert_eq!(more.count(), 4, "a client's own burst");
    assert!(old.policy().needs_restart(&wider(2)).is_empty());
}

/// A table that is grown or shrunk, or a widest prefix that moves, would forget.
#[test]
fn what_only_a_restart_can_change_is_named_and_stays() {
    let asked = with(|policy| {
        policy.session.capacity += 1;
        policy.client.capacity += 1;
        policy.learned.capacity += 8;
        policy.client.ipv6_tiers[0].prefix = 40;
        policy.client.ipv6_prefix = 56;
        policy.client.ipv4_prefix = 24;
    });
    let old = guard(policy());
    assert_eq!(
        old.policy().needs_restart(&asked),
        [
            "session.capacity",
            "client.capacity",
            "client.ipv6_tiers",
            "client.ipv6_prefix",
            "learned.capacity"
        ]
    );
    let new = old.reconfigured(asked, START);
    assert!(old.policy().needs_restart(new.policy()).is_empty());
    assert_eq!(new.policy().client.ipv6_prefix, 64);
    assert_eq!(new.policy().client.ipv4_prefix, 24);
    let narrower = with(|policy| policy.client.ipv6_prefix = 56);
    assert!(old.policy().needs_restart(&narrower).is_empty());
}

/// An anonymous logout of a path, and the same request again with the key that it got.
fn prove(guard: &Guard, path: &str, first: u64, now: Moment) {
    let ticket = Ask::get(v4(8), path).ticket(guard, now);
    let one = evidence(guard, 200, &text(&key(first)));
    let two = evidence(guard, 200, &text(&key(first + 1)));
    let _ = guard.settle(ticket, Outcome::Answered(&one, Some(&two)), now);
}

#[test]
fn sessions_spares_regulars_and_learned_pages_are_kept() {
    let old = guard(policy());
    Ask::get(v4(1), "/cart/").answered(&old, 200, &text(&key(1)), START);
    prove(&old, "/logout/", 20, START);
    for _ in 0..8 {
        Ask::get(v4(2), "/page/").answered(&old, 200, "-", START);
    }
    old.regulars.note(v4(5), START);
    let busy = Ask::get(v4(1), "/logout/").with(&key(1)).ticket(&old, START);
    let new = old.reconfigured(
        with(|policy| {
            policy.rules.reverse();
            policy.recycle.spares = 2;
            policy.learned.quiet = SECOND;
        }),
        START,
    );
    // Its logout is still under way.
    let page = Ask::get(v4(1), "/page/").with(&key(1));
    assert!(matches!(page.admit(&new, Patience::Left, START), Verdict::Wait(_)));
    let _ = old.settle(busy, Outcome::Unsent, START);
    let ticket = page.ticket(&new, START);
    assert!(matches!(ticket.sent, Sent::Known(..)) && ticket.hold.is_none());
    let _ = new.settle(ticket, Outcome::Unsent, START);

    let logout = Ask::get(v4(3), "/logout/").ticket(&new, START);
    assert!(matches!(logout.cookie(), SendCookie::Replace(spare) if spare == key(21)));
    let _ = new.settle(logout, Outcome::Unsent, START);
    assert!(new.regulars.know(v4(5), START));
    for client in 10..20 {
        spend(&new, client, START);
    }
    assert!(Ask::get(v4(3), "/page/").ticket(&new, START).passes);
}

#[test]
fn a_challenge_that_was_met_counts_for_as_long_as_it_was_made_to() {
    let challenging = |hours: u32| {
        with(|policy| {
            policy.challenge = Challenge::Cookie;
            policy.challenge_cookie.max_age = hours * 3600 * SECOND;
        })
    };
    const UNIX: u64 = 1_800_000_000;
    let old = guard(challenging(2));
    let sent = old.challenge(v4(1), UNIX);
    let new = old.reconfigured(challenging(1), START);
    let challenged = |unix| {
        let cookies = std::iter::once(sent.cookie.as_bytes());
        new.challenged(v4(1), cookies, None, true, unix)
    };
    assert!(matches!(challenged(UNIX + 10), Challenged::Passed(_)));
    assert!(matches!(challenged(UNIX + 7199), Challenged::Passed(_)));
    assert!(!matches!(challenged(UNIX + 7200), Challenged::Passed(_)));
    // No two are alike, whichever guard makes them.
    assert_ne!(new.challenge(v4(1), UNIX).cookie[8..24], old.challenge(v4(1), UNIX).cookie[8..24]);
}

#[test]
fn fewer_spares_go_when_no_exchange_uses_them_and_more_come_back() {
    let spares = |number| with(|policy| policy.recycle.spares = number);
    let guard = guard(policy());
    for (path, first) in [("/logout/", 20), ("/en/logout/", 30), ("/de/logout/", 40)] {
        prove(&guard, path, first, START);
    }
    assert_eq!(guard.sizes().1, 3);
    let busy = Ask::get(v4(1), "/logout/").ticket(&guard, START);
    let fewer = guard.reconfigured(spares(1), START);
    assert!(fewer.sizes().1 <= 2, "the one that is used, and no other");
    // It comes back whole, and is the one that is left.
    let renewed = evidence(&guard, 200, &text(&key(50)));
    let _ = guard.settle(busy, Outcome::Answered(&renewed, None), START);
    let ticket = Ask::get(v4(1), "/logout/").ticket(&fewer, START);
    let _ = fewer.settle(ticket, Outcome::Unsent, START);
    assert_eq!(fewer.sizes().1, 1);
    let more = fewer.reconfigured(spares(4), START);
    prove(&more, "/fr/logout/", 60, START);
    assert_eq!(more.sizes().1, 2);
    assert_eq!(more.under_way(), UnderWay::default());
}

/// What was issued before is remembered for as long as was configured then.
#[test]
fn a_longer_lifetime_makes_the_ledger_cold_and_a_shorter_one_does_not() {
    let lasting = |lifetime| with(|policy| policy.session.lifetime = lifetime);
    let warm = START.after(LIFETIME);
    let guard = guard(policy());
    assert_eq!(guard.warmth(warm), Warmth::Warm);
    let shorter = guard.reconfigured(lasting(LIFETIME / 2), warm);
    assert_eq!(shorter.warmth(warm), Warmth::Warm);
    let longer = shorter.reconfigured(lasting(LIFETIME), warm);
    let why = Missed::LongerLifetime;
    assert!(matches!(longer.warmth(warm), Warmth::Cold { missed, .. } if missed == why));
    // Of an exchange that began before, too, the key is remembered for as long as is waited.
    let ticket = Ask::get(v4(1), "/cart/").ticket(&shorter, warm);
    let bare = format!("sessionid={}; Path=/", text(&key(1)));
    let session = &shorter.policy().session;
    let evidence =
        super::super::set_cookie::Evidence::read(200, std::iter::once(bare.as_bytes()), session);
    let _ = shorter.settle(ticket, Outcome::Answered(&evidence, None), warm);
    let late = warm.after(LIFETIME - SECOND);
    let ticket = Ask::get(v4(1), "/page/").with(&key(1)).ticket(&longer, late);
    assert!(matches!(ticket.sent, Sent::Known(..)));
}

/// The operator mistakes the cookie's name, notices, and mends it: no session is lost. Meanwhile
/// the values of the other cookie, which anybody may collect, stand for nothing.
#[test]
fn keys_are_those_of_the_cookie_that_they_were_issued_in() {
    let named = |name: &str| with(|policy| policy.session.cookie = String::from(name));
    let warm = START.after(LIFETIME);
    let right = guard(policy());
    Ask::get(v4(1), "/cart/").answered(&right, 200, &text(&key(1)), warm);
    prove(&right, "/logout/", 20, warm);
    assert_eq!(right.warmth(warm), Warmth::Warm);
    let wrong = right.reconfigured(named("csrftoken"), warm);
    assert_eq!(wrong.sizes().1, 0, "its spares are none of that cookie");
    // In the cookie that the guard takes for the session's.
    let is_known = |guard: &Guard, number| {
        let ticket = Ask::get(v4(1), "/page/").with(&key(number)).ticket(guard, warm);
        let known = matches!(ticket.sent, Sent::Known(..));
        assert!(known || matches!(ticket.sent, Sent::Unknown(_)), "it is forwarded");
        let _ = guard.settle(ticket, Outcome::Unsent, warm);
        known
    };
    assert!(!is_known(&wrong, 1));
    assert!(matches!(wrong.warmth(warm), Warmth::Cold { missed: Missed::OtherCookie, .. }));
    let back = wrong.reconfigured(policy(), warm);
    assert!(is_known(&back, 1));
    assert!(!is_known(&back, 2), "as cold as before");

    let hex = with(|policy| policy.session.key_shape = KeyShape::Hex32);
    let hex = guard(policy()).reconfigured(hex, warm);
    assert!(matches!(hex.warmth(warm), Warmth::Cold { missed: Missed::OtherCookie, .. }));
}

/// Old cookies, another path of theirs: a deletion must hit.
#[test]
fn a_deletion_has_the_attributes_that_are_configured_now() {
    let guard = guard(policy());
    Ask::get(v4(1), "/cart/").answered(&guard, 200, &text(&key(1)), START);
    let moved = with(|policy| policy.session.cookie_path = String::from("/shop/"));
    let moved = guard.reconfigured(moved, START);
    assert!(moved.deletion().contains("Path=/shop/"), "{}", moved.deletion());
    // As soon as the application shows its own, those.
    let own = Ask::get(v4(1), "/x/").with(&key(1)).relayed(&moved, 200, &text(&key(1)), START);
    assert_eq!(own, RelayCookie::Keep);
    assert!(moved.deletion().contains("Path=/;"), "{}", moved.deletion());
}
