//! What operators do: stop, reload, upgrade, check and try alerts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{SECRET, events, flood, flooded, secret, webhook};
use crate::support::address::own_address;
use crate::support::attack::bounded;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::receiver::Receiver;

/// A flood that goes on for ever, as far as the test goes.
fn long(alerts: &str) -> String {
    flooded(&["logout"], alerts).replace("flood_quiet = '1s'", "flood_quiet = '1d'")
}

#[test]
fn a_flood_that_runs_at_the_stop_is_told_to_have_ended() {
    let (folder, receiver) = (Folder::new("alerts-stop"), Receiver::start(SECRET, &["200"]));
    let configuration = long(&webhook(&folder, receiver.address(), ""));
    let floodwall = Floodwall::start(&folder, "http://127.0.0.1:9", &configuration);
    flood(&floodwall, "logout");
    receiver.await_seen(1);
    assert!(floodwall.stop().success());
    let seen = receiver.await_seen(2);
    assert_eq!(events(&seen), ["flood-started", "flood-ended"]);
    assert_eq!(seen[1]["body"]["ended_by"], "stopped");
}

#[test]
fn a_receiver_that_hangs_does_not_keep_the_process() {
    let (folder, receiver) = (Folder::new("alerts-stuck"), Receiver::start(SECRET, &["hang"]));
    let alerts = webhook(&folder, receiver.address(), "timeout = '1m'");
    let floodwall = Floodwall::start(&folder, "http://127.0.0.1:9", &long(&alerts));
    flood(&floodwall, "logout");
    receiver.await_seen(1);
    let began = Instant::now();
    let log = folder.path().join("log");
    assert!(floodwall.stop().success());
    let seconds = began.elapsed().as_secs();
    bounded("a webhook that hangs at the stop", "seconds until the process has ended", 20, seconds);
    let log = fs::read_to_string(log).expect("a log");
    assert!(log.contains("\"dropped\":2") && log.contains("alerts were dropped"), "{log}");
}

/// A receiver in trouble at the very end is asked more than once.
#[test]
fn the_last_alerts_are_tried_again_too() {
    let (folder, receiver) =
        (Folder::new("alerts-last"), Receiver::start(SECRET, &["200", "500", "500", "200"]));
    let alerts = webhook(&folder, receiver.address(), "");
    let floodwall = Floodwall::start(&folder, "http://127.0.0.1:9", &long(&alerts));
    flood(&floodwall, "logout");
    receiver.await_seen(1);
    assert!(floodwall.stop().success());
    assert_eq!(receiver.await_seen(4).len(), 4);
}

#[test]
fn a_reload_puts_all_of_it_in_force() {
    let folder = Folder::new("alerts-reload");
    let (first, second) = (Receiver::start(SECRET, &["200"]), Receiver::start("", &["200"]));
    let begun = long(&webhook(&folder, first.address(), ""));
    let mut floodwall = Floodwall::start(&folder, "http://127.0.0.1:9", &begun);
    flood(&floodwall, "logout");
    first.await_seen(1);
    // A secret that is none changes nothing.
    fs::write(folder.path().join("bad"), "hunter2").expect("it can be written");
    let bad = begun.replace("/secret'", "/bad'");
    floodwall.configure(&bad);
    let (well, said) = floodwall.tell(&["reload"]);
    assert!(!well && said.contains("it does not begin with whsec_"), "{said}");
    // Another receiver, without a secret, gets the end of the flood that the first was told of.
    let other = format!("[alerts]\nwebhook = 'http://{}/'\n", second.address());
    floodwall.configure(&flooded(&["logout"], &other));
    let (well, said) = floodwall.tell(&["reload"]);
    assert!(well && !said.contains("restart"), "{said}");
    let seen = second.await_seen(1);
    assert_eq!(events(&seen), ["flood-ended"]);
    assert_eq!(seen[0]["signed"], false, "nothing signs it");
    assert_eq!(seen[0]["body"]["flood"], first.seen()[0]["body"]["flood"]);
    // To nobody.
    floodwall.configure(&flooded(&["logout"], ""));
    assert!(floodwall.tell(&["reload"]).0);
    flood(&floodwall, "logout");
    await_that("the flood does not end", || floodwall.log().matches("flood ended").count() == 2);
    floodwall.await_said("flood ended");
    assert!(floodwall.stop().success());
    assert_eq!((first.seen().len(), second.seen().len()), (1, 1));
}

/// Two processes see two floods: the predecessor's ends with it, the successor's begins anew.
#[test]
fn an_upgrade_neither_loses_nor_doubles_an_alert() {
    let (folder, receiver) = (Folder::new("alerts-upgrade"), Receiver::start(SECRET, &["200"]));
    let configuration = long(&webhook(&folder, receiver.address(), ""));
    let address = own_address().to_string();
    let mut floodwall =
        Floodwall::start_at(&folder, "http://127.0.0.1:9", &configuration, &address);
    flood(&floodwall, "logout");
    receiver.await_seen(1);
    floodwall.upgrade();
    // Until then it takes some of the connections.
    floodwall.await_ended();
    flood(&floodwall, "logout");
    receiver.await_seen(3);
    floodwall.stop_last();
    let seen = receiver.await_seen(4);
    assert_eq!(seen.len(), 4);
    let mut floods: Vec<(&str, &str)> = seen
        .iter()
        .map(|message| {
            let text = |field: &str| message["body"][field].as_str().expect("text");
            (text("flood"), text("event"))
        })
        .collect();
    floods.sort_unstable();
    let [(a, ends), (b, starts), (c, ends2), (d, starts2)] = floods[..] else { panic!() };
    assert!(a == b && c == d && a != c, "{floods:?}");
    assert_eq!(
        [ends, starts, ends2, starts2],
        ["flood-ended", "flood-started", "flood-ended", "flood-started"]
    );
    assert!(seen.iter().all(|message| {
        let end = &message["body"]["ended_by"];
        end == &Value::Null || end == "stopped"
    }));
}

#[test]
fn alerts_can_be_tried_before_they_are_needed() {
    let (folder, receiver) =
        (Folder::new("alerts-try"), Receiver::start(SECRET, &["200", "500", "200"]));
    let alerts = webhook(&folder, receiver.address(), "syslog = '/nowhere/log'");
    let floodwall = Floodwall::start(&folder, "http://127.0.0.1:9", &flooded(&[], &alerts));
    let to = format!("webhook http://{}: ", receiver.address());
    let (well, said) = floodwall.tell(&["test-alert"]);
    assert!(!well, "syslog does not get it: {said}");
    assert!(said.contains(&format!("{to}sent\n")), "{said}");
    assert!(said.contains("syslog /nowhere/log: not delivered: No such file"), "{said}");
    let (_, said) = floodwall.tell(&["test-alert"]);
    assert!(said.contains(&format!("{to}not delivered: status 500")), "{said}");
    let seen = receiver.await_seen(2);
    assert_eq!(events(&seen), ["test", "test"]);
    assert_eq!(seen[0]["signed"], true);
    floodwall.configure(&flooded(&[], ""));
    assert!(floodwall.tell(&["reload"]).0);
    let (well, said) = floodwall.tell(&["test-alert"]);
    assert!(!well && said.contains("alerts go nowhere"), "{said}");
    // Where nothing runs, the file says where.
    assert!(floodwall.stop().success());
    let file = folder.path().join("alone.toml");
    let control = folder.path().join("alone.control");
    let alone = webhook(&folder, receiver.address(), "");
    fs::write(&file, format!("control = '{}'\n{alone}", control.display())).expect("a file");
    let output = Floodwall::program().arg("test-alert").arg("--config").arg(&file).output();
    let output = output.expect("floodwall runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("sent from here"), "{output:?}");
    assert_eq!(events(&receiver.await_seen(3)), ["test", "test", "test"]);
}

/// The exit code of `floodwall check`, and what it says.
fn check(folder: &Folder, configuration: &str) -> (Option<i32>, String) {
    let file = folder.path().join("checked.toml");
    fs::write(&file, configuration).expect("it can be written");
    let output = Floodwall::program().arg("check").arg("--config").arg(&file).output();
    let output = output.expect("floodwall runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).expect("UTF-8"))
}

#[test]
fn check_says_what_is_wrong_with_alerts() {
    let folder = Folder::new("alerts-check");
    let file = secret(&folder);
    let configuration = format!(
        "state = ''\n[alerts]\nwebhook = 'http://hooks.example.org/secret-path'\n\
         webhook_secret_file = '{}'\nsyslog = '/dev/log'\n",
        file.display()
    );
    let (code, said) = check(&folder, &configuration);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("whoever is in between can read what is posted"), "{said}");
    assert!(said.contains("alerts    webhook http://hooks.example.org, syslog /dev/log"), "{said}");
    assert!(!said.contains("secret-path") && !said.contains("is everybody's"), "{said}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("it is ours");
    let (code, said) = check(&folder, &configuration);
    assert!(code == Some(0) && said.contains("is everybody's: chmod o= it"), "{said}");
    for (content, what) in [
        ("", "does not begin with whsec_"),
        ("whsec_?", "is not base64"),
        ("whsec_YWJj", "has not 24 to 64 bytes"),
    ] {
        fs::write(&file, content).expect("it is ours");
        let (code, said) = check(&folder, &configuration);
        assert!(code == Some(2) && said.contains(what), "{said}");
    }
    // The remedy that is told is one.
    fs::remove_file(&file).expect("it is there");
    let (code, said) = check(&folder, &configuration);
    assert_eq!(code, Some(2), "{said}");
    let remedy = said.lines().find_map(|line| line.trim().strip_prefix("= make one: "));
    let remedy = remedy.expect("a remedy");
    assert!(Command::new("sh").args(["-c", remedy]).status().expect("sh runs").success());
    let (code, said) = check(&folder, &configuration);
    assert_eq!(code, Some(0), "{said}");
    // A start ends with the same code, so that nobody tries it again.
    fs::remove_file(&file).expect("it is there");
    let configuration = format!("listen = '127.0.0.1:0'\n{configuration}");
    let (code, said) = Floodwall::refused(Floodwall::program(), &folder, &configuration);
    assert!(code == Some(2) && said.contains("cannot be read"), "{said}");
}

/// The process is not kept from anything by where alerts go: requests go on.
#[test]
fn nobody_waits_for_an_alert() {
    let (folder, receiver) = (Folder::new("alerts-wait"), Receiver::start(SECRET, &["hang"]));
    let alerts = webhook(&folder, receiver.address(), "timeout = '1m'");
    let rules: Vec<String> = (0..50).map(|number| format!("r{number}")).collect();
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let floodwall = Floodwall::start(&folder, "http://127.0.0.1:9", &flooded(&rules, &alerts));
    let began = Instant::now();
    rules.iter().for_each(|rule| flood(&floodwall, rule));
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}
