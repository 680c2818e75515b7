//! The ledger: which session keys were issued through us and are alive, which are dead, and which
//! exchanges of a key are under way.
//!
//! It holds keyed hashes, never keys. It is bounded: when it is full, keys that were never
//! presented go first. Dead is final: a key that the application ended is never alive again here,
//! whatever a racing answer says.

mod shard;

use std::sync::Arc;
use std::time::Duration;

use super::key::KeyHash;
use super::moment::Moment;
use super::route::Effect;
use super::sharded::Locked;
use shard::Shard;

/// The keys of a site.
pub struct Ledger {
    shards: Arc<[Locked<Shard>]>,
    in_flight_per_key: u16,
    in_flight_anonymous: u16,
}

/// What the ledger knows of a key that a request presents, and what the exchange may do.
#[derive(Debug)]
pub enum Entered {
    /// Not in the ledger.
    Unknown,
    /// Ended by the application: no record stands behind it.
    Dead {
        /// It was given another key, which the client may have got meanwhile.
        replaced: bool,
    },
    /// Alive, and the exchange may go on.
    Alive(KeyLease),
    /// Alive, but other exchanges of the key must end first.
    Busy,
}

/// An exchange's part in its key. Must be given back to [`Ledger::leave`].
#[derive(Debug)]
#[must_use = "a lease that is not given back keeps its key busy"]
pub struct KeyLease {
    pub key: KeyHash,
    /// Whether the creation of the key was charged to a budget that had it, no flush of it ended
    /// uncertainly and few other exchanges did, and this is not one of too many that overtake
    /// others: each of those may add a record.
    pub paid: bool,
    held: Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Shared,
    Rotating,
    Flushing,
}

/// What the ledger knows of a key, for whoever only looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    Unknown,
    Dead {
        replaced: bool,
    },
    Alive {
        /// Its creation was charged to a budget that had it.
        charged: bool,
        logged_in: bool,
        /// Whether an exchange would go without a hold; `None` where it would have to wait.
        lease: Option<bool>,
    },
}

/// How an exchange joins those of its key.
#[derive(Clone, Copy)]
struct Way {
    held: Held,
    paid: bool,
    overtakes: bool,
}

/// Whether an exchange can still wait for others of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    Left,
    /// It goes on regardless, and its key has used up its free rotation. A rotation or a flush
    /// needs a hold while another one is under way; any other exchange does where as many overtake
    /// as may go together.
    Spent,
}

/// What an answer with another key means for the key that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The one free rotation: the new key takes the place of the old, paid or not as that was.
    Free {
        paid: bool,
        /// No other exchange of the key is under way.
        alone: bool,
        logged_in: bool,
    },
    /// A further one: a record came into being.
    Further,
}

/// What the client got of the key that took another's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Successor {
    Relayed,
    /// A deletion instead: the old key has ended as by one.
    Withheld,
}

/// A key as the journal and the snapshot keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    pub key: KeyHash,
    /// Whole seconds since the origin of [`Moment`].
    pub expires: u32,
    pub flags: u8,
}

impl KeyRecord {
    pub const DEAD: u8 = 1;
    pub const PAID: u8 = 1 << 1;
    /// The free rotation is used up.
    pub const ROTATED: u8 = 1 << 2;
    pub const PRESENTED: u8 = 1 << 3;
    /// A flush of it ended without an answer that tells: there may be no record behind it, and
    /// every further flush may add one that nobody sees. It needs a hold, paid or not.
    pub const UNCERTAIN: u8 = 1 << 7;
    /// It came of a login, or of a key that did.
    pub const LOGGED_IN: u8 = 1 << 4;
    /// All flags that outlive the process.
    pub const LASTING: u8 = Self::DEAD
        | Self::PAID
        | Self::ROTATED
        | Self::PRESENTED
        | Self::LOGGED_IN
        | Self::UNCERTAIN;
}

/// What became of the ledger's room when a key was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    Enough,
    /// A live key was forgotten.
    Overflowed,
}

impl Ledger {
    const SHARDS: usize = 64;
    /// Exchanges of a paid key that may end without an answer that tells, on routes that do not
    /// flush. Where the record of the key is gone, each of them may add one that nobody sees; where
    /// it is not, the application fails, and its users are not to pay for that.
    pub const FREE_FAILURES: u8 = 8;

    /// An empty ledger for `capacity` keys. What is in flight of each is bounded as in the policy.
    pub fn new(capacity: usize, in_flight_per_key: u16, in_flight_anonymous: u16) -> Self {
        let each = Self::each(capacity);
        let shards = (0..Self::SHARDS).map(|_| Locked::new(Shard::new(each))).collect();
        Self { shards, in_flight_per_key, in_flight_anonymous }
    }

    /// The same keys, with other bounds on what is in flight of each.
    pub fn reconfigured(&self, in_flight_per_key: u16, in_flight_anonymous: u16) -> Self {
        Self { shards: Arc::clone(&self.shards), in_flight_per_key, in_flight_anonymous }
    }

    /// Bytes that a ledger of this capacity takes at most: some 31 for each key.
    pub fn bytes(capacity: usize) -> usize {
        Self::SHARDS * Shard::bytes(Self::each(capacity))
    }

    /// Keys that a ledger of this capacity can hold.
    pub fn places(capacity: usize) -> usize {
        Self::SHARDS * Self::each(capacity)
    }

    /// Places of a shard. Keys do not fall evenly: five standard deviations more than its share is
    /// what no shard needs while the ledger holds `capacity`.
    fn each(capacity: usize) -> usize {
        let share = capacity.div_ceil(Self::SHARDS);
        (share + 5 * share.isqrt()).clamp(1, Shard::MOST)
    }

    fn shard(&self, key: KeyHash) -> &Locked<Shard> {
        &self.shards[(key.0 >> 32) as usize % Self::SHARDS]
    }

    /// Looks a presented key up and, where it is alive, joins its exchanges: a flush runs alone,
    /// rotations run one at a time, and there are at most `in_flight_per_key`.
    pub fn enter(&self, key: KeyHash, effect: Effect, now: Moment, patience: Patience) -> Entered {
        let mut shard = self.shard(key).lock();
        let Some(entry) = shard.get_mut(key) else { return Entered::Unknown };
        if entry.expires <= seconds(now) {
            return Entered::Unknown;
        }
        if entry.is(KeyRecord::DEAD) {
            return Entered::Dead { replaced: entry.is(KeyRecord::ROTATED) };
        }
        let Some(way) = self.way(*entry, effect, patience) else { return Entered::Busy };
        if way.overtakes {
            entry.flags |= KeyRecord::ROTATED;
        }
        match way.held {
            Held::Shared => {}
            Held::Rotating => entry.flags |= Entry::ROTATING,
            Held::Flushing => entry.flags |= Entry::FLUSHING,
        }
        entry.in_flight = entry.in_flight.saturating_add(1);
        let first = !entry.is(KeyRecord::PRESENTED);
        entry.failures |= Entry::RECENT;
        if first {
            shard.present(key);
        }
        Entered::Alive(KeyLease { key, paid: way.paid, held: way.held })
    }

    /// What [`Self::enter`] would find, and whether a lease would be paid; changes nothing.
    pub fn look(&self, key: KeyHash, effect: Effect, now: Moment, patience: Patience) -> Looked {
        let mut shard = self.shard(key).lock();
        let entry = shard.get_mut(key).filter(|entry| entry.expires > seconds(now));
        let Some(entry) = entry else { return Looked::Unknown };
        if entry.is(KeyRecord::DEAD) {
            return Looked::Dead { replaced: entry.is(KeyRecord::ROTATED) };
        }
        let logged_in = entry.is(KeyRecord::LOGGED_IN);
        let lease = self.way(*entry, effect, patience).map(|way| way.paid);
        Looked::Alive { charged: entry.is(KeyRecord::PAID), logged_in, lease }
    }

    /// How an exchange can join those of a living key; `None` where it has to wait.
    fn way(&self, entry: Entry, effect: Effect, patience: Patience) -> Option<Way> {
        let alone = entry.is(Entry::FLUSHING) || entry.in_flight >= self.in_flight_per_key;
        let free = match effect {
            Effect::Write => !alone,
            Effect::Rotate => !alone && !entry.is(Entry::ROTATING),
            Effect::Flush => entry.in_flight == 0,
        };
        let too_many = match effect {
            Effect::Write => entry.in_flight >= self.in_flight_per_key.saturating_mul(2),
            // The first that overtakes is one; what comes of it ends the key, or makes it uncertain.
            Effect::Rotate => entry.is(Entry::ROTATING),
            Effect::Flush => entry.is(Entry::FLUSHING),
        };
        let held = match (free, patience, effect) {
            (true, _, Effect::Write) => Held::Shared,
            (true, _, Effect::Rotate) => Held::Rotating,
            (true, _, Effect::Flush) => Held::Flushing,
            (false, Patience::Left, _) => return None,
            (false, Patience::Spent, Effect::Rotate) if !too_many => Held::Rotating,
            (false, Patience::Spent, Effect::Flush) if !too_many => Held::Flushing,
            (false, Patience::Spent, Effect::Write | Effect::Rotate | Effect::Flush) => {
                Held::Shared
            }
        };
        // Whoever logged in has an account to lose. A session that a cart brought costs nothing.
        let many = !entry.is(KeyRecord::LOGGED_IN) && entry.in_flight >= self.in_flight_anonymous;
        let certain = !entry.is(KeyRecord::UNCERTAIN) && entry.failures() < Self::FREE_FAILURES;
        let paid = entry.is(KeyRecord::PAID) && certain && !many && (free || !too_many);
        Some(Way { held, paid, overtakes: !free })
    }

    /// Ends an exchange's part in its key.
    pub fn leave(&self, lease: KeyLease) {
        let mut shard = self.shard(lease.key).lock();
        if let Some(entry) = shard.get_mut(lease.key) {
            entry.in_flight = entry.in_flight.saturating_sub(1);
            match lease.held {
                Held::Shared => {}
                Held::Rotating => entry.flags &= !Entry::ROTATING,
                Held::Flushing => entry.flags &= !Entry::FLUSHING,
            }
        }
    }

    /// Enters a key that the application issued, and with it the flags [`KeyRecord::PAID`] and
    /// [`KeyRecord::LOGGED_IN`] as given. Nothing happens where it is dead.
    pub fn issue(
        &self,
        key: KeyHash,
        expires: Moment,
        flags: u8,
        now: Moment,
    ) -> (KeyRecord, Room) {
        let mut shard = self.shard(key).lock();
        let expires = coarse(expires, now);
        let (entry, room) = shard.enter(key, expires, seconds(now));
        entry.expires = entry.expires.max(expires);
        entry.flags |= flags & (KeyRecord::PAID | KeyRecord::LOGGED_IN);
        (entry.record(key), room)
    }

    /// Ends a key. A key that the ledger does not hold stays unknown.
    pub fn kill(&self, key: KeyHash) -> Option<KeyRecord> {
        let mut shard = self.shard(key).lock();
        let entry = shard.get_mut(key)?;
        entry.flags |= KeyRecord::DEAD;
        Some(entry.record(key))
    }

    /// The application answered this key with another one: ends it, and says whether that was its
    /// one free rotation.
    pub fn rotate(&self, key: KeyHash, successor: Successor) -> (Rotation, Option<KeyRecord>) {
        let mut shard = self.shard(key).lock();
        let Some(entry) = shard.get_mut(key) else { return (Rotation::Further, None) };
        let free = !entry.is(KeyRecord::DEAD) && !entry.is(KeyRecord::ROTATED);
        let paid = entry.is(KeyRecord::PAID);
        entry.flags |= match successor {
            Successor::Relayed => KeyRecord::DEAD | KeyRecord::ROTATED,
            Successor::Withheld => KeyRecord::DEAD,
        };
        let alone = entry.in_flight <= 1;
        let logged_in = entry.is(KeyRecord::LOGGED_IN);
        let free = free.then_some(Rotation::Free { paid, alone, logged_in });
        let rotation = free.unwrap_or(Rotation::Further);
        (rotation, Some(entry.record(key)))
    }

    /// The application saved this key's session again. Says whether the key is alive, with a
    /// record where the journal must know of the new expiry. `pay` makes an unpaid key paid, and
    /// pays for what may have been added while its exchanges failed.
    pub fn renew(&self, key: KeyHash, expires: Moment, pay: bool, now: Moment) -> Renewal {
        let mut shard = self.shard(key).lock();
        let Some(entry) = shard.get_mut(key) else { return Renewal::NotAlive };
        if entry.is(KeyRecord::DEAD) || entry.expires <= seconds(now) {
            return Renewal::NotAlive;
        }
        let before = (entry.expires, entry.flags & KeyRecord::LASTING);
        entry.expires = entry.expires.max(coarse(expires, now));
        if pay {
            entry.flags |= KeyRecord::PAID;
            entry.failures &= Entry::RECENT;
        }
        let changed = before != (entry.expires, entry.flags & KeyRecord::LASTING);
        Renewal::Alive(changed.then(|| entry.record(key)))
    }

    /// After an answer that does not tell, a key has no free rotation left; after a flush, its
    /// record may be gone as well. Says whether it may have been gone before: then this exchange
    /// may have added one.
    pub fn uncertain(&self, key: KeyHash, effect: Effect) -> (bool, Option<KeyRecord>) {
        let mut shard = self.shard(key).lock();
        let Some(entry) = shard.get_mut(key) else { return (true, None) };
        let before = entry.flags;
        let gone = entry.is(KeyRecord::DEAD) || entry.is(KeyRecord::UNCERTAIN);
        entry.flags |= KeyRecord::ROTATED;
        match effect {
            Effect::Flush => entry.flags |= KeyRecord::UNCERTAIN,
            Effect::Write | Effect::Rotate => entry.fail(),
        }
        let changed = entry.flags != before;
        (gone, changed.then(|| entry.record(key)))
    }

    /// Puts back what a snapshot or a journal remembers. Later records of a key follow earlier
    /// ones; dead is final whatever comes after it.
    pub fn restore(&self, record: KeyRecord, now: Moment) -> Room {
        if record.expires <= seconds(now) {
            return Room::Enough;
        }
        let mut shard = self.shard(record.key).lock();
        let (entry, room) = shard.enter(record.key, record.expires, seconds(now));
        entry.expires = entry.expires.max(record.expires);
        // The shard keeps those that were presented apart.
        entry.flags |= record.flags & KeyRecord::LASTING & !KeyRecord::PRESENTED;
        if record.flags & KeyRecord::PRESENTED != 0 {
            shard.present(record.key);
        }
        room
    }

    /// Every key that has not expired, shard by shard, so that no lock is held for long.
    pub fn records(&self, now: Moment) -> impl Iterator<Item = Vec<KeyRecord>> + '_ {
        let now = seconds(now);
        self.shards.iter().map(move |shard| {
            let shard = shard.lock();
            let alive = shard.iter().filter(|(_, entry)| entry.expires > now);
            alive.map(|(key, entry)| entry.record(key)).collect()
        })
    }

    /// How many keys are held, dead ones included.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether no key is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Exchanges of known keys that have not been settled; zero when nothing is under way.
    pub fn in_flight(&self) -> usize {
        let busy = |shard: &Locked<Shard>| -> usize {
            shard.lock().iter().map(|(_, entry)| usize::from(entry.in_flight)).sum()
        };
        self.shards.iter().map(busy).sum()
    }
}

/// What renewing found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    Alive(Option<KeyRecord>),
    /// Dead, expired or never issued: the application took an invented key, or brought a record
    /// back that a logout had ended.
    NotAlive,
}

/// Whole seconds since the origin, rounded down; enough for 136 years.
pub fn seconds(moment: Moment) -> u32 {
    u32::try_from(moment.as_nanos() / 1_000_000_000).unwrap_or(u32::MAX)
}

/// An expiry, rounded up to a thirty-second of what is left: a session that is saved on every
/// request then costs a line in the journal only now and then.
fn coarse(expires: Moment, now: Moment) -> u32 {
    let grain = Duration::from_secs((expires.since(now).as_secs() / 32).max(1)).as_secs();
    let grain = u32::try_from(grain).unwrap_or(u32::MAX);
    seconds(expires).saturating_add(1).div_ceil(grain).saturating_mul(grain)
}

/// 8 bytes beside the hash.
#[derive(Clone, Copy)]
struct Entry {
    expires: u32,
    in_flight: u16,
    flags: u8,
    /// Exchanges that ended without an answer that tells, and [`Self::RECENT`]. A restart forgets
    /// both.
    failures: u8,
}

impl Entry {
    const NEW: Self = Self { expires: 0, in_flight: 0, flags: 0, failures: 0 };
    /// Presented since the shard last looked for something to forget.
    const RECENT: u8 = 1 << 7;
    const ROTATING: u8 = 1 << 5;
    const FLUSHING: u8 = 1 << 6;

    const fn is(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    const fn failures(self) -> u8 {
        self.failures & !Self::RECENT
    }

    /// Counts one more failure, as far as anybody asks.
    const fn fail(&mut self) {
        if self.failures() < Ledger::FREE_FAILURES {
            self.failures += 1;
        }
    }

    const fn record(self, key: KeyHash) -> KeyRecord {
        KeyRecord { key, expires: self.expires, flags: self.flags & KeyRecord::LASTING }
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
