//! Quantiles of what a histogram counted between two looks.

use super::meter::{BOUNDS_US, Histogram};

impl Histogram {
    /// What was counted since `earlier`, which is an earlier look at the same; nothing, where it
    /// is a look at another one.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut counts = self.counts;
        for (count, before) in counts.iter_mut().zip(earlier.counts) {
            *count = count.saturating_sub(before);
        }
        Self { counts, sum_us: self.sum_us.saturating_sub(earlier.sum_us) }
    }

    /// The time in microseconds that a share `q` (0 to 1) took at most, `None` without any. Within
    /// a bucket all are taken as evenly spread; what is above the last bound is taken as that bound.
    pub fn quantile_us(&self, q: f64) -> Option<f64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = q.clamp(0.0, 1.0) * total as f64;
        let mut below = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            let reached = below + count;
            if *count > 0 && reached as f64 >= rank {
                let Some(upper) = BOUNDS_US.get(bucket) else { break };
                let lower = bucket.checked_sub(1).map_or(0, |before| BOUNDS_US[before]);
                let share = (rank - below as f64) / *count as f64;
                return Some(lower as f64 + (upper - lower) as f64 * share);
            }
            below = reached;
        }
        Some(BOUNDS_US[BOUNDS_US.len() - 1] as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn histogram(times: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        for us in times {
            histogram.counts[BOUNDS_US.partition_point(|bound| bound < us)] += 1;
            histogram.sum_us += us;
        }
        histogram
    }

    #[test]
    fn nothing_has_no_quantile_and_what_is_beyond_all_bounds_has_the_last() {
        assert_eq!(histogram(&[]).quantile_us(0.5), None);
        assert_eq!(histogram(&[40_000_000]).quantile_us(0.5), Some(30_000_000.0));
        assert_eq!(histogram(&[200, 200]).quantile_us(0.5), Some(125.0));
    }

    #[test]
    fn only_what_came_since_counts() {
        let (early, late) = (histogram(&[9_000_000]), histogram(&[9_000_000, 200]));
        assert_eq!(late.since(&early), histogram(&[200]));
        assert_eq!(early.since(&late).count(), 0);
    }

    proptest! {
        /// It lies in the bucket of the time that a sorted list has there.
        #[test]
        fn a_quantile_is_in_its_bucket(
            mut times in proptest::collection::vec(1_u64..30_000_000, 1..200),
            percent in 1_u32..=100,
        ) {
            let histogram = histogram(&times);
            times.sort_unstable();
            let rank = (f64::from(percent) / 100.0 * times.len() as f64).ceil() as usize;
            let exact = times[rank - 1];
            let found = histogram.quantile_us(f64::from(percent) / 100.0).expect("there are some");
            let bucket = BOUNDS_US.partition_point(|bound| *bound < exact);
            let lower = bucket.checked_sub(1).map_or(0, |before| BOUNDS_US[before]);
            prop_assert!(lower as f64 <= found && found <= BOUNDS_US[bucket] as f64);
        }
    }
}
