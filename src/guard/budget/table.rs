//! The cells of budgets and the table of clients: what each owes, and where it stands.

use std::time::Duration;

use super::super::gcra::{Gcra, Short};
use super::super::key::CellHash;
use super::super::moment::Moment;
use super::line::Level;

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

    pub(super) fn read(self, shard: &Shard, cells: &SiteCells) -> Cell {
        match self.cell {
            Some(index) if shard.cells[index][0] == self.hash.0 => shard.read(index),
            Some(_) => Cell::FRESH,
            None => cells.strict,
        }
    }

    pub(super) fn write(self, shard: &mut Shard, cells: &mut SiteCells, cell: Cell) {
        match self.cell {
            Some(index) => shard.write(index, self.hash, cell),
            None => cells.strict = cell,
        }
    }
}

/// Cells in buckets of eight; a hash may stand in either of two buckets, which fills the table to
/// well over nine tenths before anyone finds no place.
pub(super) struct Shard {
    /// A hash, its arrival time in nanoseconds, and what it holds with [`Self::CHANGED`]; 24
    /// bytes. Plain integers, so that the pages of an untouched table cost no memory.
    pub(super) cells: Box<[[u64; 3]]>,
    /// A bit for each bucket that has a cell with [`Self::CHANGED`].
    pub(super) changed: Box<[u64]>,
}

impl Shard {
    pub(super) const BUCKET: usize = 8;
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

    pub(super) fn write(&mut self, index: usize, hash: CellHash, cell: Cell) {
        self.cells[index] = [hash.0, cell.until.as_nanos(), u64::from(cell.held) | Self::CHANGED];
        let bucket = index / Self::BUCKET;
        self.changed[bucket / 64] |= 1 << (bucket % 64);
    }

    /// What changed since this was last asked.
    pub(super) fn take_changed(&mut self) -> Vec<(CellHash, Cell)> {
        let mut changed = Vec::new();
        for word in 0..self.changed.len() {
            let mut bits = std::mem::take(&mut self.changed[word]);
            while bits != 0 {
                let first = (word * 64 + bits.trailing_zeros() as usize) * Self::BUCKET;
                bits &= bits - 1;
                for index in first..first + Self::BUCKET {
                    if self.cells[index][2] & Self::CHANGED != 0 {
                        self.cells[index][2] &= !Self::CHANGED;
                        changed.push((CellHash(self.cells[index][0]), self.read(index)));
                    }
                }
            }
        }
        changed
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (CellHash, Cell)> + '_ {
        self.cells.iter().enumerate().map(|(index, cell)| (CellHash(cell[0]), self.read(index)))
    }
}
