#![no_main]
//! `Set-Cookie` lines of an answer. Input: two bytes for status and shape, then the lines, a newline
//! between two.

use floodwall::config::Config;
use floodwall::guard::policy::KeyShape;
use floodwall::guard::set_cookie::{Dress, Evidence, SetSession, sets};
use http::HeaderValue;
use libfuzzer_sys::fuzz_target;

const KEY: &str = "0123456789abcdef0123456789abcdef";

fuzz_target!(|data: &[u8]| {
    let [status, choice, rest @ ..] = data else { return };
    let status = 100 + u16::from(*status) * 2;
    let mut policy = Config::default().sites()[0].policy().session.clone();
    policy.key_shape = KeyShape::ALL[usize::from(*choice) % KeyShape::ALL.len()];
    let name = policy.cookie.clone();
    let lines: Vec<&[u8]> = rest
        .split(|byte| *byte == b'\n')
        .filter(|line| HeaderValue::from_bytes(line).is_ok())
        .collect();
    let read = |lines: &[&[u8]]| Evidence::read(status, lines.iter().copied(), &policy);
    let evidence = read(&lines);

    // What is stripped is what was read, line by line.
    let setting: Vec<&[u8]> = lines.iter().copied().filter(|line| sets(line, &name)).collect();
    for line in &lines {
        assert_eq!(sets(line, &name), read(&[line]).session != SetSession::Nothing);
        assert_eq!(sets(line, &name), value(line, &name).is_some());
    }
    assert_eq!(setting.is_empty(), evidence.session == SetSession::Nothing);
    assert_eq!(read(&setting).session, evidence.session);

    // A deletion only where no value is set; of several values the last.
    let held: Vec<&[u8]> = setting
        .iter()
        .filter_map(|line| value(line, &name))
        .filter(|value| !value.is_empty())
        .collect();
    assert_eq!(evidence.session == SetSession::Deletion, held.is_empty() && !setting.is_empty());
    match (&evidence.session, held.last()) {
        (SetSession::Key { key, max_age }, Some(last)) => {
            assert_eq!(key.as_bytes(), last);
            assert!(max_age.is_none_or(|age| !age.is_zero()));
        }
        (SetSession::Signed { .. }, Some(last)) => {
            assert_eq!(last.iter().filter(|byte| **byte == b':').count(), 2);
        }
        (SetSession::OtherShape, Some(_)) => {}
        (SetSession::Nothing | SetSession::Deletion, None) => {}
        (session, last) => panic!("{session:?} of {last:?}"),
    }
    assert_eq!(evidence.failed(), status >= 500);
    assert!(evidence.lookalike.as_deref() != Some(name.as_str()));

    // A deletion that repeats the dress is one, fits a header, and hits the cookie: read with a
    // key in place of nothing, it has the same dress.
    if let Some(dress) = evidence.dress {
        let deletion = dress.deletion(&name);
        HeaderValue::try_from(&deletion).expect("it was read out of header values");
        assert!(sets(deletion.as_bytes(), &name));
        let deleting = read(&[deletion.as_bytes()]);
        assert_eq!((deleting.session, deleting.dress), (SetSession::Deletion, None));
        let set = deletion.replacen('=', &format!("={KEY}"), 1);
        let set = read(&[set.as_bytes()]);
        assert!(matches!(set.session, SetSession::Key { .. }));
        // No host matches a domain with a blank or a second dot in front: such a cookie is filed
        // nowhere, and needs no deletion.
        let odd = |domain: &str| domain.starts_with(|c: char| c == '.' || c.is_whitespace());
        let nowhere = dress.domain.as_deref().is_some_and(odd);
        assert!(nowhere || set.dress.as_ref().map(filed) == Some(filed(&dress)), "{deletion}");
    }
});

/// Where a browser files the cookie; an empty domain is none (RFC 6265, section 5.2.3).
fn filed(dress: &Dress) -> (&str, Option<&str>, bool) {
    let domain = dress.domain.as_deref().filter(|domain| !domain.is_empty());
    (&dress.path, domain, dress.secure)
}

/// The value that a browser and `http.cookies` give to the cookie of this name.
fn value<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let pair = &line[..line.iter().position(|byte| *byte == b';').unwrap_or(line.len())];
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    let value = pair[equals + 1..].trim_ascii();
    let quoted = value.len() >= 2 && value.starts_with(b"\"") && value.ends_with(b"\"");
    (pair[..equals].trim_ascii() == name.as_bytes())
        .then(|| if quoted { &value[1..value.len() - 1] } else { value })
}
