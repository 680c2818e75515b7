//! `[tls]`: where TLS is spoken, with which certificates, and where plain HTTP is sent away to it.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;

use toml::de::DeValue;

use super::address;
use super::fault::{Fault, Faults, Unfit};
use super::listen::{self, Listen};
use super::table::{Entry, Table};
use super::value::{self, Empty, boolean, integer, text, word};

/// TLS with clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Where it is spoken: perhaps nowhere, and no address twice.
    pub listen: Vec<SocketAddr>,
    /// Where plain HTTP is sent away to it. Empty where `listen` is.
    pub redirect: Vec<SocketAddr>,
    /// Where clients of `redirect` are sent to; 0: to the port of the first of `listen`.
    pub redirect_port: u16,
    /// At least one where `listen` is not empty. The first is for clients that ask for no name.
    pub certificates: Vec<Certificate>,
    pub min_version: TlsVersion,
}

/// The files of a certificate. What is in them is not known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

impl TlsVersion {
    pub const ALL: [Self; 2] = [Self::Tls12, Self::Tls13];

    /// The word for it in TOML.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}

/// TLS with the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The authorities that are trusted; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// The name that a certificate must have; `None`: that of the server's own address.
    pub server_name: Option<String>,
    /// `false`: anybody is believed.
    pub verify: bool,
    /// What is shown of ourselves.
    pub own: Option<Certificate>,
}

/// Where the addresses stand in the file.
#[derive(Default)]
pub(super) struct Places {
    pub(super) listen: Option<Range<usize>>,
    pub(super) redirect: Option<Range<usize>>,
}

pub(super) fn read(mut table: Table<'_, '_>, tls: &mut Tls, faults: &mut Faults) -> Places {
    let before = faults.len();
    let addresses = |entry: &Entry<'_, '_>, faults: &mut Faults| {
        value::list(entry, faults, Empty::Allowed, text(listen))
    };
    let listen = table.read("listen", &mut tls.listen, faults, addresses);
    let redirect = table.read("redirect", &mut tls.redirect, faults, addresses);
    table.read("redirect_port", &mut tls.redirect_port, faults, integer(0..=u16::MAX));
    table.read("certificates", &mut tls.certificates, faults, |entry, faults| {
        value::list(entry, faults, Empty::Allowed, certificate)
    });
    table.read(
        "min_version",
        &mut tls.min_version,
        faults,
        word(&TlsVersion::ALL, TlsVersion::word),
    );
    if faults.len() == before {
        let first = tls.listen.first().map_or(0, SocketAddr::port);
        if !tls.redirect.is_empty()
            && !tls.listen.is_empty()
            && first == 0
            && tls.redirect_port == 0
        {
            let place = listen.clone().unwrap_or_else(|| table.span());
            let fault = Fault::new(place, "tls.listen: nobody knows this port, to redirect to it");
            faults.add(fault.remedy("write a port, or the one to redirect to as redirect_port"));
        }
        if tls.certificates.is_empty() && !tls.listen.is_empty() {
            let place = listen.clone().unwrap_or_else(|| table.span());
            let fault = Fault::missing(place, "tls: no certificate for it");
            faults.add(fault.remedy(
                "write certificates = [{ certificate = \"fullchain.pem\", key = \"privkey.pem\" }]",
            ));
        }
        if tls.listen.is_empty() && !tls.redirect.is_empty() {
            let place = redirect.clone().unwrap_or_else(|| table.span());
            let fault = Fault::missing(place, "tls.redirect: nothing speaks TLS to redirect to");
            faults.add(fault.remedy("write listen = \"0.0.0.0:443\" in [tls]"));
        }
    }
    table.finish(faults);
    Places { listen, redirect }
}

pub(super) fn upstream(mut table: Table<'_, '_>, tls: &mut UpstreamTls, faults: &mut Faults) {
    let before = faults.len();
    let ca = table.read("ca", &mut tls.ca, faults, text(file_or_none));
    table.read("server_name", &mut tls.server_name, faults, text(name));
    table.read("verify", &mut tls.verify, faults, boolean);
    let own = tls.own.clone();
    let (mut certificate, mut key) = own.map_or((None, None), |own| {
        let Certificate { certificate, key } = own;
        (Some(certificate), Some(key))
    });
    let places = [
        table.read("certificate", &mut certificate, faults, text(file_or_none)),
        table.read("key", &mut key, faults, text(file_or_none)),
    ];
    if faults.len() == before {
        if let Some(place) = ca.filter(|_| tls.ca.is_some() && !tls.verify) {
            let fault = Fault::new(place, "upstream_tls.ca: nothing is verified with it");
            faults.add(fault.remedy("leave verify = false out, or this"));
        }
        tls.own = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(Certificate { certificate, key }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                let place = places.into_iter().flatten().next().unwrap_or_else(|| table.span());
                let what = "upstream_tls: `certificate` and `key` go together";
                faults.add(Fault::new(place, what).remedy("name both files, or none"));
                None
            }
        };
    }
    table.finish(faults);
}

/// Reads `{ certificate = "fullchain.pem", key = "privkey.pem" }`.
fn certificate(entry: &Entry<'_, '_>, faults: &mut Faults) -> Option<Certificate> {
    const REMEDY: &str = "write { certificate = \"fullchain.pem\", key = \"privkey.pem\" }";
    let DeValue::Table(content) = entry.value.get_ref() else {
        faults.add(entry.wrong_type("a table").remedy(REMEDY));
        return None;
    };
    let before = faults.len();
    let mut table = Table::new(&entry.key, entry.span(), Some(content));
    let (mut certificate, mut key) = (None, None);
    table.read("certificate", &mut certificate, faults, text(file));
    table.read("key", &mut key, faults, text(file));
    table.finish(faults);
    if let (Some(certificate), Some(key)) = (certificate, key) {
        return Some(Certificate { certificate, key });
    }
    if faults.len() == before {
        let fault = Fault::missing(entry.span(), format!("{}: incomplete", entry.key));
        faults.add(fault.remedy(REMEDY));
    }
    None
}

fn file(text: &str) -> Result<Option<PathBuf>, Unfit> {
    if text.is_empty() || text.ends_with('/') || text.contains('\0') {
        return Err(Unfit::new("not a file").remedy("write the path of a PEM file"));
    }
    Ok(Some(PathBuf::from(text)))
}

/// The empty string names none.
fn file_or_none(text: &str) -> Result<Option<PathBuf>, Unfit> {
    if text.is_empty() { Ok(None) } else { file(text) }
}

/// The empty string is none.
fn name(text: &str) -> Result<Option<String>, Unfit> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if text.is_empty() {
        return Ok(None);
    }
    if address::is_host(text) || bare.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(Some(bare.to_owned()));
    }
    Err(Unfit::new("not a name").remedy("write one that the certificate has: \"app.internal\""))
}

fn listen(text: &str) -> Result<SocketAddr, Unfit> {
    match listen::listen(text).map_err(Unfit::new)? {
        Listen::Tcp(address) => Ok(address),
        Listen::Unix(_) => {
            let remedy = "write an address and a port; plain HTTP may come by a Unix socket, which \
                          `listen` of the top level names";
            Err(Unfit::new("TLS is not spoken on Unix sockets").remedy(remedy))
        }
    }
}
