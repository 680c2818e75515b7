//! What Floodwall decided in front of genuine Django, decided again from its own access log.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::django::{Django, Release};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::load::browser::Browser;
use crate::support::load::flood::{Flood, Scenario};
use crate::support::load::visit::Visit;

/// Budgets that floods reach, and so little patience that some requests wait in vain.
const RULES: &str = "\
    cores = 2\n\
    [recycle]\nspares = 4\nslot_wait = '300ms'\n\
    [budget.anonymous]\nclient = { rate = '60/min', burst = 10 }\n\
    site = { rate = '120/min', burst = 40 }\n\
    [budget.logout]\nclient = { rate = '60/min', burst = 10 }\n\
    site = { rate = '300/min', burst = 60 }\n";

/// The rules, logged in JSON into this file.
fn logging(rules: &str, file: &Path) -> String {
    format!("{rules}[access_log]\nformat = 'json'\nfile = '{}'\n", file.display())
}

/// What a replay of these logs says under a configuration.
fn replay(folder: &Folder, configuration: &str, logs: &[&Path]) -> Value {
    let config = folder.path().join("replay.toml");
    fs::write(&config, configuration).expect("it can be written");
    let mut program = Command::new(env!("CARGO_BIN_EXE_floodwall"));
    let output = program.args(["replay", "--json", "--config"]).arg(&config).args(logs).output();
    let output = output.expect("floodwall runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Users who log in, write and log out, beside floods of several kinds at once, on two cores and many
/// connections; the log of it.
fn mixed_run(folder: &Folder, configuration: &str) -> PathBuf {
    let site = Django::start_with(Release::V1_7_9, &["--threads", "4"]);
    let log = folder.path().join("access.log");
    let floodwall = Floodwall::start(folder, &site.upstream(), &logging(configuration, &log));
    let target = floodwall.target();
    for _ in 0..10 {
        let mut visitor = Browser::new(target, Ipv4Addr::LOCALHOST);
        assert_eq!(visitor.get("/read/").expect("an answer").status(), 200);
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for name in ["user1", "user2"] {
            let over = &over;
            let visit = Visit { pause: Duration::from_millis(20), ..Visit::new(target, name) };
            scope.spawn(move || visit.until(|| over.load(Ordering::Relaxed)));
        }
        let first = [Scenario::AnonymousLogout, Scenario::AnonymousWrite];
        let second = [
            Scenario::AnonymousLogout,
            Scenario::FailingLogout,
            Scenario::MadeUpLogout,
            Scenario::MadeUpRead,
            Scenario::FailingLogin,
        ];
        for at_once in [&first[..], &second[..]] {
            let flood = |scenario| Flood { requests: 250, ..Flood::new(target, scenario) };
            let floods =
                at_once.iter().copied().map(|scenario| scope.spawn(move || flood(scenario).run()));
            for flood in floods.collect::<Vec<_>>() {
                flood.join().expect("the flood runs");
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(floodwall.stop().success());
    log
}

/// How many lines there are with this member of this value.
fn lines_with(log: &Path, member: &str, value: &str) -> usize {
    let needle = format!("\"{member}\":\"{value}\"");
    let text = fs::read_to_string(log).expect("a log");
    text.lines().filter(|line| line.contains(&needle)).count()
}

#[test]
fn a_replay_gives_each_line_the_verdict_that_it_had_and_other_rules_give_others() {
    if !Release::V1_7_9.available() {
        return;
    }
    let folder = Folder::new("replay");
    let log = mixed_run(&folder, RULES);
    let text = fs::read_to_string(&log).expect("a log");
    let lines = text.lines().count();
    assert!(lines > 1_500, "{lines} lines");
    for verdict in ["forwarded", "recycled", "refused"] {
        let number = lines_with(&log, "verdict", verdict);
        assert!(number > 20, "{verdict}: {number}");
    }
    for standing in ["none", "known", "unknown"] {
        assert!(lines_with(&log, "standing", standing) > 20, "{standing}");
    }
    let config = logging(RULES, &log);
    let exact = replay(&folder, &config, &[&log]);
    assert_eq!(exact["exact"]["differing"], Value::Array(Vec::new()), "{}", exact["exact"]);
    assert_eq!(exact["exact"]["exact"], true, "{}", exact["exact"]);
    assert_eq!(exact["exact"]["same"], lines, "{}", exact["exact"]);
    let all = &exact["worlds"][0]["all"];
    for (member, verdict) in [("refused", "refused"), ("recycled", "recycled")] {
        assert_eq!(all[member], lines_with(&log, "verdict", verdict), "{all}");
    }

    // Packed, and cut at some line as a rotation does it.
    let at = text.lines().take(lines / 3).map(|line| line.len() + 1).sum::<usize>();
    let (older, newer) = (folder.path().join("access.log.1"), folder.path().join("access.log"));
    fs::write(&older, &text[..at]).expect("it can be written");
    fs::write(&newer, &text[at..]).expect("it can be written");
    assert!(Command::new("gzip").arg(&older).status().expect("gzip runs").success());
    let older = folder.path().join("access.log.1.gz");
    let again = replay(&folder, &config, &[&newer, &older]);
    assert_eq!(again["exact"], exact["exact"]);

    // The end alone: it says that it begins in the middle, and goes on.
    let end = replay(&folder, &config, &[&newer]);
    assert_eq!(end["exact"]["exact"], false);
    assert!(end["exact"]["doubts"]["beginning"].is_object(), "{}", end["exact"]);
    assert_eq!(end["requests"], lines - lines / 3);

    // Other rules: who was refused is let in.
    let generous = "[budget.anonymous]\nclient = { rate = '60000/min', burst = 1000 }\n\
                    site = { rate = '60000/min', burst = 1000 }\n\
                    [budget.logout]\nclient = { rate = '60000/min', burst = 1000 }\n\
                    site = { rate = '60000/min', burst = 1000 }\n";
    let other = replay(&folder, generous, &[&older, &newer]);
    assert_eq!(other["exact"]["same_rules"], false);
    let different = other["exact"]["different"].as_u64().expect("a number");
    assert!(different > 20, "{}", other["exact"]);
}

#[test]
fn a_replay_says_how_many_decisions_are_missing_and_since_when() {
    if !Release::V1_7_9.available() {
        return;
    }
    let folder = Folder::new("replay");
    let log = mixed_run(&folder, RULES);
    let text = fs::read_to_string(&log).expect("a log");
    let lines: Vec<&str> = text.lines().collect();
    // Every fiftieth line but those of the start was dropped.
    let dropped: Vec<&str> = lines.iter().copied().skip(100).step_by(50).collect();
    let kept = lines.iter().filter(|line| !dropped.contains(line));
    let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
    let decisions = |line: &&str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        ["admitted", "charged", "settled"].map(|member| line["replay"][member].is_array())
    };
    let missing = dropped.iter().flat_map(decisions).filter(|there| *there).count();
    let cut = folder.path().join("cut.log");
    fs::write(&cut, kept).expect("it can be written");
    let report = replay(&folder, &logging(RULES, &log), &[&cut]);
    let exact = &report["exact"];
    assert_eq!(exact["exact"], false);
    assert_eq!(exact["doubts"]["missing"]["number"], missing, "{exact}");
    assert!(exact["doubts"]["missing"]["since"].is_string(), "{exact}");
    let told = exact["same"].as_u64().unwrap_or(0) + exact["different"].as_u64().unwrap_or(0);
    assert_eq!(told, (lines.len() - dropped.len()) as u64);
}
