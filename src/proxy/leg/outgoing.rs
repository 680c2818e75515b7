//! A message on its way out: its head, and its body as it comes.
//!
//! Nothing of a body is gathered: the next piece is asked for when the last one is written.

use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    HOST, HeaderMap, HeaderName, HeaderValue, MAX_FORWARDS, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING,
};
use http::{Method, Request};
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use super::buffers;
use super::flaw::Flaw;
use crate::proxy::headers::tokens;
use crate::proxy::turn::Turn;

/// The end of a line, of a chunk, and of chunks.
const CRLF: &[u8] = b"\r\n";
const LAST_CHUNK: &[u8] = b"0\r\n";

/// Trailers that are not sent, whatever `Trailer` says (RFC 9110, 6.5.1).
const NO_TRAILERS: [HeaderName; 12] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    HOST,
    MAX_FORWARDS,
    SET_COOKIE,
    TRAILER,
    TRANSFER_ENCODING,
    TE,
];

/// What of a message is still to be written.
#[derive(Debug)]
pub struct Outgoing {
    /// Written first: the head, or the line of a chunk.
    ahead: Vec<u8>,
    /// How much of it is written.
    ahead_at: usize,
    /// Then this piece of the body, and what ends a chunk.
    data: Bytes,
    behind: &'static [u8],
    body: Ends,
    at: At,
    /// Whether as much as a byte was written.
    begun: bool,
    /// Of what is written first.
    turn: Turn,
}

/// How the body ends.
#[derive(Debug)]
pub enum Ends {
    /// After so many bytes more.
    Length(u64),
    /// In chunks, with trailers of these names.
    Chunked(Vec<HeaderName>),
    /// With its connection.
    UntilEnd,
}

impl Ends {
    /// The line of a head that says so.
    pub fn say(&self, head: &mut Vec<u8>) {
        match self {
            Self::Length(length) => {
                let mut digits = itoa::Buffer::new();
                line(head, &CONTENT_LENGTH, digits.format(*length).as_bytes());
            }
            Self::Chunked(_) => line(head, &TRANSFER_ENCODING, b"chunked"),
            Self::UntilEnd => {}
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The next piece of the body is asked for.
    Body,
    /// What there is is written, and more comes.
    Piece,
    /// What there is is written, and is the last.
    Last,
    Flush,
    Done,
}

impl Default for Outgoing {
    /// Nothing.
    fn default() -> Self {
        Self {
            ahead: Vec::new(),
            ahead_at: 0,
            data: Bytes::new(),
            behind: b"",
            body: Ends::Length(0),
            at: At::Done,
            begun: false,
            turn: Turn::default(),
        }
    }
}

impl Outgoing {
    /// A request, whose head is made ready, with `more` lines in it. Its body is framed as its head
    /// says, and in chunks where that says nothing.
    pub fn new<'a, B: Body>(
        request: &Request<B>,
        more: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    ) -> Self {
        let (mut ahead, headers) = (buffers::take_head(), request.headers());
        let none = request.body().is_end_stream();
        let exact = request.body().size_hint().exact();
        let bodiless = matches!(*request.method(), Method::GET | Method::HEAD);
        let (mut chunked, mut said) = (false, None);
        ahead.extend_from_slice(request.method().as_str().as_bytes());
        ahead.push(b' ');
        // The target is in origin-form, or an asterisk.
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        ahead.extend_from_slice(target.as_bytes());
        ahead.extend_from_slice(b" HTTP/1.1\r\n");
        for (name, value) in headers {
            match *name {
                TRANSFER_ENCODING => chunked = true,
                // Without a body the length stays as it came; it is 0.
                CONTENT_LENGTH if !none => said = said.or(Some(value)),
                _ => line(&mut ahead, name, value.as_bytes()),
            }
        }
        for (name, value) in more {
            line(&mut ahead, name, value.as_bytes());
        }
        let body = match (said.and_then(length), exact) {
            _ if none => Ends::Length(0),
            _ if chunked => Ends::Chunked(named(headers)),
            (Some(length), _) | (None, Some(length)) => Ends::Length(length),
            (None, None) if bodiless => Ends::Length(0),
            (None, None) => Ends::Chunked(named(headers)),
        };
        if !none {
            body.say(&mut ahead);
        }
        ahead.extend_from_slice(CRLF);
        let mut outgoing = Self::with(ahead, body);
        outgoing.turn.give_way();
        outgoing
    }

    /// A message with this head, which says that its body ends so.
    pub fn with(head: Vec<u8>, body: Ends) -> Self {
        let ends = matches!(body, Ends::Length(0));
        let at = if ends { At::Last } else { At::Body };
        Self { ahead: head, body, at, ..Self::default() }
    }

    /// Whether nothing is written before the next turn.
    pub const fn gives_way(&self) -> bool {
        self.turn.is_due()
    }

    /// Lends what waits for its turn, if that is all of the request, to `lend`, which takes it or not. As
    /// long as it is lent it is as good as begun.
    pub fn lend(&mut self, lend: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        let lent = self.gives_way()
            && self.at == At::Last
            && self.data.is_empty()
            && lend(&mut self.ahead);
        if lent {
            self.turn.leave();
            self.begun = true;
        }
        lent
    }

    /// What was lent, of which so much was written at its turn.
    pub fn give_back(&mut self, ahead: Vec<u8>, written: usize) {
        (self.ahead, self.ahead_at, self.begun) = (ahead, written, written > 0);
    }

    /// Whether as much as a byte was written.
    pub const fn has_begun(&self) -> bool {
        self.begun
    }

    /// The piece of the body that is to be written.
    pub fn take_back(&mut self) -> Bytes {
        std::mem::take(&mut self.data)
    }

    /// Whether all of it was written.
    pub fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// Whether its body is asked for nothing more.
    pub fn has_all(&self) -> bool {
        matches!(self.at, At::Last | At::Flush | At::Done)
    }

    /// Writes on. Ready when all of it is written; after an error nothing more can be.
    pub fn poll<S, B>(
        &mut self,
        mut stream: Pin<&mut S>,
        cx: &mut Context<'_>,
        body: &mut B,
    ) -> Poll<Result<(), Flaw>>
    where
        S: AsyncWrite,
        B: Body<Data = Bytes> + Unpin,
    {
        loop {
            match self.at {
                At::Body => match Pin::new(&mut *body).poll_frame(cx) {
                    Poll::Ready(frame) => {
                        self.at = self.piece(frame.transpose().map_err(|_| Flaw::Upload)?)?;
                    }
                    Poll::Pending => {
                        // Most bodies are there as soon as they are asked for: head and body are
                        // written at once then.
                        ready!(self.poll_write(stream.as_mut(), cx))?;
                        ready!(stream.as_mut().poll_flush(cx))?;
                        return Poll::Pending;
                    }
                },
                At::Piece => {
                    ready!(self.poll_write(stream.as_mut(), cx))?;
                    self.at = At::Body;
                }
                At::Last => {
                    ready!(self.poll_write(stream.as_mut(), cx))?;
                    self.at = At::Flush;
                }
                At::Flush => {
                    ready!(stream.as_mut().poll_flush(cx))?;
                    self.at = At::Done;
                }
                At::Done => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Takes a piece of the body, or its end.
    fn piece(&mut self, frame: Option<Frame<Bytes>>) -> Result<At, Flaw> {
        let frame = frame.map(Frame::into_data);
        match (&mut self.body, frame) {
            (_, Some(Ok(data))) if data.is_empty() => Ok(At::Body),
            (Ends::Length(left), Some(Ok(data))) => {
                // A length is no more than 64 bits.
                *left = left.checked_sub(data.len() as u64).ok_or(Flaw::Upload)?;
                self.data = data;
                Ok(if *left == 0 { At::Last } else { At::Piece })
            }
            (Ends::Length(_), None | Some(Err(_))) => Err(Flaw::Upload),
            (Ends::UntilEnd, Some(Ok(data))) => {
                self.data = data;
                Ok(At::Piece)
            }
            (Ends::UntilEnd, None | Some(Err(_))) => Ok(At::Last),
            (Ends::Chunked(_), Some(Ok(data))) => {
                // A vector takes all of it.
                let _ = write!(self.ahead, "{:X}\r\n", data.len());
                (self.data, self.behind) = (data, CRLF);
                Ok(At::Piece)
            }
            (Ends::Chunked(_), None) => {
                self.ahead.extend_from_slice(LAST_CHUNK);
                self.ahead.extend_from_slice(CRLF);
                Ok(At::Last)
            }
            (Ends::Chunked(named), Some(Err(frame))) => {
                self.ahead.extend_from_slice(LAST_CHUNK);
                for (name, value) in frame.trailers_ref().into_iter().flatten() {
                    if named.contains(name) {
                        line(&mut self.ahead, name, value.as_bytes());
                    }
                }
                self.ahead.extend_from_slice(CRLF);
                Ok(At::Last)
            }
        }
    }

    /// Writes what there is.
    fn poll_write(
        &mut self,
        mut stream: Pin<&mut impl AsyncWrite>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Flaw>> {
        ready!(self.turn.poll(cx));
        loop {
            let ahead = &self.ahead[self.ahead_at..];
            let written = match (ahead, &*self.data, self.behind) {
                ([], [], []) => break,
                (one, [], []) | ([], one, []) | ([], [], one) => {
                    ready!(stream.as_mut().poll_write(cx, one))?
                }
                (ahead, data, behind) => {
                    let pieces = [ahead, data, behind].map(IoSlice::new);
                    ready!(stream.as_mut().poll_write_vectored(cx, &pieces))?
                }
            };
            if written == 0 {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into()));
            }
            self.begun = true;
            self.wrote(written);
        }
        if self.ahead_at > 0 {
            buffers::give_back_head(std::mem::take(&mut self.ahead));
            self.ahead_at = 0;
        }
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, mut written: usize) {
        let ahead = written.min(self.ahead.len() - self.ahead_at);
        self.ahead_at += ahead;
        written -= ahead;
        let data = written.min(self.data.len());
        if data == self.data.len() {
            self.data = Bytes::new();
        } else {
            self.data.advance(data);
        }
        self.behind = self.behind.get(written - data..).unwrap_or_default();
    }
}

/// Writes a line of a head.
pub fn line(head: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    head.extend_from_slice(name.as_str().as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(CRLF);
}

/// The length that a message has, which was checked when it came.
pub fn length(said: &HeaderValue) -> Option<u64> {
    said.to_str().ok()?.parse().ok()
}

/// The trailers that a message names.
pub fn named(headers: &HeaderMap) -> Vec<HeaderName> {
    tokens(headers, &TRAILER)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(|name| !NO_TRAILERS.contains(name))
        .collect()
}
