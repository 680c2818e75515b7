//! TLS with the application.
//!
//! A server is believed when an authority that is trusted has signed that it is the one that was
//! wanted. What else there may be wrong is told with what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::HTTP_1_1;
use super::pair::{self, Files, Unusable};

/// How TLS is spoken with the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// The authorities that are trusted, in PEM; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// The name that a certificate must have; `None`: that of the address.
    pub server_name: Option<String>,
    /// `false` believes anybody.
    pub verify: bool,
    /// What we show of ourselves.
    pub own: Option<Files>,
}

/// TLS with the servers of one site.
pub struct Client {
    connector: TlsConnector,
    settings: ClientSettings,
    /// What was in the files.
    roots: Vec<CertificateDer<'static>>,
    own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Client {
    /// Reads the files. Sessions are resumed as long as this lives.
    pub fn new(settings: &ClientSettings) -> Result<Self, ClientError> {
        let provider = Arc::new(ring::default_provider());
        let roots = match &settings.ca {
            Some(path) => pair::chain(path)?,
            None if settings.verify => rustls_native_certs::load_native_certs().certs,
            None => Vec::new(),
        };
        let own = settings.own.as_ref().map(|files| {
            // Whether key and certificate match is found out here.
            pair::Pair::load(files, &provider)?;
            Ok::<_, Unusable>((pair::chain(&files.certificate)?, pair::private_key(&files.key)?))
        });
        let own = own.transpose()?;
        let verifier: Arc<dyn ServerCertVerifier> = if settings.verify {
            let mut store = RootCertStore::empty();
            // Systems have some that are of no use; of a file that was named, one must be.
            let (good, _) = store.add_parsable_certificates(roots.iter().cloned());
            if good == 0 {
                return Err(ClientError::NoAuthority(settings.ca.clone()));
            }
            WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider))
                .build()
                .map_err(|error| ClientError::Rustls(rustls::Error::General(error.to_string())))?
        } else {
            Arc::new(Anybody(Arc::clone(&provider)))
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(ClientError::Rustls)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &own {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(ClientError::Rustls)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { connector, settings: settings.clone(), roots, own })
    }

    /// The handshake with a server that is called `host`.
    pub async fn connect<S>(&self, host: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = self.settings.server_name.as_deref().unwrap_or(host);
        let name = name.strip_suffix('.').unwrap_or(name).to_owned();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        self.connector.connect(name, stream).await
    }
}

impl PartialEq for Client {
    /// Whether a connection of the one could as well be one of the other.
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings && self.roots == other.roots && self.own == other.own
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What to do about a handshake that failed: short enough for a field of the log.
pub fn remedy(error: &io::Error) -> String {
    let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>())
    else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                "it broke off: is TLS spoken there?".to_owned()
            }
            _ => error.to_string(),
        };
    };
    match error {
        rustls::Error::InvalidCertificate(why) => refused(why),
        rustls::Error::InvalidMessage(_) => {
            "no TLS is spoken there: write http://, or the port of TLS".to_owned()
        }
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::HandshakeFailure
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied),
        ) => {
            format!("it refuses us ({alert:?}): it may want certificate and key in [upstream_tls]")
        }
        error => error.to_string(),
    }
}

fn refused(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired: renew it there".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet: compare the clocks".to_owned()
        }
        CertificateError::UnknownIssuer => "its certificate's authority is not trusted here: name \
                                            its PEM file as ca in [upstream_tls]"
            .to_owned(),
        CertificateError::NotValidForNameContext { presented, .. } => format!(
            "its certificate is for another name: set server_name in [upstream_tls]; it has {}",
            presented.join(" ")
        ),
        CertificateError::NotValidForName => {
            "its certificate is for another name: set server_name in [upstream_tls]".to_owned()
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "its certificate is an authority's own (CA:TRUE): have it one made with CA:FALSE"
                .to_owned()
        }
        why => format!("its certificate is refused: {why}"),
    }
}

/// Believes everybody who has the key of the certificate that is shown, whosoever it is.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Why TLS cannot be spoken with the application.
#[derive(Debug)]
pub enum ClientError {
    File(Unusable),
    /// None is trusted: in this file, or by the system.
    NoAuthority(Option<PathBuf>),
    Rustls(rustls::Error),
}

impl From<Unusable> for ClientError {
    fn from(unusable: Unusable) -> Self {
        Self::File(unusable)
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(unusable) => write!(f, "upstream_tls: {unusable}"),
            Self::NoAuthority(Some(path)) => write!(
                f,
                "upstream_tls: {}: no certificate in it is one that can be read",
                path.display()
            ),
            Self::NoAuthority(None) => f.write_str(
                "upstream_tls: this system trusts no authority: install ca-certificates, or name a \
                 PEM file as `ca`",
            ),
            Self::Rustls(error) => write!(f, "upstream_tls: {error}"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(unusable) => Some(unusable),
            Self::NoAuthority(_) => None,
            Self::Rustls(error) => Some(error),
        }
    }
}
