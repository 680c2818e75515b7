//! When requests of an open loop are due.

use std::time::{Duration, Instant};

/// The shortest time between ticks of its timer. At 30,000 requests a second, waking up for each costs 22 µs of CPU
/// a request, and four at once cost 11.
const TICK: Duration = Duration::from_micros(100);

/// A fixed rate. Where more than one request is due in a [`TICK`], they are due at once.
pub struct Pace {
    begin: Instant,
    between: Duration,
    group: u32,
    number: u32,
}

impl Pace {
    /// `rate` is in requests a second.
    pub fn new(rate: f64, begin: Instant) -> Self {
        let between = Duration::from_secs_f64(1.0 / rate);
        let group = TICK.as_nanos().div_ceil(between.as_nanos().max(1)).max(1) as u32;
        Self { begin, between, group, number: 0 }
    }

    /// Requests are due at multiples of it.
    pub fn tick(&self) -> Duration {
        self.between * self.group
    }

    /// When the next request is due.
    pub fn due(&self) -> Instant {
        self.begin + self.tick() * (self.number / self.group)
    }

    pub fn advance(&mut self) {
        self.number += 1;
    }

    /// How many more are due before this time.
    pub fn until(&self, end: Instant) -> u64 {
        let left = end.saturating_duration_since(self.due());
        left.as_nanos().div_ceil(self.between.as_nanos().max(1)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept() {
        let begin = Instant::now();
        for rate in [0.5, 200.0, 9_999.0, 10_001.0, 30_000.0, 1_000_000.0] {
            let mut pace = Pace::new(rate, begin);
            let end = begin + Duration::from_secs(10);
            let expected = rate * 10.0;
            assert!((pace.until(end) as f64 - expected).abs() <= 1.0 + expected / 1e4, "{rate}");
            let mut requests = 0;
            while pace.due() < end {
                pace.advance();
                requests += 1;
            }
            assert!(
                (f64::from(requests) - expected).abs() <= f64::from(pace.group) + expected / 1e4,
                "{rate}"
            );
            assert_eq!(pace.until(end), 0, "{rate}");
            assert!(pace.tick() >= TICK && pace.tick() < TICK * 2 || pace.group == 1, "{rate}");
        }
    }
}
