//! Debian's fail2ban with the filter and the jail of `config/fail2ban`.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use super::{FLOODER, PREFIX, VICTIM, application, configuration, lines, of, rounds};
use crate::support::daemon::{Daemon, journald};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;

fn example(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/fail2ban").join(name)
}

/// What fail2ban-regex finds by our filter: the addresses, one for each line.
fn found(arguments: &[&str], log: &str) -> Vec<String> {
    let output = Command::new("fail2ban-regex")
        .args(["--out", "ip"])
        .args(arguments)
        .arg(log)
        .arg(example("filter.d/floodwall.conf"))
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .output()
        .expect("fail2ban-regex runs; remedy: tests/tools/provision");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(wrong.is_empty() && !said.contains("ERROR"), "{said}{wrong}");
    said.lines().map(str::to_owned).collect()
}

/// Debian's own configuration in a folder, with our jail, whose action writes a line for each ban.
fn configured(folder: &Path, log: &Path) -> std::path::PathBuf {
    let own = folder.join("fail2ban");
    let copied = Command::new("cp").args(["-r", "/etc/fail2ban"]).arg(&own).status();
    assert!(copied.expect("cp runs").success());
    // What else would be watched of this machine.
    let _ = fs::remove_file(own.join("jail.d/defaults-debian.conf"));
    for name in ["filter.d/floodwall.conf", "jail.d/floodwall.conf"] {
        fs::copy(example(name), own.join(name)).expect("it can be copied");
    }
    let place = folder.display();
    let write = |name: &str, text: String| fs::write(own.join(name), text).expect("it is ours");
    write(
        "action.d/record.conf",
        format!("[Definition]\nactionban = echo <ip> >>{place}/banned\nactionunban =\n"),
    );
    write("jail.local", format!("[floodwall]\nlogpath = {}\naction = record\n", log.display()));
    write(
        "fail2ban.local",
        format!(
            "[Definition]\nlogtarget = STDERR\nsyslogsocket = auto\nsocket = {place}/sock\n\
             pidfile = {place}/pid\ndbfile = None\n"
        ),
    );
    own
}

#[test]
fn a_jail_bans_a_flooder_and_nobody_else() {
    let (folder, application) = (Folder::new("fail2ban"), application());
    let file = folder.path().join("refused.log");
    let sample = format!("file = '{}'", file.display());
    let floodwall = Floodwall::start(&folder, application.upstream(), &configuration(&sample));
    let mut server = Command::new("fail2ban-server");
    server.arg("-f").arg("-c").arg(configured(folder.path(), &file));
    let socket = folder.path().join("sock");
    let pinged = || {
        let mut client = Command::new("fail2ban-client");
        client.arg("-s").arg(&socket).args(["status", "floodwall"]);
        client.env("PATH", "/usr/local/bin:/usr/bin:/bin");
        socket.exists() && client.output().expect("it runs").status.success()
    };
    let mut jail = Daemon::start(server, folder.path(), pinged);
    let banned = || {
        let text = fs::read_to_string(folder.path().join("banned")).unwrap_or_default();
        let mut all: Vec<String> = text.lines().map(str::to_owned).collect();
        all.sort_unstable();
        all
    };
    rounds(&floodwall, || of(&lines(&file), FLOODER) >= 5 && of(&lines(&file), PREFIX) >= 5);
    jail.until(|| banned().len() >= 2);
    assert_eq!(banned(), [PREFIX, FLOODER], "{}", jail.said());
    jail.stop();
    // What the jail goes by, counted.
    assert!(floodwall.stop().success());
    let lines = lines(&file);
    let mut expected: Vec<&str> = Vec::new();
    let own = lines.iter().filter(|line| line["reason"] == "client-budget");
    expected.extend(own.map(|line| &*line["client"]));
    assert_eq!(found(&[], &file.display().to_string()), expected);
    assert!(of(&lines, VICTIM) > 0, "the victim is named, for another reason");
}

/// Without a file: as `backend = systemd` reads them, from a real journald.
#[test]
fn lines_of_the_journal_are_found_too() {
    let (folder, application) = (Folder::new("fail2ban-journal"), application());
    let floodwall = Floodwall::start(&folder, application.upstream(), &configuration(""));
    let named = |log: &str| log.matches(&format!("\"refused client={FLOODER} ")).count();
    rounds(&floodwall, || named(&floodwall.log()) >= 2);
    let log = floodwall.log();
    let is_own = |line: &&str| {
        line.contains("\"message\":\"refused ") && line.contains(" reason=client-budget ")
    };
    let own = log.lines().filter(is_own).count();
    let (mut daemon, place) = journald(folder.path());
    let sender = UnixDatagram::unbound().expect("a socket");
    for line in log.lines() {
        // As journald has what a service writes to standard error.
        let entry = format!("MESSAGE={line}\nSYSLOG_IDENTIFIER=floodwall\nSYSLOG_PID=7\n");
        sender.send_to(entry.as_bytes(), place.socket()).expect("journald takes it");
    }
    daemon.until(|| place.entries("floodwall").len() == log.lines().count());
    let journal = place.journal().expect("there is one");
    let source = format!("systemd-journal[journalpath={}]", journal.display());
    let arguments = ["--journalmatch", "SYSLOG_IDENTIFIER=floodwall"];
    let mut found = found(&arguments, &source);
    assert_eq!(found.len(), own, "{found:?}\n{log}");
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, [PREFIX, FLOODER]);
}
