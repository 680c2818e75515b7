//! The requests of a probe: sent one after another, counted, and bounded in time and size.
//!
//! The only part of the probe with I/O. Connects to nothing but the addresses that were confirmed,
//! keeps no connection, follows nothing, sends nothing twice, and takes no proxy from the
//! environment.

#![allow(clippy::disallowed_methods, reason = "a probe has a clock of its own, and no guard")]

use std::fmt;
use std::io::Read;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{
    AGE, CACHE_CONTROL, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue, LOCATION,
    REFERER, SET_COOKIE, USER_AGENT, VARY,
};
use http::{Request, Response};
use rustls::CertificateError;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Timeout};

use super::plan::{Plan, Wishes};
use super::seen::{Answer, Exchange, Method, Outcome, Question, Sight};
use crate::guard::key::SessionKey;
use crate::guard::policy::KeyShape;

/// Of a page, so much is read: forms stand in it, and nothing else is looked for.
const PAGE_BYTES: u64 = 64 << 10;
/// All requests together take so many times as long as one may at most.
const PATIENCE: u32 = 6;
/// Of the addresses that a name has.
const ADDRESSES: usize = 4;

/// A site, and how it is asked.
#[derive(Clone, Debug)]
pub struct Target {
    /// As in a URL, without a path: `https://example.org`. The first is asked; the site may call
    /// itself by any of them.
    pub origins: Vec<String>,
    pub host: String,
    pub port: u16,
    pub tls: bool,
    /// Sent with each request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Authorities that are trusted, in PEM; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// How long one request may take.
    pub timeout: Duration,
}

/// Why nothing could be asked.
#[derive(Debug)]
pub enum Error {
    /// The name has no address.
    Unresolved { host: String, source: std::io::Error },
    /// The authorities cannot be read.
    Authorities { path: Option<PathBuf>, why: String },
    /// The system has no random numbers.
    Random(getrandom::Error),
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unresolved { source, .. } => Some(source),
            Self::Random(source) => Some(source),
            Self::Authorities { .. } => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved { host, source } => write!(f, "{host} has no address: {source}"),
            Self::Authorities { path: Some(path), why } => write!(f, "{}: {why}", path.display()),
            Self::Authorities { path: None, why } => {
                write!(f, "the system's authorities: {why}; name a PEM file with --ca")
            }
            Self::Random(error) => write!(f, "no random numbers: {error}"),
        }
    }
}

/// Somebody who asks one site.
pub struct Asker {
    agent: Agent,
    target: Target,
    addresses: Vec<SocketAddr>,
}

/// The addresses of a target: at least one, and not more than a few.
pub fn resolve(target: &Target) -> Result<Vec<SocketAddr>, Error> {
    let unresolved = |source| Error::Unresolved { host: target.host.clone(), source };
    let all = (target.host.as_str(), target.port).to_socket_addrs().map_err(unresolved)?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in all {
        if addresses.len() < ADDRESSES && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    match addresses.is_empty() {
        true => Err(unresolved(std::io::ErrorKind::NotFound.into())),
        false => Ok(addresses),
    }
}

impl Asker {
    /// One who asks at these addresses only.
    pub fn new(target: Target, addresses: Vec<SocketAddr>) -> Result<Self, Error> {
        let mut config = Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .proxy(None)
            .max_idle_connections(0)
            .max_idle_connections_per_host(0)
            .user_agent("")
            .accept("")
            .accept_encoding("");
        if target.tls {
            let tls = TlsConfig::builder()
                .provider(TlsProvider::Rustls)
                .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
                .root_certs(RootCerts::new_with_certs(&authorities(&target)?))
                .build();
            config = config.tls_config(tls);
        }
        let known = Known(addresses.clone());
        let agent = Agent::with_parts(config.build(), DefaultConnector::default(), known);
        Ok(Self { agent, target, addresses })
    }

    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The whole conversation: at most [`super::MOST_REQUESTS`] exchanges.
    pub fn converse(&self, wishes: &Wishes) -> Result<Vec<Exchange>, Error> {
        let until = Instant::now() + self.target.timeout * PATIENCE;
        let mut exchanges: Vec<Exchange> = Vec::new();
        // The plan keeps the bound as well; this one holds whatever the plan says.
        while exchanges.len() < super::MOST_REQUESTS {
            let left = until.saturating_duration_since(Instant::now()).min(self.target.timeout);
            if left.is_zero() {
                break;
            }
            let sight = Sight::new(&exchanges, wishes.cookie.as_deref());
            let plan = Plan { wishes, sight: &sight, origins: &self.target.origins };
            let Some(question) = plan.next(made_up()?) else { break };
            let outcome = self.ask(&question, sight.cookie(), left);
            exchanges.push(Exchange { question, outcome });
        }
        Ok(exchanges)
    }

    fn ask(&self, question: &Question, cookie: &str, timeout: Duration) -> Outcome {
        let silence = |why: String, sent| Outcome::Silence { why, sent };
        let request = match self.request(question, cookie) {
            Ok(request) => request,
            Err(error) => return silence(error.to_string(), false),
        };
        let configured = self.agent.configure_request(request).timeout_global(Some(timeout));
        match self.agent.run(configured.build()) {
            Ok(answer) => Outcome::Answered(read(answer)),
            Err(error) => silence(why(&error, &self.target), sent(&error)),
        }
    }

    fn request(&self, question: &Question, cookie: &str) -> Result<Request<String>, http::Error> {
        const AGENT: &str = concat!("floodwall-probe/", env!("CARGO_PKG_VERSION"));
        let origin = self.target.origins.first().map_or("", String::as_str);
        let url = format!("{origin}{}", question.path);
        let mut cookies = Vec::new();
        let mut body = String::new();
        // A cache that answered would tell of the past.
        let mut request = Request::builder().header(CACHE_CONTROL, "no-cache");
        match question.method {
            Method::Get => {}
            Method::Post => {
                // Django takes any pair that agrees, of letters and digits; and over TLS a referrer.
                const TOKEN: &str = "fl00dwallfl00dwallfl00dwallfl00d";
                request = request
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .header(REFERER, &url);
                body = format!("csrfmiddlewaretoken={TOKEN}");
                cookies.push(format!("csrftoken={TOKEN}"));
            }
        }
        if let Some(key) = question.carried.key() {
            cookies.push(format!("{cookie}={}", String::from_utf8_lossy(key.as_bytes())));
        }
        if !cookies.is_empty() {
            request = request.header(COOKIE, cookies.join("; "));
        }
        let mut request = request.method(question.method.word()).uri(url).body(body)?;
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        for (name, value) in &self.target.headers {
            request.headers_mut().insert(name, value.clone());
        }
        Ok(request)
    }
}

/// The addresses that were confirmed, whatever the name's are by now.
#[derive(Debug)]
struct Known(Vec<SocketAddr>);

impl Resolver for Known {
    fn resolve(
        &self,
        _: &http::Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        self.0.iter().for_each(|address| addresses.push(*address));
        Ok(addresses)
    }
}

fn authorities(target: &Target) -> Result<Vec<Certificate<'static>>, Error> {
    let failed = |why: String| Error::Authorities { path: target.ca.clone(), why };
    let all: Vec<CertificateDer<'static>> = match &target.ca {
        Some(path) => {
            let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
            read.map_err(|error: rustls::pki_types::pem::Error| failed(error.to_string()))?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    if all.is_empty() {
        return Err(failed("no certificate is in it".to_owned()));
    }
    Ok(all.iter().map(|one| Certificate::from_der(one).to_owned()).collect())
}

/// A key that nobody has issued, of the shape that all releases take.
fn made_up() -> Result<SessionKey, Error> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    let digits = bytes.map(|byte| [byte >> 4, byte & 15]).concat();
    let hex: Vec<u8> =
        digits.iter().map(|digit| b"0123456789abcdef"[usize::from(*digit)]).collect();
    Ok(SessionKey::parse(&hex, KeyShape::Hex32).expect("32 hexadecimal digits are a key"))
}

fn read(answer: Response<Body>) -> Answer {
    let (head, body) = answer.into_parts();
    let headers = &head.headers;
    let mut page = Vec::new();
    // What of the page does not come, or not in time, is not needed.
    let _ = body.into_reader().take(PAGE_BYTES).read_to_end(&mut page);
    let cookies = headers.get_all(SET_COOKIE).iter();
    let set_cookies: Vec<Vec<u8>> = cookies.map(|line| line.as_bytes().to_vec()).collect();
    let csrf = set_cookies.iter().any(|line| line.starts_with(b"csrf"));
    Answer {
        status: head.status.as_u16(),
        location: headers.get(LOCATION).map(|to| String::from_utf8_lossy(to.as_bytes()).into()),
        varies: tokens(headers, &VARY).any(|token| ["cookie", "*"].contains(&token.as_str())),
        cache_control: text(headers, &CACHE_CONTROL).unwrap_or_default(),
        form: csrf || has_form(&page),
        cached: is_cached(headers),
        between: between(headers),
        set_cookies,
    }
}

/// The only line of this name, where it is short text.
fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next().filter(|_| lines.next().is_none())?;
    line.to_str().ok().filter(|text| text.len() <= 2048).map(str::to_owned)
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = String> + use<'a> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|token| token.trim().to_ascii_lowercase())
}

/// Whether a page has a form that is posted, or a token for one.
fn has_form(page: &[u8]) -> bool {
    let page = String::from_utf8_lossy(page).to_ascii_lowercase();
    let posted = |form: &str| {
        let tag = form.split('>').next().unwrap_or(form);
        tag.replace(['"', '\''], "").contains("method=post")
    };
    page.contains("csrfmiddlewaretoken") || page.split("<form").skip(1).any(posted)
}

fn is_cached(headers: &HeaderMap) -> bool {
    let hit = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.to_ascii_lowercase().contains("hit"))
    };
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()).and_then(|age| age.parse().ok());
    age.is_some_and(|age: u64| age > 0) || hit("x-cache") || hit("cf-cache-status")
}

/// Who has added a header that only he adds.
fn between(headers: &HeaderMap) -> Option<&'static str> {
    const SIGNS: [(&str, &str); 6] = [
        ("cf-ray", "Cloudflare"),
        ("x-amz-cf-id", "CloudFront"),
        ("x-fastly-request-id", "Fastly"),
        ("x-akamai-transformed", "Akamai"),
        ("x-varnish", "Varnish"),
        ("via", "a proxy"),
    ];
    SIGNS.iter().find(|(name, _)| headers.contains_key(*name)).map(|(_, who)| *who)
}

/// Whether no connection was made.
fn unreachable(error: &ureq::Error) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    match error {
        ureq::Error::ConnectionFailed => true,
        ureq::Error::Io(error) => {
            [ConnectionRefused, HostUnreachable, NetworkUnreachable].contains(&error.kind())
        }
        _ => false,
    }
}

/// What TLS has to complain of.
fn of_tls(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

/// Whether the site may have had the request.
fn sent(error: &ureq::Error) -> bool {
    // A client of TLS says nothing before the handshake has gone well.
    let handshake = matches!(
        of_tls(error),
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::InvalidMessage(_))
    );
    let early = matches!(
        error,
        ureq::Error::HostNotFound
            | ureq::Error::BadUri(_)
            | ureq::Error::Tls(_)
            | ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve)
    );
    !(unreachable(error) || handshake || early)
}

/// What went wrong, and what to do about it.
fn why(error: &ureq::Error, target: &Target) -> String {
    match of_tls(error) {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            return "its certificate's authority is not trusted: name its PEM file with --ca"
                .to_owned();
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => return "its certificate is for another name".to_owned(),
        Some(rustls::Error::InvalidCertificate(why)) => {
            return format!("its certificate is refused: {why}");
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            return "no TLS is spoken there: write http://".to_owned();
        }
        _ => {}
    }
    match error {
        error if unreachable(error) => "nobody can be reached there".to_owned(),
        ureq::Error::Timeout(_) => format!("no answer within {:?}", target.timeout),
        ureq::Error::Protocol(_) => "what came is no HTTP, or has too large a head".to_owned(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invented_keys_are_of_the_shape_that_all_releases_take_and_never_the_same() {
        let keys = [(); 64].map(|()| *made_up().expect("random numbers").as_bytes());
        assert!(keys.iter().enumerate().all(|(at, key)| !keys[..at].contains(key)));
    }

    #[test]
    fn forms_that_are_posted_are_seen_and_others_are_not() {
        for page in [
            "<FORM action='/x' METHOD='POST'>",
            "<form method=post>",
            "<p><form\nid=x method=\"post\" >",
            "<input name='csrfmiddlewaretoken'>",
        ] {
            assert!(has_form(page.as_bytes()), "{page}");
        }
        for page in ["", "<form action='/search'>", "<form>method=post", "\u{0}\u{ff}"] {
            assert!(!has_form(page.as_bytes()), "{page}");
        }
    }
}
