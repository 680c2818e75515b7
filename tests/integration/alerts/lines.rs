//! syslog and journald: what real ones make of what they are sent.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{flood, flooded, hostname};
use crate::support::address::own_address;
use crate::support::daemon::{Daemon, journald};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;

/// What rsyslog wrote of each message, by `name=[value]`.
fn syslogged(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_real_rsyslog_understands_what_it_gets() {
    let folder = Folder::new("syslog");
    // Its own of TCP; nobody has the same of UDP, for which hardly anybody asks.
    let (place, port) = (folder.path().display(), own_address().port());
    let file = folder.path().join("written");
    let configuration = format!(
        "module(load=\"imuxsock\" SysSock.Name=\"{place}/log\")\nmodule(load=\"imudp\")\n\
         input(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\")\n\
         template(name=\"all\" type=\"string\" string=\"version=%protocol-version% \
         facility=%syslogfacility-text% severity=%syslogseverity-text% host=%hostname% \
         program=%programname% process=%procid% id=%msgid% text=%msg%\\n\")\n\
         action(type=\"omfile\" file=\"{}\" template=\"all\")\n",
        file.display()
    );
    let configured = folder.path().join("rsyslog.conf");
    fs::write(&configured, configuration).expect("it can be written");
    let mut rsyslogd = Command::new("rsyslogd");
    rsyslogd.arg("-n").arg("-f").arg(configured).arg("-i").arg(folder.path().join("pid"));
    let socket = folder.path().join("log");
    let mut rsyslog = Daemon::start(rsyslogd, folder.path(), || socket.exists());
    for (to, version) in [(format!("{place}/log"), 0), (format!("udp://localhost:{port}"), 1)] {
        let before = syslogged(&file).len();
        let own = Folder::new("syslog-one");
        let alerts = format!("[alerts]\nsyslog = '{to}'\n");
        let floodwall =
            Floodwall::start(&own, "http://127.0.0.1:9", &flooded(&["logout"], &alerts));
        flood(&floodwall, "logout");
        rsyslog.until(|| syslogged(&file).len() == before + 2);
        let lines = syslogged(&file);
        let (process, host) = (floodwall.process(), hostname());
        for (line, severity, subject) in
            [(&lines[before], "warning", "started"), (&lines[before + 1], "notice", "ended")]
        {
            let id = if version == 1 { format!("flood-{subject}") } else { "-".to_owned() };
            let expected = format!(
                "version={version} facility=daemon severity={severity} host={host} \
                 program=floodwall process={process} id={id} text="
            );
            assert!(line.starts_with(&expected), "{to}: {line}");
            let text = line[expected.len()..].trim_start();
            let begins = format!("Floodwall on {host}: flood {subject}");
            assert!(text.starts_with(&begins) && text.contains("route logout"), "{line}");
        }
    }
}

/// A syslog that is restarted: its socket is gone for a while.
#[test]
fn a_syslog_that_was_away_gets_what_it_has_missed() {
    let folder = Folder::new("syslog-away");
    let socket = folder.path().join("syslog");
    let alerts = format!("[alerts]\nsyslog = '{}'\n", socket.display());
    let mut floodwall =
        Floodwall::start(&folder, "http://127.0.0.1:9", &flooded(&["logout"], &alerts));
    flood(&floodwall, "logout");
    floodwall.await_said("an alert was not delivered");
    let listening = UnixDatagram::bind(&socket).expect("a socket");
    for begins in ["<28>floodwall[", "<29>floodwall["] {
        let mut bytes = [0; 4096];
        let length = listening.recv(&mut bytes).expect("a message");
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        assert!(text.starts_with(begins), "{text}");
    }
}

#[test]
fn a_real_journald_gets_fields_and_a_syslog_of_its_own_a_line() {
    let folder = Folder::new("journald");
    let (mut daemon, place) = journald(folder.path());
    let (socket, log) = (place.socket(), place.syslog());
    let (socket, log) = (socket.display(), log.display());
    let alerts = format!("[alerts]\njournald = '{socket}'\nsyslog = '{log}'\n");
    let own = Folder::new("journald-one");
    let floodwall = Floodwall::start(&own, "http://127.0.0.1:9", &flooded(&["logout"], &alerts));
    flood(&floodwall, "logout");
    daemon.until(|| place.entries("floodwall").len() == 4);
    let by = |transport: &str| -> Vec<Value> {
        let all = place.entries("floodwall").into_iter();
        all.filter(|entry| entry["_TRANSPORT"] == transport).collect()
    };
    let [start, end] = &by("journal")[..] else { panic!("two: {:?}", place.entries("floodwall")) };
    assert_eq!((&start["PRIORITY"], &end["PRIORITY"]), (&"4".into(), &"5".into()));
    assert_eq!(start["MESSAGE_ID"], "4d0a06dd17144910a7607516387572f5");
    assert_eq!(end["MESSAGE_ID"], "f77adf0e495146eda710d8ddab814e8f");
    assert_eq!(start["FLOODWALL_FLOOD"], end["FLOODWALL_FLOOD"]);
    for (field, value) in [
        ("FLOODWALL_ALERT", "flood-ended"),
        ("FLOODWALL_SITE", "default"),
        ("FLOODWALL_ROUTE", "logout"),
        ("FLOODWALL_EVENTS", "5"),
        ("FLOODWALL_CLIENTS", "1"),
        ("FLOODWALL_CREATED", "0"),
    ] {
        assert_eq!(end[field], value, "{field}");
    }
    let lines = by("syslog");
    assert_eq!(lines.len(), 2);
    for (line, field) in lines.iter().zip([start, end]) {
        assert_eq!(line["MESSAGE"], field["MESSAGE"]);
        assert_eq!(line["SYSLOG_PID"], floodwall.process().to_string());
    }
    // One that is stopped takes nothing, and costs nothing but alerts.
    daemon.stop();
    flood(&floodwall, "logout");
    await_that("nothing is said", || floodwall.log().contains("an alert was not delivered"));
}
