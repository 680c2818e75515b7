//! TLS before HTTP: certificates, versions, protocols, and the handshake with a client.
//!
//! It promises that what is decrypted came whole and from the other end. It refuses to know
//! anything of HTTP, but for the names of its versions.

pub mod certificates;
pub mod client;
pub mod pair;

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::version::{TLS12, TLS13};
use tokio_rustls::TlsAcceptor;

use certificates::Certificates;
use pair::{Files, Unusable};

/// ALPN's names of what is spoken on top (RFC 7301, 6; RFC 9113, 3.2).
pub const HTTP_1_1: &[u8] = b"http/1.1";
pub const H2: &[u8] = b"h2";

/// How TLS is spoken with clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// At least one; the first is for clients that ask for no name, or for one that none has.
    pub certificates: Vec<Files>,
    pub min_version: Version,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// Where redirects lead to: the port of the first TLS listener, or what stands for it outside.
    pub port: u16,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Tls12,
    Tls13,
}

/// TLS with clients, as it is in force.
#[derive(Clone)]
pub struct Tls {
    pub acceptor: TlsAcceptor,
    pub certificates: Arc<Certificates>,
    /// Where redirects lead to.
    pub port: u16,
}

impl Tls {
    /// Reads the certificates. Tickets of sessions are those of `before`, if there is one: clients
    /// come back to them.
    pub fn new(settings: &TlsSettings, before: Option<&Self>) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let certificates = Certificates::load(&settings.certificates, Arc::clone(&provider))
            .map_err(TlsError::Certificate)?;
        let certificates = Arc::new(certificates);
        let tickets = match before {
            Some(before) => Arc::clone(&before.acceptor.config().ticketer),
            // Twelve hours each; their keys change every six. Shared by the cores.
            None => ring::Ticketer::new().map_err(TlsError::Rustls)?,
        };
        let config = config(settings, provider, Arc::clone(&certificates), tickets)
            .map_err(TlsError::Rustls)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { acceptor, certificates, port: settings.port })
    }
}

fn config(
    settings: &TlsSettings,
    provider: Arc<CryptoProvider>,
    certificates: Arc<Certificates>,
    tickets: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, rustls::Error> {
    let versions = match settings.min_version {
        Version::Tls12 => &[&TLS13, &TLS12][..],
        Version::Tls13 => &[&TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    // Sessions are in their tickets, with the clients: nothing of them is kept here.
    config.ticketer = tickets;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    let http2 = settings.http2.then(|| H2.to_vec());
    config.alpn_protocols = http2.into_iter().chain([HTTP_1_1.to_vec()]).collect();
    Ok(config)
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

/// Why TLS cannot be spoken.
#[derive(Debug)]
pub enum TlsError {
    Certificate(Unusable),
    /// The library has no randomness, or finds something that it cannot do.
    Rustls(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(unusable) => fmt::Display::fmt(unusable, f),
            Self::Rustls(error) => write!(f, "TLS cannot be spoken: {error}"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Certificate(unusable) => Some(unusable),
            Self::Rustls(error) => Some(error),
        }
    }
}
