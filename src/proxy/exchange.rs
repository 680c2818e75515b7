//! The story of a request, told by one function.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, COOKIE, HOST, HeaderMap, HeaderValue, SET_COOKIE, VARY,
};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use hyper::ext::Protocol;
use tokio::time::timeout;

use super::account::Account;
use super::body::{self, DownstreamBody, UpstreamBody};
use super::challenge::Visit;
use super::connection::{Arrival, Place};
use super::core::Core;
use super::detached::Observed;
use super::failure::{Failure, Stage};
use super::fields::Fields;
use super::forwarded::{Announced, Origin};
use super::headers::{Fault, tokens};
use super::in_force::InForce;
use super::panics::caught;
use super::proxy_header::Named;
use super::replies::{self, Accepts};
use super::settings::Settings;
use super::shield::{Admission, Admitted, Decision, Shield};
use super::site::Site;
use super::sites::Lost;
use super::socket::Peer;
use super::switching::{self, Wish};
use super::tunnel::{Near, Patience};
use super::tunnels::NoTunnel;
use super::upload::Upload;
use super::upstream::{Replay, Sending, copy_of};
use super::{blame, forwarded, headers, redirect};
use crate::guard::client::Client;
use crate::guard::cookie::Cookies;
use crate::guard::exchange::{self as guarded, Outcome, RelayCookie, SendCookie};
use crate::guard::fact::RouteId;
use crate::guard::key::SessionKey;
use crate::guard::moment::Moment;
use crate::guard::path;
use crate::guard::policy::{Policy, Terms};
use crate::guard::set_cookie::{Evidence, sets};
use crate::telemetry::access::Verdict;
use crate::telemetry::refusals::Treated;

/// How long a proof may take: others wait for it.
const PROOF_TIME: Duration = Duration::from_secs(5);

/// How a request has come.
pub struct Arrived<'a> {
    pub by: &'a Arrival,
    pub place: Place,
}

/// One exchange, from the head of its request to the head of its response; its line in the access
/// log is written when the response's body is dropped.
///
/// A future is moved with all that it may ever hold, and what an `async fn` is given it holds twice:
/// hence the blocks, and the boxes around what is rare.
pub fn exchange(
    core: &Arc<Core>,
    in_force: Arc<InForce>,
    arrived: Arrived<'_>,
    request: (Parts, Upload),
    mut account: Account,
) -> impl Future<Output = Response<DownstreamBody>> + Send {
    let (mut parts, body) = request;
    async move {
        let told = {
            let story = story(core, in_force, arrived, &mut parts, body, &mut account);
            caught(pin!(story)).await
        };
        let mut response = told.unwrap_or_else(|| {
            account.panicked();
            // How much of the request was read nobody knows.
            let accepts = Accepts::default();
            replies::closing(replies::status(StatusCode::INTERNAL_SERVER_ERROR, &accepts))
        });
        let tunnels = response.body_mut().tunnel_mut().is_some();
        account.responds(response.status(), !tunnels && response.body().is_end_stream());
        response.body_mut().told_in(account);
        response
    }
}

/// Identify the client, clean the request, decide about it, forward it, observe the write, settle,
/// relay.
async fn story(
    core: &Arc<Core>,
    in_force: Arc<InForce>,
    Arrived { by: arrival, place }: Arrived<'_>,
    parts: &mut Parts,
    body: Upload,
    account: &mut Account,
) -> Response<DownstreamBody> {
    let accepts = Accepts::of(&parts.headers);
    let fields = Fields::of(&parts.headers);
    let unread = Unread { expects: fields.has(Fields::EXPECT), body };

    // Before the headers are cleaned: `Connection` must not take the client's address away.
    let origin =
        forwarded::origin(arrival.peer, &parts.headers, &in_force.settings.trusted_proxies);
    account.client(origin.client);
    let limits = &in_force.settings.downstream_limits;
    let upgrade = Upgrade::take(parts, fields, &unread.body, &in_force.settings);
    let cleaned = upgrade.and_then(|upgrade| {
        let mut host = headers::clean_request(parts, fields, &unread.body, limits)?;
        arrival.takes(parts)?;
        Ok((site_of(&in_force, parts, &mut host)?, host, upgrade))
    });
    let (site, host, upgrade) = match cleaned {
        Ok(cleaned) => cleaned,
        Err(fault) => {
            account.failed(&told(core, fault));
            return unread.refuse(replies::fault(fault, &accepts));
        }
    };
    account.site(&site, core.index);
    let https = forwarded::is_https(&parts.headers, &origin, arrival.https);
    if arrival.is_sent_away(parts, https) {
        let location = in_force.tls.as_ref().ok_or(Fault::UnknownHost);
        return unread.refuse(match location.and_then(|tls| redirect::location(parts, tls)) {
            Ok(location) => replies::moved(location, &accepts),
            Err(fault) => {
                account.failed(&told(core, fault));
                replies::fault(fault, &accepts)
            }
        });
    }
    if let Some(upgrade) = &upgrade {
        upgrade.wish.put(&mut parts.headers);
    }

    let shield = &site.shield;
    let policy = &shield.guard.policy().client;
    let client = Client::fold(origin.client, policy);
    // A proxy that is exempt is so for what it asks itself.
    let terms = if origin.stands_in { Terms::Usual } else { policy.terms(origin.client) };
    let target_bytes = limits.target_bytes;
    let visit = Visit::take(shield, parts, fields, &unread.body, client, target_bytes, https);
    if let Some(reply) = visit.home(&accepts) {
        account.replied(Verdict::Challenged);
        return unread.refuse(reply);
    }

    let streamed = upgrade.as_ref().is_some_and(|upgrade| upgrade.streamed);
    let near = match upgrade.map(|_| Upgrade::near(core, &site, client, &in_force.settings)) {
        None => None,
        Some(Ok(near)) => Some(near),
        Some(Err(full)) => {
            let failure = Failure::NoTunnel(full);
            core.failed(&failure, Some(&site));
            account.failed(&failure);
            return replies::status(failure.status(), &accepts);
        }
    };

    let Decided { decision, route, cookie, at } =
        decide(shield, parts, fields, &unread.body, &visit, terms, account).await;
    let blame = |treated| {
        blame::tell(core, &in_force.settings, &site, (&origin, client), (treated, route), at);
    };
    // Those of a proxy that others stand behind are not one client's.
    let pause = if origin.trusted { Duration::ZERO } else { limits.refusal_pause };
    let turn = || arrival.refusing.turn(&core.clock, pause);
    let admitted = match decision {
        Decision::Forward(admitted) => admitted,
        Decision::Refuse { why, retry_after } => {
            blame(Treated::Refused(why));
            turn().await;
            let spare = std::mem::take(&mut parts.headers);
            return unread.refuse(replies::refused(retry_after, &accepts, spare));
        }
        Decision::Challenge => {
            blame(Treated::Challenged);
            turn().await;
            return unread.refuse(visit.challenge(shield, &accepts));
        }
        Decision::Answer { answer, delete } => {
            turn().await;
            let mut reply = replies::answer(&answer, &accepts);
            if delete {
                add_deletion(shield, reply.headers_mut());
            }
            return unread.refuse(reply);
        }
    };
    cookie.put(&mut parts.headers);
    let (peer, https) = (&arrival.written, arrival.https);
    let announced = forwarded::announce(&mut parts.headers, fields, &origin, peer, https, host);

    let uploads = !unread.body.is_end_stream();
    let body = UpstreamBody::new(unread.body, core.clock);
    let upload = body.progress().attended();
    let forwarded = Forwarded {
        core: Arc::clone(core),
        site: Arc::clone(&site),
        client: if site.upstream.tells_clients() {
            named(&origin, arrival).map(Box::new)
        } else {
            None
        },
        announced,
        switches: near.is_some(),
        admitted,
        // It goes with whoever sees the exchange to its end.
        account: std::mem::take(account),
        place,
    };
    let request = taken(parts, body);
    let (outcome, back) = Observed::new(&core.detached, forward(forwarded, request)).await;
    *account = back;
    match outcome {
        Ok(mut response) if near.is_some() => {
            if let Some((tunnel, near)) = response.body_mut().tunnel_mut().zip(near) {
                account.tunnelled();
                tunnel.meet(near);
                if streamed {
                    switching::to_connect(&mut response);
                }
            }
            response
        }
        Ok(response) if upload.is_bounded() => response,
        Ok(response) => replies::closing(response),
        Err(failure) => {
            core.failed(&failure, Some(&site));
            account.failed(&failure);
            let mut reply = replies::status(failure.status(), &accepts);
            if failure.is_passing() {
                reply = replies::soon(reply);
            }
            // Of an upload that was cut short nobody knows where the next request would begin.
            if uploads { replies::closing(reply) } else { reply }
        }
    }
}

/// The request as it is sent on; nothing of it is left in `parts`.
fn taken(parts: &mut Parts, body: UpstreamBody) -> Box<Request<UpstreamBody>> {
    let mut request = Box::new(Request::new(body));
    std::mem::swap(request.method_mut(), &mut parts.method);
    std::mem::swap(request.uri_mut(), &mut parts.uri);
    std::mem::swap(request.headers_mut(), &mut parts.headers);
    std::mem::swap(request.extensions_mut(), &mut parts.extensions);
    request
}

/// A request that is not taken, as it was told.
fn told(core: &Core, fault: Fault) -> Failure {
    let failure = Failure::Request(fault);
    core.failed(&failure, None);
    failure
}

/// The site that a request is for, named as its host where it names none.
fn site_of(
    in_force: &InForce,
    parts: &mut Parts,
    host: &mut Option<HeaderValue>,
) -> Result<Arc<Site>, Fault> {
    let named = host.as_ref().map(HeaderValue::as_bytes);
    let site = match in_force.sites.find(named, parts.uri.path()) {
        Ok(site) => Arc::clone(site),
        Err(Lost::Host) => return Err(Fault::UnknownHost),
        Err(Lost::Path) => return Err(Fault::UnknownPath),
    };
    if host.is_none() {
        parts.headers.insert(HOST, site.nameless.clone());
        *host = Some(site.nameless.clone());
    }
    Ok(site)
}

/// Whose request it is, as far as a PROXY header can say: a forwarded address has no port, and who
/// stands in for others is nobody of them.
fn named(origin: &Origin, arrival: &Arrival) -> Option<Named> {
    let source = match arrival.peer {
        _ if origin.stands_in => return None,
        Peer::Tcp(peer) if arrival.peer.ip() == origin.client => peer,
        Peer::Tcp(_) | Peer::Unix => SocketAddr::new(origin.client, 0),
    };
    let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    Some(Named { source, destination: arrival.local.unwrap_or(unknown) })
}

/// What is done with a request, and what was found out for that.
struct Decided {
    decision: Decision,
    route: RouteId,
    cookie: CookieLine,
    at: Moment,
}

/// Cleans the cookies, finds out who has a session, and asks the guard.
async fn decide(
    shield: &Arc<Shield>,
    parts: &Parts,
    fields: Fields,
    body: &Upload,
    visit: &Visit,
    terms: Terms,
    account: &mut Account,
) -> Decided {
    let policy = shield.guard.policy();
    let cookies = cookies(&parts.headers, fields, policy);
    let decoded = path::decode(parts.uri.path());
    let request = asked(parts, fields, body, visit, terms, &decoded, &cookies);
    let Admission { decision, facts, trace, at } = match shield.admit_now(&request) {
        Ok(admission) => admission,
        // Few wait: what that takes is not to be carried about by all.
        Err(what) => Box::pin(shield.admit_later(&request, what)).await,
    };
    account.traced(trace);
    account.verdict(&facts, || shield.guard.class(&request, &facts, shield.clock.now()));
    let cookie = match &decision {
        Decision::Forward(admitted) => {
            account.sent_on(at);
            CookieLine::of(admitted, &cookies, &policy.session.cookie)
        }
        Decision::Refuse { .. } | Decision::Challenge | Decision::Answer { .. } => {
            CookieLine::AsCame
        }
    };
    Decided { decision, route: facts.route(), cookie, at }
}

/// The cookies of a request that came with these `fields`.
pub(super) fn cookies<'a>(headers: &'a HeaderMap, fields: Fields, policy: &Policy) -> Cookies<'a> {
    let session = &policy.session;
    let lines = fields.has(Fields::COOKIE).then(|| headers.get_all(COOKIE));
    let lines = lines.into_iter().flatten().map(HeaderValue::as_bytes);
    Cookies::read(lines, &session.cookie, session.key_shape)
}

/// A request, as far as the guard needs it.
pub(super) fn asked<'a>(
    parts: &'a Parts,
    fields: Fields,
    body: &Upload,
    visit: &Visit,
    terms: Terms,
    path: &'a [u8],
    cookies: &'a Cookies<'a>,
) -> guarded::Request<'a> {
    guarded::Request {
        client: visit.client(),
        terms,
        challenged: visit.challenged(),
        method: parts.method.as_str(),
        path,
        query: parts.uri.query(),
        body: !body.is_end_stream(),
        authorization: fields.has(Fields::AUTHORIZATION)
            && parts.headers.contains_key(AUTHORIZATION),
        cookies,
    }
}

/// What is needed to see an exchange to its end.
struct Forwarded {
    core: Arc<Core>,
    site: Arc<Site>,
    client: Option<Box<Named>>,
    announced: Announced,
    /// Whether another protocol is asked for.
    switches: bool,
    admitted: Admitted,
    account: Account,
    /// Taken for as long as the application works for it, whatever its client does.
    place: Place,
}

/// Sends the request on, and settles what it proves. Runs to its end even if the client hangs up.
fn forward(
    forwarded: Forwarded,
    request: Box<Request<UpstreamBody>>,
) -> impl Future<Output = (Result<Response<DownstreamBody>, Failure>, Account)> + Send {
    let Forwarded { core, site, client, announced, switches, .. } = forwarded;
    let (mut admitted, mut account, place) =
        (forwarded.admitted, forwarded.account, forwarded.place);
    let again = admitted.may_want_proof().then(|| copy_of(&request, core.clock));
    let mut request = Some(request);
    async move {
        let mut sending = Sending {
            core: core.index,
            client: client.as_deref(),
            announced: Some(&announced),
            switches,
            replay: Replay::Never,
            now: admitted.at(),
        };
        // Blocks: what lives over a wait makes this future larger, whether or not it is used then.
        let (mut response, mut now) = {
            let sent = send(&core, &site, sending, &mut admitted, &mut request).await;
            let now = core.clock.now();
            account.answered(sent.as_ref().ok().and_then(|response| response.body().server()), now);
            match sent {
                Ok(response) => (response, now),
                Err(failure) => {
                    let outcome = match failure.stage() {
                        Stage::Request | Stage::Connect => Outcome::Unsent,
                        Stage::Forward | Stage::Relay => Outcome::NoAnswer,
                    };
                    if let Some(settlement) = admitted.settle(outcome, now) {
                        account.settled(&settlement.facts);
                    }
                    return (Err(failure), account);
                }
            }
        };
        let (cookie, awaited) = {
            let key = (again.is_some())
                .then(|| admitted.proof_wanted(&observe(&site.shield, &response)))
                .flatten();
            let second = match key.zip(again) {
                Some((key, request)) => {
                    sending.now = now;
                    let second = Box::pin(prove(&site, sending, key, request)).await;
                    now = core.clock.now();
                    second
                }
                None => None,
            };
            let evidence = observe(&site.shield, &response);
            match admitted.settle(Outcome::Answered(&evidence, second.as_ref()), now) {
                Some(settlement) => {
                    account.settled(&settlement.facts);
                    (settlement.cookie, site.shield.hears_of(&settlement))
                }
                None => (RelayCookie::Keep, None),
            }
        };
        if let Some(outbox) = awaited {
            Box::pin(outbox.all_heard()).await;
        }
        match cookie {
            RelayCookie::Keep => {}
            RelayCookie::Strip => strip(&site.shield, response.headers_mut()),
            RelayCookie::Delete => {
                strip(&site.shield, response.headers_mut());
                add_deletion(&site.shield, response.headers_mut());
            }
        }
        drop(place);
        (Ok(response), account)
    }
}

/// Sends a request that was admitted just now. What is held for it is charged when it takes too long.
fn send(
    core: &Core,
    site: &Site,
    mut sending: Sending<'_>,
    admitted: &mut Admitted,
    request: &mut Option<Box<Request<UpstreamBody>>>,
) -> impl Future<Output = Result<Response<DownstreamBody>, Failure>> + Send {
    sending.replay = match request.as_ref() {
        Some(request) if admitted.is_replayable() && is_harmless(request) => Replay::Stale,
        Some(_) | None => Replay::Never,
    };
    let limit = site.settings.hold_time;
    let mut held = admitted.holds().then(|| core.alarms.take(&core.clock, limit));
    let due = admitted.at().after(limit);
    async move {
        let mut sending = pin!(site.upstream.send(sending, request));
        let outcome = poll_fn(|cx| {
            let polled = sending.as_mut().poll(cx);
            if polled.is_pending()
                && let Some(alarm) = &mut held
                && alarm.poll(cx, &core.clock, due).is_ready()
            {
                admitted.charge();
                held = None;
            }
            polled
        })
        .await;
        if let Some(alarm) = held.take() {
            core.alarms.give_back(alarm);
        }
        outcome
    }
}

/// Whether it may be sent twice: its method is safe, and it has no content.
fn is_harmless(request: &Request<UpstreamBody>) -> bool {
    matches!(request.method(), &Method::GET | &Method::HEAD | &Method::OPTIONS)
        && request.body().is_end_stream()
}

pub(super) fn observe<B>(shield: &Shield, response: &Response<B>) -> Evidence {
    let lines = response.headers().get_all(SET_COOKIE).iter().map(HeaderValue::as_bytes);
    Evidence::read(response.status().as_u16(), lines, &shield.guard.policy().session)
}

/// Sends a request again, with the session key that its answer brought: a view that flushes gives
/// another one, a view that writes the same. Only what this proves is kept of the answer.
async fn prove(
    site: &Site,
    sending: Sending<'_>,
    key: SessionKey,
    mut request: Box<Request<UpstreamBody>>,
) -> Option<Evidence> {
    let session = &site.shield.guard.policy().session;
    let lines: Vec<HeaderValue> = request.headers().get_all(COOKIE).iter().cloned().collect();
    let lines = lines.iter().map(HeaderValue::as_bytes);
    let line = Cookies::read(lines, &session.cookie, session.key_shape)
        .with_session(&session.cookie, &key);
    CookieLine::from(line).put(request.headers_mut());
    let mut request = Some(request);
    let sent = site.upstream.send(sending, &mut request);
    let response = timeout(PROOF_TIME, sent).await.ok()?.ok()?;
    Some(observe(&site.shield, &response))
}

/// What goes upstream as the request's cookies: exactly one line, or none.
pub(super) enum CookieLine {
    AsCame,
    None,
    One(HeaderValue),
}

impl CookieLine {
    pub(super) fn of(admitted: &Admitted, cookies: &Cookies<'_>, name: &str) -> Self {
        match admitted.cookie() {
            None => Self::AsCame,
            Some(SendCookie::Keep) if cookies.as_came() => Self::AsCame,
            Some(SendCookie::Keep) => cookies.line().to_vec().into(),
            Some(SendCookie::Remove) if cookies.as_came() && !cookies.carried() => Self::AsCame,
            Some(SendCookie::Remove) => cookies.without_session().into(),
            Some(SendCookie::Replace(key)) => cookies.with_session(name, &key).into(),
        }
    }

    pub(super) fn put(self, headers: &mut HeaderMap) {
        match self {
            Self::AsCame => {}
            Self::None => {
                headers.remove(COOKIE);
            }
            Self::One(line) => {
                headers.insert(COOKIE, line);
            }
        }
    }
}

impl From<Vec<u8>> for CookieLine {
    fn from(line: Vec<u8>) -> Self {
        if line.is_empty() {
            return Self::None;
        }
        // A clean line is visible ASCII and spaces, which a header value can hold.
        HeaderValue::from_maybe_shared(bytes::Bytes::from(line)).map_or(Self::None, |mut line| {
            line.set_sensitive(true);
            Self::One(line)
        })
    }
}

/// Takes the session cookie out of an answer, and leaves every other one where it is.
fn strip(shield: &Shield, headers: &mut HeaderMap) {
    let name = &shield.guard.policy().session.cookie;
    let lines: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().cloned().collect();
    headers.remove(SET_COOKIE);
    for line in lines.into_iter().filter(|line| !sets(line.as_bytes(), name)) {
        headers.append(SET_COOKIE, line);
    }
}

/// Adds a deletion of the session cookie, and keeps it out of caches.
fn add_deletion(shield: &Shield, headers: &mut HeaderMap) {
    // Its attributes were read out of a header value, or out of the checked configuration.
    if let Ok(deletion) = HeaderValue::try_from(shield.guard.deletion()) {
        headers.append(SET_COOKIE, deletion);
    }
    let says = |headers: &HeaderMap, name, wanted: &[&str]| {
        tokens(headers, &name)
            .any(|token| wanted.iter().any(|known| token.eq_ignore_ascii_case(known.as_bytes())))
    };
    if !says(headers, VARY, &["cookie", "*"]) {
        headers.append(VARY, HeaderValue::from_static("Cookie"));
    }
    if !says(headers, CACHE_CONTROL, &["private", "no-store"]) {
        // `public` would contradict it.
        headers.remove(CACHE_CONTROL);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

/// The body of a request that may yet be refused.
struct Unread {
    /// The client waits for 100 before it sends the body.
    expects: bool,
    body: Upload,
}

impl Unread {
    /// Refuses the request in such a way that the client can read the refusal. A client that
    /// expects 100 has sent no body, and one whose body is too long to be discarded must not send
    /// another request behind it: their connections are closed.
    fn refuse(self, reply: Response<DownstreamBody>) -> Response<DownstreamBody> {
        if self.body.is_end_stream() {
            return reply;
        }
        if self.expects {
            return replies::closing(reply);
        }
        let keep = body::discardable(&self.body);
        tokio::spawn(body::discard(self.body));
        if keep { reply } else { replies::closing(reply) }
    }
}

/// What a client wants to speak instead of HTTP.
struct Upgrade {
    wish: Wish,
    /// It is one stream of a connection, of HTTP/2.
    streamed: bool,
}

impl Upgrade {
    /// Before the headers are cleaned, which is the end of any other upgrade.
    fn take(
        parts: &mut Parts,
        fields: Fields,
        body: &Upload,
        settings: &Settings,
    ) -> Result<Option<Self>, Fault> {
        let allowed = &settings.upgrades.protocols;
        let named = parts.extensions.remove::<Protocol>();
        let wish = match &named {
            Some(protocol) => Some(Wish::of_connect(parts, protocol, allowed)?),
            None if fields.has(Fields::UPGRADE) => Wish::of(parts, body, allowed),
            None => None,
        };
        Ok(wish.map(|wish| Self { wish, streamed: named.is_some() }))
    }

    /// The client's end of the tunnel that it may become, if there is a place for one.
    fn near(
        core: &Core,
        site: &Arc<Site>,
        client: Client,
        settings: &Settings,
    ) -> Result<Near, NoTunnel> {
        let upgrades = &settings.upgrades;
        let place = core.app.tunnels.take(client, upgrades)?;
        let send = settings.downstream_limits.send_timeout;
        let patience = Patience { idle: upgrades.idle_timeout, send };
        Ok(Near { patience, site: Arc::clone(site), place })
    }
}
