//! The way to the application.
//!
//! It chooses a server and sends requests to it, in HTTP/1.1 with `Host` as received and targets in
//! origin-form. It promises that what may have reached the application is not sent again, because
//! a second logout is a second session. A request goes to another connection, or to another server,
//! only if not a byte of it was written; or if its exchange allows it ([`Replay`]), its connection
//! was a pooled one, and that was closed without a byte of an answer.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::response::Parts;
use http::{Request, Response, StatusCode, Version};
use tokio::time::timeout;

use super::balance::{Candidate, Turns};
use super::body::{DownstreamBody, Progress, UpstreamBody};
use super::checks::Visitor;
use super::clock::Clock;
use super::connect::connect;
use super::descriptors;
use super::failure::{Failure, Stage, Unrelayable};
use super::forwarded::Announced;
use super::headers;
use super::health::{Availability, Change};
use super::link::{Link, Unanswered};
use super::pace::Alarm;
use super::places::{Answer, Granted, InLine, Place};
use super::pool::PoolLimits;
use super::proxy_header::{Header, Named};
use super::seats::Seats;
use super::server::{Burden, Lease, Owner, Server};
use super::settings::{Address, SiteSettings, UpstreamLimits, UpstreamSettings};
use super::switching::Asked;
use super::tls::client::Client;
use super::tunnel::Tunnel;
use crate::guard::moment::Moment;

/// How many pooled connections may turn out to be closed before a new one is made.
const POOLED_ATTEMPTS: usize = 2;

/// The pause before another attempt when there was no file descriptor.
const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// What becomes of a server.
#[derive(Clone, Copy, Debug)]
pub enum News<'a> {
    /// It went down, or is back.
    Changed(&'a Change),
    /// A connection to it was made, on this core and within this time.
    Connected { core: usize, time: Duration },
}

/// Is told what becomes of servers. Must not block.
pub type Told = dyn Fn(&Server, News<'_>) + Send + Sync;

/// The application of one site, as all cores share it.
pub struct Upstream {
    servers: Box<[Member]>,
    turns: Turns,
    settings: UpstreamSettings,
    limits: UpstreamLimits,
    clock: Clock,
    seats: Arc<Seats>,
    told: Arc<Told>,
    pub(super) visitor: Arc<Visitor>,
}

/// A server, and what it is to this site.
#[derive(Debug)]
pub struct Member {
    pub server: Arc<Server>,
    weight: u32,
}

/// How a request is sent.
#[derive(Clone, Copy, Debug)]
pub struct Sending<'a> {
    /// The core that it is sent on.
    pub core: usize,
    /// Whose request it is: where PROXY headers are sent, its connection belongs to nobody else.
    pub client: Option<&'a Named>,
    /// Lines of its head beside its headers.
    pub announced: Option<&'a Announced>,
    /// Whether it asks for another protocol.
    pub switches: bool,
    pub replay: Replay,
    /// Just now.
    pub now: Moment,
}

/// Whether a request may be sent again that a pooled connection was closed upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    Never,
    /// If not a byte of an answer has come. Its method is safe, it has no content, and nothing is
    /// held for it.
    Stale,
}

/// Why a server gave no response.
enum Refused {
    /// The request may be sent to another.
    Again(Failure),
    Failed(Failure),
}

/// Why there is no response on a connection.
enum Lost {
    /// Not a byte of the request was written.
    Unsent(Failure),
    /// A pooled connection was closed without a byte of an answer.
    Stale(Failure),
    Failed(Failure),
}

/// Whether a connection has carried requests before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    New,
    Pooled,
}

/// A server that was chosen.
struct Chosen<'a> {
    index: usize,
    server: &'a Arc<Server>,
    burden: Option<Burden>,
    /// For connecting.
    limit: Duration,
}

impl Upstream {
    /// No connection is made yet, on any of so many `cores`. `seats` make room when there is no
    /// file descriptor for one. Servers that `before` has, too, are taken over with all that is
    /// known of them; `tls` is how those that have it in their address are spoken with.
    pub fn new(
        settings: &SiteSettings,
        cores: usize,
        clock: Clock,
        seats: Arc<Seats>,
        told: Arc<Told>,
        tls: Option<Arc<Client>>,
        before: Option<&Self>,
    ) -> Self {
        let (limits, settings) = (settings.upstream_limits, settings.upstream.clone());
        let known = |address: &Address, tls: &Option<Arc<Client>>| {
            let servers = before.iter().flat_map(|before| &*before.servers);
            let mut servers = servers.map(|member| &member.server);
            // Connections of a server that was believed for other reasons are of no use.
            servers.find(|server| server.address == *address && server.tls == *tls)
        };
        let servers: Box<[Member]> = settings
            .servers
            .iter()
            .map(|one| {
                let tls = match one.address {
                    Address::Tls { .. } => tls.clone(),
                    Address::Tcp { .. } | Address::Unix(_) => None,
                };
                let server = match known(&one.address, &tls) {
                    Some(server) => Arc::clone(server),
                    None => Arc::new(Server::new(one.address.clone(), tls, cores, clock)),
                };
                server.places.limit_to(limits.connections);
                if settings.check.is_none() {
                    server.health.unchecked(clock.now());
                }
                Member { server, weight: one.weight }
            })
            .collect();
        let turns = Turns::new(settings.method, servers.len());
        let visitor = before.map_or_else(Arc::default, |before| Arc::clone(&before.visitor));
        Self { servers, turns, settings, limits, clock, seats, told, visitor }
    }

    /// Its servers, in the order of the configuration.
    pub fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.servers.iter().map(|member| &member.server)
    }

    /// What it was made of.
    pub fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }

    /// What a connection for a client, or for nobody, begins with.
    pub fn header(&self, named: Option<&Named>) -> Option<Header> {
        self.settings.header.map(|version| Header { version, named: named.copied() })
    }

    /// Whether a connection begins with what is known of a client.
    pub const fn tells_clients(&self) -> bool {
        self.settings.header.is_some()
    }

    /// Closes connections of a core that have been idle for too long.
    pub fn expire(&self, core: usize) {
        let (limits, now) = (self.pool_limits(), self.clock.now());
        self.servers().for_each(|server| server.pool(core).expire(&limits, now));
    }

    /// Closes all idle connections: their file descriptors are needed elsewhere.
    pub fn clear(&self) {
        self.servers().for_each(|server| server.clear());
    }

    /// Sends a request and waits for the head of its response, whose hop-by-hop headers are gone.
    /// The connection is pooled again when the response's body has been read to its end; it is
    /// closed if that body is dropped before, or if this future is.
    ///
    /// Where there is no connection to a server the next one is tried, each of them once, and all
    /// of them within the connect timeout.
    ///
    /// `request` is there, and is taken when it has been sent or is given up.
    pub fn send(
        &self,
        mut sending: Sending<'_>,
        request: &mut Option<Box<Request<UpstreamBody>>>,
    ) -> impl Future<Output = Result<Response<DownstreamBody>, Failure>> + Send {
        let progress = request.as_mut().map(|request| {
            *request.version_mut() = Version::HTTP_11;
            request.body().progress()
        });
        let mut course = Course::new(&self.limits);
        async move {
            let Some(progress) = progress else { return Err(Failure::ConnectTimeout) };
            while let Some(chosen) = self.choose(&course, &sending) {
                course.try_one(chosen.index);
                match self.send_to(chosen, &sending, request, &progress, &mut course).await {
                    Ok(response) => return Ok(response),
                    Err(Refused::Failed(last)) => return Err(course.outcome(last)),
                    Err(Refused::Again(latest)) => course.latest = Some(Box::new(latest)),
                }
                sending.now = self.clock.now();
            }
            let latest = course.latest.take().map_or(Failure::ConnectTimeout, |latest| *latest);
            Err(course.outcome(latest))
        }
    }

    /// The next server. Those that are down are chosen where no other is left.
    fn choose(&self, course: &Course, sending: &Sending<'_>) -> Option<Chosen<'_>> {
        let left = self.servers.len().saturating_sub(course.number());
        let limit = course.for_connecting(left);
        let chosen = |index: usize, burden| {
            let server = &self.servers[index].server;
            Chosen { index, server, burden, limit }
        };
        if let [_] = &*self.servers {
            return (left > 0).then(|| chosen(0, None));
        }
        let (core, now) = (sending.core, sending.now);
        let candidate = |index: usize, share: u32| {
            let Member { server, weight } = &self.servers[index];
            // A share is at most 1,000, and so is a weight.
            let weight = weight.saturating_mul(share).max(1);
            (!course.has_tried(index)).then(|| Candidate { weight, load: server.load() })
        };
        let usable = |index: usize| {
            let share = self.servers[index].server.health.share(&self.settings.rules, now);
            share.and_then(|share| candidate(index, share))
        };
        let with_room = |index: usize| {
            usable(index).filter(|_| self.has_room(&self.servers[index].server, core))
        };
        let index = (self.turns.next(with_room))
            .or_else(|| self.turns.next(usable))
            .or_else(|| self.turns.next(|index| candidate(index, 1)))?;
        let server = &self.servers[index].server;
        let on_trial =
            server.health.availability(now) == Availability::OnTrial && server.health.begin_trial();
        Some(chosen(index, Some(Burden::new(server, on_trial))))
    }

    /// Whether a server has a connection for another request at once.
    fn has_room(&self, server: &Server, core: usize) -> bool {
        let limit = self.limits.connections;
        limit == 0
            || (!server.places.is_waited_for()
                && (server.places.open() < limit || !server.pool(core).is_empty()))
    }

    /// Sends a request to one server.
    fn send_to(
        &self,
        mut chosen: Chosen<'_>,
        sending: &Sending<'_>,
        request: &mut Option<Box<Request<UpstreamBody>>>,
        progress: &Progress,
        course: &mut Course,
    ) -> impl Future<Output = Result<Response<DownstreamBody>, Refused>> + Send {
        let owner = Owner { core: sending.core, header: self.header(sending.client).map(Box::new) };
        async move {
            let owner = &owner;
            let (mut attempts, mut now) = (POOLED_ATTEMPTS, sending.now);
            loop {
                let (link, age) = match self.pooled(chosen.server, owner, attempts, now) {
                    Some(link) => (link, Age::Pooled),
                    // Connecting is rare, and takes a large future.
                    None => match Box::pin(self.obtain(&chosen, owner, progress, course)).await {
                        Ok(obtained) => {
                            now = self.clock.now();
                            obtained
                        }
                        Err(failure) if failure.is_final() => return Err(Refused::Failed(failure)),
                        Err(failure) => return Err(Refused::Again(failure)),
                    },
                };
                progress.moved(now);
                let replayed = age == Age::Pooled && sending.replay == Replay::Stale;
                let link = (link, age, replayed);
                let attempt = self.attempt(&mut chosen, link, owner, sending, request, progress);
                match attempt.await {
                    Ok(response) => return Ok(response),
                    Err(Lost::Failed(failure)) => return Err(Refused::Failed(failure)),
                    Err(Lost::Unsent(_)) if age == Age::Pooled && attempts > 0 => {}
                    Err(Lost::Unsent(failure)) => return Err(Refused::Again(failure)),
                    Err(Lost::Stale(failure)) if replayed => course.sent = Some(Box::new(failure)),
                    Err(Lost::Stale(failure)) => return Err(Refused::Failed(failure)),
                }
                (attempts, now) = (attempts.saturating_sub(1), self.clock.now());
            }
        }
    }

    /// A pooled connection, unless somebody waits for one: nobody is overtaken.
    fn pooled(&self, server: &Server, owner: &Owner, attempts: usize, now: Moment) -> Option<Link> {
        if attempts == 0 || server.places.is_waited_for() {
            return None;
        }
        server.pool(owner.core).take(owner.header.as_deref(), &self.pool_limits(), now)
    }

    /// A new connection, or one that has just become idle, after waiting for a place for it.
    async fn obtain(
        &self,
        chosen: &Chosen<'_>,
        owner: &Owner,
        progress: &Progress,
        course: &mut Course,
    ) -> Result<(Link, Age), Failure> {
        let places = &chosen.server.places;
        let mut answer = places.ask(owner.core, Some(self.limits.queue));
        // However short the line may be, who can have an idle one closed for it has a place.
        if !matches!(answer, Answer::Granted(_))
            && chosen.server.close_oldest_idle()
            && matches!(answer, Answer::Full)
        {
            answer = places.ask(owner.core, None);
        }
        let place = match answer {
            Answer::Granted(place) => place,
            Answer::Full => return Err(Failure::QueueFull),
            Answer::Wait(line) => match self.turn(line, progress, course).await? {
                Granted::Place(place) => place,
                Granted::Link(link) => return Ok((link, Age::Pooled)),
            },
        };
        let began = self.clock.now();
        let outcome = self.connect(chosen, owner, place).await;
        let time = self.clock.now().since(began);
        course.connecting_took(time);
        match &outcome {
            Ok(_) => (self.told)(chosen.server, News::Connected { core: owner.core, time }),
            // That is our own trouble, not the server's.
            Err(Failure::Connect(error)) if descriptors::are_exhausted(error) => {}
            Err(failure) => self.failed(chosen.server, failure),
        }
        outcome.map(|link| (link, Age::New))
    }

    /// Waits in line, for as long as its client does.
    async fn turn(
        &self,
        mut line: InLine,
        progress: &Progress,
        course: &mut Course,
    ) -> Result<Granted, Failure> {
        let began = self.clock.now();
        let granted = tokio::select! {
            biased;
            granted = timeout(course.queueing, line.turn()) => granted,
            () = progress.abandoned() => return Err(Failure::Abandoned),
        };
        course.queueing_took(self.clock.now().since(began));
        match granted {
            Ok(Some(granted)) => Ok(granted),
            // The server is down: another may have room.
            Ok(None) => Err(Failure::QueueFull),
            Err(_) => Err(Failure::QueueTimeout),
        }
    }

    /// Connects. Where there is no file descriptor for it, what is idle on both sides is closed,
    /// and it is tried again within the time for connecting.
    async fn connect(
        &self,
        chosen: &Chosen<'_>,
        owner: &Owner,
        place: Place,
    ) -> Result<Link, Failure> {
        let place = Arc::new(place);
        let until = self.clock.now().after(chosen.limit);
        loop {
            let (client, place) = (self.settings.client, Arc::clone(&place));
            let outcome = connect(
                chosen.server,
                client,
                owner.header.as_deref().copied(),
                chosen.limit,
                place,
            )
            .await;
            let Err(Failure::Connect(error)) = &outcome else { return outcome };
            let now = self.clock.now();
            if !descriptors::are_exhausted(error) || now >= until {
                return outcome;
            }
            self.clear();
            self.seats.make_room(now);
            tokio::time::sleep(ROOM_PAUSE).await;
        }
    }

    /// Sends a request on a connection. Where it is `replayed` it stays, for another.
    fn attempt(
        &self,
        chosen: &mut Chosen<'_>,
        (mut link, age, replayed): (Link, Age, bool),
        owner: &Owner,
        sending: &Sending<'_>,
        request: &mut Option<Box<Request<UpstreamBody>>>,
        progress: &Progress,
    ) -> impl Future<Output = Result<Response<DownstreamBody>, Lost>> + Send {
        let (server, announced) = (chosen.server, sending.announced);
        let switching = request.as_ref().filter(|_| sending.switches);
        let asked = switching.and_then(|request| Asked::of(request.headers())).map(Box::new);
        let mut alarm = link.alarm();
        async move {
            let answered = {
                let sending = pin!(link.send(request, announced, replayed));
                self.within_response_timeout(sending, progress, &mut alarm).await
            };
            link.keep_alarm(alarm);
            let lost = match answered {
                Some(Ok(parts)) => {
                    let unsent = match link.is_uploading() {
                        true => request.take().map(|request| request.into_body()),
                        false => None,
                    };
                    *request = None;
                    let received = self.received(chosen, link, owner, asked, parts, unsent);
                    match &received {
                        Ok(_) => self.succeeded(server),
                        Err(failure) => self.failed(server, failure),
                    }
                    return received.map_err(Lost::Failed);
                }
                Some(Err(unanswered)) => match (unanswered, progress.take_failure()) {
                    // The client's.
                    (_, Some(failure)) => return Err(Lost::Failed(failure)),
                    (unsent @ Unanswered::Unsent(_), None) => Lost::Unsent(unsent.into_failure()),
                    (silent @ Unanswered::Silent(_), None) if age == Age::Pooled => {
                        // Connections are closed all the time that nobody used for a while.
                        return Err(Lost::Stale(silent.into_failure()));
                    }
                    (unanswered, None) => Lost::Failed(unanswered.into_failure()),
                },
                None => Lost::Failed(Failure::ResponseTimeout),
            };
            match &lost {
                Lost::Failed(failure) => self.failed(server, failure),
                Lost::Unsent(failure) if age == Age::New => self.failed(server, failure),
                Lost::Unsent(_) | Lost::Stale(_) => {}
            }
            Err(lost)
        }
    }

    /// Awaits the head of a response. The time counts from the last piece of the request's body
    /// that the connection took, so that a long upload is not cut off; and not while the client is
    /// the one to wait for, which the body itself bounds.
    fn within_response_timeout<T>(
        &self,
        mut head: Pin<&mut impl Future<Output = T>>,
        progress: &Progress,
        alarm: &mut Option<Box<Alarm>>,
    ) -> impl Future<Output = Option<T>> {
        let limit = self.limits.response_timeout;
        let mut due = progress.last().after(limit);
        poll_fn(move |cx| {
            loop {
                if let Poll::Ready(outcome) = head.as_mut().poll(cx) {
                    return Poll::Ready(Some(outcome));
                }
                let alarm =
                    alarm.get_or_insert_with(|| Box::new(Alarm::new(self.clock.now(), limit)));
                ready!(alarm.poll(cx, &self.clock, due));
                let (now, moved) = (self.clock.now(), progress.last().after(limit));
                due = match progress.awaits_client() {
                    _ if moved > now => moved,
                    true => now.after(limit),
                    false => return Poll::Ready(None),
                };
            }
        })
    }

    fn received(
        &self,
        chosen: &mut Chosen<'_>,
        link: Link,
        owner: &Owner,
        asked: Option<Box<Asked>>,
        mut parts: Parts,
        unsent: Option<UpstreamBody>,
    ) -> Result<Response<DownstreamBody>, Failure> {
        let switched = parts.status == StatusCode::SWITCHING_PROTOCOLS;
        let asked = asked.filter(|asked| switched && asked.is_granted(&parts));
        if switched && asked.is_none() {
            return Err(Failure::Unrelayable(Unrelayable::Switched));
        }
        headers::clean_response(&mut parts.headers).map_err(Failure::Unrelayable)?;
        // hyper would speak HTTP/1.0 on a connection that has answered so, and would then drop
        // bodies without a length.
        let again = parts.version == Version::HTTP_11 && !switched;
        parts.version = Version::HTTP_11;
        let (limits, burden) = (self.pool_limits(), chosen.burden.take());
        let lease = Lease::new(link, chosen.server, owner.core, limits, again, burden);
        let body = match asked {
            Some(asked) => {
                asked.put(&mut parts.headers);
                DownstreamBody::tunnel(Tunnel::to(lease))
            }
            None => {
                DownstreamBody::relayed(self.limits.response_timeout, self.clock, lease, unsent)
            }
        };
        Ok(Response::from_parts(parts, body))
    }

    fn succeeded(&self, server: &Server) {
        if !server.health.is_marked() {
            return;
        }
        if let Some(change) = server.health.succeeded(&self.settings.rules, self.clock.now()) {
            self.changed(server, &change);
        }
    }

    fn failed(&self, server: &Server, failure: &Failure) {
        let (how, now) = (failure.word(), self.clock.now());
        if let Some(change) = server.health.failed(how, &self.settings.rules, now) {
            self.changed(server, &change);
        }
    }

    /// Draws the consequences, and tells.
    pub(super) fn changed(&self, server: &Server, change: &Change) {
        match change {
            Change::Down(_) => {
                server.clear();
                // Others may have room.
                if self.servers.len() > 1 {
                    server.places.dismiss();
                }
            }
            Change::Up(_) => {}
        }
        (self.told)(server, News::Changed(change));
    }

    fn pool_limits(&self) -> PoolLimits {
        PoolLimits {
            capacity: self.limits.idle_connections,
            idle_timeout: self.limits.idle_timeout,
            settle_timeout: self.limits.response_timeout,
        }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("servers", &self.servers).finish_non_exhaustive()
    }
}

/// How far a request has come, over all servers that were tried.
struct Course {
    /// A bit for each server.
    tried: u64,
    /// What is left of the time for connecting.
    connecting: Duration,
    /// Of that for waiting in lines.
    queueing: Duration,
    /// How a connection ended on which all of it was sent: it may have been carried out, whatever
    /// becomes of it later.
    sent: Option<Box<Failure>>,
    /// Why the last server that was tried is not to be asked.
    latest: Option<Box<Failure>>,
}

impl Course {
    fn new(limits: &UpstreamLimits) -> Self {
        let UpstreamLimits { connect_timeout, queue_timeout, .. } = *limits;
        Self {
            tried: 0,
            connecting: connect_timeout,
            queueing: queue_timeout,
            sent: None,
            latest: None,
        }
    }

    fn try_one(&mut self, index: usize) {
        self.tried |= 1 << index;
    }

    fn has_tried(&self, index: usize) -> bool {
        self.tried & (1 << index) != 0
    }

    fn number(&self) -> usize {
        self.tried.count_ones() as usize
    }

    /// The time for one of so many servers that are left to be tried.
    fn for_connecting(&self, left: usize) -> Duration {
        let parts = u32::try_from(left).unwrap_or(u32::MAX).max(1);
        self.connecting / parts
    }

    fn connecting_took(&mut self, time: Duration) {
        self.connecting = self.connecting.saturating_sub(time);
    }

    fn queueing_took(&mut self, time: Duration) {
        self.queueing = self.queueing.saturating_sub(time);
    }

    /// Why there is no response.
    fn outcome(self, latest: Failure) -> Failure {
        match latest.stage() {
            Stage::Request | Stage::Connect => self.sent.map_or(latest, |sent| *sent),
            Stage::Forward | Stage::Relay => latest,
        }
    }
}

/// A request without content, to be sent a second time.
pub fn copy_of(request: &Request<UpstreamBody>, clock: Clock) -> Box<Request<UpstreamBody>> {
    let mut copy = Box::new(Request::new(UpstreamBody::empty(clock)));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}

#[cfg(test)]
#[path = "upstream_tests.rs"]
mod tests;
