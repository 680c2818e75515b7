use super::*;

const NOW: Moment = Moment::from_nanos(1 << 59);
const DAY: Duration = Duration::from_secs(86_400);

fn key(number: u64) -> KeyHash {
    KeyHash(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (number << 32))
}

fn ledger_with(keys: u64) -> Ledger {
    let ledger = Ledger::new(100_000, 4);
    for number in 0..keys {
        let _ = ledger.issue(key(number), NOW.after(DAY), true, NOW);
    }
    ledger
}

fn lease(entered: Entered) -> KeyLease {
    match entered {
        Entered::Alive(lease) => lease,
        other => panic!("not alive: {other:?}"),
    }
}

fn enter(ledger: &Ledger, effect: Effect) -> Entered {
    ledger.enter(key(0), effect, NOW, Patience::Left)
}

#[test]
fn an_issued_key_is_alive_until_it_expires_or_is_ended() {
    let ledger = ledger_with(2);
    assert!(matches!(ledger.enter(key(9), Effect::Write, NOW, Patience::Left), Entered::Unknown));
    ledger.leave(lease(enter(&ledger, Effect::Write)));
    let late = NOW.after(2 * DAY);
    assert!(matches!(ledger.enter(key(0), Effect::Write, late, Patience::Left), Entered::Unknown));
    assert!(ledger.kill(key(0)).is_some());
    assert!(matches!(enter(&ledger, Effect::Write), Entered::Dead { .. }));
}

#[test]
fn dead_is_final() {
    let ledger = ledger_with(1);
    ledger.kill(key(0));
    let (record, _) = ledger.issue(key(0), NOW.after(DAY), true, NOW);
    assert!(record.flags & KeyRecord::DEAD != 0);
    assert_eq!(ledger.renew(key(0), NOW.after(DAY), true, NOW), Renewal::NotAlive);
    let alive = KeyRecord { flags: KeyRecord::PAID, ..record };
    ledger.restore(alive, NOW);
    assert!(matches!(enter(&ledger, Effect::Write), Entered::Dead { .. }));
}

#[test]
fn a_flush_runs_alone_and_rotations_one_at_a_time() {
    let ledger = ledger_with(1);
    let write = lease(enter(&ledger, Effect::Write));
    let rotate = lease(enter(&ledger, Effect::Rotate));
    assert!(matches!(enter(&ledger, Effect::Rotate), Entered::Busy));
    assert!(matches!(enter(&ledger, Effect::Flush), Entered::Busy));
    ledger.leave(rotate);
    ledger.leave(lease(enter(&ledger, Effect::Rotate)));
    ledger.leave(write);
    let flush = lease(enter(&ledger, Effect::Flush));
    for effect in Effect::ALL {
        assert!(matches!(enter(&ledger, effect), Entered::Busy), "{effect:?}");
    }
    ledger.leave(flush);
    assert_eq!(ledger.in_flight(), 0);
    let shared: Vec<_> = (0..4).map(|_| lease(enter(&ledger, Effect::Write))).collect();
    assert!(matches!(enter(&ledger, Effect::Write), Entered::Busy));
    shared.into_iter().for_each(|lease| ledger.leave(lease));
}

#[test]
fn a_key_rotates_freely_once() {
    let ledger = ledger_with(1);
    assert_eq!(
        ledger.rotate(key(0), Successor::Relayed).0,
        Rotation::Free { paid: true, alone: true }
    );
    assert_eq!(ledger.rotate(key(0), Successor::Relayed).0, Rotation::Further);
    assert_eq!(ledger.rotate(key(7), Successor::Relayed).0, Rotation::Further);
}

#[test]
fn an_uncertain_exchange_uses_the_free_rotation_up() {
    for waited in [false, true] {
        let ledger = ledger_with(1);
        if waited {
            let write = lease(enter(&ledger, Effect::Write));
            let forced = lease(ledger.enter(key(0), Effect::Flush, NOW, Patience::Spent));
            ledger.leave(write);
            ledger.leave(forced);
        } else {
            assert!(ledger.uncertain(key(0), Effect::Write).1.is_some());
        }
        assert_eq!(ledger.rotate(key(0), Successor::Relayed).0, Rotation::Further);
    }
}

#[test]
fn few_of_those_that_overtake_others_of_their_key_are_free() {
    let ledger = ledger_with(1);
    let stalled = lease(enter(&ledger, Effect::Write));
    let overtake = |effect| lease(ledger.enter(key(0), effect, NOW, Patience::Spent));
    let overtaking = [Effect::Flush, Effect::Flush, Effect::Flush].map(overtake);
    assert_eq!(overtaking.each_ref().map(|lease| lease.paid), [true, false, false]);
    overtaking.into_iter().for_each(|lease| ledger.leave(lease));
    ledger.leave(stalled);
    // Four go together, four overtake them, and more than that need a hold.
    let writes: Vec<_> = (0..10).map(|_| overtake(Effect::Write)).collect();
    assert_eq!(writes.iter().filter(|lease| lease.paid).count(), 8);
    writes.into_iter().for_each(|lease| ledger.leave(lease));
}

#[test]
fn a_key_whose_flush_ended_uncertainly_is_not_paid_even_after_a_restart() {
    let ledger = ledger_with(1);
    assert!(!ledger.uncertain(key(0), Effect::Rotate).0);
    assert!(lease(enter(&ledger, Effect::Write)).paid);
    let (gone, record) = ledger.uncertain(key(0), Effect::Flush);
    assert!(!gone);
    assert!(ledger.uncertain(key(0), Effect::Flush).0);
    assert!(!lease(enter(&ledger, Effect::Write)).paid);
    // The journal's older record of it does not undo that.
    let (older, _) = ledger_with(1).issue(key(0), NOW.after(DAY), true, NOW);
    let after = Ledger::new(100, 4);
    for record in [record.expect("it changed"), older] {
        after.restore(record, NOW);
    }
    assert!(!lease(after.enter(key(0), Effect::Write, NOW, Patience::Left)).paid);
}

#[test]
fn a_full_ledger_forgets_what_was_never_presented_first() {
    let capacity = 6_400;
    let ledger = Ledger::new(capacity, 4);
    let honest = 1_000;
    for number in 0..honest {
        let _ = ledger.issue(key(number), NOW.after(DAY), true, NOW);
        ledger.leave(lease(ledger.enter(key(number), Effect::Write, NOW, Patience::Left)));
    }
    let mut overflowed = false;
    for number in honest..50_000 {
        let (_, room) = ledger.issue(key(number), NOW.after(DAY), false, NOW);
        overflowed |= room == Room::Overflowed;
    }
    assert!(overflowed);
    // As many as it promises, and no more than it has places for.
    assert!((capacity..=64 * Ledger::each(capacity)).contains(&ledger.len()));
    for number in 0..honest {
        let entered = ledger.enter(key(number), Effect::Write, NOW, Patience::Left);
        ledger.leave(lease(entered));
    }
}

#[test]
fn expired_keys_make_room_without_a_word() {
    let ledger = Ledger::new(6_400, 4);
    let mut now = NOW;
    for number in 0..100_000 {
        let (_, room) = ledger.issue(key(number), now.after(Duration::from_secs(64)), true, now);
        assert_eq!(room, Room::Enough);
        now = now.after(Duration::from_millis(50));
    }
}

#[test]
fn a_session_saved_on_every_request_costs_a_journal_line_now_and_then() {
    let ledger = ledger_with(1);
    let mut told = 0;
    for minute in 0..60 * 24 {
        let now = NOW.after(Duration::from_secs(60 * minute));
        match ledger.renew(key(0), now.after(DAY), false, now) {
            Renewal::Alive(record) => told += usize::from(record.is_some()),
            Renewal::NotAlive => panic!("a renewed session expired"),
        }
    }
    assert!((20..=40).contains(&told), "{told}");
}

#[test]
fn what_was_known_before_a_restart_is_known_after_it() {
    let before = ledger_with(100);
    before.kill(key(3));
    let after = Ledger::new(100_000, 4);
    for record in before.records(NOW).flatten() {
        after.restore(record, NOW);
    }
    assert_eq!(after.len(), 100);
    let enter = |number| after.enter(key(number), Effect::Write, NOW, Patience::Left);
    assert!(matches!(enter(3), Entered::Dead { .. }));
    assert!(lease(enter(4)).paid);
}

/// A user who never leaves, in front of many who do: whoever came first does not stand in the way
/// of finding those that have expired.
#[test]
fn a_session_that_never_ends_costs_no_other_its_place() {
    let capacity = 6_400;
    let ledger = Ledger::new(capacity, 4);
    let span = Duration::from_secs(64);
    let present = |number, now| {
        ledger.leave(lease(ledger.enter(key(number), Effect::Write, now, Patience::Left)));
    };
    // One or more in each shard.
    let lasting = 640;
    for number in 0..lasting {
        let _ = ledger.issue(key(number), NOW.after(400 * DAY), true, NOW);
        if number % 2 == 0 {
            present(number, NOW);
        }
    }
    let mut now = NOW;
    for number in lasting..100_000 {
        now = now.after(Duration::from_millis(50));
        let (_, room) = ledger.issue(key(number), now.after(span), true, now);
        assert_eq!(room, Room::Enough, "number {number}");
        present(number, now);
    }
    for number in 0..lasting {
        present(number, now);
    }
}
