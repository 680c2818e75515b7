//! The admin listener: what operators and their programs look at, in HTTP.
//!
//! It promises to show and never to change anything, to answer on a thread of its own whatever the
//! cores are busy with, and to nobody who does not know the token, where there is one. What it shows
//! comes from a [`Source`]; it refuses to know how requests are carried.

mod access;
mod page;
mod patience;
mod serve;

use std::io;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

pub use self::access::{Token, TokenError};
use self::page::Page;
use crate::telemetry::snapshot::Snapshot;

/// Who tells how the process stands.
pub trait Source: Send + Sync + 'static {
    /// Some milliseconds of work where tables are large: not to be called for every byte.
    fn snapshot(&self) -> Snapshot;

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
    page: Page,
}

impl Admin {
    pub fn new(source: Arc<dyn Source>, token: Arc<ArcSwapOption<Token>>) -> Self {
        Self { source, token, page: Page::default() }
    }
}

/// The token that a file holds; without a file, none.
///
/// # Errors
/// The file cannot be read, or what is in it is no token.
pub fn token(file: Option<&Path>) -> Result<Option<Arc<Token>>, TokenError> {
    let read = |file: &Path| {
        let text = std::fs::read(file);
        let text = text.map_err(|source| TokenError::new(file, source))?;
        Token::parse(&text).map(Arc::new).ok_or_else(|| {
            let why = "not a token: one line of 16 to 1024 visible ASCII characters, as from \
                       `openssl rand -hex 32`";
            TokenError::new(file, io::Error::new(io::ErrorKind::InvalidData, why))
        })
    };
    file.map(read).transpose()
}
