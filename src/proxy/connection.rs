//! One connection of a client, from its first byte to its last.
//!
//! It promises that a connection ends: after the exchange that is running when told to stop, and
//! when its client takes too long. It refuses to know what an exchange is about.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::Cache;
use bytes::Bytes;
use http::Request;
use http::header::{HOST, HeaderValue};
use http::request::Parts;
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::account::{self, Account};
use super::core::Core;
use super::downstream::Downstream;
use super::dozing::Dozing;
use super::ending::{Ending, Heard, Stop};
use super::exchange::{Arrived, exchange};
use super::failure::Failure;
use super::forwarded;
use super::headers::Fault;
use super::http1::{self, Broken, End, Http1};
use super::http2;
use super::in_force::InForce;
use super::introduction::{self, Refusal};
use super::listen;
use super::live::Token;
use super::overdue::Watch;
use super::pace::Pace;
use super::preface::{self, Spoken};
use super::redirect;
use super::refusing::Refusing;
use super::replies;
use super::resting::Resting;
use super::seat::{Overdue, Phase, Running};
use super::seats::{Entered, Taken};
use super::secured::Secured;
use super::settings::{DoorKind, DownstreamLimits};
use super::socket::{Peer, Socket};
use super::tls;
use super::upload::{self, Upload};

/// How long connections that are idle stay, when this process is replaced, for their clients to send
/// another request.
const GRACE: Duration = Duration::from_secs(5);

/// How a request came in: what its exchange must know of that.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub peer: Peer,
    /// What it has connected to, where that is known. It is not of a connection that was made while no
    /// site sent PROXY headers.
    pub local: Option<SocketAddr>,
    /// Whether it speaks TLS.
    pub https: bool,
    /// The peer's address, as it is sent on with each request.
    pub written: HeaderValue,
    entrance: Entrance,
    pub refusing: Arc<Refusing>,
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

    /// Whether a request is sent away to HTTPS. One that a trusted proxy took in by `https` is not:
    /// it would come back for ever.
    pub fn is_sent_away(&self, parts: &Parts, https: bool) -> bool {
        self.entrance == Entrance::Redirect
            && !https
            && !redirect::is_challenge(&parts.method, &parts.uri)
    }
}

/// What an exchange takes of what its client may have, until the last copy is dropped. The application
/// may work for it longer than its client waits: who hangs up and comes again gets no more by that.
#[derive(Clone, Debug)]
pub enum Place {
    /// A connection, which counts as one that is in use.
    Connection(Arc<Taken>, Running),
    /// One of those that a connection has at once, and its client.
    Stream(Arc<(OwnedSemaphorePermit, Entered)>),
}

/// What can be spoken on a connection, made once for each configuration.
#[derive(Clone)]
pub struct Protocols {
    http1: http1::Limits,
    tls: Option<TlsAcceptor>,
}

impl Protocols {
    pub fn new(in_force: &InForce) -> Self {
        Self {
            http1: limits(&in_force.settings.downstream_limits),
            tls: in_force.tls.as_ref().map(|tls| tls.acceptor.clone()),
        }
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
    local: Option<SocketAddr>,
    pub(super) taken: Arc<Taken>,
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
        let (core, taken) = (Arc::clone(core), Arc::new(taken));
        Self { core, in_force, protocols, kind, peer, local: None, taken, _running: running }
    }

    /// Serves it to its end. When told to stop it ends after the exchange that is running, or at
    /// once if none is; when its client takes too long it is cut off.
    pub async fn serve(mut self, stream: Socket, stop: watch::Receiver<Ending>) {
        let limits = &self.in_force.settings.downstream_limits;
        // It is a system call, and of no use where nobody is told of it.
        if self.in_force.sites.tells_clients() {
            self.local = stream.local_address();
        }
        let pace = Pace::new(limits.send_timeout, limits.body_rate);
        let seat = Arc::clone(self.taken.seat());
        // Boxed, as it goes through many hands.
        let mut stream = Box::new(Downstream::new(stream, seat, self.core.clock, pace));
        let mut stop = Stop::new(stop, self.grace());
        if introduction::is_expected(self.peer, &self.in_force.settings.proxy_protocol)
            && self.introduce(&mut stream, &mut stop).await.is_none()
        {
            return;
        }
        match self.kind {
            DoorKind::Plain if self.in_force.settings.http2.enabled => {
                self.serve_either(stream, self.arrival(false, Entrance::Site, &stop), stop).await;
            }
            DoorKind::Plain => {
                self.serve_http1(stream, self.arrival(false, Entrance::Site, &stop), stop).await;
            }
            DoorKind::Redirect => {
                self.serve_http1(stream, self.arrival(false, Entrance::Redirect, &stop), stop)
                    .await;
            }
            // What TLS takes is not to be taken for every connection.
            DoorKind::Tls => Box::pin(self.serve_tls(stream, stop)).await,
        }
    }

    /// How its requests come in.
    fn arrival(&self, https: bool, entrance: Entrance, stop: &Stop) -> Arrival {
        let written = forwarded::written(self.peer.ip());
        let refusing = Arc::new(Refusing::new(stop.ending.clone()));
        Arrival { peer: self.peer, local: self.local, https, written, entrance, refusing }
    }

    async fn serve_tls(&self, stream: Box<Downstream>, stop: Stop) {
        // Boxed: what the handshake takes goes with it.
        match Box::pin(self.shake_hands(stream)).await {
            Some(Met::Tls(stream)) => {
                let arrival = self.arrival(true, Entrance::Site, &stop);
                if stream.get_ref().1.alpn_protocol() == Some(tls::H2) {
                    Box::pin(self.serve_http2(stream, arrival, stop)).await;
                } else {
                    self.serve_http1(Secured::new(stream), arrival, stop).await;
                }
            }
            Some(Met::Http(stream)) => {
                let arrival = self.arrival(false, Entrance::Mistaken, &stop);
                Box::pin(self.serve_http1(stream, arrival, stop)).await;
            }
            None => {}
        }
    }

    /// Begins what is spoken where TLS is expected. `None`, and told, if that fails.
    async fn shake_hands(&self, mut stream: Box<Downstream>) -> Option<Met> {
        let acceptor = self.protocols.tls.as_ref()?;
        let failed = |error| self.core.failed(&Failure::Handshake(error), None);
        let greeting = self.in_time(greet(&mut stream)).await?;
        match greeting.map_err(failed).ok()? {
            Greeting::Tls => {}
            Greeting::Http => return Some(Met::Http(stream)),
        }
        let stream = self.in_time(acceptor.accept(stream)).await?.map_err(failed).ok()?;
        self.taken.seat().greeted();
        Some(Met::Tls(Box::new(stream)))
    }

    /// A part of the handshake. `None` if its client took too long, which is told here. A stop is
    /// not heard: the request for which the handshake is made is still answered.
    async fn in_time<T>(&self, part: impl Future<Output = T>) -> Option<T> {
        let mut watch = self.watch();
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

    /// Learns by a PROXY header whose connection it is. `None` if it is to be closed.
    async fn introduce(&mut self, stream: &mut Downstream, stop: &mut Stop) -> Option<()> {
        let settings = &self.in_force.settings;
        let mut watch = Watch::new(&self.core, &settings.downstream_limits, self.taken.seat());
        let reading = introduction::read(stream, self.peer, settings.proxy_protocol.accept);
        let outcome = tokio::select! {
            biased;
            outcome = reading => outcome,
            () = stop.asked_gently() => return None,
            overdue = std::future::poll_fn(|cx| watch.poll(cx)) => {
                self.cut_off(overdue);
                return None;
            }
        };
        let named = match outcome {
            Ok(named) => named,
            Err(Refusal::Gone) => return None,
            Err(refusal) => {
                self.core.failed(&Failure::Introduction(refusal), None);
                return None;
            }
        };
        if let Some(named) = named {
            self.peer = Peer::Tcp(named.source);
            self.local = Some(named.destination);
        }
        if !stream.holds() {
            self.taken.seat().greeted();
        }
        let group = listen::group(&self.in_force, self.peer);
        // No exchange has begun that could share it.
        let taken = Arc::get_mut(&mut self.taken)?;
        if let Err(full) = taken.regroup(group, self.core.clock.now()) {
            self.core.failed(&Failure::Refused(full), None);
            return None;
        }
        Some(())
    }

    /// Serves what the client speaks.
    async fn serve_either(&self, mut stream: Box<Downstream>, arrival: Arrival, mut stop: Stop) {
        let seat = self.taken.seat();
        let mut watch = self.watch();
        let spoken = {
            let reading = preface::read(&mut stream);
            tokio::pin!(reading);
            loop {
                tokio::select! {
                    biased;
                    spoken = reading.as_mut() => break spoken,
                    () = stop.asked_gently() => {
                        if matches!(seat.phase(), Phase::Silent(_)) {
                            return;
                        }
                    }
                    overdue = std::future::poll_fn(|cx| watch.poll(cx)) => {
                        return self.cut_off(overdue);
                    }
                }
            }
        };
        drop(watch);
        stop.repeat();
        match spoken {
            Ok(Spoken::Http1) => self.serve_http1(stream, arrival, stop).await,
            // What few speak is not to take room of all.
            Ok(Spoken::Http2) => Box::pin(self.serve_http2(stream, arrival, stop)).await,
            // A client that hung up.
            Err(_) => {}
        }
    }

    /// What cuts it off when its client takes too long.
    pub(super) fn watch(&self) -> Watch<'_> {
        Watch::new(&self.core, &self.in_force.settings.downstream_limits, self.taken.seat())
    }

    async fn serve_http1<S: Resting>(&self, mut stream: S, arrival: Arrival, mut stop: Stop) {
        let arrival = &arrival;
        let (core, taken, seat) = (&self.core, &self.taken, self.taken.seat());
        // What the connection becomes when it is no longer HTTP's.
        let upgraded = Mutex::new(None);
        let ending = &Heard::from(&stop);
        let mut latest = Cache::new(&core.app.in_force);
        let mut service = |request: Request<http1::Incoming>| {
            let (counted, running, at) = (core.exchanges.token(), seat.begin(), seat.whole());
            let (upgraded, in_force) = (&upgraded, Arc::clone(latest.load()));
            // Here and not below: a future may be dropped before it is polled.
            let account = match running {
                Some(_) => Account::begin(core, arrival, &request, at),
                None => Account::default(),
            };
            async move {
                let Some(running) = running else {
                    // The connection's task is being ended.
                    return std::future::pending().await;
                };
                let place = Place::Connection(Arc::clone(taken), running.clone());
                let limits = &in_force.settings.downstream_limits;
                let (parts, body) = request.into_parts();
                let body = upload::Incoming::Http1(body);
                let request = (parts, Upload::new(body, limits, core.clock, &running));
                let arrived = Arrived { by: arrival, place };
                let mut response = exchange(core, in_force, arrived, request, account).await;
                if let Some(tunnel) = response.body_mut().take_tunnel() {
                    let kept = Some((tunnel, (counted, running)));
                    *upgraded.lock().unwrap_or_else(PoisonError::into_inner) = kept;
                    return response;
                }
                if ending.is_gentle() {
                    replies::close(response.headers_mut());
                }
                response.body_mut().holding(counted, running);
                response
            }
        };
        let mut watch = self.watch();
        let outcome = loop {
            let serving = Http1::new(stream, self.protocols.http1, core.clock, &mut service);
            let mut serving = Box::new(serving);
            let speaking = core.speakers.enter(seat).await;
            let outcome = loop {
                let asked = pin!(stop.asked_gently());
                tokio::select! {
                    biased;
                    outcome = std::future::poll_fn(|cx| serving.poll(cx)) => break Some(outcome),
                    () = Dozing::new(asked) => serving.graceful_shutdown(),
                    // After the others: they see what those have just done.
                    overdue = std::future::poll_fn(|cx| watch.poll(cx)) => {
                        return self.cut_off(overdue);
                    }
                    () = speaking.rests() => break None,
                }
            };
            // While it rests nobody has a part of it, nor when it has become something else.
            let parts = serving.into_parts();
            match outcome {
                Some(Ok(End::Switched)) => break parts,
                Some(Ok(End::Closed)) => return,
                Some(Err(broken)) => return self.broke(broken),
                None => {}
            }
            drop(speaking);
            let Some((rested, begun)) = parts else { return };
            stream = rested;
            // The bytes of a head that has begun before the last exchange was over. Where there are
            // none, their buffer goes here. Empty lines begin none: old clients send one behind a
            // body (RFC 9112, 2.2).
            let begun = Some(begun).filter(|begun| {
                let (lines, rest) = begun.as_chunks::<2>();
                !rest.is_empty() || lines.iter().any(|line| line != b"\r\n")
            });
            if let Some(begun) = begun {
                stream.unread(begun);
                if !seat.arrived() {
                    return;
                }
                continue;
            }
            tokio::select! {
                biased;
                () = std::future::poll_fn(|cx| stream.poll_awake(cx)) => {}
                () = stop.asked_gently() => stop.repeat(),
                overdue = std::future::poll_fn(|cx| watch.poll(cx)) => {
                    return self.cut_off(overdue);
                }
            }
        };
        let kept = upgraded.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(((mut stream, behind), (tunnel, exchange))) = outcome.zip(kept) else { return };
        stream.unread(behind);
        tokio::select! {
            biased;
            () = Box::pin(tunnel.run(core, exchange, stream, Some(seat))) => {}
            overdue = std::future::poll_fn(|cx| watch.poll(cx)) => self.cut_off(overdue),
        }
    }

    /// How long an idle connection stays when this process is replaced.
    fn grace(&self) -> Duration {
        (self.in_force.settings.drain_timeout / 2).min(GRACE)
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

    /// A connection of HTTP/1 broke.
    fn broke(&self, broken: Broken<Failure>) {
        match broken {
            Broken::Body(failure) => self.core.failed(&failure, None),
            Broken::Flaw(flaw) if flaw.is_limit() => self.unread(&Failure::HeadTooLarge(flaw)),
            Broken::Flaw(flaw) if flaw.status().is_some() => self.unread(&Failure::Head(flaw)),
            // A client that hung up.
            Broken::Flaw(_) => {}
        }
    }

    /// One of HTTP/2 did.
    pub(super) fn failed(&self, error: hyper::Error) {
        if let Some(failure) = error.source().and_then(|source| source.downcast_ref::<Failure>()) {
            self.core.failed(failure, None);
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

/// What a client speaks where TLS is expected.
enum Greeting {
    Tls,
    Http,
}

/// Who was met where TLS is expected.
enum Met {
    Tls(Box<TlsStream<Box<Downstream>>>),
    Http(Box<Downstream>),
}

/// Tells by the first byte what is spoken: a record of TLS does not begin with a letter.
async fn greet(stream: &mut Downstream) -> io::Result<Greeting> {
    let mut first = [0];
    stream.read_exact(&mut first).await?;
    stream.unread(Bytes::copy_from_slice(&first));
    Ok(if first[0].is_ascii_uppercase() { Greeting::Http } else { Greeting::Tls })
}

fn limits(limits: &DownstreamLimits) -> http1::Limits {
    http1::Limits { head_bytes: limits.head_bytes, headers: limits.headers }
}
