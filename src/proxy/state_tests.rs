use super::files::lock_path;
use super::*;
use crate::config::Config;
use crate::guard::fact::Warmth;
use crate::guard::image::Wall;

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// A disk that is full for a night must not find a journal for each second of it.
#[test]
fn a_snapshot_that_fails_again_and_again_leaves_one_journal() {
    let folder = std::env::temp_dir().join(format!("floodwall-state-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("state");
    let config = Config::default();
    let (state, guard) =
        StateFile::open(&path, config.sites()[0].policy().clone(), Clock::start()).unwrap();
    // A snapshot cannot be written where a folder stands.
    fs::create_dir(folder.join("state.new")).unwrap();
    for _ in 0..5 {
        state.journal().broken = true;
        state.save(&guard);
    }
    assert!(state.journal().broken);
    let saved = state.saved();
    assert_eq!((saved.done, saved.failed), (1, 5), "the first was at the start");
    let broken = ["state", "state.journal.1", "state.journal.2", "state.lock", "state.new"];
    assert_eq!(names(&folder), broken);

    fs::remove_dir(folder.join("state.new")).unwrap();
    state.save(&guard);
    assert!(!state.journal().broken);
    let again = state.saved();
    assert_eq!((again.done, again.failed), (2, 5));
    assert!(again.last_unix_ms >= saved.last_unix_ms && again.snapshot_bytes > 0);
    assert_eq!(names(&folder), ["state", "state.journal.2", "state.lock"]);
    // The next one has a journal of its own again.
    state.journal().broken = true;
    state.save(&guard);
    assert_eq!(names(&folder), ["state", "state.journal.3", "state.lock"]);
    fs::remove_dir_all(&folder).unwrap();
}

/// A state in a folder of its own, as a process left it that had run for longer than a lifetime.
struct Left {
    path: PathBuf,
    clock: Clock,
    policy: Policy,
}

impl Left {
    fn new(name: &str) -> Self {
        let folder = format!("floodwall-left-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let policy = Config::default().sites()[0].policy().clone();
        Self { path: folder.join("state"), clock: Clock::start(), policy }
    }

    /// The wall clock as it stood (or stands, where it was set) this much earlier.
    fn earlier(&self, span: Duration) -> Wall {
        let origin = self.clock.wall().origin_unix_nanos - i128::try_from(span.as_nanos()).unwrap();
        Wall { origin_unix_nanos: origin }
    }

    /// Nothing else is left beside it.
    fn snapshot(&self, generation: u64, wall: Wall, clean: bool) {
        for (_, journal) in journals(&self.path).unwrap() {
            fs::remove_file(journal).unwrap();
        }
        let now = self.clock.now();
        let began = now.before(self.policy.session.lifetime + Duration::from_secs(86_400));
        let guard = Guard::new(self.policy.clone(), Secret::new([7; 16]), 0, began);
        fs::write(&self.path, guard.snapshot(generation, wall, clean, now)).unwrap();
    }

    fn journal(&self, generation: u64, entries: &[Entry]) {
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.encode()).collect();
        fs::write(journal_path(&self.path, generation), bytes).unwrap();
    }

    fn alive(&self, ago: Duration) -> Entry {
        Entry::sign_of_life(self.earlier(ago), self.clock.now())
    }

    /// What a start finds, and `floodwall check` before it.
    fn warmth(&self) -> Warmth {
        let before = names(self.path.parent().unwrap());
        let peeked = peek(&self.path, self.policy.clone(), self.clock).unwrap().unwrap();
        let peeked = peeked.warmth(self.clock.now());
        assert_eq!(names(self.path.parent().unwrap()), before, "a look leaves no trace");
        let warmth = self.warmth_at_start();
        assert_eq!(std::mem::discriminant(&peeked), std::mem::discriminant(&warmth));
        warmth
    }

    fn warmth_at_start(&self) -> Warmth {
        let opened = StateFile::open(&self.path, self.policy.clone(), self.clock);
        let (_state, guard) = opened.unwrap();
        guard.warmth(self.clock.now())
    }

    fn missed(&self) -> Option<Missed> {
        missed_in(self.warmth())
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.path.parent().unwrap());
    }
}

fn missed_in(warmth: Warmth) -> Option<Missed> {
    match warmth {
        Warmth::Cold { missed, remaining, whole } => {
            assert!(whole - remaining < Duration::from_secs(60), "a whole lifetime from now on");
            Some(missed)
        }
        Warmth::Warm => None,
        Warmth::Overflowed { .. } | Warmth::IssuedElsewhere { .. } => panic!("{warmth:?}"),
    }
}

const HOURS: Duration = Duration::from_secs(3 * 3600);
const NOW: Duration = Duration::ZERO;

#[test]
fn a_restart_and_a_kill_with_a_quick_return_leave_the_ledger_warm() {
    let left = Left::new("kill");
    left.snapshot(1, left.earlier(NOW), true);
    assert_eq!(left.missed(), None);
    for _ in 0..3 {
        // Dropped without being closed: a kill.
        assert_eq!(left.missed(), None);
    }
    let (state, guard) = StateFile::open(&left.path, left.policy.clone(), left.clock).unwrap();
    state.live();
    state.close(&guard).unwrap();
    drop(state);
    assert_eq!(left.missed(), None);
}

/// A start that found no room for its snapshot has begun a journal, and changed nothing else.
#[test]
fn a_start_that_failed_changes_nothing_of_what_was_missed() {
    let left = Left::new("failed");
    let fail = || {
        let beside = with_suffix(&left.path, ".new");
        fs::create_dir(&beside).unwrap();
        for _ in 0..2 {
            let opened = StateFile::open(&left.path, left.policy.clone(), left.clock);
            assert!(matches!(opened, Err(StateError::File { .. })));
        }
        fs::remove_dir(&beside).unwrap();
    };
    left.snapshot(1, left.earlier(NOW), true);
    fail();
    assert_eq!(left.missed(), None);
    fs::write(lock_path(&left.path), "another boot").unwrap();
    fail();
    assert_eq!(left.missed(), Some(Missed::Crash));
}

#[test]
fn signs_of_life_in_the_journal_tell_for_how_long_nothing_ran() {
    let left = Left::new("absence");
    for (snapshot, journal, absent) in [
        (HOURS, Some(NOW), false),
        (HOURS, Some(Duration::from_secs(50)), false),
        (HOURS, Some(Duration::from_secs(70)), true),
        (HOURS, None, true),
        (NOW, None, false),
    ] {
        left.snapshot(1, left.earlier(snapshot), false);
        let signs: Vec<Entry> = journal.iter().map(|ago| left.alive(*ago)).collect();
        left.journal(1, &signs);
        let missed = left.missed();
        assert_eq!(matches!(missed, Some(Missed::Absence(_))), absent, "{missed:?}");
        // What was begun anew is remembered: the next start is no absence, and not warm.
        assert_eq!(left.missed().is_some(), absent);
    }
    left.snapshot(1, left.earlier(HOURS), true);
    let Some(Missed::Absence(away)) = left.missed() else { panic!("it was away") };
    assert_eq!(away.as_secs() / 60, 180);
}

#[test]
fn a_clock_that_was_set_makes_no_ledger_warm_that_would_not_be() {
    let left = Left::new("clock");
    // The sign of life lies in the future: the clock was set back, by more than a moment.
    let future = |span| {
        let origin = left.clock.wall().origin_unix_nanos + i128::try_from(span).unwrap();
        Wall { origin_unix_nanos: origin }
    };
    left.snapshot(1, future(HOURS.as_nanos()), true);
    assert_eq!(left.missed(), Some(Missed::ClockSetBack));
    left.snapshot(1, future(1_000_000_000), true);
    assert_eq!(left.missed(), None);
    // It was set back while the process ran: the last sign of life counts, not the latest.
    left.snapshot(1, left.earlier(HOURS), false);
    let ahead = Entry::sign_of_life(future(HOURS.as_nanos()), left.clock.now());
    left.journal(1, &[ahead, left.alive(NOW)]);
    assert_eq!(left.missed(), None);
    left.snapshot(1, left.earlier(HOURS), false);
    left.journal(1, &[left.alive(NOW), left.alive(HOURS)]);
    assert!(matches!(left.missed(), Some(Missed::Absence(_))));
}

#[test]
fn a_journal_that_is_not_whole_makes_the_ledger_cold() {
    let alive = |left: &Left| left.alive(NOW);
    type Case<'a> = (&'a str, &'a dyn Fn(&Left));
    let cases: [Case<'_>; 6] = [
        ("none, though it was no clean stop", &|left| left.snapshot(3, left.earlier(NOW), false)),
        ("the first is missing: an old snapshot", &|left| {
            left.snapshot(3, left.earlier(HOURS), true);
            left.journal(5, &[alive(left)]);
        }),
        ("one in the middle is missing", &|left| {
            left.snapshot(3, left.earlier(NOW), false);
            left.journal(3, &[]);
            left.journal(5, &[alive(left)]);
        }),
        ("a record is damaged", &|left| {
            left.snapshot(3, left.earlier(NOW), false);
            let [mut bad, good] = [alive(left).encode(), alive(left).encode()];
            bad[3] ^= 1;
            fs::write(journal_path(&left.path, 3), [bad, good].concat()).unwrap();
        }),
        ("the last record is cut short", &|left| {
            left.snapshot(3, left.earlier(NOW), false);
            fs::write(journal_path(&left.path, 3), &alive(left).encode()[..9]).unwrap();
        }),
        ("nothing is missing", &|left| {
            left.snapshot(3, left.earlier(HOURS), false);
            left.journal(2, &[]);
            left.journal(3, &[]);
            left.journal(4, &[alive(left)]);
        }),
    ];
    for (name, leave) in cases {
        let left = Left::new("journal");
        leave(&left);
        let expected = (name != "nothing is missing").then_some(Missed::Journal);
        assert_eq!(left.missed(), expected, "{name}");
    }
}

#[test]
fn a_crash_of_the_machine_makes_the_ledger_cold_and_a_clean_stop_before_a_reboot_does_not() {
    let left = Left::new("boot");
    let lock = lock_path(&left.path);
    left.snapshot(1, left.earlier(NOW), true);
    assert_eq!(left.missed(), None);
    let boot = fs::read(&lock).unwrap();
    assert!(!boot.is_empty(), "this machine has no boots that could be told apart");
    fs::write(&lock, "another boot").unwrap();
    assert_eq!(left.missed(), Some(Missed::Crash));

    left.snapshot(9, left.earlier(NOW), true);
    let (state, guard) = StateFile::open(&left.path, left.policy.clone(), left.clock).unwrap();
    state.close(&guard).unwrap();
    drop(state);
    assert!(fs::read(&lock).unwrap().is_empty(), "nothing runs");
    assert_eq!(left.missed(), None);
}

#[test]
fn a_damaged_state_file_and_a_longer_lifetime_make_the_ledger_cold() {
    let mut left = Left::new("damaged");
    fs::write(&left.path, b"FLOODWL2 but then nonsense").unwrap();
    assert!(peek(&left.path, left.policy.clone(), left.clock).is_err());
    assert_eq!(missed_in(left.warmth_at_start()), Some(Missed::Damaged));
    left.snapshot(90, left.earlier(NOW), true);
    left.policy.session.lifetime *= 2;
    assert_eq!(left.missed(), Some(Missed::LongerLifetime));
    assert_eq!(left.missed(), Some(Missed::LongerLifetime), "still");
    assert!(
        peek(&left.path.with_extension("none"), left.policy.clone(), left.clock).unwrap().is_none()
    );
}

/// Keys that a smaller ledger has no room for may be somebody's.
#[test]
fn a_ledger_that_was_made_smaller_is_not_warm() {
    let mut left = Left::new("smaller");
    let now = left.clock.now();
    let began = now.before(left.policy.session.lifetime * 2);
    let guard = Guard::new(left.policy.clone(), Secret::new([7; 16]), 0, began);
    for number in 0..5_000 {
        let key = Secret::new([9; 16]).key(&Secret::new([9; 16]).placeholder(number));
        let expires = u32::try_from(now.as_nanos() / 1_000_000_000 + 86_400).unwrap();
        let record = KeyRecord { key, expires, flags: 0 };
        guard.replay(Entry::key(record, left.clock.wall()), left.clock.wall(), now);
    }
    assert_eq!(guard.warmth(now), Warmth::Warm);
    fs::write(&left.path, guard.snapshot(1, left.clock.wall(), true, now)).unwrap();
    assert_eq!(left.warmth(), Warmth::Warm);
    left.policy.session.capacity = 1_000;
    assert!(matches!(left.warmth(), Warmth::Overflowed { .. }));
}

/// A process that was stopped for long (SIGSTOP, a frozen container) begins anew, as if it had not
/// run, and a kill does not make that forgotten.
#[test]
fn what_was_missed_while_the_process_slept_is_remembered() {
    let left = Left::new("slept");
    left.snapshot(1, left.earlier(NOW), true);
    let (state, guard) = StateFile::open(&left.path, left.policy.clone(), left.clock).unwrap();
    let missed = Missed::Absence(HOURS);
    guard.missed(missed, left.clock.now());
    state.missed();
    let before = state.journal().bytes;
    state.live();
    assert_eq!(state.journal().bytes, before, "no sign of life before it is written down");
    state.save(&guard);
    drop((state, guard));
    assert_eq!(left.missed(), Some(missed));
}

/// Keys were issued while the disk was full, and a kill has forgotten them.
#[test]
fn what_could_not_be_written_before_a_kill_makes_the_ledger_cold() {
    let left = Left::new("gap");
    let open = || StateFile::open(&left.path, left.policy.clone(), left.clock).unwrap();
    left.snapshot(1, left.earlier(NOW), true);
    let (state, _guard) = open();
    state.journal().leave_gap();
    state.journal().write(&left.alive(NOW).encode());
    drop(state);
    assert_eq!(left.missed(), Some(Missed::Journal));

    // Nothing is missing any more once a snapshot and a journal without a gap are there.
    left.snapshot(9, left.earlier(NOW), true);
    let (state, guard) = open();
    let beside = with_suffix(&left.path, ".new");
    fs::create_dir(&beside).unwrap();
    for _ in 0..2 {
        state.journal().leave_gap();
        state.save(&guard);
    }
    fs::remove_dir(&beside).unwrap();
    for _ in 0..2 {
        state.save(&guard);
    }
    assert!(!state.journal().broken);
    drop(state);
    assert_eq!(left.missed(), None);
}

/// While the journal cannot be written there are no signs of life either.
#[test]
fn a_broken_journal_has_no_sign_of_life() {
    let left = Left::new("broken");
    left.snapshot(1, left.earlier(NOW), true);
    let (state, _guard) = StateFile::open(&left.path, left.policy.clone(), left.clock).unwrap();
    state.journal().broken = true;
    let before = state.journal().bytes;
    state.live();
    assert_eq!(state.journal().bytes, before);
    state.journal().broken = false;
    state.live();
    assert_eq!(state.journal().bytes, before + Entry::LEN as u64);
}
