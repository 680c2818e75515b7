//! A client's socket, which tells its seat what the client sends and takes.
//!
//! What was read of it to find out what is spoken can be given back.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::clock::Clock;
use super::pace::Pace;
use super::seat::Seat;

/// A client's socket.
#[derive(Debug)]
pub struct Downstream {
    stream: TcpStream,
    seat: Arc<Seat>,
    clock: Clock,
    /// The patience with a client that does not take what is sent to it.
    pace: Pace,
    /// What was given back: it is read first.
    ahead: Bytes,
}

impl Downstream {
    /// Tells `seat` what happens on `stream`.
    pub fn new(stream: TcpStream, seat: Arc<Seat>, clock: Clock, pace: Pace) -> Self {
        Self { stream, seat, clock, pace, ahead: Bytes::new() }
    }

    /// Gives back what was read last.
    pub fn unread(&mut self, bytes: Bytes) {
        self.ahead = bytes;
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
        if buf.filled().len() > before && !self.seat.arrived() {
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
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Downstream {
    fn drop(&mut self) {
        if self.seat.is_broken_off() {
            // Where that fails, what is in the socket's buffer goes by the kernel's own time limit.
            let _ = self.stream.set_zero_linger();
        }
    }
}
