//! One process takes over from another while both serve the same site: a new program, or a new
//! start, without a pause.
//!
//! The old one gives a snapshot, with its spares and with what is held counted as charged, and the
//! new one begins with that. From then on each tells the other what it charges and holds, and which
//! keys come and go, until the old one is gone. So each decides on what both have done, as far as it
//! was told: in no window of time do the two together admit more than one would, but for what one of
//! them had not told yet, and what was held at the snapshot, of which no refund is told.
//!
//! Meanwhile neither removes a session cookie because it does not know it, as the other may have
//! issued it just now; dead keys are dead at once. A spare belongs to one of them at a time: the new
//! one, but for those that exchanges of the old one use; these are handed over when they come back
//! whole, and their records left behind where there is no slot for them any more. Not told are which
//! exchanges of a key are under way, how often it failed, what was learned of paths, and who has
//! logged in lately.

use std::sync::atomic::Ordering;

use super::Guard;
use super::image::{Damaged, Entry, Image, Wall};
use super::ledger::KeyRecord;
use super::moment::Moment;
use super::policy::Policy;

impl Guard {
    /// The snapshot for the process that takes over, piece by piece, for [`Self::taking_over`]. All
    /// pieces must be asked for. Records of keys must be kept for [`Self::tell`] from before the
    /// first one: what is told twice is no harm.
    pub fn hand_over(&self, wall: Wall, now: Moment) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.shared.store(true, Ordering::Relaxed);
        self.handed_over(wall, now)
    }

    /// The guard of the process that takes over, from a snapshot of [`Self::hand_over`].
    pub fn taking_over(
        policy: Policy,
        image: Image<'_>,
        wall: Wall,
        seed: u64,
        now: Moment,
    ) -> Self {
        let guard = Self::restored(policy, image, wall, seed, now);
        guard.shared.store(true, Ordering::Relaxed);
        // What it owes is what the other one has said; from here on there is something to tell.
        guard.budgets.open_diary(now).for_each(drop);
        guard
    }

    /// What has happened since this was last asked, for the other process, with these records of
    /// keys; empty where nothing has. To be asked often, as what was not told may be spent twice.
    pub fn tell(&self, keys: &[KeyRecord], wall: Wall, now: Moment) -> Vec<u8> {
        let mut spares = self.spares.handed_late(now);
        spares.retain(|saved| !saved.spares.is_empty());
        Self::telling(keys, self.budgets.told(), spares, wall)
    }

    /// Takes in what the other process told; the keys among it, for the journal.
    ///
    /// # Errors
    /// The bytes are not whole; nothing of them is taken in.
    pub fn take(&self, told: &[u8], wall: Wall, now: Moment) -> Result<Vec<Entry>, Damaged> {
        self.take_told(told, wall, now)
    }

    /// The other process is gone, in whatever way: what it held is charged, unknown keys are
    /// removed again, and spares are kept.
    pub fn end_handover(&self, now: Moment) {
        self.budgets.close_diary(now);
        self.spares.keep_spares();
        self.shared.store(false, Ordering::Relaxed);
    }

    /// Whether another process serves the same site.
    pub fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }
}
