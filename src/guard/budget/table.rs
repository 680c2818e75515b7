//! The cells of budgets and the table of clients: what each owes, and where it stands.

use std::sync::Arc;
use std::time::Duration;

use super::super::gcra::{Gcra, Short};
use super::super::key::CellHash;
use super::super::moment::Moment;
use super::diary::Diary;
use super::line::{Level, Lines};

/// Where a client or a wide prefix is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Cell(CellHash),
    /// The bucket that all share who found no place in the table.
    Strict,
}

#[derive(Clone, Copy)]
pub(super) struct SiteCells {
    pub(super) site: Cell,
    /// What the journal was last told of `site`.
    pub(super) told: Cell,
    pub(super) strict: Cell,
}

/// What a cell owes. One with nothing held and a time not after now is as good as fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    /// GCRA's theoretical arrival time of what was charged.
    pub(super) until: Moment,
    /// Holds that await their settlement.
    pub(super) held: u32,
}

/// Why a cell has no room.
#[derive(Clone, Copy)]
pub(super) struct Blocked {
    pub(super) wait: Duration,
    /// Without what it holds it would have some.
    pub(super) held: bool,
}

impl Cell {
    pub(super) const FRESH: Self = Self { until: Moment::from_nanos(0), held: 0 };

    /// The arrival time if everything held were charged now.
    pub(super) fn arrival(self, gcra: &Gcra, now: Moment) -> Moment {
        let held = gcra.period().saturating_mul(u64::from(self.held));
        Moment::from_nanos(self.until.max(now).as_nanos().saturating_add(held))
    }

    /// Whether more was charged, or is held, than the burst has.
    pub(super) fn is_in_debt(self, gcra: &Gcra, now: Moment) -> bool {
        self.arrival(gcra, now).since(now) > gcra.whole()
    }

    /// Whether one more may be held.
    pub(super) fn check(self, gcra: &Gcra, now: Moment) -> Result<(), Blocked> {
        gcra.take(self.arrival(gcra, now), now)
            .map(|_| ())
            .map_err(|Short(wait)| Blocked { wait, held: gcra.take(self.until, now).is_ok() })
    }

    pub(super) fn with_hold(self) -> Self {
        Self { held: self.held + 1, ..self }
    }

    pub(super) fn refunded(self) -> Self {
        Self { held: self.held.saturating_sub(1), ..self }
    }

    pub(super) fn charged(self, gcra: &Gcra, now: Moment) -> Self {
        Self { until: gcra.force(self.until, now), ..self }
    }

    /// The same under other limits: as many sessions are owed, rounded up.
    pub(super) fn rescaled(self, was: &Gcra, is: &Gcra, now: Moment) -> Self {
        let (was, is) = (u128::from(was.period()), u128::from(is.period()));
        if self.until <= now || was == is {
            return self;
        }
        let owed = u128::from(self.until.as_nanos() - now.as_nanos());
        let owed = u64::try_from((owed * is).div_ceil(was.max(1))).unwrap_or(u64::MAX);
        Self { until: Moment::from_nanos(now.as_nanos().saturating_add(owed)), ..self }
    }
}

impl SiteCells {
    pub(super) const FRESH: Self =
        Self { site: Cell::FRESH, told: Cell::FRESH, strict: Cell::FRESH };
}

/// A hash, and where it stands or can stand in its shard; nowhere if the table is full there.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) hash: CellHash,
    pub(super) cell: Option<usize>,
}

impl Found {
    pub(super) fn place(self) -> Place {
        self.cell.map_or(Place::Strict, |_| Place::Cell(self.hash))
    }
}

/// Whose a cell is: the place of its budget, and which of a debtor's cells. Untagged is one that was
/// taken in from a state file and not used since: that is in its hash, which cannot be read back. It
/// leaks at the rate of the start until it is met with; the site's own cell is known by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tag {
    pub(super) slot: usize,
    pub(super) level: Level,
}

impl Tag {
    /// Where it begins in the word that it shares with what is held.
    const SHIFT: u32 = 33;

    /// Not zero; 27 bits. A slot has 16 of them: what is beyond is untagged.
    pub(super) fn bits(self) -> u64 {
        let (kind, bits) = match self.level {
            Level::Client => (1, 0),
            Level::Token => (2, 0),
            Level::Ceiling => (3, 0),
            Level::Tier(bits) => (4, bits),
            Level::TokenTier(bits) => (5, bits),
        };
        match u16::try_from(self.slot) {
            Ok(slot) => (kind | u64::from(bits) << 3 | u64::from(slot) << 11) << Self::SHIFT,
            Err(_) => 0,
        }
    }

    pub(super) fn read(word: u64) -> Option<Self> {
        let tag = word >> Self::SHIFT;
        // Eight bits, as they were written.
        let bits = (tag >> 3 & 0xff) as u8;
        let level = match tag & 7 {
            1 => Level::Client,
            2 => Level::Token,
            3 => Level::Ceiling,
            4 => Level::Tier(bits),
            5 => Level::TokenTier(bits),
            _ => return None,
        };
        // Sixteen bits.
        Some(Self { slot: (tag >> 11 & 0xffff) as usize, level })
    }
}

/// A shard, and the limits that its cells are written under: they change together.
pub(super) struct Section {
    pub(super) lines: Arc<Lines>,
    pub(super) shard: Shard,
    pub(super) diary: Diary,
}

impl Section {
    /// What a cell owes of which it is known whose it is.
    pub(super) fn read(&self, index: usize, tag: Tag, now: Moment) -> Cell {
        self.shard.read_as(index, tag, &self.lines, now)
    }

    /// Puts other limits in force: as many sessions are owed as before.
    pub(super) fn reconfigure(&mut self, lines: &Arc<Lines>, now: Moment) {
        if lines.differ(&self.lines) {
            for index in 0..self.shard.cells.len() {
                let Some(tag) = Tag::read(self.shard.cells[index][2]) else { continue };
                let cell = self.shard.read(index);
                let limits = lines.before_and_now(&self.lines, tag.slot, tag.level);
                let Some((was, is)) = limits else { continue };
                let changed = cell.rescaled(was, is, now);
                if changed != cell {
                    self.shard.write(index, CellHash(self.shard.cells[index][0]), tag, changed);
                }
            }
        }
        self.lines = Arc::clone(lines);
    }
}

/// Cells in buckets of eight; a hash may stand in either of two buckets, which fills the table to
/// well over nine tenths before anyone finds no place.
pub(super) struct Shard {
    /// A hash, its arrival time in nanoseconds, and what it holds with [`Self::CHANGED`] and its
    /// [`Tag`]; 24 bytes. Plain integers, so that the pages of an untouched table cost no memory.
    pub(super) cells: Box<[[u64; 3]]>,
    /// A bit for each bucket that has a cell with [`Self::CHANGED`].
    pub(super) changed: Box<[u64]>,
}

impl Shard {
    pub(super) const BUCKET: usize = 8;
    /// Cells that are looked at under one lock by whoever only counts them: 96 KiB.
    const PIECE: usize = 4_096;
    /// The journal was not told of the cell as it is.
    pub(super) const CHANGED: u64 = 1 << 32;

    pub(super) const fn bytes(buckets: usize) -> usize {
        buckets * Self::BUCKET * size_of::<[u64; 3]>() + buckets.div_ceil(64) * size_of::<u64>()
    }

    pub(super) fn new(buckets: usize) -> Self {
        Self {
            cells: vec![[0; 3]; buckets * Self::BUCKET].into(),
            changed: vec![0; buckets.div_ceil(64)].into(),
        }
    }

    pub(super) fn buckets(&self, hash: CellHash) -> [usize; 2] {
        let buckets = self.cells.len() / Self::BUCKET;
        let first = (hash.0 & 0xff_ffff) as usize % buckets;
        let second = ((hash.0 >> 24) & 0xff_ffff) as usize % buckets;
        [first, second]
    }

    /// Whether this hash stands there.
    pub(super) fn stands(&self, hash: CellHash, index: usize) -> bool {
        self.cells[index][0] == hash.0
    }

    pub(super) fn candidates(&self, hash: CellHash) -> impl Iterator<Item = usize> + use<> {
        self.buckets(hash)
            .into_iter()
            .flat_map(|bucket| (0..Self::BUCKET).map(move |cell| bucket * Self::BUCKET + cell))
    }

    pub(super) fn find(&self, hash: CellHash) -> Option<usize> {
        self.candidates(hash).find(|index| self.cells[*index][0] == hash.0)
    }

    /// Where a hash stands, or the first place as good as fresh, other than `taken`, where it can.
    /// What is as good as fresh may have been taken although the hash stands there.
    pub(super) fn place(
        &self,
        hash: CellHash,
        taken: &[Option<(Level, Found)>],
        now: Moment,
    ) -> Found {
        let free =
            |index: &usize| !taken.iter().flatten().any(|(_, found)| found.cell == Some(*index));
        let fresh = |index: &usize| {
            let cell = self.read(*index);
            free(index) && cell.until <= now && cell.held == 0
        };
        // In the emptier of the two, which lets twice as many in before the first finds no place.
        let emptier = || {
            let (mut found, mut most) = (None, 0);
            for bucket in self.buckets(hash) {
                let cells = bucket * Self::BUCKET..(bucket + 1) * Self::BUCKET;
                let room = cells.clone().filter(fresh).count();
                if room > most {
                    (found, most) = (cells.clone().find(fresh), room);
                }
            }
            found
        };
        Found { hash, cell: self.find(hash).filter(free).or_else(emptier) }
    }

    pub(super) fn read(&self, index: usize) -> Cell {
        let [_, until, held] = self.cells[index];
        // The lower half holds a count that was one.
        Cell { until: Moment::from_nanos(until), held: (held & (Self::CHANGED - 1)) as u32 }
    }

    /// The same, where whose it is may not have been known until now.
    pub(super) fn read_as(&self, index: usize, tag: Tag, lines: &Lines, now: Moment) -> Cell {
        let cell = self.read(index);
        match self.tag(index) {
            Some(_) => cell,
            None => lines.since_first(tag.slot, tag.level, cell, now),
        }
    }

    pub(super) fn tag(&self, index: usize) -> Option<Tag> {
        Tag::read(self.cells[index][2])
    }

    pub(super) fn write(&mut self, index: usize, hash: CellHash, tag: Tag, cell: Cell) {
        self.write_word(index, hash, tag.bits(), cell);
    }

    /// Writes what is known of a cell, but not whose it is.
    pub(super) fn write_untagged(&mut self, index: usize, hash: CellHash, cell: Cell) {
        self.write_word(index, hash, 0, cell);
    }

    fn write_word(&mut self, index: usize, hash: CellHash, tag: u64, cell: Cell) {
        let word = u64::from(cell.held) | Self::CHANGED | tag;
        self.cells[index] = [hash.0, cell.until.as_nanos(), word];
        let bucket = index / Self::BUCKET;
        self.changed[bucket / 64] |= 1 << (bucket % 64);
    }

    /// What changed since this was last asked.
    pub(super) fn take_changed(&mut self) -> Vec<(CellHash, Option<Tag>, Cell)> {
        let mut changed = Vec::new();
        for word in 0..self.changed.len() {
            let mut bits = std::mem::take(&mut self.changed[word]);
            while bits != 0 {
                let first = (word * 64 + bits.trailing_zeros() as usize) * Self::BUCKET;
                bits &= bits - 1;
                for index in first..first + Self::BUCKET {
                    if self.cells[index][2] & Self::CHANGED != 0 {
                        self.cells[index][2] &= !Self::CHANGED;
                        changed.push(self.entry(index));
                    }
                }
            }
        }
        changed
    }

    /// How many cells of a piece of the table owe something; `None` behind the last piece.
    pub(super) fn owing(&self, piece: usize, now: Moment) -> Option<usize> {
        let from = piece * Self::PIECE;
        let to = self.cells.len().min(from + Self::PIECE);
        let owes = |index: &usize| {
            let cell = self.read(*index);
            cell.held > 0 || cell.until > now
        };
        (from < to).then(|| (from..to).filter(owes).count())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (CellHash, Option<Tag>, Cell)> + '_ {
        (0..self.cells.len()).map(|index| self.entry(index))
    }

    fn entry(&self, index: usize) -> (CellHash, Option<Tag>, Cell) {
        (CellHash(self.cells[index][0]), self.tag(index), self.read(index))
    }
}
