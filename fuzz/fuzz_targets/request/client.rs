//! A client by a script: what it sends in which pieces, how much it takes at once, and how it ends.
//!
//! Time goes by steps. In each a piece arrives, and who waits for that is woken, as is who waits for
//! the step: what was not asked to be woken by is not told.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use floodwall::proxy::http1;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What it does when it has sent everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It waits.
    Waits,
    /// It hangs up with its last byte.
    Now,
    /// It hangs up when it has all that was there to come.
    Later,
    /// Its connection breaks, then.
    Breaks,
}

#[derive(Clone, Debug)]
pub struct Script {
    /// The next one last.
    pub pieces: Vec<Bytes>,
    pub end: End,
    /// Bytes that it takes in a step.
    pub takes: usize,
}

#[derive(Debug)]
struct State {
    script: Script,
    arrived: VecDeque<Bytes>,
    /// Whether its end has arrived.
    ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Bytes that it still takes in this step.
    room: usize,
    received: Vec<u8>,
    /// Whether it was told that nothing follows.
    closed: bool,
    step: usize,
    waiting: Vec<(usize, Waker)>,
}

/// The connection to it; copies are for those who look on.
#[derive(Clone, Debug)]
pub struct Client(Arc<Mutex<State>>);

impl Client {
    pub fn new(script: Script) -> Self {
        Self(Arc::new(Mutex::new(State {
            ended: script.pieces.is_empty() && script.end == End::Now,
            room: script.takes,
            script,
            arrived: VecDeque::new(),
            reader: None,
            writer: None,
            received: Vec::new(),
            closed: false,
            step: 0,
            waiting: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panicked")
    }

    /// The next step; whether there was one.
    pub fn step(&self) -> bool {
        let state = &mut *self.state();
        state.step += 1;
        let step = state.step;
        let (due, waiting) =
            std::mem::take(&mut state.waiting).into_iter().partition(|(due, _)| *due <= step);
        state.waiting = waiting;
        state.room = state.script.takes;
        let writer = state.writer.take();
        let mut moves = !due.is_empty() || !state.waiting.is_empty() || writer.is_some();
        due.into_iter().for_each(|(_, waker)| waker.wake());
        writer.into_iter().for_each(Waker::wake);
        let piece = state.script.pieces.pop();
        let last = state.script.pieces.is_empty();
        let ends = match state.script.end {
            End::Waits => false,
            End::Now => last,
            End::Later | End::Breaks => last && piece.is_none() && !moves,
        };
        let ends = ends && !state.ended;
        state.ended |= ends;
        if piece.is_some() || ends {
            moves = true;
            state.arrived.extend(piece);
            state.reader.take().into_iter().for_each(Waker::wake);
        }
        moves
    }

    /// Lets so many steps go by.
    pub async fn wait(&self, steps: usize) {
        let due = self.state().step + steps;
        std::future::poll_fn(|cx| {
            let mut state = self.state();
            if state.step >= due {
                return Poll::Ready(());
            }
            state.waiting.push((due, cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    pub fn received(&self) -> Vec<u8> {
        self.state().received.clone()
    }

    pub fn is_told_the_end(&self) -> bool {
        self.state().closed
    }

    /// What it has sent, or still sends, and nobody has read.
    pub fn unread(&self) -> Vec<u8> {
        let state = self.state();
        let pieces = state.arrived.iter().chain(state.script.pieces.iter().rev());
        pieces.flat_map(|piece| piece.iter().copied()).collect()
    }
}

impl AsyncRead for Client {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.state();
        assert!(buf.remaining() > 0, "it is read into nothing");
        if let Some(piece) = state.arrived.front_mut() {
            buf.put_slice(&piece.split_to(piece.len().min(buf.remaining())));
            if piece.is_empty() {
                state.arrived.pop_front();
            }
            return Poll::Ready(Ok(()));
        }
        match state.script.end {
            End::Now | End::Later if state.ended => Poll::Ready(Ok(())),
            End::Breaks if state.ended => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            _ => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.state();
        assert!(!state.closed, "written behind the end: {}", bytes.escape_ascii());
        if state.ended && state.script.end == End::Breaks {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let length = bytes.len().min(state.room);
        if length == 0 && !bytes.is_empty() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.room -= length;
        state.received.extend_from_slice(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state().closed = true;
        Poll::Ready(Ok(()))
    }
}

impl http1::Stream for Client {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if !state.arrived.is_empty() || state.ended {
            return Poll::Ready(());
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}
