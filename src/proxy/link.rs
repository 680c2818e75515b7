//! A connection to the application, with HTTP/1.1 on it: ours, or hyper's.
//!
//! It is what [`super::upstream`], [`super::pool`] and the bodies know of a connection, and nothing
//! beyond this file asks whose it is. One exchange at a time: [`Link::send`], then
//! [`Link::poll_frame`] to the end of the response.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::Request;
use http::response::Parts;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::attentive::{Answered, Attentive};
use super::body::UpstreamBody;
use super::failure::{Failure, Unrelayable};
use super::forwarded::Announced;
use super::leg::{Flaw, Leg};
use super::pace::Alarm;
use super::places::Place;
use super::proxy_header::Header;
use super::raw_stream::RawStream;
use super::settings::UpstreamClient;
use super::upstream::copy_of;

/// The most that hyper buffers of one response: its head must fit, and a body is read in pieces of
/// this at most.
const BUFFER_BYTES: usize = 128 * 1024;

/// A connection to the application. Dropped, it is closed.
#[derive(Debug)]
pub struct Link(Box<Linked>);

/// It is moved about as long as an exchange lasts: in one piece on the heap.
#[derive(Debug)]
struct Linked {
    header: Option<Header>,
    answered: Answered,
    /// That of the exchange before, which rings when it is set to: a deadline that is put off with
    /// each exchange is no new timer each time.
    alarm: Option<Box<Alarm>>,
    spoken: Spoken,
}

/// Who speaks HTTP on it.
#[derive(Debug)]
enum Spoken {
    Own(Box<Leg<Attentive<RawStream>>>),
    Hyper(Hyper),
}

/// hyper's connection, which is a task of its own on this core.
#[derive(Debug)]
struct Hyper {
    sender: http1::SendRequest<UpstreamBody>,
    /// The body of the response that is being read.
    incoming: Option<Incoming>,
    upgrade: Option<OnUpgrade>,
}

/// Why there is no response, or not all of it.
#[derive(Debug)]
pub enum Cause {
    Own(Flaw),
    Hyper(hyper::Error),
}

/// Why there is no response on a connection.
#[derive(Debug)]
pub enum Unanswered {
    /// Not a byte of the request was written: it is still there.
    Unsent(Cause),
    /// It was closed without a byte of an answer. The request is still there if it was to be.
    Silent(Cause),
    /// There were bytes, or it was not closed.
    Failed(Cause),
}

impl Unanswered {
    /// The failure of an exchange that ends with it.
    pub fn into_failure(self) -> Failure {
        match self {
            Self::Unsent(cause) => Failure::Unsent(cause),
            // hyper reads such a head, and it is refused when it is cleaned.
            Self::Failed(Cause::Own(Flaw::TransferCoding)) => {
                Failure::Unrelayable(Unrelayable::TransferCoding)
            }
            Self::Silent(cause) | Self::Failed(cause) => Failure::Closed(cause),
        }
    }
}

impl Link {
    /// HTTP/1.1 on a stream. `place` is given back when it has been closed.
    pub async fn new(
        stream: RawStream,
        client: UpstreamClient,
        header: Option<Header>,
        place: Arc<Place>,
    ) -> Result<Self, Failure> {
        let answered = Answered::default();
        let stream = Attentive::new(stream, answered.clone(), place);
        let spoken = match client {
            UpstreamClient::Own => Spoken::Own(Box::new(Leg::new(stream))),
            UpstreamClient::Hyper => Spoken::Hyper(Hyper::on(stream).await?),
        };
        Ok(Self(Box::new(Linked { header, answered, alarm: None, spoken })))
    }

    /// What it began with, where connections belong to one client each.
    pub fn header(&self) -> Option<&Header> {
        self.0.header.as_ref()
    }

    /// The alarm of the exchange before.
    pub fn alarm(&mut self) -> Option<Box<Alarm>> {
        self.0.alarm.take()
    }

    /// Keeps an alarm for the next exchange. It may hold on to the task that it was to wake, until
    /// it rings or has another: what memory that is, is bounded as the connections are.
    pub fn keep_alarm(&mut self, alarm: Option<Box<Alarm>>) {
        self.0.alarm = alarm;
    }

    /// Whether it is fit for a request: nothing has come since the last response, not even its end.
    pub fn is_fit(&mut self) -> bool {
        match &mut self.0.spoken {
            Spoken::Own(leg) => leg.is_ready() && leg.stream().stream().is_silent(),
            Spoken::Hyper(hyper) => hyper.sender.is_ready(),
        }
    }

    /// Sends a request with what is `announced` of it, and reads the head of its response. Where `keep`
    /// is set the request, which has no content then, is still there if there is no byte of an answer.
    pub async fn send(
        &mut self,
        request: &mut Option<Box<Request<UpstreamBody>>>,
        announced: Option<&Announced>,
        keep: bool,
    ) -> Result<Parts, Unanswered> {
        let Linked { answered, spoken, .. } = &mut *self.0;
        let is_used = answered.is_answered();
        answered.ask();
        match spoken {
            Spoken::Own(leg) => {
                let Some(request) = request else {
                    return Err(Unanswered::Failed(Cause::Own(Flaw::Upload)));
                };
                leg.begin(request, announced.into_iter().flat_map(Announced::lines));
                own(leg, request, is_used).await.map_err(|flaw| {
                    let cause = Cause::Own(flaw);
                    if !leg.has_begun() {
                        request.body_mut().put_back(leg.take_back());
                        Unanswered::Unsent(cause)
                    } else if answered.is_answered() {
                        Unanswered::Failed(cause)
                    } else {
                        Unanswered::Silent(cause)
                    }
                })
            }
            // Boxed: what it takes is not to be carried about with ours.
            Spoken::Hyper(hyper) => {
                if let Some((request, announced)) = request.as_mut().zip(announced) {
                    announced.put(request.headers_mut());
                }
                Box::pin(hyper.send(request, keep, answered)).await
            }
        }
    }

    /// Whether the request has not been sent wholly yet, though there is a response. hyper sees to
    /// that itself.
    pub fn is_uploading(&self) -> bool {
        match &self.0.spoken {
            Spoken::Own(leg) => !leg.is_sent(),
            Spoken::Hyper(_) => false,
        }
    }

    /// Writes on what is left of a request. Ready when there is no more to write; what is wrong with
    /// that is seen at the end, by [`Self::settled`].
    pub fn poll_upload(&mut self, cx: &mut Context<'_>, body: &mut UpstreamBody) -> Poll<()> {
        match &mut self.0.spoken {
            Spoken::Own(leg) => leg.poll_send(cx, body).map(|_| ()),
            Spoken::Hyper(_) => Poll::Ready(()),
        }
    }

    /// The next piece of the response's body; none when it has ended.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        match &mut self.0.spoken {
            Spoken::Own(leg) => {
                leg.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Cause::Own)))
            }
            Spoken::Hyper(hyper) => match &mut hyper.incoming {
                Some(incoming) => Pin::new(incoming)
                    .poll_frame(cx)
                    .map(|frame| frame.map(|frame| frame.map_err(Cause::Hyper))),
                None => Poll::Ready(None),
            },
        }
    }

    /// Whether the response's body has ended.
    pub fn is_end_stream(&self) -> bool {
        match &self.0.spoken {
            Spoken::Own(leg) => leg.is_end_stream(),
            Spoken::Hyper(hyper) => {
                hyper.incoming.as_ref().is_none_or(|incoming| incoming.is_end_stream())
            }
        }
    }

    /// What is left of the response's body.
    pub fn size_hint(&self) -> SizeHint {
        match &self.0.spoken {
            Spoken::Own(leg) => leg.size_hint(),
            Spoken::Hyper(hyper) => hyper
                .incoming
                .as_ref()
                .map_or_else(|| SizeHint::with_exact(0), |incoming| incoming.size_hint()),
        }
    }

    /// The response has been read to its end: whether it can carry another request; `None` where
    /// that is not certain yet.
    pub fn is_settled(&mut self) -> Option<bool> {
        match &mut self.0.spoken {
            Spoken::Own(leg) => Some(leg.is_ready()),
            Spoken::Hyper(hyper) => {
                hyper.incoming = None;
                match () {
                    () if hyper.sender.is_closed() => Some(false),
                    () if hyper.sender.is_ready() => Some(true),
                    () => None,
                }
            }
        }
    }

    /// Waits until that is certain.
    pub async fn settled(&mut self) -> bool {
        match &mut self.0.spoken {
            Spoken::Own(leg) => leg.is_ready(),
            // The connection's task has not come to its end of the exchange yet, or the application
            // answered before it had read the request.
            Spoken::Hyper(hyper) => hyper.sender.ready().await.is_ok(),
        }
    }

    /// Ready when something came that no request has asked for.
    pub fn poll_disturbed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0.spoken {
            Spoken::Own(leg) => leg.poll_disturbed(cx),
            Spoken::Hyper(_) => Poll::Pending,
        }
    }

    /// The stream, behind the head of a response after which it is not HTTP's any more.
    pub async fn into_stream(self) -> Result<FarStream, Cause> {
        match self.0.spoken {
            Spoken::Own(leg) => {
                let (stream, read) = leg.into_parts();
                Ok(FarStream::Own(stream, read))
            }
            Spoken::Hyper(mut hyper) => match hyper.upgrade.take() {
                Some(upgrade) => {
                    let upgraded = upgrade.await.map_err(Cause::Hyper)?;
                    Ok(FarStream::Hyper(Box::new(TokioIo::new(upgraded))))
                }
                None => Err(Cause::Own(Flaw::Ended)),
            },
        }
    }
}

/// Sends the request that our own connection began with. What is left of its body, where the answer comes early,
/// stays with it. On one that `is_used` something may have come while the request waited for its turn:
/// that is no answer to it.
async fn own(
    leg: &mut Leg<Attentive<RawStream>>,
    request: &mut Request<UpstreamBody>,
    is_used: bool,
) -> Result<Parts, Flaw> {
    poll_fn(|cx| {
        ready!(by_outbox(leg, cx, is_used));
        if is_used && leg.is_to_begin() && !leg.stream().stream().is_silent() {
            return Poll::Ready(Err(Flaw::Before));
        }
        leg.poll_head(cx, request)
    })
    .await
}

/// Has the outbox send a request at its turn, if that can be. Ready when it had its turn, and when its
/// owner has to see to that; what is left of it is written on then.
fn by_outbox(leg: &mut Leg<Attentive<RawStream>>, cx: &mut Context<'_>, is_used: bool) -> Poll<()> {
    if leg.lend(|stream, request| stream.stream().borrow(cx, request, is_used)) {
        return Poll::Pending;
    }
    if let Some((request, written)) = ready!(leg.stream().stream().poll_sent(cx)) {
        leg.give_back(request, written);
    }
    Poll::Ready(())
}

impl Hyper {
    async fn on(stream: Attentive<RawStream>) -> Result<Self, Failure> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failure::Unsent(Cause::Hyper(error)))?;
        tokio::spawn(async move {
            // Its error reaches the exchange that uses it; an idle connection's has no one to tell.
            // The stream outlives it where it becomes a tunnel.
            let _ = connection.with_upgrades().await;
        });
        Ok(Self { sender, incoming: None, upgrade: None })
    }

    async fn send(
        &mut self,
        request: &mut Option<Box<Request<UpstreamBody>>>,
        keep: bool,
        answered: &Answered,
    ) -> Result<Parts, Unanswered> {
        let Some(sent) = request.take() else {
            return Err(Unanswered::Failed(Cause::Own(Flaw::Upload)));
        };
        let copy = keep.then(|| copy_of(&sent, sent.body().clock()));
        match self.sender.try_send_request(*sent).await {
            Ok(mut response) => {
                self.upgrade = Some(hyper::upgrade::on(&mut response));
                let (parts, incoming) = response.into_parts();
                self.incoming = Some(incoming);
                Ok(parts)
            }
            Err(mut refused) => match refused.take_message() {
                Some(back) => {
                    *request = Some(Box::new(back));
                    Err(Unanswered::Unsent(Cause::Hyper(refused.into_error())))
                }
                None if answered.is_answered() => {
                    Err(Unanswered::Failed(Cause::Hyper(refused.into_error())))
                }
                None => {
                    *request = copy;
                    Err(Unanswered::Silent(Cause::Hyper(refused.into_error())))
                }
            },
        }
    }
}

/// A stream that HTTP was spoken on, and now is another protocol's.
#[derive(Debug)]
pub enum FarStream {
    /// With what was read of it behind the head.
    Own(Attentive<RawStream>, Bytes),
    Hyper(Box<TokioIo<hyper::upgrade::Upgraded>>),
}

impl AsyncRead for FarStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Own(stream, read) if read.is_empty() => Pin::new(stream).poll_read(cx, buf),
            Self::Own(_, read) => {
                let length = read.len().min(buf.remaining());
                buf.put_slice(&read[..length]);
                read.advance(length);
                Poll::Ready(Ok(()))
            }
            Self::Hyper(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for FarStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Own(stream, _) => Pin::new(stream).poll_write(cx, bytes),
            Self::Hyper(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Own(stream, _) => Pin::new(stream).poll_flush(cx),
            Self::Hyper(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Own(stream, _) => Pin::new(stream).poll_shutdown(cx),
            Self::Hyper(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(flaw) => flaw.fmt(f),
            Self::Hyper(error) => error.fmt(f),
        }
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Own(flaw) => Some(flaw),
            Self::Hyper(error) => Some(error),
        }
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
