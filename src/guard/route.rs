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
pub struct Glances {
    glances: Box<[Glance]>,
    /// For each rule, what a path may begin with whose last segment matches none of its patterns.
    starts: Box<[Starts]>,
}

/// What paths begin with.
type Starts = Box<[Box<[u8]>]>;

/// What tells of rules, as many as there are bits in a number, that no pattern of them can match.
#[derive(Debug)]
struct Glance {
    /// For each length and first byte that a last segment may have, the rules that may match: see
    /// [`Self::place`].
    segments: Box<[u64; 256]>,
    /// For each second byte of a path, which is the first behind a slash; four share one.
    seconds: [u64; 64],
}

impl Glances {
    /// Of these rules.
    pub fn new(rules: &[Rule]) -> Self {
        let starts = |rule: &Rule| rule.paths.iter().filter_map(start).map(Box::from).collect();
        Self {
            glances: rules.chunks(Glance::RULES).map(Glance::new).collect(),
            starts: rules.iter().map(starts).collect(),
        }
    }

    /// The first of `rules`, of which this was made, that matches; and its index.
    pub fn first<'a>(
        &self,
        rules: &'a [Rule],
        path: &[u8],
        method: &str,
        standing: StandingWord,
    ) -> Option<(u16, &'a Rule)> {
        let segment = last_segment(path);
        (0..).step_by(Glance::RULES).zip(&self.glances).find_map(|(from, glance)| {
            let by_segment = glance.by_segment(segment);
            let mut left = by_segment | glance.by_start(path);
            while left != 0 {
                // Less than 64 fits into any number.
                let index: u16 = from + left.trailing_zeros() as u16;
                let this = left & left.wrapping_neg();
                left ^= this;
                let (rule, starts) = (&rules[usize::from(index)], &self.starts[usize::from(index)]);
                if (by_segment & this != 0 || starts.iter().any(|start| path.starts_with(start)))
                    && rule.matches(path, method, standing)
                {
                    return Some((index, rule));
                }
            }
            None
        })
    }
}

impl Glance {
    const RULES: usize = u64::BITS as usize;

    fn new(rules: &[Rule]) -> Self {
        let mut glance = Self { segments: Box::new([0; 256]), seconds: [0; 64] };
        for (index, rule) in rules.iter().enumerate() {
            for pattern in &rule.paths {
                glance.note(1 << index, pattern);
            }
        }
        glance
    }

    fn note(&mut self, rule: u64, pattern: &PathPattern) {
        if let PathPattern::LastSegment(segments) = pattern {
            for segment in segments {
                self.segments[Self::place(segment.as_bytes())] |= rule;
            }
        }
        match start(pattern) {
            Some([]) | Some([_]) => self.seconds.iter_mut().for_each(|rules| *rules |= rule),
            Some(start) => self.seconds[Self::second(start)] |= rule,
            None => {}
        }
    }

    fn by_segment(&self, segment: &[u8]) -> u64 {
        self.segments[Self::place(segment)]
    }

    fn by_start(&self, path: &[u8]) -> u64 {
        self.seconds[Self::second(path)]
    }

    /// Of a segment: its length, from 15 on the same one, and its first byte, of which sixteen share
    /// one.
    fn place(segment: &[u8]) -> usize {
        let first = segment.first().copied().unwrap_or_default();
        segment.len().min(15) << 4 | usize::from((first ^ first >> 4) & 15)
    }

    /// Of a path.
    fn second(path: &[u8]) -> usize {
        path.get(1).map_or(0, |byte| usize::from(byte & 63))
    }
}

/// What every path begins with that a pattern matches, where that tells of it.
fn start(pattern: &PathPattern) -> Option<&[u8]> {
    match pattern {
        PathPattern::Exact(text) | PathPattern::Prefix(text) => Some(text.as_bytes()),
        PathPattern::Glob(glob) => Some(literal(glob).as_bytes()),
        PathPattern::LastSegment(_) => None,
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

    #[test]
    fn rules_are_found_however_many_there_are() {
        let rules: Vec<Rule> = (0..200)
            .map(|number| match number % 4 {
                0 => PathPattern::Exact(format!("/{number}/a")),
                1 => PathPattern::Prefix(format!("/{number}/b")),
                2 => PathPattern::Glob(format!("/{number}/*")),
                _ => PathPattern::LastSegment(vec![format!("{number}d")]),
            })
            .map(rule)
            .collect();
        let glances = Glances::new(&rules);
        for number in 0..200_u16 {
            let path = match number % 4 {
                0 => format!("/{number}/a"),
                1 => format!("/{number}/bb"),
                2 => format!("/{number}/c"),
                _ => format!("/x/{number}d/"),
            };
            let found = glances.first(&rules, path.as_bytes(), "GET", StandingWord::None);
            assert_eq!(found.map(|(index, _)| index), Some(number), "{path}");
        }
        assert!(glances.first(&rules, b"/", "GET", StandingWord::None).is_none());
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
