//! How often the state was saved, and how that went.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::telemetry::snapshot::Saved;

/// Counted by the one thread that saves, and read by any.
#[derive(Debug, Default)]
pub(super) struct Saves {
    done: AtomicU64,
    failed: AtomicU64,
    /// In milliseconds since 1970; zero before the first.
    last_unix_ms: AtomicU64,
    last_us: AtomicU64,
    snapshot_bytes: AtomicU64,
    journal_bytes: AtomicU64,
}

impl Saves {
    /// What there was to say is in the file, as it was then; it took so long.
    pub(super) fn done(&self, unix_ms: u64, took: Duration) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.last_unix_ms.store(unix_ms, Ordering::Relaxed);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.last_us.store(us, Ordering::Relaxed);
    }

    /// Something of it is not.
    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// How large the file and its journal are.
    pub(super) fn sized(&self, snapshot: u64, journal: u64) {
        self.snapshot_bytes.store(snapshot, Ordering::Relaxed);
        self.journal_bytes.store(journal, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Saved {
        let get = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Saved {
            done: get(&self.done),
            failed: get(&self.failed),
            last_unix_ms: get(&self.last_unix_ms),
            last_took: Duration::from_micros(get(&self.last_us)),
            snapshot_bytes: get(&self.snapshot_bytes),
            journal_bytes: get(&self.journal_bytes),
        }
    }
}
