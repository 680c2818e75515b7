//! The webhook: a POST with a JSON object, signed as Standard Webhooks has it
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
//!
//! The signature is HMAC-SHA-256 over `id.timestamp.body`; the id stays the same however often a
//! message is sent, so that a receiver can tell one that came twice. Nothing else of the
//! specification's envelope is used: receivers that want a chat message find it as `text`.

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode, Uri};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use sha2::Sha256;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::message::Message;
use super::{Again, Failure};
use crate::telemetry::escape::visible;

/// What is read of an answer that says why not.
const ANSWER_BYTES: u64 = 256;

/// How a secret begins.
const PREFIX: &str = "whsec_";

/// A webhook, and what is needed to speak with it.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// Its scheme is `http` or `https`.
    pub url: Uri,
    /// `None`: nothing is signed.
    pub secret: Option<Secret>,
    /// The authorities that are trusted.
    pub roots: Arc<Vec<CertificateDer<'static>>>,
}

/// What messages are signed with. Shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Reads `whsec_` and base64 of 24 to 64 bytes, as Standard Webhooks has it. The error says what
    /// is wrong.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or("it does not begin with whsec_")?;
        let bytes = Base64::decode_vec(encoded).map_err(|_| "what follows whsec_ is not base64")?;
        match bytes.len() {
            24..=64 => Ok(Self(bytes)),
            _ => Err("it has not 24 to 64 bytes"),
        }
    }

    /// The value of `webhook-signature`.
    fn sign(&self, id: &str, timestamp: u64, body: &str) -> Option<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        Some(format!("v1,{}", Base64::encode_string(&mac.finalize().into_bytes())))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

pub(super) struct Webhook {
    url: Uri,
    secret: Option<Secret>,
    agent: Agent,
}

impl Webhook {
    /// Redirections are not followed, no connection is kept, and a proxy is used where the
    /// environment names one (`https_proxy`, `no_proxy`).
    pub(super) fn new(settings: &WebhookSettings) -> Self {
        let roots = settings.roots.iter().map(|root| Certificate::from_der(root).to_owned());
        let roots: RootCerts = roots.into();
        let tls = TlsConfig::builder()
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(0)
            .user_agent(concat!("floodwall/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            url: settings.url.clone(),
            secret: settings.secret.clone(),
            agent: Agent::new_with_config(config),
        }
    }

    /// Posts a message. It is delivered when a status of 2xx has come; of other answers the
    /// beginning is read.
    pub(super) fn send(
        &self,
        message: &Message,
        unix_ms: u64,
        timeout: Duration,
    ) -> Result<(), Failure> {
        let timestamp = unix_ms / 1_000;
        let mut request = self
            .agent
            .post(&self.url)
            .config()
            .timeout_global(Some(timeout))
            .build()
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", timestamp.to_string());
        let sign = |secret: &Secret| secret.sign(&message.id, timestamp, &message.body);
        if let Some(signature) = self.secret.as_ref().and_then(sign) {
            request = request.header("webhook-signature", signature);
        }
        let response = request.send(message.body.as_str()).map_err(|error| failed(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let again = again(status, response.headers());
        let mut answer = Vec::new();
        // What there is will do.
        let _ = response.into_body().into_reader().take(ANSWER_BYTES).read_to_end(&mut answer);
        Err(Failure { why: refused(status, &answer), again })
    }
}

/// Whether a later attempt may go better: where the receiver is in trouble, has too much to do, or
/// took too long. Who says that the request is wrong will say so again.
fn again(status: StatusCode, headers: &HeaderMap) -> Again {
    let passing = status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    if !passing {
        return Again::No;
    }
    // As seconds (RFC 9110, 10.2.3); who names a date is asked again in our own time.
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    match seconds.and_then(|seconds| seconds.trim().parse().ok()) {
        Some(seconds) => Again::After(Duration::from_secs(seconds)),
        None => Again::Yes,
    }
}

fn refused(status: StatusCode, answer: &[u8]) -> String {
    if status.is_redirection() {
        return format!(
            "status {}: it redirects; name the address that it redirects to",
            status.as_u16()
        );
    }
    let answer = String::from_utf8_lossy(answer);
    let answer = answer.trim();
    let begins = if answer.is_empty() { String::new() } else { format!(": {}", visible(answer)) };
    format!("status {}{begins}", status.as_u16())
}

fn failed(error: &ureq::Error) -> Failure {
    // Its words are the library's, and the certificate's.
    Failure { why: visible(error), again: Again::Yes }
}

impl fmt::Display for Webhook {
    /// Without path and query, which chat services use as a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.url.scheme_str().unwrap_or_default();
        write!(f, "{scheme}://{}", self.url.authority().map_or("", |authority| authority.as_str()))
    }
}
