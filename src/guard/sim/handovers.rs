//! One process takes over from another: two guards that tell each other, against one that does all.

use std::time::Duration;

use super::super::budget::Owed;
use super::super::client::Client;
use super::super::exchange::{Outcome, SendCookie, Sent, Settlement, Ticket, Verdict};
use super::super::fact::Warmth;
use super::super::image::{Image, Wall};
use super::super::ledger::{KeyRecord, Patience};
use super::super::moment::Moment;
use super::super::policy::{Policy, Unknown};
use super::super::route::Action;
use super::super::{Guard, UnderWay};
use super::support::*;

const WALL: Wall = Wall { origin_unix_nanos: 0 };

/// The guard of a process that takes over from this one's.
fn successor(old: &Guard, policy: Policy, now: Moment) -> Guard {
    let bytes: Vec<u8> = old.hand_over(WALL, now).flatten().collect();
    let image = Image::decode(&bytes).expect("whole");
    Guard::taking_over(policy, image, WALL, 99, now)
}

fn tell(from: &Guard, to: &Guard, keys: &[KeyRecord], now: Moment) {
    to.take(&from.tell(keys, WALL, now), WALL, now).expect("whole");
}

/// Logouts are gated: spares have tests of their own.
fn without_spares() -> Policy {
    let mut policy = policy();
    policy.rules[0].action = Action::Gate;
    policy.session.in_flight_per_key = 1000;
    policy
}

struct Flight {
    /// Of whichever of the two, and of the one that does all.
    tickets: [Ticket; 2],
    new: bool,
    key: Option<u64>,
}

struct Handover {
    rng: Random,
    now: Moment,
    old: Guard,
    new: Option<Guard>,
    one: Guard,
    flights: Vec<Flight>,
    /// Records of keys that were not told: of the old one, of the new one.
    untold: [Vec<KeyRecord>; 2],
    issued: u64,
}

impl Handover {
    fn new(seed: u64) -> Self {
        let (old, one) = (guard(without_spares()), guard(without_spares()));
        Self {
            rng: Random(seed),
            now: START,
            old,
            new: None,
            one,
            flights: Vec::new(),
            untold: [Vec::new(), Vec::new()],
            issued: 0,
        }
    }

    fn guard(&self, new: bool) -> &Guard {
        self.new.as_ref().filter(|_| new).unwrap_or(&self.old)
    }

    fn client(&mut self) -> Client {
        let number = self.rng.below(6) as u16;
        if number < 3 { v4(number.into()) } else { v6(number % 2, number) }
    }

    fn step(&mut self) {
        match self.rng.below(9) {
            0..4 => self.ask(),
            4..8 if !self.flights.is_empty() => {
                let index = self.rng.below(self.flights.len());
                let flight = self.flights.swap_remove(index);
                self.end(flight);
            }
            4..8 => {}
            _ => self.now = self.now.after(Duration::from_millis(self.rng.below(1500) as u64)),
        }
        self.exchange_news();
    }

    fn exchange_news(&mut self) {
        let Some(new) = &self.new else { return self.untold[0].clear() };
        tell(&self.old, new, &std::mem::take(&mut self.untold[0]), self.now);
        tell(new, &self.old, &std::mem::take(&mut self.untold[1]), self.now);
    }

    fn ask(&mut self) {
        const TARGETS: [&str; 4] = ["/cart/", "/login/", "/logout/", "/page/"];
        let key = self.rng.percent(60).then(|| self.rng.below(self.issued as usize + 2) as u64);
        // Which exchanges of a key are under way is not told.
        if key.is_some() && self.flights.iter().any(|flight| flight.key == key) {
            return;
        }
        let client = self.client();
        let ask = Ask { body: true, ..Ask::at(client, self.rng.pick(&TARGETS)) };
        let ask = key.map_or(ask.clone(), |number| ask.with(&super::support::key(number)));
        let new = self.rng.percent(50);
        let now = self.now;
        let verdicts =
            [self.guard(new), &self.one].map(|guard| ask.admit(guard, Patience::Left, now));
        match verdicts {
            [Verdict::Forward(mine, _), Verdict::Forward(all, _)] => {
                let is = |ticket: &Ticket| {
                    let known = matches!(ticket.sent, Sent::Known(..));
                    (ticket.cookie(), known, ticket.hold.is_some(), ticket.standing)
                };
                assert_eq!(is(&mine), is(&all), "{ask:?}");
                self.flights.push(Flight { tickets: [*mine, *all], new, key });
            }
            [Verdict::Refuse { why: mine, .. }, Verdict::Refuse { why: all, .. }] => {
                assert_eq!(mine, all, "{ask:?}");
            }
            [Verdict::Wait(mine), Verdict::Wait(all)] => assert_eq!(mine, all),
            other => panic!("{ask:?}: {other:?}"),
        }
    }

    fn end(&mut self, Flight { tickets: [mine, all], new, key }: Flight) {
        let set = match (self.rng.below(6), key) {
            (0, _) => String::new(),
            (1, Some(same)) => text(&super::support::key(same)),
            (2 | 3, _) => {
                self.issued += 1;
                text(&super::support::key(self.issued))
            }
            (_, _) => String::from("-"),
        };
        let how = self.rng.below(8);
        let settle = |guard: &Guard, ticket: Ticket| -> Settlement {
            let evidence = evidence(guard, 200, &set);
            let outcome = match how {
                0 => Outcome::Unsent,
                1 => Outcome::NoAnswer,
                _ => Outcome::Answered(&evidence, None),
            };
            guard.settle(ticket, outcome, self.now)
        };
        let [settled, _] = [settle(self.guard(new), mine), settle(&self.one, all)];
        let to = usize::from(new && self.new.is_some());
        self.untold[to].extend(settled.records.into_iter().flatten());
    }

    fn hand_over(&mut self) {
        self.new = Some(successor(&self.old, without_spares(), self.now));
        // What was asked of the old one stays its own.
        self.flights.iter_mut().for_each(|flight| flight.new = false);
    }

    fn finish(mut self) -> (Guard, Guard, Moment) {
        while let Some(flight) = self.flights.pop() {
            self.end(flight);
            self.exchange_news();
        }
        let new = self.new.expect("there was a handover");
        new.end_handover(self.now);
        assert_eq!(self.old.under_way(), UnderWay::default());
        assert_eq!(new.under_way(), UnderWay::default());
        (new, self.one, self.now)
    }
}

/// What a guard remembers of keys, and what its cells owe.
fn remembers(guard: &Guard, now: Moment) -> (Vec<(u64, u32, u8)>, Vec<Owed>) {
    let keys = guard.ledger.records(now).flatten();
    let keys = keys.map(|key| (key.key.0, key.expires, key.flags & !KeyRecord::PRESENTED));
    let owed = guard.budgets.owed(now).flatten().filter(|owed| owed.until > now);
    let (mut keys, mut owed): (Vec<_>, Vec<Owed>) = (keys.collect(), owed.collect());
    keys.sort_unstable();
    owed.sort_unstable_by_key(|owed| owed.cell);
    (keys, owed)
}

/// Where everything is told at once, and nothing was held at the snapshot, the two decide as one
/// would, and the new one is left with what one would remember.
#[test]
fn two_that_tell_each_other_decide_as_one() {
    for seed in seeds(150, 10_000) {
        let mut handover = Handover::new(seed);
        (0..60).for_each(|_| handover.step());
        while let Some(flight) = handover.flights.pop() {
            handover.end(flight);
        }
        handover.exchange_news();
        handover.hand_over();
        (0..200).for_each(|_| handover.step());
        let (new, one, now) = handover.finish();
        assert_eq!(remembers(&new, now), remembers(&one, now), "seed {seed}");
    }
}

/// A flood of both that creates whatever is admitted, told only now and then: no more is created
/// than one would have let through, and what was held at the snapshot, and what was not told.
#[test]
fn together_they_admit_what_one_would_and_what_was_held_and_what_was_not_told() {
    for seed in seeds(60, 3_000) {
        let mut rng = Random(seed);
        let (old, mut now) = (guard(without_spares()), START);
        let tell_every = rng.pick(&[1, 3, 10]);
        let ask = |guard: &Guard, rng: &mut Random, now| {
            let ask = Ask::get(v4(rng.below(100) as u32), "/cart/");
            match ask.admit(guard, Patience::Spent, now) {
                Verdict::Forward(ticket, _) => Some(*ticket),
                _ => None,
            }
        };
        let mut old_tickets: Vec<Ticket> =
            (0..rng.below(8)).filter_map(|_| ask(&old, &mut rng, now)).collect();
        let held = old_tickets.len();
        let new = successor(&old, without_spares(), now);
        let mut new_tickets = Vec::new();
        // Half seconds of the site's rate; records above it.
        let (mut level, mut at, mut untold, mut most_untold) = (0.0_f64, now, 0_usize, 0_usize);
        for step in 0..300 {
            match rng.below(5) {
                0 => old_tickets.extend(ask(&old, &mut rng, now).inspect(|_| untold += 1)),
                1 => new_tickets.extend(ask(&new, &mut rng, now).inspect(|_| untold += 1)),
                2 => now = now.after(Duration::from_millis(rng.below(400) as u64)),
                side => {
                    let (guard, tickets) =
                        if side == 3 { (&old, &mut old_tickets) } else { (&new, &mut new_tickets) };
                    if let Some(ticket) = tickets.pop() {
                        let created = evidence(guard, 200, &text(&key(seed << 20 | step)));
                        let _ = guard.settle(ticket, Outcome::Answered(&created, None), now);
                        let leaked = now.since(at).as_secs_f64() * 2.0;
                        (level, at) = ((level - leaked).max(0.0) + 1.0, now);
                    }
                }
            }
            most_untold = most_untold.max(untold);
            if step % tell_every == 0 {
                tell(&old, &new, &[], now);
                tell(&new, &old, &[], now);
                untold = 0;
            }
            let allowed = (8 + held + most_untold) as f64;
            assert!(level <= allowed + 1e-6, "seed {seed}: {level} records, {allowed} allowed");
        }
        assert!(new.under_way().held <= (8 + held + most_untold) as u64);
    }
}

/// The old one is killed: what it held is charged, as nothing will prove it refundable.
#[test]
fn what_a_process_held_that_is_gone_is_charged() {
    let old = guard(without_spares());
    let new = successor(&old, without_spares(), START);
    let cart = Ask::get(v6(1, 1), "/cart/");
    let held: Vec<Ticket> = (0..3).map(|_| cart.ticket(&old, START)).collect();
    tell(&old, &new, &[], START);
    assert_eq!(new.under_way().held, 3);
    assert!(cart.refusal(&new, START).is_none());
    let refunded = held.into_iter().next().expect("three");
    let _ = old.settle(refunded, Outcome::Unsent, START);
    tell(&old, &new, &[], START);
    assert_eq!(new.under_way().held, 2);
    drop(old);
    new.end_handover(START);
    assert_eq!(new.under_way(), UnderWay::default());
    assert_eq!(left(&new, &cart), 2);
    let later = START.after(2 * SECOND);
    assert!(cart.refusal(&new, later).is_none());
}

/// How many more it may create.
fn left(guard: &Guard, ask: &Ask) -> usize {
    let tickets: Vec<Ticket> = std::iter::from_fn(|| {
        ask.refusal(guard, START).is_none().then(|| ask.ticket(guard, START))
    })
    .collect();
    let left = tickets.len();
    for ticket in tickets {
        let _ = guard.settle(ticket, Outcome::Unsent, START);
    }
    left
}

/// What was held at the snapshot is charged by the new one from then on: kept, it is not charged
/// twice; refunded, it stays charged.
#[test]
fn what_was_held_at_the_snapshot_is_charged_once() {
    for keeps in [true, false] {
        let old = guard(without_spares());
        let cart = Ask::get(v4(1), "/cart/");
        let held: Vec<Ticket> = (0..3).map(|_| cart.ticket(&old, START)).collect();
        let new = successor(&old, without_spares(), START);
        assert_eq!(left(&new, &cart), 1);
        for ticket in held {
            let created = evidence(&old, 200, &text(&key(1)));
            let outcome = if keeps { Outcome::Answered(&created, None) } else { Outcome::Unsent };
            let _ = old.settle(ticket, outcome, START);
        }
        tell(&old, &new, &[], START);
        assert_eq!((left(&new, &cart), new.under_way().held), (1, 0));
    }
}

/// A login at the old process, and the next page from the new one, before that was told: nobody is
/// logged out; and that the key was not known is no sign of another way in.
#[test]
fn a_key_that_the_other_has_issued_is_not_removed_and_a_dead_one_is_at_once() {
    for unknown in [Unknown::Auto, Unknown::Drop] {
        let warm = START.after(LIFETIME);
        let policy = Policy {
            session: super::super::policy::SessionPolicy { unknown, ..policy().session },
            ..policy()
        };
        let old = guard(policy.clone());
        let new = successor(&old, policy, warm);
        assert_eq!(new.warmth(warm), Warmth::Warm);
        let login = Ask::get(v4(1), "/login/").answered(&old, 302, &text(&key(1)), warm);
        let page = Ask::get(v4(1), "/page/").with(&key(1));
        let ticket = page.ticket(&new, warm);
        assert!(matches!(ticket.sent, Sent::Unknown(_)));
        let renewed = evidence(&new, 200, &text(&key(1)));
        let _ = new.settle(ticket, Outcome::Answered(&renewed, None), warm);
        let records: Vec<KeyRecord> = login.records.into_iter().flatten().collect();
        tell(&old, &new, &records, warm);
        assert_eq!(new.warmth(warm), Warmth::Warm);
        assert!(matches!(page.ticket(&new, warm).sent, Sent::Known(..)));

        let ended = Ask::get(v4(1), "/x/").with(&key(1)).answered(&old, 200, "", warm);
        let records: Vec<KeyRecord> = ended.records.into_iter().flatten().collect();
        tell(&old, &new, &records, warm);
        assert!(matches!(page.ticket(&new, warm).sent, Sent::Nothing));
        // Then all is as ever.
        new.end_handover(warm);
        let stranger = Ask::get(v4(2), "/page/").with(&key(77));
        assert!(matches!(stranger.ticket(&new, warm).sent, Sent::Nothing));
    }
}

/// A spare belongs to one of the two; one that is in use comes later, when it is whole.
#[test]
fn spares_are_handed_over_and_never_used_by_both() {
    let old = guard(policy());
    for (path, first) in [("/logout/", 20), ("/en/logout/", 30)] {
        let ticket = Ask::get(v4(8), path).ticket(&old, START);
        let one = evidence(&old, 200, &text(&key(first)));
        let two = evidence(&old, 200, &text(&key(first + 1)));
        let _ = old.settle(ticket, Outcome::Answered(&one, Some(&two)), START);
    }
    let busy = Ask::get(v4(1), "/logout/").ticket(&old, START);
    assert!(matches!(busy.cookie(), SendCookie::Replace(spare) if spare == key(21)));
    let new = successor(&old, policy(), START);
    assert_eq!((old.sizes().1, new.sizes().1), (1, 1));
    let english = Ask::get(v4(2), "/en/logout/");
    let ticket = english.ticket(&new, START);
    assert!(matches!(ticket.cookie(), SendCookie::Replace(spare) if spare == key(31)));
    let _ = new.settle(ticket, Outcome::Unsent, START);
    let gated = english.ticket(&old, START);
    assert_eq!(gated.cookie(), SendCookie::Remove, "it has no spares any more");
    assert!(!gated.may_want_proof());
    let _ = old.settle(gated, Outcome::Unsent, START);

    let whole = evidence(&old, 200, &text(&key(22)));
    let _ = old.settle(busy, Outcome::Answered(&whole, None), START);
    tell(&old, &new, &[], START);
    assert_eq!((old.sizes().1, new.sizes().1), (0, 2));
    let ticket = Ask::get(v4(3), "/logout/").ticket(&new, START);
    assert!(matches!(ticket.cookie(), SendCookie::Replace(spare) if spare == key(22)));
    let _ = new.settle(ticket, Outcome::Unsent, START);
    tell(&old, &new, &[], START);
    assert_eq!(new.sizes().1, 2);
}

/// The new process fails: the old one goes on, and its next successor is told everything anew.
#[test]
fn a_handover_that_comes_to_nothing_costs_spares_and_nothing_else() {
    let old = guard(policy());
    let cart = Ask::get(v4(1), "/cart/");
    let ticket = Ask::get(v4(8), "/logout/").ticket(&old, START);
    let (one, two) = (evidence(&old, 200, &text(&key(20))), evidence(&old, 200, &text(&key(21))));
    let _ = old.settle(ticket, Outcome::Answered(&one, Some(&two)), START);
    let failed = successor(&old, policy(), START);
    let during = cart.ticket(&old, START);
    cart.answered(&failed, 200, &text(&key(1)), START);
    tell(&failed, &old, &[], START);
    drop(failed);
    old.end_handover(START);
    assert!(!old.is_shared());
    let logout = Ask::get(v4(2), "/logout/").ticket(&old, START);
    assert!(matches!(logout.cookie(), SendCookie::Replace(_)), "it recycles again");
    let _ = old.settle(logout, Outcome::Unsent, START);
    // What is held from the first time is charged in the second one's snapshot.
    let new = successor(&old, policy(), START);
    assert_eq!(left(&new, &cart), 2);
    let _ = old.settle(during, Outcome::Unsent, START);
    tell(&old, &new, &[], START);
    assert_eq!((left(&new, &cart), new.under_way()), (2, UnderWay::default()));
    assert_eq!(cart.refusal(&old, START), None);
}

/// The two may have budgets of different names and rates: as many sessions are charged.
#[test]
fn sessions_are_told_and_not_times() {
    let old = guard(without_spares());
    let mut slower = without_spares();
    slower.budgets[0].client = quota(4, 100 * SECOND);
    slower.budgets[0].site = quota(100, SECOND);
    slower.budgets.swap(0, 1);
    slower.rules[0].budget = 1;
    slower.rules[1].budget = 1;
    slower.budgets[0].name = String::from("other");
    let new = successor(&old, slower, START);
    let login = Ask::get(v4(1), "/logout/?x=1");
    for number in 0..3 {
        login.answered(&old, 200, &text(&key(number)), START);
    }
    Ask::get(v4(1), "/login/").answered(&old, 200, &text(&key(9)), START);
    tell(&old, &new, &[], START);
    assert_eq!(left(&new, &login), 1);
    assert_eq!(login.refusal(&new, START.after(99 * SECOND)), None);
}

/// A frame that is cut short or changed is refused whole.
#[test]
fn what_is_not_whole_is_not_taken_in() {
    let old = guard(policy());
    let new = successor(&old, policy(), START);
    let cart = Ask::get(v4(1), "/cart/");
    let settled = cart.answered(&old, 200, &text(&key(1)), START);
    let keys: Vec<KeyRecord> = settled.records.into_iter().flatten().collect();
    let told = old.tell(&keys, WALL, START);
    for index in 0..told.len() {
        if index > 0 {
            assert!(new.take(&told[..index], WALL, START).is_err(), "cut at {index}");
        }
        for bit in 0..8 {
            let mut changed = told.clone();
            changed[index] ^= 1 << bit;
            assert!(new.take(&changed, WALL, START).is_err(), "bit {bit} of {index}");
        }
    }
    assert_eq!((left(&new, &cart), new.sizes().0), (4, 0));
    new.take(&told, WALL, START).expect("whole");
    assert_eq!((left(&new, &cart), new.sizes().0), (3, 1));
    assert!(old.tell(&[], WALL, START).is_empty(), "it was told");
}

proptest::proptest! {
    /// Whatever is told under a right checksum: nothing panics, then or when it ends.
    #[test]
    fn forged_news_never_panic(
        changes in proptest::collection::vec((proptest::num::u16::ANY, proptest::num::u8::ANY), 1..8),
    ) {
        let old = guard(policy());
        let new = successor(&old, policy(), START);
        let cart = Ask::get(v6(1, 1), "/cart/");
        let settled = cart.answered(&old, 200, &text(&key(1)), START);
        let _held = cart.ticket(&old, START);
        let keys: Vec<KeyRecord> = settled.records.into_iter().flatten().collect();
        let mut told = old.tell(&keys, WALL, START);
        let body = told.len() - 4;
        for (index, byte) in changes {
            told[usize::from(index) % body] = byte;
        }
        let sum = crc32fast::hash(&told[..body]).to_le_bytes();
        told[body..].copy_from_slice(&sum);
        let _ = new.take(&told, WALL, START);
        let _ = cart.refusal(&new, START);
        new.end_handover(START);
        proptest::prop_assert_eq!(new.under_way(), UnderWay::default());
    }
}
