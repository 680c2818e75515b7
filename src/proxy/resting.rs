//! Clients' connections between two exchanges, when nothing is said on them.
//!
//! [`Http1`](super::http1::Http1) keeps for each connection what a request needs: the map of the headers
//! and the place of the exchange's future. Most connections that are kept alive say nothing most of
//! the time. So it is only there for those that have spoken just now: what rests is the bare socket,
//! and HTTP is set on it anew when it can be read. That has its price, so it is not done between
//! requests that follow each other at once.

use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::clock::Clock;
use super::downstream::Downstream;
use super::http1::Stream;
use super::seat::{Phase, Seat};
use crate::guard::moment::Moment;

/// A connection rests when it has been idle for this long.
const LULL: Duration = Duration::from_millis(100);
/// Connections that speak are looked through this often.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A stream that can be taken from HTTP, and given to it again.
pub(super) trait Resting: Stream {
    /// Gives back what was read of it and not used.
    fn unread(&mut self, bytes: Bytes);

    /// Ready when it can be read, or has ended, of one that was read to its end.
    fn poll_awake(&self, cx: &mut Context<'_>) -> Poll<()>;
}

impl Stream for Box<Downstream> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        (**self).poll_readable(cx)
    }
}

impl Resting for Box<Downstream> {
    fn unread(&mut self, bytes: Bytes) {
        (**self).unread(bytes);
    }

    fn poll_awake(&self, cx: &mut Context<'_>) -> Poll<()> {
        (**self).poll_readable(cx)
    }
}

/// The connections of one core that HTTP is set on.
#[derive(Default)]
pub struct Speakers {
    table: Mutex<Vec<Speaker>>,
    /// There is one, and there was none.
    spoken: Notify,
}

struct Speaker {
    seat: Arc<Seat>,
    task: Waker,
}

impl Speakers {
    /// HTTP is set on the connection whose task this is, until what this returns is dropped.
    pub(super) async fn enter<'a>(&'a self, seat: &Arc<Seat>) -> Speaking<'a> {
        let task = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let mut table = self.lock();
        seat.spoken_for.store(table.len(), Ordering::Relaxed);
        table.push(Speaker { seat: Arc::clone(seat), task });
        if table.len() == 1 {
            self.spoken.notify_one();
        }
        Speaking { speakers: self, seat: Arc::clone(seat) }
    }

    /// Has those rest that have been idle for long enough.
    pub(super) async fn lull(&self, clock: Clock) {
        loop {
            if self.lock().is_empty() {
                self.spoken.notified().await;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
            self.look(clock.now());
        }
    }

    fn look(&self, now: Moment) {
        for speaker in self.lock().iter() {
            if speaker.seat.rests()
                && let Phase::Idle(since) = speaker.seat.phase()
                && now.since(since) >= LULL
            {
                speaker.seat.lull();
                speaker.task.wake_by_ref();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Speaker>> {
        // Nothing panics between the steps of one change.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Speakers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Speakers").field("number", &self.lock().len()).finish()
    }
}

/// A connection that HTTP is set on.
pub(super) struct Speaking<'a> {
    speakers: &'a Speakers,
    seat: Arc<Seat>,
}

impl Speaking<'_> {
    /// Ready when it is to rest. Its task is woken then.
    pub(super) async fn rests(&self) {
        poll_fn(|_| if self.seat.is_to_rest() { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

impl Drop for Speaking<'_> {
    fn drop(&mut self) {
        let mut table = self.speakers.lock();
        let place = self.seat.spoken_for.load(Ordering::Relaxed);
        table.swap_remove(place);
        if let Some(moved) = table.get(place) {
            moved.seat.spoken_for.store(place, Ordering::Relaxed);
        }
    }
}
