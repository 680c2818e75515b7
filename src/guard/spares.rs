//! Spares: empty sessions whose cookies were withheld, kept to be sent in place of none.
//!
//! A path recycles only after it was *proved* to flush: an anonymous exchange got a new key, and
//! the same request, sent again with that key, got another key or a deletion. A view that writes
//! answers with the same key, and never sees a session that somebody else has written to. Until
//! then, and where nothing can be proved, the path is gated.
//!
//! A spare never leaves its path, one exchange leases it at a time, and one whose exchange ended
//! without evidence is gone. Where all slots are promised, a path that proves itself takes one from
//! another: a pattern that matches more paths than there are slots must not shut out the one that
//! people use. That one gets more, when it needs them, from paths that were not used for long. A
//! record that is left behind so is charged to whoever takes the slot, as it would have been had
//! the path stayed gated.

mod settle;
mod spacing;
mod table;

use std::sync::Arc;
use std::time::Duration;

use self::table::{Path, Slot, Stage, Table};
use super::client::Client;
use super::fact::{Notice, RouteId};
use super::key::{KeyHash, Secret, SessionKey};
use super::moment::Moment;
use super::policy::RecyclePolicy;
use super::sharded::Locked;

/// The spares of a site.
pub struct Spares {
    policy: RecyclePolicy,
    lifetime: Duration,
    secret: Secret,
    table: Arc<Locked<Table>>,
}

/// How a sessionless exchange on a recycling route goes on.
#[derive(Debug)]
pub enum Lane {
    /// With a spare, or with a placeholder where the slot is empty.
    Spare(SpareLease),
    /// Bare and against the budget; its answer may prove the path.
    Prove(ProofLease),
    /// Bare and against the budget.
    Gate,
    /// Another exchange must end first.
    Busy,
}

/// The lane that an exchange would get, for whoever only looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    Spare,
    Placeholder,
    Prove,
    Gate,
    Busy,
}

/// A slot in use by one exchange.
#[derive(Debug)]
#[must_use = "a slot that is not given back is out of use"]
pub struct SpareLease {
    path: usize,
    slot: usize,
    route: RouteId,
    sent: SessionKey,
    began: Moment,
    /// Its slot was another path's, whose spare was left behind: that is paid for by this exchange.
    owes: bool,
}

impl SpareLease {
    /// The session key to send.
    pub fn key(&self) -> &SessionKey {
        &self.sent
    }
}

/// An unproved path in use by one exchange, whose request may be sent twice.
#[derive(Debug)]
#[must_use = "a path that is not given back stays busy"]
pub struct ProofLease {
    path: usize,
    route: RouteId,
}

/// What a request brings to the decision.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    pub path: &'a [u8],
    pub route: RouteId,
    /// Whether it may recycle at all: no body, no `Authorization`, no query but what is allowed.
    pub eligible: bool,
    /// Whether it may be sent twice (RFC 9110, section 9.2.1).
    pub safe: bool,
}

/// A lane that an exchange has taken, and gives back or settles.
#[derive(Debug)]
pub enum Taken {
    Spare(SpareLease),
    Proof(ProofLease),
}

/// What is known of the view behind a path of a recycling route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    Unproved,
    /// It was proved to flush.
    Flushes,
    /// It was seen to write, lately.
    Writes,
}

/// How an exchange with a spare, or with a proof under way, ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing was added: the hold is refunded, the cookie withheld.
    Whole,
    /// A record may have been added and forgotten: the hold is kept, a cookie withheld.
    Lost,
    /// The new session is the client's: the hold is kept, the cookie relayed.
    Created,
    /// The path proved nothing: settled as any other exchange.
    Ordinary,
}

/// A spare, or a proved path with an empty slot, as a clean stop saves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    pub path: Vec<u8>,
    pub deletes: bool,
    pub spares: Vec<(SessionKey, Moment)>,
}

impl Spares {
    /// Clean answers after which an unproved path is no longer watched one exchange at a time.
    const CLEAN: u8 = 3;
    /// Unrelated clients that must be seen before writing after logout counts as the site's habit.
    const WRITERS: usize = 3;

    /// Longer paths are gated: what is remembered of a path has the path in it, and who asks may
    /// make up any number of them.
    const LONGEST_PATH: usize = 1024;

    /// Bytes of everything that is kept for `spares` spares, once all paths are as long as may be.
    pub fn bytes(spares: u16) -> usize {
        let spares = usize::from(spares);
        // A hash set has up to twice as many places as keys, with a byte for each.
        let key = 2 * (size_of::<KeyHash>() + 1) * 8 / 7;
        let writers = Self::WRITERS.next_power_of_two() * size_of::<Client>();
        let path = 2 * size_of::<Path>() + Self::LONGEST_PATH + writers;
        spares * (size_of::<Slot>() + key) + (spares + Table::UNPROVED) * path
    }

    /// No spares yet. `seed` makes the placeholders of this process its own.
    pub fn new(policy: &RecyclePolicy, lifetime: Duration, secret: Secret, seed: u64) -> Self {
        let table = Table::new(policy, seed);
        let table = Arc::new(Locked::new(table));
        Self { policy: policy.clone(), lifetime, secret, table }
    }

    /// The same paths and spares under another policy. Where there are to be fewer spares, those
    /// that no exchange uses go at once, and the others when their exchanges have ended; their
    /// records are left behind.
    pub fn reconfigured(&self, policy: &RecyclePolicy, lifetime: Duration, now: Moment) -> Self {
        let mut table = self.table.lock();
        table.limit = policy.spares.into();
        table.spacing.set(policy.spacing);
        table.trim(now, self.secret);
        let (secret, table) = (self.secret, Arc::clone(&self.table));
        Self { policy: policy.clone(), lifetime, secret, table }
    }

    /// A number for the placeholders of other spares, which these have not come to.
    pub fn other_seed(&self) -> u64 {
        self.table.lock().counter.wrapping_add(1 << 48)
    }

    /// Whether a key that a client presents is a spare, which no client can have by right.
    pub fn holds(&self, key: KeyHash) -> bool {
        self.table.lock().keys.contains(&key)
    }

    /// Whether the application is one that deletes an empty session (1.8, and what is patched), so
    /// that the new key in its answer to a logout is that of a session that somebody filled.
    pub fn application_deletes(&self) -> bool {
        self.table.lock().deletes
    }

    /// The application answered the logout of a live key with a deletion.
    pub fn saw_deletion(&self) {
        self.table.lock().deletes = true;
    }

    /// Finds a sessionless exchange its lane.
    pub fn enter(&self, asking: Asking<'_>, now: Moment) -> Lane {
        self.enter_in(&mut self.table.lock(), asking, now)
    }

    /// The lane that it would find. Changes nothing: it is found in a copy.
    pub fn look(&self, asking: Asking<'_>, now: Moment) -> Looked {
        let mut copy = self.table.lock().clone();
        match self.enter_in(&mut copy, asking, now) {
            Lane::Spare(lease) if copy.keys.contains(&self.secret.key(lease.key())) => {
                Looked::Spare
            }
            Lane::Spare(_) => Looked::Placeholder,
            Lane::Prove(_) => Looked::Prove,
            Lane::Gate => Looked::Gate,
            Lane::Busy => Looked::Busy,
        }
    }

    fn enter_in(&self, table: &mut Table, asking: Asking<'_>, now: Moment) -> Lane {
        if !asking.eligible || asking.path.len() > Self::LONGEST_PATH {
            return Lane::Gate;
        }
        table.trim(now, self.secret);
        let Some(index) = table.find_or_add(asking, now) else { return Lane::Gate };
        let has_slot = self.has_slot(table, now);
        let path = &mut table.paths[index];
        if path.gated.is_some_and(|until| now < until) {
            return Lane::Gate;
        }
        if table.handed {
            return Lane::Gate;
        }
        path.gated = None;
        let lane = match &mut path.stage {
            // It cannot be sent twice, and others wait for the lane.
            Stage::Unproved { .. } if !asking.safe => Lane::Gate,
            Stage::Unproved { busy: true, .. } => Lane::Busy,
            Stage::Unproved { .. } if !has_slot => Lane::Gate,
            Stage::Unproved { busy, .. } => {
                *busy = true;
                Lane::Prove(ProofLease { path: index, route: asking.route })
            }
            Stage::Proved { .. } => self.lease(table, index, asking.route, now),
        };
        // Who has to wait changes nothing: how often it asks is no part of what can be replayed.
        match lane {
            Lane::Busy => {}
            Lane::Spare(_) | Lane::Prove(_) | Lane::Gate => table.paths[index].used = now,
        }
        lane
    }

    /// A slot of a proved path, or one that another path has not used for long.
    fn lease(&self, table: &mut Table, index: usize, route: RouteId, now: Moment) -> Lane {
        if !table.spacing.allows(now) {
            return Lane::Busy;
        }
        let (slot, owes) = match table.paths[index].idle_slot() {
            Some(slot) => (slot, false),
            None if table.promised < table.limit => return Lane::Busy,
            None => {
                let taken = table.take_slot(now, self.policy.gate_for, true, self.secret);
                let added = taken.and_then(|taken| {
                    Some((table.paths[index].add_slot()?, taken.spare.is_some()))
                });
                let Some(added) = added else { return Lane::Busy };
                added
            }
        };
        let Stage::Proved { slots, .. } = &mut table.paths[index].stage else { return Lane::Busy };
        let place = &mut slots[slot];
        place.leased = true;
        table.spacing.begin(now);
        if let Some((key, _)) = place.spare.take_if(|(_, expires)| *expires <= now) {
            table.keys.remove(&self.secret.key(&key));
        }
        let sent = place.spare.as_ref().map_or_else(
            || {
                table.counter = table.counter.wrapping_add(1);
                self.secret.placeholder(table.counter)
            },
            |(key, _)| *key,
        );
        Lane::Spare(SpareLease { path: index, slot, route, sent, began: now, owes })
    }

    /// What is known of a path's view.
    pub fn nature(&self, path: &[u8], now: Moment) -> Nature {
        let table = self.table.lock();
        match table.paths.iter().find(|known| *known.path == *path) {
            None => Nature::Unproved,
            Some(Path { gated, stage, .. }) => {
                match (gated.is_some_and(|until| now < until), stage) {
                    (true, Stage::Unproved { quiet: true, .. }) => Nature::Unproved,
                    (true, _) => Nature::Writes,
                    (false, Stage::Proved { .. }) => Nature::Flushes,
                    (false, Stage::Unproved { .. }) => Nature::Unproved,
                }
            }
        }
    }

    /// A session came into being on a path that had looked clean: it is worth another proof.
    pub fn created_on(&self, path: &[u8]) {
        let mut table = self.table.lock();
        let found = table.paths.iter_mut().find(|known| *known.path == *path);
        if let Some(Path { gated, stage: Stage::Unproved { quiet, .. }, .. }) = found
            && *quiet
        {
            *quiet = false;
            *gated = None;
        }
    }

    /// Whether a path that proves itself would get a slot: one that is left, or one of another path.
    fn has_slot(&self, table: &Table, now: Moment) -> bool {
        table.promised < table.limit || table.least_used(now, self.policy.gate_for).is_some()
    }

    fn gate(&self, path: &mut Path, route: RouteId, now: Moment) -> Notice {
        if let Stage::Unproved { quiet, .. } = &mut path.stage {
            *quiet = false;
        }
        path.gated = Some(now.after(self.policy.gate_for));
        let gated = self.policy.gate_for;
        Notice::PathWrites { route, path: path.text(), gated }
    }

    fn gate_habit(&self, path: &mut Path, route: RouteId, now: Moment) -> Notice {
        if let Stage::Proved { writers, .. } = &mut path.stage {
            writers.clear();
        }
        path.gated = Some(now.after(self.policy.gate_for));
        let gated = self.policy.gate_for;
        Notice::WritesAfterLogout { route, path: path.text(), gated }
    }

    /// Proved paths and their spares, for the state file. `spares` only at a clean stop: they are
    /// raw keys.
    pub fn saved(&self, with_spares: bool, now: Moment) -> Vec<Saved> {
        let table = self.table.lock();
        let mut saved = Vec::new();
        for path in &table.paths {
            if let Stage::Proved { slots, deletes, .. } = &path.stage {
                let alive = slots.iter().filter_map(|slot| slot.spare);
                let spares = alive.filter(|(_, expires)| with_spares && *expires > now).collect();
                saved.push(Saved { path: path.path.to_vec(), deletes: *deletes, spares });
            }
        }
        saved
    }

    /// Puts back what a state file remembers: each path gets slots for the spares that it had, and
    /// then a part of those that are left, as if it had just been proved.
    pub fn restore(&self, saved: Vec<Saved>, now: Moment) {
        let mut table = self.table.lock();
        let Table { paths, keys, promised, limit, .. } = &mut *table;
        let first = paths.len();
        for saved in saved {
            let left = limit.saturating_sub(*promised);
            let share = saved.spares.len().clamp(1, left.max(1));
            if left == 0 || paths.iter().any(|path| *path.path == *saved.path) {
                continue;
            }
            *promised += share;
            let mut path = Path::new(&saved.path, now);
            path.prove(share, saved.deletes, None);
            if let Stage::Proved { slots, .. } = &mut path.stage {
                for (key, expires) in saved.spares.into_iter().take(share) {
                    keys.insert(self.secret.key(&key));
                    slots.push(Slot { leased: false, spare: Some((key, expires)) });
                }
            }
            paths.push(path);
        }
        for path in &mut paths[first..] {
            if let Stage::Proved { share, .. } = &mut path.stage {
                *share += Table::share_of(*limit, promised);
            }
        }
    }

    /// Proved paths, and the spares that no exchange uses, which are another process's from now on.
    /// What exchanges under way bring back is handed over by the next call; meanwhile nothing
    /// recycles here, until [`Self::keep_spares`].
    pub fn hand_over(&self, now: Moment) -> Vec<Saved> {
        let mut table = self.table.lock();
        let Table { paths, keys, handed, .. } = &mut *table;
        *handed = true;
        let mut saved = Vec::new();
        for path in paths {
            let Stage::Proved { slots, deletes, .. } = &mut path.stage else { continue };
            let idle = slots.iter_mut().filter(|slot| !slot.leased);
            let spares: Vec<_> = idle.filter_map(|slot| slot.spare.take()).collect();
            for (key, _) in &spares {
                keys.remove(&self.secret.key(key));
            }
            let spares = spares.into_iter().filter(|(_, expires)| *expires > now).collect();
            saved.push(Saved { path: path.path.to_vec(), deletes: *deletes, spares });
        }
        saved
    }

    /// What has come back since, if the spares were handed over.
    pub fn handed_late(&self, now: Moment) -> Vec<Saved> {
        let handed = self.table.lock().handed;
        if handed { self.hand_over(now) } else { Vec::new() }
    }

    /// The other process is gone: paths recycle here.
    pub fn keep_spares(&self) {
        self.table.lock().handed = false;
    }

    /// Takes in what another process handed over late: spares that find an empty slot of their
    /// path. Records of others are left behind.
    pub fn take(&self, saved: Saved, now: Moment) {
        let mut table = self.table.lock();
        let Table { paths, keys, .. } = &mut *table;
        let Some(path) = paths.iter_mut().find(|path| *path.path == *saved.path) else { return };
        for (key, expires) in saved.spares.into_iter().filter(|(_, expires)| *expires > now) {
            let Some(slot) = path.empty_slot() else { return };
            slot.spare = Some((key, expires));
            keys.insert(self.secret.key(&key));
        }
    }

    /// Whether who waits for a slot may find one, as far as room between exchanges goes.
    pub fn allows(&self, now: Moment) -> bool {
        self.table.lock().spacing.allows(now)
    }

    /// How many records are kept as spares.
    pub fn len(&self) -> usize {
        self.table.lock().keys.len()
    }

    /// Whether no record is kept as a spare.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Slots and paths that an exchange is using; zero when nothing is under way.
    pub fn leased(&self) -> usize {
        let table = self.table.lock();
        let leased = |path: &Path| match &path.stage {
            Stage::Unproved { busy, .. } => usize::from(*busy),
            Stage::Proved { slots, .. } => slots.iter().filter(|slot| slot.leased).count(),
        };
        table.paths.iter().map(leased).sum()
    }
}

#[cfg(test)]
#[path = "spares_tests.rs"]
mod tests;
