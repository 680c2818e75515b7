//! The body of a response over HTTP/2, in pieces such as frames are.
//!
//! hyper lets go of a response when its last piece has been given, whether or not the client has
//! room for it; h2 keeps it then, and nobody cuts that off. So the last piece is always a small
//! copy: a client that takes nothing holds no more than that, however often it asks.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::body::DownstreamBody;
use super::connection::Place;
use super::failure::Failure;
use super::headers;
use super::stream::Stream;

/// A DATA frame holds no more, unless the client asks for it (RFC 9113, 4.2).
const PIECE_BYTES: usize = 16 << 10;
/// The end of what the application sends at once.
const LAST_BYTES: usize = 1 << 10;

/// What goes downstream over HTTP/2.
#[derive(Debug)]
pub struct StreamBody {
    /// `None` where a response has no body.
    source: Option<DownstreamBody>,
    /// What the application sent, and was not given yet.
    rest: Bytes,
    stream: Arc<Stream>,
    /// Held until the body is dropped.
    _place: Place,
}

impl StreamBody {
    /// Tells `stream` how far it has come.
    pub(super) fn new(source: Option<DownstreamBody>, stream: Arc<Stream>, place: Place) -> Self {
        Self { source, rest: Bytes::new(), stream, _place: place }
    }

    /// The next piece of what is left.
    fn piece(&mut self) -> Frame<Bytes> {
        let piece = match self.rest.len() {
            // Copied: a slice would keep all of what the application sent at once.
            left if left <= LAST_BYTES => Bytes::copy_from_slice(&std::mem::take(&mut self.rest)),
            left => self.rest.split_to(PIECE_BYTES.min(left - LAST_BYTES)),
        };
        self.stream.give(piece.len() as u64);
        Frame::data(piece)
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        self.stream.take();
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.piece())));
        }
        let Some(source) = &mut self.source else { return Poll::Ready(None) };
        let polled = Pin::new(source).poll_frame(cx);
        match polled {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    self.rest = data;
                    Poll::Ready(Some(Ok(self.piece())))
                }
                Err(mut frame) => {
                    if let Some(trailers) = frame.trailers_mut() {
                        headers::clean_trailers(trailers);
                        self.stream.end();
                    }
                    Poll::Ready(Some(Ok(frame)))
                }
            },
            Poll::Ready(outcome) => {
                self.stream.end();
                Poll::Ready(outcome)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.source.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        // Asked before the first piece only.
        self.source.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.stream.end();
        }
    }
}
