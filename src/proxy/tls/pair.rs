//! A certificate with its chain and its key, out of PEM files.
//!
//! What is wrong with the files is found when they are read, never in a handshake, and is told
//! with the file and what to do.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// A longer file is no certificate.
const LONGEST_FILE: u64 = 1 << 20;

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// In PEM: the certificate itself, then those that it was signed with.
    pub certificate: PathBuf,
    /// In PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// A certificate that can be served.
#[derive(Debug)]
pub struct Pair {
    pub key: Arc<CertifiedKey>,
    /// Whom it names, in lower case: hosts, `*.` and a host, addresses.
    pub names: Vec<String>,
    /// Its last second, since 1970.
    pub expires: u64,
    /// In hexadecimal, as browsers and `openssl x509` show it.
    pub serial: String,
    /// What clients may stumble over, though it can be served.
    pub doubt: Option<Doubt>,
}

/// What clients may stumble over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Nobody has looked at the common name for years.
    Nameless,
    /// Each certificate should be followed by the one that signed it.
    Order,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nameless => {
                "it has no subjectAltName, and is refused by browsers: have it made again with one"
            }
            Self::Order => {
                "the certificates behind the first one are not in order, or do not belong to it: \
                 each must have signed the one above it"
            }
        })
    }
}

impl Pair {
    /// Reads and checks both files.
    pub fn load(files: &Files, provider: &CryptoProvider) -> Result<Self, Unusable> {
        let chain = chain(&files.certificate)?;
        let key = private_key(&files.key)?;
        let parsed: Vec<Certificate> =
            chain.iter().filter_map(|der| Certificate::from_der(der).ok()).collect();
        let [first, ..] = &*parsed else {
            return Err(Unusable::new(&files.certificate, Reason::Certificate));
        };
        if parsed.len() < chain.len() {
            return Err(Unusable::new(&files.certificate, Reason::Certificate));
        }
        let bad_key = |error| Unusable::new(&files.key, Reason::Key(error));
        let signing = provider.key_provider.load_private_key(key).map_err(bad_key)?;
        let matches = |chain: Vec<CertificateDer<'static>>| {
            match CertifiedKey::new(chain, Arc::clone(&signing)).keys_match() {
                Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Ok(false),
                // Where the kind of key does not tell, the first handshake will.
                Ok(()) | Err(rustls::Error::InconsistentKeys(_)) => Ok(true),
                Err(_) => Err(Unusable::new(&files.certificate, Reason::Certificate)),
            }
        };
        if !matches(chain.clone())? {
            let later = chain.iter().skip(1).any(|one| matches(vec![one.clone()]) == Ok(true));
            let reason = if later { Reason::Order } else { Reason::Mismatch(files.key.clone()) };
            return Err(Unusable::new(&files.certificate, reason));
        }
        let names = names(first);
        let tbs = first.tbs_certificate();
        let ordered = parsed
            .windows(2)
            .all(|two| two[0].tbs_certificate().issuer() == two[1].tbs_certificate().subject());
        let doubt = match (names.is_empty(), ordered) {
            (true, _) => Some(Doubt::Nameless),
            (false, false) => Some(Doubt::Order),
            (false, true) => None,
        };
        Ok(Self {
            expires: tbs.validity().not_after.to_unix_duration().as_secs(),
            serial: tbs.serial_number().as_bytes().iter().map(|b| format!("{b:02X}")).collect(),
            key: Arc::new(CertifiedKey::new(chain, signing)),
            names,
            doubt,
        })
    }
}

/// The certificates of a file.
pub fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let bytes = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if all.is_empty() => {
            let reason = if is_key(&bytes) { Reason::Exchanged } else { Reason::NoCertificate };
            Err(Unusable::new(path, reason))
        }
        Ok(all) => Ok(all),
        Err(error) => Err(Unusable::new(path, Reason::Pem(error))),
    }
}

/// The first private key of a file.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Unusable> {
    let bytes = read(path)?;
    if has(&bytes, b"ENCRYPTED") {
        return Err(Unusable::new(path, Reason::Encrypted));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let reason = match error {
            pem::Error::NoItemsFound if has(&bytes, b"-----BEGIN CERTIFICATE-----") => {
                Reason::Exchanged
            }
            pem::Error::NoItemsFound => Reason::NoKey,
            error => Reason::Pem(error),
        };
        Unusable::new(path, reason)
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Unusable> {
    let unreadable = |error| Unusable::new(path, Reason::Unreadable(error));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(LONGEST_FILE).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn is_key(bytes: &[u8]) -> bool {
    has(bytes, b"PRIVATE KEY-----")
}

fn has(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Whom a certificate names (RFC 5280, 4.2.1.6). The common name is not looked at by anybody.
fn names(certificate: &Certificate) -> Vec<String> {
    let found = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let Ok(Some((_, SubjectAltName(names)))) = found else { return Vec::new() };
    let name = |name: GeneralName| match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
        GeneralName::IpAddress(bytes) => address(bytes.as_bytes()),
        _ => None,
    };
    names.into_iter().filter_map(name).collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    let address = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
        _ => return None,
    };
    Some(address.to_string())
}

/// Why a file cannot be used.
#[derive(Debug)]
pub struct Unusable {
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Unreadable(io::Error),
    Pem(pem::Error),
    NoCertificate,
    NoKey,
    /// A key where a certificate should be, or the other way round.
    Exchanged,
    Encrypted,
    Certificate,
    Key(rustls::Error),
    /// The key is that of another certificate.
    Mismatch(PathBuf),
    /// The key is that of a certificate further down.
    Order,
}

impl Unusable {
    fn new(path: &Path, reason: Reason) -> Self {
        Self { path: path.to_owned(), reason }
    }
}

impl PartialEq for Unusable {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match &self.reason {
            Reason::Unreadable(error) => match error.kind() {
                io::ErrorKind::NotFound => f.write_str(
                    "there is no such file; paths are relative to the working directory",
                ),
                io::ErrorKind::PermissionDenied => f.write_str(
                    "it may not be read: let the user that runs Floodwall read it (chgrp, chmod \
                     g+r; folders above need x)",
                ),
                _ => write!(f, "it cannot be read: {error}"),
            },
            Reason::Pem(error) => {
                write!(
                    f,
                    "it is not PEM, or was cut: {error}; write it anew, or convert it with openssl"
                )
            }
            Reason::NoCertificate => f.write_str(
                "no certificate is in it; wanted is PEM, with \"-----BEGIN CERTIFICATE-----\" \
                 (from DER: openssl x509 -inform der -in FILE)",
            ),
            Reason::NoKey => f.write_str(
                "no private key is in it; wanted is PEM, with \"-----BEGIN PRIVATE KEY-----\" \
                 (from DER: openssl pkey -inform der -in FILE)",
            ),
            Reason::Exchanged => f.write_str(
                "key and certificate are the wrong way round: exchange `certificate` and `key`",
            ),
            Reason::Encrypted => f.write_str(
                "the key is encrypted, and nobody is there to type its passphrase: decrypt it with \
                 openssl pkey -in FILE -out NEW, and protect it by its permissions",
            ),
            Reason::Certificate => {
                f.write_str("a certificate in it is none that can be read (X.509, version 3)")
            }
            Reason::Key(error) => write!(
                f,
                "the private key cannot be used: {error}; wanted is RSA (2048 bits or more), ECDSA \
                 (P-256, P-384) or Ed25519"
            ),
            Reason::Mismatch(key) => write!(
                f,
                "the key in {} is that of another certificate: name the two that were made together",
                key.display()
            ),
            Reason::Order => f.write_str(
                "the site's own certificate is not the first: write it above those that signed it",
            ),
        }
    }
}

impl std::error::Error for Unusable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            Reason::Unreadable(error) => Some(error),
            Reason::Pem(error) => Some(error),
            Reason::Key(error) => Some(error),
            Reason::NoCertificate
            | Reason::NoKey
            | Reason::Exchanged
            | Reason::Encrypted
            | Reason::Certificate
            | Reason::Mismatch(_)
            | Reason::Order => None,
        }
    }
}
