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

/// The rules of a policy, made ready to be asked for every request.
///
/// Of nearly every rule that does not match this is seen from the length and the first bytes of the
/// path or of its last segment; only of the others it is asked.
#[derive(Debug)]
pub struct Glances(Box<[Glance]>);

/// What tells of a rule that no pattern of it can match.
#[derive(Debug)]
struct Glance {
    /// Lengths that a last segment may have, as bits; those from 63 on share one.
    lengths: u64,
    /// The first bytes that it may have, as bits; one stands for four bytes.
    firsts: u64,
    /// What the path may begin with otherwise.
    starts: Box<[Box<[u8]>]>,
}

impl Glances {
    /// Of these rules.
    pub fn new(rules: &[Rule]) -> Self {
        Self(rules.iter().map(|rule| Glance::new(&rule.paths)).collect())
    }

    /// The first of `rules`, of which this was made, that matches; and its index.
    pub fn first<'a>(
        &self,
        rules: &'a [Rule],
        path: &[u8],
        method: &str,
        standing: StandingWord,
    ) -> Option<(u16, &'a Rule)> {
        let (length, first) = Glance::bits(last_segment(path));
        let mut rules = (0..).zip(rules).zip(&self.0);
        let found = rules.find(|((_, rule), glance)| {
            let segment = glance.lengths & length != 0 && glance.firsts & first != 0;
            (segment || glance.starts.iter().any(|start| path.starts_with(start)))
                && rule.matches(path, method, standing)
        });
        found.map(|(found, _)| found)
    }
}

impl Glance {
    fn new(patterns: &[PathPattern]) -> Self {
        let (mut lengths, mut firsts, mut starts) = (0, 0, Vec::new());
        for pattern in patterns {
            match pattern {
                PathPattern::Exact(text) | PathPattern::Prefix(text) => starts.push(text.as_str()),
                PathPattern::Glob(glob) => starts.push(literal(glob)),
                PathPattern::LastSegment(segments) => {
                    for segment in segments {
                        let (length, first) = Self::bits(segment.as_bytes());
                        lengths |= length;
                        firsts |= first;
                    }
                }
            }
        }
        let starts = starts.into_iter().map(|start| start.as_bytes().into()).collect();
        Self { lengths, firsts, starts }
    }

    /// The bits of a segment.
    fn bits(segment: &[u8]) -> (u64, u64) {
        let first = segment.first().map_or(0, |byte| byte & 63);
        (1 << segment.len().min(63), 1 << first)
    }
}

/// What everything begins with that a glob matches.
fn literal(glob: &str) -> &str {
    let end = glob.find(['*', '?', '[', ']', '{', '}', '\\', '!']).unwrap_or(glob.len());
    // `/**` may stand for nothing at all.
    glob[..end].trim_end_matches('/')
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(pattern: PathPattern) -> Rule {
        Rule {
            name: String::from("a"),
            paths: vec![pattern],
            methods: Vec::new(),
            standings: Vec::new(),
            action: Action::Gate,
            budget: 0,
            mode: None,
            challenge: None,
            effect: Effect::Write,
            query: Vec::new(),
        }
    }

    /// Patterns and paths of few letters, so that many match.
    fn pattern() -> impl Strategy<Value = PathPattern> {
        let glob = prop_oneof![
            Just("/"),
            Just("a"),
            Just("b"),
            Just("*"),
            Just("**"),
            Just("/**"),
            Just("/**/"),
            Just("?"),
            Just("[ab]"),
            Just("{a,b/}"),
            Just("\\a"),
            Just("!"),
        ];
        let glob = prop::collection::vec(glob, 0..6);
        prop_oneof![
            "[/ab]{0,4}".prop_map(PathPattern::Exact),
            "[/ab]{0,3}".prop_map(PathPattern::Prefix),
            glob.prop_map(|parts| PathPattern::Glob(parts.concat())),
            prop::collection::vec("[ab]{0,3}", 1..3).prop_map(PathPattern::LastSegment),
        ]
    }

    proptest! {
        #[test]
        fn a_glance_passes_over_no_rule_that_matches(
            patterns in prop::collection::vec(pattern(), 0..6),
            paths in prop::collection::vec("/?[/ab]{0,6}", 1..20),
        ) {
            let rules: Vec<Rule> = patterns.into_iter().map(rule).collect();
            let glances = Glances::new(&rules);
            for path in paths {
                let asked = |rule: &Rule| rule.matches(path.as_bytes(), "GET", StandingWord::None);
                let expected = rules.iter().position(asked);
                let found = glances.first(&rules, path.as_bytes(), "GET", StandingWord::None);
                prop_assert_eq!(found.map(|(index, _)| usize::from(index)), expected, "{}", path);
            }
        }
    }
}
