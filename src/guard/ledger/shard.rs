//! One shard of the ledger: a table of fixed capacity, and the order in which it forgets.
//!
//! Places are filled from the front and never move, so that pages that nothing was written to cost
//! no memory. The index grows with them, by doubling; nothing else does. It promises that a lock
//! is held for some hundred microseconds at most, whatever has expired at once.

use super::super::key::KeyHash;
use super::{Entry, KeyRecord, Room};

/// Some keys, those that were never presented apart from the others.
pub(super) struct Shard {
    places: Vec<Place>,
    /// Where keys stand: [`Self::tag`] of the key above [`Self::PLACE_BITS`] of its place plus one;
    /// zero where none does. Open addressing: the home of a key grows with its lower half.
    index: Box<[u32]>,
    capacity: usize,
    /// As many keys as the index is made for.
    limit: usize,
    held: usize,
    /// Places that were given up; each names the next one.
    vacant: u32,
    fresh: List,
    presented: List,
    /// Where the search for expired keys goes on.
    hand: usize,
    /// No key expires before this second.
    earliest: u32,
}

/// 24 bytes.
#[derive(Clone, Copy)]
struct Place {
    key: KeyHash,
    entry: Entry,
    /// The neighbours in its list, or [`NONE`]; [`VACANT`] before a place without a key.
    before: u32,
    behind: u32,
}

/// Places in the order in which they came.
#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

const NONE: u32 = u32::MAX;
const VACANT: u32 = u32::MAX - 1;

impl Shard {
    const PLACE_BITS: u32 = 21;
    /// More would not fit into the index.
    pub(super) const MOST: usize = (1 << Self::PLACE_BITS) - 2;
    const SMALLEST: usize = 64;
    /// Expired keys that are removed at a time.
    const REAPED: usize = 1024;
    /// Keys of the presented ones that get a second chance at a time.
    const CHANCES: usize = 64;

    /// Bytes of the tables of a shard for `capacity` keys, once all of it is in use.
    pub(super) const fn bytes(capacity: usize) -> usize {
        capacity * size_of::<Place>() + Self::index_length(capacity) * size_of::<u32>()
    }

    const fn index_length(limit: usize) -> usize {
        limit + limit.div_ceil(2)
    }

    /// An empty table. `capacity` is [`Self::MOST`] at most.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, Self::MOST);
        let limit = capacity.min(Self::SMALLEST);
        Self {
            // Its pages are the operating system's until they are written to.
            places: Vec::with_capacity(capacity),
            index: vec![0; Self::index_length(limit)].into(),
            capacity,
            limit,
            held: 0,
            vacant: NONE,
            fresh: List::EMPTY,
            presented: List::EMPTY,
            hand: 0,
            earliest: u32::MAX,
        }
    }

    /// How many keys are held.
    pub(super) fn len(&self) -> usize {
        self.held
    }

    /// What is known of a key.
    pub(super) fn get_mut(&mut self, key: KeyHash) -> Option<&mut Entry> {
        let (_, place) = self.find(key)?;
        Some(&mut self.places[place].entry)
    }

    /// Every key, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (KeyHash, Entry)> + '_ {
        let held = self.places.iter().filter(|place| place.before != VACANT);
        held.map(|place| (place.key, place.entry))
    }

    /// What is known of a key, which is entered where it is new: nothing yet. `expires` is the
    /// earliest second that it may expire in.
    pub(super) fn enter(&mut self, key: KeyHash, expires: u32, now: u32) -> (&mut Entry, Room) {
        if let Some((_, place)) = self.find(key) {
            self.earliest = self.earliest.min(expires);
            return (&mut self.places[place].entry, Room::Enough);
        }
        let room = self.make_room(now);
        self.earliest = self.earliest.min(expires);
        let new = Place { key, entry: Entry::NEW, before: NONE, behind: NONE };
        let place = if self.vacant == NONE {
            self.places.push(new);
            self.places.len() - 1
        } else {
            let place = self.vacant as usize;
            self.vacant = self.places[place].behind;
            self.places[place] = new;
            place
        };
        self.held += 1;
        self.insert(key, place);
        self.append(false, place);
        (&mut self.places[place].entry, room)
    }

    /// A key that is held was presented: it is no longer among those that are forgotten first.
    pub(super) fn present(&mut self, key: KeyHash) {
        if let Some((_, place)) = self.find(key)
            && !self.places[place].entry.is(KeyRecord::PRESENTED)
        {
            self.unlink(place);
            self.places[place].entry.flags |= KeyRecord::PRESENTED;
            self.append(true, place);
        }
    }

    /// Makes room for one more: expired keys first, then those never presented, then the one that
    /// was presented longest ago (second chance).
    fn make_room(&mut self, now: u32) -> Room {
        if self.held < self.limit {
            return Room::Enough;
        }
        let reaped = self.reap(now);
        if self.limit < self.capacity && reaped < Self::REAPED && reaped < self.limit / 4 {
            self.limit = (self.limit * 2).min(self.capacity);
            self.rebuild();
        }
        if self.held < self.limit {
            return Room::Enough;
        }
        let Some(place) = self.least_missed() else { return Room::Enough };
        let entry = self.places[place].entry;
        self.remove(place);
        if entry.expires > now && !entry.is(KeyRecord::DEAD) {
            Room::Overflowed
        } else {
            Room::Enough
        }
    }

    /// Removes expired keys, [`Self::REAPED`] at most; says how many.
    fn reap(&mut self, now: u32) -> usize {
        if self.earliest > now {
            return 0;
        }
        let (mut reaped, mut earliest) = (0, u32::MAX);
        for _ in 0..self.places.len() {
            self.hand = if self.hand + 1 < self.places.len() { self.hand + 1 } else { 0 };
            let Place { entry, before, .. } = self.places[self.hand];
            if before == VACANT {
                continue;
            }
            // What is under way must find its key again.
            if entry.expires <= now && entry.in_flight == 0 {
                self.remove(self.hand);
                reaped += 1;
                if reaped >= Self::REAPED {
                    return reaped;
                }
            } else {
                earliest = earliest.min(entry.expires.max(now.saturating_add(1)));
            }
        }
        self.earliest = earliest;
        reaped
    }

    fn least_missed(&mut self) -> Option<usize> {
        if self.fresh.first != NONE {
            return Some(self.fresh.first as usize);
        }
        for _ in 0..Self::CHANCES {
            let first = self.presented.first;
            if first == NONE {
                return None;
            }
            let place = first as usize;
            let entry = &mut self.places[place].entry;
            let recent = entry.is(Entry::RECENT) && !entry.is(KeyRecord::DEAD);
            if entry.in_flight == 0 && !recent {
                return Some(place);
            }
            entry.flags &= !Entry::RECENT;
            self.unlink(place);
            self.append(true, place);
        }
        (self.presented.first != NONE).then_some(self.presented.first as usize)
    }

    fn remove(&mut self, place: usize) {
        self.unlink(place);
        let key = self.places[place].key;
        if let Some((at, _)) = self.find(key) {
            self.close_gap(at);
        }
        self.places[place].before = VACANT;
        self.places[place].behind = self.vacant;
        // A place fits into the bits of the index.
        self.vacant = place as u32;
        self.held -= 1;
    }

    fn list(&mut self, presented: bool) -> &mut List {
        if presented { &mut self.presented } else { &mut self.fresh }
    }

    fn unlink(&mut self, place: usize) {
        let Place { before, behind, entry, .. } = self.places[place];
        let presented = entry.is(KeyRecord::PRESENTED);
        match before {
            NONE => self.list(presented).first = behind,
            _ => self.places[before as usize].behind = behind,
        }
        match behind {
            NONE => self.list(presented).last = before,
            _ => self.places[behind as usize].before = before,
        }
    }

    fn append(&mut self, presented: bool, place: usize) {
        // A place fits into the bits of the index.
        let number = place as u32;
        let last = std::mem::replace(&mut self.list(presented).last, number);
        match last {
            NONE => self.list(presented).first = number,
            _ => self.places[last as usize].behind = number,
        }
        self.places[place].before = last;
        self.places[place].behind = NONE;
    }

    /// Eleven bits of a key that its home does not tell.
    fn tag(key: KeyHash) -> u32 {
        (key.0 >> 48) as u32 & 0x7ff
    }

    fn home(&self, key: KeyHash) -> usize {
        // The product of a half and a length is less than the length after the shift.
        (((key.0 & u64::from(u32::MAX)) * self.index.len() as u64) >> 32) as usize
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 < self.index.len() { at + 1 } else { 0 }
    }

    /// Where a key stands in the index, and its place.
    fn find(&self, key: KeyHash) -> Option<(usize, usize)> {
        let mut at = self.home(key);
        loop {
            let word = self.index[at];
            if word == 0 {
                return None;
            }
            if word >> Self::PLACE_BITS == Self::tag(key) {
                let place = (word & ((1 << Self::PLACE_BITS) - 1)) as usize - 1;
                if self.places[place].key == key {
                    return Some((at, place));
                }
            }
            at = self.next(at);
        }
    }

    fn insert(&mut self, key: KeyHash, place: usize) {
        let mut at = self.home(key);
        while self.index[at] != 0 {
            at = self.next(at);
        }
        // A place fits into its bits.
        self.index[at] = Self::tag(key) << Self::PLACE_BITS | (place as u32 + 1);
    }

    /// Empties a position: those behind it that had to make way for it go nearer to their homes.
    fn close_gap(&mut self, mut gap: usize) {
        let length = self.index.len();
        let mut at = gap;
        loop {
            at = self.next(at);
            let word = self.index[at];
            if word == 0 {
                break;
            }
            let place = (word & ((1 << Self::PLACE_BITS) - 1)) as usize - 1;
            let home = self.home(self.places[place].key);
            // How far each is from the home, around the end.
            if (at + length - home) % length >= (at + length - gap) % length {
                self.index[gap] = word;
                gap = at;
            }
        }
        self.index[gap] = 0;
    }

    fn rebuild(&mut self) {
        self.index = vec![0; Self::index_length(self.limit)].into();
        for place in 0..self.places.len() {
            if self.places[place].before != VACANT {
                self.insert(self.places[place].key, place);
            }
        }
    }
}

impl List {
    const EMPTY: Self = Self { first: NONE, last: NONE };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Few homes and few tags, so that keys stand in each other's way.
    fn key(number: u64) -> KeyHash {
        KeyHash((number % 7) << 29 | (number % 3) << 48 | number << 52)
    }

    fn whole(shard: &Shard) {
        let mut listed = 0;
        for (presented, list) in [(false, shard.fresh), (true, shard.presented)] {
            let (mut at, mut before) = (list.first, NONE);
            while at != NONE {
                let place = shard.places[at as usize];
                assert_eq!(
                    (place.before, place.entry.is(KeyRecord::PRESENTED)),
                    (before, presented)
                );
                assert_eq!(shard.find(place.key).map(|(_, place)| place), Some(at as usize));
                listed += 1;
                (before, at) = (at, place.behind);
            }
            assert_eq!(list.last, before);
        }
        assert_eq!(listed, shard.held);
        assert_eq!(shard.index.iter().filter(|word| **word != 0).count(), shard.held);
        assert!(shard.held <= shard.capacity && shard.places.len() <= shard.capacity);
    }

    proptest! {
        /// Whatever is entered, presented and left to expire: what is held is found, each key once,
        /// and nobody who lives is forgotten before the table is full.
        #[test]
        fn what_is_held_is_found_and_only_a_full_table_forgets(
            capacity in 1_usize..200,
            steps in prop::collection::vec((0_u64..400, 0_u32..40, any::<bool>()), 1..600),
        ) {
            let mut shard = Shard::new(capacity);
            let mut alive = BTreeMap::new();
            let mut full = false;
            for (now, (number, life, presents)) in (1..).zip(steps) {
                let expires = now + life;
                alive.retain(|_, expires| *expires > now);
                let (entry, room) = shard.enter(key(number), expires, now);
                entry.expires = entry.expires.max(expires);
                alive.insert(number, entry.expires);
                if presents {
                    shard.present(key(number));
                }
                whole(&shard);
                prop_assert!(room == Room::Enough || alive.len() > capacity);
                full |= room == Room::Overflowed;
                alive.retain(|_, expires| *expires > now);
                for number in alive.keys() {
                    prop_assert!(full || shard.get_mut(key(*number)).is_some());
                }
            }
        }
    }

    #[test]
    fn a_place_costs_what_is_said() {
        assert_eq!(size_of::<Place>(), 24);
        assert_eq!(Shard::bytes(32_000), 32_000 * 30);
    }
}
