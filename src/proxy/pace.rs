//! How long a client may keep us waiting.

use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::Sleep;

use super::clock::Clock;
use crate::guard::moment::Moment;

/// The patience with one client, in one direction. Waiting uses it up, and what the client sends
/// or takes gives it back, at `rate` bytes for a second, up to `limit`. So a client may pause for
/// `limit` once, and keeps up with `rate` in the long run; a byte a minute gives back next to
/// nothing. Time in which nobody waits for the client is not counted.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    limit: Duration,
    /// Bytes a second; 0: any byte gives all of it back.
    rate: u64,
    left: Duration,
    waiting_since: Option<Moment>,
}

impl Pace {
    /// All patience is there.
    pub const fn new(limit: Duration, rate: u64) -> Self {
        Self { limit, rate, left: limit, waiting_since: None }
    }

    /// The longest pause.
    pub const fn limit(&self) -> Duration {
        self.limit
    }

    /// The client is waited for, from now on if it was not before; when patience ends.
    pub fn wait(&mut self, now: Moment) -> Moment {
        self.waiting_since.get_or_insert(now).after(self.left)
    }

    /// Whether the client is waited for.
    pub const fn waits(&self) -> bool {
        self.waiting_since.is_some()
    }

    /// The client has moved this many bytes: it is waited for no longer.
    pub fn moved(&mut self, now: Moment, bytes: u64) {
        if let Some(since) = self.waiting_since.take() {
            self.left = self.left.saturating_sub(now.since(since));
        }
        self.earn(bytes);
    }

    /// The wait begins anew: it was not the client's fault.
    pub fn excuse(&mut self, now: Moment) {
        self.waiting_since = Some(now);
    }

    /// Bytes that nobody had to wait for.
    pub fn earn(&mut self, bytes: u64) {
        let earned = match bytes.saturating_mul(1_000_000_000).checked_div(self.rate) {
            Some(nanos) => Duration::from_nanos(nanos),
            None if bytes > 0 => self.limit,
            None => Duration::ZERO,
        };
        self.left = self.left.saturating_add(earned).min(self.limit);
    }
}

/// A timer that is set anew only when it must ring earlier than it would, or has rung too early:
/// a deadline that keeps being put off costs nothing. One allocation.
#[derive(Debug)]
pub struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// The task that it wakes.
    task: Option<Waker>,
    rings: Moment,
    longest: Duration,
}

impl Alarm {
    /// Wakes its task after `longest` at the latest, whatever is due. Must be made on a runtime.
    pub fn new(now: Moment, longest: Duration) -> Self {
        let rings = now.after(longest);
        Self { sleep: Box::pin(tokio::time::sleep(longest)), task: None, rings, longest }
    }

    /// Ready once `due` has come. Otherwise the task is woken then, or earlier.
    pub fn poll(&mut self, cx: &mut Context<'_>, clock: &Clock, due: Moment) -> Poll<()> {
        if due < self.rings {
            self.set(clock.now(), due);
        }
        if !self.sleep.is_elapsed()
            && self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker()))
        {
            // It knows whom to wake, and has not yet.
            return Poll::Pending;
        }
        // Out of the task's budget: who keeps its task busy would else never be due.
        while pin!(unconstrained(self.sleep.as_mut())).poll(cx).is_ready() {
            let now = clock.now();
            if now >= due {
                return Poll::Ready(());
            }
            self.set(now, due);
        }
        self.task = Some(cx.waker().clone());
        Poll::Pending
    }

    fn set(&mut self, now: Moment, due: Moment) {
        self.rings = due.min(now.after(self.longest));
        self.sleep.set(tokio::time::sleep(self.rings.since(now)));
        self.task = None;
    }
}

/// Boxed: who waits carries it about.
type Kept = Vec<Box<Alarm>>;

/// Alarms of one core that nobody waits for just now: the next who waits takes the one that was used
/// last. A deadline that is hardly ever reached is no new timer each time.
#[derive(Debug, Default)]
pub struct Alarms(Mutex<Kept>);

impl Alarms {
    /// Each may hold on to the task that it was to wake, until it rings or has another.
    const KEPT: usize = 256;

    /// One that rings after `longest` at the latest, or after what was the longest for another.
    /// Must be taken on the core's runtime.
    pub fn take(&self, clock: &Clock, longest: Duration) -> Box<Alarm> {
        let kept = self.lock().pop();
        kept.unwrap_or_else(|| Box::new(Alarm::new(clock.now(), longest)))
    }

    /// Keeps it for another.
    pub fn give_back(&self, alarm: Box<Alarm>) {
        let mut alarms = self.lock();
        if alarms.len() < Self::KEPT {
            alarms.push(alarm);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Nothing panics between the steps of one change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::timeout;

    use super::*;

    /// It was set for another task, to ring much later.
    #[tokio::test]
    async fn an_alarm_that_was_kept_rings_for_the_next_when_that_is_due() {
        let (alarms, clock) = (Alarms::default(), Clock::start());
        let hour = Duration::from_secs(3_600);
        let mut alarm = alarms.take(&clock, hour);
        let mut other = Context::from_waker(Waker::noop());
        let (later, due) = (clock.now().after(hour), clock.now().after(LIMIT / 1_000));
        assert!(alarm.poll(&mut other, &clock, later).is_pending());
        assert!(alarm.poll(&mut other, &clock, due).is_pending());
        alarms.give_back(alarm);
        let mut alarm = alarms.take(&clock, hour);
        assert!(alarms.lock().is_empty(), "it is the same");
        let rung = poll_fn(|cx| alarm.poll(cx, &clock, due));
        timeout(LIMIT, rung).await.expect("whoever polls it last is woken");
        assert!(clock.now() >= due);
    }

    const LIMIT: Duration = Duration::from_secs(20);

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(0).after(Moment::HEADROOM).after(Duration::from_millis(millis))
    }

    #[test]
    fn a_pause_may_last_for_the_limit_once() {
        let mut pace = Pace::new(LIMIT, 500);
        assert_eq!(pace.wait(at(1_000)), at(21_000));
        assert_eq!(pace.wait(at(5_000)), at(21_000), "asking again gives nothing back");
        pace.moved(at(20_000), 1);
        assert_eq!(pace.wait(at(20_000)), at(21_002), "a byte is worth two milliseconds");
    }

    #[test]
    fn who_keeps_up_with_the_rate_is_never_cut_and_who_does_not_is() {
        let (mut slow, mut slower) = (Pace::new(LIMIT, 500), Pace::new(LIMIT, 500));
        let mut cut = None;
        for second in (0..3_600).step_by(10) {
            assert!(slow.wait(at(second * 1_000)) > at((second + 10) * 1_000));
            slow.moved(at((second + 10) * 1_000), 5_000);
            let due = slower.wait(at(second * 1_000));
            if due <= at((second + 10) * 1_000) {
                cut = cut.or(Some(due));
            }
            slower.moved(at((second + 10) * 1_000), 2_500);
        }
        // It loses five of each ten seconds: 20 - 5 - 5 - 5 leaves less than ten.
        assert_eq!(cut, Some(at(30_000)));
    }

    #[test]
    fn what_was_sent_fast_buys_no_long_rest() {
        let mut pace = Pace::new(LIMIT, 500);
        pace.moved(at(0), 1 << 30);
        assert_eq!(pace.wait(at(0)), at(20_000));
    }

    #[test]
    fn time_in_which_nobody_waits_is_not_counted() {
        let mut pace = Pace::new(LIMIT, 500);
        for hour in 0..100 {
            pace.wait(at(hour * 3_600_000));
            pace.moved(at(hour * 3_600_000 + 1), 1);
        }
        assert!(!pace.waits());
        assert_eq!(pace.wait(at(0)), at(20_000));
    }

    #[test]
    fn without_a_rate_only_pauses_count() {
        let mut pace = Pace::new(LIMIT, 0);
        for second in (0..1_000).step_by(19) {
            assert!(pace.wait(at(second * 1_000)) > at((second + 19) * 1_000));
            pace.moved(at((second + 19) * 1_000), 1);
        }
        pace.wait(at(0));
        pace.moved(at(5_000), 0);
        assert_eq!(pace.wait(at(5_000)), at(20_000), "nothing is no move");
    }
}
