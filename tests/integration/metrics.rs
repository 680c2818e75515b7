//! The metrics, read with the tools of those who made the formats, and under attack.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::admin::curl;
use crate::support::attack::bounded;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::random::Random;
use crate::support::recorder::Recorder;
use crate::support::shop::{ask, connect, shop};
use crate::support::tls::Authority;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// As Prometheus 2.42 asks.
const PROMETHEUS: &str = "Accept: application/openmetrics-text;version=1.0.0,\
                          application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// Two sites, and a certificate in a file whose name needs escaping.
fn configuration(authority: &Authority) -> String {
    let issued = authority.issue("a \"shop\" \\ \u{e4}", &["DNS:shop.example"]);
    let (certificate, key) = (issued.certificate.display(), issued.key.display());
    format!(
        "admin.listen = '127.0.0.1:0'\n[tls]\nlisten = '127.0.0.1:0'\n\
         certificates = [{{ certificate = '{certificate}', key = '{key}' }}]\n\
         [[site]]\nname = 'shop'\nhosts = ['shop.example']\n\
         [[site]]\nname = 'rest'\n[[site.rule]]\nname = 'x-pages'\n\
         glob = '/x/*'\naction = 'gate'\n"
    )
}

/// A page, and its type.
fn scrape(admin: SocketAddr, headers: &[&str]) -> (String, String) {
    let (url, told) = (format!("http://{admin}/metrics"), "\n%{content_type}");
    let headers = headers.iter().flat_map(|header| ["--header", header]);
    let arguments: Vec<&str> = headers.chain(["--write-out", told, &url]).collect();
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--max-time", "10", "--compressed"])
        .args(arguments)
        .output()
        .expect("curl runs");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let (page, kind) = said.rsplit_once('\n').expect("a type");
    (kind.to_owned(), page.to_owned())
}

fn fed(mut command: Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

/// The samples of a page of Prometheus' text format.
pub fn samples(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            (series.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

pub fn samples_of(admin: SocketAddr) -> BTreeMap<String, f64> {
    samples(&curl(&[&format!("http://{admin}/metrics")]).1)
}

/// The sum over all series that begin so.
pub fn sum(samples: &BTreeMap<String, f64>, of: &str, with: &str) -> f64 {
    let named = samples.iter().filter(|(series, _)| {
        series.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
    });
    named.filter(|(series, _)| series.contains(with)).map(|(_, value)| value).sum()
}

/// The names and labels of series, labels in order.
fn series_of(page: &str) -> BTreeSet<String> {
    samples(page).into_keys().collect()
}

#[test]
fn those_who_made_the_formats_find_nothing_to_mend() {
    let folder = Folder::new("metrics-formats");
    let shop = shop();
    let authority = Authority::new("metrics");
    let configuration = configuration(&authority);
    let floodwall = Floodwall::start(&folder, shop.upstream(), &configuration);
    let admin = floodwall.admin();
    let mut wire = connect(floodwall.address());
    for target in ["/", "/x/1", "/accounts/logout/"] {
        ask(&mut wire, "rest.example", target, "x=1");
        ask(&mut wire, "shop.example", target, "sessionid=0123456789abcdef0123456789abcdef");
    }
    let (kind, text) = scrape(admin, &["Accept: text/plain"]);
    assert_eq!(kind, TEXT);
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]);
    let checked = fed(promtool, &text);
    assert!(checked.status.success(), "{checked:?}");
    assert!(checked.stdout.is_empty() && checked.stderr.is_empty(), "{checked:?}");

    let (kind, open) = scrape(admin, &[PROMETHEUS]);
    assert_eq!(kind, OPEN_METRICS);
    let cache = std::env::var_os("FLOODWALL_CACHE").map(PathBuf::from);
    let tests = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"));
    let cache = cache.unwrap_or_else(|| tests.join(".cache"));
    let mut parser = Command::new(cache.join("openmetrics/bin/python"));
    parser.arg(tests.join("openmetrics/parse"));
    let parsed = fed(parser, &open);
    assert!(parsed.status.success(), "{parsed:?}");
    // Both tell the same series, and as many as the list for operators says.
    assert_eq!(series_of(&open), series_of(&text));
    let parsed = String::from_utf8(parsed.stdout).expect("UTF-8");
    let parsed_lines: BTreeSet<&str> = parsed.lines().collect();
    assert_eq!(parsed_lines.len(), series_of(&open).len());
    let list = include_str!("../../config/prometheus/metrics.md");
    let number = |behind: &str, before: &str| -> usize {
        let (head, _) = list.split_once(before).unwrap_or_else(|| panic!("{before}"));
        let (_, number) = head.rsplit_once(behind).unwrap_or_else(|| panic!("{behind}"));
        number.trim().parse().unwrap_or_else(|_| panic!("{number:?} is no number"))
    };
    let (fixed, site) = (number("Their number:", ", one more"), number("each site", ", 30 more"));
    let rules = sum_of_keys(&text, "floodwall_floods_total");
    let budgets = sum_of_keys(&text, "floodwall_budget_sessions_left");
    let expected = fixed + 1 + 2 * site + 30 * rules + 4 * budgets + 4 * 2;
    assert_eq!(series_of(&text).len(), expected, "{fixed} {site} {rules} {budgets}");

    // A packed page is the same page.
    let packed = scrape(admin, &[PROMETHEUS, "Accept-Encoding: gzip"]).1;
    assert_eq!(series_of(&packed), series_of(&open));
    let head = format!("http://{admin}/metrics");
    let (_, head) = curl(&["--head", "--header", "Accept-Encoding: gzip", &head]);
    assert!(head.contains("content-encoding: gzip") && head.contains("vary: Accept"), "{head}");
}

/// How many series a family has.
fn sum_of_keys(page: &str, family: &str) -> usize {
    let begins = format!("{family}{{");
    series_of(page).iter().filter(|series| series.starts_with(&begins)).count()
}

/// Whatever strangers send stands in no label.
#[test]
fn attackers_grow_no_series() {
    let folder = Folder::new("metrics-attack");
    let answers = std::sync::atomic::AtomicUsize::new(0);
    let backend = Recorder::start(move |_| {
        let number = answers.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let status = 200 + number % 400;
        format!(
            "HTTP/1.1 {status} X\r\nSet-Cookie: sessionid={number:032x}; Path=/\r\n\
             Set-Cookie: c{number}=1\r\nContent-Length: 0\r\n\r\n"
        )
    });
    let authority = Authority::new("metrics");
    let configuration = configuration(&authority);
    let floodwall = Floodwall::start(&folder, backend.upstream(), &configuration);
    let admin = floodwall.admin();
    let before = series_of(&scrape(admin, &[]).1);
    let mut random = Random(1);
    let mut requests = 0;
    for round in 0..300 {
        let mut wire = connect(floodwall.address());
        let host = random.pick(&["shop.example", "rest.example", "evil{}\"", "[::1]", "a\\b", ""]);
        let method =
            random.pick(&["GET", "POST", "HEAD", "PROPFIND", "X\"Y", "OPTIONS", "g", "TRACE"]);
        let path = match random.below(4) {
            0 => format!("/x/{:x}", random.next()),
            1 => format!("/{:x}/?q={:x}", random.next(), random.next()),
            2 => "/accounts/logout/".to_owned(),
            _ => format!("/%0a%22{:x}", random.next()),
        };
        let cookie = format!("sessionid={:016x}{:016x}; a{round}=1", random.next(), random.next());
        let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
        wire.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\
             X-Forwarded-For: 10.0.{}.{}\r\n{length}Connection: close\r\n\r\n",
            random.below(256),
            random.below(256),
        ));
        // Whatever it is answered: it is over.
        wire.rest();
        requests += 1;
    }
    let counted = || {
        let samples = samples_of(admin);
        sum(&samples, "floodwall_exchanges_total", "")
            + sum(&samples, "floodwall_exchanges_without_site_total", "")
    };
    await_that("exchanges are not counted", || counted() == f64::from(requests));
    let after = series_of(&scrape(admin, &[]).1);
    let new = after.difference(&before).count() as u64;
    assert_eq!(after, before);
    bounded("random hosts, paths, methods, cookies and statuses", "new series of metrics", 0, new);
}
