//! The cells of one debtor and of the site, all locked: what a decision looks at, and what it writes.

use super::diary::{Change, Diary, Whose};
use super::line::{Level, Lines};
use super::table::{Cell, Found, Place, Shard, SiteCells, Tag};
use super::{Rank, Refused};
use crate::guard::gcra::Gcra;
use crate::guard::moment::Moment;

/// Where the cells of a debtor stand.
pub(super) type Spots = [Option<Spot>; Level::MOST];

/// One of them.
pub(super) type Spot = (Level, Found);

pub(super) struct Open<'a> {
    /// In force for the shard. While limits are replaced, those of the site may be others.
    pub(super) lines: &'a Lines,
    pub(super) site_lines: &'a Lines,
    pub(super) shard: &'a mut Shard,
    pub(super) site: &'a mut SiteCells,
    pub(super) diary: &'a mut Diary,
    pub(super) site_diary: &'a mut Diary,
    pub(super) slot: usize,
    pub(super) now: Moment,
}

impl Open<'_> {
    /// The limits of a cell.
    pub(super) fn gcra(&self, (level, found): &Spot) -> &Gcra {
        let lines = if found.cell.is_some() { self.lines } else { self.site_lines };
        lines.line(self.slot).gcra(*level)
    }

    pub(super) fn site_gcra(&self) -> &Gcra {
        &self.site_lines.line(self.slot).site
    }

    pub(super) fn read(&self, (level, found): &Spot) -> Cell {
        let tag = Tag { slot: self.slot, level: *level };
        match found.cell {
            Some(index) if self.shard.stands(found.hash, index) => {
                self.shard.read_as(index, tag, self.lines, self.now)
            }
            Some(_) => Cell::FRESH,
            None => self.site.strict,
        }
    }

    /// Whether more is owed in any of them than the burst has. Who has no place of its own owes nothing
    /// of its own.
    fn in_debt(&self, spots: &Spots) -> bool {
        let own = |spot: &Spot| match spot.1.cell {
            Some(_) => self.read(spot),
            None => Cell::FRESH,
        };
        let (now, site) = (self.now, &self.site_lines.line(self.slot).site);
        spots.iter().flatten().any(|spot| own(spot).is_in_debt(self.gcra(spot), now))
            || self.site.site.is_in_debt(site, now)
    }

    /// Notes what is about to happen to a cell, for another process; and to the site's.
    pub(super) fn note(&mut self, spots: &Spots, change: Change) {
        if self.diary.number == 0 && self.site_diary.number == 0 {
            return;
        }
        for (level, found) in spots.iter().flatten() {
            let tag = Tag { slot: self.slot, level: *level };
            match found.place() {
                Place::Cell(hash) => self.diary.note(Whose::Cell(hash, tag), change),
                Place::Strict => self.site_diary.note(Whose::Strict(self.slot), change),
            }
        }
        self.site_diary.note(Whose::Site(self.slot), change);
    }

    pub(super) fn write(&mut self, (level, found): &Spot, cell: Cell) {
        let tag = Tag { slot: self.slot, level: *level };
        match found.cell {
            Some(index) => self.shard.write(index, found.hash, tag, cell),
            None => self.site.strict = cell,
        }
    }

    /// Whether there is room for one more in all of them.
    pub(super) fn check(&self, spots: &Spots, rank: Rank) -> Result<(), Refused> {
        let mut refused = None;
        for spot in spots.iter().flatten() {
            let check = self.read(spot).check(self.gcra(spot), self.now);
            let (level, found) = spot;
            Refused::note(&mut refused, level.refusal(found), check);
        }
        let line = self.site_lines.line(self.slot);
        let (why, gcra) = line.site_for(rank, self.site.site, self.now);
        Refused::note(&mut refused, why, self.site.site.check(gcra, self.now));
        match refused {
            None => Ok(()),
            Some(refused) => Err(Refused { in_debt: self.in_debt(spots), ..refused }),
        }
    }
}
