//! Active checks of the servers, once for each process, on one of its cores.
//!
//! A check is a GET on a connection of its own, which takes a place like any other. It is admitted,
//! observed and settled like any request, at nobody's expense: a session that the application begins
//! with it is known, and is sent with the checks that follow, so that a site that saves on every
//! request keeps one record for all of them and not one for each.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{CONNECTION, COOKIE, HOST, HeaderValue, USER_AGENT};
use http::{Request, Response, Version};
use tokio::time::timeout;

use super::body::UpstreamBody;
use super::connect::connect;
use super::core::Core;
use super::exchange::{CookieLine, observe};
use super::failure::Failure;
use super::link::Unanswered;
use super::places::{Answer, Granted, Place};
use super::server::Server;
use super::settings::CheckSettings;
use super::shield::{Admitted, Decision};
use super::site::Site;
use crate::guard::challenge::Challenged;
use crate::guard::client::Client;
use crate::guard::cookie::Cookies;
use crate::guard::exchange::{self as guarded, Outcome, RelayCookie};
use crate::guard::key::SessionKey;
use crate::guard::moment::Moment;
use crate::guard::path;
use crate::guard::policy::Terms;
use crate::guard::set_cookie::SetSession;
use crate::telemetry::access::Check;
use crate::telemetry::access::trace::Trace;

/// After which a reload is noticed.
const LOOK: Duration = Duration::from_secs(1);

/// Between two looks at whether a site's first answer is there.
const SHORT_LOOK: Duration = Duration::from_millis(20);

/// What is read of an answer's body.
const BODY_BYTES: usize = 64 * 1024;

/// Where the checks come from.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Who asks, in the application's log.
const NAME: &str = concat!("floodwall/", env!("CARGO_PKG_VERSION"), " (health check)");

/// The one who makes the checks of a site, as the application sees it.
#[derive(Debug, Default)]
pub struct Visitor(Mutex<Visits>);

#[derive(Debug, Default)]
struct Visits {
    /// The session that the application gave it.
    key: Option<SessionKey>,
    /// Whether an answer has said if there is one. Until then there is one check at a time, or
    /// each server's would begin a session.
    is_answered: bool,
    is_asking: bool,
}

impl Visitor {
    /// Whether a check may begin. What is begun must end.
    fn begin(&self) -> bool {
        let mut visits = self.lock();
        let may = visits.is_answered || !visits.is_asking;
        visits.is_asking = true;
        may
    }

    fn end(&self) {
        self.lock().is_asking = false;
    }

    fn lock(&self) -> MutexGuard<'_, Visits> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks the servers of all sites that are to be checked, until it is dropped.
pub async fn run(core: Arc<Core>) {
    loop {
        let now = core.clock.now();
        let mut next = now.after(LOOK);
        for site in core.in_force().sites.all() {
            let Some(check) = &site.upstream.settings().check else { continue };
            for server in site.upstream.servers() {
                let due = Moment::from_nanos(server.check_due.load(Ordering::Acquire));
                if due > now {
                    next = next.min(due);
                } else if site.upstream.visitor.begin() {
                    server.check_due.store(Moment::NEVER.as_nanos(), Ordering::Release);
                    let visit = Visit {
                        core: Arc::clone(&core),
                        site: Arc::clone(site),
                        server: Arc::clone(server),
                        check: check.clone(),
                        due: now.after(check.interval),
                    };
                    tokio::spawn(visit.make());
                } else {
                    next = next.min(now.after(SHORT_LOOK));
                }
            }
        }
        tokio::time::sleep(next.since(core.clock.now())).await;
    }
}

/// One check.
struct Visit {
    core: Arc<Core>,
    site: Arc<Site>,
    server: Arc<Server>,
    check: CheckSettings,
    /// When the next one is due.
    due: Moment,
}

impl Visit {
    async fn make(self) {
        let outcome = match timeout(self.check.timeout, self.ask()).await {
            Ok(outcome) => outcome,
            Err(_) => Some(Err("no answer in time".to_owned())),
        };
        let now = self.core.clock.now();
        if let Some(outcome) = outcome
            && let Some(change) = self.server.health.checked(outcome, self.check.thresholds, now)
        {
            self.site.upstream.changed(&self.server, &change);
        }
    }

    /// Asks, and says whether the server is well; `None` if it was not asked, because all of its
    /// connections are in use.
    async fn ask(&self) -> Option<Result<(), String>> {
        let place = self.place().await?;
        // Told of when what was admitted is settled, also where this is given up.
        let mut told = Told { visit: self, trace: None };
        let (admitted, request) = match self.admit(&mut told).await {
            Ok(admitted) => admitted,
            Err(why) => return Some(Err(why)),
        };
        let answered = self.exchange(place, admitted, request).await;
        Some(answered.map_err(|failure| failure.to_string()).and_then(|status| match status {
            200..=399 => Ok(()),
            status => Err(format!("status {status}")),
        }))
    }

    /// A place for its connection. Who waits for it behind others is late, and asks nothing then.
    async fn place(&self) -> Option<Place> {
        match self.server.places.ask(self.core.index, None) {
            Answer::Granted(place) => Some(place),
            Answer::Full => None,
            Answer::Wait(mut line) => {
                self.server.close_oldest_idle();
                // In half of the time, so that the answer has the other half.
                match timeout(self.check.timeout / 2, line.turn()).await {
                    Ok(Some(Granted::Place(place))) => Some(place),
                    // A connection that was handed over is closed, and proves nothing.
                    Ok(Some(Granted::Link(_)) | None) | Err(_) => None,
                }
            }
        }
    }

    /// Has the guard look at the request, as at any other; but no budget pays for it.
    async fn admit(
        &self,
        told: &mut Told<'_>,
    ) -> Result<(Admitted, Request<UpstreamBody>), String> {
        let shield = &self.site.shield;
        let session = &shield.guard.policy().session;
        let key = self.site.upstream.visitor.lock().key;
        let line = key.map(|key| [session.cookie.as_bytes(), b"=", key.as_bytes()].concat());
        let lines = line.iter().map(Vec::as_slice);
        let cookies = Cookies::read(lines, &session.cookie, session.key_shape);
        let target = &self.check.target;
        let asked = guarded::Request {
            client: Client::fold(ADDRESS, &shield.guard.policy().client),
            terms: Terms::Exempt,
            challenged: Challenged::UNABLE,
            method: "GET",
            path: &path::decode(target.path()),
            query: target.query(),
            body: false,
            authorization: false,
            cookies: &cookies,
        };
        let admission = shield.admit(&asked).await;
        told.trace = admission.trace;
        let admitted = match admission.decision {
            Decision::Forward(admitted) => admitted,
            Decision::Refuse { .. } | Decision::Challenge | Decision::Answer { .. } => {
                return Err("a rule keeps the check from the application".to_owned());
            }
        };
        let mut request = Request::new(UpstreamBody::empty(self.core.clock));
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = target.clone().into();
        let headers = request.headers_mut();
        let host = match &self.check.host {
            Some(host) => host.clone(),
            // A name or address that the configuration has checked.
            None => HeaderValue::from_str(&self.server.address.host())
                .unwrap_or_else(|_| HeaderValue::from_static("localhost")),
        };
        headers.insert(HOST, host);
        headers.insert(USER_AGENT, HeaderValue::from_static(NAME));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if let Some(Ok(mut line)) = line.as_ref().map(|line| HeaderValue::from_bytes(line)) {
            line.set_sensitive(true);
            headers.insert(COOKIE, line);
        }
        CookieLine::of(&admitted, &cookies, &session.cookie).put(headers);
        Ok((admitted, request))
    }

    async fn exchange(
        &self,
        place: Place,
        admitted: Admitted,
        request: Request<UpstreamBody>,
    ) -> Result<u16, Failure> {
        let header = self.site.upstream.header(None);
        let client = self.site.upstream.settings().client;
        let place = Arc::new(place);
        let link = connect(&self.server, client, header, self.check.timeout, place).await;
        let mut link = match link {
            Ok(link) => link,
            Err(failure) => {
                admitted.settle(Outcome::Unsent, self.core.clock.now());
                return Err(failure);
            }
        };
        // Dropped by an error, what was admitted is settled as without an answer.
        let answered = link.send(&mut Some(Box::new(request)), None, false).await;
        let response = Response::from_parts(answered.map_err(Unanswered::into_failure)?, ());
        let evidence = observe(&self.site.shield, &response);
        let settled = admitted.settle(Outcome::Answered(&evidence, None), self.core.clock.now());
        let kept = settled.is_some_and(|settlement| settlement.cookie == RelayCookie::Keep);
        // What would not be relayed is not the visitor's.
        self.learn(if kept { &evidence.session } else { &SetSession::Nothing });
        let status = response.status().as_u16();
        let mut left = BODY_BYTES;
        while let Some(frame) = poll_fn(|cx| link.poll_frame(cx)).await {
            let length = frame.map_err(Failure::Body)?.data_ref().map_or(0, |data| data.len());
            let Some(rest) = left.checked_sub(length) else { break };
            left = rest;
        }
        Ok(status)
    }

    /// Keeps the session that the answer brings for the next check.
    fn learn(&self, session: &SetSession) {
        let mut visits = self.site.upstream.visitor.lock();
        let first = visits.key.is_none();
        visits.is_answered = true;
        match session {
            SetSession::Key { key, .. } => visits.key = Some(*key),
            SetSession::Deletion => visits.key = None,
            SetSession::Nothing | SetSession::Signed { .. } | SetSession::OtherShape => return,
        }
        let begun = first && visits.key.is_some();
        drop(visits);
        if begun {
            self.site.shield.telemetry.check_begins_session(self.check.target.as_str());
        }
    }
}

/// Tells the access log of a check's decisions, as a replay would miss them.
struct Told<'a> {
    visit: &'a Visit,
    trace: Option<Arc<Trace>>,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        let Visit { core, site, check, .. } = self.visit;
        if let Some(trace) = &self.trace {
            core.access.log_check(&Check {
                unix_ms: core.clock.unix_ms(),
                site: &site.name,
                client: ADDRESS,
                target: check.target.as_str(),
                trace,
            });
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.server.check_due.store(self.due.as_nanos(), Ordering::Release);
        self.site.upstream.visitor.end();
    }
}
