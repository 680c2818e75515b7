//! Whether every core still runs: a thread that hangs serves nobody, though the process lives.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::guard::moment::Moment;

/// When each core was last seen to run.
#[derive(Debug)]
pub struct Pulses(Box<[AtomicU64]>);

impl Pulses {
    /// Of so many cores, none of which has begun.
    pub fn new(cores: usize) -> Self {
        Self((0..cores).map(|_| AtomicU64::new(0)).collect())
    }

    /// A core runs.
    pub fn beat(&self, core: usize, now: Moment) {
        if let Some(pulse) = self.0.get(core) {
            pulse.store(now.as_nanos(), Ordering::Relaxed);
        }
    }

    /// Whether each of them has run since then. One that has ended counts as one that runs.
    pub fn all_since(&self, then: Moment) -> bool {
        self.0.iter().all(|pulse| pulse.load(Ordering::Relaxed) >= then.as_nanos())
    }

    /// A core has ended: nothing is expected of it any more.
    pub fn end(&self, core: usize) {
        if let Some(pulse) = self.0.get(core) {
            pulse.store(u64::MAX, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_core_that_hangs_is_enough() {
        let now = Moment::from_nanos(1 << 60);
        let pulses = Pulses::new(2);
        assert!(!pulses.all_since(now));
        pulses.beat(0, now);
        assert!(!pulses.all_since(now), "core 1 has not begun");
        pulses.beat(1, now);
        assert!(pulses.all_since(now));
        let later = now.after(Duration::from_secs(1));
        pulses.beat(0, later);
        assert!(!pulses.all_since(later), "core 1 hangs");
        pulses.end(1);
        assert!(pulses.all_since(later));
    }
}
