//! What is told of an exchange: to the meters, and to the access log where there is one.
//!
//! It promises that each exchange is counted once and has one line, whatever becomes of it and of
//! its client: an account is owned by whoever carries the exchange at the time (its story, the task
//! that observes an answer for nobody, the body that is relayed), and it is closed when it is
//! dropped.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderValue, REFERER, USER_AGENT};
use http::{Method, Request, StatusCode, Uri, Version};

use super::clock::Clock;
use super::connection::Arrival;
use super::core::Core;
use super::failure::Failure;
use super::server::Server;
use super::site::Site;
use crate::guard::exchange::Facts;
use crate::guard::fact::{Event, RouteId};
use crate::guard::moment::Moment;
use crate::guard::policy::Terms;
use crate::guard::route::StandingWord;
use crate::telemetry::access::trace::Trace;
use crate::telemetry::access::{Exchange, Lane, RequestLine, Verdict};
use crate::telemetry::meter::{Measured, Meter};

/// What is known of one exchange so far; nothing where there is none.
#[derive(Default)]
pub struct Account(Option<Known>);

struct Known {
    clock: Clock,
    began: Moment,
    /// Its core's, of its site; before that is known, of no site.
    meter: Arc<Meter>,
    standing: Option<StandingWord>,
    verdict: Option<Verdict>,
    sent_on: Option<Moment>,
    answered: Option<Moment>,
    /// As it was sent to the client.
    status: Option<StatusCode>,
    /// What only a line tells.
    story: Option<Box<Story>>,
}

struct Story {
    lane: Arc<Lane>,
    began_unix_ms: u64,
    peer: IpAddr,
    client: IpAddr,
    method: Method,
    uri: Uri,
    version: Version,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    site: Option<Arc<Site>>,
    server: Option<Arc<Server>>,
    route: Option<RouteId>,
    class: Option<&'static str>,
    why: Option<&'static str>,
    bytes: u64,
    ended: bool,
    trace: Option<Arc<Trace>>,
}

/// As nginx has it: the client had gone before anything could be sent to it.
const CLIENT_GONE: u16 = 499;
/// Why an exchange failed that ends by a panic.
const PANICKED: &str = "panicked";

impl Account {
    /// Of an exchange whose head has just come, `now`.
    pub fn begin<B>(core: &Core, arrival: &Arrival, request: &Request<B>, now: Moment) -> Self {
        let story = core.access.is_on().then(|| Box::new(Story::begin(core, arrival, request)));
        Self(Some(Known {
            clock: core.clock,
            began: now,
            meter: Arc::clone(&core.meter),
            standing: None,
            verdict: None,
            sent_on: None,
            answered: None,
            status: None,
            story,
        }))
    }

    /// Who is held responsible.
    pub fn client(&mut self, client: IpAddr) {
        self.tell(|story| story.client = client);
    }

    /// Which site it is for, on which core.
    pub fn site(&mut self, site: &Arc<Site>, core: usize) {
        self.note(|known| known.meter = Arc::clone(site.shield.telemetry.meter(core)));
        self.tell(|story| story.site = Some(Arc::clone(site)));
    }

    /// What the guard found, and what it said; `class` is of its path, where no rule names it.
    pub fn verdict(&mut self, facts: &Facts, class: impl FnOnce() -> Option<&'static str>) {
        let mut verdict = Verdict::Forwarded;
        let mut why = None;
        for fact in facts.as_slice() {
            match fact.event {
                Event::Refused(reason) => {
                    verdict = Verdict::Refused;
                    why = Some(reason.word());
                }
                Event::WouldRefuse(reason) => why = Some(reason.word()),
                Event::Challenged => verdict = Verdict::Challenged,
                Event::Answered => verdict = Verdict::Answered,
                Event::WouldAbsorb
                | Event::Recycled
                | Event::Stripped
                | Event::Deleted
                | Event::Removed
                | Event::Wrote(_) => {}
            }
        }
        self.note(|known| {
            known.standing = Some(facts.standing());
            known.verdict = Some(verdict);
        });
        self.tell(|story| {
            story.class = class();
            story.route = Some(facts.route());
            story.why = why.or(story.why);
        });
    }

    /// What it takes to decide about it again.
    pub fn traced(&mut self, trace: Option<Arc<Trace>>) {
        self.tell(|story| story.trace = trace);
    }

    /// It was answered without the guard being asked.
    pub fn replied(&mut self, verdict: Verdict) {
        self.note(|known| known.verdict = Some(verdict));
    }

    /// It is sent on to the application now.
    pub fn sent_on(&mut self, now: Moment) {
        self.note(|known| known.sent_on = Some(now));
    }

    /// The head of the application's response has come, or none will.
    pub fn answered(&mut self, by: Option<&Arc<Server>>, now: Moment) {
        self.note(|known| known.answered = Some(now));
        self.tell(|story| story.server = by.cloned());
    }

    /// What the settlement brought to light.
    pub fn settled(&mut self, facts: &Facts) {
        let recycled = facts.as_slice().iter().any(|fact| fact.event == Event::Recycled);
        if recycled {
            self.replied(Verdict::Recycled);
        }
    }

    /// It goes on as another protocol.
    pub fn tunnelled(&mut self) {
        self.replied(Verdict::Tunnelled);
    }

    /// How it failed.
    pub fn failed(&mut self, failure: &Failure) {
        self.tell(|story| story.why = Some(failure.word()));
        if matches!(failure, Failure::Request(_)) {
            self.replied(Verdict::Rejected);
        }
    }

    /// It ends by a panic.
    pub fn panicked(&mut self) {
        self.note(|known| {
            known.status.get_or_insert(StatusCode::INTERNAL_SERVER_ERROR);
        });
        self.tell(|story| story.why = Some(PANICKED));
    }

    /// This is sent to the client; `bodyless` where nothing follows.
    pub fn responds(&mut self, status: StatusCode, bodyless: bool) {
        self.note(|known| known.status = Some(status));
        self.tell(|story| {
            story.ended = bodyless || story.method == Method::HEAD;
        });
    }

    /// So many bytes more were relayed.
    pub fn relayed(&mut self, bytes: u64) {
        self.tell(|story| story.bytes += bytes);
    }

    /// The whole response was relayed.
    pub fn ended(&mut self) {
        self.tell(|story| story.ended = true);
    }

    fn note(&mut self, what: impl FnOnce(&mut Known)) {
        if let Some(known) = &mut self.0 {
            what(known);
        }
    }

    fn tell(&mut self, what: impl FnOnce(&mut Story)) {
        if let Some(story) = self.0.as_mut().and_then(|known| known.story.as_mut()) {
            what(story);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.0.is_some() && std::thread::panicking() {
            // Nobody else is left who could say so.
            self.panicked();
        }
        if let Some(known) = self.0.take() {
            known.close();
        }
    }
}

impl Known {
    fn close(&self) {
        let measured = Measured {
            standing: self.standing,
            verdict: self.verdict,
            status: self.status.map_or(CLIENT_GONE, |status| status.as_u16()),
            duration: self.clock.now().since(self.began),
            upstream: self.upstream_time(),
        };
        self.meter.count(&measured);
        if let Some(story) = &self.story {
            story.log(&measured);
        }
    }

    fn upstream_time(&self) -> Option<Duration> {
        self.sent_on.zip(self.answered).map(|(sent, answered)| answered.since(sent))
    }
}

impl Story {
    fn begin<B>(core: &Core, arrival: &Arrival, request: &Request<B>) -> Self {
        let header = |name| request.headers().get(name).cloned();
        Self {
            lane: Arc::clone(&core.access),
            began_unix_ms: core.clock.unix_ms(),
            peer: arrival.peer.ip(),
            client: arrival.peer.ip(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            host: header(HOST),
            user_agent: header(USER_AGENT),
            referer: header(REFERER),
            site: None,
            server: None,
            route: None,
            class: None,
            why: None,
            bytes: 0,
            ended: false,
            trace: None,
        }
    }

    fn log(&self, measured: &Measured) {
        let site = self.site.as_deref();
        let path = self.uri.path_and_query().map(|target| target.as_str());
        // The target of a CONNECT.
        let target = path.or(self.uri.authority().map(|authority| authority.as_str()));
        let host = self.host.as_ref().map(HeaderValue::as_bytes);
        let authority = self.uri.authority().map(|authority| authority.as_str().as_bytes());
        let name = |route| site.map(|site| site.shield.telemetry.name(route));
        self.lane.log(&Exchange {
            began_unix_ms: self.began_unix_ms,
            duration: measured.duration,
            site: site.map(|site| &*site.name),
            client: self.client,
            peer: self.peer,
            request: Some(RequestLine {
                method: self.method.as_str(),
                target: target.unwrap_or("-"),
                protocol: protocol(self.version),
            }),
            host: host.or(authority),
            user_agent: self.user_agent.as_ref().map(HeaderValue::as_bytes),
            referer: self.referer.as_ref().map(HeaderValue::as_bytes),
            status: measured.status,
            bytes: self.bytes,
            upstream: self.server.as_ref().map(|server| &*server.name),
            upstream_time: measured.upstream,
            standing: measured.standing,
            route: self.route.and_then(name),
            class: self.class,
            verdict: measured.verdict,
            why: self.why,
            aborted: !self.ended,
            trace: self.trace.as_deref(),
            stands_in: self.stands_in(),
        });
    }

    /// Whether it was told another budget than its address would get.
    fn stands_in(&self) -> bool {
        let usual = self.trace.as_ref().is_some_and(|trace| trace.asked.usual);
        let terms = |site: &Arc<Site>| site.shield.guard.policy().client.terms(self.client);
        usual && self.site.as_ref().is_some_and(|site| terms(site) != Terms::Usual)
    }
}

/// Counts and logs a request that no exchange has seen: its head was not taken, or did not come in
/// time.
pub fn unread(core: &Core, peer: IpAddr, failure: &Failure) {
    let late = matches!(failure, Failure::HeadTimeout);
    let status = failure.status();
    let (status, verdict) = (status.as_u16(), Some(Verdict::Rejected));
    let duration = Duration::ZERO;
    core.meter.count(&Measured { standing: None, verdict, status, duration, upstream: None });
    if !core.access.is_on() {
        return;
    }
    core.access.log(&Exchange {
        began_unix_ms: core.clock.unix_ms(),
        duration,
        site: None,
        client: peer,
        peer,
        request: None,
        host: None,
        user_agent: None,
        referer: None,
        status,
        bytes: 0,
        upstream: None,
        upstream_time: None,
        standing: None,
        route: None,
        class: None,
        verdict,
        why: Some(failure.word()),
        aborted: late,
        trace: None,
        stands_in: false,
    });
}

/// As request lines have it, and nginx.
fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Account").field(&self.0.is_some()).finish()
    }
}
