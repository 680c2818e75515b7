//! Room between recycled exchanges, so that they do not crowd out everybody else.
//!
//! An application may have one worker. With as many recycled exchanges under way as there are
//! spares, each request of an honest user would stand in line behind all of them. So one is under
//! way at a time, and after it none begins for a multiple of the time that it took: where the
//! application is slow, or busy with others, that is long. What has no turn waits as for a slot.

use std::time::Duration;

use super::super::moment::Moment;

/// Of a site: when the next recycled exchange may begin.
#[derive(Clone, Debug)]
pub(super) struct Spacing {
    /// So many times as long as one took; 0: no room at all, and any number at once.
    times: u32,
    running: u32,
    /// When the last one began.
    began: Moment,
    /// None begins before.
    until: Moment,
}

impl Spacing {
    /// So long after one began another may in any case: an application that hangs on one is not to
    /// shut out all others.
    const LONGEST: Duration = Duration::from_secs(1);

    pub(super) const fn new(times: u32) -> Self {
        let long_ago = Moment::from_nanos(0);
        Self { times, running: 0, began: long_ago, until: long_ago }
    }

    /// From now on with this multiple.
    pub(super) const fn set(&mut self, times: u32) {
        self.times = times;
    }

    /// Whether another may begin.
    pub(super) fn allows(&self, now: Moment) -> bool {
        self.times == 0
            || (self.running == 0 && now >= self.until)
            || now >= self.began.after(Self::LONGEST)
    }

    pub(super) const fn begin(&mut self, now: Moment) {
        self.running += 1;
        self.began = now;
    }

    /// One that began then is over.
    pub(super) fn end(&mut self, began: Moment, now: Moment) {
        self.give_back();
        let room = now.since(began).saturating_mul(self.times);
        self.until = self.until.max(now.after(room));
    }

    /// One is over that the application did not see.
    pub(super) const fn give_back(&mut self) {
        self.running = self.running.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(1 << 60).after(Duration::from_millis(millis))
    }

    #[test]
    fn one_runs_at_a_time_and_then_none_for_so_many_times_as_long() {
        let mut spacing = Spacing::new(3);
        assert!(spacing.allows(at(0)));
        spacing.begin(at(0));
        assert!(!spacing.allows(at(9)), "it runs");
        spacing.end(at(0), at(10));
        assert!(!spacing.allows(at(39)));
        assert!(spacing.allows(at(40)), "ten milliseconds, and three times as long");
    }

    #[test]
    fn however_slow_the_application_one_begins_each_second() {
        let mut spacing = Spacing::new(100);
        for second in 0..20 {
            assert!(spacing.allows(at(second * 1_000)));
            spacing.begin(at(second * 1_000));
            assert!(!spacing.allows(at(second * 1_000 + 999)));
        }
        for began in 0..20 {
            spacing.end(at(began * 1_000), at(19_500));
        }
        assert!(!spacing.allows(at(19_999)));
        assert!(spacing.allows(at(20_000)), "whatever it owes");
    }

    #[test]
    fn what_the_application_did_not_see_takes_no_time_of_it() {
        let mut spacing = Spacing::new(3);
        spacing.begin(at(0));
        spacing.give_back();
        assert!(spacing.allows(at(5)));
    }

    #[test]
    fn without_a_multiple_any_number_runs_at_once() {
        let mut spacing = Spacing::new(0);
        for _ in 0..100 {
            assert!(spacing.allows(at(0)));
            spacing.begin(at(0));
        }
        spacing.end(at(0), at(10));
        assert!(spacing.allows(at(10)));
        // A reload counts for what runs.
        spacing.set(3);
        assert!(!spacing.allows(at(10)), "some run still");
    }
}
