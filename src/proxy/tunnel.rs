//! Two connections that have become one: a client's and the application's, after an upgrade.
//!
//! It owns both ends, and passes on what comes, without a look. It promises that what came behind
//! the heads is not lost, that one side's end is passed on while the other goes on, that no more
//! than `BUFFER_BYTES` wait in each direction, and that the tunnel ends when nothing moves or one
//! side takes nothing. It refuses to know what is spoken.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::time::timeout;

use super::account::Account;
use super::clock::Clock;
use super::core::Core;
use super::failure::Failure;
use super::live::Token;
use super::pace::Alarm;
use super::seat::{Running, Seat};
use super::server::{Lease, Server};
use super::site::Site;
use super::tunnels::Place;
use crate::guard::moment::Moment;

/// What waits in one direction for the other side to take it, at most.
const BUFFER_BYTES: usize = 8 * 1024;

/// A tunnel that both sides have agreed to. Dropped before it is run, both ends are closed.
#[derive(Debug)]
pub struct Tunnel {
    near: Option<Near>,
    carried: Carried,
    /// The application's end, which counts as used until the tunnel ends.
    lease: Lease,
}

/// The client's end.
#[derive(Debug)]
pub struct Near {
    pub patience: Patience,
    /// Whose application it is.
    pub site: Arc<Site>,
    /// Given back when the tunnel ends.
    pub place: Place,
}

/// How long a tunnel may stand still.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Without a byte in either direction.
    pub idle: Duration,
    /// While one side takes nothing of what came from the other.
    pub send: Duration,
}

/// What has gone through, so far; told in the access log when the tunnel has ended, however it does.
#[derive(Debug, Default)]
struct Carried {
    to_client: AtomicU64,
    account: Account,
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.account.relayed(self.to_client.load(Ordering::Relaxed));
    }
}

impl Tunnel {
    /// The application has agreed, on the connection of `lease`.
    pub fn to(lease: Lease) -> Self {
        Self { near: None, carried: Carried::default(), lease }
    }

    /// The client's end, which is switched when the client has been told.
    pub fn meet(&mut self, near: Near) {
        self.near = Some(near);
    }

    /// How long it may stand still.
    pub fn patience(&self) -> Option<Patience> {
        self.near.as_ref().map(|near| near.patience)
    }

    /// The server at the application's end.
    pub(super) fn server(&self) -> &Arc<Server> {
        self.lease.server()
    }

    /// Tells this account how much goes through, and ends it when the tunnel has ended.
    pub(super) fn told_in(&mut self, account: Account) {
        self.carried.account = account;
    }

    /// Passes bytes on between `near`, which is the client's end, and the application's, until both have
    /// ended, or the tunnel is cut, and tells of a failure. A client that goes away is nobody's
    /// failure, and neither is silence. Counts as the exchange that it began as.
    ///
    /// `seat` is that of the client's connection where the tunnel has it to itself: it is broken
    /// off, so that what was cut does not look whole.
    pub async fn run(
        self,
        core: &Core,
        exchange: (Token, Running),
        near: impl AsyncRead + AsyncWrite + Unpin,
        seat: Option<&Seat>,
    ) {
        let _exchange = exchange;
        let Self { near: Some(met), mut carried, lease } = self else { return };
        let Near { patience, site, place: _place } = met;
        seat.inspect(|seat| seat.switch());
        let (link, _server, _burden) = lease.into_parts();
        let outcome = match timeout(patience.idle, link.into_stream()).await {
            Ok(Ok(far)) => pass(near, far, core.clock, patience, &carried.to_client, seat).await,
            Ok(Err(cause)) => Err(Failure::Closed(cause)),
            Err(_) => Err(Failure::ResponseTimeout),
        };
        match outcome {
            Ok(()) => carried.account.ended(),
            Err(failure) => {
                core.failed(&failure, Some(&site));
                carried.account.failed(&failure);
            }
        }
    }
}

/// Passes bytes on between the two ends.
async fn pass(
    near: impl AsyncRead + AsyncWrite + Unpin,
    far: impl AsyncRead + AsyncWrite + Unpin,
    clock: Clock,
    patience: Patience,
    to_client: &AtomicU64,
    seat: Option<&Seat>,
) -> Result<(), Failure> {
    let (near_side, far_side) = (Side::new(clock), Side::new(clock));
    let mut near = Metered { stream: near, side: &near_side, taken: Some(to_client) };
    let mut far = Metered { stream: far, side: &far_side, taken: None };
    let copying = copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER_BYTES, BUFFER_BYTES);
    let mut copying = pin!(copying);
    let mut alarm = Alarm::new(clock.now(), patience.idle.min(patience.send));
    let outcome = std::future::poll_fn(|cx| {
        if let Poll::Ready(outcome) = copying.as_mut().poll(cx) {
            return Poll::Ready(match outcome {
                Err(error) if far_side.is_broken() => Err(Failure::TunnelBroken(error)),
                Ok(_) | Err(_) => Ok(()),
            });
        }
        let due = |side: &Side| side.blocked().map_or(Moment::NEVER, |at| at.after(patience.send));
        let (near_due, far_due) = (due(&near_side), due(&far_side));
        let idle_due = near_side.moved().max(far_side.moved()).after(patience.idle);
        alarm.poll(cx, &clock, near_due.min(far_due).min(idle_due)).map(|()| {
            let now = clock.now();
            if far_due <= now {
                Err(Failure::TunnelStalled)
            } else if near_due <= now {
                Err(Failure::SendStalled)
            } else {
                Ok(())
            }
        })
    })
    .await;
    if outcome.is_err() {
        seat.inspect(|seat| seat.break_off());
    }
    outcome
}

/// What is seen at one end.
#[derive(Debug)]
struct Side {
    clock: Clock,
    /// When it last gave or took something, in nanoseconds.
    moved: AtomicU64,
    /// Since when it takes nothing; 0: it takes.
    blocked: AtomicU64,
    broken: AtomicBool,
}

impl Side {
    fn new(clock: Clock) -> Self {
        let moved = AtomicU64::new(clock.now().as_nanos());
        Self { clock, moved, blocked: AtomicU64::new(0), broken: AtomicBool::new(false) }
    }

    fn moved(&self) -> Moment {
        Moment::from_nanos(self.moved.load(Ordering::Relaxed))
    }

    fn blocked(&self) -> Option<Moment> {
        let since = self.blocked.load(Ordering::Relaxed);
        (since != 0).then(|| Moment::from_nanos(since))
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    fn note_moved(&self) {
        self.moved.store(self.clock.now().as_nanos(), Ordering::Relaxed);
    }

    /// What came of reading.
    fn note<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if matches!(outcome, Poll::Ready(Err(_))) {
            self.broken.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// What came of writing.
    fn note_taken<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match outcome {
            Poll::Pending if self.blocked().is_none() => {
                self.blocked.store(self.clock.now().as_nanos(), Ordering::Relaxed);
            }
            Poll::Pending => {}
            Poll::Ready(_) => self.blocked.store(0, Ordering::Relaxed),
        }
        self.note(outcome)
    }
}

/// One end of a tunnel, watched.
struct Metered<'a, S> {
    stream: S,
    side: &'a Side,
    /// How much it has taken, where that is told.
    taken: Option<&'a AtomicU64>,
}

impl<S> Metered<'_, S> {
    fn written(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &outcome {
            self.taken.inspect(|taken| {
                taken.fetch_add(*bytes as u64, Ordering::Relaxed);
            });
            self.side.note_moved();
        }
        self.side.note_taken(outcome)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.side.note_moved();
        }
        self.side.note(outcome)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.written(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.side.note_taken(outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.side.note_taken(outcome)
    }
}
