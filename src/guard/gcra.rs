//! The arithmetic of a budget, by governor, over a cell that is handed in.
//!
//! A limiter is built for each decision, over a view of one cell: it reads the theoretical arrival
//! time as a distance from now, so that the clock that governor asks always says zero, and time
//! stays an argument. Building one costs a multiplication.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota as Governed, RateLimiter};

use super::moment::Moment;
use super::policy::Quota;

/// A quota, ready for decisions.
#[derive(Clone, Copy, Debug)]
pub struct Gcra {
    quota: Governed,
    period: u64,
}

/// How long until a decision that failed would succeed, if nothing else is taken meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short(pub Duration);

impl Gcra {
    /// How many may come too late, at least, before a debt grows no more.
    const LATE: u64 = 64;

    /// The limiter of a quota.
    pub fn new(quota: Quota) -> Self {
        Self::scaled(quota, NonZeroU32::MIN)
    }

    /// The limiter of `factor` times a quota: as many more at once, and as many more in a time.
    pub fn scaled(quota: Quota, factor: NonZeroU32) -> Self {
        let period = (quota.period() / factor.get()).max(Duration::from_nanos(1));
        let burst = quota.burst().saturating_mul(factor);
        // A period of at least a nanosecond is what `with_period` asks for.
        let governed = Governed::with_period(period).expect("a period is not zero");
        Self { quota: governed.allow_burst(burst), period: nanos(period) }
    }

    /// What taking one costs, in nanoseconds of the cell's time.
    pub fn period(&self) -> u64 {
        self.period
    }

    /// How long a burst that was spent takes to be there again.
    pub fn whole(&self) -> Duration {
        Duration::from_nanos(self.period).saturating_mul(self.quota.burst_size().get())
    }

    /// The arrival time of a cell after one more is taken from it, if that is allowed.
    pub fn take(&self, arrival: Moment, now: Moment) -> Result<Moment, Short> {
        let view = View(Cell::new(Nanos::from(arrival.since(now))));
        let limiter =
            RateLimiter::<_, _, _, NoOpMiddleware<Duration>>::new(self.quota, view, Still);
        match limiter.check() {
            Ok(()) => Ok(now.after(limiter.into_state_store().0.get().into())),
            Err(not_until) => Err(Short(not_until.wait_time_from(Duration::ZERO))),
        }
    }

    /// How many can be taken at once.
    pub fn left(&self, arrival: Moment, now: Moment) -> u32 {
        let room = self.whole().saturating_sub(arrival.since(now));
        // No more than the burst, which fits.
        u32::try_from(room.as_nanos() / u128::from(self.period)).unwrap_or(u32::MAX)
    }

    /// How many can be taken at once from a full budget.
    pub fn burst(&self) -> u32 {
        self.quota.burst_size().get()
    }

    /// The arrival time of a cell after one more is taken from it, allowed or not. A debt ends at
    /// a second burst: who emptied the session store has not shut out every newcomer for a day,
    /// though each of the site's users then makes a record anew. One that reaches farther already,
    /// from a time of larger bursts, gets no smaller.
    pub fn force(&self, arrival: Moment, now: Moment) -> Moment {
        self.force_all(arrival, 1, now)
    }

    /// The same after so many.
    pub fn force_all(&self, arrival: Moment, count: u32, now: Moment) -> Moment {
        let span = self.period.saturating_mul(u64::from(count));
        let late = Moment::from_nanos(arrival.max(now).as_nanos().saturating_add(span));
        late.min(now.after(self.deepest()).max(arrival))
    }

    /// How far a debt may reach.
    pub fn deepest(&self) -> Duration {
        let least = Duration::from_nanos(self.period.saturating_mul(Self::LATE));
        self.whole() + self.whole().max(least)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One cell, as governor sees it: the theoretical arrival time, counted from now.
struct View(Cell<Nanos>);

impl StateStore for View {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _key: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, next) = decide(Some(self.0.get()))?;
        self.0.set(next);
        Ok(outcome)
    }
}

/// A clock that says now, which is where the view counts from.
#[derive(Clone, Debug)]
struct Still;

impl Clock for Still {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;

    fn gcra(burst: u32, period: Duration) -> (Gcra, Quota) {
        let quota = Quota::new(NonZeroU32::new(burst).expect("not zero"), period).expect("fits");
        (Gcra::new(quota), quota)
    }

    proptest::proptest! {
        /// One cell of ours decides as governor's own limiter does, whatever the pauses.
        #[test]
        fn a_cell_decides_as_governor_does(
            burst in 1u32..20,
            millis in 1u64..5_000,
            pauses in proptest::collection::vec(0u64..10_000_000_000, 1..200),
        ) {
            let (gcra, quota) = gcra(burst, Duration::from_millis(millis));
            let clock = FakeRelativeClock::default();
            let governed = Governed::with_period(quota.period()).expect("not zero")
                .allow_burst(quota.burst());
            let theirs = RateLimiter::direct_with_clock(governed, clock.clone());
            let (mut now, mut cell) = (Moment::from_nanos(1 << 50), Moment::from_nanos(0));
            for pause in pauses {
                clock.advance(Duration::from_nanos(pause));
                now = now.after(Duration::from_nanos(pause));
                let ours = gcra.take(cell, now);
                let (left, mut taken) = (gcra.left(cell, now), cell);
                for _ in 0..left {
                    taken = gcra.take(taken, now).expect("as many as are left");
                }
                proptest::prop_assert!(gcra.take(taken, now).is_err());
                proptest::prop_assert_eq!(ours.is_ok(), theirs.check().is_ok());
                cell = ours.unwrap_or(cell);
            }
        }
    }

    #[test]
    fn what_is_short_says_for_how_long() {
        let (gcra, _) = gcra(2, Duration::from_secs(10));
        let now = Moment::from_nanos(1 << 50);
        let mut cell = Moment::from_nanos(0);
        for _ in 0..2 {
            cell = gcra.take(cell, now).expect("within the burst");
        }
        assert_eq!(gcra.take(cell, now), Err(Short(Duration::from_secs(10))));
        let debt = gcra.force(cell, now);
        assert_eq!(gcra.take(debt, now), Err(Short(Duration::from_secs(20))));
        assert!(gcra.take(debt, now.after(Duration::from_secs(20))).is_ok());
        // From a time of larger bursts: no charge makes it smaller.
        let deep = now.after(Duration::from_secs(86_400));
        assert_eq!(gcra.force(deep, now), deep);
        assert_eq!(gcra.force_all(now, 3, now), now.after(Duration::from_secs(30)));
    }
}
