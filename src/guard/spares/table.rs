//! What is remembered of the paths that recycling routes name: unproved ones, a bounded number,
//! and proved ones with their slots.

use std::collections::HashSet;

use super::super::client::Client;
use super::super::fact::RouteId;
use super::super::key::{KeyHash, SessionKey};
use super::super::moment::Moment;
use super::Asking;

#[derive(Default)]
pub(super) struct Table {
    pub(super) paths: Vec<Path>,
    /// Slots promised to proved paths.
    pub(super) promised: usize,
    /// Spares, in their slots or under way.
    pub(super) keys: HashSet<KeyHash>,
    /// For placeholders; never used twice.
    pub(super) counter: u64,
    /// The application was seen to delete an empty session rather than replace it, wherever.
    pub(super) deletes: bool,
}

pub(super) struct Path {
    pub(super) path: Box<[u8]>,
    pub(super) route: RouteId,
    /// Gated whatever was proved, until then.
    pub(super) gated: Option<Moment>,
    pub(super) stage: Stage,
}

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

#[derive(Default)]
pub(super) struct Slot {
    pub(super) leased: bool,
    pub(super) spare: Option<(SessionKey, Moment)>,
}

impl Table {
    /// Paths that are remembered at most, proved ones aside.
    pub(super) const UNPROVED: usize = 64;

    /// The path's place. Proved paths and those in use stay; of the others the one that is gated
    /// for the shortest time makes room.
    pub(super) fn find_or_add(&mut self, asking: Asking<'_>, now: Moment) -> Option<usize> {
        if let Some(index) = self.paths.iter().position(|path| *path.path == *asking.path) {
            return Some(index);
        }
        let path = Path {
            path: asking.path.into(),
            route: asking.route,
            gated: None,
            stage: Stage::UNPROVED,
        };
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
        let (index, _) = idle.min_by_key(|(_, path)| path.gated.unwrap_or(now))?;
        self.paths[index] = path;
        Some(index)
    }
}

impl Path {
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
