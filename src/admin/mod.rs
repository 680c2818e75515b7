//! The admin listener: what operators and their programs look at, in HTTP.
//!
//! It promises to show and never to change anything, to answer on a thread of its own whatever the
//! cores are busy with, and to nobody who does not know the token, where there is one. What it shows
//! comes from a [`Source`]; it refuses to know how requests are carried.

mod access;
mod metrics;
mod page;
mod patience;
mod serve;
mod visits;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;

pub use self::access::{Token, TokenError};
use self::page::Page;
use self::visits::Visits;
use crate::guard::moment::Moment;
use crate::telemetry::snapshot::Snapshot;

/// Who tells how the process stands.
pub trait Source: Send + Sync + 'static {
    /// Some milliseconds of work where tables are large: not to be called for every byte.
    fn snapshot(&self) -> Snapshot;

    fn now(&self) -> Moment;

    /// Whether every core has run lately.
    fn is_alive(&self) -> bool;

    fn readiness(&self) -> Readiness;
}

/// Whether requests are answered by the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// Why not, in a few words.
    Not(String),
}

/// Answers whoever connects.
pub struct Admin {
    source: Arc<dyn Source>,
    /// Replaced by a reload.
    token: Arc<ArcSwapOption<Token>>,
    latest: Mutex<Option<Latest>>,
    visits: Arc<Visits>,
    page: Page,
}

/// What was found when it was last asked for.
struct Latest {
    snapshot: Arc<Snapshot>,
    /// It is not asked for again before.
    until: Moment,
}

/// For so long a snapshot is good enough for everybody: however many ask, tables are looked through
/// five times a second at most.
const FRESH: Duration = Duration::from_millis(200);

/// And for so many times as long as it took to make, up to [`STALE`]: the largest tables take a
/// tenth of this thread's time.
const REST: u32 = 10;
const STALE: Duration = Duration::from_secs(5);

/// For how long whoever is connected at the end may wait for an answer.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

impl Admin {
    pub fn new(source: Arc<dyn Source>, token: Arc<ArcSwapOption<Token>>) -> Self {
        let (latest, page) = (Mutex::default(), Page::default());
        Self { source, token, latest, visits: Arc::default(), page }
    }

    /// How the process stands, or stood a moment ago.
    fn snapshot(&self) -> Arc<Snapshot> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let began = self.source.now();
        if let Some(latest) = &*latest
            && began < latest.until
        {
            return Arc::clone(&latest.snapshot);
        }
        let snapshot = Arc::new(self.source.snapshot());
        let ended = self.source.now();
        let rest = (ended.since(began) * REST).clamp(FRESH, STALE);
        let kept = Arc::clone(&snapshot);
        *latest = Some(Latest { snapshot: kept, until: ended.after(rest) });
        snapshot
    }

    /// Lets answers that are on their way end, for a moment; nobody is told events any more.
    pub async fn end(&self) {
        self.page.end();
        self.visits.end();
        let _ = tokio::time::timeout(LAST_PATIENCE, self.visits.emptied()).await;
    }
}

/// What is read of a token's file, in bytes.
const LONGEST_FILE: u64 = 4_096;

/// What whoever may read a token's file should be told.
pub fn doubt(file: &Path) -> Option<String> {
    let mode = std::fs::metadata(file).ok()?.permissions().mode() & 0o777;
    (mode & 0o007 != 0).then(|| {
        let file = file.display();
        format!(
            "everybody on this machine can use {file} (its mode is {mode:04o}): chmod 0640 {file}"
        )
    })
}

/// The token that a file holds; without a file, none.
///
/// # Errors
/// The file cannot be read, or what is in it is no token.
pub fn token(file: Option<&Path>) -> Result<Option<Arc<Token>>, TokenError> {
    let read = |file: &Path| {
        let mut text = Vec::new();
        // No token is as long; /dev/zero is none either.
        let read = File::open(file).and_then(|file| file.take(LONGEST_FILE).read_to_end(&mut text));
        read.map_err(|source| TokenError::new(file, source))?;
        Token::parse(&text).map(Arc::new).ok_or_else(|| {
            let why = "not a token: one line of 16 to 1024 visible ASCII characters, as from \
                       `openssl rand -hex 32`";
            TokenError::new(file, io::Error::new(io::ErrorKind::InvalidData, why))
        })
    };
    file.map(read).transpose()
}

#[cfg(test)]
mod tests;
