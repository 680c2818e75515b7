//! Alerts of the program, taken by a webhook of another language, a real rsyslog and a real journald.

mod lines;
mod operators;
mod trouble;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::receiver::Receiver;
use crate::support::sending::send;

/// Of base64 that `openssl rand` made.
pub const SECRET: &str = "whsec_Nj3oOqpD0TmQx1oRZfGZbJm3tWw5e1m5Q7oVbq0pZ3k=";

/// Nobody is to see it.
const HIDDEN: &str = "/services/T0/B0/hidden";

/// Three requests that the proxy answers itself make a flood, of the rule of their path.
pub fn flooded(rules: &[&str], alerts: &str) -> String {
    let rules: String = rules
        .iter()
        .map(|name| {
            format!(
                "[[rule]]\nname = '{name}'\npath = '/{name}/'\naction = 'answer'\n\
                 answer = {{ status = 204 }}\n"
            )
        })
        .collect();
    format!("[log]\nflood_events = 3\nflood_quiet = '1s'\n{alerts}{rules}")
}

/// Alerts to this webhook, signed, with these keys besides.
pub fn webhook(folder: &Folder, address: SocketAddr, more: &str) -> String {
    let secret = secret(folder);
    format!(
        "[alerts]\nwebhook = 'http://{address}{HIDDEN}'\n\
         webhook_secret_file = '{}'\n{more}\n",
        secret.display()
    )
}

/// A file with the secret that nobody else reads.
pub fn secret(folder: &Folder) -> PathBuf {
    let file = folder.path().join("secret");
    fs::write(&file, format!("{SECRET}\n")).expect("it can be written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
    file
}

/// A flood begins.
pub fn flood(floodwall: &Floodwall, rule: &str) {
    for _ in 0..5 {
        assert_eq!(send(floodwall.target(), &format!("GET /{rule}/"), "").status, 204);
    }
}

/// What the messages are about, in their order.
fn events(seen: &[Value]) -> Vec<&str> {
    seen.iter().map(|seen| seen["body"]["event"].as_str().expect("an event")).collect()
}

#[test]
fn the_beginning_and_the_end_of_a_flood_are_posted_and_signed() {
    let (folder, receiver) = (Folder::new("alerts"), Receiver::start(SECRET, &["200"]));
    let configuration = flooded(&["logout"], &webhook(&folder, receiver.address(), ""));
    let floodwall = Floodwall::start(&folder, "http://127.0.0.1:9", &configuration);
    flood(&floodwall, "logout");
    let seen = receiver.await_seen(2);
    assert_eq!(events(&seen), ["flood-started", "flood-ended"]);
    let [start, end] = &seen[..] else { panic!("two: {seen:?}") };
    for message in [start, end] {
        assert_eq!(message["signed"], true, "{message}");
        assert_eq!(message["line"], format!("POST {HIDDEN} HTTP/1.1"));
        assert_eq!(message["headers"]["content-type"], "application/json");
    }
    let (first, last) = (&start["body"], &end["body"]);
    assert_eq!(first["flood"], last["flood"]);
    assert_ne!(start["headers"]["webhook-id"], end["headers"]["webhook-id"]);
    for (field, value) in
        [("site", "default"), ("route", "logout"), ("host", &*hostname()), ("started_at", "")]
    {
        assert_eq!(first[field], last[field], "{field}");
        assert!(value.is_empty() || first[field] == value, "{field}: {first}");
    }
    assert_eq!((&first["events"], &last["events"]), (&3.into(), &5.into()));
    assert_eq!(
        (&last["answered"], &last["enforced"], &last["observed"]),
        (&5.into(), &5.into(), &0.into())
    );
    assert_eq!((&first["ended_at"], &first["ended_by"]), (&Value::Null, &Value::Null));
    assert_eq!(last["ended_by"], "quiet");
    assert_eq!(last["top_clients"][0]["client"], "127.0.0.1");
    assert_eq!(last["clients"], 1);
    let text = last["text"].as_str().expect("a line");
    assert!(text.contains("flood ended") && text.contains("route logout"), "{text}");
    for time in ["time", "started_at", "ended_at"] {
        let written = last[time].as_str().expect("a time");
        assert!(python_reads(written), "{time}: {written}");
    }
    let log = floodwall.log();
    assert!(!log.contains("hidden") && !log.contains(&SECRET[6..]), "{log}");
    assert!(floodwall.stop().success());
    assert_eq!(receiver.seen().len(), 2);
}

fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").expect("a name").trim().to_owned()
}

/// Whether Python takes it for a time of today, in UTC.
fn python_reads(time: &str) -> bool {
    let script = "import sys, datetime as d\n\
                  then = d.datetime.fromisoformat(sys.argv[1].replace('Z', '+00:00'))\n\
                  sys.exit(abs((d.datetime.now(d.timezone.utc) - then).total_seconds()) > 600)";
    let status = std::process::Command::new("python3").args(["-c", script, time]).status();
    status.expect("python3 runs").success()
}
