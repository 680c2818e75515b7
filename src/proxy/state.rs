//! The state file: what the guard remembers over a restart, a kill and an upgrade.
//!
//! `FILE` is a snapshot, replaced in one rename and checksummed; `FILE.journal.N` has what changed
//! since the snapshot of generation N; `FILE.lock` keeps a second process away. A record of a key
//! is written before its answer is relayed, so that a kill forgets none; only a crash of the whole
//! machine can lose the last seconds, because the journal is not synced.
//!
//! Whatever may have been missed makes the ledger cold: more than a minute without a sign of life
//! in the journal (sessions may have been issued past Floodwall meanwhile), a journal that is not
//! whole, a crash of the machine. `FILE.lock` says on which boot of the machine a process runs.

mod files;
mod saves;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::files::{
    crashed, create, journal_path, journals, lock, note_boot, read, read_journal, set_aside,
    sync_folder, with_suffix,
};
use self::saves::Saves;
use super::clock::Clock;
use crate::guard::Guard;
use crate::guard::fact::Missed;
use crate::guard::image::{Entry, Image};
use crate::guard::key::Secret;
use crate::guard::ledger::KeyRecord;
use crate::guard::moment::Moment;
use crate::guard::policy::Policy;
use crate::guard::warmth::WarmUp;
use crate::telemetry::snapshot::Saved;

pub use self::files::StateError;

/// A snapshot is taken when the journal has grown past this and past the snapshot before it.
const JOURNAL_BYTES: u64 = 16 * 1024 * 1024;
/// The journal is written and read in pieces of this size at most.
const PIECE_BYTES: usize = 4096 * Entry::LEN;
/// Between two lines in the log that say that the state cannot be saved.
const SAID_INTERVAL: Duration = Duration::from_secs(60);

/// The state of one site, open for writing.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    clock: Clock,
    journal: Mutex<Journal>,
    /// Held as long as this is the process that writes.
    lock: Mutex<Option<File>>,
    /// A successor writes.
    released: AtomicBool,
    saves: Saves,
}

#[derive(Debug)]
struct Journal {
    file: File,
    generation: u64,
    bytes: u64,
    snapshot_bytes: u64,
    /// What the journal was last told of the warm-up.
    told: Vec<Entry>,
    /// Something could not be written, or has no record: only a new snapshot makes the state whole
    /// again.
    broken: bool,
    /// There is a gap in this file.
    gap: bool,
    /// It was begun for a snapshot that has not been written yet.
    ahead: bool,
    /// When it was last said that the state cannot be saved.
    said: Option<Moment>,
}

impl StateFile {
    /// Opens a state file, or begins one, and brings the guard back that it remembers. A damaged
    /// file is set aside under another name, with a warning; the guard then starts empty.
    pub fn open(path: &Path, policy: Policy, clock: Clock) -> Result<(Self, Guard), StateError> {
        let lock = lock(path)?;
        let crashed = crashed(path)?;
        let seed = u64::from_le_bytes(random()?);
        let (guard, last) = match read(path)? {
            Some(bytes) => match Image::decode(&bytes) {
                Ok(image) => {
                    let generation = image.generation;
                    let loaded = load(path, image, policy, clock, seed)?;
                    let missed = loaded.missed.or(crashed.then_some(Missed::Crash));
                    loaded.tell(path);
                    (missing(loaded.guard, missed, clock), generation)
                }
                Err(damage) => {
                    let aside = set_aside(path, clock)?;
                    tracing::warn!(
                        file = %path.display(), set_aside = %aside.display(), reason = %damage,
                        "the state file is damaged: starting without it, with no session known"
                    );
                    (missing(begin(policy, clock, seed)?, Some(Missed::Damaged), clock), 0)
                }
            },
            None => {
                tracing::info!(file = %path.display(), "no state file yet: no session is known");
                (begin(policy, clock, seed)?, 0)
            }
        };
        // The spares have been loaded: the snapshot that replaces the file has none.
        let state = Self::begin(path, &guard, lock, last, clock)?;
        Ok((state, guard))
    }

    /// Goes on with the file of a predecessor that has released it, and whose memory `guard` has.
    pub fn succeed(path: &Path, guard: &Guard, clock: Clock) -> Result<Self, StateError> {
        Self::begin(path, guard, lock(path)?, 0, clock)
    }

    /// Begins a journal, behind all that are there and after the generation `last`, and replaces
    /// the snapshot by what `guard` knows.
    fn begin(
        path: &Path,
        guard: &Guard,
        lock: File,
        last: u64,
        clock: Clock,
    ) -> Result<Self, StateError> {
        let generation = journals(path)?.last().map_or(last, |(latest, _)| last.max(*latest)) + 1;
        let file = create(&journal_path(path, generation), false)
            .map_err(StateError::at(path, "write"))?;
        let boot = lock.try_clone().map_err(StateError::at(path, "lock"))?;
        let state = Self {
            path: path.to_owned(),
            clock,
            journal: Mutex::new(Journal {
                file,
                generation,
                bytes: 0,
                snapshot_bytes: 0,
                told: Vec::new(),
                broken: false,
                gap: false,
                ahead: false,
                said: None,
            }),
            lock: Mutex::new(Some(lock)),
            released: AtomicBool::new(false),
            saves: Saves::default(),
        };
        let began = clock.now();
        state.snapshot(guard, generation, false).map_err(StateError::at(path, "write"))?;
        state.saves.done(clock.unix_ms(), clock.now().since(began));
        state.saves.sized(state.journal().snapshot_bytes, 0);
        note_boot(&boot).map_err(StateError::at(path, "lock"))?;
        Ok(state)
    }

    /// The file that it is kept in.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets a successor write: from here on nothing is written, until it is taken back. What was
    /// appended before is in the file.
    pub fn release(&self) {
        self.released.store(true, Ordering::Release);
        // Whoever is writing still has the journal until here.
        drop(self.journal());
        *self.lock() = None;
    }

    /// Writes again, for the successor has failed.
    pub fn take_back(&self, guard: &Guard) -> Result<(), StateError> {
        if self.is_ours() {
            return Ok(());
        }
        let taken = lock(&self.path)?;
        let latest = journals(&self.path)?.last().map_or(0, |(latest, _)| *latest);
        {
            let mut journal = self.journal();
            journal.generation = journal.generation.max(latest);
            journal.broken = true;
            journal.ahead = false;
        }
        // The successor may have said there that it ended well. Where the disk is full nothing can
        // be said, and the next save tries again.
        let noted = note_boot(&taken);
        *self.lock() = Some(taken);
        self.released.store(false, Ordering::Release);
        let rotated = self.rotate(guard);
        rotated.and(noted).map_err(StateError::at(&self.path, "write"))
    }

    /// Whether this process writes.
    fn is_ours(&self) -> bool {
        !self.released.load(Ordering::Acquire)
    }

    /// Notes what became of keys. Written when this returns, but not synced.
    pub fn append(&self, records: &[Option<KeyRecord>]) {
        if records.iter().all(Option::is_none) || !self.is_ours() {
            return;
        }
        let wall = self.clock.wall();
        let mut bytes = Vec::with_capacity(2 * Entry::LEN);
        for record in records.iter().flatten() {
            bytes.extend_from_slice(&Entry::key(*record, wall).encode());
        }
        self.journal().write(&bytes);
    }

    /// Notes what another process that serves the same site told of keys.
    pub fn append_told(&self, keys: &[Entry]) {
        if !keys.is_empty() && self.is_ours() {
            let bytes: Vec<u8> = keys.iter().flat_map(|entry| entry.encode()).collect();
            self.journal().write(&bytes);
        }
    }

    /// Notes what changed in the budgets, and takes a snapshot where the journal has grown long,
    /// or is broken. To be called once each interval, from a thread that may block.
    pub fn save(&self, guard: &Guard) {
        if !self.is_ours() {
            return;
        }
        let (wall, now) = (self.clock.wall(), self.clock.now());
        let mut bytes = Vec::with_capacity(PIECE_BYTES);
        let mut warm_up = Vec::new();
        for entry in guard.changes(wall, now) {
            if entry.is_warm_up() {
                warm_up.push(entry);
                continue;
            }
            bytes.extend_from_slice(&entry.encode());
            if bytes.len() + Entry::LEN > PIECE_BYTES {
                self.journal().write(&bytes);
                bytes.clear();
            }
        }
        let mut journal = self.journal();
        if journal.told != warm_up {
            for entry in &warm_up {
                bytes.extend_from_slice(&entry.encode());
            }
            journal.told = warm_up;
        }
        journal.write(&bytes);
        let long = journal.bytes > JOURNAL_BYTES.max(journal.snapshot_bytes);
        let broken = journal.broken;
        drop(journal);
        match if long || broken { self.rotate(guard) } else { Ok(()) } {
            Ok(()) => self.saves.done(self.clock.unix_ms(), self.clock.now().since(now)),
            Err(error) => {
                self.saves.failed();
                if self.journal().is_worth_saying(now) {
                    tracing::error!(
                        file = %self.path.display(), %error,
                        "the state cannot be saved: a restart would forget what happened since; \
                         make room"
                    );
                }
            }
        }
        let journal = self.journal();
        self.saves.sized(journal.snapshot_bytes, journal.bytes);
    }

    /// How saving went so far.
    pub fn saved(&self) -> Saved {
        self.saves.read()
    }

    /// Leaves a sign of life in the journal, unless something could not be written there. To be
    /// called several times a minute.
    pub fn live(&self) {
        let sign = Entry::sign_of_life(self.clock.wall(), self.clock.now());
        if !self.is_ours() {
            return;
        }
        let mut journal = self.journal();
        if !journal.broken {
            journal.write(&sign.encode());
        }
    }

    /// The guard has missed something, which the journal has no record for: the next save takes a
    /// snapshot, and there is no sign of life before.
    pub fn missed(&self) {
        self.journal().broken = true;
    }

    /// The last snapshot, with the spares; the journal goes.
    pub fn close(&self, guard: &Guard) -> Result<(), StateError> {
        if !self.is_ours() {
            return Ok(());
        }
        let generation = self.journal().generation + 1;
        self.snapshot(guard, generation, true).map_err(StateError::at(&self.path, "write"))?;
        let lock = self.lock();
        let noted = lock.as_ref().map_or(Ok(()), |lock| lock.set_len(0));
        noted.map_err(StateError::at(&self.path, "lock"))
    }

    /// A new journal first, then a snapshot: what happens meanwhile is in both, which is no harm.
    /// A snapshot that failed is tried again with the same journal: each try would leave one.
    fn rotate(&self, guard: &Guard) -> io::Result<()> {
        let generation = {
            let mut journal = self.journal();
            if !journal.ahead {
                let generation = journal.generation + 1;
                journal.file = create(&journal_path(&self.path, generation), false)?;
                journal.generation = generation;
                journal.bytes = 0;
                journal.gap = false;
                journal.ahead = true;
            }
            journal.generation
        };
        // What cannot be written from here on, this snapshot may not have.
        let was_broken = std::mem::take(&mut self.journal().broken);
        let written = self.snapshot(guard, generation, false);
        let mut journal = self.journal();
        match &written {
            Ok(()) => {
                journal.ahead = false;
                // The snapshot has what is missing, but a start would not know.
                journal.broken |= journal.gap;
                if journal.said.take().is_some() {
                    tracing::info!(file = %self.path.display(), "the state can be saved again");
                }
            }
            Err(_) => journal.broken |= was_broken,
        }
        written
    }

    /// Writes a snapshot beside the file, syncs it, renames it over the file, and removes the
    /// journals that it has made needless.
    fn snapshot(&self, guard: &Guard, generation: u64, with_spares: bool) -> io::Result<()> {
        let beside = with_suffix(&self.path, ".new");
        let mut file = create(&beside, true)?;
        let (wall, now) = (self.clock.wall(), self.clock.now());
        let mut bytes = 0;
        let written =
            guard.snapshot_pieces(generation, wall, with_spares, now).try_for_each(|piece| {
                bytes += piece.len() as u64;
                file.write_all(&piece)
            });
        if let Err(error) = written.and_then(|()| file.sync_all()) {
            // Half a snapshot is of no use, and takes room where there is none.
            let _ = fs::remove_file(&beside);
            return Err(error);
        }
        fs::rename(&beside, &self.path)?;
        sync_folder(&self.path)?;
        self.journal().snapshot_bytes = bytes;
        for (older, path) in journals(&self.path).unwrap_or_default() {
            if older < generation {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<File>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal {
    fn write(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match self.file.write_all(bytes) {
            Ok(()) => self.bytes += bytes.len() as u64,
            // Said by whoever tries to mend it.
            Err(_) => self.leave_gap(),
        }
    }

    /// Something is missing here. Half a record goes, since those behind it could not be read; a
    /// record of zeros, which is none and takes no room on a full disk, tells a start after a kill.
    fn leave_gap(&mut self) {
        let behind = self.bytes + Entry::LEN as u64;
        if self.file.set_len(self.bytes).and_then(|()| self.file.set_len(behind)).is_ok() {
            self.bytes = behind;
        }
        self.gap = true;
        self.broken = true;
    }

    /// Whether it was long enough ago that somebody was told.
    fn is_worth_saying(&mut self, now: Moment) -> bool {
        let worth = self.said.is_none_or(|said| now.since(said) >= SAID_INTERVAL);
        if worth {
            self.said = Some(now);
        }
        worth
    }
}

/// A guard that remembers nothing.
pub fn begin(policy: Policy, clock: Clock, seed: u64) -> Result<Guard, StateError> {
    Ok(Guard::new(policy, Secret::new(random()?), seed, clock.now()))
}

/// Bytes of the operating system's random source.
pub fn random<const N: usize>() -> Result<[u8; N], StateError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| StateError::Random)?;
    Ok(bytes)
}

/// The guard that a start would load from a state file now, if there is one. Leaves no trace:
/// nothing is locked, written or logged.
///
/// # Errors
/// It cannot be read, or is damaged.
pub fn peek(path: &Path, policy: Policy, clock: Clock) -> Result<Option<Guard>, StateError> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    let damaged = |damage| StateError::at(path, "understand")(io::Error::other(damage));
    let image = Image::decode(&bytes).map_err(damaged)?;
    let loaded = load(path, image, policy, clock, 0)?;
    let missed = loaded.missed.or(crashed(path)?.then_some(Missed::Crash));
    Ok(Some(missing(loaded.guard, missed, clock)))
}

/// What a snapshot and its journals said.
struct Loaded {
    guard: Guard,
    missed: Option<Missed>,
    /// Journals with records that cannot be read: how many there were, how many are lost.
    damaged: Vec<(PathBuf, usize, usize)>,
}

impl Loaded {
    fn tell(&self, path: &Path) {
        for (journal, records, lost) in &self.damaged {
            tracing::warn!(
                file = %journal.display(), records, lost,
                "records of the journal cannot be read: what they said is forgotten"
            );
        }
        let (keys, _) = self.guard.sizes();
        tracing::info!(file = %path.display(), keys, "the state was loaded");
    }
}

fn load(
    path: &Path,
    image: Image<'_>,
    policy: Policy,
    clock: Clock,
    seed: u64,
) -> Result<Loaded, StateError> {
    let (wall, now) = (clock.wall(), clock.now());
    let Image { generation, clean, written: mut last_seen, .. } = image;
    let guard = Guard::restored(policy, image, wall, seed, now);
    let mut damaged = Vec::new();
    let mut journals = journals(path)?;
    journals.retain(|(number, _)| *number >= generation);
    // Each journal follows another. The first one is as old as the snapshot; the last snapshot of
    // a process has none, unless the start after it failed.
    let first = generation + u64::from(clean);
    let numbers = journals.iter().map(|(number, _)| *number);
    let mut whole = numbers.eq(first..first + journals.len() as u64);
    whole &= clean || !journals.is_empty();
    for (_, journal) in journals {
        let (mut records, mut lost) = (0, 0);
        read_journal(&journal, |record| {
            records += 1;
            match record.and_then(Entry::decode) {
                Some(entry) => {
                    last_seen = entry.last_seen(last_seen);
                    guard.replay(entry, wall, now);
                }
                None => lost += 1,
            }
        })
        .map_err(StateError::at(&journal, "read"))?;
        if lost > 0 {
            whole = false;
            damaged.push((journal, records, lost));
        }
    }
    let unseen = WarmUp::absence(last_seen, wall.unix_nanos(now));
    Ok(Loaded { guard, missed: unseen.or((!whole).then_some(Missed::Journal)), damaged })
}

/// A guard that has missed something, if it has.
fn missing(guard: Guard, missed: Option<Missed>, clock: Clock) -> Guard {
    if let Some(missed) = missed {
        guard.missed(missed, clock.now());
    }
    guard
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
