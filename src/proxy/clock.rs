//! The clock: the only place that reads one.
//!
//! It owns the mapping between the guard's [`Moment`] and wall time. It promises moments that
//! never step back, whatever happens to the wall clock.

#![allow(clippy::disallowed_methods, reason = "every other module takes the time as an argument")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::guard::image::Wall;
use crate::guard::moment::Moment;

/// A monotonic clock, started once for each process. Copies read the same clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The origin of moments, in nanoseconds of the system's monotonic clock. It may lie before the
    /// origin of that, and is reckoned modulo 2⁶⁴ then.
    origin: u64,
}

impl Clock {
    /// Starts a clock. Its first reading is [`Moment::HEADROOM`] after the origin.
    pub fn start() -> Self {
        let headroom = u64::try_from(Moment::HEADROOM.as_nanos()).unwrap_or(u64::MAX);
        Self { origin: monotonic().wrapping_sub(headroom) }
    }

    /// The present moment.
    pub fn now(&self) -> Moment {
        Moment::from_nanos(monotonic().wrapping_sub(self.origin))
    }

    /// A moment of late, which is a tick of the system's ago at most, some milliseconds: a fifth of
    /// the price, for what is not measured but only bounded.
    pub fn lately(&self) -> Moment {
        Moment::from_nanos(nanos(ClockId::MonotonicCoarse).wrapping_sub(self.origin))
    }

    /// Where the origin of moments lies on the wall clock, by the wall clock as it stands now.
    pub fn wall(&self) -> Wall {
        let (now, wall) = (self.now(), wall());
        // A duration since 1970 in nanoseconds fits easily.
        let unix = i128::try_from(wall.as_nanos()).unwrap_or(i128::MAX);
        Wall { origin_unix_nanos: unix - i128::from(now.as_nanos()) }
    }

    /// The wall time, in milliseconds since 1970.
    pub fn unix_ms(&self) -> u64 {
        u64::try_from(wall().as_millis()).unwrap_or(u64::MAX)
    }

    /// The wall time of a moment, in seconds since 1970, by the wall clock as it stands now.
    pub fn unix(&self, moment: Moment) -> u64 {
        let (now, wall) = (self.now(), wall());
        if moment > now {
            wall.saturating_add(moment.since(now)).as_secs()
        } else {
            wall.saturating_sub(now.since(moment)).as_secs()
        }
    }

    /// The moment of a wall time: what [`Clock::unix`] undoes, to the second. What lies further
    /// back than [`Moment::HEADROOM`] is the origin.
    pub fn moment(&self, unix: u64) -> Moment {
        let (now, wall, then) = (self.now(), wall(), Duration::from_secs(unix));
        if then > wall {
            now.after(then.saturating_sub(wall))
        } else {
            now.before(wall.saturating_sub(then))
        }
    }
}

fn monotonic() -> u64 {
    nanos(ClockId::Monotonic)
}

/// Nanoseconds of a clock that does not step: read some five times for each exchange, so without the
/// checks of `std::time::Instant`.
fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    // Neither is negative, and 584 years fit.
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// Wall time since 1970; zero if the wall clock stands before it.
fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reading_leaves_room_for_any_configured_duration() {
        let now = Clock::start().now();
        assert!(now >= Moment::from_nanos(0).after(Moment::HEADROOM));
    }

    #[test]
    fn what_was_of_late_is_not_long_ago_and_never_ahead() {
        let clock = Clock::start();
        let (lately, now) = (clock.lately(), clock.now());
        assert!(lately <= now);
        assert!(now.since(lately) < Duration::from_secs(1), "{lately:?} {now:?}");
        while clock.lately() < now {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn wall_time_survives_the_round_trip() {
        let clock = Clock::start();
        let now = clock.unix(clock.now());
        for unix in [now - 300_000_000, now, now + 300_000_000] {
            let back = clock.unix(clock.moment(unix));
            assert!(back.abs_diff(unix) <= 1, "{unix} came back as {back}");
        }
    }
}
