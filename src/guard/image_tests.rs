use proptest::prelude::*;

use super::super::exchange::{Outcome, Sent, Settlement, Ticket};
use super::super::fact::{Refusal, Warmth};
use super::super::policy::Mode;
use super::super::sim::support::*;
use super::*;

const WALL: Wall = Wall { origin_unix_nanos: 600_000_000 * NANOS as i128 };

/// A site in use: key 1 is alive, 2 was rotated into 3, 4 is dead, `/logout/` is proved with spare
/// 6 in its slot, client 9 owes a whole burst. Also what the journal was told.
fn lived(wall: Wall) -> (Guard, Vec<Entry>) {
    let guard = guard(policy());
    let mut told = Vec::new();
    let mut tell = |settlement: Settlement| {
        told.extend(settlement.records.into_iter().flatten().map(|r| Entry::key(r, wall)));
    };
    tell(Ask::get(v4(1), "/cart/").answered(&guard, 200, &text(&key(1)), START));
    tell(Ask::get(v4(2), "/cart/").answered(&guard, 200, &text(&key(2)), START));
    tell(Ask::get(v4(2), "/login/").with(&key(2)).answered(&guard, 200, &text(&key(3)), START));
    tell(Ask::get(v4(3), "/cart/").answered(&guard, 200, &text(&key(4)), START));
    // No logout: an application that deletes at one would not give `/logout/` a spare.
    tell(Ask::get(v4(3), "/leave/").with(&key(4)).answered(&guard, 200, "", START));
    tell(prove(&guard, "/logout/", 5, START));
    for number in 0..4 {
        tell(Ask::get(v4(9), "/cart/").answered(&guard, 200, &text(&key(100 + number)), START));
    }
    told.extend(guard.changes(wall, START));
    (guard, told)
}

/// Proves a path with a first key and the one after it, which becomes its spare.
fn prove(guard: &Guard, path: &str, first: u64, now: Moment) -> Settlement {
    let ticket = Ask::get(v4(8), path).ticket(guard, now);
    let one = evidence(guard, 200, &text(&key(first)));
    assert!(guard.proof_wanted(&ticket, &one).is_some());
    let two = evidence(guard, 200, &text(&key(first + 1)));
    guard.settle(ticket, Outcome::Answered(&one, Some(&two)), now)
}

fn load(bytes: &[u8], wall: Wall, now: Moment) -> Guard {
    let image = Image::decode(bytes).expect("whole");
    Guard::restored(policy(), image, wall, 77, now)
}

fn give_up(guard: &Guard, ticket: Ticket, now: Moment) {
    let _ = guard.settle(ticket, Outcome::Unsent, now);
}

/// What a guard says of the keys and clients of `lived`, without changing them.
fn says(guard: &Guard, now: Moment) -> String {
    let mut said = String::new();
    for number in [1, 2, 3, 4, 5, 6, 7, 100] {
        let ticket = Ask::get(v4(60), "/x/").with(&key(number)).ticket(guard, now);
        let word = match (&ticket.sent, ticket.hold.is_some()) {
            (Sent::Known(..), held) => {
                if held {
                    "unpaid"
                } else {
                    "paid"
                }
            }
            (Sent::Unknown(_), _) => "unknown",
            _ => "removed",
        };
        said += &format!("{number} {word}, ");
        give_up(guard, ticket, now);
    }
    let refused = |client| Ask::get(v4(client), "/x/").refusal(guard, now);
    said + &format!("{:?} {:?} {:?}", refused(9), refused(61), guard.sizes().1)
}

#[test]
fn what_was_remembered_is_remembered_after_a_restart() {
    let (before, _) = lived(WALL);
    let bytes = before.snapshot(3, WALL, true, START);
    assert_eq!(Image::decode(&bytes).expect("whole").generation, 3);
    let expected = "1 paid, 2 removed, 3 paid, 4 removed, 5 unknown, 6 removed, 7 unknown, \
                    100 paid, Some(ClientBudget) None 1";
    assert_eq!(says(&before, START), expected);
    assert_eq!(says(&load(&bytes, WALL, START), START), expected);
    // Another origin of the monotonic clock, as every new process has.
    let shift = 12_345 * NANOS;
    let later = Wall { origin_unix_nanos: WALL.origin_unix_nanos + i128::from(shift) };
    let now = Moment::from_nanos(START.as_nanos() - shift);
    assert_eq!(says(&load(&bytes, later, now), now), expected);
    assert_eq!(load(&bytes, WALL, START).warmth(START), before.warmth(START));
}

/// As the version before wrote it: without the names of cookies.
fn of_version_2(snapshot: &[u8]) -> Vec<u8> {
    const HEAD: usize = 8 + 8 + 1 + 16 + 8 * WarmUp::FIELDS;
    let body = &snapshot[Image::MAGIC.len()..snapshot.len() - 4];
    let mut rest = Reader(&body[HEAD..]);
    let names = [rest.text(), rest.text(), rest.text()].map(|name| name.expect("a name"));
    assert_eq!(names, ["sessionid", "sessionid", "alnum32"]);
    let body = [&body[..HEAD], rest.0].concat();
    [Image::BEFORE, &body[..], &crc32fast::hash(&body).to_le_bytes()].concat()
}

#[test]
fn the_state_of_the_version_before_is_taken_over() {
    let (guard, _) = lived(WALL);
    let bytes = of_version_2(&guard.snapshot(1, WALL, true, START));
    assert_eq!(says(&load(&bytes, WALL, START), START), says(&guard, START));
}

/// Whoever mends a wrong name with a restart logs nobody out: what was issued under the right one
/// was not seen.
#[test]
fn a_restart_with_another_cookie_is_cold_and_knows_the_keys_of_each() {
    let (guard, _) = lived(WALL);
    let warm = START.after(LIFETIME - SECOND);
    let named = |guard: &Guard, cookie: &str, shape: KeyShape| {
        let mut policy = policy();
        policy.session.cookie = String::from(cookie);
        policy.session.key_shape = shape;
        let bytes = guard.snapshot(1, WALL, true, warm);
        Guard::restored(policy, Image::decode(&bytes).expect("whole"), WALL, 77, warm)
    };
    let is_known = |guard: &Guard| {
        let ticket = Ask::get(v4(60), "/x/").with(&key(1)).ticket(guard, warm);
        let known = matches!(ticket.sent, Sent::Known(..));
        give_up(guard, ticket, warm);
        known
    };
    let is_cold = |guard: &Guard| {
        matches!(guard.warmth(warm), Warmth::Cold { missed: Missed::OtherCookie, .. })
    };
    let other = named(&guard, "csrftoken", KeyShape::Alnum32);
    assert!(is_cold(&other) && !is_known(&other));
    assert_eq!(other.sizes().1, 0);
    let back = named(&other, "sessionid", KeyShape::Alnum32);
    assert!(is_cold(&back) && is_known(&back));
    let hex = named(&guard, "sessionid", KeyShape::Hex32);
    assert!(is_cold(&hex) && is_known(&hex));
    let same = named(&guard, "sessionid", KeyShape::Alnum32);
    assert!(!is_cold(&same) && is_known(&same));
}

#[test]
fn a_proved_path_recycles_at_once_after_a_restart_and_its_spare_is_used() {
    let (before, _) = lived(WALL);
    for with_spares in [true, false] {
        let after = load(&before.snapshot(1, WALL, with_spares, START), WALL, START);
        let ticket = Ask::get(v4(7), "/logout/").ticket(&after, START);
        let Sent::Spare(lease) = &ticket.sent else { panic!("{:?}", ticket.sent) };
        assert_eq!(*lease.key() == key(6), with_spares);
        give_up(&after, ticket, START);
    }
}

#[test]
fn an_expired_spare_is_not_brought_back() {
    let (before, _) = lived(WALL);
    let late = START.after(LIFETIME);
    let after = load(&before.snapshot(1, WALL, true, late), WALL, late);
    assert_eq!(after.sizes().1, 0);
    // It expired while the process was away.
    let after = load(&before.snapshot(1, WALL, true, START), WALL, late);
    assert_eq!(after.sizes().1, 0);
    let ticket = Ask::get(v4(7), "/logout/").ticket(&after, late);
    assert!(matches!(&ticket.sent, Sent::Spare(lease) if *lease.key() != key(6)));
    give_up(&after, ticket, late);
}

#[test]
fn no_raw_key_is_in_a_snapshot_unless_spares_are_asked_for() {
    let (guard, told) = lived(WALL);
    let contains =
        |bytes: &[u8], number| bytes.windows(32).any(|window| window == key(number).as_bytes());
    let without = guard.snapshot(1, WALL, false, START);
    let with = guard.snapshot(1, WALL, true, START);
    let journal: Vec<u8> = told.into_iter().flat_map(Entry::encode).collect();
    for number in (0..10).chain(100..110) {
        assert!(!contains(&without, number) && !contains(&journal, number), "key {number}");
        assert_eq!(contains(&with, number), number == 6, "key {number}");
    }
}

#[test]
fn a_snapshot_cut_short_anywhere_is_refused() {
    let bytes = lived(WALL).0.snapshot(1, WALL, true, START);
    for length in 0..bytes.len() {
        assert!(Image::decode(&bytes[..length]).is_err(), "{length} of {}", bytes.len());
    }
    let longer = [&*bytes, b"x"].concat();
    assert!(Image::decode(&longer).is_err());
}

#[test]
fn a_snapshot_or_journal_record_with_one_bit_flipped_is_refused() {
    let (guard, told) = lived(WALL);
    let mut bytes = guard.snapshot(1, WALL, true, START);
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Image::decode(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    for entry in told {
        let mut record = entry.encode();
        assert_eq!(Entry::decode(&record), Some(entry));
        for bit in 0..record.len() * 8 {
            record[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Entry::decode(&record), None, "bit {bit}");
            record[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn a_journal_alone_brings_back_keys_and_debts() {
    let (_, told) = lived(WALL);
    let after = guard(policy());
    for entry in &told {
        after.replay(*entry, WALL, START);
    }
    // What is proved of paths is in the snapshot only: until it is proved again it is gated.
    let expected = "1 paid, 2 removed, 3 paid, 4 removed, 5 unknown, 6 unknown, 7 unknown, \
                    100 paid, Some(ClientBudget) None 0";
    assert_eq!(says(&after, START), expected);
    for entry in &told {
        after.replay(*entry, WALL, START);
    }
    assert_eq!(says(&after, START), expected, "replayed twice");
}

#[test]
fn an_older_journal_over_a_newer_snapshot_changes_nothing() {
    let (before, told) = lived(WALL);
    let expected = says(&before, START);
    let after = load(&before.snapshot(1, WALL, true, START), WALL, START);
    for _ in 0..2 {
        for entry in &told {
            after.replay(*entry, WALL, START);
        }
    }
    assert_eq!(says(&after, START), expected);
}

/// The last record of a journal may be older than the snapshot that it is replayed over.
#[test]
fn a_reason_not_to_be_warm_is_not_forgotten_by_an_older_record() {
    let mut policy = policy();
    policy.mode = Mode::Observe;
    let before = guard(policy);
    let older = before.changes(WALL, START);
    let late = START.after(LIFETIME - SECOND);
    Ask::get(v4(1), "/cart/").with(&key(1)).answered(&before, 200, &text(&key(1)), late);
    let after = load(&before.snapshot(1, WALL, false, late), WALL, late);
    for entry in older {
        after.replay(entry, WALL, late);
    }
    let warmth = after.warmth(late.after(SECOND));
    assert!(matches!(warmth, Warmth::IssuedElsewhere { .. }), "{warmth:?}");
}

#[test]
fn dead_is_final_in_whatever_order_a_journal_is_replayed() {
    let (_, told) = lived(WALL);
    let mut rng = Random(4);
    for _ in 0..50 {
        let after = guard(policy());
        let mut shuffled = told.clone();
        for index in (1..shuffled.len()).rev() {
            shuffled.swap(index, rng.below(index + 1));
        }
        for entry in shuffled {
            after.replay(entry, WALL, START);
        }
        for dead in [2, 4] {
            let ticket = Ask::get(v4(60), "/x/").with(&key(dead)).ticket(&after, START);
            assert!(matches!(ticket.sent, Sent::Nothing));
            give_up(&after, ticket, START);
        }
    }
}

/// The wall clock may be set while the process is away, or be wrong until the network is there.
#[test]
fn a_wall_clock_that_steps_back_shuts_nobody_out_for_long() {
    let (before, _) = lived(WALL);
    let bytes = before.snapshot(1, WALL, true, START);
    for days in [1, 365, 10_000] {
        // The wall clock shows less, the monotonic one more: so the origin lies earlier.
        let wall =
            Wall { origin_unix_nanos: WALL.origin_unix_nanos - days * 86_400 * NANOS as i128 };
        let after = load(&bytes, wall, START);
        assert_ne!(after.warmth(START), Warmth::Warm);
        let soon = START.after(Duration::from_secs(2 * 3600));
        for client in [9, 61] {
            assert_eq!(Ask::get(v4(client), "/x/").refusal(&after, soon), None, "{days} days");
        }
        let ticket = Ask::get(v4(1), "/x/").with(&key(1)).ticket(&after, soon);
        assert!(matches!(ticket.sent, Sent::Known(..)), "logged out by a clock");
        give_up(&after, ticket, soon);
    }
}

#[test]
fn a_wall_clock_that_steps_forward_ends_keys_but_breaks_nothing() {
    let (before, _) = lived(WALL);
    let bytes = before.snapshot(1, WALL, true, START);
    for days in [1, 13, 15, 100_000] {
        let wall =
            Wall { origin_unix_nanos: WALL.origin_unix_nanos + days * 86_400 * NANOS as i128 };
        let after = load(&bytes, wall, START);
        let ticket = Ask::get(v4(1), "/x/").with(&key(1)).ticket(&after, START);
        assert_eq!(matches!(ticket.sent, Sent::Known(..)), days <= 13, "{days} days");
        give_up(&after, ticket, START);
        assert_eq!(Ask::get(v4(9), "/x/").refusal(&after, START), None);
    }
}

/// A debt is not paid off by a restart, not even a deep one.
#[test]
fn a_restart_refills_no_budget() {
    let mut many_at_once = policy();
    many_at_once.session.in_flight_per_key = 40;
    let guard = guard(many_at_once);
    let now = START.after(10 * SECOND);
    Ask::get(v4(1), "/cart/").answered(&guard, 200, &text(&key(1)), START);
    let tickets: Vec<_> =
        (0..40).map(|_| Ask::get(v4(1), "/x/").with(&key(1)).ticket(&guard, now)).collect();
    for (ticket, number) in tickets.into_iter().zip(200..) {
        let other = evidence(&guard, 200, &text(&key(number)));
        let _ = guard.settle(ticket, Outcome::Answered(&other, None), now);
    }
    let after = load(&guard.snapshot(1, WALL, true, now), WALL, now);
    let ask = Ask::get(v4(1), "/x/");
    for seconds in [0, 20, 35] {
        let then = now.after(SECOND * seconds);
        assert_eq!(ask.refusal(&after, then), Some(Refusal::ClientBudget), "{seconds}");
    }
    assert_eq!(ask.refusal(&after, now.after(41 * SECOND)), None);
}

/// What is under way when a process is killed counts as owed: nothing will prove it refundable.
#[test]
fn what_is_held_at_a_kill_is_owed_afterwards() {
    let guard = guard(policy());
    let tickets: Vec<_> = (0..4).map(|_| Ask::get(v4(1), "/x/").ticket(&guard, START)).collect();
    let after = load(&guard.snapshot(1, WALL, false, START), WALL, START);
    assert_eq!(Ask::get(v4(1), "/x/").refusal(&after, START), Some(Refusal::ClientBudget));
    assert_eq!(after.under_way(), super::super::UnderWay::default());
    tickets.into_iter().for_each(|ticket| give_up(&guard, ticket, START));
}

#[test]
fn fewer_spares_after_a_restart_are_never_more_than_configured() {
    let mut wide = policy();
    wide.recycle.spares = 64;
    wide.budgets[0].site = quota(1000, SECOND);
    let before = guard(wide);
    for (path, first) in [("/logout/", 10), ("/en/logout/", 20), ("/de/logout/", 30)] {
        prove(&before, path, first, START);
        let tickets: Vec<_> =
            (0..4).map(|n| Ask::get(v4(n), path).ticket(&before, START)).collect();
        for (ticket, number) in tickets.into_iter().zip(first * 10..) {
            let fresh = evidence(&before, 200, &text(&key(number)));
            let _ = before.settle(ticket, Outcome::Answered(&fresh, None), START);
        }
    }
    assert_eq!(before.sizes().1, 12);
    let bytes = before.snapshot(1, WALL, true, START);
    let image = Image::decode(&bytes).expect("whole");
    let mut narrow = policy();
    narrow.recycle.spares = 3;
    let after = Guard::restored(narrow, image, WALL, 2, START);
    assert!(after.sizes().1 <= 3, "{:?}", after.sizes());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Image::decode(&bytes);
        let framed = |body: &[u8]| {
            [Image::MAGIC.as_slice(), body, &crc32fast::hash(body).to_le_bytes()].concat()
        };
        // With a checksum that fits, so that every branch of the reader is reached.
        if let Ok(image) = Image::decode(&framed(&bytes)) {
            let _ = Guard::restored(policy(), image, WALL, 1, START);
        }
        if let Some(record) = bytes.first_chunk::<17>() {
            let sum = crc32fast::hash(record).to_le_bytes();
            let whole: [u8; Entry::LEN] = [record.as_slice(), &sum].concat().try_into().expect("21");
            let entry = Entry::decode(&whole).expect("it fits");
            guard(policy()).replay(entry, WALL, START);
        }
    }

    /// A whole image with bytes changed and the checksum made to fit: read or refused, never a panic.
    #[test]
    fn a_forged_image_never_panics(changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..6)) {
        let bytes = lived(WALL).0.snapshot(1, WALL, true, START);
        let mut body = bytes[8..bytes.len() - 4].to_vec();
        for (place, byte) in changes {
            let place = usize::from(place) % body.len();
            body[place] = byte;
        }
        let sum = crc32fast::hash(&body).to_le_bytes();
        if let Ok(image) = Image::decode(&[Image::MAGIC.as_slice(), &body, &sum].concat()) {
            let after = Guard::restored(policy(), image, WALL, 1, START);
            let _ = after.snapshot(1, WALL, true, START);
            let _ = Ask::get(v4(1), "/logout/").refusal(&after, START);
            let _ = Ask::get(v4(1), "/x/").with(&key(1)).refusal(&after, START);
        }
    }
}
