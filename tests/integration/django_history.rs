//! What a report says reached the store is what the store of a genuine Django has.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::support::django::{Django, Release};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::load::flood::{Flood, Scenario};
use crate::support::load::visit::Visit;
use crate::support::warm;

/// Floods a site, while nobody else is there; the report of it.
fn reported(site: &Django, scenario: Scenario, requests: u64, configuration: &str) -> Value {
    let folder = Folder::new("django-history");
    warm::state(&folder, configuration);
    let floodwall = Floodwall::start(&folder, &site.upstream(), configuration);
    let flood = Flood {
        requests,
        time_limit: Duration::from_secs(60),
        ..Flood::new(floodwall.target(), scenario)
    };
    let report = flood.run();
    assert_eq!((report.sent(), report.errors), (requests, 0), "{report}");
    assert!(floodwall.stop().success());
    let output = Floodwall::program()
        .args(["report", "--format", "json", "--file"])
        .arg(folder.path().join("state.history"))
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(said["requests"], requests, "{said}");
    assert_eq!(said["requests_by_verdict"]["refused"].as_u64().unwrap_or(0), report.refused());
    fs::remove_file(folder.path().join("state.history")).expect("it is there");
    said
}

fn count(said: &Value, field: &str) -> u64 {
    said[field].as_u64().expect("a number")
}

#[test]
fn records_written_are_those_of_the_store() {
    let release = Release::V1_7_9;
    if !release.available() {
        return;
    }
    let site = Django::start_with(release, &["--threads", "2"]);
    let budget = "[budget.anonymous]\nclient = { rate = '1/d', burst = 4 }\n\
                  site = { rate = '1/d', burst = 20 }\n[recycle]\nslot_wait = '30s'\nspacing = 0\n";
    for scenario in [
        Scenario::AnonymousWrite,
        Scenario::AnonymousLogout,
        Scenario::MadeUpLogout,
        Scenario::MadeUpRead,
    ] {
        site.clear();
        let (requests, word) = (400, scenario.word());
        let said = reported(&site, scenario, requests, budget);
        let (rows, written) = (site.rows(), count(&said, "records_written"));
        let (prevented, spares) =
            (count(&said, "records_prevented"), count(&said, "records_spare"));
        println!("{word}: {rows} records; told: {written}, {spares} spares, {prevented} prevented");
        assert_eq!(count(&said, "records_uncertain"), 0, "{word}: {said}");
        assert_eq!(written + spares, rows, "{word}: {said}");
        let removed = count(&said["counts"], "cookies_removed");
        let (stops, made_up) = match scenario {
            Scenario::MadeUpRead => (0, requests),
            Scenario::MadeUpLogout => (requests, requests),
            _ => (requests, 0),
        };
        // Bare, each request that is stopped adds a record on this release.
        assert_eq!(prevented + written + spares, stops, "{word}: {said}");
        assert_eq!(removed, made_up, "{word}: {said}");
    }
}

#[test]
fn users_are_told_of_during_a_flood() {
    let release = Release::V1_7_9;
    if !release.available() {
        return;
    }
    let site = Django::start(release);
    let folder = Folder::new("django-history-users");
    let floodwall = Floodwall::start(&folder, &site.upstream(), "");
    let user = Visit::new(floodwall.target(), "user1").rounds(3);
    assert_eq!(user.failures().collect::<Vec<_>>(), Vec::<String>::new());
    assert!(floodwall.stop().success());
    let output = Floodwall::program()
        .args(["report", "--format", "json", "--file"])
        .arg(folder.path().join("state.history"))
        .output()
        .expect("it runs");
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let known = &said["known_sessions"]["all"];
    assert!(known["requests"].as_u64().expect("a number") > 0, "{said}");
    assert_eq!(known["failed"], 0, "{said}");
    assert!(known["p99_ms"].as_f64().expect("a time") > 0.0, "{said}");
}
