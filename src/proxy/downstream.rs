//! A client's socket, which tells its seat what the client sends and takes.
//!
//! What is written behind what was read is held until other tasks have had their turn, and sent by the
//! core's outbox then, in the order in which it was written. What the system does not take is sent on
//! by whoever owns the socket, who is woken; and who drops it has sent what it holds.
//!
//! It closes lingering (RFC 9112, 9.6): a client that is still sending what nobody reads would be
//! sent a reset, and lose the reply that says why. So the socket is closed in one direction, and
//! what comes by the other is thrown away until the client closes, within bounds.
//!
//! What was read of it to find out what is spoken can be given back.

use std::io::{self, IoSlice};
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::clock::Clock;
use super::held::Held;
use super::outbox::{self, Letter};
use super::pace::{Alarm, Pace};
use super::seat::Seat;
use super::socket::Socket;
use super::turn::Turn;
use crate::guard::moment::Moment;

/// What a client may send after the last reply, in all.
const LINGER_BYTES: usize = 16 << 20;
/// For how long.
const LINGER_TIME: Duration = Duration::from_secs(10);
/// How long it may pause.
const LINGER_PAUSE: Duration = Duration::from_secs(2);
/// Thrown away at a time.
const LINGER_PIECE: usize = 16 << 10;

/// A client's socket.
#[derive(Debug)]
pub struct Downstream {
    shared: Arc<Shared>,
    /// Whether what is written next, behind what was read, waits for its turn.
    turn: Turn,
    /// What waits for that and is not posted: the wire holds nothing then.
    written: Held,
    /// What was given back: it is read first.
    ahead: Bytes,
    /// Once nothing is sent any more.
    linger: Option<Linger>,
}

/// What is its own and the outbox's. Only what one of them may change while the other looks is locked.
#[derive(Debug)]
struct Shared {
    socket: Socket,
    seat: Arc<Seat>,
    clock: Clock,
    wire: Mutex<Wire>,
}

/// How it is sent to.
#[derive(Debug)]
struct Wire {
    /// The patience with a client that does not take what is sent to it.
    pace: Pace,
    /// What waits to be sent.
    held: Held,
    sender: Sender,
    /// Whom the outbox wakes if it could not send all.
    task: Waker,
}

/// The wire, while nobody else changes it.
struct Locked<'a> {
    shared: &'a Shared,
    wire: MutexGuard<'a, Wire>,
}

/// Who sends what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    /// Whoever writes.
    Owner,
    /// The outbox, at its next turn.
    Outbox,
    /// Whoever writes, or reads: the outbox could not.
    Left,
}

/// How long what comes is still thrown away.
#[derive(Debug)]
struct Linger {
    /// That may still come.
    bytes: usize,
    until: Moment,
    /// When something came last.
    moved: Moment,
    alarm: Alarm,
}

impl Linger {
    fn new(now: Moment) -> Self {
        let (until, alarm) = (now.after(LINGER_TIME), Alarm::new(now, LINGER_PAUSE));
        Self { bytes: LINGER_BYTES, until, moved: now, alarm }
    }

    fn due(&self) -> Moment {
        self.until.min(self.moved.after(LINGER_PAUSE))
    }
}

impl Downstream {
    /// Tells `seat` what happens on `socket`.
    pub fn new(socket: Socket, seat: Arc<Seat>, clock: Clock, pace: Pace) -> Self {
        let (held, sender, task) = (Held::default(), Sender::Owner, Waker::noop().clone());
        let wire = Mutex::new(Wire { pace, held, sender, task });
        Self {
            shared: Arc::new(Shared { socket, seat, clock, wire }),
            turn: Turn::default(),
            written: Held::default(),
            ahead: Bytes::new(),
            linger: None,
        }
    }

    /// Gives back what was read last. What was given back before, and not read since, comes behind it.
    pub fn unread(&mut self, bytes: Bytes) {
        let behind = std::mem::take(&mut self.ahead);
        self.ahead = if behind.is_empty() { bytes } else { [bytes, behind].concat().into() };
    }

    /// Whether it holds something that was given back.
    pub fn holds(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Ready when it can be read, or has ended.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.holds() {
            return Poll::Ready(());
        }
        self.send_left(cx);
        let polled = self.shared.socket.poll_readable(cx);
        self.shared.seat.looked(polled.is_pending());
        polled
    }

    /// Sends on what the outbox could not send: who was told that it is flushed need not flush again. An
    /// error comes again when its owner writes.
    fn send_left(&self, cx: &mut Context<'_>) {
        if self.is_all_sent() || !self.written.is_empty() {
            return;
        }
        let mut locked = self.shared.lock();
        if locked.wire.sender == Sender::Left {
            let _ = locked.send_held(cx);
        }
    }

    /// Whether nothing waits to be sent.
    fn is_all_sent(&self) -> bool {
        !self.shared.seat.is_holding()
    }

    /// Holds what is written until other tasks have had their turn, if that is due; how long it is. Else
    /// it is to be written: what was held is sent.
    fn hold(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<Option<usize>>> {
        // In a tunnel nobody need flush.
        let may_hold = !self.shared.seat.is_switched();
        // What is written behind what is posted is posted with it.
        let is_own = !self.written.is_empty() || self.is_all_sent();
        if may_hold
            && is_own
            && self.turn.is_due()
            && let Some(held) = self.written.take(pieces)
        {
            self.shared.seat.holds(!self.written.is_empty());
            return Poll::Ready(Ok(Some(held)));
        }
        let is_due = self.turn.is_due();
        let mut locked = self.shared.lock_with(&mut self.written);
        if may_hold
            && (is_due || locked.wire.sender == Sender::Outbox)
            && let Some(held) = locked.wire.held.take(pieces)
        {
            locked.shared.seat.holds(!locked.wire.held.is_empty());
            return Poll::Ready(Ok(Some(held)));
        }
        locked.send_held(cx).map_ok(|()| None)
    }

    /// Reads a piece of what nobody wants; its length.
    fn discard(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut piece = [MaybeUninit::uninit(); LINGER_PIECE];
        let mut piece = ReadBuf::uninit(&mut piece);
        let read = self.shared.socket.poll_recv(cx, &mut piece);
        read.map_ok(|()| piece.filled().len())
    }

    /// Ready when the client has closed, or sends nothing that was not read, or may linger no
    /// longer.
    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let read = self.discard(cx);
            let now = self.shared.clock.now();
            let linger = self.linger.get_or_insert_with(|| Linger::new(now));
            match read {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(length)) => {
                    linger.bytes = linger.bytes.saturating_sub(length);
                    linger.moved = now;
                    if linger.bytes == 0 || now >= linger.due() {
                        return Poll::Ready(());
                    }
                }
                Poll::Pending if linger.bytes == LINGER_BYTES && !self.shared.seat.has_unread() => {
                    return Poll::Ready(());
                }
                Poll::Pending => return linger.alarm.poll(cx, &self.shared.clock, linger.due()),
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> Locked<'_> {
        // A panic between two whole operations leaves it whole.
        let wire = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { shared: self, wire }
    }

    /// With what is written, and is not on the wire yet.
    fn lock_with(&self, written: &mut Held) -> Locked<'_> {
        let mut locked = self.lock();
        if !written.is_empty() {
            mem::swap(written, &mut locked.wire.held);
        }
        locked
    }
}

impl Locked<'_> {
    fn send_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.wire.held.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.wire.held.is_empty() {
            let sent = self.wire.held.poll_send(&self.shared.socket, cx);
            ready!(self.written(sent))?;
        }
        self.all_sent();
        Poll::Ready(Ok(()))
    }

    /// Sends what the socket takes at once; whether that is all. An error comes again when its owner
    /// writes.
    fn try_send_held(&mut self) -> bool {
        while !self.wire.held.is_empty() {
            let Ok(sent) = self.wire.held.try_send(&self.shared.socket) else { return false };
            // It is handed back as it is.
            let _ = self.written(Poll::Ready(Ok(sent)));
        }
        self.all_sent();
        true
    }

    fn all_sent(&mut self) {
        self.shared.seat.holds(false);
        if self.wire.sender == Sender::Left {
            self.wire.sender = Sender::Owner;
        }
    }

    fn written(&mut self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &outcome {
            Poll::Ready(Ok(bytes)) => {
                let bytes = *bytes as u64;
                if self.wire.pace.waits() {
                    self.wire.pace.moved(self.shared.clock.now(), bytes);
                    self.shared.seat.unblocked();
                } else {
                    self.wire.pace.earn(bytes);
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let until = self.wire.pace.wait(self.shared.clock.now());
                self.shared.seat.blocked(until);
            }
        }
        outcome
    }
}

impl Letter for Shared {
    fn send(&self) {
        let mut locked = self.lock();
        locked.wire.sender = Sender::Owner;
        if !locked.try_send_held() {
            locked.wire.sender = Sender::Left;
            locked.wire.task.wake_by_ref();
        }
    }
}

impl AsyncRead for Downstream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let bytes = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(bytes));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        self.send_left(cx);
        let outcome = self.shared.socket.poll_recv(cx, buf);
        let came = buf.filled().len() - before;
        // What was held by then waits no longer, however much comes.
        if came > 0 && self.is_all_sent() {
            self.turn.give_way();
        }
        let seat = &self.shared.seat;
        seat.looked(outcome.is_pending());
        seat.heard(came);
        if came > 0 && !seat.arrived() {
            // An end: a request that came when the connection was given up is not begun.
            buf.set_filled(before);
        }
        outcome
    }
}

impl AsyncWrite for Downstream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(held) = ready!(self.hold(cx, &[IoSlice::new(bytes)]))? {
            return Poll::Ready(Ok(held));
        }
        let outcome = self.shared.socket.poll_send(cx, bytes);
        self.shared.lock().written(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(held) = ready!(self.hold(cx, bytes))? {
            return Poll::Ready(Ok(held));
        }
        let outcome = self.shared.socket.poll_send_vectored(cx, bytes);
        self.shared.lock().written(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.shared.socket.is_write_vectored()
    }

    /// What is posted is as good as flushed: it is sent whatever its owner does. What the system does
    /// not take then goes on when its owner, who is woken, flushes, writes or reads.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_all_sent() {
            return Poll::Ready(Ok(()));
        }
        let Self { shared, turn, written, .. } = &mut *self;
        let mut locked = shared.lock_with(written);
        if turn.is_due()
            && !locked.wire.held.is_empty()
            && (locked.wire.sender == Sender::Outbox || outbox::post(Arc::clone(shared) as _))
        {
            turn.leave();
            locked.wire.sender = Sender::Outbox;
        }
        if locked.wire.sender == Sender::Outbox {
            locked.wire.task.clone_from(cx.waker());
            return Poll::Ready(Ok(()));
        }
        if !locked.wire.held.is_empty() {
            ready!(turn.poll(cx));
        }
        locked.send_held(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_all_sent() {
            let Self { shared, written, .. } = &mut *self;
            ready!(shared.lock_with(written).send_held(cx))?;
        }
        let Shared { socket, seat, .. } = &*self.shared;
        seat.end();
        if seat.is_switched() {
            return Poll::Ready(socket.shut_down());
        }
        if self.linger.is_none() {
            socket.shut_down()?;
        }
        self.linger(cx).map(Ok)
    }
}

impl Drop for Downstream {
    fn drop(&mut self) {
        let mut locked = self.shared.lock_with(&mut self.written);
        if locked.wire.sender == Sender::Outbox {
            outbox::withdraw(&self.shared);
        }
        if self.shared.seat.is_broken_off() {
            // Where that fails, what is in the socket's buffer goes by the kernel's own time limit.
            let _ = self.shared.socket.throw_away();
        } else {
            // Who fails may have written why.
            locked.try_send_held();
        }
    }
}

#[cfg(test)]
#[path = "downstream_tests.rs"]
mod tests;
