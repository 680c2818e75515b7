//! Request targets: which rule they fall under, and which view Django's resolvers find.

use floodwall::config::Config;
use floodwall::guard::path;
use floodwall::guard::route::StandingWord;
use http::Uri;

use super::{Census, Harm, Kind, ask, spoil, with_each_release};
use crate::support::random::Random;

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

/// What a parser of targets may stumble over.
const TARGET_BYTES: &[u8] = b"//%%2FfAa0..;?#\\\t \"'<>[]{}|^`~@:*+\x7f\x80\xc0\xaf\xe4\xff";

pub fn target(random: &mut Random) -> Vec<u8> {
    let mut path: Vec<u8> = Vec::new();
    for byte in random.pick(&PATHS).bytes() {
        match random.below(12) {
            0 => path.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            1 => path.extend_from_slice(format!("%{byte:02x}").as_bytes()),
            _ => path.push(byte),
        }
    }
    if random.below(3) == 0 {
        spoil(random, &mut path, TARGET_BYTES);
    }
    let mut target = random.pick(&PREFIXES).as_bytes().to_vec();
    target.append(&mut path);
    target.extend_from_slice(random.pick(&SUFFIXES).as_bytes());
    target
}

/// The rule that a view of this name has to fall under.
pub fn rules(view: &str) -> &'static [&'static str] {
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

/// What every run has to have tried.
pub const KINDS: &[Kind<Vec<u8>>] = &[
    ("escapes", |target| target.contains(&b'%')),
    ("slashes twice", |target| path_of(target).windows(2).any(|two| two == b"//")),
    ("escaped slashes", |target| holds(target, b"%2F") || holds(target, b"%2f")),
    ("dots", |target| holds(target, b"/.") || holds(target, b"/%2e/")),
    ("a newline at the end", |target| target.ends_with(b"%0A") || target.ends_with(b"%0a")),
    ("absolute-form", |target| target.to_ascii_lowercase().starts_with(b"http://")),
    ("raw bytes beyond ASCII", |target| !target.is_ascii()),
    ("escapes beyond UTF-8", |target| holds(target, b"%FF")),
    ("a query", |target| target.contains(&b'?')),
];

fn holds(target: &[u8], what: &[u8]) -> bool {
    target.windows(what.len()).any(|found| found == what)
}

/// Without a scheme's own slashes.
fn path_of(target: &[u8]) -> &[u8] {
    let colon = target.windows(3).position(|three| three == b"://");
    colon.map_or(target, |colon| &target[colon + 3..])
}

/// As hyper reads it; `None` where it or Floodwall refuses it, for it is in no form that it should
/// be.
pub fn uri(target: &[u8]) -> Option<Uri> {
    let uri = Uri::try_from(target).ok()?;
    let fits = uri.path().starts_with('/') && uri.scheme().is_some() == uri.host().is_some();
    fits.then_some(uri)
}

#[test]
fn a_target_that_reaches_a_view_with_a_rule_falls_under_that_rule() {
    let mut random = Random(3);
    let mut census = Census::of(KINDS);
    let targets: Vec<_> = (0..8_000).map(|_| target(&mut random)).collect();
    targets.iter().for_each(|target| census.count(target));
    census.finish("seed 3: targets", 100);
    let uris: Vec<Uri> = targets.iter().filter_map(|target| uri(target)).collect();
    assert!(uris.len() > 4_000, "{} targets", uris.len());
    let sent: Vec<Vec<u8>> = uris
        .iter()
        .map(|uri| uri.path_and_query().expect("a path").as_str().as_bytes().to_vec())
        .collect();
    let config = Config::default();
    let harms = with_each_release(|release| {
        let (mut harm, mut ruled) = (Harm::default(), 0);
        for (uri, view) in uris.iter().zip(ask("paths", &[release.word()], &sent)) {
            let decoded = path::decode(uri.path());
            let matching = |rule: &&floodwall::guard::route::Rule| {
                rule.matches(&decoded, "GET", StandingWord::None)
            };
            let rule = config.sites()[0]
                .policy()
                .rules
                .iter()
                .find(matching)
                .map(|rule| rule.name.as_str());
            let allowed = rules(&view);
            ruled += u64::from(!allowed.is_empty());
            let evades = !allowed.is_empty() && !rule.is_some_and(|rule| allowed.contains(&rule));
            harm.note(evades, || format!("{uri} reaches {view}, and falls under {rule:?}"));
        }
        assert!(ruled > 500, "Django {release}: {ruled} targets reached a view with a rule");
        harm
    });
    Harm::of_all(harms)
        .finish("8,000 request targets", "past their rule in the resolvers of 1.4, 1.7 or 1.8");
}
