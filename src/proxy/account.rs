//! What the access log is told of an exchange.
//!
//! It promises one line for each exchange, whatever becomes of it and of its client: an account is
//! owned by whoever carries the exchange at the time (its story, the task that observes an answer
//! for nobody, the body that is relayed), and the line is written when it is dropped.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

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

/// What is known of one exchange so far; nothing where nothing is logged.
#[derive(Default)]
pub struct Account(Option<Box<Story>>);

struct Story {
    lane: Arc<Lane>,
    clock: Clock,
    began: Moment,
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
    found: Option<(RouteId, StandingWord)>,
    class: Option<&'static str>,
    verdict: Option<Verdict>,
    why: Option<&'static str>,
    sent_on: Option<Moment>,
    answered: Option<Moment>,
    /// As it was sent to the client.
    status: Option<StatusCode>,
    bytes: u64,
    ended: bool,
    trace: Option<Arc<Trace>>,
}

/// As nginx has it: the client had gone before anything could be sent to it.
const CLIENT_GONE: u16 = 499;

impl Account {
    /// Of an exchange whose head has just come.
    pub fn begin<B>(core: &Core, arrival: &Arrival, request: &Request<B>) -> Self {
        if !core.access.is_on() {
            return Self(None);
        }
        let header = |name| request.headers().get(name).cloned();
        let (clock, began) = (core.clock, core.clock.now());
        Self(Some(Box::new(Story {
            lane: Arc::clone(&core.access),
            clock,
            began,
            began_unix_ms: clock.unix_ms(),
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
            found: None,
            class: None,
            verdict: None,
            why: None,
            sent_on: None,
            answered: None,
            status: None,
            bytes: 0,
            ended: false,
            trace: None,
        })))
    }

    /// Who is held responsible.
    pub fn client(&mut self, client: IpAddr) {
        self.tell(|story| story.client = client);
    }

    /// Which site it is for.
    pub fn site(&mut self, site: &Arc<Site>) {
        self.tell(|story| story.site = Some(Arc::clone(site)));
    }

    /// What the guard found, and what it said; `class` is of its path, where no rule names it.
    pub fn verdict(&mut self, facts: &Facts, class: impl FnOnce() -> Option<&'static str>) {
        self.tell(|story| {
            story.class = class();
            story.found = Some((facts.route(), facts.standing()));
            story.verdict = Some(Verdict::Forwarded);
            for fact in facts.as_slice() {
                match fact.event {
                    Event::Refused(why) => {
                        story.verdict = Some(Verdict::Refused);
                        story.why = Some(why.word());
                    }
                    Event::WouldRefuse(why) => story.why = Some(why.word()),
                    Event::Challenged => story.verdict = Some(Verdict::Challenged),
                    Event::Answered => story.verdict = Some(Verdict::Answered),
                    Event::WouldAbsorb
                    | Event::Recycled
                    | Event::Stripped
                    | Event::Deleted
                    | Event::Removed
                    | Event::Wrote(_) => {}
                }
            }
        });
    }

    /// What it takes to decide about it again.
    pub fn traced(&mut self, trace: Option<Arc<Trace>>) {
        self.tell(|story| story.trace = trace);
    }

    /// It was answered without the guard being asked.
    pub fn replied(&mut self, verdict: Verdict) {
        self.tell(|story| story.verdict = Some(verdict));
    }

    /// It is sent on to the application now.
    pub fn sent_on(&mut self) {
        self.tell(|story| story.sent_on = Some(story.clock.now()));
    }

    /// The head of the application's response has come, or none will.
    pub fn answered(&mut self, by: Option<&Arc<Server>>) {
        self.tell(|story| {
            story.answered = Some(story.clock.now());
            story.server = by.cloned();
        });
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
        self.tell(|story| {
            story.why = Some(failure.word());
            if matches!(failure, Failure::Request(_)) {
                story.verdict = Some(Verdict::Rejected);
            }
        });
    }

    /// This is sent to the client; `bodyless` where nothing follows.
    pub fn responds(&mut self, status: StatusCode, bodyless: bool) {
        self.tell(|story| {
            story.status = Some(status);
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

    fn tell(&mut self, what: impl FnOnce(&mut Story)) {
        if let Some(story) = &mut self.0 {
            what(story);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(story) = self.0.take() {
            story.log();
        }
    }
}

impl Story {
    fn log(&self) {
        let site = self.site.as_deref();
        let path = self.uri.path_and_query().map(|target| target.as_str());
        // The target of a CONNECT.
        let target = path.or(self.uri.authority().map(|authority| authority.as_str()));
        let host = self.host.as_ref().map(HeaderValue::as_bytes);
        let authority = self.uri.authority().map(|authority| authority.as_str().as_bytes());
        let name = |(route, _)| site.map(|site| site.shield.telemetry.name(route));
        let time = |sent: Moment| self.answered.map(|answered| answered.since(sent));
        self.lane.log(&Exchange {
            began_unix_ms: self.began_unix_ms,
            duration: self.clock.now().since(self.began),
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
            status: self.status.map_or(CLIENT_GONE, |status| status.as_u16()),
            bytes: self.bytes,
            upstream: self.server.as_ref().map(|server| &*server.name),
            upstream_time: self.sent_on.and_then(time),
            standing: self.found.map(|(_, standing)| standing),
            route: self.found.and_then(name),
            class: self.class,
            verdict: self.verdict,
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

/// Logs a request that hyper has answered itself, or that did not come in time.
pub fn unread(core: &Core, peer: IpAddr, failure: &Failure) {
    if !core.access.is_on() {
        return;
    }
    let late = matches!(failure, Failure::HeadTimeout);
    // hyper keeps its kinds of errors to itself, but for their words.
    let status = match failure {
        Failure::HeadTooLarge(error) if error.to_string().contains("URI") => {
            StatusCode::URI_TOO_LONG
        }
        _ => failure.status(),
    };
    core.access.log(&Exchange {
        began_unix_ms: core.clock.unix_ms(),
        duration: std::time::Duration::ZERO,
        site: None,
        client: peer,
        peer,
        request: None,
        host: None,
        user_agent: None,
        referer: None,
        status: status.as_u16(),
        bytes: 0,
        upstream: None,
        upstream_time: None,
        standing: None,
        route: None,
        class: None,
        verdict: Some(Verdict::Rejected),
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
