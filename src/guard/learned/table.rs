//! The table of classes: a fixed number of places, in buckets of eight. A class may stand in either
//! of two buckets, so that finding one, and room for one, looks at sixteen places whatever is in
//! the table.

use super::super::key::{ClassHash, PageHash};
use super::Way;

/// 32 bytes. Plain integers, so that the pages of an untouched table cost no memory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Class {
    /// Zero where nothing stands.
    hash: u64,
    /// The folder in which it counts as a child of its own; zero where it does not.
    folder: u64,
    /// When it was last met with, in seconds.
    used: u32,
    /// Until when it counts as creating, in seconds; zero where it never created.
    pub(super) until: u32,
    /// Clean answers since it last created.
    pub(super) clean: u8,
    /// How often the time for which it counts as creating was doubled.
    pub(super) doublings: u8,
    /// Named classes below it that have a place of their own.
    pub(super) children: u8,
    /// Something is known of a class below it.
    pub(super) leads: bool,
}

impl Class {
    pub(super) fn creates(&self, now: u32) -> bool {
        now < self.until
    }

    /// Who makes room for others: the least goes first. `None` never does.
    fn worth(&self, enough: u8, now: u32) -> Option<(u8, u32)> {
        if self.hash == 0 {
            return Some((0, 0));
        }
        let proven = self.until != 0 || self.clean >= enough || self.leads;
        (!self.creates(now)).then_some((1 + u8::from(proven), self.used))
    }
}

pub(super) struct Table {
    places: Box<[Class]>,
    /// Where pages were found lately, each at a place of its hash. Whatever changes which class a
    /// page falls into makes them all void.
    found: Box<[Found]>,
    /// How often that has happened, from 1.
    changes: u64,
}

/// Where a page was found.
#[derive(Clone, Copy)]
struct Found {
    page: PageHash,
    changes: u64,
    way: Way,
}

impl Table {
    const BUCKET: usize = 8;
    const FOUND: usize = 64;
    /// Bytes beside the classes.
    pub(super) const FIXED: usize = Self::FOUND * size_of::<Found>();
    /// Places that are looked at under one lock by whoever only counts: 128 KiB.
    const PIECE: usize = 4_096;

    pub(super) fn new(capacity: usize) -> Self {
        let buckets = capacity.div_ceil(Self::BUCKET).max(2);
        let places = vec![Class::default(); buckets * Self::BUCKET].into();
        let nothing = Found { page: PageHash(0), changes: 0, way: Way::EMPTY };
        Self { places, found: vec![nothing; Self::FOUND].into(), changes: 1 }
    }

    /// How often it was changed which class some page falls into.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Where a page was found, if that is known and still so.
    pub(super) fn found(&self, page: PageHash) -> Option<&Way> {
        let found = &self.found[page.0 as usize % Self::FOUND];
        (found.page == page && found.changes == self.changes).then_some(&found.way)
    }

    /// Remembers where it was found.
    pub(super) fn note_found(&mut self, page: PageHash, way: Way) {
        self.found[page.0 as usize % Self::FOUND] = Found { page, changes: self.changes, way };
    }

    pub(super) fn capacity(&self) -> usize {
        self.places.len()
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = &Class> {
        self.places.iter().filter(|class| class.hash != 0)
    }

    #[cfg(test)]
    pub(super) fn forget_found(&mut self) {
        self.changes += 1;
    }

    /// What stands in a piece of the table; `None` behind the last piece.
    pub(super) fn piece(&self, piece: usize) -> Option<impl Iterator<Item = &Class>> {
        let places = self.places.chunks(Self::PIECE).nth(piece)?;
        Some(places.iter().filter(|class| class.hash != 0))
    }

    fn candidates(&self, hash: ClassHash) -> impl Iterator<Item = usize> + use<> {
        let buckets = self.places.len() / Self::BUCKET;
        // Remainders of a bucket count, which fit.
        let first = (hash.0 & 0xffff_ffff) as usize % buckets;
        let second = (hash.0 >> 32) as usize % buckets;
        [first, second]
            .into_iter()
            .flat_map(|bucket| (0..Self::BUCKET).map(move |place| bucket * Self::BUCKET + place))
    }

    pub(super) fn find(&self, hash: ClassHash) -> Option<usize> {
        self.candidates(hash).find(|index| self.places[*index].hash == hash.0)
    }

    /// A class, only looked at.
    pub(super) fn class(&self, index: usize) -> &Class {
        &self.places[index]
    }

    /// A class that is met with.
    pub(super) fn used(&mut self, index: usize, now: u32) -> &mut Class {
        let class = &mut self.places[index];
        class.used = now;
        class
    }

    /// Where a class stands. If it is nowhere, it takes an empty place or that of the least worth;
    /// `None` where all that could make room creates. `folder` counts it as a child; `enough` clean
    /// answers make it worth more than others.
    pub(super) fn find_or_add(
        &mut self,
        hash: ClassHash,
        folder: Option<ClassHash>,
        enough: u8,
        now: u32,
    ) -> Option<usize> {
        if let Some(index) = self.find(hash) {
            self.places[index].used = now;
            return Some(index);
        }
        let folder = folder.map_or(0, |folder| folder.0);
        let own = |index: &usize| folder == 0 || self.places[*index].hash != folder;
        let worths = self.candidates(hash).filter(own);
        let worths =
            worths.filter_map(|index| Some((self.places[index].worth(enough, now)?, index)));
        let (_, index) = worths.min()?;
        self.changes += 1;
        let gone = std::mem::replace(
            &mut self.places[index],
            Class { hash: hash.0, folder, used: now, ..Class::default() },
        );
        self.count(gone.folder, |children| children.saturating_sub(1));
        self.count(folder, |children| children.saturating_add(1));
        Some(index)
    }

    fn count(&mut self, folder: u64, change: impl FnOnce(u8) -> u8) {
        if folder != 0
            && let Some(index) = self.find(ClassHash(folder))
        {
            let children = &mut self.places[index].children;
            *children = change(*children);
        }
    }
}
