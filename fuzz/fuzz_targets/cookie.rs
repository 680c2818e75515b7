#![no_main]
//! Cookie lines. Input: a byte that chooses the session cookie's name and the keys' shape, then
//! the lines, a newline between two.

mod http_cookies;

use floodwall::guard::cookie::{Cookies, Presented};
use floodwall::guard::key::Secret;
use floodwall::guard::policy::KeyShape;
use http::HeaderValue;
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 3] = ["sessionid", "s!#%&'*+-.^_`|~1", "a"];

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let name = NAMES[usize::from(*choice) % NAMES.len()];
    let shape = KeyShape::ALL[usize::from(choice >> 4) % KeyShape::ALL.len()];
    // No other bytes get past hyper.
    let lines: Vec<&[u8]> = rest
        .split(|byte| *byte == b'\n')
        .filter(|line| HeaderValue::from_bytes(line).is_ok())
        .collect();
    let read = |lines: &[&[u8]]| -> Reading {
        let cookies = Cookies::read(lines.iter().copied(), name, shape);
        let spare = Secret::new([7; 16]).placeholder(1);
        Reading {
            line: cookies.line().to_vec(),
            presented: cookies.presented(),
            carried: cookies.carried(),
            as_came: cookies.as_came(),
            without: cookies.without_session(),
            with: cookies.with_session(name, &spare),
        }
    };
    let reading = read(&lines);
    let pairs = of_clean_line(&reading.line);
    let is_session = |(found, _): &&(&[u8], &[u8])| *found == name.as_bytes();

    // One session cookie at most, and it is the one that was judged.
    let session: Vec<_> = pairs.iter().filter(is_session).collect();
    assert!(session.len() <= 1);
    match (reading.presented, session.first()) {
        (Presented::Nothing, None) => {}
        (Presented::Key(key), Some((_, value))) => assert_eq!(key.as_bytes(), value),
        (Presented::Signed | Presented::Malformed, Some(_)) => {}
        (presented, session) => panic!("{presented:?} of {session:?}"),
    }
    assert!(reading.carried || session.is_empty());
    if reading.as_came {
        assert!(lines.is_empty() || lines == [&reading.line[..]]);
    }

    // Reading it again finds nothing to clean.
    if !reading.line.is_empty() {
        let again = read(&[&reading.line]);
        assert!(again.as_came);
        assert_eq!((&again.line, again.presented), (&reading.line, reading.presented));
        assert_eq!(again.carried, !session.is_empty());
    }

    // Taking the session out, or putting another in, changes no other cookie.
    let others: Vec<_> = pairs.iter().copied().filter(|pair| !is_session(&pair)).collect();
    assert_eq!(of_clean_line(&reading.without), others);
    let without = read(&[&reading.without]);
    assert_eq!((without.presented, without.carried), (Presented::Nothing, false));
    let with = of_clean_line(&reading.with);
    let spare = Secret::new([7; 16]).placeholder(1);
    assert_eq!(with.split_last(), Some((&(name.as_bytes(), &spare.as_bytes()[..]), &others[..])));
    let with = read(&[&reading.with]);
    assert!(with.as_came && with.presented == Presented::Key(spare));

    // Both of Python's parsers read what stands there: no piece takes another with it.
    for line in [&reading.line, &reading.without, &reading.with] {
        for strict in [true, false] {
            assert_eq!(http_cookies::read(line, strict), Some(of_clean_line(line)));
        }
    }
});

struct Reading {
    line: Vec<u8>,
    presented: Presented,
    carried: bool,
    as_came: bool,
    without: Vec<u8>,
    with: Vec<u8>,
}

/// The pairs of a line as RFC 6265, section 4.2.1, has it: what is there must be clean.
fn of_clean_line(line: &[u8]) -> Vec<(&[u8], &[u8])> {
    if line.is_empty() {
        return Vec::new();
    }
    assert!(line.iter().all(|byte| (b' '..=b'~').contains(byte)), "{line:?}");
    let mut rest = Some(line);
    let mut pairs = Vec::new();
    while let Some(line) = rest {
        let end = line.iter().position(|byte| *byte == b';');
        let (pair, behind) = line.split_at(end.unwrap_or(line.len()));
        rest = end.map(|_| behind.strip_prefix(b"; ").expect("one space behind a semicolon"));
        let equals = pair.iter().position(|byte| *byte == b'=').expect("a pair");
        assert!(equals > 0);
        pairs.push((&pair[..equals], &pair[equals + 1..]));
    }
    pairs
}
