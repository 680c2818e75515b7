//! HTTP/1 with a client: requests in, responses out, one after the other on one connection.
//!
//! It owns the connection. It promises that each request is framed in one way only, the strict one of
//! RFC 9112, or refused; that a response goes out as long as its head says, or the connection breaks
//! off; that what comes behind a request whose end is in doubt is no request; and that nobody works
//! for a client that has gone. It refuses to know what is asked and answered, and for how long
//! anything may take.
//!
//! hyper's server does the same, for any use that there is; without what is not used here a request
//! takes some 5 % less CPU time.

mod answer;
mod flaw;
mod head;
mod wire;

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

pub use flaw::Flaw;
pub use wire::{Incoming, Stream};

use super::clock::Clock;
use super::leg::Flaw as Framed;
use super::leg::head::SPARE_LINES;
use super::leg::outgoing::Outgoing;
use answer::{Answer, Asked};
use head::Head;
use wire::{Served, Wire};

/// Steps in a turn: a client that sends many requests at once does not keep others waiting.
const STEPS: usize = 64;

/// What of a request is read at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of a head, in bytes.
    pub head_bytes: usize,
    /// Lines of a head.
    pub headers: usize,
}

/// How a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was closed.
    Closed,
    /// Behind the last response is another protocol (RFC 9110, 7.8).
    Switched,
}

/// Why a connection was broken off, or closed behind a reply that says so.
#[derive(Debug)]
pub enum Broken<E> {
    /// By what came, or did not.
    Flaw(Flaw),
    /// By the body of a response.
    Body(E),
}

impl<E> From<Flaw> for Broken<E> {
    fn from(flaw: Flaw) -> Self {
        Self::Flaw(flaw)
    }
}

/// A connection, whose requests `F` answers with futures `R`, whose responses have bodies `B`.
pub struct Http1<S: Stream, F, R, B: Body> {
    wire: Served<S>,
    service: F,
    limits: Limits,
    clock: Clock,
    at: At,
    /// That runs; in one place, however many there are.
    exchange: Pin<Box<Option<R>>>,
    asked: Asked,
    /// Whether the connection may carry another exchange behind this one.
    again: bool,
    /// It carries none, whatever is said.
    is_last: bool,
    outgoing: Outgoing,
    body: Sent<B>,
    /// Why it is being closed.
    flaw: Option<Flaw>,
    /// For the next request.
    spare: HeaderMap,
    /// Bytes of empty lines in front of it.
    skipped: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Between two exchanges, or within the head of a request.
    Head,
    /// The exchange runs.
    Exchange,
    /// Its response is being written.
    Response,
    /// The same, and another protocol follows.
    Switching,
    /// The rest of its request is being read.
    Rest,
    /// Nothing is read or written any more.
    Closing,
}

impl<S, F, R, B> Http1<S, F, R, B>
where
    S: Stream,
    F: FnMut(Request<Incoming>) -> R,
    R: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
{
    /// A connection on which nothing was said.
    pub fn new(stream: S, limits: Limits, clock: Clock, service: F) -> Self {
        Self {
            wire: Served::new(stream),
            service,
            limits,
            clock,
            at: At::Head,
            exchange: Box::pin(None),
            asked: Asked::default(),
            again: true,
            is_last: false,
            outgoing: Outgoing::default(),
            body: Sent { body: None, error: None },
            flaw: None,
            spare: HeaderMap::new(),
            skipped: 0,
        }
    }

    /// Takes no other request: it ends behind the exchange that runs, or the request that has begun,
    /// or at once.
    pub fn graceful_shutdown(&mut self) {
        self.is_last = true;
        if self.at == At::Head && self.wire.lock().is_silent() {
            self.at = At::Closing;
        }
    }

    /// The connection, and what was read of it and not used; `None` while somebody has the body of a
    /// request.
    pub fn into_parts(self) -> Option<(S, Bytes)> {
        self.wire.into_parts()
    }

    /// Serves it. Ready when it has ended.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<End, Broken<B::Error>>> {
        for _ in 0..STEPS {
            match self.at {
                At::Head => match ready!(self.poll_head(cx)) {
                    Ok(Some(head)) => self.begin(head),
                    Ok(None) => self.at = At::Closing,
                    Err(flaw) => self.refuse(flaw)?,
                },
                At::Exchange => {
                    // Before it begins: nobody works for a client that has gone.
                    self.look(cx)?;
                    let polled = self.exchange.as_mut().as_pin_mut().map(|it| it.poll(cx));
                    match polled {
                        Some(Poll::Ready(response)) => self.respond(response, cx),
                        Some(Poll::Pending) => return Poll::Pending,
                        None => self.at = At::Closing,
                    }
                }
                At::Response | At::Switching => {
                    if self.poll_response(cx)?.is_pending() {
                        self.look(cx)?;
                        return Poll::Pending;
                    }
                    if self.at == At::Switching {
                        return Poll::Ready(Ok(End::Switched));
                    }
                    self.at = if self.flaw.is_some() { At::Closing } else { At::Rest };
                }
                At::Rest => self.at = ready!(self.poll_rest(cx)),
                At::Closing => {
                    let mut wire = self.wire.lock();
                    // Whoever does not take the end of it has gone.
                    let _ = ready!(Pin::new(&mut wire.stream).poll_shutdown(cx));
                    return Poll::Ready(match self.flaw.take() {
                        Some(flaw) => Err(flaw.into()),
                        None => Ok(End::Closed),
                    });
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The head of the next request; none where the client has closed between two.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Head>, Flaw>> {
        let mut wire = self.wire.lock();
        loop {
            self.skipped += skip_empty_lines(&mut wire);
            if self.skipped > self.limits.head_bytes {
                return Poll::Ready(Err(Flaw::HeadBytes));
            }
            if !wire.incoming.received.is_empty() {
                let received = &wire.incoming.received;
                if let Some(head) = head::read(received, &self.limits, &mut self.spare)? {
                    wire.incoming.advance(head.length);
                    return Poll::Ready(Ok(Some(head)));
                }
                let received = std::mem::take(&mut wire.incoming.received);
                wire.gathered.extend_from_slice(&received);
                if wire.gathered.len() >= self.limits.head_bytes {
                    return Poll::Ready(Err(Flaw::HeadBytes));
                }
            }
            let read = ready!(wire.poll_read(cx))?;
            if read.is_empty() {
                let none = wire.gathered.is_empty();
                return Poll::Ready(if none { Ok(None) } else { Err(Flaw::Gone) });
            }
            gather(&mut wire, read, self.limits.head_bytes)?;
        }
    }

    fn begin(&mut self, head: Head) {
        let Head { parts, framing, again, expects, trailers, .. } = head;
        self.again = again;
        self.skipped = 0;
        self.asked = Asked {
            is_old: parts.version == Version::HTTP_10,
            is_head: parts.method == Method::HEAD,
            trailers,
        };
        let body = Incoming::of(&mut self.wire, framing, expects);
        let exchange = (self.service)(Request::from_parts(parts, body));
        self.exchange.set(Some(exchange));
        self.at = At::Exchange;
    }

    /// Answers a head that is not taken, where somebody waits for an answer.
    fn refuse(&mut self, flaw: Flaw) -> Result<(), Flaw> {
        let Some(status) = flaw.status() else { return Err(flaw) };
        self.outgoing = answer::refusal(status, self.clock);
        self.flaw = Some(flaw);
        self.at = At::Response;
        Ok(())
    }

    fn respond(&mut self, response: Response<B>, cx: &mut Context<'_>) {
        self.exchange.set(None);
        let reads = {
            let mut wire = self.wire.lock();
            // A body that nobody wants is no matter where all of it is there.
            if !wire.is_lent && !wire.incoming.is_ended() {
                let _ = wire.poll_piece(cx);
                self.is_last |= !wire.incoming.is_ended();
            }
            wire.answers()
        };
        if let Some(reads) = reads {
            reads.wake();
        }
        let (parts, body) = response.into_parts();
        let again = self.again && !self.is_last;
        let Answer { outgoing, again } =
            answer::answer(&parts, &body, self.asked, again, self.clock);
        self.again = again;
        self.outgoing = outgoing;
        self.body.body = Some(body).filter(|_| !self.outgoing.has_all());
        self.at = if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            At::Switching
        } else {
            At::Response
        };
        self.spare = parts.headers;
        if self.spare.capacity() > SPARE_LINES {
            self.spare = HeaderMap::new();
        }
        self.spare.clear();
    }

    fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken<B::Error>>> {
        let mut out = self.wire.out();
        let polled = self.outgoing.poll(Pin::new(&mut out), cx, &mut self.body);
        if self.outgoing.has_all() {
            // It is over for who has answered, though it may not be sent yet.
            self.body.body = None;
        }
        polled.map_err(|flaw| match (self.body.error.take(), flaw) {
            (Some(error), _) => Broken::Body(error),
            (None, Framed::Broken(error)) => Broken::Flaw(Flaw::Broken(error)),
            (None, flaw) => Broken::Flaw(Flaw::Response(flaw)),
        })
    }

    /// Looks whether the client has gone, and has the task woken when it goes. What the client sends
    /// meanwhile is read once, and no more before its time.
    fn look(&mut self, cx: &mut Context<'_>) -> Result<(), Flaw> {
        let mut wire = self.wire.lock();
        if wire.is_lent {
            wire.wait(cx);
        } else if !wire.is_silent() || !wire.incoming.is_ended() {
            wire.send_on(cx);
        } else if let Poll::Ready(read) = wire.poll_read(cx) {
            let read = read?;
            if read.is_empty() {
                return Err(Flaw::Gone);
            }
            wire.incoming.received = read;
        }
        Ok(())
    }

    /// Waits for the end of the request; where it goes from there.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<At> {
        let mut wire = self.wire.lock();
        if wire.is_lent {
            wire.wait(cx);
            return Poll::Pending;
        }
        if self.again && !self.is_last && !wire.incoming.is_ended() {
            let _ = wire.poll_piece(cx);
        }
        let goes_on = self.again && !self.is_last && wire.incoming.is_ended();
        if goes_on {
            wire.incoming.begin();
            drop(wire);
            self.wire.reclaim();
        }
        Poll::Ready(if goes_on { At::Head } else { At::Closing })
    }
}

/// Empty lines in front of a request are no request: old clients send one behind a body (RFC 9112,
/// 2.2). How many bytes they have.
fn skip_empty_lines<S>(wire: &mut Wire<S>) -> usize {
    if !wire.gathered.is_empty() {
        return 0;
    }
    let received = &wire.incoming.received;
    let mut length = 0;
    loop {
        length += match received[length..] {
            [b'\r', b'\n', ..] => 2,
            [b'\n', ..] => 1,
            _ => break,
        };
    }
    wire.incoming.advance(length);
    length
}

/// Takes what was read of a head. One that comes in pieces is looked at when its end may be there.
fn gather<S>(wire: &mut Wire<S>, read: Bytes, head_bytes: usize) -> Result<(), Flaw> {
    if wire.gathered.is_empty() {
        wire.incoming.received = read;
        return Ok(());
    }
    let known = wire.gathered.len().saturating_sub(2);
    wire.gathered.extend_from_slice(&read);
    let ends = memchr::memchr_iter(b'\n', &wire.gathered[known..]).any(|at| {
        let behind = &wire.gathered[known + at + 1..];
        behind.starts_with(b"\n") || behind.starts_with(b"\r\n")
    });
    if ends {
        wire.incoming.received = std::mem::take(&mut wire.gathered).freeze();
    } else if wire.gathered.len() >= head_bytes {
        return Err(Flaw::HeadBytes);
    }
    Ok(())
}

/// The body of a response, and why it broke off.
struct Sent<B: Body> {
    body: Option<B>,
    error: Option<B::Error>,
}

// Nothing in it is pinned.
impl<B: Body> Unpin for Sent<B> {}

/// It did, and why is known.
#[derive(Debug)]
struct Failed;

impl<B: Body<Data = Bytes> + Unpin> Body for Sent<B> {
    type Data = Bytes;
    type Error = Failed;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        match ready!(Pin::new(body).poll_frame(cx)) {
            Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
            Some(Err(error)) => {
                this.error = Some(error);
                Poll::Ready(Some(Err(Failed)))
            }
            None => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests;
