//! How often the configuration was read again, and how that went.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::telemetry::snapshot::Reloaded;

#[derive(Debug)]
pub struct Reloads {
    succeeded: AtomicU64,
    failed: AtomicU64,
    last_succeeded: AtomicBool,
    /// When what is in force was put there, in milliseconds since 1970.
    in_force_unix_ms: AtomicU64,
}

impl Reloads {
    /// None yet; a configuration is in force since the start.
    pub fn since(unix_ms: u64) -> Self {
        Self {
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            last_succeeded: AtomicBool::new(true),
            in_force_unix_ms: AtomicU64::new(unix_ms),
        }
    }

    /// One more was tried.
    pub fn note(&self, succeeded: bool, unix_ms: u64) {
        self.last_succeeded.store(succeeded, Ordering::Relaxed);
        if succeeded {
            self.succeeded.fetch_add(1, Ordering::Relaxed);
            self.in_force_unix_ms.store(unix_ms, Ordering::Relaxed);
        } else {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn read(&self) -> Reloaded {
        Reloaded {
            succeeded: self.succeeded.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            last_succeeded: self.last_succeeded.load(Ordering::Relaxed),
            in_force_unix_ms: self.in_force_unix_ms.load(Ordering::Relaxed),
        }
    }
}
