//! TLS as the configuration has it.

use std::error::Error;
use std::sync::Arc;

use crate::config::{self, Config};
use crate::proxy::clock::Clock;
use crate::proxy::settings::Settings;
use crate::proxy::tls::client::{Client, ClientError, ClientSettings};
use crate::proxy::tls::pair::Files;
use crate::proxy::tls::{Tls, TlsError, TlsSettings, Version};

/// TLS with clients, if it is spoken anywhere: reads the certificates. After a reload clients
/// resume the sessions that they have with what was in force `before`.
pub(super) fn begin(settings: &Settings, before: Option<&Tls>) -> Result<Option<Tls>, TlsError> {
    settings.tls.as_ref().map(|tls| Tls::new(tls, before)).transpose()
}

/// Tells which certificates are in force.
pub(super) fn announce(tls: Option<&Tls>, clock: Clock) {
    if let Some(tls) = tls {
        tls.certificates.tell(clock.unix(clock.now()));
    }
}

/// What `floodwall check` says of the certificates; its error is what a start would say.
pub fn summary(config: &Config) -> Result<String, Box<dyn Error>> {
    for site in config.sites() {
        client(site)?;
    }
    let Some(settings) = settings(config) else { return Ok(String::new()) };
    let clock = Clock::start();
    let tls = Tls::new(&settings, None)?;
    Ok(tls.certificates.summary(clock.unix(clock.now())))
}

/// How the servers of a site are spoken with that speak TLS, if there are any: reads the files.
pub(super) fn client(site: &config::Site) -> Result<Option<Arc<Client>>, ClientError> {
    of_upstream(site).map(|settings| Client::new(&settings).map(Arc::new)).transpose()
}

/// `None` where no server of the site speaks TLS.
pub(super) fn of_upstream(site: &config::Site) -> Option<ClientSettings> {
    let speaks = |server: &config::Server| matches!(server.upstream, config::Upstream::Tls(_));
    let tls = site.upstream_tls();
    site.servers().iter().any(speaks).then(|| ClientSettings {
        ca: tls.ca.clone(),
        server_name: tls.server_name.clone(),
        verify: tls.verify,
        own: tls.own.as_ref().map(files),
    })
}

fn files(files: &config::Certificate) -> Files {
    Files { certificate: files.certificate.clone(), key: files.key.clone() }
}

/// `None` where TLS is not spoken.
pub(super) fn settings(config: &Config) -> Option<TlsSettings> {
    let tls = config.tls();
    let first = tls.listen.first()?;
    Some(TlsSettings {
        certificates: tls.certificates.iter().map(files).collect(),
        min_version: match tls.min_version {
            config::TlsVersion::Tls12 => Version::Tls12,
            config::TlsVersion::Tls13 => Version::Tls13,
        },
        http2: config.http2().enabled,
        port: if tls.redirect_port == 0 { first.port() } else { tls.redirect_port },
    })
}
