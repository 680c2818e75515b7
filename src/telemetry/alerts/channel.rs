//! A destination's queue, and the thread that empties it.
//!
//! Who tells something puts it into the queue and goes on. The thread sends one message after the
//! other, each once, or again and again until it is delivered, must be given up, or its time is over.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::message::{Message, Subject};
use super::{Again, Counts, Destination, Failure, Now, Way, random};
use crate::guard::moment::Moment;
use crate::telemetry::repeat::Repeat;

/// Between the first attempt and the second; doubled for each one that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Between two attempts at most, whatever the receiver asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The same at the end of the process.
const LAST_PAUSE: Duration = Duration::from_millis(250);

/// Between two lines of the log that tell of the same trouble.
const TOLD_SPAN: Duration = Duration::from_secs(60);

/// Beyond the end's patience, for the thread to say that it has ended.
const GRACE: Duration = Duration::from_millis(100);

/// How much is kept, and for how long it is tried.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Patience {
    pub(super) queue: usize,
    pub(super) timeout: Duration,
    pub(super) retry_for: Duration,
}

/// What leads to one destination.
pub(super) struct Channel {
    shared: Arc<Shared>,
    dropped: Mutex<Repeat>,
}

struct Shared {
    destination: Destination,
    now: Arc<Now>,
    /// The same as whether there is a way, to be read without the lock.
    on: AtomicBool,
    queue: Mutex<Queue>,
    /// Told of whatever changes in `queue`.
    changed: Condvar,
    delivered: AtomicU64,
    failed: AtomicU64,
    given_up: AtomicU64,
    dropped: AtomicU64,
    /// How many of `dropped` the log has told of.
    told: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Whether one more is on its way.
    sending: bool,
    way: Option<Arc<Way>>,
    patience: Patience,
    running: bool,
    /// When everything must have been sent.
    end: Option<Moment>,
}

struct Waiting {
    message: Arc<Message>,
    since: Moment,
}

/// What is told of a receiver that does not take what it is sent.
#[derive(Default)]
struct Trouble {
    repeat: Repeat,
    is_there: bool,
}

/// What comes next for the thread.
enum Next {
    Send(Waiting),
    End,
}

impl Channel {
    pub(super) fn new(destination: Destination, now: &Arc<Now>) -> Self {
        let shared = Shared {
            destination,
            now: Arc::clone(now),
            on: AtomicBool::new(false),
            queue: Mutex::default(),
            changed: Condvar::new(),
            delivered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            told: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared), dropped: Mutex::default() }
    }

    /// Sends by this way from now on; without one, nothing. Starts the thread where it is needed.
    pub(super) fn put(&self, way: Option<Arc<Way>>, patience: Patience) -> io::Result<()> {
        let mut queue = self.shared.queue();
        if way.is_some() && !queue.running {
            let shared = Arc::clone(&self.shared);
            let name = format!("alerts-{}", self.shared.destination.word());
            std::thread::Builder::new().name(name).spawn(move || shared.run())?;
            queue.running = true;
        }
        self.shared.on.store(way.is_some(), Ordering::Relaxed);
        queue.way = way;
        queue.patience = patience;
        self.shared.trim(&mut queue);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Whether it leads anywhere.
    pub(super) fn is_on(&self) -> bool {
        self.shared.on.load(Ordering::Relaxed)
    }

    /// Puts a message into the queue; where that is full, something goes that is worth less.
    pub(super) fn tell(&self, message: &Arc<Message>) {
        if !self.is_on() {
            return;
        }
        let since = (self.shared.now)().0;
        let mut queue = self.shared.queue();
        queue.waiting.push_back(Waiting { message: Arc::clone(message), since });
        self.shared.trim(&mut queue);
        self.shared.changed.notify_all();
    }

    pub(super) fn counts(&self) -> Counts {
        let shared = &*self.shared;
        let queue = shared.queue();
        let waiting = queue.waiting.len() as u64 + u64::from(queue.sending);
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            destination: shared.destination,
            waiting,
            delivered: count(&shared.delivered),
            failed: count(&shared.failed),
            given_up: count(&shared.given_up),
            dropped: count(&shared.dropped),
        }
    }

    /// Tells of what was dropped, once a minute at most.
    pub(super) fn tell_dropped(&self, now: Moment) {
        let (dropped, told) = (&self.shared.dropped, &self.shared.told);
        if dropped.load(Ordering::Relaxed) == told.load(Ordering::Relaxed) {
            return;
        }
        let mut repeat = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        if repeat.admit(now, TOLD_SPAN).is_some() {
            self.shared.tell_dropped();
        }
    }

    /// Has the thread end when everything is sent, or at this moment.
    pub(super) fn end(&self, until: Moment) {
        self.shared.queue().end = Some(until);
        self.shared.changed.notify_all();
    }

    /// Waits until the thread has ended, but no longer, and tells of what was left.
    pub(super) fn await_end(&self, now: Moment, until: Moment) {
        let shared = &*self.shared;
        let patience = until.since(now) + GRACE;
        let queue = shared.queue();
        let waited = shared.changed.wait_timeout_while(queue, patience, |queue| queue.running);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let left = queue.waiting.len() as u64 + u64::from(queue.sending);
        queue.waiting.clear();
        queue.sending = false;
        drop(queue);
        shared.dropped.fetch_add(left, Ordering::Relaxed);
        shared.tell_dropped();
    }
}

impl Shared {
    /// Nothing is inconsistent between two steps.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what the queue has no place for: beginnings first, the oldest first, as an end says
    /// everything that a beginning does. Where nothing leads anywhere, all of it.
    fn trim(&self, queue: &mut Queue) {
        let most = if queue.way.is_some() { queue.patience.queue } else { 0 };
        while queue.waiting.len() > most {
            let is_end = |waiting: &Waiting| waiting.message.subject == Subject::FloodEnded;
            let least = queue.waiting.iter().position(|waiting| !is_end(waiting)).unwrap_or(0);
            queue.waiting.remove(least);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The thread's life.
    fn run(&self) {
        let mut trouble = Trouble::default();
        while let Next::Send(waiting) = self.next() {
            let delivered = self.deliver(&waiting, &mut trouble);
            if delivered && std::mem::take(&mut trouble.is_there) {
                let destination = self.destination.word();
                tracing::info!(destination, "alerts are delivered again");
            }
            self.queue().sending = false;
        }
        self.queue().running = false;
        self.changed.notify_all();
    }

    /// Waits for a message.
    fn next(&self) -> Next {
        let mut queue = self.queue();
        loop {
            if queue.end.is_some_and(|end| (self.now)().0 >= end) {
                return Next::End;
            }
            if let Some(waiting) = queue.waiting.pop_front() {
                queue.sending = true;
                return Next::Send(waiting);
            }
            if queue.end.is_some() {
                return Next::End;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Sends a message until it is delivered, or given up; whether it was delivered.
    fn deliver(&self, waiting: &Waiting, trouble: &mut Trouble) -> bool {
        let mut pause = FIRST_PAUSE;
        loop {
            let (way, patience, end) = {
                let queue = self.queue();
                (queue.way.clone(), queue.patience, queue.end)
            };
            // A reload has taken the destination away.
            let Some(way) = way else {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return false;
            };
            let (now, unix_ms) = (self.now)();
            let timeout = end.map_or(patience.timeout, |end| patience.timeout.min(end.since(now)));
            let failure = match way.send(&waiting.message, unix_ms, timeout) {
                Ok(()) => {
                    self.delivered.fetch_add(1, Ordering::Relaxed);
                    return true;
                }
                Err(failure) => failure,
            };
            self.failed.fetch_add(1, Ordering::Relaxed);
            let now = (self.now)().0;
            let left = patience.retry_for.saturating_sub(now.since(waiting.since));
            let again = match failure.again {
                Again::No => None,
                Again::Yes => Some(jittered(pause)),
                Again::After(asked) => Some(asked.max(jittered(pause)).min(LONGEST_PAUSE)),
            };
            self.tell_trouble(&way, &waiting.message, &failure, again, trouble, now);
            match again {
                Some(again) if again <= left && self.pause(again, now) => {}
                _ => {
                    self.given_up.fetch_add(1, Ordering::Relaxed);
                    return false;
                }
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Waits before another attempt, shortly where the process ends; whether there is time for one.
    fn pause(&self, span: Duration, now: Moment) -> bool {
        let until = now.after(span);
        let mut queue = self.queue();
        loop {
            let now = (self.now)().0;
            let until = match queue.end {
                Some(end) if now.after(LAST_PAUSE) >= end => return false,
                Some(_) => until.min(now.after(LAST_PAUSE)),
                None => until,
            };
            let left = until.since(now);
            if left.is_zero() || queue.way.is_none() {
                return true;
            }
            let ends = queue.end.is_some();
            let waited = self.changed.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            if ends {
                return true;
            }
        }
    }

    fn tell_trouble(
        &self,
        way: &Way,
        message: &Message,
        failure: &Failure,
        again: Option<Duration>,
        trouble: &mut Trouble,
        now: Moment,
    ) {
        trouble.is_there = true;
        let Some(suppressed) = trouble.repeat.admit(now, TOLD_SPAN) else { return };
        tracing::warn!(
            destination = self.destination.word(),
            to = %way,
            alert = message.id,
            why = failure.why,
            again_s = again.map(|again| again.as_secs_f64()),
            suppressed = (suppressed > 0).then_some(suppressed),
            "an alert was not delivered"
        );
    }

    fn tell_dropped(&self) {
        let dropped = self.dropped.load(Ordering::Relaxed);
        let told = self.told.swap(dropped, Ordering::Relaxed);
        if dropped > told {
            tracing::warn!(
                destination = self.destination.word(),
                dropped = dropped - told,
                remedy = "mend the receiver, or raise alerts.queue",
                "alerts were dropped"
            );
        }
    }
}

/// Half of a pause to all of it, so that many that failed at once do not come back at once.
fn jittered(pause: Duration) -> Duration {
    pause / 2 + Duration::from_nanos(random() % (pause.as_nanos() as u64 / 2 + 1))
}
