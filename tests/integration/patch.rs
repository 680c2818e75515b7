//! The patch, compared: each vulnerable release behind Floodwall against its patched sibling,
//! direct. What a visitor sees and what the store keeps is the same, but for the differences that
//! are listed, each with its reason.

mod differences;
mod scenarios;
mod table;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;

use crate::support::django::{Django, Release};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::load::Target;
use crate::support::load::browser::{Browser, Cookie};
use scenarios::{ADMIN, SITES, Scenario, Site, Step, USER};
use table::Row;

/// First-time effects show in the first run, what is left in the others.
const RUNS: usize = 3;

const HOST: &str = "www.site.example";

#[test]
fn django_1_4_20_behind_floodwall_is_as_1_4_22() {
    compare(Release::V1_4_20);
}

#[test]
fn django_1_4_21_behind_floodwall_is_as_1_4_22() {
    compare(Release::V1_4_21);
}

#[test]
fn django_1_7_8_behind_floodwall_is_as_1_7_10() {
    compare(Release::V1_7_8);
}

#[test]
fn django_1_7_9_behind_floodwall_is_as_1_7_10() {
    compare(Release::V1_7_9);
}

#[test]
fn django_1_8_2_behind_floodwall_is_as_1_8_4() {
    compare(Release::V1_8_2);
}

#[test]
fn django_1_8_3_behind_floodwall_is_as_1_8_4() {
    compare(Release::V1_8_3);
}

fn compare(vulnerable: Release) {
    let patched = vulnerable.patched().expect("it is vulnerable");
    if !(vulnerable.available() && patched.available()) {
        return;
    }
    let mut rows = Vec::new();
    for site in &SITES {
        let arguments: Vec<&str> = ["--threads", "2"]
            .into_iter()
            .chain(site.options.iter().flat_map(|&option| ["--option", option]))
            .collect();
        let old = Django::start_with(vulnerable, &arguments);
        let new = Django::start_with(patched, &arguments);
        for scenario in site.scenarios {
            rows.push(Row {
                site: site.name,
                scenario: scenario.name,
                patched: std::array::from_fn(|_| run(&new, new.target(), site, scenario)),
                shielded: shielded(&old, site, scenario),
            });
        }
    }
    table::judge(vulnerable, patched, &rows);
}

/// A Floodwall of its own for each scenario, so that each begins with nothing proved and nothing
/// known.
fn shielded(django: &Django, site: &Site, scenario: &Scenario) -> [Outcome; RUNS] {
    let folder = Folder::new("patch");
    let toml = format!("[session]\ncookie = '{}'\n{}\n", site.cookie, scenario.settings);
    let floodwall = Floodwall::start(&folder, &django.upstream(), &toml);
    std::array::from_fn(|_| run(django, floodwall.target(), site, scenario))
}

/// One visitor, from the first page to the request that is compared.
fn run(django: &Django, target: Target, site: &Site, scenario: &Scenario) -> Outcome {
    let browser = Browser::with_host(target, Ipv4Addr::LOCALHOST, HOST.to_owned());
    let mut visitor = Visitor { django, browser, cookie: site.cookie };
    visitor.file("csrftoken", "madeUpByTheBrowserItself000000ab".to_owned());
    for step in scenario.before {
        visitor.take(*step);
    }
    let rows = django.rows();
    let (status, cookie) = visitor.take(scenario.request);
    Outcome { status, cookie, rows: django.rows().cast_signed() - rows.cast_signed() }
}

struct Visitor<'a> {
    django: &'a Django,
    browser: Browser,
    cookie: &'static str,
}

impl Visitor<'_> {
    fn take(&mut self, step: Step) -> (u16, Change) {
        match step {
            Step::Get(path) => self.send(path, None),
            Step::Post(path, fields) => self.send(path, Some(fields)),
            Step::LogIn => self.log_in(&USER),
            Step::LogInAsAdmin => self.log_in(&ADMIN),
            Step::KeepDead => {
                self.take(Step::LogIn);
                let session = self.browser.filed(self.cookie, "/accounts/").cloned();
                let told = self.send("/accounts/logout/", None);
                self.browser.file(session.expect("a login gives a session"));
                told
            }
            Step::LoseRecord => {
                let session = self.browser.filed(self.cookie, "/").expect("a session");
                self.django.delete(&session.value);
                (0, Change::Untouched)
            }
            Step::MakeUp => {
                self.file(self.cookie, made_up_key());
                (0, Change::Untouched)
            }
        }
    }

    fn log_in(&mut self, form: &[(&str, &str)]) -> (u16, Change) {
        self.send("/accounts/login/", None);
        let told = self.send("/accounts/login/", Some(form));
        assert_eq!(told, (302, Change::Set), "the login succeeds");
        told
    }

    fn file(&mut self, name: &str, value: String) {
        let (name, path) = (name.to_owned(), "/".to_owned());
        self.browser.file(Cookie { name, value, path, domain: None });
    }

    fn send(&mut self, path: &str, form: Option<&[(&str, &str)]>) -> (u16, Change) {
        let held =
            |browser: &Browser| browser.filed(self.cookie, path).map(|cookie| cookie.value.clone());
        let before = held(&self.browser);
        let answer = self.browser.once(path, form).expect("the site answers");
        let after = held(&self.browser);
        let set = answer.header("set-cookie").filter_map(|line| {
            let (name, value) = line.split(';').next()?.split_once('=')?;
            (name.trim() == self.cookie).then(|| value.trim().trim_matches('"'))
        });
        let change = match set.last() {
            None => Change::Untouched,
            Some("") if after.is_some() => Change::NotDeleted,
            Some("") => Change::Deleted,
            Some(key) if before.as_deref() == Some(key) => Change::Renewed,
            Some(_) => Change::Set,
        };
        (answer.status, change)
    }
}

/// Another one each time, in the alphabet of every release.
fn made_up_key() -> String {
    let digits = || RandomState::new().hash_one("a key");
    format!("{:016x}{:016x}", digits(), digits())
}

/// What a request did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outcome {
    status: u16,
    cookie: Change,
    /// Session records that it added.
    rows: i64,
}

/// What became of the session cookie that the browser holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Untouched,
    /// To another key than before, or than none.
    Set,
    /// To the same key.
    Renewed,
    Deleted,
    /// The answer deletes a cookie, but of another path or domain: the browser keeps its own.
    NotDeleted,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Untouched => "untouched",
            Self::Set => "set",
            Self::Renewed => "renewed",
            Self::Deleted => "deleted",
            Self::NotDeleted => "NOT DELETED",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:+}", self.status, self.cookie, self.rows)
    }
}
