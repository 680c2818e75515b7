//! The stream of bytes to a server: a socket, or TLS over one.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::unconstrained;
use tokio_rustls::client::TlsStream;

use super::outlet::Outlet;
use super::socket::Socket;

/// What TLS takes at a time: one record (RFC 8446, 5.1). Of several, some would have been sent when
/// writing fails, which would not be told.
const RECORD_BYTES: usize = 16 << 10;

/// A stream of bytes.
#[derive(Debug)]
pub enum RawStream {
    Plain(Outlet),
    /// What TLS remembers is large.
    Tls(Box<TlsStream<Socket>>),
}

impl RawStream {
    /// A socket that nothing is spoken on yet.
    pub fn plain(socket: Socket) -> Self {
        Self::Plain(Outlet::new(socket))
    }

    /// Takes a request, to have it sent at its turn: see [`Outlet::borrow`]. What TLS makes of it has to
    /// be written by its owner.
    pub fn borrow(&self, cx: &mut Context<'_>, request: &mut Vec<u8>, is_used: bool) -> bool {
        match self {
            Self::Plain(outlet) => outlet.borrow(cx, request, is_used),
            Self::Tls(_) => false,
        }
    }

    /// Gives it back, with how much of it was sent: see [`Outlet::poll_sent`].
    pub fn poll_sent(&self, cx: &mut Context<'_>) -> Poll<Option<(Vec<u8>, usize)>> {
        match self {
            Self::Plain(outlet) => outlet.poll_sent(cx),
            Self::Tls(_) => Poll::Ready(None),
        }
    }

    /// Whether there is nothing to read, not even an end, of what the system has told of. A request
    /// that came by itself was told of later than all that the server had sent before it.
    pub fn is_silent(&mut self) -> bool {
        match self {
            Self::Plain(outlet) => outlet.is_silent(),
            // What came may be TLS's own: a ticket for the next connection. And what was read of the
            // socket may wait within: a record behind that which was last read of, or the end. Whoever
            // uses the stream next waits for it anew.
            Self::Tls(stream) => {
                let mut cx = Context::from_waker(Waker::noop());
                let (mut byte, mut stream) = ([0], Pin::new(&mut **stream));
                let mut into = ReadBuf::new(&mut byte);
                let read = poll_fn(|cx| stream.as_mut().poll_read(cx, &mut into));
                // Out of the task's budget: what cannot be asked would be taken for silence.
                pin!(unconstrained(read)).poll(&mut cx).is_pending()
            }
        }
    }
}

impl AsyncRead for RawStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for RawStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => {
                let record = &bytes[..bytes.len().min(RECORD_BYTES)];
                Pin::new(&mut **stream).poll_write(cx, record)
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
            Self::Tls(stream) => {
                let whole: usize = bytes.iter().map(|piece| piece.len()).sum();
                match bytes.iter().find(|piece| !piece.is_empty()) {
                    Some(first) if whole > RECORD_BYTES => {
                        let record = &first[..first.len().min(RECORD_BYTES)];
                        Pin::new(&mut **stream).poll_write(cx, record)
                    }
                    Some(_) | None => Pin::new(&mut **stream).poll_write_vectored(cx, bytes),
                }
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}
