//! The warm-up in front of genuine Django: a session that the ledger has never seen is removed
//! once the ledger is warm, and whatever keeps it from being warm logs nobody out, and is in the
//! log.
//!
//! The session that is at stake was issued past Floodwall: it is alive in the store, and nobody
//! told the ledger.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use floodwall::guard::image::Entry;
use floodwall::guard::key::Secret;
use floodwall::guard::ledger::KeyRecord;

use crate::support::django::{Django, Release};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::load::Target;
use crate::support::load::browser::{Browser, Cookie};
use crate::support::warm;

const RELEASE: Release = Release::V1_7_9;
const DAY: i64 = 86_400;
const HOURS: Duration = Duration::from_secs(3 * 3600 + 12 * 60);

fn log_in(target: Target, name: &str) -> Browser {
    let mut browser = Browser::new(target, Ipv4Addr::LOCALHOST);
    browser.get("/accounts/login/").expect("the login page");
    let page = browser.post("/accounts/login/", &[("username", name), ("password", "secret")]);
    assert!(page.expect("a page").gist().contains(name), "{name} is not logged in");
    browser
}

/// The key of a session that Floodwall never heard of.
fn issued_past(site: &Django) -> String {
    log_in(site.target(), "user1").cookie("sessionid").expect("logged in").to_owned()
}

fn visit(floodwall: &Floodwall, key: &str, path: &str) -> String {
    let mut browser = Browser::new(floodwall.target(), Ipv4Addr::LOCALHOST);
    let (name, value, path_of) = ("sessionid".to_owned(), key.to_owned(), "/".to_owned());
    browser.file(Cookie { name, value, path: path_of, domain: None });
    browser.get(path).expect("an answer").gist()
}

fn is_logged_in(floodwall: &Floodwall, key: &str) -> bool {
    let page = visit(floodwall, key, "/read/");
    assert!(page.contains("user="), "{page}");
    page.contains("user=user")
}

fn check(folder: &Folder) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_floodwall"))
        .args(["check", "--upstream", "http://127.0.0.1:9", "--state"])
        .arg(folder.path().join("state"))
        .output()
        .expect("it runs");
    let said = String::from_utf8(output.stdout).expect("text");
    let ledger = said.lines().find_map(|line| line.strip_prefix("  ledger    "));
    ledger.unwrap_or_else(|| panic!("{said}")).to_owned()
}

fn journals(folder: &Path) -> Vec<std::path::PathBuf> {
    let files = fs::read_dir(folder).expect("the folder is there");
    let paths = files.map(|file| file.expect("a file").path());
    paths.filter(|path| path.to_string_lossy().contains(".journal.")).collect()
}

/// A clean restart and a kill with a quick return change nothing: what came past is removed, and
/// who came through is known.
#[test]
fn a_warm_ledger_stays_warm_over_a_restart_and_a_kill() {
    if !RELEASE.available() {
        return;
    }
    let site = Django::start(RELEASE);
    let stranger = issued_past(&site);
    let folder = Folder::new("warm");
    warm::state(&folder, "");
    assert_eq!(check(&folder), "0 keys, warm");
    let mut floodwall = Floodwall::start(&folder, &site.upstream(), "");
    let known = log_in(floodwall.target(), "user2").cookie("sessionid").expect("one").to_owned();
    for end in 0..3 {
        assert!(!is_logged_in(&floodwall, &stranger), "{end}: {}", floodwall.log());
        assert!(is_logged_in(&floodwall, &known), "{end}: {}", floodwall.log());
        if end % 2 == 0 {
            floodwall.kill();
        } else {
            assert!(floodwall.stop().success());
        }
        assert!(check(&folder).ends_with("keys, warm"), "{}", check(&folder));
        floodwall = Floodwall::start(&folder, &site.upstream(), "");
    }
    floodwall.await_said("ledger warm: unknown session cookies are removed");
    // As the operator asks how it stands.
    floodwall.signal("-USR1");
    floodwall.await_said("\"message\":\"status\",\"ledger\":\"warm\"");
    for field in
        ["\"keys\":", "\"keys_capacity\":2000000", "\"clients\":", "\"classes_capacity\":4096"]
    {
        assert!(floodwall.log().contains(field), "{field}: {}", floodwall.log());
    }
    assert!(is_logged_in(&floodwall, &known), "a signal ends nothing");
}

/// Each of these might have let the stranger's session pass unseen.
#[test]
fn whatever_the_ledger_has_missed_logs_nobody_out_and_is_in_the_log() {
    if !RELEASE.available() {
        return;
    }
    const LONGER: &str = "[session]\nlifetime = '30d'\n";
    const SMALLER: &str = "[session]\ncapacity = 1000\n";
    let site = Django::start(RELEASE);
    let stranger = issued_past(&site);
    /// Its name, the configuration, what the log says of it, and what happens before the start.
    type Kind<'a> = (&'a str, &'a str, &'a str, &'a dyn Fn(&Folder));
    let kinds: [Kind<'_>; 7] = [
        ("lost ledger", "", "no session was known at the start", &|_| {}),
        ("damaged ledger", "", "the state file was damaged", &|folder| {
            warm::state(folder, "");
            let path = folder.path().join("state");
            let mut bytes = fs::read(&path).expect("it was written");
            bytes[20] ^= 1;
            fs::write(&path, bytes).expect("it can be written");
        }),
        ("bypass while it was stopped", "", "it was not running for 3h12m", &|folder| {
            warm::left(folder, "", DAY, HOURS, |_, _| {});
        }),
        ("journal lost after a kill", "", "a part of the journal is missing", &|folder| {
            warm::state(folder, "");
            Floodwall::start(folder, &site.upstream(), "").kill();
            journals(folder.path()).iter().for_each(|path| fs::remove_file(path).expect("gone"));
        }),
        ("lost hash key: a journal without its snapshot", "", "no session was known", &|folder| {
            warm::state(folder, "");
            let floodwall = Floodwall::start(folder, &site.upstream(), "");
            log_in(floodwall.target(), "user3");
            floodwall.kill();
            fs::remove_file(folder.path().join("state")).expect("gone");
        }),
        ("longer lifetime", LONGER, "session.lifetime is longer than it was", &|folder| {
            warm::state(folder, "");
        }),
        ("overflow", SMALLER, "a live session was forgotten for lack of room", &|folder| {
            warm::left(folder, "", DAY, Duration::ZERO, |guard, clock| {
                let secret = Secret::new([7; 16]);
                let expires = u32::try_from(clock.now().as_nanos() / 1_000_000_000 + 86_400);
                for number in 0..3_000 {
                    let key = secret.key(&secret.placeholder(number));
                    let record = KeyRecord {
                        key,
                        expires: expires.expect("it fits"),
                        flags: KeyRecord::PAID,
                    };
                    guard.replay(Entry::key(record, clock.wall()), clock.wall(), clock.now());
                }
            });
        }),
    ];
    for (kind, configuration, why, prepare) in kinds {
        let folder = Folder::new("missed");
        prepare(&folder);
        let mut floodwall = Floodwall::start(&folder, &site.upstream(), configuration);
        assert!(is_logged_in(&floodwall, &stranger), "{kind}: {}", floodwall.log());
        floodwall.await_said(&format!("\"why\":\"{why}"));
        for field in ["\"seen\":\"", "\"of\":\"", "\"warm_at\":\"20"] {
            assert!(floodwall.log().contains(field), "{kind}: {}", floodwall.log());
        }
        floodwall.signal("-USR1");
        floodwall.await_said("\"message\":\"status\",\"ledger\":\"not warm\"");
        assert!(floodwall.stop().success());
        if configuration.is_empty() {
            let said = check(&folder);
            assert!(said.contains("not warm: ") && said.contains(why), "{kind}: {said}");
        }
    }
}

/// A site that lets its sessions live for longer than is configured: seen at the first login.
#[test]
fn a_longer_cookie_age_seen_later_logs_nobody_out() {
    if !RELEASE.available() {
        return;
    }
    let site = Django::start_with(RELEASE, &["--option", "SESSION_COOKIE_AGE=2592000"]);
    let stranger = issued_past(&site);
    let folder = Folder::new("age");
    warm::state(&folder, "");
    let mut floodwall = Floodwall::start(&folder, &site.upstream(), "");
    log_in(floodwall.target(), "user2");
    assert!(is_logged_in(&floodwall, &stranger), "{}", floodwall.log());
    floodwall.await_said("\"of\":\"30d\"");
    floodwall.await_said("a session cookie of this age was seen");
    // A kill right after it forgets it not.
    floodwall.kill();
    let floodwall = Floodwall::start(&folder, &site.upstream(), "");
    assert!(is_logged_in(&floodwall, &stranger), "{}", floodwall.log());
}

/// One stranger's session shows that there is another way in; so another's is not removed when the
/// lifetime is over.
#[test]
fn a_session_issued_past_floodwall_that_shows_keeps_all_others_logged_in() {
    if !RELEASE.available() {
        return;
    }
    let site = Django::start(RELEASE);
    let (shows, silent) = (issued_past(&site), issued_past(&site));
    let folder = Folder::new("elsewhere");
    warm::left(&folder, "", -5, Duration::ZERO, |_, _| {});
    let floodwall = Floodwall::start(&folder, &site.upstream(), "");
    assert!(visit(&floodwall, &shows, "/write/").contains("count="));
    assert!(floodwall.stop().success());
    // The lifetime is over a few seconds later.
    await_that("it was not noticed", || {
        let said = check(&folder);
        assert!(!said.ends_with("keys, warm"), "{said}");
        said.contains("a session that was not issued through Floodwall was alive")
    });
    let mut floodwall = Floodwall::start(&folder, &site.upstream(), "");
    floodwall.await_said("a session that was not issued through Floodwall was alive");
    assert!(is_logged_in(&floodwall, &silent), "{}", floodwall.log());
}
