//! What is read of a connection, and how far the body in it has come.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use tokio::io::AsyncRead;

use super::buffers::{self, Size};
use super::chunks::Step;
use super::flaw::Flaw;
use super::head::Framing;

/// The body of a message, read piece by piece.
#[derive(Debug)]
pub struct Pieces {
    /// What was read, and is not used yet.
    pub received: Bytes,
    /// How the body ends, from here on.
    pub framing: Framing,
    size: Size,
}

impl Default for Pieces {
    /// Of a connection on which nothing was said.
    fn default() -> Self {
        Self { received: Bytes::new(), framing: Framing::Ended, size: Size::Small }
    }
}

impl Pieces {
    /// What comes next begins a message.
    pub const fn begin(&mut self) {
        self.size = Size::Small;
    }

    /// Whether the body has ended.
    pub const fn is_ended(&self) -> bool {
        matches!(self.framing, Framing::Ended)
    }

    /// What is left of the body.
    pub fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Ended => SizeHint::with_exact(0),
            Framing::Length(left) => SizeHint::with_exact(left),
            Framing::Chunked(_) | Framing::UntilEnd => SizeHint::default(),
        }
    }

    /// Uses so much of what was received.
    pub fn advance(&mut self, length: usize) {
        if length == self.received.len() {
            self.received = Bytes::new();
        } else {
            self.received.advance(length);
        }
    }

    /// Reads once; nothing where the stream has ended.
    pub fn poll_read(
        &mut self,
        stream: Pin<&mut impl AsyncRead>,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<Bytes>> {
        buffers::poll_read(stream, cx, &mut self.size)
    }

    /// The next piece of the body; none when it has ended.
    pub fn poll_piece(
        &mut self,
        mut stream: Pin<&mut impl AsyncRead>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Flaw>>> {
        loop {
            match &mut self.framing {
                Framing::Ended => return Poll::Ready(None),
                _ if self.received.is_empty() => {}
                Framing::Length(left) => {
                    let length = usize::try_from(*left).unwrap_or(usize::MAX);
                    let data = if length < self.received.len() {
                        self.received.split_to(length)
                    } else {
                        std::mem::take(&mut self.received)
                    };
                    // A length is no more than 64 bits.
                    *left -= data.len() as u64;
                    if *left == 0 {
                        self.framing = Framing::Ended;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Framing::Chunked(chunks) => match chunks.next(&mut self.received) {
                    Ok(Step::More) => {}
                    Ok(Step::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Ok(Step::End(trailers)) => {
                        self.framing = Framing::Ended;
                        return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                    }
                    Err(flaw) => return Poll::Ready(Some(Err(flaw))),
                },
                Framing::UntilEnd => {
                    let data = std::mem::take(&mut self.received);
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
            }
            match ready!(self.poll_read(stream.as_mut(), cx)) {
                Ok(read) if !read.is_empty() => self.received = read,
                Ok(_) if matches!(self.framing, Framing::UntilEnd) => self.framing = Framing::Ended,
                Ok(_) => return Poll::Ready(Some(Err(Flaw::Cut))),
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }
}
