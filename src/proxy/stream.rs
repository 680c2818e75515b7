//! The exchanges of one HTTP/2 connection as hyper runs them: each a task, which is cut off when
//! its client does not take the response.
//!
//! hyper asks a body for its next piece only when the client has room for the last one. A client
//! that gives no room would keep an exchange, and its connection to the application, for as long
//! as it likes: nobody else looks at it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll};

use hyper::rt::Executor;

use super::core::Core;
use super::failure::Failure;
use super::pace::{Alarm, Pace};
use super::seat::Seat;
use super::settings::DownstreamLimits;

/// How often the patience with a stream begins anew because all of its connection is slow: on a
/// slow line, each of many streams has to wait for the others.
const EXCUSES: u32 = 4;

tokio::task_local! {
    static CURRENT: Arc<Stream>;
}

/// How far a response has come. Written by its body, read by the task that runs both.
#[derive(Debug, Default)]
pub struct Stream {
    /// Bytes that were given to hyper, and are waiting for room.
    given: AtomicU64,
    /// Bytes that there was room for, not yet counted.
    taken: AtomicU64,
    /// Nothing is left to be answered.
    ended: AtomicBool,
}

impl Stream {
    /// That of the task which asks.
    pub(super) fn current() -> Arc<Self> {
        CURRENT.try_with(Arc::clone).unwrap_or_default()
    }

    /// A piece of the response waits for room.
    pub(super) fn give(&self, bytes: u64) {
        self.given.store(bytes, Ordering::Relaxed);
    }

    /// There was room for what was given.
    pub(super) fn take(&self) {
        let given = self.given.swap(0, Ordering::Relaxed);
        self.taken.fetch_add(given, Ordering::Relaxed);
    }

    /// The response was given to its end, or failed.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// Runs the streams of one connection.
#[derive(Clone, Debug)]
pub struct Streams(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    core: Arc<Core>,
    seat: Arc<Seat>,
    pace: Pace,
    /// Below zero: the client has reset too many.
    resets_left: AtomicI64,
    resets: i64,
}

impl Streams {
    /// None runs. `resets` is how many the client may leave unanswered.
    pub(super) fn new(
        core: &Arc<Core>,
        seat: &Arc<Seat>,
        limits: &DownstreamLimits,
        resets: u32,
    ) -> Self {
        Self(Arc::new(Shared {
            core: Arc::clone(core),
            seat: Arc::clone(seat),
            pace: Pace::new(limits.send_timeout, limits.body_rate),
            resets_left: AtomicI64::new(resets.into()),
            resets: resets.into(),
        }))
    }

    /// Whether the client has reset more requests than it may.
    pub(super) fn resets_too_much(&self) -> bool {
        self.0.resets_left.load(Ordering::Relaxed) < 0
    }
}

impl Shared {
    /// A stream has ended. All of them, and their connection, are on one core.
    fn ended(&self, answered: bool) {
        let left = self.resets_left.load(Ordering::Relaxed);
        let left = if answered { (left + 1).min(self.resets) } else { left - 1 };
        self.resets_left.store(left, Ordering::Relaxed);
        if left < 0 {
            self.seat.call();
        }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        if CURRENT.try_with(|_| ()).is_ok() {
            // What an exchange that was answered goes on as, a tunnel, which has a patience of its
            // own. Its end is neither an answer nor a reset.
            tokio::spawn(future);
            return;
        }
        let stream = Arc::<Stream>::default();
        let running = Runs {
            future: Some(Box::pin(future)),
            stream: Arc::clone(&stream),
            shared: Arc::clone(&self.0),
            pace: self.0.pace,
            alarm: None,
            excuses: EXCUSES,
        };
        tokio::spawn(CURRENT.scope(stream, running));
    }
}

/// An exchange and the sending of its response. Dropped early, it is reset.
struct Runs<F> {
    /// `None` when it has ended.
    future: Option<Pin<Box<F>>>,
    stream: Arc<Stream>,
    shared: Arc<Shared>,
    /// The patience with its client, as with that of a whole connection in HTTP/1.
    pace: Pace,
    alarm: Option<Alarm>,
    excuses: u32,
}

impl<F: Future<Output = ()>> Future for Runs<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(future) = &mut self.future else { return Poll::Ready(()) };
        if future.as_mut().poll(cx).is_pending() && self.is_taken(cx).is_pending() {
            return Poll::Pending;
        }
        self.future = None;
        self.shared.ended(self.stream.ended.load(Ordering::Relaxed));
        Poll::Ready(())
    }
}

impl<F> Runs<F> {
    /// Ready when the client has had enough time to take what was given.
    fn is_taken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let clock = &self.shared.core.clock;
        let taken = self.stream.taken.swap(0, Ordering::Relaxed);
        let waits = self.stream.given.load(Ordering::Relaxed) > 0;
        if taken > 0 || (!waits && self.pace.waits()) {
            self.pace.moved(clock.now(), taken);
        }
        if !waits {
            return Poll::Pending;
        }
        let now = clock.now();
        let mut due = self.pace.wait(now);
        let alarm = self.alarm.get_or_insert_with(|| Alarm::new(now, self.pace.limit()));
        while alarm.poll(cx, clock, due).is_ready() {
            if self.excuses == 0 || !self.shared.seat.is_blocked() {
                self.shared.core.failed(&Failure::SendStalled, None);
                // Ours, not a reset of the client's.
                self.stream.end();
                return Poll::Ready(());
            }
            self.excuses -= 1;
            self.pace.excuse(clock.now());
            due = self.pace.wait(clock.now());
        }
        Poll::Pending
    }
}
