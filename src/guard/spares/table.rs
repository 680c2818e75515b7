//! What is remembered of the paths that recycling routes name: unproved ones, a bounded number,
//! and proved ones with their slots.

use std::collections::HashSet;
use std::time::Duration;

use super::super::client::Client;
use super::super::key::{KeyHash, Secret, SessionKey};
use super::super::moment::Moment;
use super::super::policy::RecyclePolicy;
use super::Asking;
use super::spacing::Spacing;

#[derive(Clone)]
pub(super) struct Table {
    pub(super) paths: Vec<Path>,
    /// Slots that there may be at most.
    pub(super) limit: usize,
    /// Slots promised to proved paths.
    pub(super) promised: usize,
    /// Spares, in their slots or under way.
    pub(super) keys: HashSet<KeyHash>,
    /// For placeholders; never used twice.
    pub(super) counter: u64,
    /// The application was seen to delete an empty session rather than replace it, wherever.
    pub(super) deletes: bool,
    /// The spares are another process's.
    pub(super) handed: bool,
    pub(super) spacing: Spacing,
}

#[derive(Clone)]
pub(super) struct Path {
    pub(super) path: Box<[u8]>,
    /// Gated whatever was proved, until then.
    pub(super) gated: Option<Moment>,
    /// When an exchange last asked for a lane.
    pub(super) used: Moment,
    pub(super) stage: Stage,
}

#[derive(Clone)]
pub(super) enum Stage {
    Unproved {
        busy: bool,
        /// Answers in a row that set no session cookie.
        clean: u8,
        /// It is gated because its answers were clean, not because it writes.
        quiet: bool,
    },
    Proved {
        share: usize,
        slots: Vec<Slot>,
        /// The application was seen to delete an empty session rather than replace it.
        deletes: bool,
        /// Clients after whose logout such an application wrote all the same.
        writers: Vec<Client>,
    },
}

impl Stage {
    pub(super) const UNPROVED: Self = Self::Unproved { busy: false, clean: 0, quiet: false };
}

#[derive(Clone, Default)]
pub(super) struct Slot {
    pub(super) leased: bool,
    pub(super) spare: Option<(SessionKey, Moment)>,
}

impl Table {
    /// Paths that are remembered at most, proved ones aside.
    pub(super) const UNPROVED: usize = 64;

    pub(super) fn new(policy: &RecyclePolicy, counter: u64) -> Self {
        Self {
            paths: Vec::new(),
            limit: policy.spares.into(),
            promised: 0,
            keys: HashSet::new(),
            counter,
            deletes: false,
            handed: false,
            spacing: Spacing::new(policy.spacing),
        }
    }

    /// The path's place. Proved paths and those in use stay; of the others the one that is gated
    /// for the shortest time makes room, and one that was seen to write last of all: its first
    /// request would be sent twice again.
    pub(super) fn find_or_add(&mut self, asking: Asking<'_>, now: Moment) -> Option<usize> {
        if let Some(index) = self.paths.iter().position(|path| *path.path == *asking.path) {
            return Some(index);
        }
        let path = Path::new(asking.path, now);
        let unproved =
            self.paths.iter().filter(|path| matches!(path.stage, Stage::Unproved { .. }));
        if unproved.count() < Self::UNPROVED {
            self.paths.push(path);
            return Some(self.paths.len() - 1);
        }
        let idle = self
            .paths
            .iter()
            .enumerate()
            .filter(|(_, path)| matches!(path.stage, Stage::Unproved { busy: false, .. }));
        let (index, _) =
            idle.min_by_key(|(_, path)| (path.writes(now), path.gated.unwrap_or(now)))?;
        self.paths[index] = path;
        Some(index)
    }

    /// Of the proved paths that can spare a slot, one that was not used for `rest`, or else one of
    /// those with the fewest; of several the one that was used longest ago.
    pub(super) fn least_used(&self, now: Moment, rest: Duration) -> Option<usize> {
        let able = self.paths.iter().enumerate().filter_map(|(index, path)| {
            let share = path.can_spare()?;
            let busy = if path.rests(now, rest) { 0 } else { share };
            Some((busy, path.used, index))
        });
        able.min().map(|(.., index)| index)
    }

    /// Slots for a newly proved path: half of what is left, so that several paths find some.
    pub(super) fn share_of(limit: usize, promised: &mut usize) -> usize {
        let share = limit.saturating_sub(*promised).div_ceil(2);
        *promised += share;
        share
    }

    /// Gives up slots that are more than there may be, as far as no exchange uses them.
    pub(super) fn trim(&mut self, now: Moment, secret: Secret) {
        while self.promised > self.limit
            && self.take_slot(now, Duration::ZERO, false, secret).is_some()
        {
            self.promised -= 1;
        }
    }

    /// Takes a slot from such a path, with the spare that it may hold; where `only_rested` says so,
    /// only from one that was not used for that long. A path without slots is unproved again.
    pub(super) fn take_slot(
        &mut self,
        now: Moment,
        rest: Duration,
        only_rested: bool,
        secret: Secret,
    ) -> Option<Slot> {
        let path = self.least_used(now, rest)?;
        let path = &mut self.paths[path];
        if only_rested && !path.rests(now, rest) {
            return None;
        }
        let Stage::Proved { share, slots, .. } = &mut path.stage else { return None };
        let taken = if slots.len() < *share { None } else { slots.pop() };
        *share -= 1;
        if *share == 0 {
            path.stage = Stage::UNPROVED;
        }
        let taken = taken.unwrap_or_default();
        if let Some((key, _)) = &taken.spare {
            self.keys.remove(&secret.key(key));
        }
        Some(taken)
    }
}

impl Path {
    pub(super) fn new(path: &[u8], now: Moment) -> Self {
        Self { path: path.into(), gated: None, used: now, stage: Stage::UNPROVED }
    }

    /// It is gated, and not because its answers were clean.
    fn writes(&self, now: Moment) -> bool {
        let quiet = matches!(self.stage, Stage::Unproved { quiet: true, .. });
        self.gated.is_some_and(|until| now < until) && !quiet
    }

    /// Whether it was not used for that long.
    fn rests(&self, now: Moment, rest: Duration) -> bool {
        now.since(self.used) >= rest
    }

    /// How many slots it has, if its last one can be taken from it: those in front keep their
    /// places, which leases refer to.
    fn can_spare(&self) -> Option<usize> {
        match &self.stage {
            Stage::Unproved { .. } => None,
            Stage::Proved { share, slots, .. } => {
                let idle = slots.len() < *share || slots.last().is_some_and(|slot| !slot.leased);
                idle.then_some(*share)
            }
        }
    }

    /// A slot of a proved path that no exchange uses.
    pub(super) fn idle_slot(&mut self) -> Option<usize> {
        let Stage::Proved { share, slots, .. } = &mut self.stage else { return None };
        slots.iter().position(|slot| !slot.leased).or_else(|| {
            (slots.len() < *share).then(|| {
                slots.push(Slot::default());
                slots.len() - 1
            })
        })
    }

    /// A slot of a proved path that no exchange uses and that holds no spare.
    pub(super) fn empty_slot(&mut self) -> Option<&mut Slot> {
        let Stage::Proved { share, slots, .. } = &mut self.stage else { return None };
        let empty = slots.iter().position(|slot| !slot.leased && slot.spare.is_none());
        let index = empty.or_else(|| {
            (slots.len() < *share).then(|| {
                slots.push(Slot::default());
                slots.len() - 1
            })
        })?;
        slots.get_mut(index)
    }

    /// One slot more for a proved path.
    pub(super) fn add_slot(&mut self) -> Option<usize> {
        let Stage::Proved { share, .. } = &mut self.stage else { return None };
        *share += 1;
        self.idle_slot()
    }

    pub(super) fn prove(
        &mut self,
        share: usize,
        deletes: bool,
        spare: Option<(SessionKey, Moment)>,
    ) {
        let mut slots = Vec::with_capacity(share);
        if spare.is_some() {
            slots.push(Slot { leased: false, spare });
        }
        self.gated = None;
        self.stage = Stage::Proved { share, slots, deletes, writers: Vec::new() };
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}
