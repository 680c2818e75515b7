//! The bodies: streamed frame by frame in both directions, never gathered.
//!
//! A frame is taken from one side only when the other has room for it (a body is asked
//! for more when the last piece is written), so a slow reader holds back a fast sender, and what the proxy holds of
//! a body is bounded by the buffers of two connections. Trailers are frames too.

use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::Notify;

use super::account::Account;
use super::clock::Clock;
use super::failure::Failure;
use super::headers;
use super::link::Cause;
use super::live::Token;
use super::pace::Alarm;
use super::pump::Pumped;
use super::seat::Running;
use super::server::{Lease, Server};
use super::tunnel::Tunnel;
use super::upload::Upload;
use crate::guard::moment::Moment;

/// What of an unread request is read and thrown away after a refusal.
const DISCARDED_BYTES: u64 = 64 * 1024;
/// For how long.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// What goes upstream: the body of the client's request, or none.
#[derive(Debug)]
pub struct UpstreamBody {
    /// What goes before the rest: it was to be sent on a connection that took nothing of it.
    back: Bytes,
    upload: Upload,
    clock: Clock,
    progress: Arc<Progress>,
}

/// How far the upload has come; shared with whoever waits for the response to it.
#[derive(Debug, Default)]
pub struct Progress {
    last_nanos: AtomicU64,
    awaits_client: AtomicBool,
    /// Whether it is beyond doubt where the client's next request begins.
    bounded: AtomicBool,
    failure: Mutex<Option<Failure>>,
    abandoned: Notify,
}

/// The client that waits for the response; dropped when it does so no longer.
#[derive(Debug)]
pub struct Attended(Arc<Progress>);

/// What hyper is told when an upload fails; the [`Failure`] itself is in the [`Progress`].
#[derive(Debug)]
pub struct Broken;

impl UpstreamBody {
    /// A request's body.
    pub fn new(upload: Upload, clock: Clock) -> Self {
        let bounded = upload.is_end_stream() || upload.size_hint().exact().is_some();
        let progress = Progress { bounded: bounded.into(), ..Progress::default() };
        Self { back: Bytes::new(), upload, clock, progress: Arc::new(progress) }
    }

    /// No body.
    pub fn empty(clock: Clock) -> Self {
        Self::new(Upload::none(clock), clock)
    }

    /// The clock that its progress is told by.
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// Takes back the first piece, of which nothing was sent.
    pub fn put_back(&mut self, piece: Bytes) {
        self.back = piece;
    }

    /// How far it has come.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }
}

impl Progress {
    /// When the upload last moved.
    pub fn last(&self) -> Moment {
        Moment::from_nanos(self.last_nanos.load(Ordering::Relaxed))
    }

    /// It moved just now.
    pub fn moved(&self, now: Moment) {
        self.last_nanos.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// Whether the client is to blame that it does not move.
    pub fn awaits_client(&self) -> bool {
        self.awaits_client.load(Ordering::Relaxed)
    }

    /// Whether it is beyond doubt where the client's next request begins. It is not where chunks have
    /// not ended yet, nor where they ended with trailers: others may find the end of those before ours
    /// does, and what is between is a request to them.
    pub fn is_bounded(&self) -> bool {
        self.bounded.load(Ordering::Relaxed)
    }

    /// Why it ended early, once.
    pub fn take_failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Notes that a client waits, for as long as this is kept.
    pub fn attended(self: Arc<Self>) -> Attended {
        Attended(self)
    }

    /// Waits until no client waits any more. For one who waits at a time.
    pub async fn abandoned(&self) {
        self.abandoned.notified().await;
    }

    fn fail(&self, failure: Failure) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
    }
}

impl Deref for Attended {
    type Target = Progress;

    fn deref(&self) -> &Progress {
        &self.0
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        self.0.abandoned.notify_one();
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if !self.back.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.back)))));
        }
        if self.upload.has_ended() {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.upload).poll_frame(cx);
        self.progress.awaits_client.store(polled.is_pending(), Ordering::Relaxed);
        if polled.is_ready() {
            self.progress.moved(self.clock.now());
        }
        polled.map(|outcome| {
            if outcome.is_none() {
                self.progress.bounded.store(true, Ordering::Relaxed);
            }
            outcome.map(|outcome| match outcome {
                Ok(mut frame) => {
                    if let Some(trailers) = frame.trailers_mut() {
                        headers::clean_trailers(trailers);
                    }
                    Ok(frame)
                }
                Err(failure) => {
                    self.progress.fail(failure);
                    Err(Broken)
                }
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.back.is_empty() && self.upload.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (left, back) = (self.upload.size_hint(), self.back.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(left.lower().saturating_add(back));
        if let Some(upper) = left.upper().and_then(|upper| upper.checked_add(back)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the upload ended early")
    }
}

impl std::error::Error for Broken {}

/// What goes downstream: the application's response, or a reply of our own.
///
/// A response goes through many hands before it is written: its body is in one piece on the heap.
#[derive(Debug)]
pub struct DownstreamBody(Box<Sent>);

#[derive(Debug)]
struct Sent {
    source: Source,
    /// Held until the body is dropped: the exchange has ended then.
    exchange: Option<(Token, Running)>,
    account: Account,
}

#[derive(Debug)]
enum Source {
    Own(Bytes),
    Relayed(Relayed),
    /// None: what follows the head is another protocol's.
    Tunnel(Option<Box<Tunnel>>),
}

/// The body of the application's response.
#[derive(Debug)]
struct Relayed {
    way: Way,
    server: Arc<Server>,
    stall: Stall,
}

/// How it comes.
#[derive(Debug)]
enum Way {
    /// On its connection.
    Leased(Lease),
    /// From the task that still sends the request.
    Pumped(Pumped),
    /// Not any more, and this is still to be told.
    Broken(Cause),
    /// Not any more.
    Ended,
}

impl DownstreamBody {
    /// A reply of our own.
    pub fn own(bytes: impl Into<Bytes>) -> Self {
        Self::of(Source::Own(bytes.into()))
    }

    fn of(source: Source) -> Self {
        Self(Box::new(Sent { source, exchange: None, account: Account::default() }))
    }

    /// A response, read from the connection of `lease`, which goes back to the pool when it has
    /// been read to its end. The application may pause no longer than `limit`.
    ///
    /// `unsent` is what is left to be sent of the request, which goes on meanwhile.
    pub(super) fn relayed(
        limit: Duration,
        clock: Clock,
        lease: Lease,
        unsent: Option<UpstreamBody>,
    ) -> Self {
        let server = Arc::clone(lease.server());
        let way = match unsent {
            Some(unsent) => Way::Pumped(Pumped::start(lease, unsent)),
            None => Way::Leased(lease),
        };
        let stall = Stall::new(limit, clock);
        let mut relayed = Relayed { way, server, stall };
        relayed.give_back_at_end();
        Self::of(Source::Relayed(relayed))
    }

    /// Whose response it is.
    pub(super) fn server(&self) -> Option<&Arc<Server>> {
        match &self.0.source {
            Source::Own(_) => None,
            Source::Relayed(relayed) => Some(&relayed.server),
            Source::Tunnel(tunnel) => tunnel.as_deref().map(Tunnel::server),
        }
    }

    /// Tells this account what is relayed, and ends it when this body is dropped.
    pub(super) fn told_in(&mut self, account: Account) {
        match &mut self.0.source {
            Source::Tunnel(Some(tunnel)) => tunnel.told_in(account),
            Source::Own(_) | Source::Relayed(_) | Source::Tunnel(None) => self.0.account = account,
        }
    }

    /// The tunnel that begins behind the head.
    pub fn tunnel(tunnel: Tunnel) -> Self {
        Self::of(Source::Tunnel(Some(Box::new(tunnel))))
    }

    /// That tunnel, where there is one.
    pub fn tunnel_mut(&mut self) -> Option<&mut Tunnel> {
        match &mut self.0.source {
            Source::Tunnel(tunnel) => tunnel.as_deref_mut(),
            Source::Own(_) | Source::Relayed(_) => None,
        }
    }

    /// Takes that tunnel away, which is run by whoever has both connections.
    pub fn take_tunnel(&mut self) -> Option<Box<Tunnel>> {
        match &mut self.0.source {
            Source::Tunnel(tunnel) => tunnel.take(),
            Source::Own(_) | Source::Relayed(_) => None,
        }
    }

    /// Counts the exchange as running, for a stop and for its connection, until this body is
    /// dropped.
    pub(super) fn holding(&mut self, exchange: Token, running: Running) {
        self.0.exchange = Some((exchange, running));
    }
}

impl Source {
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_empty(),
            Self::Relayed(relayed) => relayed.is_end_stream(),
            Self::Tunnel(_) => true,
        }
    }
}

impl Relayed {
    fn give_back_at_end(&mut self) {
        if self.is_end_stream() {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        match std::mem::replace(&mut self.way, Way::Ended) {
            Way::Leased(lease) => lease.give_back(),
            // Its task does so.
            Way::Pumped(_) | Way::Broken(_) | Way::Ended => {}
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let polled = match &mut self.way {
            Way::Leased(lease) => lease.link().poll_frame(cx),
            Way::Pumped(pumped) => pumped.poll_frame(cx),
            Way::Broken(_) => return Poll::Ready(self.broken()),
            Way::Ended => Poll::Ready(None),
        };
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.stall.moved();
                if frame.is_trailers() {
                    // The last frame: nobody asks for another.
                    self.give_back();
                } else {
                    self.give_back_at_end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(cause))) => {
                // Who sends it throws away what is not sent yet when told: that is to be sent first,
                // as when there is nothing more for the moment.
                self.way = Way::Broken(cause);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(None) => {
                self.give_back();
                Poll::Ready(None)
            }
            Poll::Pending => self.stall.poll(cx).map(|()| {
                self.way = Way::Ended;
                Some(Err(Failure::BodyStalled))
            }),
        }
    }

    fn broken(&mut self) -> Option<Result<Frame<Bytes>, Failure>> {
        match std::mem::replace(&mut self.way, Way::Ended) {
            Way::Broken(cause) => Some(Err(Failure::Body(cause))),
            Way::Leased(_) | Way::Pumped(_) | Way::Ended => None,
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.way {
            Way::Broken(_) => false,
            Way::Leased(lease) => lease.is_end_stream(),
            Way::Pumped(pumped) => pumped.is_end_stream(),
            Way::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.way {
            Way::Leased(lease) => lease.size_hint(),
            Way::Pumped(pumped) => pumped.size_hint(),
            Way::Broken(_) => SizeHint::default(),
            Way::Ended => SizeHint::with_exact(0),
        }
    }
}

impl Body for DownstreamBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let Sent { source, account, .. } = &mut *self.0;
        let polled = match source {
            Source::Own(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Own(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Source::Relayed(relayed) => relayed.poll_frame(cx),
            Source::Tunnel(_) => Poll::Ready(None),
        };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                account.relayed(frame.data_ref().map_or(0, |data| data.len() as u64));
                // Nobody asks for anything behind the last byte, nor behind trailers.
                if frame.is_trailers() || source.is_end_stream() {
                    account.ended();
                }
            }
            Poll::Ready(Some(Err(failure))) => account.failed(failure),
            Poll::Ready(None) => account.ended(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0.source {
            Source::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Relayed(relayed) => relayed.size_hint(),
            Source::Tunnel(_) => SizeHint::with_exact(0),
        }
    }
}

/// Reads what is left of a refused request's body and throws it away, up to 64 KiB and for at
/// most a second. Closing a socket with unread data resets the connection, and the client may
/// then never read the refusal (RFC 9112, 9.6). What is longer is cut off all the same.
pub async fn discard(mut body: Upload) {
    let reading = async {
        let mut left = DISCARDED_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            let Some(rest) = left.checked_sub(length) else { return };
            left = rest;
        }
    };
    // Late or not, the reply is on its way already; nothing depends on the outcome.
    let _ = tokio::time::timeout(DISCARD_TIME, reading).await;
}

/// Whether [`discard`] may read the body to its end, so that the connection can be kept. Not of
/// chunks: see [`Progress::is_bounded`].
pub fn discardable(body: &Upload) -> bool {
    body.size_hint().exact().is_some_and(|length| length <= DISCARDED_BYTES)
}

/// Notices that nothing has moved for a while. Its timer is made when first needed.
#[derive(Debug)]
struct Stall {
    limit: Duration,
    clock: Clock,
    alarm: Option<Alarm>,
    /// When the limit will have passed since the first wait after the last move.
    due: Option<Moment>,
}

impl Stall {
    const fn new(limit: Duration, clock: Clock) -> Self {
        Self { limit, clock, alarm: None, due: None }
    }

    /// Something moved: the time counts anew from the next wait.
    fn moved(&mut self) {
        self.due = None;
    }

    /// Ready when the limit has passed since the first poll after the last move.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { limit, clock, alarm, due } = self;
        let due = *due.get_or_insert_with(|| clock.now().after(*limit));
        let alarm = alarm.get_or_insert_with(|| Alarm::new(clock.now(), *limit));
        alarm.poll(cx, clock, due)
    }
}
