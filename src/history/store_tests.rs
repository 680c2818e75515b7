use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

use super::super::made::{BEGAN, Process, flood};
use super::super::minutes::Minutes;
use super::super::read::{ReadError, Reader, Span};
use super::super::schema::VERSION;
use super::super::{History, Settings};
use super::*;
use crate::guard::fact::{Event, Refusal};
use crate::guard::route::StandingWord;
use crate::telemetry::access::Verdict;
use crate::telemetry::kept::KeptCounts;

/// A folder of a test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("floodwall-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn history(&self) -> PathBuf {
        self.0.join("history")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const RUN: Run = Run { process: 1, began: BEGAN };

fn open(path: &Path) -> Store {
    Store::open(path, &RUN, BEGAN).expect("a history").0
}

fn refusal(path: &Path) -> OpenError {
    Store::open(path, &RUN, BEGAN).err().expect("nothing to write to")
}

/// A minute, so many after the beginning, in which this many were refused on so many routes.
fn minute(number: u64, refused: u64, routes: u64) -> Minute {
    let mut process = Process::new();
    process.serve(refused, StandingWord::None, Verdict::Refused, 429);
    process.serve(refused, StandingWord::Known, Verdict::Forwarded, 200);
    for route in 0..routes {
        let refusal = Event::Refused(Refusal::ClientBudget);
        process.happen(refused, &format!("route{route}"), refusal);
    }
    let mut minutes = Minutes::new((BEGAN + number * 60) * 1_000);
    minutes.take(&process.at(number * 60 + 59))
}

fn span() -> Span {
    Span { from: BEGAN / 60 - 10_000, until: BEGAN / 60 + 10_000, step: 1, site: None }
}

fn refused(path: &Path) -> u64 {
    let reader = Reader::open(path).expect("a history");
    let rows = reader.exchanges(&span()).expect("rows");
    rows.iter().filter(|row| row.verdict == "refused").map(|row| row.count).sum()
}

fn states(path: &Path) -> Vec<String> {
    let floods = Reader::open(path).expect("a history").floods(&span()).expect("floods");
    floods.into_iter().map(|flood| flood.state).collect()
}

#[test]
fn processes_that_share_a_history_add_up() {
    let folder = Folder::new("history-shared");
    let path = folder.history();
    let (mut one, mut other) = (open(&path), {
        let run = Run { process: std::process::id(), began: BEGAN };
        Store::open(&path, &run, BEGAN).expect("a history").0
    });
    for number in 0..3 {
        one.write([&minute(number, 5, 1)], [], BEGAN, false).expect("it is written");
        other.write([&minute(number, 7, 1)], [], BEGAN, false).expect("it is written");
    }
    assert_eq!(refused(&path), 36);
    let mode = fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_a_dead_process_left_running_is_cut() {
    let folder = Folder::new("history-cut");
    let path = folder.history();
    let mut process = Process::new();
    process.floods = vec![("logout".to_owned(), flood(2, 3, 60))];
    let floods = Minutes::new(BEGAN * 1_000).look(&process.at(5)).floods;
    // A number that no process has.
    let dead = Run { process: u32::MAX / 2 - 1, began: BEGAN };
    let mut store = Store::open(&path, &dead, BEGAN).expect("a history").0;
    store.write([], &floods, BEGAN + 5, false).expect("it is written");
    drop(store);
    assert_eq!(states(&path), ["running"]);
    let run = Run { process: std::process::id(), began: BEGAN + 60 };
    let mut store = Store::open(&path, &run, BEGAN + 60).expect("a history").0;
    assert_eq!(states(&path), ["cut"]);
    // One whose process cannot be looked for is dead when it is not seen any more.
    let hidden = Run { process: std::process::id(), began: BEGAN };
    drop(Store::open(&path, &hidden, BEGAN + 60).expect("a history"));
    store.write([], &floods, BEGAN + 61, false).expect("it is written");
    let mut third = Store::open(&path, &RUN, BEGAN + 62).expect("a history").0;
    third.write([], [], BEGAN + 61 + DEAD_AFTER, false).expect("it is written");
    assert_eq!(states(&path), ["cut", "running"]);
    third.write([], [], BEGAN + 62 + DEAD_AFTER, false).expect("it is written");
    assert_eq!(states(&path), ["cut", "cut"]);
    // It lives after all.
    store.write([], &floods, BEGAN + 300, false).expect("it is written");
    assert_eq!(states(&path), ["cut", "running"]);
    store.write([], [], BEGAN + 301, true).expect("it is written");
    assert_eq!(states(&path), ["cut", "cut"]);
}

#[test]
fn what_is_older_than_it_is_to_be_goes_and_so_does_its_room() {
    let folder = Folder::new("history-forget");
    let path = folder.history();
    let mut store = open(&path);
    let days: Vec<Minute> = (0..5_000).map(|number| minute(number, 1, 4)).collect();
    store.write(&days, [], BEGAN, false).expect("it is written");
    let full = fs::metadata(&path).expect("a file").len();
    let now = BEGAN + 5_000 * 60;
    store.forget(Duration::from_secs(3_600), now).expect("it is forgotten");
    assert_eq!(refused(&path), 60);
    let left = fs::metadata(&path).expect("a file").len();
    assert!(left < full / 5, "{left} of {full} bytes are left");
    // The module says what a row takes.
    let a_minute = (full - left) / 4_940;
    let rows = minute(0, 1, 4).rows() as u64;
    println!("{a_minute} bytes for {rows} rows");
    assert!(a_minute <= rows * 21, "{a_minute} bytes for {rows} rows");
}

#[test]
fn a_damaged_history_is_set_aside_and_nothing_else_is() {
    let folder = Folder::new("history-damaged");
    let path = folder.history();
    let all: Vec<Minute> = (0..2_000).map(|number| minute(number, 1, 3)).collect();
    open(&path).write(&all, [], BEGAN, false).expect("it is written");
    let whole = fs::read(&path).expect("a file");
    let mut torn = whole.clone();
    torn[8_192..whole.len() / 2].fill(0xa5);
    let mut headless = whole.clone();
    headless[..16].fill(0xa5);
    let damaged = [&torn[..], &headless, &whole[..20_000], &whole[..60], &[0; 4_096]];
    for (bytes, number) in damaged.into_iter().zip(0..) {
        fs::write(&path, bytes).expect("a file");
        let (mut store, aside) = Store::open(&path, &RUN, BEGAN + number).expect("a history");
        let aside = aside.expect("it is set aside");
        assert_eq!(fs::read(&aside).expect("it is there"), bytes);
        store.write([&minute(0, 1, 1)], [], BEGAN, false).expect("it is written");
        assert_eq!(refused(&path), 1);
    }
    // What history.file names by mistake.
    let long = "state = 'floodwall.state'\n".repeat(9);
    for text in [long.as_bytes(), b"x"] {
        fs::write(&path, text).expect("a file");
        assert!(matches!(refusal(&path), OpenError::Others));
        assert_eq!(fs::read(&path).expect("it is there"), text);
    }
    fs::remove_file(&path).expect("it is there");
    let other = Connection::open(&path).expect("a database");
    other.execute_batch("CREATE TABLE django_session (session_key TEXT)").expect("a table");
    assert!(matches!(refusal(&path), OpenError::Others));
    assert!(matches!(Reader::open(&path).err(), Some(ReadError::Others)));
}

#[test]
fn later_versions_links_and_what_is_no_file_are_left_alone() {
    let folder = Folder::new("history-later");
    let path = folder.history();
    drop(open(&path));
    let connection = Connection::open(&path).expect("a database");
    connection.pragma_update(None, "user_version", VERSION + 1).expect("it is written");
    drop(connection);
    assert!(matches!(refusal(&path), OpenError::Newer(version) if version == VERSION + 1));
    assert!(matches!(Reader::open(&path).err(), Some(ReadError::Newer(_))));
    let link = folder.0.join("link");
    symlink(&path, &link).expect("a link");
    assert!(matches!(refusal(&link), OpenError::Link));
    assert!(matches!(refusal(&folder.0), OpenError::NoFile));
    assert!(matches!(refusal(&folder.0.join("none/history")), OpenError::File(_)));
    assert!(matches!(Reader::open(&folder.0.join("none")).err(), Some(ReadError::Missing)));
    // An empty file is nobody's, and becomes one.
    fs::write(&path, "").expect("a file");
    drop(open(&path));
    assert_eq!(refused(&path), 0);
}

/// Between a writer that was killed in the middle of a transaction, and whoever reads next.
#[test]
fn what_was_half_written_is_undone_by_whoever_reads() {
    let folder = Folder::new("history-half");
    let path = folder.history();
    open(&path).write([&minute(0, 5, 1)], [], BEGAN, false).expect("it is written");
    let connection = Connection::open(&path).expect("a database");
    connection.execute_batch("PRAGMA cache_size = 1; BEGIN IMMEDIATE").expect("it is begun");
    let twice = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)
        INSERT INTO minute_exchange SELECT minute + i, site, standing, verdict, status, count
        FROM minute_exchange, n";
    connection.execute_batch(twice).expect("it is written");
    // What is on the disk now is what a kill leaves there.
    let killed = folder.0.join("killed");
    fs::copy(&path, &killed).expect("a copy");
    fs::copy(folder.0.join("history-journal"), folder.0.join("killed-journal")).expect("a copy");
    assert!(fs::metadata(&killed).expect("a file").len() > 100_000, "nothing was spilled");
    assert_eq!(refused(&killed), 5);
    drop(connection);
}

#[test]
fn minutes_wait_for_an_hour_while_there_is_no_place_for_them() {
    let folder = Folder::new("history-waiting");
    // There is no such folder yet.
    let place = folder.0.join("later");
    let file = place.join("history");
    let process = Arc::new(Process::new());
    let counts = Arc::new(KeptCounts::default());
    let settings = Settings { file: file.clone(), keep: Duration::from_secs(86_400) };
    let shown = Arc::clone(&process);
    let history = History::start(settings, Arc::clone(&counts), move || shown.at(0));
    let history = history.expect("a thread");
    for minute in 1..=70 {
        process.serve(1, StandingWord::None, Verdict::Refused, 429);
        history.note(process.at(minute * 60));
    }
    while counts.read().minutes_lost < 10 {
        std::thread::yield_now();
    }
    assert!(counts.read().failing);
    fs::create_dir(&place).expect("a folder");
    history.finish(process.at(4_260));
    let kept = counts.read();
    // The last one is written with the others, or behind them where they had been tried once more.
    assert!([10, 11].contains(&kept.minutes_lost), "{kept:?}");
    assert_eq!(kept.minutes, 71 - kept.minutes_lost);
    assert!(!kept.failing && kept.rows > 0 && kept.last_unix == Some(BEGAN + 4_260), "{kept:?}");
    // In the last minute nothing happened.
    assert_eq!(refused(&file), 70 - kept.minutes_lost);
}

/// What README says: a minute in which all kinds of things happened on six routes.
#[test]
fn a_busy_day_takes_a_megabyte_at_most() {
    let folder = Folder::new("day");
    let path = folder.history();
    let mut store = open(&path);
    let day: Vec<Minute> = (0..1_440).map(|number| minute(number, 100, 6)).collect();
    let rows = store.write(&day, [], BEGAN + 86_400, false).expect("it is written");
    drop(store);
    let bytes = fs::metadata(&path).expect("it is there").len();
    println!("a busy day: {rows} rows, {bytes} bytes");
    assert!(rows >= 1_440 * 8, "{rows} rows");
    assert!(bytes <= 1 << 20, "{bytes} bytes");
}
