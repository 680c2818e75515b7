//! One connection of a client, from its first byte to its last.
//!
//! It promises that a connection ends: after the exchange that is running when told to stop, and
//! when its client takes too long. It refuses to know what an exchange is about.

use std::convert::Infallible;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;

use super::account::{self, Account};
use super::core::Core;
use super::downstream::Downstream;
use super::exchange::exchange;
use super::failure::Failure;
use super::in_force::InForce;
use super::live::Token;
use super::pace::{Alarm, Pace};
use super::seat::{Overdue, Seat};
use super::seats::Taken;
use super::settings::{DoorKind, DownstreamLimits, Settings};
use super::socket::{Peer, Socket};
use super::upload::Upload;
use crate::guard::moment::Moment;

/// hyper's own header limit, which costs nothing; any other is an allocation for each request.
const FREE_HEADERS: usize = 100;
/// hyper takes no smaller buffer.
const SMALLEST_BUFFER: usize = 8192;

/// How a connection came in: what its exchanges must know of it.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub peer: Peer,
    /// Whether it speaks TLS.
    pub https: bool,
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
    core: Arc<Core>,
    /// The limits that it was accepted under; each of its exchanges has those of its own time.
    in_force: Arc<InForce>,
    protocols: Protocols,
    kind: DoorKind,
    peer: Peer,
    taken: Taken,
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
        let arrival = Arrival { peer: self.peer, https: false };
        match self.kind {
            DoorKind::Plain => self.serve_http1(stream, arrival, stop).await,
        }
    }

    async fn serve_http1(
        &self,
        stream: Downstream,
        arrival: Arrival,
        mut stop: watch::Receiver<()>,
    ) {
        let (core, seat) = (&self.core, self.taken.seat());
        // What the connection becomes when it is no longer HTTP's.
        let upgraded = Mutex::new(None);
        let service = service_fn(|request: Request<Incoming>| {
            let core = Arc::clone(core);
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
        let mut watch = Watch::new(core.as_ref(), &self.in_force.settings.downstream_limits, seat);
        let mut stopping = false;
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = serving.as_mut() => break outcome,
                _ = stop.changed(), if !stopping => {
                    stopping = true;
                    serving.as_mut().graceful_shutdown();
                }
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
    fn cut_off(&self, overdue: Overdue) {
        match overdue {
            Overdue::Idle => {}
            Overdue::Head => self.unread(&Failure::HeadTimeout),
            Overdue::Send => {
                self.taken.seat().break_off();
                self.core.failed(&Failure::SendStalled, None);
            }
        }
    }

    fn failed(&self, error: hyper::Error) {
        if let Some(failure) = error.source().and_then(|source| source.downcast_ref::<Failure>()) {
            self.core.failed(failure, None);
        } else if error.is_parse_too_large() {
            self.unread(&Failure::HeadTooLarge(error));
        } else if error.is_parse() {
            self.unread(&Failure::Head(error));
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
struct Watch<'a> {
    core: &'a Core,
    limits: &'a DownstreamLimits,
    seat: &'a Seat,
    alarm: Alarm,
}

impl<'a> Watch<'a> {
    fn new(core: &'a Core, limits: &'a DownstreamLimits, seat: &'a Seat) -> Self {
        let now = core.clock.now();
        // An exchange may end, in part, in another task than the connection's: the connection is
        // idle then and nobody sets the alarm, so it must ring before an idle connection is due.
        let alarm = Alarm::new(now, limits.idle_timeout);
        Self { core, limits, seat, alarm }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Overdue> {
        let due = self.seat.due(self.limits);
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
