//! TLS on a client's socket, from which more was read than was used.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::downstream::Downstream;
use super::http1::Stream;
use super::resting::Resting;

/// TLS on a client's socket.
///
/// Boxed, as it is taken from HTTP, and given to it again.
pub(super) struct Secured {
    stream: Box<TlsStream<Box<Downstream>>>,
    /// What was given back: it is read first.
    ahead: Bytes,
}

impl Secured {
    pub(super) fn new(stream: Box<TlsStream<Box<Downstream>>>) -> Self {
        Self { stream, ahead: Bytes::new() }
    }
}

// Of what was decrypted only reading tells.
impl Stream for Secured {}

impl Resting for Secured {
    fn unread(&mut self, bytes: Bytes) {
        self.ahead = bytes;
    }

    fn poll_awake(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ahead.is_empty() {
            self.stream.get_ref().0.poll_readable(cx)
        } else {
            Poll::Ready(())
        }
    }
}

impl AsyncRead for Secured {
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
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
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
