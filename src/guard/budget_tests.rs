use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;

use proptest::prelude::*;

use super::super::policy::{Quota, Tier};
use super::*;

const NOW: Moment = Moment::from_nanos(1 << 59);

fn quota(burst: u32, period: Duration) -> Quota {
    Quota::new(NonZeroU32::new(burst).expect("not zero"), period).expect("fits")
}

fn policy(capacity: usize) -> ClientPolicy {
    ClientPolicy {
        ipv4_prefix: 32,
        ipv6_prefix: 64,
        ipv6_tiers: vec![tier(56, 2), tier(48, 3)],
        capacity,
        exempt: Vec::new(),
        networks: Vec::new(),
    }
}

fn tier(prefix: u8, factor: u32) -> Tier {
    Tier { prefix, factor: NonZeroU32::new(factor).expect("not zero") }
}

/// What a challenge's cookie brings: two at once; all of a client's, as much as two clients.
fn challenge() -> ChallengePolicy {
    ChallengePolicy {
        name: String::from("floodwall"),
        max_age: Duration::from_secs(3600),
        quota: quota(2, Duration::from_secs(1)),
        ceiling: NonZeroU32::new(2).expect("not zero"),
    }
}

fn of(budgets: &[Budget], capacity: usize, secret: u8) -> Budgets {
    Budgets::new(budgets, &policy(capacity), &challenge(), Secret::new([secret; 16]))
}

fn budgets(client: u32, site: u32, capacity: usize) -> Budgets {
    let second = Duration::from_secs(1);
    let one = |name: &str| Budget {
        name: String::from(name),
        client: quota(client, second),
        site: quota(site, second),
        challenge: None,
    };
    of(&[one("anonymous"), one("login")], capacity, 3)
}

fn v4(last: u32) -> Client {
    Client::fold(IpAddr::V4(Ipv4Addr::from_bits(last)), &policy(1000))
}

fn v6(segments: [u16; 4]) -> Client {
    let [a, b, c, d] = segments;
    Client::fold(IpAddr::V6(Ipv6Addr::new(a, b, c, d, 9, 9, 9, 9)), &policy(1000))
}

fn why(result: Result<Hold, Refused>) -> Option<Refusal> {
    result.err().map(|refused| refused.why)
}

/// A table holds what its capacity says, though clients do not fall evenly into it.
#[test]
fn as_many_clients_as_are_configured_find_a_place() {
    for capacity in [10_000, 100_000] {
        let budgets = budgets(100, 20_000_000, capacity);
        let clients = u32::try_from(capacity).expect("few");
        let strict = (0..clients)
            .filter(|number| {
                let hold = budgets.reserve(0, v4(*number), NOW).expect("there is plenty");
                let strict = hold.places[0] == Some((Level::Client, Place::Strict));
                budgets.keep(hold, NOW);
                strict
            })
            .count();
        assert!(strict <= capacity / 10_000, "{strict} of {capacity}");
    }
}

/// Reserves, and settles as a write. What a refusal says of debts is what is said of them when asked.
fn spend(budgets: &Budgets, client: impl Into<Debtor>, now: Moment) -> Option<Refusal> {
    let debtor = client.into();
    match budgets.reserve(0, debtor, now) {
        Ok(hold) => {
            budgets.keep(hold, now);
            None
        }
        Err(refused) => {
            assert_eq!(refused.in_debt, budgets.in_debt(0, debtor, now), "{refused:?}");
            Some(refused.why)
        }
    }
}

#[test]
fn a_client_gets_its_burst_and_a_refused_request_charges_nobody() {
    let budgets = budgets(3, 4, 1000);
    for _ in 0..3 {
        assert_eq!(spend(&budgets, v4(1), NOW), None);
    }
    for _ in 0..100 {
        assert_eq!(spend(&budgets, v4(1), NOW), Some(Refusal::ClientBudget));
    }
    // The hundred refusals took nothing from the site, nor from the client's own future.
    assert_eq!(spend(&budgets, v4(2), NOW), None);
    for _ in 0..100 {
        assert_eq!(spend(&budgets, v4(3), NOW), Some(Refusal::SiteBudget));
    }
    let later = NOW.after(Duration::from_secs(1));
    assert_eq!(spend(&budgets, v4(3), later), None);
    assert_eq!(spend(&budgets, v4(1), later), Some(Refusal::SiteBudget));
    assert_eq!(budgets.held(), 0);
}

#[test]
fn what_is_held_takes_room_until_it_is_settled() {
    let budgets = budgets(3, 100, 1000);
    let holds: Vec<Hold> =
        (0..3).map(|_| budgets.reserve(0, v4(1), NOW).expect("within the burst")).collect();
    let later = NOW.after(Duration::from_secs(2));
    assert_eq!(why(budgets.reserve(0, v4(1), later)), Some(Refusal::ClientBudget));
    for hold in holds {
        budgets.refund(hold);
    }
    assert_eq!(budgets.held(), 0);
    for _ in 0..3 {
        assert_eq!(spend(&budgets, v4(1), later), None);
    }
}

/// Shrunken from a failure of the property below: when what was held leaked like what was charged,
/// the refund of an old hold gave back what a newer one had just taken.
#[test]
fn a_late_refund_gives_back_nothing_that_others_have_spent() {
    let budgets = budgets(2, 100, 1000);
    let [first, second] = [(); 2].map(|()| budgets.reserve(0, v4(1), NOW).expect("the burst"));
    budgets.refund(first);
    let later = NOW.after(Duration::from_secs(1));
    assert_eq!(spend(&budgets, v4(1), later), None);
    budgets.refund(second);
    assert_eq!(spend(&budgets, v4(1), later), None);
    assert_eq!(spend(&budgets, v4(1), later), Some(Refusal::ClientBudget));
}

#[test]
fn one_budget_cannot_be_drained_through_another() {
    let budgets = budgets(3, 3, 1000);
    for _ in 0..3 {
        assert!(budgets.reserve(0, v4(1), NOW).is_ok());
    }
    assert_eq!(why(budgets.reserve(0, v4(2), NOW)), Some(Refusal::SiteBudget));
    assert!(budgets.reserve(1, v4(1), NOW).is_ok());
}

#[test]
fn each_wide_ipv6_prefix_has_a_share_of_its_own() {
    let budgets = budgets(3, 1000, 1000);
    let admitted = |networks: std::ops::Range<u16>| {
        let network =
            |network: &u16| budgets.reserve(0, v6([0x2001, 0xdb8, 1, *network]), NOW).is_ok();
        networks.filter(network).count()
    };
    // The first /56, then all others of the /48.
    assert_eq!(admitted(0..256), 6);
    assert_eq!(admitted(256..u16::MAX), 3);
    assert_eq!(why(budgets.reserve(0, v6([0x2001, 0xdb8, 1, 7]), NOW)), Some(Refusal::WideBudget));
    assert!(budgets.reserve(0, v6([0x2001, 0xdb8, 2, 0]), NOW).is_ok());
}

fn with_token(client: Client, token: u64, rank: Rank) -> Debtor {
    Debtor { client, token: Some(Token(token)), rank }
}

#[test]
fn a_token_has_a_budget_of_its_own_under_the_ceiling_of_its_client() {
    let budgets = budgets(3, 1000, 100_000);
    for _ in 0..3 {
        assert_eq!(spend(&budgets, v4(1), NOW), None);
    }
    assert_eq!(spend(&budgets, v4(1), NOW), Some(Refusal::ClientBudget));
    let token = |token| with_token(v4(1), token, Rank::Challenged);
    for _ in 0..2 {
        assert_eq!(spend(&budgets, token(1), NOW), None);
    }
    assert_eq!(spend(&budgets, token(1), NOW), Some(Refusal::ClientBudget));
    for number in 2..6 {
        assert_eq!(spend(&budgets, token(number), NOW), None);
    }
    assert_eq!(spend(&budgets, token(9), NOW), Some(Refusal::Ceiling));
    // Another client has its own; and tokens of a whole /48 have no more than it.
    assert_eq!(spend(&budgets, with_token(v4(2), 9, Rank::Challenged), NOW), None);
    let wide = |number: u16| {
        let client = v6([0x2001, 0xdb8, 1, number]);
        spend(&budgets, with_token(client, 1000 + u64::from(number), Rank::Challenged), NOW)
    };
    assert_eq!((0..1000).filter(|number| wide(*number).is_none()).count(), 9);
}

#[test]
fn newcomers_leave_a_half_of_the_site_and_the_challenged_a_quarter() {
    let budgets = budgets(100, 100, 1000);
    let spent = |rank| {
        let debtor = |number| match rank {
            Rank::Challenged => with_token(v4(number), u64::from(number), rank),
            Rank::Newcomer | Rank::Regular => Debtor { rank, ..Debtor::from(v4(number)) },
        };
        (0..1000).filter(|number| spend(&budgets, debtor(*number), NOW).is_none()).count()
    };
    assert_eq!(spent(Rank::Newcomer), 50);
    let newcomer = Debtor { rank: Rank::Newcomer, ..Debtor::from(v4(0)) };
    assert_eq!(spend(&budgets, newcomer, NOW), Some(Refusal::SiteShort));
    assert_eq!(spent(Rank::Challenged), 25);
    assert_eq!(spent(Rank::Regular), 25);
    assert_eq!(spend(&budgets, newcomer, NOW), Some(Refusal::SiteBudget));
    // What comes back goes to those who may use all.
    assert_eq!(spend(&budgets, v4(0), NOW.after(Duration::from_secs(1))), None);
}

#[test]
fn what_comes_to_light_late_is_paid_for_while_anything_is_left() {
    let budgets = budgets(100, 4, 1000);
    let newcomer = |number| Debtor { rank: Rank::Newcomer, ..Debtor::from(v4(number)) };
    let paid = (0..10).filter(|number| budgets.charge_late(0, newcomer(*number), NOW));
    assert_eq!(paid.count(), 4);
}

#[test]
fn the_smallest_budget_has_room_for_newcomers() {
    let budgets = budgets(1, 1, 1000);
    let newcomer = Debtor { rank: Rank::Newcomer, ..Debtor::from(v4(0)) };
    assert_eq!(spend(&budgets, newcomer, NOW), None);
}

#[test]
fn a_debt_ends_at_a_second_burst() {
    let budgets = budgets(100, 100, 1000);
    for client in 0..10_000 {
        let _ = budgets.charge_late(0, v4(client), NOW);
    }
    let at = |seconds| NOW.after(Duration::from_secs(seconds));
    assert_eq!(spend(&budgets, v4(1), at(99)), Some(Refusal::SiteBudget));
    assert_eq!(spend(&budgets, v4(1), at(101)), None);
}

#[test]
fn a_late_charge_makes_a_debt_that_is_paid_off_before_anything_new() {
    let budgets = budgets(2, 1000, 1000);
    assert!(budgets.charge_late(0, v4(1), NOW));
    assert!(budgets.charge_late(0, v4(1), NOW));
    for _ in 0..3 {
        assert!(!budgets.charge_late(0, v4(1), NOW));
    }
    let at = |seconds| NOW.after(Duration::from_secs(seconds));
    assert_eq!(spend(&budgets, v4(1), at(2)), Some(Refusal::ClientBudget));
    assert!(budgets.reserve(0, v4(1), at(3)).is_err());
    assert!(budgets.reserve(0, v4(1), at(4)).is_ok());
}

#[test]
fn a_full_table_is_no_amnesty() {
    let budgets = budgets(1, 1_000_000, 1000);
    let cells: usize =
        budgets.memory.sections.iter().map(|section| section.lock().shard.cells.len()).sum();
    let mut kinds = std::collections::HashMap::new();
    for client in 0..20 * u32::try_from(cells).expect("small") {
        *kinds.entry(why(budgets.reserve(0, v4(client), NOW))).or_insert(0usize) += 1;
    }
    // At most one for each cell, and one from the bucket that the others share.
    assert!(kinds[&None] <= cells + 1, "{kinds:?}");
    assert!(kinds[&None] > cells * 9 / 10, "{kinds:?}");
    assert!(kinds[&Some(Refusal::TableFull)] > 0);
    // Those in the table are still remembered: nothing that owes was evicted.
    assert_eq!(why(budgets.reserve(0, v4(0), NOW)), Some(Refusal::ClientBudget));
}

#[test]
fn what_was_owed_before_a_restart_is_owed_after_it() {
    let before = budgets(2, 5, 1000);
    for client in [v4(1), v4(1), v6([1, 2, 3, 4])] {
        assert!(before.reserve(0, client, NOW).is_ok());
    }
    let after = budgets(2, 5, 1000);
    let told: std::collections::HashSet<_> =
        before.changed(NOW).flatten().map(|owed| (owed.cell, owed.until)).collect();
    let owed = before.owed(NOW).flatten().map(|owed| (owed.cell, owed.until)).collect();
    assert_eq!(told, owed);
    assert_eq!(before.changed(NOW).flatten().count(), 0, "what was told is told again");
    for owed in before.owed(NOW).flatten() {
        after.restore(owed, NOW);
    }
    assert_eq!(why(after.reserve(0, v4(1), NOW)), Some(Refusal::ClientBudget));
    assert!(after.reserve(0, v6([1, 2, 3, 4]), NOW).is_ok());
    assert!(after.reserve(0, v4(2), NOW).is_ok());
    assert_eq!(why(after.reserve(0, v4(2), NOW)), Some(Refusal::SiteBudget));
}

/// Of what a challenge's cookie brings, and a debt of several bursts.
#[test]
fn whatever_can_be_owed_is_believed_after_a_restart() {
    let (second, day) = (Duration::from_secs(1), Duration::from_secs(86_400));
    for (of_client, of_token) in [(second, day), (day, second)] {
        let budget = Budget {
            name: String::from("anonymous"),
            client: quota(2, of_client),
            site: quota(100, second),
            challenge: None,
        };
        let challenge = ChallengePolicy { quota: quota(2, of_token), ..challenge() };
        let secret = Secret::new([3; 16]);
        let new = || Budgets::new(std::slice::from_ref(&budget), &policy(1000), &challenge, secret);
        let before = new();
        let token = with_token(v4(1), 1, Rank::Challenged);
        for _ in 0..8 {
            before.charge_late(0, v4(1), NOW);
            before.charge_late(0, token, NOW);
        }
        let after = new();
        before.owed(NOW).flatten().for_each(|owed| after.restore(owed, NOW));
        let later = NOW.after(2 * day);
        let (by_client, by_token) =
            (after.reserve(0, v4(1), later), after.reserve(0, token, later));
        assert_eq!(by_client.is_err(), of_client == day, "{of_client:?}");
        assert!(by_token.is_err(), "the token's budget, or the ceiling of its client");
    }
}

proptest! {
    /// Whatever is reserved, refunded late or kept: in no window of time is more kept than the
    /// burst and what the rate gives in that window.
    #[test]
    fn what_is_kept_stays_within_the_quota_in_every_window(
        burst in 1u32..6,
        steps in proptest::collection::vec((0u64..2_000, 0usize..8, any::<bool>()), 1..120),
    ) {
        let second = Duration::from_secs(1);
        let budget = Budget {
            name: String::from("anonymous"),
            client: quota(burst, second),
            site: quota(1000, second),
            challenge: None,
        };
        let budgets = of(&[budget], 1000, 1);
        let mut now = NOW;
        let mut held: Vec<(Moment, Hold)> = Vec::new();
        let mut kept: Vec<Moment> = Vec::new();
        for (pause, pick, refund) in steps {
            now = now.after(Duration::from_millis(pause));
            if let Ok(hold) = budgets.reserve(0, v4(1), now) {
                held.push((now, hold));
            }
            if pick < held.len() {
                let (when, hold) = held.swap_remove(pick);
                if refund {
                    budgets.refund(hold);
                } else {
                    // The record came into being at any time between.
                    kept.push(if pick % 2 == 0 { when } else { now });
                    budgets.keep(hold, now);
                }
            }
        }
        kept.extend(held.into_iter().map(|(when, _)| when));
        kept.sort();
        for (first, from) in kept.iter().enumerate() {
            for (last, to) in kept.iter().enumerate().skip(first) {
                let allowed = u128::from(burst) + to.since(*from).as_nanos() / second.as_nanos();
                prop_assert!((last - first + 1) as u128 <= allowed);
            }
        }
    }
}

/// Budgets of ever new names, reload after reload: those that owe least make room, and those in
/// force stay.
#[test]
fn no_more_budgets_are_remembered_than_there_is_room_for() {
    let named = |name: String| Budget {
        name,
        client: quota(1, Duration::from_secs(86_400)),
        site: quota(10, Duration::from_secs(86_400)),
        challenge: None,
    };
    let of_name = |number: usize| [named(String::from("always")), named(format!("b{number}"))];
    let mut budgets = of(&of_name(0), 1000, 3);
    assert!(budgets.charge_late(0, v4(1), NOW));
    assert!(budgets.charge_late(1, v4(1), NOW));
    for number in 1..Lines::MOST + 50 {
        budgets = budgets.reconfigured(&of_name(number), &policy(1000), &challenge(), NOW);
    }
    assert_eq!(budgets.memory.site.lock().cells.len(), Lines::MOST);
    assert_eq!(why(budgets.reserve(0, v4(1), NOW)), Some(Refusal::ClientBudget));
    budgets = budgets.reconfigured(&of_name(0), &policy(1000), &challenge(), NOW);
    assert_eq!(why(budgets.reserve(1, v4(1), NOW)), Some(Refusal::ClientBudget), "it owes");
    assert_eq!(budgets.held(), 0);
}

/// A table of many pieces, some of whose cells owe, some hold and some did either.
#[test]
fn who_owes_is_counted_without_a_list() {
    let budgets = budgets(2, 1_000_000, 1_000_000);
    let mut holds = Vec::new();
    for client in 0..6_000 {
        let hold = budgets.reserve(0, v4(client), NOW).expect("there is room");
        match client % 3 {
            0 => budgets.keep(hold, NOW),
            1 => budgets.refund(hold),
            _ => holds.push(hold),
        }
    }
    let listed = |now| -> usize {
        let sections = budgets.memory.sections.iter();
        sections.map(|section| Owed::of_section(&section.lock(), now).len()).sum()
    };
    assert_eq!((budgets.owing(NOW), listed(NOW)), (4_000, 4_000));
    let later = NOW.after(Duration::from_secs(1));
    assert_eq!((budgets.owing(later), listed(later)), (2_000, 2_000));
    let left = budgets.left(NOW);
    let names: Vec<&str> = left.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["anonymous", "login"]);
    let of = |place: usize| (left[place].1.left, left[place].1.held, left[place].1.burst);
    assert_eq!(of(0), (996_000, 2_000, 1_000_000));
    assert_eq!(of(1), (1_000_000, 0, 1_000_000));
    holds.into_iter().for_each(|hold| budgets.refund(hold));
}
