//! A history whose file, disk or process comes to grief: it costs history, and no request.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{TIGHT, history, json, number};
use crate::support::disk::Disk;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::shop::{ask, connect, shop, status};

/// How long a process may take to end that has nothing else to do.
const ENDS: Duration = Duration::from_secs(20);

fn asked(floodwall: &Floodwall, times: u64) -> Vec<String> {
    let one = |_| status(&ask(&mut connect(floodwall.address()), "a", "/", "x=1")).to_owned();
    (0..times).map(one).collect()
}

/// A flood runs in it, which no process ends.
#[test]
fn after_a_kill_the_next_start_finds_the_flood_cut() {
    let folder = Folder::new("history-kill");
    let shop = shop();
    let floodwall = Floodwall::start(&folder, shop.upstream(), TIGHT);
    let file = history(&folder);
    asked(&floodwall, 60);
    // A reload has everything written that has happened.
    assert!(floodwall.tell(&["reload"]).0);
    let running = "SELECT count(*) FROM floods WHERE state = 'running'";
    await_that("no flood is written", || {
        fs::metadata(&file).is_ok_and(|file| file.len() > 0) && number(&file, running) == 1
    });
    assert_eq!(json(&file)["floods"][0]["state"], "running");
    floodwall.kill();
    assert_eq!(number(&file, "SELECT sum(count) FROM exchanges"), 60, "it was written before");
    let floodwall = Floodwall::start(&folder, shop.upstream(), TIGHT);
    await_that("the flood is not cut", || number(&file, running) == 0);
    assert_eq!(json(&file)["floods"][0]["state"], "cut");
    let refused = asked(&floodwall, 9).iter().filter(|status| **status == "429").count();
    assert!(floodwall.stop().success());
    assert_eq!(number(&file, "SELECT sum(count) FROM exchanges"), 69);
    assert_eq!(json(&file)["records_prevented"], 57 + refused);
}

#[test]
fn a_full_disk_costs_no_request_and_what_waited_is_written_once_there_is_room() {
    let folder = Folder::new("history-full");
    let Some(disk) = Disk::mounted(&folder.path().join("disk"), 256) else {
        println!("no disk of 256 KiB can be mounted here: nothing was tried");
        return;
    };
    let shop = shop();
    let file = disk.path().join("history");
    let configuration = format!("[history]\nfile = '{}'\n{TIGHT}", file.display());
    let mut floodwall = Floodwall::start(&folder, shop.upstream(), &configuration);
    await_that("there is no history", || fs::metadata(&file).is_ok_and(|file| file.len() > 0));
    let ballast = disk.path().join("ballast");
    let _ = fs::write(&ballast, vec![1; 1 << 20]);
    assert_eq!(asked(&floodwall, 10).iter().filter(|status| **status == "429").count(), 7);
    assert!(floodwall.tell(&["reload"]).0);
    floodwall.await_said("the history cannot be written: requests are served all the same");
    assert!(floodwall.log().contains("\"remedy\":\"make room\""), "{}", floodwall.log());
    asked(&floodwall, 10);
    for _ in 0..3 {
        assert!(floodwall.tell(&["reload"]).0);
    }
    let (_, said) = floodwall.tell(&["status", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["history"]["failing"], true, "{said}");
    fs::remove_file(&ballast).expect("it is there");
    asked(&floodwall, 5);
    assert!(floodwall.tell(&["reload"]).0);
    floodwall.await_said("the history is written again");
    assert_eq!(floodwall.log().matches("the history cannot be written").count(), 1);
    assert!(floodwall.stop().success());
    assert_eq!(number(&file, "SELECT sum(count) FROM exchanges"), 25);
}

#[test]
fn a_damaged_history_is_set_aside_and_begun_anew() {
    let folder = Folder::new("history-damaged");
    let shop = shop();
    let file = history(&folder);
    let floodwall = Floodwall::start(&folder, shop.upstream(), TIGHT);
    asked(&floodwall, 10);
    assert!(floodwall.stop().success());
    let mut bytes = fs::read(&file).expect("a history");
    bytes[4_096..].fill(0x5a);
    fs::write(&file, &bytes).expect("a file");
    let (code, _, err) = super::report(&["--file", file.to_str().expect("UTF-8")]);
    assert_eq!(code, 1);
    assert!(err.contains("sets a damaged history aside"), "{err}");
    let mut floodwall = Floodwall::start(&folder, shop.upstream(), TIGHT);
    floodwall.await_said("the history was damaged: it is set aside, and begun anew");
    assert_eq!(asked(&floodwall, 2), ["429", "429"]);
    assert!(floodwall.stop().success());
    assert_eq!(number(&file, "SELECT sum(count) FROM exchanges"), 2);
    let aside = fs::read_dir(folder.path())
        .expect("a folder")
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with("state.history.damaged-"));
    assert_eq!(fs::read(aside.expect("it is there").path()).expect("it can be read"), bytes);
}

/// Damaged, moved and replaced while it is written.
#[test]
fn a_history_may_be_moved_away_or_trampled_on_while_it_runs() {
    let folder = Folder::new("history-moved");
    let shop = shop();
    let file = history(&folder);
    let mut floodwall = Floodwall::start(&folder, shop.upstream(), TIGHT);
    let written = || {
        fs::metadata(&file).is_ok_and(|file| file.len() > 0)
            && number(&file, "SELECT count(*) FROM exchanges") > 0
    };
    asked(&floodwall, 4);
    assert!(floodwall.tell(&["reload"]).0);
    await_that("nothing is written", written);
    fs::rename(&file, folder.path().join("kept")).expect("it is there");
    asked(&floodwall, 3);
    assert!(floodwall.tell(&["reload"]).0);
    floodwall.await_said("the history is gone, moved or replaced: it is begun anew");
    await_that("nothing is written", written);
    assert_eq!(number(&file, "SELECT sum(count) FROM exchanges"), 3);
    assert_eq!(number(&folder.path().join("kept"), "SELECT sum(count) FROM exchanges"), 4);
    let trampled = vec![0; usize::try_from(fs::metadata(&file).expect("it").len()).expect("short")];
    fs::write(&file, trampled).expect("a file");
    asked(&floodwall, 2);
    assert!(floodwall.tell(&["reload"]).0);
    floodwall.await_said("the history was damaged: it is set aside, and begun anew");
    assert!(floodwall.stop().success());
    assert_eq!(number(&file, "SELECT sum(count) FROM exchanges"), 2);
}

#[test]
fn what_cannot_be_a_history_is_told_and_left_alone() {
    let folder = Folder::new("history-others");
    let shop = shop();
    let page = folder.path().join("page");
    fs::write(&page, "<!doctype html>").expect("a file");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&page, &link).expect("a link");
    for (file, why) in [
        (page.clone(), "another program's file"),
        (link, "it is a symbolic link"),
        (folder.path().join("none/history"), "make its folder"),
        (PathBuf::from("/proc/history"), "history.file"),
        (PathBuf::from("/dev/full"), "it is no file"),
    ] {
        let own = Folder::new("history-others");
        let configuration = format!("[history]\nfile = '{}'\n{TIGHT}", file.display());
        let mut floodwall = Floodwall::start(&own, shop.upstream(), &configuration);
        floodwall.await_said("the history cannot be written");
        assert!(floodwall.log().contains(why), "{}", floodwall.log());
        assert_eq!(asked(&floodwall, 1), ["200"]);
        assert!(floodwall.stop().success());
    }
    assert_eq!(fs::read_to_string(&page).expect("it is there"), "<!doctype html>");
}

/// Whoever reads does not keep it from writing for long; whoever keeps it locked is waited for only
/// so long.
#[test]
fn who_keeps_it_locked_delays_no_request_and_no_end() {
    let folder = Folder::new("history-locked");
    let shop = shop();
    let file = history(&folder);
    let mut floodwall = Floodwall::start(&folder, shop.upstream(), TIGHT);
    asked(&floodwall, 4);
    assert!(floodwall.tell(&["reload"]).0);
    await_that("nothing is written", || {
        fs::metadata(&file).is_ok_and(|file| file.len() > 0)
            && number(&file, "SELECT count(*) FROM exchanges") > 0
    });
    let _holder = Holder::start(
        &file,
        "file = sqlite3.connect(sys.argv[1]); \
                                        file.execute('BEGIN EXCLUSIVE')",
    );
    assert_eq!(asked(&floodwall, 3), ["429"; 3]);
    let (code, _, err) = super::report(&["--file", file.to_str().expect("UTF-8")]);
    assert_eq!(code, 1);
    assert!(err.contains("another program keeps it locked"), "{err}");
    let began = Instant::now();
    floodwall.signal("-TERM");
    floodwall.await_said("the history cannot be written");
    assert!(floodwall.wait().success());
    assert!(began.elapsed() < ENDS, "{:?}", began.elapsed());
}

/// A file that cannot be opened: somebody has a lease on it, and does not answer.
#[test]
fn a_file_that_hangs_keeps_neither_requests_nor_the_end() {
    let folder = Folder::new("history-hangs");
    let shop = shop();
    let file = history(&folder);
    fs::write(&file, "").expect("a file");
    let _holder = Holder::start(
        &file,
        "signal.signal(signal.SIGIO, signal.SIG_IGN); \
                                        file = open(sys.argv[1], 'r+'); \
                                        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)",
    );
    let floodwall = Floodwall::start(&folder, shop.upstream(), TIGHT);
    assert_eq!(asked(&floodwall, 5), ["200", "200", "200", "429", "429"]);
    assert!(floodwall.tell(&["reload"]).0);
    let began = Instant::now();
    let log = folder.path().join("log");
    assert!(floodwall.stop().success());
    assert!(began.elapsed() < ENDS, "{:?}", began.elapsed());
    let log = fs::read_to_string(log).expect("a log");
    assert!(log.contains("is not waited for"), "{log}");
    assert!(log.contains("the state is saved"), "{log}");
}

/// A program that does something to a file, and stays until this is dropped.
struct Holder(Child);

impl Holder {
    fn start(file: &Path, what: &str) -> Self {
        let script = format!(
            "import fcntl, signal, sqlite3, sys\n{what}\nprint('ready', flush=True)\nsys.stdin.read()"
        );
        let mut child = Command::new("python3")
            .args(["-c", &script])
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 runs");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        out.read_line(&mut line).expect("it speaks");
        assert_eq!(line, "ready\n");
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
