//! Alerts and the refusal sample as the configuration has them.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::uri::Scheme;

use crate::config::{self, Config};
use crate::proxy::clock::Clock;
use crate::proxy::tls::pair::{self, Unusable};
use crate::telemetry::access::OpenError;
use crate::telemetry::alerts::{
    Alerts, Now, Secret, Settings, SyslogAddress, WebhookSettings, told,
};
use crate::telemetry::refusals::{self, Refusals};

/// No secret is longer.
const LONGEST_SECRET: u64 = 4 << 10;

/// The clock as alerts want it.
pub(super) fn now(clock: Clock) -> Arc<Now> {
    Arc::new(move || (clock.now(), clock.unix_ms()))
}

/// Where alerts go: reads the secret, and the authorities that are trusted.
pub(super) fn settings(config: &Config) -> Result<Settings, AlertsError> {
    let alerts = config.alerts();
    let webhook = alerts.webhook.as_ref().map(|url| {
        let secret = alerts.webhook_secret_file.as_deref().map(secret).transpose()?;
        let roots = match &alerts.webhook_ca {
            Some(path) => pair::chain(path).map_err(AlertsError::Authority)?,
            None if url.scheme() == Some(&Scheme::HTTPS) => {
                let roots = rustls_native_certs::load_native_certs().certs;
                if roots.is_empty() {
                    return Err(AlertsError::NoAuthority);
                }
                roots
            }
            None => Vec::new(),
        };
        Ok(WebhookSettings { url: url.clone(), secret, roots: Arc::new(roots) })
    });
    let syslog = alerts.syslog.as_ref().map(|syslog| match syslog {
        config::Syslog::Unix(path) => SyslogAddress::Unix(path.clone()),
        config::Syslog::Udp(authority) => {
            SyslogAddress::Udp { host: authority.host().to_owned(), port: authority.port() }
        }
    });
    Ok(Settings {
        webhook: webhook.transpose()?,
        syslog,
        journald: alerts.journald.clone(),
        queue: alerts.queue,
        timeout: alerts.timeout,
        retry_for: alerts.retry_for,
    })
}

/// Writes a line for each thing that works, and should be mended all the same.
pub(super) fn announce(config: &Config) {
    for (what, remedy) in doubts(config) {
        tracing::warn!(remedy, "{what}");
    }
}

/// What `floodwall check` says of them; its error is what a start would say.
pub fn summary(config: &Config) -> Result<String, AlertsError> {
    settings(config)?;
    let warnings = doubts(config).into_iter();
    Ok(warnings.map(|(what, remedy)| format!("  warning   {what}: {remedy}\n")).collect())
}

/// Sends a test to each destination of a configuration, from here and now.
///
/// # Errors
/// There is none, or one has not got it; or what a start would say.
pub fn test(config: &Config) -> Result<String, String> {
    let settings = settings(config).map_err(|error| error.to_string())?;
    let tried = Alerts::test(&settings, &*now(Clock::start()));
    told(&tried)
}

/// Puts the refusal sample of a configuration in force, or leaves all as it was.
pub(super) fn put_refusals(refusals: &Refusals, config: &Config) -> Result<(), OpenError> {
    let sample = config.refusal_sample();
    let settings = refusals::Settings {
        per_client: sample.per_client,
        per_second: sample.per_second,
        challenged: sample.challenged,
    };
    refusals.put(settings, sample.file.as_deref())
}

/// What works, and should be mended all the same; and how.
fn doubts(config: &Config) -> Vec<(String, &'static str)> {
    let alerts = config.alerts();
    let mut doubts = Vec::new();
    if let Some(path) = &alerts.webhook_secret_file {
        let mode = std::fs::metadata(path).map_or(0, |file| file.permissions().mode());
        if mode & 0o007 != 0 {
            let what = format!("alerts.webhook_secret_file: {} is everybody's", path.display());
            doubts.push((what, "chmod o= it, and take another secret"));
        }
    }
    if let Some(url) = &alerts.webhook {
        let host = url.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let address = host.parse::<std::net::IpAddr>();
        let local = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        if url.scheme() == Some(&Scheme::HTTP) && !local {
            let what = "alerts.webhook: whoever is in between can read what is posted".to_owned();
            doubts.push((what, "write https://"));
        }
    }
    doubts
}

fn secret(path: &Path) -> Result<Secret, AlertsError> {
    let mut text = String::new();
    let file = File::open(path);
    let read = file.and_then(|file| file.take(LONGEST_SECRET).read_to_string(&mut text));
    read.map_err(|source| AlertsError::Unreadable { path: path.to_owned(), source })?;
    Secret::read(&text).map_err(|what| AlertsError::Secret { path: path.to_owned(), what })
}

/// Why alerts cannot be sent.
#[derive(Debug)]
pub enum AlertsError {
    /// The file of the secret cannot be read.
    Unreadable { path: PathBuf, source: io::Error },
    /// What is in it is no secret.
    Secret { path: PathBuf, what: &'static str },
    /// The file of the authorities is of no use.
    Authority(Unusable),
    /// The system trusts none.
    NoAuthority,
}

impl fmt::Display for AlertsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAKE: &str = "printf 'whsec_%s\\n' \"$(openssl rand -base64 32)\"";
        match self {
            Self::Unreadable { path, source } => {
                let path = path.display();
                write!(f, "alerts.webhook_secret_file: {path}: cannot be read: {source}\n  ")?;
                match source.kind() {
                    io::ErrorKind::NotFound => write!(f, "= make one: {MAKE} > {path}"),
                    _ => f.write_str("= let the user that Floodwall runs as read it"),
                }
            }
            Self::Secret { path, what } => write!(
                f,
                "alerts.webhook_secret_file: {path}: {what}\n  = make one: {MAKE} > {path}",
                path = path.display()
            ),
            Self::Authority(unusable) => write!(f, "alerts.webhook_ca: {unusable}"),
            Self::NoAuthority => f.write_str(
                "alerts: this system trusts no authority: install ca-certificates, or name a PEM \
                 file as `webhook_ca`",
            ),
        }
    }
}

impl Error for AlertsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Authority(unusable) => Some(unusable),
            Self::Secret { .. } | Self::NoAuthority => None,
        }
    }
}
