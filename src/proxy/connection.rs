//! One connection of a client, from its first byte to its last.
//!
//! It promises that a connection ends: after the exchange that is running when told to stop, and
//! when its client takes too long. It refuses to know what an exchange is about.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http::header::HOST;
use http::request::Parts;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::account::{self, Account};
use super::core::Core;
use super::downstream::Downstream;
use super::exchange::exchange;
use super::failure::Failure;
use super::headers::Fault;
use super::in_force::InForce;
use super::live::Token;
use super::pace::{Alarm, Pace};
use super::seat::{Overdue, Seat};
use super::seats::Taken;
use super::settings::{DoorKind, DownstreamLimits};
use super::socket::{Peer, Socket};
use super::upload::Upload;
use super::{forwarded, redirect};
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
    entrance: Entrance,
}

/// What exchanges of a connection are there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entrance {
    /// A site.
    Site,
    /// To be sent away to HTTPS.
    Redirect,
    /// To be told that this is the place for HTTPS.
    Mistaken,
}

impl Arrival {
    /// Whether a request may have come in so.
    pub fn takes(&self, parts: &Parts) -> Result<(), Fault> {
        match self.entrance {
            Entrance::Site => Ok(()),
            // HTTP/1.0 may leave it out.
            Entrance::Redirect if parts.headers.contains_key(HOST) => Ok(()),
            Entrance::Redirect => Err(Fault::Host),
            Entrance::Mistaken => Err(Fault::NotTls),
        }
    }

    /// Whether a request is sent away to HTTPS. One that a trusted proxy took in by HTTPS is not:
    /// it would come back for ever.
    pub fn is_sent_away(&self, parts: &Parts) -> bool {
        self.entrance == Entrance::Redirect
            && !forwarded::is_https(&parts.headers)
            && !redirect::is_challenge(&parts.method, &parts.uri)
    }
}

/// What can be spoken on a connection, made once for each configuration.
#[derive(Clone)]
pub struct Protocols {
    http1: http1::Builder,
    tls: Option<TlsAcceptor>,
}

impl Protocols {
    pub fn new(in_force: &InForce) -> Self {
        Self {
            http1: http1(&in_force.settings.downstream_limits),
            tls: in_force.tls.as_ref().map(|tls| tls.acceptor.clone()),
        }
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
        let plain = |entrance| Arrival { peer: self.peer, https: false, entrance };
        match self.kind {
            DoorKind::Plain => self.serve_http1(stream, plain(Entrance::Site), stop).await,
            DoorKind::Redirect => self.serve_http1(stream, plain(Entrance::Redirect), stop).await,
            // What TLS takes is not to be taken for every connection.
            DoorKind::Tls => Box::pin(self.serve_tls(stream, stop)).await,
        }
    }

    async fn serve_tls(&self, mut stream: Downstream, stop: watch::Receiver<()>) {
        let arrival = |https, entrance| Arrival { peer: self.peer, https, entrance };
        let Some(acceptor) = &self.protocols.tls else { return };
        match self.in_time(greet(&mut stream)).await {
            Some(Ok(Greeting::Tls)) => {}
            Some(Ok(Greeting::Http)) => {
                return self.serve_http1(stream, arrival(false, Entrance::Mistaken), stop).await;
            }
            Some(Err(error)) => return self.core.failed(&Failure::Handshake(error), None),
            None => return,
        }
        let stream = match self.in_time(acceptor.accept(stream)).await {
            Some(Ok(stream)) => stream,
            Some(Err(error)) => return self.core.failed(&Failure::Handshake(error), None),
            None => return,
        };
        self.taken.seat().greeted();
        // Here ALPN decides: `h2` was offered only where it is spoken.
        match stream.get_ref().1.alpn_protocol() {
            Some(_) | None => {
                self.serve_http1(stream, arrival(true, Entrance::Site), stop).await;
            }
        }
    }

    /// A part of the handshake. `None` if its client took too long, which is told here. A stop is
    /// not heard: the request for which the handshake is made is still answered.
    async fn in_time<T>(&self, part: impl Future<Output = T>) -> Option<T> {
        let seat = self.taken.seat();
        let mut watch =
            Watch::new(self.core.as_ref(), &self.in_force.settings.downstream_limits, seat);
        tokio::pin!(part);
        tokio::select! {
            biased;
            outcome = part => Some(outcome),
            overdue = std::future::poll_fn(|cx| watch.poll(cx)) => {
                match overdue {
                    Overdue::Head => self.core.failed(&Failure::HandshakeTimeout, None),
                    Overdue::Idle | Overdue::Send => self.cut_off(overdue),
                }
                None
            }
        }
    }

    async fn serve_http1<S>(&self, stream: S, arrival: Arrival, mut stop: watch::Receiver<()>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (core, seat) = (&self.core, self.taken.seat());
        let service = service_fn(|request: Request<Incoming>| {
            let core = Arc::clone(core);
            let (counted, running) = (core.exchanges.token(), seat.begin());
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
                let response = exchange(&core, in_force, &arrival, request, account).await;
                Ok::<_, Infallible>(response.map(|body| body.holding(counted, running)))
            }
        });
        let serving = self.protocols.http1.serve_connection(TokioIo::new(stream), service);
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
            self.failed(error);
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

/// What a client speaks where TLS is expected.
enum Greeting {
    Tls,
    Http,
}

/// Tells by the first byte what is spoken: a record of TLS does not begin with a letter.
async fn greet(stream: &mut Downstream) -> io::Result<Greeting> {
    let mut first = [0];
    stream.read_exact(&mut first).await?;
    stream.unread(Bytes::copy_from_slice(&first));
    Ok(if first[0].is_ascii_uppercase() { Greeting::Http } else { Greeting::Tls })
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
