//! How fast the store grows, against what the budgets allow, in every window of time.

use std::time::Duration;

use super::super::moment::Moment;
use super::super::policy::Policy;

/// A bucket that leaks at the rate of all budgets together: what is in it is by how much the worst
/// window that ends now exceeds its rate.
pub struct Meter {
    /// Parts of a record: with as many in one, the leak of a nanosecond is a whole number.
    record: u128,
    leak: u128,
    level: u128,
    at: Moment,
    /// Records that may be in it.
    pub promised: usize,
    /// Records that ever were in it.
    pub worst: usize,
    /// All records.
    pub total: usize,
    began: Moment,
}

impl Meter {
    /// Nothing has grown yet. One request adds `each` records at most.
    pub fn new(policy: &Policy, each: usize, now: Moment) -> Self {
        let site = |budget: &super::super::policy::Budget| budget.site;
        let periods: Vec<u128> =
            policy.budgets.iter().map(|budget| site(budget).period().as_nanos()).collect();
        let record = periods.iter().copied().fold(1, |one, other| one / gcd(one, other) * other);
        let bursts: u32 = policy.budgets.iter().map(|budget| site(budget).burst().get()).sum();
        Self {
            record,
            leak: periods.iter().map(|period| record / period).sum::<u128>() * each as u128,
            level: 0,
            at: now,
            promised: each * bursts as usize + usize::from(policy.recycle.spares),
            worst: 0,
            total: 0,
            began: now,
        }
    }

    /// So many records more.
    pub fn add(&mut self, records: usize, now: Moment) {
        let leaked = now.since(self.at).as_nanos() * self.leak;
        self.level = self.level.saturating_sub(leaked) + records as u128 * self.record;
        self.at = now;
        self.total += records;
        self.worst = self.worst.max(self.level.div_ceil(self.record) as usize);
        assert!(self.worst <= self.promised, "{} records, promised {}", self.worst, self.promised);
    }

    /// Records that are promised since the beginning, where nothing happened in `rests` of this
    /// length: after each of them a burst was there again.
    pub fn promised_until(&self, now: Moment, rests: u32, length: Duration) -> usize {
        let busy = now.since(self.began).saturating_sub(length * rests);
        let leaked = busy.as_nanos() * self.leak / self.record;
        (1 + rests as usize) * self.promised + leaked as usize
    }
}

fn gcd(one: u128, other: u128) -> u128 {
    if other == 0 { one } else { gcd(other, one % other) }
}

#[cfg(test)]
mod tests {
    use super::super::support::{SECOND, START, policy};
    use super::*;

    /// Two budgets of 8 at once and two a second each, and four spares.
    #[test]
    fn what_exceeds_a_window_is_noticed() {
        let mut meter = Meter::new(&policy(), 1, START);
        meter.add(20, START);
        meter.add(4, START.after(SECOND));
        assert_eq!((meter.worst, meter.promised), (20, 20));
        assert_eq!(meter.promised_until(START.after(SECOND), 0, SECOND), 24);
        assert_eq!(meter.promised_until(START.after(2 * SECOND), 1, SECOND), 44);
        let later = START.after(SECOND + SECOND / 8);
        let one_more = std::panic::AssertUnwindSafe(|| meter.add(1, later));
        assert!(std::panic::catch_unwind(one_more).is_err());
    }
}
