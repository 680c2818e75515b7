//! What happens to budgets that two processes share while one takes over from the other: each tells
//! the other, as differences, which add up in whatever order they arrive.

use std::collections::HashMap;
use std::sync::Arc;

use super::line::Line;
use super::table::{Cell, Found, Section, Tag};
use super::{Budgets, Owed, Site};
use crate::guard::gcra::Gcra;
use crate::guard::key::CellHash;
use crate::guard::moment::Moment;

/// What another process can hold of one cell, at most: beside what this one holds it fits there.
const MOST_LENT: i64 = 1 << 30;

/// Whose cell it is. A strict bucket is that of all clients that found no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    Cell(CellHash, Tag),
    Strict(usize),
    Site(usize),
}

/// What came to one cell, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The place of its budget in the list of names that is told with it.
    pub budget: usize,
    pub numbers: [u64; Self::NUMBERS],
}

impl Told {
    pub const NUMBERS: usize = 5;

    fn new(whose: Whose, change: Change) -> Self {
        let (kind, budget, cell, tag) = match whose {
            Whose::Cell(hash, tag) => (0, tag.slot, hash.0, tag.bits()),
            Whose::Strict(slot) => (1, slot, 0, 0),
            Whose::Site(slot) => (2, slot, 0, 0),
        };
        let numbers = [kind, cell, tag, change.held.cast_unsigned(), change.charged.into()];
        Self { budget, numbers }
    }

    /// In a budget that stands in this place here. `None` where the numbers say nothing.
    fn read(self, slot: usize) -> Option<(Whose, Change)> {
        let [kind, cell, tag, held, charged] = self.numbers;
        let whose = match kind {
            0 => Whose::Cell(CellHash(cell), Tag { slot, ..Tag::read(tag)? }),
            1 => Whose::Strict(slot),
            2 => Whose::Site(slot),
            _ => return None,
        };
        let charged = u32::try_from(charged).unwrap_or(u32::MAX);
        Some((whose, Change { held: held.cast_signed(), charged }))
    }
}

/// What came to a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// So many more, or fewer, are held.
    pub held: i64,
    /// So many were charged.
    pub charged: u32,
}

impl Change {
    pub(super) const HELD: Self = Self { held: 1, charged: 0 };
    pub(super) const REFUNDED: Self = Self { held: -1, charged: 0 };
    pub(super) const KEPT: Self = Self { held: -1, charged: 1 };
    pub(super) const CHARGED: Self = Self { held: 0, charged: 1 };

    fn and(self, other: Self) -> Self {
        Self {
            held: self.held.saturating_add(other.held),
            charged: self.charged.saturating_add(other.charged),
        }
    }

    fn apply(self, cell: Cell, gcra: &Gcra, now: Moment) -> Cell {
        let held = i64::from(cell.held).saturating_add(self.held).clamp(0, i64::from(u32::MAX));
        // Within the bounds of a `u32`.
        let cell = Cell { held: held as u32, ..cell };
        let until = gcra.force_all(cell.until, self.charged, now);
        if self.charged > 0 { Cell { until, ..cell } } else { cell }
    }
}

/// What happened since it was last told. Closed, it costs nothing, and notes nothing.
#[derive(Default)]
pub(super) struct Diary {
    /// The number of the handover that it was opened for; zero while it is closed. What was held
    /// under another number is none of the other process's business.
    pub(super) number: u32,
    changes: HashMap<Whose, Change>,
}

impl Diary {
    pub(super) fn note(&mut self, whose: Whose, change: Change) {
        if self.number > 0 {
            let noted = self.changes.entry(whose).or_default();
            *noted = noted.and(change);
            if *noted == Change::default() {
                self.changes.remove(&whose);
            }
        }
    }

    /// The end of something that was held when the diary had this number.
    pub(super) fn note_end(&mut self, number: u32, whose: Whose, change: Change) {
        if self.number == number {
            self.note(whose, change);
        }
    }

    fn drain(&mut self) -> impl Iterator<Item = Told> + '_ {
        self.changes.drain().map(|(whose, change)| Told::new(whose, change))
    }

    fn open(&mut self, number: u32) {
        self.number = number;
        self.changes.clear();
    }
}

impl Budgets {
    /// Every cell that owes something, piece by piece; what happens from then on is noted, until
    /// [`Self::close_diary`]. What is held counts as charged, and is not told of any more.
    pub fn open_diary(&self, now: Moment) -> impl Iterator<Item = Vec<Owed>> + '_ {
        let number = {
            let mut number = self.memory.handovers.lock();
            *number = number.wrapping_add(1).max(1);
            *number
        };
        let clients = self.memory.sections.iter().map(move |section| {
            let section = &mut *section.lock();
            section.diary.open(number);
            Owed::of_section(section, now)
        });
        clients.chain(std::iter::once_with(move || {
            let site = &mut *self.memory.site.lock();
            site.diary.open(number);
            Owed::of_site(site, now)
        }))
    }

    /// The other process is gone: nothing is noted any more, and what it held is charged.
    pub fn close_diary(&self, now: Moment) {
        for section in &self.memory.sections {
            section.lock().diary.open(0);
        }
        self.memory.site.lock().diary.open(0);
        let lent = std::mem::take(&mut *self.memory.lent.lock());
        for (whose, held) in lent {
            let charged = u32::try_from(held).unwrap_or(0);
            self.apply(whose, Change { held: held.saturating_neg(), charged }, now);
        }
    }

    /// What was noted since this was last asked, under the names of the budgets.
    pub fn told(&self) -> (Vec<String>, Vec<Told>) {
        let mut changes = Vec::new();
        for section in &self.memory.sections {
            changes.extend(section.lock().diary.drain());
        }
        let Site { lines, diary, .. } = &mut *self.memory.site.lock();
        changes.extend(diary.drain());
        (lines.iter().map(|line| line.name.clone()).collect(), changes)
    }

    /// Takes in what the other process told of the budget of this name, if there is one here.
    pub fn take(&self, budget: &str, told: Told, now: Moment) {
        let named = |line: &Line| line.name == budget;
        let Some(slot) = self.memory.site.lock().lines.iter().position(named) else { return };
        let Some((whose, mut change)) = told.read(slot) else { return };
        if change.held != 0 {
            let mut lent = self.memory.lent.lock();
            let held = lent.entry(whose).or_default();
            // Nobody gives back more than it holds: what is put in the cell must come out again.
            let after = held.saturating_add(change.held).clamp(0, MOST_LENT);
            change.held = after - std::mem::replace(held, after);
            if after == 0 {
                lent.remove(&whose);
            }
        }
        self.apply(whose, change, now);
    }

    fn apply(&self, whose: Whose, change: Change, now: Moment) {
        let slot = match whose {
            Whose::Cell(hash, tag) => {
                let Section { lines, shard, .. } = &mut *self.section_of(hash).lock();
                let lines = Arc::clone(lines);
                let found = shard.place(hash, &[], now);
                if let Found { cell: Some(index), .. } = found {
                    let cell = if shard.stands(hash, index) {
                        shard.read_as(index, tag, &lines, now)
                    } else {
                        Cell::FRESH
                    };
                    let gcra = lines.line(tag.slot).gcra(tag.level);
                    shard.write(index, hash, tag, change.apply(cell, gcra, now));
                    return;
                }
                tag.slot
            }
            Whose::Strict(slot) | Whose::Site(slot) => slot,
        };
        let Site { lines, cells, .. } = &mut *self.memory.site.lock();
        let (line, cells) = (lines.line(slot), &mut cells[slot]);
        match whose {
            Whose::Site(_) => cells.site = change.apply(cells.site, &line.site, now),
            // Where there is no place for a cell here, it is as for any client.
            Whose::Cell(..) | Whose::Strict(_) => {
                cells.strict = change.apply(cells.strict, &line.client, now);
            }
        }
    }
}
