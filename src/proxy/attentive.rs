//! A stream to the application that hears its other end out.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::places::Place;

/// How long reading may take to come to an end after writing has failed.
const HEARING: Duration = Duration::from_secs(5);

/// A stream that hears its other end out. An application may answer before it has read the
/// request (413), and close: writing fails then, while the answer is there to be read. So nothing
/// is said of writing that fails before reading has come to its end, behind everything that is
/// there.
#[derive(Debug)]
pub struct Attentive<S> {
    stream: S,
    answered: Answered,
    /// Nothing more can be read.
    has_ended: bool,
    broken: Option<Broken>,
    /// The right to have it open, given back when it is closed.
    _place: Arc<Place>,
}

/// Whether as much as a byte of an answer has come.
#[derive(Clone, Debug, Default)]
pub struct Answered(Arc<AtomicBool>);

impl Answered {
    /// A request is about to be written.
    pub fn ask(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether as much as a byte has come since.
    pub fn is_answered(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Writing has failed.
#[derive(Debug)]
struct Broken {
    kind: io::ErrorKind,
    /// Until that is told, whatever is read.
    patience: Pin<Box<Sleep>>,
}

impl<S> Attentive<S> {
    /// A stream that was opened with the right to be.
    pub fn new(stream: S, answered: Answered, place: Arc<Place>) -> Self {
        Self { stream, answered, has_ended: false, broken: None, _place: place }
    }

    /// The stream itself.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// What is said of writing, where it failed before.
    fn broken(&mut self, cx: &mut Context<'_>) -> Option<Poll<io::Error>> {
        let broken = self.broken.as_mut()?;
        let told = self.has_ended || broken.patience.as_mut().poll(cx).is_ready();
        Some(if told { Poll::Ready(broken.kind.into()) } else { Poll::Pending })
    }

    fn written<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        let Poll::Ready(Err(error)) = outcome else { return outcome };
        let patience = Box::pin(tokio::time::sleep(HEARING));
        self.broken = Some(Broken { kind: error.kind(), patience });
        match self.broken(cx) {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(_)) | None => Poll::Ready(Err(error)),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Attentive<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.answered.0.store(true, Ordering::Relaxed);
        } else if outcome.is_ready() {
            self.has_ended = true;
            // In a tunnel, who writes goes on, and has to learn of it.
            cx.waker().wake_by_ref();
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Attentive<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(broken) = self.broken(cx) {
            return broken.map(Err);
        }
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(outcome, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(broken) = self.broken(cx) {
            return broken.map(Err);
        }
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.written(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(broken) = self.broken(cx) {
            return broken.map(Err);
        }
        // Of a stream that buffers, writing fails here.
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(outcome, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
