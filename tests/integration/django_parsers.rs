//! What Floodwall reads is what genuine Django reads: hostile cookie headers and request targets,
//! thousands of them and the same in every run, are given to both.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use floodwall::config::Config;
use floodwall::guard::cookie::{Cookies, Presented};
use floodwall::guard::key::SessionKey;
use floodwall::guard::path;
use floodwall::guard::policy::KeyShape;
use floodwall::guard::route::StandingWord;
use http::Uri;

use crate::support::django::Release;

const RELEASES: [Release; 3] = [Release::V1_4_21, Release::V1_7_9, Release::V1_8_3];
const KEY: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";
const SPARE: &str = "00000000000000000000000000000001";

/// Asks one of the programs in `tests/django` about every line.
fn ask(program: &str, arguments: &[&str], lines: &[Vec<u8>]) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/django").join(program);
    let mut child = Command::new(path)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("it was piped");
    let stdout = BufReader::new(child.stdout.take().expect("it was piped"));
    let answers: Vec<String> = thread::scope(|scope| {
        scope.spawn(move || {
            for line in lines {
                writeln!(stdin, "{}", base64(line)).expect("it reads");
            }
        });
        stdout.lines().map(|line| line.expect("text")).collect()
    });
    assert!(child.wait().expect("it can be waited for").success());
    assert_eq!(answers.len(), lines.len());
    answers
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, n| bits << 8 | u32::from(*three.get(n).unwrap_or(&0)));
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) as usize & 63;
            text.push(if digit <= three.len() { DIGITS[value].into() } else { '=' });
        }
    }
    text
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % bound as u64).expect("below a usize")
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A few bytes put in, taken out or replaced.
    fn spoil(&mut self, bytes: &mut Vec<u8>, with: &[u8]) {
        for _ in 0..self.below(4) {
            let at = self.below(bytes.len() + 1);
            let byte = *self.pick(with);
            match self.below(3) {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => drop(bytes.remove(at)),
                _ if at < bytes.len() => bytes[at] = byte,
                _ => {}
            }
        }
    }
}

/// Pieces of cookie headers: S is the session cookie's name, K and O are keys.
const PIECES: [&str; 44] = [
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
    "a[1]=b",
    "a={\"S\": \"K\"}",
    "a@b=1",
    "n=\u{e4}",
];

/// What `hyper` lets into a header value, and a parser may stumble over.
const COOKIE_BYTES: &[u8] = b";;; ==\"\"\\\\,,\t$:@{}[]()'aKS0\x80\xa0\xe4\xff";

fn cookie_line(random: &mut Random, name: &str) -> Vec<u8> {
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

/// Every clean line, and what has to be read from it: base64, or `-` for no session cookie.
fn cleaned(name: &str, seed: u64) -> (Vec<Vec<u8>>, Vec<(String, String)>) {
    let spare = SessionKey::parse(SPARE.as_bytes(), KeyShape::Alnum32).expect("a key");
    let mut random = Random(seed);
    let (mut sent, mut expected) = (Vec::new(), Vec::new());
    for _ in 0..3_000 {
        let lines: Vec<Vec<u8>> =
            (0..[1, 1, 1, 2, 3][random.below(5)]).map(|_| cookie_line(&mut random, name)).collect();
        let cookies = Cookies::read(lines.iter().map(Vec::as_slice), name, KeyShape::Alnum32);
        let came = String::from_utf8_lossy(&lines.join(&b'\n')).into_owned();
        let read = match cookies.presented() {
            Presented::Nothing => "-".to_owned(),
            Presented::Key(key) => base64(key.as_bytes()),
            Presented::Signed | Presented::Malformed => {
                base64(value(cookies.line(), name).expect("a session cookie"))
            }
        };
        let of = [
            (cookies.line().to_vec(), read),
            (cookies.without_session(), "-".to_owned()),
            (cookies.with_session(name, &spare), base64(SPARE.as_bytes())),
        ];
        for (line, read) in of {
            // An empty line is not sent at all.
            if !line.is_empty() {
                sent.push(line);
                expected.push((read, came.clone()));
            }
        }
    }
    (sent, expected)
}

#[test]
fn django_reads_the_session_that_floodwall_has_read() {
    for (name, seed) in [("sessionid", 1), ("s!#%&'*+-.^_`|~1", 2)] {
        let (sent, expected) = cleaned(name, seed);
        for release in RELEASES.into_iter().filter(|release| release.available()) {
            let answers = ask("cookies", &[release.word(), name], &sent);
            for ((line, answer), (read, came)) in sent.iter().zip(&answers).zip(&expected) {
                let line = String::from_utf8_lossy(line);
                assert_eq!(answer, read, "Django {release}: {line:?} of {came:?}");
            }
        }
    }
}

/// Paths of the rig, and their views' names.
const PATHS: [&str; 12] = [
    "/accounts/logout/",
    "/accounts/logout/",
    "/accounts/logout/",
    "/template/logout/",
    "/redirect/logout/",
    "/cart/logout/",
    "/admin/logout/",
    "/accounts/login/",
    "/admin/",
    "/admin/auth/user/",
    "/i18n/setlang/",
    "/read/",
];

const PREFIXES: [&str; 14] = [
    "",
    "",
    "",
    "/",
    "//",
    "/%2F",
    "/.",
    "/%2e/",
    "http://localhost",
    "http://localhost:80",
    "HTTP://a@b",
    "http:",
    "https://x/",
    "//localhost",
];

const SUFFIXES: [&str; 20] = [
    "",
    "",
    "",
    "%0A",
    "%0a",
    "%0D",
    "%0D%0A",
    "%00",
    "%20",
    "%85",
    "%E2%80%A8",
    "%0B",
    "%FF",
    "?a=b",
    "?next=/",
    "#a",
    "%23",
    ";a=b",
    "%3F",
    "/",
];

const TARGET_BYTES: &[u8] = b"//%%2FfAa0..;?#\\\t \"'<>[]{}|^`~@:*+\x7f\x80\xc0\xaf\xe4\xff";

fn target(random: &mut Random) -> Vec<u8> {
    let mut path: Vec<u8> = Vec::new();
    for byte in random.pick(&PATHS).bytes() {
        match random.below(12) {
            0 => path.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            1 => path.extend_from_slice(format!("%{byte:02x}").as_bytes()),
            _ => path.push(byte),
        }
    }
    if random.below(3) == 0 {
        random.spoil(&mut path, TARGET_BYTES);
    }
    let mut target = random.pick(&PREFIXES).as_bytes().to_vec();
    target.append(&mut path);
    target.extend_from_slice(random.pick(&SUFFIXES).as_bytes());
    target
}

/// The rule that a view of this name has to fall under.
fn rules(view: &str) -> &'static [&'static str] {
    if view.ends_with("logout") {
        &["logout"]
    } else if view == "login" {
        &["login"]
    } else if view.starts_with("admin:") {
        &["logout", "login", "admin"]
    } else if view == "set_language" {
        &["setlang"]
    } else {
        &[]
    }
}

/// What hyper refuses is fine; so is what is refused because it is in no form that it should be.
#[test]
fn a_target_that_reaches_a_view_with_a_rule_falls_under_that_rule() {
    let mut random = Random(3);
    let uris: Vec<Uri> = (0..6_000)
        .filter_map(|_| Uri::try_from(target(&mut random)).ok())
        .filter(|uri| uri.path().starts_with('/') && uri.scheme().is_some() == uri.host().is_some())
        .collect();
    assert!(uris.len() > 3_000, "{} targets", uris.len());
    let sent: Vec<Vec<u8>> = uris
        .iter()
        .map(|uri| uri.path_and_query().expect("a path").as_str().as_bytes().to_vec())
        .collect();
    let config = Config::default();
    for release in RELEASES.into_iter().filter(|release| release.available()) {
        let mut ruled = 0;
        for (uri, view) in uris.iter().zip(ask("paths", &[release.word()], &sent)) {
            let decoded = path::decode(uri.path());
            let matching = |rule: &&floodwall::guard::route::Rule| {
                rule.matches(&decoded, "GET", StandingWord::None)
            };
            let rule = config.policy().rules.iter().find(matching).map(|rule| rule.name.as_str());
            let allowed = rules(&view);
            if !allowed.is_empty() {
                ruled += 1;
                assert!(
                    rule.is_some_and(|rule| allowed.contains(&rule)),
                    "Django {release}: {uri} reaches {view}, and falls under {rule:?}"
                );
            }
        }
        assert!(ruled > 500, "Django {release}: {ruled} targets reached a view with a rule");
    }
}
