//! A client's socket, which tells its seat what the client sends and takes.
//!
//! What was read of it to find out what is spoken can be given back.
//!
//! It closes lingering (RFC 9112, 9.6): a client that is still sending what nobody reads would be
//! sent a reset, and lose the reply that says why. So the socket is closed in one direction, and
//! what comes by the other is thrown away until the client closes, within bounds.
//!
//! What was read of it to find out what is spoken can be given back.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::clock::Clock;
use super::held::Held;
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
    stream: Socket,
    seat: Arc<Seat>,
    clock: Clock,
    /// The patience with a client that does not take what is sent to it.
    pace: Pace,
    /// Of what is written first behind what was read.
    turn: Turn,
    /// What waits for that.
    held: Held,
    /// What was given back: it is read first.
    ahead: Bytes,
    /// Once nothing is sent any more.
    linger: Option<Linger>,
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
    /// Tells `seat` what happens on `stream`.
    pub fn new(stream: Socket, seat: Arc<Seat>, clock: Clock, pace: Pace) -> Self {
        Self {
            stream,
            seat,
            clock,
            pace,
            turn: Turn::default(),
            held: Held::default(),
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
        if self.holds() { Poll::Ready(()) } else { self.stream.poll_readable(cx) }
    }

    /// Reads a piece of what nobody wants; its length.
    fn discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut piece = [MaybeUninit::uninit(); LINGER_PIECE];
        let mut piece = ReadBuf::uninit(&mut piece);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut piece);
        read.map_ok(|()| piece.filled().len())
    }

    /// Ready when the client has closed, or sends nothing that was not read, or may linger no
    /// longer.
    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let read = self.discard(cx);
            let now = self.clock.now();
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
                Poll::Pending if linger.bytes == LINGER_BYTES && !self.seat.has_unread() => {
                    return Poll::Ready(());
                }
                Poll::Pending => return linger.alarm.poll(cx, &self.clock, linger.due()),
            }
        }
    }

    /// Holds what is written until other tasks have had their turn, if that is due. Else it is to be
    /// written: what was held is sent.
    fn hold(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<Option<usize>>> {
        // In a tunnel nobody need flush.
        if self.turn.is_due()
            && !self.seat.is_switched()
            && let Some(held) = self.held.take(pieces)
        {
            self.seat.holds(!self.held.is_empty());
            return Poll::Ready(Ok(Some(held)));
        }
        self.send_held(cx).map_ok(|()| None)
    }

    fn send_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.held.is_empty() {
            let sent = self.held.poll_send(Pin::new(&mut self.stream), cx);
            ready!(self.written(sent))?;
        }
        self.seat.holds(false);
        Poll::Ready(Ok(()))
    }

    fn written(&mut self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &outcome {
            Poll::Ready(Ok(bytes)) => {
                let bytes = *bytes as u64;
                if self.pace.waits() {
                    self.pace.moved(self.clock.now(), bytes);
                    self.seat.unblocked();
                } else {
                    self.pace.earn(bytes);
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.seat.blocked(self.pace.wait(self.clock.now())),
        }
        outcome
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
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        let came = buf.filled().len() - before;
        self.seat.looked(outcome.is_pending());
        self.seat.heard(came);
        // What was held by then waits no longer, however much comes.
        if came > 0 && self.held.is_empty() {
            self.turn.give_way();
        }
        if came > 0 && !self.seat.arrived() {
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
        if let Some(written) = ready!(self.hold(cx, &[IoSlice::new(bytes)]))? {
            return Poll::Ready(Ok(written));
        }
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(written) = ready!(self.hold(cx, bytes))? {
            return Poll::Ready(Ok(written));
        }
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.written(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.held.is_empty() {
            ready!(self.turn.poll(cx));
            ready!(self.send_held(cx))?;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send_held(cx))?;
        self.seat.end();
        if self.seat.is_switched() {
            return Pin::new(&mut self.stream).poll_shutdown(cx);
        }
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        self.linger(cx).map(Ok)
    }
}

impl Drop for Downstream {
    fn drop(&mut self) {
        if self.seat.is_broken_off() {
            // Where that fails, what is in the socket's buffer goes by the kernel's own time limit.
            let _ = self.stream.throw_away();
        } else {
            // Who fails may have written why.
            self.held.send_last(&self.stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    /// Hyper, which would send it, is taken from a connection that rests.
    #[tokio::test]
    async fn a_connection_does_not_rest_while_it_holds_what_was_answered() {
        let (mut client, server) = UnixStream::pair().expect("two ends");
        let clock = Clock::start();
        let seat = Arc::new(Seat::new(clock, clock.now()));
        let pace = Pace::new(LINGER_TIME, 0);
        let mut stream = Downstream::new(Socket::Unix(server), Arc::clone(&seat), clock, pace);
        let mut cx = Context::from_waker(Waker::noop());
        let mut byte = [0];
        client.write_all(b"a").await.expect("it is taken");
        stream.read_exact(&mut byte).await.expect("it has come");
        let running = seat.begin().expect("it has its place");
        let written = Pin::new(&mut stream).poll_write(&mut cx, b"b");
        assert!(matches!(written, Poll::Ready(Ok(1))), "{written:?}");
        drop(running);
        assert!(
            Pin::new(&mut stream).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
        );
        assert!(!seat.rests(), "it was not sent yet");
        poll_fn(|cx| Pin::new(&mut stream).poll_flush(cx)).await.expect("it is sent");
        assert!(seat.rests());
        client.read_exact(&mut byte).await.expect("it has come");
        assert_eq!(&byte, b"b");
    }
}
