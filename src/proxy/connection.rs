//! One connection of a client, from its first byte to its last.
//!
//! It promises that a connection ends: after the exchange that is running when told to stop, and
//! when its client takes too long. It refuses to know what an exchange is about.

use std::convert::Infallible;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::account::{self, Account};
use super::core::Core;
use super::downstream::Downstream;
use super::exchange::exchange;
use super::failure::Failure;
use super::http2;
use super::in_force::InForce;
use super::live::Token;
use super::pace::{Alarm, Pace};
use super::preface::{self, Spoken};
use super::seat::{Overdue, Phase, Seat};
use super::seats::Taken;
use super::settings::{DoorKind, DownstreamLimits, Settings};
use super::socket::{Peer, Socket};
use super::upload::Upload;
use crate::guard::moment::Moment;

/// hyper's own header limit, which costs nothing; any other is an allocation for each request.
const FREE_HEADERS: usize = 100;
/// hyper takes no smaller buffer.
const SMALLEST_BUFFER: usize = 8192;
/// How long an idle client may take to acknowledge that no other request is taken.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How a request came in: what its exchange must know of that.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub peer: Peer,
    /// Whether it speaks TLS.
    pub https: bool,
    /// One of those that its connection has, where several exchanges run on it at once.
    pub place: Option<Place>,
}

/// A place among the exchanges of one connection, until the last copy is dropped.
pub type Place = Arc<OwnedSemaphorePermit>;

/// Whether to stop, told once.
pub(super) struct Stop {
    told: bool,
    stop: watch::Receiver<()>,
}

impl Stop {
    fn new(stop: watch::Receiver<()>) -> Self {
        Self { told: false, stop }
    }

    /// Waits until asked to stop, which it is once.
    pub(super) async fn asked(&mut self) {
        if self.told {
            return std::future::pending().await;
        }
        let _ = self.stop.changed().await;
        self.told = true;
    }
}

/// What can be spoken on a connection, made once for each configuration.
#[derive(Clone)]
pub struct Protocols {
    http1: http1::Builder,
}

impl Protocols {
    pub fn new(settings: &Settings) -> Self {
        Self { http1: http1(&settings.downstream_limits) }
    }
}

/// One connection.
pub struct Connection {
    pub(super) core: Arc<Core>,
    /// The limits that it was accepted under; each of its exchanges has those of its own time.
    pub(super) in_force: Arc<InForce>,
    protocols: Protocols,
    kind: DoorKind,
    peer: Peer,
    pub(super) taken: Taken,
    _running: Token,
}

impl Connection {
    /// A connection that was just accepted, and has a place.
    pub fn new(
        core: &Arc<Core>,
        in_force: Arc<InForce>,
        protocols: Protocols,
        kind: DoorKind,
        peer: Peer,
        taken: Taken,
    ) -> Self {
        let running = core.connections.token();
        let core = Arc::clone(core);
        Self { core, in_force, protocols, kind, peer, taken, _running: running }
    }

    /// Serves it to its end. When told to stop it ends after the exchange that is running, or at
    /// once if none is; when its client takes too long it is cut off.
    pub async fn serve(self, stream: Socket, stop: watch::Receiver<()>) {
        let limits = &self.in_force.settings.downstream_limits;
        let pace = Pace::new(limits.send_timeout, limits.body_rate);
        let seat = Arc::clone(self.taken.seat());
        let stream = Downstream::new(stream, seat, self.core.clock, pace);
        let arrival = Arrival { peer: self.peer, https: false, place: None };
        let stop = Stop::new(stop);
        match self.kind {
            DoorKind::Plain if self.in_force.settings.http2.enabled => {
                self.serve_either(stream, arrival, stop).await;
            }
            DoorKind::Plain => self.serve_http1(stream, arrival, stop).await,
        }
    }

    /// Serves what the client speaks.
    async fn serve_either(&self, mut stream: Downstream, arrival: Arrival, mut stop: Stop) {
        let seat = self.taken.seat();
        let mut watch = self.watch();
        let spoken = {
            let reading = preface::read(&mut stream);
            tokio::pin!(reading);
            loop {
                tokio::select! {
                    biased;
                    spoken = reading.as_mut() => break spoken,
                    () = stop.asked() => if matches!(seat.phase(), Phase::Silent(_)) { return },
                    overdue = std::future::poll_fn(|cx| watch.poll(cx)) => {
                        return self.cut_off(overdue);
                    }
                }
            }
        };
        drop(watch);
        match spoken {
            Ok(Spoken::Http1) => self.serve_http1(stream, arrival, stop).await,
            Ok(Spoken::Http2) => self.serve_http2(stream, arrival, stop).await,
            // A client that hung up.
            Err(_) => {}
        }
    }

    /// What cuts it off when its client takes too long.
    pub(super) fn watch(&self) -> Watch<'_> {
        Watch::new(&self.core, &self.in_force.settings.downstream_limits, self.taken.seat())
    }

    async fn serve_http1<S>(&self, stream: S, arrival: Arrival, mut stop: Stop)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let arrival = &arrival;
        let (core, seat) = (&self.core, self.taken.seat());
        // What the connection becomes when it is no longer HTTP's.
        let upgraded = Mutex::new(None);
        let service = service_fn(|request: Request<Incoming>| {
            let (core, arrival) = (Arc::clone(core), arrival.clone());
            let (counted, running) = (core.exchanges.token(), seat.begin());
            let upgraded = &upgraded;
            // Here and not below: hyper may drop what it has not polled yet.
            let account = match running {
                Some(_) => Account::begin(&core, &arrival, &request),
                None => Account::default(),
            };
            async move {
                let Some(running) = running else {
                    // The connection's task is being ended.
                    return std::future::pending().await;
                };
                let in_force = core.in_force();
                let limits = &in_force.settings.downstream_limits;
                let request = request.map(|body| Upload::new(body, limits, core.clock, &running));
                let mut response = exchange(&core, in_force, &arrival, request, account).await;
                if let Some(tunnel) = response.body_mut().take_tunnel() {
                    let kept = Some((tunnel, (counted, running)));
                    *upgraded.lock().unwrap_or_else(PoisonError::into_inner) = kept;
                    return Ok(response);
                }
                Ok::<_, Infallible>(response.map(|body| body.holding(counted, running)))
            }
        });
        let serving =
            self.protocols.http1.serve_connection(TokioIo::new(stream), service).with_upgrades();
        tokio::pin!(serving);
        let mut watch = self.watch();
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = serving.as_mut() => break outcome,
                () = stop.asked() => serving.as_mut().graceful_shutdown(),
                // After the others: it sees what they have just done.
                overdue = std::future::poll_fn(|cx| watch.poll(cx)) => {
                    return self.cut_off(overdue);
                }
            }
        };
        if let Err(error) = outcome {
            return self.failed(error);
        }
        let kept = upgraded.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((tunnel, exchange)) = kept else { return };
        tokio::select! {
            biased;
            () = tunnel.run(core, exchange, Some(seat)) => {}
            overdue = std::future::poll_fn(|cx| watch.poll(cx)) => self.cut_off(overdue),
        }
    }

    /// Tells why, and breaks off. Its socket is closed when the caller returns.
    pub(super) fn cut_off(&self, overdue: Overdue) {
        match overdue {
            Overdue::Idle => {}
            Overdue::Head => self.unread(&Failure::HeadTimeout),
            Overdue::Send => {
                self.taken.seat().break_off();
                self.core.failed(&Failure::SendStalled, None);
            }
        }
    }

    pub(super) fn failed(&self, error: hyper::Error) {
        if let Some(failure) = error.source().and_then(|source| source.downcast_ref::<Failure>()) {
            self.core.failed(failure, None);
        } else if error.is_parse_too_large() {
            self.unread(&Failure::HeadTooLarge(error));
        } else if error.is_parse() {
            self.unread(&Failure::Head(error));
        } else if let Some(failure) = http2::failure(error) {
            self.core.failed(&failure, None);
        }
        // Everything else is a client that hung up.
    }

    /// Tells of a request that no exchange has seen.
    fn unread(&self, failure: &Failure) {
        self.core.failed(failure, None);
        account::unread(&self.core, self.peer.ip(), failure);
    }
}

/// Notices when a connection is to be cut off. One timer for all that it may wait for.
pub(super) struct Watch<'a> {
    core: &'a Core,
    limits: &'a DownstreamLimits,
    seat: &'a Seat,
    alarm: Alarm,
    /// When the client was told that no other request is taken.
    told: Option<Moment>,
}

impl<'a> Watch<'a> {
    fn new(core: &'a Core, limits: &'a DownstreamLimits, seat: &'a Seat) -> Self {
        let now = core.clock.now();
        // An exchange may end, in part, in another task than the connection's: the connection is
        // idle then and nobody sets the alarm, so it must ring before an idle connection is due.
        let alarm = Alarm::new(now, limits.idle_timeout);
        Self { core, limits, seat, alarm, told: None }
    }

    /// The client has been told that no other request is taken: once idle, it need not stay idle
    /// for long.
    pub(super) fn told(&mut self) {
        self.told.get_or_insert(self.core.clock.now());
    }

    /// Whether it has been told.
    pub(super) fn is_told(&self) -> bool {
        self.told.is_some()
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Overdue> {
        let due = match (self.told, self.seat.phase()) {
            (Some(told), Phase::Silent(since) | Phase::Idle(since)) if !self.seat.is_blocked() => {
                Some((told.max(since).after(LAST_WORDS), Overdue::Idle))
            }
            _ => self.seat.due(self.limits),
        };
        let Some((due, overdue)) = due else {
            return self.alarm.poll(cx, &self.core.clock, Moment::NEVER).map(|()| Overdue::Idle);
        };
        self.alarm.poll(cx, &self.core.clock, due).map(|()| overdue)
    }
}

fn http1(limits: &DownstreamLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .keep_alive(true)
        .half_close(false)
        .title_case_headers(false)
        // Ours knows a head from an idle connection: see `seat`.
        .header_read_timeout(None)
        .max_buf_size(limits.head_bytes.max(SMALLEST_BUFFER))
        .max_header_size(limits.head_bytes);
    if limits.headers != FREE_HEADERS {
        builder.max_headers(limits.headers);
    }
    builder
}
