//! A connection to the application, of our own: HTTP/1.1 (RFC 9112) as a client.
//!
//! It writes a request and reads the response to it from within the exchange, without a task of its
//! own. It promises that the end of a response is never in doubt: what could be read in two ways is
//! refused, and a connection on which more came than the response, or which has not taken all of
//! the request, carries no other. An idle one holds no buffer. It refuses to know servers, pools
//! and time.

pub(super) mod buffers;
pub(super) mod chunks;
pub mod flaw;
pub(super) mod head;
pub(super) mod outgoing;
pub(super) mod pieces;
pub(super) mod usual;

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::Request;
use http::header::{HeaderName, HeaderValue};
use http::response::Parts;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

pub use flaw::Flaw;
use head::HEAD_BYTES;
use outgoing::Outgoing;
use pieces::Pieces;

/// Informational responses (1xx) before a response, at most.
const INTERIM_RESPONSES: u32 = 32;

/// The end of a head.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A connection, and how far its exchange has come.
#[derive(Debug)]
pub struct Leg<S> {
    stream: S,
    outgoing: Outgoing,
    incoming: Pieces,
    /// A head of which a part was read.
    gathered: BytesMut,
    /// Informational responses that may still come.
    interim: u32,
    /// Whether it may carry another exchange, if this one ends well.
    again: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Leg<S> {
    /// A connection that has carried nothing yet.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            outgoing: Outgoing::default(),
            incoming: Pieces::default(),
            gathered: BytesMut::new(),
            interim: 0,
            again: true,
        }
    }

    /// What it is spoken on.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream, and what was read behind the head of a response that ends HTTP on it.
    pub fn into_parts(self) -> (S, Bytes) {
        (self.stream, self.incoming.received)
    }

    /// Whether it can carry an exchange: the one before has ended on both sides, and nothing came
    /// behind it.
    pub fn is_ready(&self) -> bool {
        self.again
            && self.is_end_stream()
            && self.incoming.received.is_empty()
            && self.outgoing.is_done()
    }

    /// Makes a request the next that is sent, with `more` lines.
    pub fn begin<'a, B: Body>(
        &mut self,
        request: &Request<B>,
        more: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    ) {
        self.outgoing = Outgoing::new(request, more);
        self.interim = INTERIM_RESPONSES;
        self.incoming.begin();
        // Until there is a response.
        self.again = false;
    }

    /// Whether the first byte of the request is the next to be written.
    pub const fn is_to_begin(&self) -> bool {
        !self.has_begun() && !self.outgoing.gives_way()
    }

    /// Lends a request that waits for its turn, and has no body, to `lend`, which takes it or not, and
    /// has it sent. Until it is given back nothing is polled, and it is as good as begun.
    pub fn lend(&mut self, lend: impl FnOnce(&mut S, &mut Vec<u8>) -> bool) -> bool {
        self.outgoing.lend(|request| lend(&mut self.stream, request))
    }

    /// A request that was lent and had its turn. So much of it was written.
    pub fn give_back(&mut self, request: Vec<u8>, written: usize) {
        self.outgoing.give_back(request, written);
    }

    /// Whether as much as a byte of the request was written, or may have been.
    pub const fn has_begun(&self) -> bool {
        self.outgoing.has_begun()
    }

    /// What was taken of a request's body, though not a byte was written.
    pub fn take_back(&mut self) -> Bytes {
        self.outgoing.take_back()
    }

    /// Whether all of the request was written.
    pub fn is_sent(&self) -> bool {
        self.outgoing.is_done()
    }

    /// Writes on, and reads the head of the response to the request that it began with, which may
    /// come before all is written: see [`Self::poll_send`]. As soon as there is a byte of it, the
    /// request's headers are gone.
    pub fn poll_head<B>(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut Request<B>,
    ) -> Poll<Result<Parts, Flaw>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let gives_way = self.outgoing.gives_way();
        if let Poll::Ready(Err(flaw)) = self.poll_send(cx, request.body_mut()) {
            return Poll::Ready(Err(flaw));
        }
        if gives_way {
            return Poll::Pending;
        }
        if !self.has_begun() {
            return self.poll_unbegun(cx).map(Err);
        }
        loop {
            if !self.incoming.received.is_empty()
                && let Some(parts) = self.head(request)?
            {
                return Poll::Ready(Ok(parts));
            }
            let read = ready!(self.poll_read(cx))?;
            if read.is_empty() {
                return Poll::Ready(Err(Flaw::Ended));
            }
            self.gather(read)?;
        }
    }

    /// Ready when nothing can be sent any more. A stream may tell that of writing only when reading has
    /// come to its end; and what comes before a request is no answer to it.
    fn poll_unbegun(&mut self, cx: &mut Context<'_>) -> Poll<Flaw> {
        self.poll_read(cx).map(|read| match read {
            Ok(read) if read.is_empty() => Flaw::Ended,
            Ok(_) => Flaw::Before,
            Err(error) => error.into(),
        })
    }

    /// Writes on what is left of the request. Ready when all of it is written.
    pub fn poll_send<B>(&mut self, cx: &mut Context<'_>, body: &mut B) -> Poll<Result<(), Flaw>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        self.outgoing.poll(Pin::new(&mut self.stream), cx, body)
    }

    /// The next piece of the response's body; none when it has ended.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Flaw>>> {
        let polled = self.incoming.poll_piece(Pin::new(&mut self.stream), cx);
        if let Poll::Ready(Some(Err(_))) = &polled {
            self.again = false;
        }
        polled
    }

    /// Whether the response's body has ended.
    pub fn is_end_stream(&self) -> bool {
        self.incoming.is_ended()
    }

    /// What is left of the response's body.
    pub fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }

    /// Ready when there is something to read that no request has asked for, or its end.
    pub fn poll_disturbed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.incoming.received.is_empty() {
            // Whatever it is, there is no other exchange on it.
            if let Ok(read) = ready!(self.poll_read(cx)) {
                self.incoming.received = read;
            }
        }
        self.again = false;
        Poll::Ready(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<Bytes>> {
        self.incoming.poll_read(Pin::new(&mut self.stream), cx)
    }

    /// The head that was received, if it is all there. Those of informational responses are read
    /// over (RFC 9110, 15.2), but for 101, behind which is another protocol.
    fn head<B>(&mut self, request: &mut Request<B>) -> Result<Option<Parts>, Flaw> {
        let method = request.method().clone();
        while !self.incoming.received.is_empty() {
            let Some(head) = head::read(&self.incoming.received, &method, request.headers_mut())?
            else {
                if head::has_bare_line_feed(&self.incoming.received, 0) {
                    return Err(Flaw::LineFeed);
                }
                self.gathered.extend_from_slice(&std::mem::take(&mut self.incoming.received));
                return if self.gathered.len() < HEAD_BYTES {
                    Ok(None)
                } else {
                    Err(Flaw::HeadBytes)
                };
            };
            self.incoming.advance(head.length);
            let status = head.parts.status;
            if !status.is_informational() || status == http::StatusCode::SWITCHING_PROTOCOLS {
                self.again = head.again && !status.is_informational();
                self.incoming.framing = head.framing;
                return Ok(Some(head.parts));
            }
            *request.headers_mut() = head.parts.headers;
            self.interim = self.interim.checked_sub(1).ok_or(Flaw::Interim)?;
        }
        Ok(None)
    }

    /// Takes what was read of a head. One that comes in pieces is looked at when its end is there.
    fn gather(&mut self, read: Bytes) -> Result<(), Flaw> {
        if self.gathered.is_empty() {
            self.incoming.received = read;
            return Ok(());
        }
        let before = self.gathered.len();
        let known = before.saturating_sub(HEAD_END.len() - 1);
        self.gathered.extend_from_slice(&read);
        let end = memchr::memmem::find(&self.gathered[known..], HEAD_END)
            .map(|at| known + at + HEAD_END.len());
        // Of what is behind the head, lines may end as they like.
        let head = &self.gathered[..end.unwrap_or(self.gathered.len())];
        if head::has_bare_line_feed(head, before.min(head.len())) {
            return Err(Flaw::LineFeed);
        }
        if end.is_some() {
            self.incoming.received = std::mem::take(&mut self.gathered).freeze();
        } else if self.gathered.len() >= HEAD_BYTES {
            return Err(Flaw::HeadBytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http::header::COOKIE;
    use http_body_util::Empty;
    use tokio::io::AsyncReadExt;

    use super::head::SPARE_LINES;
    use super::*;

    #[test]
    fn a_body_may_come_with_the_rest_of_its_head_and_its_lines_end_as_they_like() {
        let (head, body) = ("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n", "a\nb\r\n\r\nc\n\r\n");
        let answer = [head, body].concat();
        for cut in 1..answer.len() {
            let (first, rest) = answer.as_bytes().split_at(cut);
            let mut leg =
                Leg::new(tokio::io::join(AsyncReadExt::chain(first, rest), tokio::io::sink()));
            let mut cx = Context::from_waker(Waker::noop());
            let mut request = Request::new(Empty::<Bytes>::new());
            leg.begin(&request, None);
            assert!(leg.poll_head(&mut cx, &mut request).is_pending());
            let polled = leg.poll_head(&mut cx, &mut request);
            assert!(matches!(&polled, Poll::Ready(Ok(_))), "cut at {cut}: {polled:?}");
            let mut read = Vec::new();
            while let Poll::Ready(Some(piece)) = leg.poll_frame(&mut cx) {
                let data = piece.map(|frame| frame.into_data().unwrap_or_default());
                read.extend_from_slice(&data.unwrap_or_default());
            }
            assert_eq!(String::from_utf8_lossy(&read), body, "cut at {cut}");
            assert!(leg.is_ready(), "cut at {cut}");
        }
    }

    #[test]
    fn nothing_of_a_request_is_in_the_headers_of_its_response() {
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: a\r\nLink: b\r\n\r\n";
        let head = "HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n";
        let answer = [hints, head].concat();
        for lines in [0, 1, 20, 2 * SPARE_LINES] {
            let mut leg = Leg::new(tokio::io::join(answer.as_bytes(), tokio::io::sink()));
            let mut cx = Context::from_waker(Waker::noop());
            let mut request = Request::new(Empty::<Bytes>::new());
            for line in 0..lines {
                let name = HeaderName::try_from(format!("x-{line}")).expect("a name");
                request.headers_mut().append(name, HeaderValue::from_static("secret"));
                request.headers_mut().append(COOKIE, HeaderValue::from_static("secret"));
            }
            leg.begin(&request, None);
            assert!(leg.poll_head(&mut cx, &mut request).is_pending());
            let parts = match leg.poll_head(&mut cx, &mut request) {
                Poll::Ready(Ok(parts)) => parts,
                other => unreachable!("it is all there: {other:?}"),
            };
            let read = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
            let sent: [(&str, &[u8]); 3] =
                [("set-cookie", b"a"), ("set-cookie", b"b"), ("content-length", b"0")];
            assert!(read.eq(sent), "{:?}", parts.headers);
            assert!(parts.headers.capacity() <= SPARE_LINES, "{}", parts.headers.capacity());
        }
    }

    #[test]
    fn a_request_that_is_lent_is_as_good_as_begun_until_it_is_given_back() {
        let mut cx = Context::from_waker(Waker::noop());
        for (written, begun) in [(0, false), (1, true), (usize::MAX, true)] {
            let (stream, mut far) = tokio::io::duplex(1_000);
            let mut leg = Leg::new(stream);
            let mut request = Request::new(Empty::<Bytes>::new());
            let mut lent = Vec::new();
            leg.begin(&request, None);
            assert!(!leg.lend(|_, _| false) && !leg.has_begun(), "it was not taken");
            assert!(leg.lend(|_, bytes| {
                lent = std::mem::take(bytes);
                true
            }));
            assert!(leg.has_begun() && !leg.is_to_begin() && !leg.is_sent());
            assert!(!leg.lend(|_, _| unreachable!("it is not there")));
            let (written, length) = (written.min(lent.len()), lent.len());
            leg.give_back(lent, written);
            assert_eq!((leg.has_begun(), leg.is_to_begin()), (begun, !begun));
            assert!(leg.poll_head(&mut cx, &mut request).is_pending());
            assert!(leg.is_sent() && leg.has_begun(), "the rest is written at once");
            let mut rest = vec![0; length];
            let mut rest = tokio::io::ReadBuf::new(&mut rest);
            let _ = Pin::new(&mut far).poll_read(&mut cx, &mut rest);
            assert_eq!(rest.filled().len(), length - written);
        }
    }

    #[test]
    fn what_ends_before_a_byte_of_the_request_is_written_is_told_at_once() {
        let mut cx = Context::from_waker(Waker::noop());
        for (read, answers) in [(&b""[..], false), (b"HTTP/1.1 200 OK\r\n\r\n", true)] {
            let (mut full, _other) = tokio::io::duplex(1);
            assert!(Pin::new(&mut full).poll_write(&mut cx, b"x").is_ready());
            let mut leg = Leg::new(tokio::io::join(read, full));
            let mut request = Request::new(Empty::<Bytes>::new());
            leg.begin(&request, None);
            assert!(leg.poll_head(&mut cx, &mut request).is_pending());
            let polled = leg.poll_head(&mut cx, &mut request);
            let told = match &polled {
                Poll::Ready(Err(Flaw::Before)) => answers,
                Poll::Ready(Err(Flaw::Ended)) => !answers,
                Poll::Ready(Ok(_) | Err(_)) | Poll::Pending => false,
            };
            assert!(told && !leg.has_begun(), "{polled:?}");
        }
    }
}
