//! Whether the ledger knows every live session, so that an unknown key cannot be an honest one.

use std::time::Duration;

use super::fact::Warmth;
use super::moment::Moment;

/// What warmth depends on. It outlives restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WarmUp {
    /// Since when every session that was issued through us was entered.
    pub since: Moment,
    /// The longest life of a session cookie: configured, or seen.
    pub longest: Duration,
    /// When a live session was last forgotten for lack of room.
    pub overflowed: Option<Moment>,
    /// When an unknown key was last proven alive: issued past us, or before us.
    pub elsewhere: Option<Moment>,
}

impl WarmUp {
    /// For how long an unknown key that was alive keeps others from being removed.
    pub const LATELY: Duration = Duration::from_secs(86_400);

    /// A ledger that starts empty.
    pub const fn cold(now: Moment, lifetime: Duration) -> Self {
        Self { since: now, longest: lifetime, overflowed: None, elsewhere: None }
    }

    /// Whether it is warm, and what it waits for if not.
    pub fn warmth(&self, now: Moment) -> Warmth {
        let missing = |from: Moment, span: Duration| {
            let remaining = span.saturating_sub(now.since(from));
            (!remaining.is_zero()).then_some(remaining)
        };
        if let Some(remaining) = missing(self.since, self.longest) {
            return Warmth::Cold { remaining };
        }
        if let Some(remaining) = self.overflowed.and_then(|when| missing(when, self.longest)) {
            return Warmth::Overflowed { remaining };
        }
        let lately = Self::LATELY.min(self.longest);
        if let Some(remaining) = self.elsewhere.and_then(|when| missing(when, lately)) {
            return Warmth::IssuedElsewhere { remaining };
        }
        Warmth::Warm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn warm_needs_a_whole_lifetime_without_loss_and_no_stranger_alive() {
        let start = Moment::from_nanos(1 << 59);
        let day = |days: u32| start.after(DAY * days);
        let mut warm_up = WarmUp::cold(start, 14 * DAY);
        assert_eq!(warm_up.warmth(day(13)), Warmth::Cold { remaining: DAY });
        assert_eq!(warm_up.warmth(day(14)), Warmth::Warm);
        warm_up.longest = 30 * DAY;
        assert_eq!(warm_up.warmth(day(14)), Warmth::Cold { remaining: 16 * DAY });
        warm_up.overflowed = Some(day(20));
        assert_eq!(warm_up.warmth(day(30)), Warmth::Overflowed { remaining: 20 * DAY });
        warm_up.elsewhere = Some(day(50));
        assert_eq!(warm_up.warmth(day(50)), Warmth::IssuedElsewhere { remaining: DAY });
        assert_eq!(warm_up.warmth(day(51)), Warmth::Warm);
    }
}
