//! Time as the guard sees it: a count of nanoseconds from a clock that never steps back.

use std::time::Duration;

/// A reading of the monotonic clock, in nanoseconds since an origin that the shell chooses.
///
/// The origin lies at least ten years before the start of the process, so that subtracting any
/// configured duration from a reading never reaches zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// What the origin must be before the first reading: ten years, in nanoseconds.
    pub const HEADROOM: Duration = Duration::from_secs(10 * 366 * 86_400);

    /// The far end of time.
    pub const NEVER: Self = Self(u64::MAX);

    /// A reading `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This moment, `span` later; the far end of time if that does not fit.
    pub fn after(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// This moment, `span` earlier; the origin if that does not fit.
    pub fn before(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }
}
