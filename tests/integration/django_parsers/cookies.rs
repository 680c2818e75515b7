//! Cookie headers: what session key Floodwall and Django's `parse_cookie` see.

use floodwall::guard::cookie::{Cookies, Presented};
use floodwall::guard::key::SessionKey;
use floodwall::guard::policy::KeyShape;
use http::HeaderValue;

use super::{Census, Harm, KEY, Kind, OTHER, Random, ask, base64, with_each_release};

const SPARE: &str = "00000000000000000000000000000001";

/// Pieces of cookie headers: S is the session cookie's name, K and O are keys.
const PIECES: [&str; 45] = [
    "S=K",
    "S=K",
    "S=O",
    "S=\"K\"",
    "S = K",
    " S=K ",
    "S\t=\tK",
    "S=",
    "S=\"\"",
    "S",
    "S==K",
    "=S=K",
    "S=K,a=1",
    "a=1,S=K",
    "a=1, S=K",
    "S=\"\\060\\061K\"",
    "S=\"K",
    "S=K\"",
    "S='K'",
    "S=K K",
    "$S=K",
    "S=a:b:c",
    "S=\"a:b:c\"",
    "S.=K",
    "SS=K",
    "a=1",
    "a=",
    "a=\"x; S=K\"",
    "a=\"x",
    "b=\"y\"",
    "x\"",
    "a=\"\\\"; S=K; \"",
    "a=\"\\\\\"",
    "foo bar",
    "",
    " ",
    "path=/",
    "Expires=Mon, 01-Jan-2020 00:00:00 GMT",
    "httponly",
    "$Version=1",
    "$Path=/; $Version=\"1\"",
    "a[1]=b",
    "a={\"S\": \"K\"}",
    "a@b=1",
    "n=\u{e4}",
];

/// What a parser may stumble over. The control bytes among it hyper refuses, but for the tab.
const COOKIE_BYTES: &[u8] = b";;; ==\"\"\\\\,,\t$:@{}[]()'aKS0\x80\xa0\xe4\xff\x01\x0b\x7f";

const LONG: usize = 100 * 1024;

/// The lines of one request, and the session cookie's name.
pub struct Header {
    pub lines: Vec<Vec<u8>>,
    name: &'static str,
}

impl Header {
    pub fn any(random: &mut Random, name: &'static str) -> Self {
        let lines = [1, 1, 1, 2, 3][random.below(5)];
        let mut lines: Vec<_> = (0..lines).map(|_| line(random, name)).collect();
        if random.below(2_500) == 0 {
            let filler = *random.pick(&["x=\"yy\\\";\\\\\"; ", "abc=def; ", "q ", "ab;; "]);
            let bulk = format!("{}; ", "z".repeat(1_000)).repeat(80);
            lines[0].extend_from_slice(bulk.as_bytes());
            let missing = LONG.saturating_sub(lines[0].len());
            lines[0].extend(filler.bytes().cycle().take(missing));
            lines[0].extend_from_slice(format!("; {name}={KEY}").as_bytes());
        }
        Self { lines, name }
    }

    /// Whether hyper hands it on.
    pub fn is_taken(&self) -> bool {
        self.lines.iter().all(|line| HeaderValue::from_bytes(line).is_ok())
    }

    pub fn cookies(&self) -> Cookies<'_> {
        let lines = self.lines.iter().map(Vec::as_slice);
        Cookies::read(lines, self.name, KeyShape::Alnum32)
    }

    /// What the application has to read from the clean line.
    pub fn session(&self) -> Option<Vec<u8>> {
        let cookies = self.cookies();
        match cookies.presented() {
            Presented::Nothing => None,
            Presented::Key(key) => Some(key.as_bytes().to_vec()),
            Presented::Signed | Presented::Malformed => {
                Some(value(cookies.line(), self.name).expect("a session cookie").to_vec())
            }
        }
    }

    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().flat_map(|line| line.split(|byte| *byte == b';'))
    }

    /// What stands in front of an equals sign.
    fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces().filter_map(|piece| {
            let equals = piece.iter().position(|byte| *byte == b'=')?;
            Some(piece[..equals].trim_ascii())
        })
    }

    fn has(&self, byte: impl Fn(u8) -> bool) -> bool {
        self.lines.iter().flatten().any(|found| byte(*found))
    }

    fn holds(&self, what: &[u8]) -> bool {
        self.lines.iter().any(|line| line.windows(what.len()).any(|found| found == what))
    }
}

/// What every run has to have tried.
pub const KINDS: &[Kind<Header>] = &[
    ("duplicates", |h| h.names().filter(|name| *name == h.name.as_bytes()).count() > 1),
    ("quoted values", |h| h.holds(b"=\"")),
    ("$Version", |h| h.holds(b"$Version")),
    ("commas", |h| h.has(|byte| byte == b',')),
    ("bare names", |h| h.pieces().any(|piece| !piece.is_empty() && !piece.contains(&b'='))),
    ("empty parts", |h| h.pieces().any(|piece| piece.trim_ascii().is_empty())),
    ("control bytes", |h| h.has(|byte| byte.is_ascii_control() && byte != b'\t')),
    ("tabs", |h| h.has(|byte| byte == b'\t')),
    ("non-ASCII bytes", |h| h.has(|byte| !byte.is_ascii())),
    ("illegal names", |h| h.names().any(|name| name.iter().any(|byte| b"@[]{}\"".contains(byte)))),
    ("reserved names", |h| h.names().any(|name| name.eq_ignore_ascii_case(b"path"))),
    ("several lines", |h| h.lines.len() > 1),
    ("100 KiB", |h| h.lines.iter().any(|line| line.len() >= LONG)),
];

fn line(random: &mut Random, name: &str) -> Vec<u8> {
    let mut line = Vec::new();
    for number in 0..=random.below(5) {
        if number > 0 {
            line.extend_from_slice(random.pick(&["; ", ";", " ;", ";;", ", ", ";\t"]).as_bytes());
        }
        let piece = random.pick(&PIECES).replace('K', KEY).replace('O', OTHER);
        line.extend_from_slice(piece.replace('S', name).as_bytes());
    }
    random.spoil(&mut line, COOKIE_BYTES);
    line
}

/// The value of the session cookie in a clean line.
fn value<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    line.split(|byte| *byte == b';')
        .find_map(|piece| piece.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// A line for Django, what Floodwall says it will read from it, and what it was made of.
struct Question {
    line: Vec<u8>,
    expected: String,
    /// As it came, it may be read in two ways; what is sent on may not.
    as_came: bool,
}

fn read(session: Option<&[u8]>) -> String {
    session.map_or_else(|| "-".to_owned(), base64)
}

fn questions(name: &'static str, seed: u64, number: usize) -> Vec<Question> {
    let spare = SessionKey::parse(SPARE.as_bytes(), KeyShape::Alnum32).expect("a key");
    let mut random = Random(seed);
    let mut census = Census::of(KINDS);
    let (mut questions, mut refused) = (Vec::new(), 0);
    for case in 0..number {
        let header = Header::any(&mut random, name);
        census.count(&header);
        if !header.is_taken() {
            refused += 1;
            continue;
        }
        let (cookies, session) = (header.cookies(), header.session());
        let mut ask = |line: &[u8], session: Option<&[u8]>, as_came| {
            // An empty line is not sent at all.
            if !line.is_empty() {
                questions.push(Question { line: line.to_vec(), expected: read(session), as_came });
            }
        };
        ask(cookies.line(), session.as_deref(), false);
        if case % 4 == 0 {
            ask(&cookies.without_session(), None, false);
            ask(&cookies.with_session(name, &spare), Some(SPARE.as_bytes()), false);
        }
        if case % 4 == 1 && header.lines.len() == 1 {
            ask(&header.lines[0], session.as_deref(), true);
        }
    }
    println!("seed {seed}: {number} headers, {refused} with bytes that hyper refuses");
    census.finish(name, 1);
    questions
}

#[test]
fn django_reads_the_session_that_floodwall_has_read() {
    let sets = [
        ("sessionid", questions("sessionid", 1, 16_000)),
        ("s!#%&'*+-.^_`|~1", questions("s!#%&'*+-.^_`|~1", 2, 4_000)),
    ];
    let harms = with_each_release(|release| {
        let (mut harm, mut ambiguous) = (Harm::default(), 0);
        for (name, questions) in &sets {
            let lines: Vec<_> = questions.iter().map(|question| question.line.clone()).collect();
            let answers = ask("cookies", &[release.word(), name], &lines);
            for (Question { line, expected, as_came }, answer) in questions.iter().zip(&answers) {
                if *as_came {
                    ambiguous += u64::from(answer != expected);
                } else {
                    harm.note(answer != expected, || {
                        let line = String::from_utf8_lossy(line);
                        format!("Django {release} reads {answer} from {line:?}, not {expected}")
                    });
                }
            }
        }
        // Sent on as they came, these would have been read in two ways.
        println!("Django {release}: {ambiguous} of 5,000 were worth cleaning");
        assert!(ambiguous > 500, "Django {release}: {ambiguous}");
        harm
    });
    Harm::of_all(harms)
        .finish("20,000 cookie headers", "read otherwise by parse_cookie of 1.4, 1.7 or 1.8");
}
