//! Floods on genuine Django: the store stops growing, and logged-in users notice nothing.
//!
//! Every flood runs twice, against the bare release and through Floodwall, from 64 connections and
//! 8 addresses, while two users log in, read, write and log out. What they see must be the same,
//! line for line, as what a user of the bare, unflooded release sees.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::django::{Django, Release};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::Inside;
use crate::support::load::Target;
use crate::support::load::browser::Browser;
use crate::support::load::flood::{Flood, Report, Scenario};
use crate::support::load::visit::{Transcript, Visit};
use crate::support::warm;

/// What the configuration says by default.
const SPARES: u64 = 16;
/// The defaults, but for patience: how soon a slot is free is a matter of this machine's speed; and
/// with all slots in use at once.
const PATIENT: &str = "[recycle]\nslot_wait = '30s'\nspacing = 0\n";
/// The wanted number of requests of a flood; fewer on most releases in a plain run.
const REQUESTS: u64 = 20_000;

/// What came of a flood through Floodwall.
struct Outcome {
    report: Report,
    /// Records that the flood added: all but those that a logged-in logout leaves on this release.
    rows: u64,
    log: String,
}

/// Floods a site behind Floodwall while users browse it, and shows that they noticed nothing.
fn flood(
    site: &Django,
    requests: u64,
    scenario: Scenario,
    configuration: &str,
    warm: bool,
) -> Outcome {
    let direct = Visit::new(site.target(), "user1").rounds(1);
    assert_unharmed(&direct);
    site.clear();

    let folder = Folder::new("flood");
    if warm {
        warm::state(&folder, configuration);
    }
    let mut floodwall = Floodwall::start(&folder, &site.upstream(), configuration);
    // A site does not begin with its flood: this page was read before, and is known to be clean.
    for _ in 0..10 {
        let mut visitor = Browser::new(floodwall.target(), Ipv4Addr::LOCALHOST);
        assert_eq!(visitor.get("/read/").expect("an answer").status(), 200);
    }
    let (report, users) = flood_with_users(floodwall.target(), requests, scenario);
    let mut logouts = 0;
    for user in &users {
        assert_unharmed(user);
        for (index, line) in user.lines().iter().enumerate() {
            let expected = &direct.lines()[index % direct.steps.len()];
            assert_eq!(
                line.replace(|c: char| c.is_ascii_digit(), ""),
                expected.replace(|c: char| c.is_ascii_digit(), ""),
                "step {index}"
            );
        }
        logouts += user.rounds as u64;
    }
    let left = if leaves_a_record_after_logout(site.release) { logouts } else { 0 };
    let rows = site.rows().saturating_sub(left);
    floodwall.await_said(if warm { "ledger warm" } else { "ledger cold" });
    let log = floodwall.log();
    assert!(floodwall.stop().success());
    println!(
        "{} {}: {} requests, {} refused, {rows} rows added ({logouts} logouts of users, {left} \
         records left by them), users' p99 {:?}",
        site.release,
        scenario.word(),
        report.sent(),
        report.refused(),
        users[0].percentile(99),
    );
    assert_eq!(report.errors, 0, "{report}");
    assert_eq!(site.authenticated(), 0, "every user has logged out");
    Outcome { report, rows, log }
}

fn flood_with_users(
    target: Target,
    requests: u64,
    scenario: Scenario,
) -> (Report, Vec<Transcript>) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let users = ["user1", "user2"].map(|name| {
            let over = &over;
            let visit = Visit { pause: Duration::from_millis(150), ..Visit::new(target, name) };
            scope.spawn(move || visit.until(|| over.load(Ordering::Relaxed)))
        });
        let time_limit = Duration::from_secs(600);
        let report = Flood { requests, time_limit, ..Flood::new(target, scenario) }.run();
        over.store(true, Ordering::Relaxed);
        (report, users.map(|user| user.join().expect("the user's browser works")).into())
    })
}

fn assert_unharmed(user: &Transcript) {
    assert_eq!(user.failures().collect::<Vec<_>>(), Vec::<String>::new());
}

/// 1.4 and 1.7 put a new, empty record in the place of a logged-in user's.
fn leaves_a_record_after_logout(release: Release) -> bool {
    ["1.4.", "1.7."].iter().any(|series| release.word().starts_with(series))
}

/// The same flood on the bare release, which it fills: otherwise nothing was shown.
fn bare_rows(site: &Django, requests: u64, scenario: Scenario) -> u64 {
    site.clear();
    let report = Flood { requests, ..Flood::new(site.target(), scenario) }.run();
    let rows = site.rows();
    println!(
        "{} {} bare: {} requests, {rows} rows added",
        site.release,
        scenario.word(),
        report.sent()
    );
    rows
}

fn anonymous_logouts_are_absorbed(release: Release) {
    if !release.available() {
        return;
    }
    let site = Django::start_with(release, &["--threads", "2"]);
    let requests = release.requests(REQUESTS);
    let outcome = flood(&site, requests, Scenario::AnonymousLogout, PATIENT, false);
    assert_eq!(outcome.report.refused(), 0, "{}", outcome.report);
    assert!(outcome.rows <= SPARES, "{} rows", outcome.rows);
    assert!(outcome.log.lines().count() < 60, "{}", outcome.log);
    assert_eq!(bare_rows(&site, requests, Scenario::AnonymousLogout), requests);
}

fn failing_logouts_cost_what_the_budgets_allow(release: Release) {
    if !release.available() {
        return;
    }
    let site = Django::start_with(release, &["--threads", "2"]);
    let requests = release.requests(REQUESTS);
    let budget = "[budget.logout]\nclient = { rate = \"30/min\", burst = 10 }\n\
                  site = { rate = \"60/min\", burst = 50 }\n";
    let outcome = flood(&site, requests, Scenario::FailingLogout, budget, false);
    let seconds = outcome.report.elapsed.as_secs() + 2;
    let allowed = SPARES + (8 * (10 + seconds / 2)).min(50 + seconds);
    assert!(outcome.rows <= allowed, "{} rows, {allowed} allowed", outcome.rows);
}

fn made_up_cookies_end_at_the_door(release: Release) {
    if !release.available() {
        return;
    }
    let site = Django::start_with(release, &["--threads", "2"]);
    let requests = release.requests(REQUESTS);
    for scenario in [Scenario::MadeUpLogout, Scenario::MadeUpRead] {
        let outcome = flood(&site, requests, scenario, PATIENT, true);
        assert_eq!(outcome.report.refused(), 0, "{}", outcome.report);
        assert!(outcome.rows <= SPARES, "{} rows", outcome.rows);
        bare_rows(&site, requests.min(2_000), scenario);
    }
}

/// A module for each release, so that each is a test of its own, named after it.
macro_rules! on {
    ($($module:ident: $release:expr),* $(,)?) => {
        $(mod $module {
            use super::*;

            #[test]
            fn anonymous_logouts_are_absorbed() {
                super::anonymous_logouts_are_absorbed($release);
            }

            #[test]
            fn failing_logouts_cost_what_the_budgets_allow() {
                super::failing_logouts_cost_what_the_budgets_allow($release);
            }

            #[test]
            fn made_up_cookies_end_at_the_door() {
                super::made_up_cookies_end_at_the_door($release);
            }
        })*
    };
}

on! {
    v1_4_20: Release::V1_4_20,
    v1_4_21: Release::V1_4_21,
    v1_7_8: Release::V1_7_8,
    v1_7_9: Release::V1_7_9,
    v1_8_2: Release::V1_8_2,
    v1_8_3: Release::V1_8_3,
}

/// By default one logout is forwarded at a time, so there is one spare, and further ones only where a
/// logout has taken longer than a second. Who has no turn is refused, and paced.
#[test]
fn a_flood_of_logouts_is_forwarded_one_at_a_time() {
    let release = Release::V1_7_9;
    if !release.available() {
        return;
    }
    let site = Django::start_with(release, &["--threads", "2"]);
    let floodwall = Inside::start(&site.upstream(), "[recycle]\nslot_wait = '0s'\n");
    let flood = Flood::new(floodwall.target(), Scenario::AnonymousLogout);
    let report = Flood { requests: 2_000, ..flood }.run();
    let spares = floodwall.spares();
    println!("{} refused, {spares} spares, {} records", report.refused(), site.rows());
    assert_eq!(report.errors, 0, "{report}");
    assert!(report.refused() > 1_000, "{report}");
    assert!((1..=SPARES / 4).contains(&spares), "{spares} spares");
}

fn every_backend(backend: &str, rows_expected: bool) {
    let release = Release::V1_8_3;
    if !release.available() {
        return;
    }
    let site = Django::start_with(release, &["--threads", "2", "--backend", backend]);
    let requests = release.requests(REQUESTS);
    let outcome = flood(&site, requests, Scenario::AnonymousLogout, PATIENT, false);
    assert_eq!(outcome.report.refused(), 0, "{}", outcome.report);
    assert!(outcome.rows <= SPARES, "{} rows", outcome.rows);
    let bare = bare_rows(&site, 500, Scenario::AnonymousLogout);
    assert_eq!(bare, if rows_expected { 500 } else { 0 });
}

#[test]
fn the_cache_backend_is_shielded() {
    every_backend("cache", true);
}

#[test]
fn the_cached_db_backend_is_shielded() {
    every_backend("cached_db", true);
}

#[test]
fn the_file_backend_is_shielded() {
    every_backend("file", true);
}

#[test]
fn the_signed_cookies_backend_is_left_alone() {
    every_backend("signed_cookies", false);
}

/// A session-writing page that no rule names: the budget holds it, and the users write on.
#[test]
fn a_page_that_writes_for_anybody_is_held_by_the_budget() {
    let release = Release::V1_7_9;
    if !release.available() {
        return;
    }
    let site = Django::start_with(release, &["--threads", "2"]);
    let budget = "[budget.anonymous]\nclient = { rate = \"30/min\", burst = 10 }\n\
                  site = { rate = \"60/min\", burst = 50 }\n";
    let outcome = flood(&site, 2_000, Scenario::AnonymousWrite, budget, false);
    let seconds = outcome.report.elapsed.as_secs() + 2;
    let allowed = (8 * (10 + seconds / 2)).min(50 + seconds);
    assert!(outcome.rows <= allowed, "{} rows, {allowed} allowed", outcome.rows);
    assert!(outcome.report.refused() > 1_500, "{}", outcome.report);
    let lines = outcome.log.lines().count();
    assert!(lines < 40, "{lines} lines for {} refusals", outcome.report.refused());
}
