//! How well the history is kept, counted by the thread that writes it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counts of one process. One thread writes them.
#[derive(Debug, Default)]
pub struct KeptCounts {
    rows: AtomicU64,
    minutes: AtomicU64,
    minutes_lost: AtomicU64,
    failures: AtomicU64,
    last_unix: AtomicU64,
    failing: AtomicBool,
}

/// The same at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Rows that were written to the history.
    pub rows: u64,
    /// Minutes that were written; those in which nothing happened are among them.
    pub minutes: u64,
    /// Minutes that waited for a file that cannot be written until there was no room for them.
    pub minutes_lost: u64,
    /// Writes that failed; what they had is tried again.
    pub failures: u64,
    /// When it was written last, in seconds since 1970; `None`: not yet.
    pub last_unix: Option<u64>,
    /// The last write failed.
    pub failing: bool,
}

impl KeptCounts {
    pub fn read(&self) -> Kept {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Kept {
            rows: of(&self.rows),
            minutes: of(&self.minutes),
            minutes_lost: of(&self.minutes_lost),
            failures: of(&self.failures),
            last_unix: Some(of(&self.last_unix)).filter(|unix| *unix > 0),
            failing: self.failing.load(Ordering::Relaxed),
        }
    }

    /// So much was written, at this second since 1970.
    pub fn wrote(&self, rows: u64, minutes: u64, unix: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.minutes.fetch_add(minutes, Ordering::Relaxed);
        self.last_unix.store(unix, Ordering::Relaxed);
        self.failing.store(false, Ordering::Relaxed);
    }

    /// It could not be written.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.failing.store(true, Ordering::Relaxed);
    }

    /// A minute waited too long.
    pub fn lost_minute(&self) {
        self.minutes_lost.fetch_add(1, Ordering::Relaxed);
    }
}
