//! The suppression of repeats: one line for each span, and a count of those not written.

use std::time::Duration;

use crate::guard::moment::Moment;

/// One kind of line.
#[derive(Debug, Default)]
pub(super) struct Repeat {
    told: Option<Moment>,
    suppressed: u64,
}

impl Repeat {
    /// Whether a line may be written now: `Some` with the count of lines that were suppressed
    /// before it; `None` if one was written less than `span` ago. Then this one is counted.
    pub(super) fn admit(&mut self, now: Moment, span: Duration) -> Option<u64> {
        if self.rests(now, span) {
            self.suppressed += 1;
            return None;
        }
        Some(self.tell(now))
    }

    /// The count of suppressed lines, if there are any and none was written for `span`. Whoever
    /// asks must write a line that tells it.
    pub(super) fn overdue(&mut self, now: Moment, span: Duration) -> Option<u64> {
        (self.suppressed > 0 && !self.rests(now, span)).then(|| self.tell(now))
    }

    fn rests(&self, now: Moment, span: Duration) -> bool {
        self.told.is_some_and(|told| now.since(told) < span)
    }

    fn tell(&mut self, now: Moment) -> u64 {
        self.told = Some(now);
        std::mem::take(&mut self.suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos(0).after(Moment::HEADROOM).after(Duration::from_secs(seconds))
    }

    #[test]
    fn one_line_for_each_span_tells_how_many_were_suppressed() {
        let mut repeat = Repeat::default();
        assert_eq!(repeat.admit(at(0), SPAN), Some(0));
        assert_eq!(repeat.admit(at(1), SPAN), None);
        assert_eq!(repeat.admit(at(59), SPAN), None);
        assert_eq!(repeat.admit(at(60), SPAN), Some(2));
        assert_eq!(repeat.admit(at(200), SPAN), Some(0));
    }

    #[test]
    fn what_was_suppressed_last_becomes_overdue_once() {
        let mut repeat = Repeat::default();
        assert_eq!(repeat.overdue(at(0), SPAN), None);
        repeat.admit(at(0), SPAN);
        assert_eq!(repeat.overdue(at(100), SPAN), None);
        repeat.admit(at(100), SPAN);
        repeat.admit(at(101), SPAN);
        assert_eq!(repeat.overdue(at(159), SPAN), None);
        assert_eq!(repeat.overdue(at(160), SPAN), Some(1));
        assert_eq!(repeat.overdue(at(300), SPAN), None);
    }
}
