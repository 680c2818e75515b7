//! Debian's Prometheus scrapes Floodwall in a flood: what the dashboard draws and what the rules
//! look at is there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::load::Target;
use crate::support::load::flood::{Flood, Scenario};
use crate::support::prometheus::Prometheus;
use crate::support::shop::{ask, connect, session_of, shop};
use crate::support::tls::{Authority, Key};

const DEADLINE: Duration = Duration::from_secs(60);
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

fn promtool(arguments: &[&str], file: &Path) {
    let output = Command::new("promtool").args(arguments).arg(file).output();
    let output = output.expect("tests/tools/provision installs it");
    assert!(output.status.success(), "{output:?}");
}

/// The example, as it stands and with a token: the part that is commented out instead of the other.
fn with_token(example: &str) -> String {
    let (open, closed) = example.split_once("  # On another one").expect("there are two");
    let (head, _) = open.split_once("  # On the same machine").expect("there are two");
    let lines = closed.lines().skip_while(|line| *line != "  #").skip(1);
    let lines: String =
        lines.map(|line| format!("  {}\n", line.trim_start_matches("  # "))).collect();
    format!("{head}{lines}")
}

/// A query as Grafana sends it, with all sites and instances chosen.
fn as_grafana_sends(expression: &str, instance: &str) -> String {
    // It escapes what regular expressions know, and joins what is chosen.
    let instance = instance.replace('.', "\\\\.");
    let query = expression
        .replace("$__rate_interval", "10s")
        .replace("$__interval", "5s")
        .replace("$__range", "10m")
        .replace("$site", "(default|other)")
        .replace("$instance", &format!("({instance}|10\\\\.0\\\\.0\\\\.5:9180)"));
    assert!(!query.contains('$'), "a variable is not known: {query}");
    query
}

/// Each query of the dashboard, by the title of its panel.
fn panels(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut queries = Vec::new();
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = panel["targets"].as_array().expect("queries");
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            queries.push((title.to_owned(), target["expr"].as_str().expect("a query").to_owned()));
        }
    }
    queries
}

/// What a rule compares with its threshold.
fn compared(query: &str) -> &str {
    let operators = [" > ", " < ", " == "];
    let at = operators.iter().filter_map(|operator| query.rfind(operator)).max();
    let (left, right) = query.split_at(at.unwrap_or_else(|| panic!("no threshold: {query}")));
    let threshold = right.rsplit(' ').next().expect("a word");
    assert!(threshold.parse::<f64>().is_ok(), "no number at the end: {query}");
    left
}

/// Keeps a flood and a user with a session going until told to stop.
fn keep_busy(target: Target, address: &str, stop: &AtomicBool) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut seed = 0;
            while !stop.load(Ordering::SeqCst) {
                seed += 1;
                let scenario = [Scenario::AnonymousLogout, Scenario::AnonymousWrite][seed % 2];
                let mut flood = Flood::new(target, scenario);
                (flood.requests, flood.connections, flood.sources) = (300, 8, 60);
                flood.seed = seed as u64;
                flood.time_limit = Duration::from_secs(30);
                assert_eq!(flood.run().errors, 0);
            }
        });
        scope.spawn(|| {
            let mut wire = connect(address);
            let cookie = session_of(&ask(&mut wire, "a", "/", "x=1")).expect("a session");
            while !stop.load(Ordering::SeqCst) {
                ask(&mut wire, "a", "/", &cookie);
                thread::sleep(Duration::from_millis(5));
            }
        });
    });
}

#[test]
fn every_panel_and_every_rule_has_data_in_a_flood() {
    let folder = Folder::new("prometheus");
    let shop = shop();
    let authority = Authority::new("prometheus");
    let issued = authority.issue_as("shop", &["DNS:shop.example"], Key::P256, 5);
    let (certificate, key) = (issued.certificate.display(), issued.key.display());
    let token = folder.path().join("floodwall.token");
    fs::write(&token, TOKEN).expect("a file");
    let configuration = format!(
        "admin.listen = '127.0.0.1:0'\nadmin.token_file = '{}'\nsave.interval = '1s'\n\
         [tls]\nlisten = '127.0.0.1:0'\n\
         certificates = [{{ certificate = '{certificate}', key = '{key}' }}]\n",
        token.display()
    );
    let floodwall = Floodwall::start(&folder, shop.upstream(), &configuration);
    let instance = floodwall.admin().to_string();

    let example =
        fs::read_to_string(config().join("prometheus/prometheus.yml")).expect("it is there");
    let rules = config().join("prometheus/floodwall.rules.yml");
    promtool(&["check", "rules"], &rules);
    promtool(&["check", "config"], &config().join("prometheus/prometheus.yml"));
    fs::copy(&rules, folder.path().join("floodwall.rules.yml")).expect("a file");
    let file = folder.path().join("prometheus.yml");
    let told = with_token(&example)
        .replace("15s", "1s")
        .replace("10.0.0.5:9180", &instance)
        .replace("/etc/prometheus/floodwall.token", &token.display().to_string());
    fs::write(&file, told).expect("a file");
    promtool(&["check", "config"], &file);
    let prometheus = Prometheus::start(&folder, &file);
    await_that("nothing is scraped", || {
        prometheus.query("up{job=\"floodwall\"}").iter().any(|(_, up)| *up == 1.0)
    });

    let dashboard =
        fs::read_to_string(config().join("grafana/floodwall.json")).expect("it is there");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let mut wanted: BTreeMap<String, String> = panels(&dashboard)
        .into_iter()
        .map(|(title, expression)| {
            (as_grafana_sends(&expression, &instance), format!("panel {title}"))
        })
        .collect();
    let of_panels = wanted.len();
    let groups = prometheus.api("rules", &[])["groups"].clone();
    let groups = groups.as_array().expect("groups").clone();
    let rules: Vec<Value> =
        groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect();
    for rule in &rules {
        let name = rule["name"].as_str().expect("a name");
        let query = rule["query"].as_str().expect("a query");
        if rule["type"] == "recording" {
            wanted.insert(name.to_owned(), format!("record {name}"));
            continue;
        }
        for what in ["summary", "description", "runbook"] {
            let said = rule["annotations"][what].as_str().unwrap_or_default();
            assert!(said.len() > 20, "{name} has no {what}");
        }
        assert!(
            ["info", "warning", "critical"]
                .contains(&rule["labels"]["severity"].as_str().expect("one"))
        );
        wanted.insert(compared(query).to_owned(), format!("alert {name}"));
    }
    assert!(of_panels > 60 && rules.len() > 15, "{of_panels} queries, {} rules", rules.len());
    assert!(floodwall.tell(&["status"]).0);

    let stop = AtomicBool::new(false);
    let (target, address) = (floodwall.target(), floodwall.address().to_owned());
    thread::scope(|scope| {
        let busy = scope.spawn(|| keep_busy(target, &address, &stop));
        let deadline = Instant::now() + DEADLINE;
        while !wanted.is_empty() {
            let missing = &wanted;
            if Instant::now() >= deadline {
                stop.store(true, Ordering::SeqCst);
                panic!("no data: {missing:#?}");
            }
            wanted.retain(|query, _| {
                let found = prometheus.query(query);
                !found.iter().any(|(_, value)| value.is_finite())
            });
        }
        let state_of = |alert: &str| {
            let groups = prometheus.api("rules", &[])["groups"].clone();
            let groups = groups.as_array().expect("groups").iter();
            let mut rules = groups.flat_map(|group| group["rules"].as_array().expect("rules"));
            let rule = rules.find(|rule| rule["name"] == alert).expect("it is a rule");
            rule["state"].as_str().expect("a state").to_owned()
        };
        for alert in ["FloodwallFloodRunning", "FloodwallCertificateExpiring"] {
            await_that(&format!("{alert} does not fire"), || state_of(alert) == "firing");
        }
        floodwall.configure("[[[");
        assert!(!floodwall.tell(&["reload"]).0);
        await_that("nobody hears of a reload that failed", || {
            state_of("FloodwallReloadFailed") == "pending"
        });
        for quiet in ["FloodwallDown", "FloodwallUpstreamDown", "FloodwallStateNotSaved"] {
            assert_eq!(state_of(quiet), "inactive", "{quiet}");
        }
        stop.store(true, Ordering::SeqCst);
        busy.join().expect("the flood was answered");
    });
    // What Prometheus made of buckets, sums and counts fits together.
    for name in ["exchange_duration", "upstream_response", "upstream_connect"] {
        let difference = format!(
            "floodwall_{name}_seconds_count - ignoring (le) floodwall_{name}_seconds_bucket{{le=\"+Inf\"}}"
        );
        let found = prometheus.query(&difference);
        assert!(!found.is_empty() && found.iter().all(|(_, value)| *value == 0.0), "{found:?}");
        let falling = format!(
            "floodwall_{name}_seconds_bucket{{le=\"0.25\"}} > ignoring (le) floodwall_{name}_seconds_bucket{{le=\"0.5\"}}"
        );
        assert!(prometheus.query(&falling).is_empty());
    }
    let targets = prometheus.api("targets", &[("state", "active")]);
    let target = &targets["activeTargets"][0];
    assert_eq!((&target["health"], &target["lastError"]), (&"up".into(), &"".into()), "{target}");
}
