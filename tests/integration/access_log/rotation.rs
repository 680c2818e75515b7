//! The file of the access log while operators, disks and readers of pipes do what they do.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::{application, file, logging, objects};
use crate::support::disk::Disk;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::sending::send;

/// Requests until told to stop, on two connections at once; how many were answered.
struct Traffic {
    sent: AtomicU64,
    over: AtomicBool,
}

impl Traffic {
    /// Runs `meanwhile`; every request must be answered with 200.
    fn during(floodwall: &Floodwall, meanwhile: impl FnOnce(&AtomicU64)) -> u64 {
        let traffic = Self { sent: AtomicU64::new(0), over: AtomicBool::new(false) };
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !traffic.over.load(Ordering::SeqCst) {
                        let answer = send(floodwall.target(), "GET /a", "");
                        assert_eq!(answer.status, 200);
                        traffic.sent.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            meanwhile(&traffic.sent);
            traffic.over.store(true, Ordering::SeqCst);
        });
        traffic.sent.into_inner()
    }
}

/// Waits for so many more requests.
fn await_more(sent: &AtomicU64, more: u64) {
    let before = sent.load(Ordering::SeqCst);
    await_that("no request is answered", || sent.load(Ordering::SeqCst) >= before + more);
}

fn forwarding(log: &str) -> String {
    format!("{log}[[rule]]\nname = 'all'\nprefix = '/'\naction = 'forward'\n")
}

/// By Debian's own logrotate, with the example of `config/`.
#[test]
fn logrotate_loses_no_line() {
    let (folder, application) = (Folder::new("logrotate"), application());
    let file = file(&folder);
    let configuration = forwarding(&logging("json", &file));
    let floodwall = Floodwall::start(&folder, application.upstream(), &configuration);
    let example = include_str!("../../../config/logrotate");
    let (paths, rest) = example.split_once(" {").expect("a block");
    let path = paths.lines().last().expect("a path");
    assert!(path.ends_with("/*.log"), "{path}");
    let kill = rest.lines().find(|line| line.contains("USR1")).expect("a signal");
    let own = example
        .replace(path, &file.display().to_string())
        .replace(kill, &format!("kill -USR1 {}", floodwall.process()));
    let own = own.lines().filter(|line| !line.trim_start().starts_with("su ")).collect::<Vec<_>>();
    let settings = folder.path().join("logrotate");
    fs::write(&settings, own.join("\n") + "\n").expect("it can be written");
    let rotations = 5;
    let sent = Traffic::during(&floodwall, |sent| {
        for _ in 0..rotations {
            await_more(sent, 50);
            await_that("nothing is written", || {
                fs::metadata(&file).is_ok_and(|file| file.len() > 0)
            });
            let status = Command::new("logrotate")
                .args(["--force", "--state"])
                .arg(folder.path().join("rotated"))
                .arg(&settings)
                .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
                .status()
                .expect("logrotate runs");
            assert!(status.success());
        }
        await_more(sent, 50);
    });
    assert!(floodwall.stop().success());
    let (mut lines, mut files) = (0, 0);
    for entry in fs::read_dir(folder.path()).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if !name.starts_with("access.log") {
            continue;
        }
        if name.ends_with(".gz") {
            let status = Command::new("gunzip").arg(&path).status().expect("gunzip runs");
            assert!(status.success());
        }
        lines += objects(&path.with_file_name(name.trim_end_matches(".gz"))).len() as u64;
        files += 1;
    }
    assert_eq!(files, rotations + 1);
    assert_eq!(lines, sent, "lines were lost, or written twice");
}

/// What the ordinary log says was dropped.
fn dropped(log: &str) -> u64 {
    let told = log.lines().filter(|line| line.contains("lines of the access log were dropped"));
    let line = |line: &str| -> Option<u64> {
        serde_json::from_str::<serde_json::Value>(line).ok()?["dropped"].as_u64()
    };
    told.filter_map(line).sum()
}

/// Every request is answered, and lines are dropped, counted and told of. What was written is whole.
fn costs_lines_only(folder: &Folder, file: &Path, read: impl FnOnce() -> u64) {
    let application = application();
    let configuration = forwarding(&logging("json", file));
    let mut floodwall = Floodwall::start(folder, application.upstream(), &configuration);
    let sent = Traffic::during(&floodwall, |sent| await_more(sent, 1000));
    floodwall.await_said("lines of the access log were dropped");
    let log = floodwall.log();
    assert!(log.contains("make room, or mend access_log.file"), "{log}");
    floodwall.signal("-TERM");
    floodwall.await_said("\"drained\"");
    let path = folder.path().join("log");
    floodwall.wait();
    let log = fs::read_to_string(path).expect("a log");
    assert_eq!(dropped(&log) + read(), sent, "{log}");
}

#[test]
fn a_full_disk_costs_lines_and_no_request() {
    let folder = Folder::new("access-full");
    costs_lines_only(&folder, Path::new("/dev/full"), || 0);
    // A disk with little room, where this machine lets one be made.
    let Some(disk) = Disk::mounted(&folder.path().join("disk"), 64) else {
        println!("no disk of 64 KiB can be mounted here: only /dev/full was tried");
        return;
    };
    let small = Folder::new("access-small");
    let file = disk.path().join("access.log");
    costs_lines_only(&small, &file, || {
        // What is cut where the disk ended is the line that was counted as dropped.
        let text = fs::read(&file).expect("it is there");
        let whole = text.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert!(whole > 0, "nothing was written");
        whole
    });
}

#[test]
fn a_fifo_that_nobody_reads_costs_lines_and_no_request() {
    let folder = Folder::new("access-fifo");
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
    // Opened by the test as well, so that what is in it does not go with its writer.
    let held = fs::File::options().read(true).write(true).open(&fifo).expect("a FIFO");
    costs_lines_only(&folder, &fifo, || {
        rustix::io::ioctl_fionbio(&held, true).expect("a FIFO");
        let mut text = Vec::new();
        let _ = std::io::Read::read_to_end(&mut &held, &mut text);
        text.iter().filter(|byte| **byte == b'\n').count() as u64
    });
}
