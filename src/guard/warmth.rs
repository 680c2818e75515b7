//! Whether the ledger knows every live session, so that an unknown key cannot be an honest one.
//!
//! It owns the reasons why it may not. In doubt it is cold: unknown session cookies are then
//! forwarded, at the expense of a budget, and nobody is logged out.

use std::time::Duration;

use super::fact::{Missed, Warmth};
use super::image::Wall;
use super::moment::Moment;

/// What warmth depends on. It outlives restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WarmUp {
    /// Since when every session that was issued through us was entered.
    pub since: Moment,
    /// Why not before.
    pub missed: Missed,
    /// The configured life of a session: how long a key was remembered whose cookie has no age.
    pub lifetime: Duration,
    /// The longest life of a session cookie: configured, or seen.
    pub longest: Duration,
    /// When a live session was last forgotten for lack of room.
    pub overflowed: Option<Moment>,
    /// When an unknown key was last proven alive: issued past us, or before us.
    pub elsewhere: Option<Moment>,
}

impl WarmUp {
    /// For how long an unknown key that was alive keeps others from being removed, where it may
    /// have been issued before all others were seen. A week: a second entrance may be quiet over a
    /// weekend.
    pub const LATELY: Duration = Duration::from_secs(7 * 86_400);

    /// How long nobody may have seen what was issued, without consequences: a restart.
    pub const UNSEEN: Duration = Duration::from_secs(60);

    /// Numbers that [`Self::on_wall`] says it with.
    pub const FIELDS: usize = 7;

    /// A ledger that starts empty.
    pub const fn cold(now: Moment, lifetime: Duration) -> Self {
        Self {
            since: now,
            missed: Missed::Everything,
            lifetime,
            longest: lifetime,
            overflowed: None,
            elsewhere: None,
        }
    }

    /// From now on everything is seen; until now, it was not.
    pub fn start_anew(&mut self, missed: Missed, now: Moment) {
        self.since = now;
        self.missed = missed;
    }

    /// The configured life of a session is another one from now on: keys whose cookies have no age
    /// were remembered for the old one, which may have been too short.
    pub fn reconfigure(&mut self, lifetime: Duration, now: Moment) {
        if self.lifetime < lifetime {
            self.start_anew(Missed::LongerLifetime, now);
        }
        self.lifetime = lifetime;
        self.longest = self.longest.max(lifetime).min(super::Guard::LONGEST_AGE);
    }

    /// What was missed between the last sign of life and now, both in nanoseconds of one clock; if
    /// it was long enough to matter. A clock that was set back leaves no telling how long it was.
    pub fn absence(last_seen: u64, now: u64) -> Option<Missed> {
        let away = Duration::from_nanos(now.saturating_sub(last_seen));
        let back = Duration::from_nanos(last_seen.saturating_sub(now));
        if back > Self::UNSEEN {
            Some(Missed::ClockSetBack)
        } else {
            (away > Self::UNSEEN).then_some(Missed::Absence(away))
        }
    }

    /// Whether it is warm, and what it waits for if not.
    pub fn warmth(&self, now: Moment) -> Warmth {
        let missing = |from: Moment, span: Duration| {
            let remaining = span.saturating_sub(now.since(from));
            (!remaining.is_zero()).then_some(remaining)
        };
        let whole = self.longest;
        if let Some(remaining) = missing(self.since, whole) {
            let longer = missing(self.since, self.lifetime).is_none();
            let missed = if longer { Missed::LongerAge } else { self.missed };
            return Warmth::Cold { missed, remaining, whole };
        }
        if let Some(remaining) = self.overflowed.and_then(|when| missing(when, whole)) {
            return Warmth::Overflowed { remaining, whole };
        }
        if let Some(elsewhere) = self.elsewhere {
            // One that no session from before can be shows that there is another way in; who comes
            // that way may come again as late as a session lives.
            let shown = elsewhere.since(self.since) >= whole;
            let whole = if shown { whole } else { Self::LATELY.min(whole) };
            if let Some(remaining) = missing(elsewhere, whole) {
                return Warmth::IssuedElsewhere { remaining, whole };
            }
        }
        Warmth::Warm
    }

    /// As numbers, its times on the wall clock.
    pub fn on_wall(&self, wall: Wall) -> [u64; Self::FIELDS] {
        let optional = |moment: Option<Moment>| moment.map_or(0, |moment| wall.unix_nanos(moment));
        let (missed, span) = self.missed.code();
        [
            wall.unix_nanos(self.since),
            self.longest.as_secs(),
            optional(self.overflowed),
            optional(self.elsewhere),
            self.lifetime.as_secs(),
            missed,
            span.as_secs(),
        ]
    }

    /// From such numbers, under a lifetime that may be another one now.
    pub fn from_wall(
        [since, longest, overflowed, elsewhere, before, missed, span]: [u64; Self::FIELDS],
        lifetime: Duration,
        wall: Wall,
        now: Moment,
    ) -> Self {
        // A wall clock that was set back must not make the past longer than it was.
        let past = |unix_nanos: u64| wall.moment(unix_nanos).min(now);
        let optional = |unix_nanos: u64| (unix_nanos != 0).then(|| past(unix_nanos));
        let mut warm_up = Self {
            since: past(since),
            missed: Missed::from_code(missed, Duration::from_secs(span)),
            lifetime: Duration::from_secs(before),
            longest: Duration::from_secs(longest),
            overflowed: optional(overflowed),
            elsewhere: optional(elsewhere),
        };
        warm_up.reconfigure(lifetime, now);
        warm_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const START: Moment = Moment::from_nanos(1 << 59);

    fn day(days: u32) -> Moment {
        START.after(DAY * days)
    }

    #[test]
    fn warm_needs_a_whole_lifetime_without_loss_and_no_stranger_alive() {
        let mut warm_up = WarmUp::cold(START, 14 * DAY);
        let (missed, whole) = (Missed::Everything, 14 * DAY);
        assert_eq!(warm_up.warmth(day(13)), Warmth::Cold { missed, remaining: DAY, whole });
        assert_eq!(warm_up.warmth(day(14)), Warmth::Warm);
        let whole = 30 * DAY;
        warm_up.longest = whole;
        let longer = Warmth::Cold { missed: Missed::LongerAge, remaining: 16 * DAY, whole };
        assert_eq!(warm_up.warmth(day(14)), longer);
        warm_up.overflowed = Some(day(20));
        assert_eq!(warm_up.warmth(day(30)), Warmth::Overflowed { remaining: 20 * DAY, whole });
        assert_eq!(warm_up.warmth(day(50)), Warmth::Warm);
        warm_up.start_anew(Missed::Absence(DAY), day(60));
        let missed = Missed::Absence(DAY);
        assert_eq!(warm_up.warmth(day(61)), Warmth::Cold { missed, remaining: 29 * DAY, whole });
    }

    /// Sessions from before the installation are expected, and end with the first lifetime; what
    /// is alive later came another way, and others may come that way once in a lifetime.
    #[test]
    fn a_stranger_counts_for_a_week_and_for_a_lifetime_where_it_cannot_be_from_before() {
        let mut warm_up = WarmUp::cold(START, 14 * DAY);
        warm_up.elsewhere = Some(day(12));
        let whole = 7 * DAY;
        assert_eq!(warm_up.warmth(day(18)), Warmth::IssuedElsewhere { remaining: DAY, whole });
        assert_eq!(warm_up.warmth(day(19)), Warmth::Warm);
        warm_up.elsewhere = Some(day(15));
        let whole = 14 * DAY;
        assert_eq!(warm_up.warmth(day(28)), Warmth::IssuedElsewhere { remaining: DAY, whole });
        assert_eq!(warm_up.warmth(day(29)), Warmth::Warm);
        let mut short = WarmUp::cold(START, DAY);
        short.elsewhere = Some(START);
        assert_eq!(short.warmth(day(1)), Warmth::Warm);
    }

    #[test]
    fn an_absence_counts_from_a_minute_on_and_a_clock_that_was_set_back_is_one() {
        const SECOND: u64 = 1_000_000_000;
        let now = 1_000_000 * SECOND;
        let absence = |seconds: u64| WarmUp::absence(now - seconds * SECOND, now);
        assert_eq!((absence(0), absence(60)), (None, None));
        assert_eq!(absence(61), Some(Missed::Absence(Duration::from_secs(61))));
        assert_eq!(WarmUp::absence(now + 60 * SECOND, now), None);
        assert_eq!(WarmUp::absence(now + 61 * SECOND, now), Some(Missed::ClockSetBack));
        assert!(WarmUp::absence(0, now).is_some() && WarmUp::absence(u64::MAX, 0).is_some());
    }

    #[test]
    fn every_reason_is_remembered() {
        let wall = Wall { origin_unix_nanos: 600_000_000_000_000_000 };
        for missed in Missed::ALL {
            let mut warm_up = WarmUp::cold(START, 14 * DAY);
            warm_up.start_anew(missed, day(3));
            let restored = WarmUp::from_wall(warm_up.on_wall(wall), 14 * DAY, wall, day(4));
            assert_eq!(restored, warm_up);
        }
    }

    #[test]
    fn a_lifetime_that_grew_begins_anew_and_one_that_shrank_changes_nothing() {
        let wall = Wall { origin_unix_nanos: 600_000_000_000_000_000 };
        let fields = WarmUp::cold(START, 14 * DAY).on_wall(wall);
        let longer = WarmUp::from_wall(fields, 30 * DAY, wall, day(20));
        let (missed, whole) = (Missed::LongerLifetime, 30 * DAY);
        assert_eq!(longer.warmth(day(20)), Warmth::Cold { missed, remaining: whole, whole });
        let again = WarmUp::from_wall(longer.on_wall(wall), 30 * DAY, wall, day(21));
        assert_eq!(again, longer);
        let shorter = WarmUp::from_wall(fields, DAY, wall, day(20));
        assert_eq!((shorter.warmth(day(20)), shorter.longest), (Warmth::Warm, 14 * DAY));
    }
}
