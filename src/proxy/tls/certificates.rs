//! The certificates in force: chosen by the name that a client asks for, and read again when
//! their files change.
//!
//! They change all at once: what is served was read whole, and each key was found to be that of
//! its certificate. Files that are being written, or are wrong, leave what was there in force.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::pair::{Files, Pair, Unusable};

/// Within so many days of its end a certificate is worth a warning each day: whoever renews them
/// by a program does so at 30 days.
const DAYS_TO_WARN: u64 = 14;
const DAY: u64 = 86_400;

/// All certificates of the configuration.
pub struct Certificates {
    files: Vec<Files>,
    provider: Arc<CryptoProvider>,
    table: ArcSwap<Table>,
    looked: Mutex<Looked>,
}

/// What the last look at the files has found.
#[derive(Debug)]
struct Looked {
    /// What is in force was read from these.
    loaded: Vec<Stamp>,
    /// What was there at the last look.
    seen: Vec<Stamp>,
    /// These could not be used, and that was told.
    refused: Option<Vec<Stamp>>,
}

/// What a look at the files has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing that the look before has not found.
    Same,
    /// A change that may not be over yet.
    Moving,
    /// A change that is over, and in force.
    Taken,
    /// A change that is over, and cannot be used.
    Refused,
}

/// What changes with a file. `None`: there is none.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl Certificates {
    /// Reads all files. The first certificate is for clients that ask for no name, or for one that
    /// none has.
    pub fn load(files: &[Files], provider: Arc<CryptoProvider>) -> Result<Self, Unusable> {
        let loaded = stamps(files);
        let table = Table::load(files, &provider)?;
        let seen = loaded.clone();
        Ok(Self {
            files: files.to_vec(),
            provider,
            table: ArcSwap::from_pointee(table),
            looked: Mutex::new(Looked { loaded, seen, refused: None }),
        })
    }

    /// Looks whether files have changed, and puts them in force once they have been as they are
    /// for two looks. Reads files: not for the threads that move bytes. The outcome of each change
    /// is told once.
    pub fn look(&self, unix: u64) -> Look {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamps(&self.files);
        let settled = now == looked.seen;
        looked.seen.clone_from(&now);
        if !settled {
            return Look::Moving;
        }
        if now == looked.loaded || looked.refused.as_ref() == Some(&now) {
            return Look::Same;
        }
        match Table::load(&self.files, &self.provider) {
            Ok(table) => {
                self.table.store(Arc::new(table));
                looked.loaded = now;
                looked.refused = None;
                tracing::info!("certificates have changed, and are in force");
                self.tell(unix);
                Look::Taken
            }
            Err(error) => {
                looked.refused = Some(now);
                tracing::error!(
                    %error,
                    "certificates have changed, and cannot be used: those from before stay in force"
                );
                Look::Refused
            }
        }
    }

    /// Says what is in force.
    pub fn tell(&self, unix: u64) {
        for pair in &self.table.load().pairs {
            let days = pair.expires.saturating_sub(unix) / DAY;
            let (names, serial) = (pair.names.join(", "), &pair.serial);
            tracing::info!(%names, %serial, days_left = days, "certificate");
            if let Some(doubt) = pair.doubt {
                tracing::warn!(%names, %serial, "certificate: {doubt}");
            }
        }
        self.tell_expiry(unix);
    }

    /// Warns of certificates that have expired or soon will: once a day is enough.
    pub fn tell_expiry(&self, unix: u64) {
        for pair in &self.table.load().pairs {
            let (names, serial) = (pair.names.join(", "), &pair.serial);
            match pair.expires.checked_sub(unix) {
                None => tracing::error!(
                    %names,
                    %serial,
                    "a certificate has expired, and clients refuse it: renew it; the new one is \
                     taken as soon as its files are there"
                ),
                Some(left) if left < DAYS_TO_WARN * DAY => tracing::warn!(
                    %names,
                    %serial,
                    days_left = left / DAY,
                    "a certificate expires soon: renew it; the new one is taken as soon as its \
                     files are there"
                ),
                Some(_) => {}
            }
        }
    }

    /// The file of each certificate, and its last second, since 1970.
    pub fn expiries(&self) -> Vec<(String, u64)> {
        let table = self.table.load();
        let pairs = self.files.iter().zip(&table.pairs);
        pairs.map(|(files, pair)| (files.certificate.display().to_string(), pair.expires)).collect()
    }

    /// A line on each certificate.
    pub fn summary(&self, unix: u64) -> String {
        let line = |pair: &Pair| {
            let left = match pair.expires.checked_sub(unix) {
                Some(left) => format!("{} days left", left / DAY),
                None => "expired".to_owned(),
            };
            let doubt = pair.doubt.map_or(String::new(), |doubt| format!("; {doubt}"));
            format!("  certificate  {}: {left}{doubt}\n", pair.names.join(", "))
        };
        self.table.load().pairs.iter().map(line).collect()
    }

    /// Whether a certificate names a host: in lower case, without port and final dot.
    pub fn name(&self, host: &str) -> bool {
        !self.table.load().indices(host).is_empty()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.table.load();
        let indices = hello.server_name().map_or(&[][..], |name| table.indices(name));
        let pairs = || indices.iter().filter_map(|index| table.pairs.get(*index));
        let schemes = hello.signature_schemes();
        // One name may have keys of several kinds.
        let fitting = pairs().find(|pair| pair.key.key.choose_scheme(schemes).is_some());
        let pair = fitting.or_else(|| pairs().next()).or_else(|| table.pairs.first());
        pair.map(|pair| Arc::clone(&pair.key))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Certificates, and those that have a name.
#[derive(Debug)]
struct Table {
    /// At least one.
    pairs: Vec<Pair>,
    exact: HashMap<String, Vec<usize>>,
    /// `*.example.org`, by `example.org`.
    below: HashMap<String, Vec<usize>>,
}

impl Table {
    fn load(files: &[Files], provider: &CryptoProvider) -> Result<Self, Unusable> {
        let pairs = files.iter().map(|files| Pair::load(files, provider));
        let pairs: Vec<Pair> = pairs.collect::<Result<_, _>>()?;
        let mut table = Self { pairs: Vec::new(), exact: HashMap::new(), below: HashMap::new() };
        for (index, pair) in pairs.iter().enumerate() {
            for name in &pair.names {
                let list = match name.strip_prefix("*.") {
                    Some(above) => table.below.entry(above.to_owned()),
                    None => table.exact.entry(name.clone()),
                };
                list.or_default().push(index);
            }
        }
        table.pairs = pairs;
        Ok(table)
    }

    /// Those for a name. A wildcard stands for one label (RFC 9525, 6.3).
    fn indices(&self, name: &str) -> &[usize] {
        let exact = self.exact.get(name);
        let below = || name.split_once('.').and_then(|(_, above)| self.below.get(above));
        exact.or_else(below).map_or(&[], Vec::as_slice)
    }
}

fn stamps(files: &[Files]) -> Vec<Stamp> {
    files.iter().flat_map(|files| [stamp(&files.certificate), stamp(&files.key)]).collect()
}

/// Follows links: certificates are often renewed by pointing a link elsewhere.
fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}
