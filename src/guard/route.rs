//! Routes: which rule a request falls under.

use super::path::last_segment;
use super::policy::{Challenge, Mode};

/// A rule of the operator's or of the profile's.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name in logs: unique among the rules of a site.
    pub name: String,
    pub paths: Vec<PathPattern>,
    /// Methods that it matches, in upper case; empty matches all.
    pub methods: Vec<String>,
    /// Standings that it matches; empty matches all.
    pub standings: Vec<StandingWord>,
    pub action: Action,
    /// Index into `Policy::budgets`.
    pub budget: usize,
    /// Overrides the site's mode.
    pub mode: Option<Mode>,
    /// Goes before that of the budget and of the site.
    pub challenge: Option<Challenge>,
    /// What the view behind it does to a session.
    pub effect: Effect,
    /// Query parameters with which a request still recycles. Names only, percent-decoded.
    pub query: Vec<String>,
}

/// Matched against the path as WSGI decodes it: percent-decoded once, leading slashes taken as
/// one, a final newline removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// The whole path, byte for byte.
    Exact(String),
    /// What the path begins with.
    Prefix(String),
    /// `*` within a segment, `**` across segments, `?`, `[a-z]`, `{one,other}`.
    Glob(String),
    /// The last segment, with or without a slash behind it, is one of these.
    LastSegment(Vec<String>),
}

impl PathPattern {
    /// Whether a decoded path (see `path::decode`) falls under this pattern.
    pub fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => path == exact.as_bytes(),
            Self::Prefix(prefix) => path.starts_with(prefix.as_bytes()),
            Self::Glob(glob) => fast_glob::glob_match(glob, path),
            Self::LastSegment(segments) => {
                let last = last_segment(path);
                segments.iter().any(|segment| segment.as_bytes() == last)
            }
        }
    }
}

impl Rule {
    /// Whether a request falls under this rule.
    pub fn matches(&self, path: &[u8], method: &str, standing: StandingWord) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|known| known == method))
            && (self.standings.is_empty() || self.standings.contains(&standing))
            && self.paths.iter().any(|pattern| pattern.matches(path))
    }
}

/// A standing as a rule names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandingWord {
    None,
    Known,
    Unknown,
    Malformed,
}

impl StandingWord {
    pub const ALL: [Self; 4] = [Self::None, Self::Known, Self::Unknown, Self::Malformed];

    /// The word for it in TOML, logs and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Known => "known",
            Self::Unknown => "unknown",
            Self::Malformed => "malformed",
        }
    }
}

/// What a rule does with a request that has no proof of a live session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reserve from the budget, then forward; refuse where none is left.
    Gate,
    /// Forward with a spare where the path was seen to flush; gate until then.
    Recycle,
    /// The proxy replies itself.
    Answer(Answer),
    /// Forward without a reservation. What it creates is charged all the same.
    Forward,
}

impl Action {
    /// The words for the actions in TOML and in logs.
    pub const WORDS: [&'static str; 4] = ["gate", "recycle", "answer", "forward"];

    /// The word for it in TOML and in logs.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Recycle => "recycle",
            Self::Answer(_) => "answer",
            Self::Forward => "forward",
        }
    }
}

/// A reply of the proxy's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200, 204, 302, 303, 403, 404 or 410; a redirection has a location, nothing else has.
    pub status: u16,
    /// An absolute path (`/…`, not `//…`) or an `http`/`https` URL, in visible ASCII.
    pub location: Option<String>,
}

/// What a view does to the session that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It may read or write it.
    Write,
    /// It gives it a new key: login.
    Rotate,
    /// It ends it: logout.
    Flush,
}

impl Effect {
    pub const ALL: [Self; 3] = [Self::Write, Self::Rotate, Self::Flush];

    /// The word for it in TOML.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Rotate => "rotate",
            Self::Flush => "flush",
        }
    }
}
