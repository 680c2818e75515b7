//! The connection to a client that a test plays.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::http1::Stream;

#[derive(Debug, Default)]
struct State {
    arrived: VecDeque<Vec<u8>>,
    gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    received: Vec<u8>,
    /// Whether it takes nothing.
    full: bool,
    closed: bool,
}

#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Copies are of the same.
#[derive(Clone, Debug, Default)]
pub struct Client(Arc<Mutex<State>>, Arc<Woken>);

impl Client {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panicked")
    }

    /// What is to be woken by it.
    pub fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.1))
    }

    pub fn wake(&self) {
        self.waker().wake();
    }

    /// Whether somebody was, since this was asked.
    pub fn is_woken(&self) -> bool {
        self.1.0.swap(false, Ordering::Relaxed)
    }

    pub fn send(&self, bytes: &[u8]) {
        let mut state = self.state();
        state.arrived.push_back(bytes.to_vec());
        state.reader.take().into_iter().for_each(Waker::wake);
    }

    pub fn hang_up(&self) {
        let mut state = self.state();
        state.gone = true;
        state.reader.take().into_iter().for_each(Waker::wake);
    }

    /// Takes nothing, or everything.
    pub fn takes(&self, takes: bool) {
        let mut state = self.state();
        state.full = !takes;
        state.writer.take().into_iter().for_each(Waker::wake);
    }

    pub fn received(&self) -> String {
        String::from_utf8_lossy(&self.state().received).into_owned()
    }

    pub fn is_told_the_end(&self) -> bool {
        self.state().closed
    }
}

impl AsyncRead for Client {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.state();
        let Some(piece) = state.arrived.front_mut() else {
            if state.gone {
                return Poll::Ready(Ok(()));
            }
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let length = piece.len().min(buf.remaining());
        buf.put_slice(&piece[..length]);
        piece.drain(..length);
        if piece.is_empty() {
            state.arrived.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.state();
        if state.full {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.received.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        if state.full {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state().closed = true;
        Poll::Ready(Ok(()))
    }
}

impl Stream for Client {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if !state.arrived.is_empty() || state.gone {
            return Poll::Ready(());
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}
