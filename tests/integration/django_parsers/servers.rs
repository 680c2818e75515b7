//! Over sockets, through a running Floodwall: cookie headers, request targets and header names, to
//! waitress, gunicorn and wsgiref, whose own parsing then takes part.

use floodwall::config::Config;
use floodwall::guard::cookie::Presented;
use floodwall::guard::path;
use floodwall::guard::route::PathPattern;

use super::cookies::{self, Header};
use super::paths;
use super::probe::{Answer, Probe, Server, send, shown};
use super::{Census, Harm, KEY, Kind, OTHER, with_each_release};
use crate::support::inside::Inside;
use crate::support::load::Target;
use crate::support::random::Random;

/// Requests of each sort, to each server of each release.
const REQUESTS: usize = 400;

#[test]
fn waitress_reads_what_floodwall_has_read() {
    through(Server::Waitress, 10);
}

#[test]
fn gunicorn_reads_what_floodwall_has_read() {
    through(Server::Gunicorn, 20);
}

#[test]
fn wsgiref_reads_what_floodwall_has_read() {
    through(Server::Wsgiref, 30);
}

fn through(server: Server, seed: u64) {
    let harms = with_each_release(|release| {
        let probe = Probe::start(release, server);
        let floodwall = Inside::start(&probe.upstream(), "[session]\nunknown = 'drop'\n");
        let cookies = cookie_headers(&floodwall, seed);
        let names = header_names(&floodwall, seed + 1);
        drop(floodwall);
        let floodwall = Inside::start(&probe.upstream(), &answering());
        (cookies, (names, targets(&floodwall, seed + 2)))
    });
    let (cookies, (names, targets)): (Vec<_>, (Vec<_>, Vec<_>)) = harms.into_iter().unzip();
    let sorts = [
        (cookies, "cookie headers", "read otherwise"),
        (names, "odd header names", "taken for others"),
        (targets, "request targets", "past their rule"),
    ];
    for (harms, what, harm) in sorts {
        let attack = format!("{} {what} over sockets", REQUESTS * harms.len());
        let unit = format!("{harm} by {} before 1.4, 1.7 or 1.8", server.word());
        Harm::of_all(harms).finish(&attack, &unit);
    }
}

fn get(target: Target, path: &[u8], headers: &[u8]) -> Answer {
    let head = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    send(target, &[b"GET ", path, head, headers, b"\r\n"].concat())
}

/// One session is known, every other is removed: the application sees that one where Floodwall has
/// read it, and no other whatever is sent.
fn cookie_headers(floodwall: &Inside, seed: u64) -> Harm {
    let target = floodwall.target();
    let issued = get(target, format!("/?issue={KEY}").as_bytes(), b"");
    assert!(issued.arrived());
    let mut random = Random(seed);
    let mut census = Census::of(cookies::KINDS);
    let (mut harm, mut sessions) = (Harm::default(), 0);
    for number in 0..REQUESTS {
        let mut header = Header::any(&mut random, "sessionid");
        if number == 0 {
            // As long as they come: more than a request may have.
            header.lines = vec![format!("sessionid={KEY}; ").repeat(3_000).into_bytes()];
        }
        census.count(&header);
        let lines: Vec<u8> = header
            .lines
            .iter()
            .flat_map(|line| [b"Cookie: ", &line[..], b"\r\n"].concat())
            .collect();
        let answer = get(target, b"/", &lines);
        if !answer.arrived() {
            assert!(matches!(answer.status, 400 | 431), "{answer:?} of {}", shown(&lines));
            continue;
        }
        let expected = match header.cookies().presented() {
            Presented::Key(key) if key.as_bytes() == KEY.as_bytes() => header.session(),
            Presented::Nothing | Presented::Key(_) | Presented::Signed | Presented::Malformed => {
                None
            }
        };
        sessions += u64::from(expected.is_some());
        harm.note(answer.said("session") != expected.as_deref(), || {
            format!("{:?} of {}, not {expected:?}", answer.text("session"), shown(&lines))
        });
    }
    census.finish(&format!("seed {seed}: cookie headers"), 1);
    assert!(sessions > 20, "{sessions} sessions were seen");
    harm
}

/// The rules of a new project, each of which Floodwall answers itself: what reaches the
/// application falls under none of them.
fn answering() -> String {
    let list = |paths: &[String]| {
        let quoted: Vec<_> = paths.iter().map(|path| format!("'{path}'")).collect();
        format!("[{}]", quoted.join(", "))
    };
    let config = Config::default();
    let rules = config.sites()[0].policy().rules.iter().map(|rule| {
        let matcher = match &rule.paths[..] {
            [PathPattern::LastSegment(segments)] => format!("last_segment = {}", list(segments)),
            [PathPattern::Prefix(prefix)] => format!("prefix = '{prefix}'"),
            paths => panic!("{paths:?} cannot be written down here"),
        };
        let name = &rule.name;
        let action = "action = 'answer'\nanswer = { status = 410 }";
        format!("[[rule]]\nname = '{name}'\n{matcher}\n{action}\n")
    });
    rules.collect()
}

/// What a rule names is never reached past it, and the rest is the path that was judged.
fn targets(floodwall: &Inside, seed: u64) -> Harm {
    let mut random = Random(seed);
    let mut census = Census::of(paths::KINDS);
    let (mut harm, mut ruled, mut arrived) = (Harm::default(), 0, 0);
    for _ in 0..REQUESTS {
        let target = paths::target(&mut random);
        census.count(&target);
        let answer = get(floodwall.target(), &target, b"");
        ruled += u64::from(answer.status == 410);
        if !answer.arrived() {
            assert!(matches!(answer.status, 400 | 410), "{answer:?} of {}", shown(&target));
            continue;
        }
        arrived += 1;
        let view = answer.text("view");
        harm.note(!paths::rules(&view).is_empty(), || format!("{} reached {view}", shown(&target)));
        let judged = paths::uri(&target).map(|uri| path::decode(uri.path()).into_owned());
        let path = answer.said("PATH_INFO").unwrap_or_default();
        let doubled = path.iter().take_while(|byte| **byte == b'/').count().saturating_sub(1);
        let path = path[doubled..].strip_suffix(b"\n").unwrap_or(&path[doubled..]);
        harm.note(judged.as_deref() != Some(path), || {
            format!("{} was {}, judged was {judged:?}", shown(&target), shown(path))
        });
    }
    census.finish(&format!("seed {seed}: targets"), 5);
    assert!(ruled > 50 && arrived > 50, "{ruled} answered, {arrived} arrived");
    harm
}

/// Headers that the application, or its server, goes by, and a value that must never be believed.
const HEADERS: [(&str, &str); 14] = [
    ("Cookie", "sessionid=fedcba9876543210fedcba9876543210"),
    ("Cookie", "sessionid=fedcba9876543210fedcba9876543210"),
    ("X-Forwarded-For", "6.6.6.6"),
    ("X-Forwarded-For", "6.6.6.6"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Ssl", "on"),
    ("X-Forwarded-Protocol", "ssl"),
    ("X-Real-IP", "6.6.6.6"),
    ("Forwarded", "for=6.6.6.6;proto=https;host=evil.example"),
    ("Content-Length", "5"),
    ("Proxy", "http://evil.example"),
    ("Script-Name", "/accounts"),
    ("Host", "evil.example"),
];

/// One odd header line, without its end.
fn odd_header(random: &mut Random) -> Vec<u8> {
    let (name, value) = random.pick(&HEADERS);
    let mut line: Vec<u8> = Vec::new();
    let (folded, cased) = (random.below(3) == 0, random.below(3) == 0);
    for byte in name.bytes() {
        line.push(match byte {
            b'-' if folded && random.below(4) > 0 => b'_',
            byte if cased && random.below(2) == 0 => byte ^ (byte & 0x40) >> 1,
            byte => byte,
        });
    }
    match random.below(12) {
        0 => line.extend_from_slice(random.pick(&[" ", "\t", "  "]).as_bytes()),
        1 => line.insert(0, random.pick(b" \t")),
        2 => line.insert(random.below(line.len()), random.pick(b"-_-_. ")),
        3 => {
            line.insert(random.below(line.len() + 1), random.pick(b"\x00\x01\x0b\x7f\xad\xff@(,;/"))
        }
        4 => line = [&random.pick(&[b"HTTP_", b"Http-", b"http_"])[..], &line].concat(),
        5 => line = [b"A: 1\r\n ", &line[..]].concat(),
        _ => {}
    }
    line.extend_from_slice(random.pick(&[":", ": ", ":\t", ":  "]).as_bytes());
    line.extend_from_slice(value.as_bytes());
    line
}

fn name_of(line: &[u8]) -> &[u8] {
    line.split(|byte| *byte == b':').next().unwrap_or(line)
}

/// As CGI writes it (RFC 3875, 4.1.18).
fn folds_to(line: &[u8], name: &str) -> bool {
    let folded = name_of(line).to_ascii_uppercase();
    folded.iter().map(|byte| if *byte == b'-' { b'_' } else { *byte }).eq(name.bytes())
}

const NAME_KINDS: &[Kind<Vec<u8>>] = &[
    ("`_` in its name", |line| name_of(line).contains(&b'_')),
    ("a space before the colon", |line| name_of(line).ends_with(b" ")),
    ("a space within", |line| name_of(line).trim_ascii().contains(&b' ')),
    ("a fold", |line| matches!(line.first(), Some(b' ' | b'\t')) || line.starts_with(b"A: 1\r\n ")),
    ("odd case", |line| {
        let name = name_of(line);
        name != name.to_ascii_lowercase() && name.first().is_some_and(u8::is_ascii_lowercase)
    }),
    ("control bytes", |line| name_of(line).iter().any(|byte| byte.is_ascii_control())),
    ("bytes beyond ASCII", |line| !name_of(line).is_ascii()),
    ("HTTP_COOKIE", |line| folds_to(line, "COOKIE") && !line.starts_with(b"Cookie:")),
    ("HTTP_X_FORWARDED_FOR", |line| {
        folds_to(line, "X_FORWARDED_FOR") && !line.starts_with(b"X-Forwarded-For:")
    }),
    ("CONTENT_LENGTH", |line| {
        folds_to(line, "CONTENT_LENGTH") && !line.starts_with(b"Content-Length:")
    }),
    ("SCRIPT_NAME", |line| folds_to(line, "SCRIPT_NAME") && line.contains(&b'_')),
];

/// Whatever names are sent, the application's environment has Floodwall's own word for the client,
/// the session that Floodwall has judged, and the length of the content that came.
fn header_names(floodwall: &Inside, seed: u64) -> Harm {
    let mut random = Random(seed);
    let mut census = Census::of(NAME_KINDS);
    let (mut harm, mut arrived) = (Harm::default(), 0);
    for _ in 0..REQUESTS {
        let mut headers = Vec::new();
        for _ in 0..=random.below(2) {
            let line = odd_header(&mut random);
            census.count(&line);
            headers.extend_from_slice(&line);
            headers.extend_from_slice(b"\r\n");
        }
        // The content of those that have a length; behind the others nobody reads any more.
        let head = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        let answer = send(floodwall.target(), &[&head[..], &headers, b"\r\nhello"].concat());
        if !answer.arrived() {
            assert_eq!(answer.status, 400, "{}", shown(&headers));
            continue;
        }
        arrived += 1;
        if let Some(mistaken) = mistaken(&answer) {
            harm.note(true, || format!("{mistaken} of {}", shown(&headers)));
        }
    }
    census.finish(&format!("seed {seed}: header names"), 1);
    assert!(arrived > 100, "{arrived} arrived");
    harm
}

/// What the application was made to believe.
fn mistaken(answer: &Answer) -> Option<String> {
    let expected = [
        ("HTTP_X_FORWARDED_FOR", "127.0.0.1"),
        ("HTTP_X_FORWARDED_PROTO", "http"),
        ("HTTP_X_FORWARDED_HOST", "localhost"),
        ("HTTP_HOST", "localhost"),
        ("wsgi.url_scheme", "http"),
        ("SCRIPT_NAME", ""),
        ("PATH_INFO", "/"),
        ("session", ""),
    ];
    let wrong = expected.into_iter().find(|(name, value)| answer.text(name) != *value);
    if let Some((name, _)) = wrong {
        return Some(format!("{name}: {}", answer.text(name)));
    }
    let length = answer.text("CONTENT_LENGTH");
    let body = answer.said("body").unwrap_or_default();
    if length.parse::<usize>().unwrap_or(0) != body.len() || !b"hello".starts_with(body) {
        return Some(format!("{} of length {length:?}", shown(body)));
    }
    let forged = |name: &&str| {
        matches!(*name, "HTTP_PROXY" | "HTTP_FORWARDED" | "HTTP_X_REAL_IP")
            || name.starts_with("HTTP_X_FORWARDED_") && expected.iter().all(|(own, _)| own != name)
            || (*name == "HTTP_COOKIE" && answer.text(name).contains(OTHER))
    };
    answer.names().find(forged).map(|name| format!("{name}: {}", answer.text(name)))
}
