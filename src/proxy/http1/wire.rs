//! A client's connection, as the one who serves it and the body of a request share it: while the body
//! is read, nobody else reads.

use std::fmt;
use std::io::{self, IoSlice};
use std::mem;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::flaw::Flaw;
use crate::proxy::leg;
use crate::proxy::leg::head::Framing;
use crate::proxy::leg::pieces::Pieces;

/// RFC 9110, 15.2.1.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What HTTP/1 is spoken on.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Ready unless it is certain that there is nothing to read; this task is woken then when there is.
    fn poll_readable(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// A stream until it is taken away; then nothing can be read or written any more.
pub struct Closable<S>(Option<S>);

impl<S: Stream> Closable<S> {
    fn poll<T>(
        &mut self,
        poll: impl FnOnce(Pin<&mut S>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut self.0 {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_ref().map_or(Poll::Ready(()), |stream| stream.poll_readable(cx))
    }
}

impl<S: Stream> AsyncRead for Closable<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_read(cx, buf))
    }
}

impl<S: Stream> AsyncWrite for Closable<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(|stream| stream.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_shutdown(cx))
    }
}

/// A connection, for the one who serves it. Dropped, it is closed, even if somebody has the body of a
/// request still: the body has broken off then.
pub struct Served<S: Stream>(Shared<S>);

/// Most requests have no body: a connection is shared, and so locked, only while one may be read.
enum Shared<S> {
    Alone(Wire<S>),
    With(Arc<Mutex<Wire<S>>>),
}

/// A connection that nobody else uses meanwhile.
pub enum Locked<'a, S> {
    Alone(&'a mut Wire<S>),
    With(MutexGuard<'a, Wire<S>>),
}

impl<S> Deref for Locked<'_, S> {
    type Target = Wire<S>;

    fn deref(&self) -> &Wire<S> {
        match self {
            Self::Alone(wire) => wire,
            Self::With(wire) => wire,
        }
    }
}

impl<S> DerefMut for Locked<'_, S> {
    fn deref_mut(&mut self) -> &mut Wire<S> {
        match self {
            Self::Alone(wire) => wire,
            Self::With(wire) => wire,
        }
    }
}

impl<S: Stream> Served<S> {
    pub fn new(stream: S) -> Self {
        Self(Shared::Alone(Wire::new(Some(stream))))
    }

    pub fn lock(&mut self) -> Locked<'_, S> {
        match &mut self.0 {
            Shared::Alone(wire) => Locked::Alone(wire),
            Shared::With(wire) => Locked::With(lock(wire)),
        }
    }

    /// Its direction to the client.
    pub fn out(&mut self) -> Out<'_, S> {
        Out(self)
    }

    /// The same, with somebody who reads the body of a request.
    fn share(&mut self) -> Arc<Mutex<Wire<S>>> {
        let shared = match mem::replace(&mut self.0, Shared::Alone(Wire::new(None))) {
            Shared::Alone(wire) => Arc::new(Mutex::new(wire)),
            Shared::With(wire) => wire,
        };
        self.0 = Shared::With(Arc::clone(&shared));
        shared
    }

    /// Has it alone again, if nobody reads a body any more.
    pub fn reclaim(&mut self) {
        if let Shared::With(wire) = &mut self.0
            && let Some(wire) = Arc::get_mut(wire)
        {
            let wire = wire.get_mut().unwrap_or_else(PoisonError::into_inner);
            self.0 = Shared::Alone(mem::replace(wire, Wire::new(None)));
        }
    }

    /// The stream, and what was read of it and not used; `None` while somebody has the body of a
    /// request.
    pub fn into_parts(mut self) -> Option<(S, Bytes)> {
        let mut wire = self.lock();
        if wire.is_lent {
            return None;
        }
        let stream = wire.stream.0.take()?;
        let gathered = mem::take(&mut wire.gathered);
        let received = mem::take(&mut wire.incoming.received);
        Some((stream, if gathered.is_empty() { received } else { gathered.freeze() }))
    }
}

impl<S: Stream> Drop for Served<S> {
    fn drop(&mut self) {
        let mut wire = self.lock();
        let (stream, reads) = (wire.stream.0.take(), wire.reads.take());
        drop(wire);
        drop(stream);
        if let Some(reads) = reads {
            reads.wake();
        }
    }
}

/// The 100 that a client waits for before it sends a body (RFC 9110, 10.1.1). Only one is woken when
/// the client takes more of what is sent, so there is always one who sends.
#[derive(Clone, Copy)]
enum Interim {
    /// None is due.
    None,
    /// It is when the body is read.
    Expected,
    /// Who reads the body sends it: what is left, and at its end that it is flushed.
    Reader(&'static [u8]),
    /// Who sends the response sends what is left in front of it.
    Ahead(&'static [u8]),
}

/// A connection.
pub struct Wire<S> {
    pub stream: Closable<S>,
    pub incoming: Pieces,
    /// A head of which a part was read.
    pub gathered: BytesMut,
    /// Somebody has the body of the request.
    pub is_lent: bool,
    /// The body has a flaw: where it ends, and what is behind it, is in doubt for good.
    is_flawed: bool,
    interim: Interim,
    /// Who waits for the body's being given back.
    waits: Option<Waker>,
    /// Who waits for more of the body.
    reads: Option<Waker>,
}

impl<S> Wire<S> {
    fn new(stream: Option<S>) -> Self {
        Self {
            stream: Closable(stream),
            incoming: Pieces::default(),
            gathered: BytesMut::new(),
            is_lent: false,
            is_flawed: false,
            interim: Interim::None,
            waits: None,
            reads: None,
        }
    }

    /// Whether nothing was read of a request.
    pub fn is_silent(&self) -> bool {
        self.incoming.received.is_empty() && self.gathered.is_empty()
    }

    /// A response is on its way: no 100 is sent any more, and what is left of one goes in front of it.
    /// Who waited for that to be sent is to be woken.
    #[must_use]
    pub fn answers(&mut self) -> Option<Waker> {
        let (interim, reads) = match self.interim {
            Interim::None | Interim::Expected => (Interim::None, None),
            Interim::Ahead(left) => (Interim::Ahead(left), None),
            Interim::Reader(left) => (Interim::Ahead(left), self.reads.take()),
        };
        self.interim = interim;
        reads
    }
}

impl<S: Stream> Wire<S> {
    /// Has this task woken when the body is given back.
    pub fn wait(&mut self, cx: &mut Context<'_>) {
        note(&mut self.waits, cx);
        if !matches!(self.interim, Interim::Reader(_)) {
            self.send_on(cx);
        }
    }

    /// Sends what was flushed and was not all taken, while nobody reads or writes: a client's socket
    /// wakes its task for that. An error is told when it is read or written on.
    pub fn send_on(&mut self, cx: &mut Context<'_>) {
        let _ = Pin::new(&mut self.stream).poll_flush(cx);
    }

    /// Reads once; nothing where the client has closed.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        ready!(self.stream.poll_readable(cx));
        let polled = self.incoming.poll_read(Pin::new(&mut self.stream), cx);
        if polled.is_pending() {
            // TLS may have answered what it read. That this fails is told when it is read or written on.
            let _ = Pin::new(&mut self.stream).poll_flush(cx);
        }
        polled
    }

    /// The next piece of the body; none when it has ended. Behind a flaw nothing is read any more: a
    /// reader that went on there might find an end, and a request behind it that is none.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Flaw>>> {
        if self.is_flawed {
            return Poll::Ready(Some(Err(Flaw::Body(leg::Flaw::Cut))));
        }
        // In small buffers, however much comes: clients that are read faster than the application takes
        // what they send hold no more.
        self.incoming.begin();
        let polled = self.incoming.poll_piece(Pin::new(&mut self.stream), cx);
        self.is_flawed = matches!(polled, Poll::Ready(Some(Err(_))));
        polled.map(|piece| piece.map(|piece| piece.map_err(Flaw::Body)))
    }

    /// The same, for a client that may wait for 100.
    fn poll_expected(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Flaw>>> {
        if let Interim::Expected = self.interim {
            self.interim = Interim::Reader(CONTINUE);
        }
        if let Interim::Reader(left) = &mut self.interim {
            let stream = &mut self.stream;
            let sent = match poll_write_all(stream, cx, left) {
                Poll::Ready(Ok(())) => Pin::new(stream).poll_flush(cx),
                unsent => unsent,
            };
            if let Err(error) = ready!(sent) {
                return Poll::Ready(Some(Err(error.into())));
            }
            self.interim = Interim::None;
        }
        self.poll_piece(cx)
    }

    /// Sends what goes in front of a response.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Interim::Ahead(left) = &mut self.interim {
            ready!(poll_write_all(&mut self.stream, cx, left))?;
            self.interim = Interim::None;
        }
        Poll::Ready(Ok(()))
    }
}

fn poll_write_all(
    stream: &mut (impl AsyncWrite + Unpin),
    cx: &mut Context<'_>,
    left: &mut &[u8],
) -> Poll<io::Result<()>> {
    while !left.is_empty() {
        let written = ready!(Pin::new(&mut *stream).poll_write(cx, left))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        *left = &left[written..];
    }
    Poll::Ready(Ok(()))
}

/// Has this task be the one that is woken.
fn note(task: &mut Option<Waker>, cx: &Context<'_>) {
    if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
        *task = Some(cx.waker().clone());
    }
}

/// Takes the lock: nothing panics between the steps of one change.
fn lock<S>(wire: &Mutex<Wire<S>>) -> MutexGuard<'_, Wire<S>> {
    wire.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The connection's direction to the client. Locked for each call: what is written may come of code
/// that gives the request's body back.
pub struct Out<'a, S: Stream>(&'a mut Served<S>);

impl<S: Stream> AsyncWrite for Out<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.lock();
        ready!(wire.poll_ahead(cx))?;
        Pin::new(&mut wire.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.lock();
        ready!(wire.poll_ahead(cx))?;
        Pin::new(&mut wire.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0.0 {
            Shared::Alone(wire) => wire.stream.is_write_vectored(),
            Shared::With(wire) => lock(wire).stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_shutdown(cx)
    }
}

/// A connection, whatever it is.
trait Source: Send + Sync {
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Flaw>>>;

    fn give_back(&self);
}

impl<S: Stream> Source for Mutex<Wire<S>> {
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Flaw>>> {
        let mut wire = lock(self);
        let polled = wire.poll_expected(cx);
        if polled.is_pending() {
            note(&mut wire.reads, cx);
        }
        polled
    }

    fn give_back(&self) {
        let mut wire = lock(self);
        wire.is_lent = false;
        wire.reads = None;
        let waits = wire.waits.take();
        drop(wire);
        if let Some(waits) = waits {
            waits.wake();
        }
    }
}

/// The body of a request. Dropped before its end, the connection carries no other request.
pub struct Incoming {
    /// `None` when it has ended.
    source: Option<Arc<dyn Source>>,
    /// What is left, where that is known.
    left: Option<u64>,
}

impl Incoming {
    /// That of the request whose head was just read from `wire`.
    pub fn of<S: Stream>(served: &mut Served<S>, framing: Framing, expects: bool) -> Self {
        let left = match framing {
            Framing::Ended => return Self { source: None, left: Some(0) },
            Framing::Length(length) => Some(length),
            Framing::Chunked(_) | Framing::UntilEnd => None,
        };
        let mut wire = served.lock();
        wire.incoming.framing = framing;
        wire.interim = if expects { Interim::Expected } else { Interim::None };
        wire.is_lent = true;
        drop(wire);
        Self { source: Some(served.share()), left }
    }

    fn end(&mut self) {
        self.left = Some(0);
        if let Some(source) = self.source.take() {
            source.give_back();
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Flaw;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Flaw>>> {
        let Some(source) = &self.source else { return Poll::Ready(None) };
        let piece = ready!(source.poll_frame(cx));
        let data = match &piece {
            Some(Ok(frame)) => frame.data_ref().map(|data| data.len() as u64),
            Some(Err(_)) | None => None,
        };
        match (data, &mut self.left) {
            (Some(length), Some(left)) if length < *left => *left -= length,
            // Of chunks the end is still to come.
            (Some(_), None) => {}
            (Some(_), Some(_)) | (None, _) => self.end(),
        }
        Poll::Ready(piece)
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("left", &self.left).finish_non_exhaustive()
    }
}
