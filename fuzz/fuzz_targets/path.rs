#![no_main]
//! Paths: how they are decoded, which rule and which class they fall under. Input: a glob, a
//! newline, the target's path, and behind a question mark its query.

use std::num::NonZeroU8;
use std::str;
use std::sync::LazyLock;

use floodwall::config::{Config, Overrides};
use floodwall::guard::key::Secret;
use floodwall::guard::learned::{Learned, Lesson, Page};
use floodwall::guard::moment::Moment;
use floodwall::guard::path::{decode, last_segment, only_parameters};
use floodwall::guard::policy::LearnedPolicy;
use floodwall::guard::route::{PathPattern, StandingWord};
use libfuzzer_sys::fuzz_target;

const NOW: Moment = Moment::from_nanos(1 << 59);
static LEARNED: LazyLock<LearnedPolicy> = LazyLock::new(|| LearnedPolicy {
    capacity: 256,
    clean_answers: NonZeroU8::MIN,
    ..Config::default().sites()[0].policy().learned
});

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let Some((glob, target)) = text.split_once('\n') else { return };
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let decoded = decode(path);

    // Once, and no more: as `urllib.parse.unquote_to_bytes` does, and then what was measured.
    assert_eq!(*decoded, *counted(unquoted(path.as_bytes())));
    if !path.contains('%') && !path.starts_with("//") && !path.ends_with('\n') {
        assert_eq!(*decoded, *path.as_bytes());
    }
    // Every spelling of it is the same path.
    let spelled: String = decoded.iter().map(|byte| format!("%{byte:02x}")).collect();
    assert_eq!(decode(&format!("{spelled}%0A")), decoded);
    if decoded.starts_with(b"/") {
        assert_eq!(decode(&format!("//%2F{spelled}%0A")), decoded);
    }

    classes(&decoded);

    // Rules of every kind. That a glob ends in time is seen by libFuzzer, which has a limit.
    let longer = [&decoded[..], b"/x"].concat();
    let segment = last_segment(&decoded);
    assert!(!segment.contains(&b'/'));
    assert!([&b""[..], b"/"].iter().any(|end| decoded.ends_with(&[segment, end].concat())));
    if let Ok(path) = str::from_utf8(&decoded) {
        assert!(PathPattern::Exact(path.to_owned()).matches(&decoded));
        assert!(!PathPattern::Exact(path.to_owned()).matches(&longer));
        assert!(PathPattern::Prefix(path.to_owned()).matches(&longer));
    }
    if let Ok(segment) = str::from_utf8(segment) {
        let pattern = PathPattern::LastSegment(vec![segment.to_owned()]);
        assert!(pattern.matches(&decoded));
        assert!(!pattern.matches(&[&decoded[..], b"/x", segment.as_bytes()].concat()));
    }
    if let Some(pattern) = configured(glob) {
        let matched = pattern.matches(&decoded);
        let stars = glob.matches('*').count();
        if stars <= 4 && decoded.len() <= 50 && decoded.is_ascii() && is_plain(glob) {
            assert_eq!(matched, matches(glob.as_bytes(), &decoded));
        }
    }

    let allowed = [String::from("next")];
    if only_parameters(query, &allowed) {
        // Nothing but `next` reaches the view, however its framework splits a query.
        for pair in query.unwrap_or_default().split(['&', ';']).filter(|pair| !pair.is_empty()) {
            let name = pair.split('=').next().unwrap_or_default();
            assert_eq!(*unquoted(name.as_bytes()), *b"next");
        }
    }
});

/// What is learned of a path holds for all of its class, and for no other.
fn classes(path: &[u8]) {
    let learned = Learned::new(&LEARNED, Secret::new([7; 16]));
    fn page<'a>(method: &str, path: &'a [u8]) -> Page<'a> {
        Page::new(method, StandingWord::None, path)
    }
    let passes = |method: &str, path: &[u8]| {
        let passes = learned.pass(&page(method, path), u32::MAX, NOW);
        if passes {
            learned.passed();
        }
        passes
    };
    // Segments with a digit in them are identifiers.
    let numbered = |segment: &[u8]| segment.iter().any(u8::is_ascii_digit);
    let segments = || path.split(|byte| *byte == b'/');
    let other: Vec<&[u8]> =
        segments().map(|segment| if numbered(segment) { b"7" } else { segment }).collect();
    let other = other.join(&b'/');
    assert!(!passes("GET", path));
    learned.note(&page("GET", path), Lesson::Clean, NOW);
    assert!(passes("GET", path) && passes("HEAD", path) && passes("GET", &other));
    assert!(!passes("POST", path) && !passes("OPTIONS", path) && !passes("get", path));
    if segments().count() <= Learned::DEPTH {
        assert!(
            !passes("GET", &[path, b"/x"].concat())
                && !passes("GET", &[&b"/x/"[..], path].concat())
        );
    }
    learned.note(&page("GET", &other), Lesson::Created, NOW);
    learned.note(&page("GET", path), Lesson::Clean, NOW);
    assert!(!passes("GET", path) && !passes("HEAD", &other));
}

/// A glob as the configuration takes it.
fn configured(glob: &str) -> Option<PathPattern> {
    if !glob.starts_with(['/', '*']) || glob.contains('\'') {
        return None;
    }
    let text = format!("[[rule]]\nname = 'fuzz'\nglob = '{glob}'\n");
    let config = Config::parse("fuzz", text.as_bytes(), Overrides::default()).ok()?;
    let rule = config.sites()[0].policy().rules.iter().find(|rule| rule.name == "fuzz")?;
    rule.paths.first().cloned()
}

/// Without classes, braces and backslashes.
fn is_plain(glob: &str) -> bool {
    glob.bytes().all(|b| b.is_ascii() && !b"[]{}!^\\".contains(&b))
}

/// A plain glob, as slowly as it is defined.
fn matches(glob: &[u8], path: &[u8]) -> bool {
    let split = path.split_first().filter(|(byte, _)| **byte != b'/');
    match glob {
        [] => path.is_empty(),
        [b'*', b'*'] => true,
        [b'*', b'*', b'/', rest @ ..] => {
            let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            matches(rest, path) || slashes.into_iter().any(|(at, _)| matches(rest, &path[at + 1..]))
        }
        [b'*', rest @ ..] => {
            matches(rest, path) || split.is_some_and(|(_, path)| matches(glob, path))
        }
        [b'?', rest @ ..] => split.is_some_and(|(_, path)| matches(rest, path)),
        [byte, rest @ ..] => path.strip_prefix(&[*byte]).is_some_and(|path| matches(rest, path)),
    }
}

fn unquoted(path: &[u8]) -> Vec<u8> {
    let digit = |at: usize| path.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < path.len() {
        match (path[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).expect("two digits"));
                at += 3;
            }
            (byte, ..) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    bytes
}

fn counted(mut path: Vec<u8>) -> Vec<u8> {
    while path.starts_with(b"//") {
        path.remove(0);
    }
    if path.ends_with(b"\n") {
        path.pop();
    }
    path
}
