//! Lines as they are read, and what becomes of those that cannot be written.

#![allow(clippy::disallowed_methods, reason = "deadlines of tests are of the real clock")]

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Instant;

use super::*;

fn exchange() -> Exchange<'static> {
    Exchange {
        // As `date -u -d @1798761599.042` has it: 2026-12-31T23:59:59.042Z.
        began_unix_ms: 1_798_761_599_042,
        duration: Duration::from_micros(12_345),
        site: Some("shop"),
        client: "203.0.113.7".parse().expect("an address"),
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        request: Some(RequestLine { method: "GET", target: "/a/?b=1", protocol: "HTTP/1.1" }),
        host: Some(b"example.org"),
        user_agent: Some(b"curl/8"),
        referer: None,
        status: 200,
        bytes: 17,
        upstream: Some("127.0.0.1:8000"),
        upstream_time: Some(Duration::from_millis(3)),
        standing: Some(StandingWord::None),
        route: Some("logout"),
        class: None,
        verdict: Some(Verdict::Recycled),
        why: None,
        aborted: false,
        trace: None,
        stands_in: false,
    }
}

fn rendered(format: Format, exchange: &Exchange<'_>) -> String {
    let mut out = Vec::new();
    render::line(format, exchange, &mut out);
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn each_format_has_its_fields() {
    let common = "203.0.113.7 - - [31/Dec/2026:23:59:59 +0000] \"GET /a/?b=1 HTTP/1.1\" 200 17";
    assert_eq!(rendered(Format::Common, &exchange()), format!("{common}\n"));
    assert_eq!(rendered(Format::Combined, &exchange()), format!("{common} \"-\" \"curl/8\"\n"));
    assert_eq!(rendered(Format::Off, &exchange()), "");
    assert_eq!(
        rendered(Format::Json, &exchange()),
        "{\"time\":\"2026-12-31T23:59:59.042Z\",\"site\":\"shop\",\"client\":\"203.0.113.7\",\
         \"peer\":\"127.0.0.1\",\"method\":\"GET\",\"host\":\"example.org\",\"path\":\"/a/?b=1\",\
         \"protocol\":\"HTTP/1.1\",\"status\":200,\"bytes\":17,\"duration_ms\":12.345,\
         \"upstream_ms\":3.000,\"upstream\":\"127.0.0.1:8000\",\"standing\":\"none\",\
         \"route\":\"logout\",\"class\":null,\"verdict\":\"recycled\",\"why\":null,\"aborted\":false,\
         \"user_agent\":\"curl/8\",\"referer\":null}\n"
    );
    let unread = Exchange { request: None, status: 400, bytes: 0, ..exchange() };
    assert!(rendered(Format::Common, &unread).ends_with("] \"-\" 400 0\n"));
}

#[test]
fn whatever_the_bytes_are_a_line_is_one_line_and_json_is_json() {
    let all: Vec<u8> = (0..=255).chain("\u{9b}31m \u{202e}\u{2028}ü\"\\".bytes()).collect();
    let hostile = Exchange {
        host: Some(&all),
        user_agent: Some(&all),
        referer: Some(&all),
        request: Some(RequestLine {
            method: "X\"Y",
            target: "/\"\\\u{7f}\u{9b}",
            protocol: "HTTP/1.1",
        }),
        ..exchange()
    };
    for format in [Format::Common, Format::Combined, Format::Json] {
        let line = rendered(format, &hostile);
        let bare = line.strip_suffix('\n').expect("an end");
        assert!(!bare.contains(|char: char| char.is_control()), "{line:?}");
    }
    let quoted = Exchange { user_agent: Some(b"a\"\\\xff\x1f"), ..exchange() };
    assert!(rendered(Format::Combined, &quoted).ends_with(" \"a\\x22\\x5C\\xFF\\x1F\"\n"));
    let line = rendered(Format::Combined, &hostile);
    assert!(line.is_ascii());
    assert_eq!(line.matches('"').count(), 6, "{line}");
    let json: serde_json::Value =
        serde_json::from_str(&rendered(Format::Json, &hostile)).expect("JSON");
    assert_eq!(json["path"], "/\"\\\u{7f}\u{9b}");
    assert_eq!(json["user_agent"], String::from_utf8_lossy(&all).as_ref());
}

#[test]
fn no_line_is_long_whatever_was_sent() {
    let long = vec![0x01; 1 << 20];
    let path = format!("/{}", "\"".repeat(1 << 16));
    let hostile = Exchange {
        host: Some(&long),
        user_agent: Some(&long),
        referer: Some(&long),
        request: Some(RequestLine { method: &path, target: &path, protocol: "HTTP/1.1" }),
        ..exchange()
    };
    for format in [Format::Combined, Format::Json] {
        let length = rendered(format, &hostile).len();
        assert!(length < 48 << 10, "{length}");
    }
}

/// A log into a file of its own, and that file.
fn log(name: &str) -> (AccessLog, PathBuf) {
    let path = std::env::temp_dir().join(format!("floodwall-access-{name}-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    (AccessLog::off(), path)
}

fn moment() -> Moment {
    Moment::from_nanos(0).after(Moment::HEADROOM)
}

fn warnings(log: &AccessLog) -> Vec<String> {
    let capture = crate::telemetry::tests::Capture::new(
        crate::telemetry::logs::Format::Text,
        crate::telemetry::logs::Level::Info,
    );
    capture.lines(|| log.finish(moment()))
}

#[test]
fn lines_of_all_lanes_reach_the_file_and_none_while_it_is_off() {
    let (log, path) = log("lanes");
    let lanes: Vec<Arc<Lane>> = (0..3).map(|_| log.lane()).collect();
    assert!(!lanes[0].is_on());
    log.put(Format::Common, Some(&path)).expect("it can be opened");
    std::thread::scope(|scope| {
        for lane in &lanes {
            scope.spawn(|| (0..1000).for_each(|_| lane.log(&exchange())));
        }
    });
    assert_eq!(warnings(&log), Vec::<String>::new());
    let text = fs::read_to_string(&path).expect("it is there");
    let line = rendered(Format::Common, &exchange());
    assert_eq!(text, line.repeat(3000));
    fs::remove_file(path).expect("it is there");
}

/// Nothing is lost between the files of a rotation, and each line is in one of them.
#[test]
fn a_file_is_opened_anew_and_another_put_in_force_without_losing_a_line() {
    let (log, path) = log("reopened");
    let lane = log.lane();
    log.put(Format::Common, Some(&path)).expect("it can be opened");
    let files: Vec<PathBuf> =
        (0..5).map(|number| path.with_extension(number.to_string())).collect();
    let written = |file: &Path| fs::read(file).map_or(0, |text| lines(&text));
    for file in &files {
        (0..100).for_each(|_| lane.log(&exchange()));
        fs::rename(&path, file).expect("it is there");
        log.reopen();
        while !path.exists() {
            std::thread::yield_now();
        }
        assert_eq!(written(file), 100, "what came before goes to the file before");
    }
    let last = path.with_extension("last");
    (0..100).for_each(|_| lane.log(&exchange()));
    log.put(Format::Common, Some(&last)).expect("it can be opened");
    (0..100).for_each(|_| lane.log(&exchange()));
    assert_eq!(warnings(&log), Vec::<String>::new());
    // What comes while the other is put in force goes to either.
    assert!(written(&path) >= 100);
    assert_eq!(written(&path) + written(&last), 200);
    for file in files.iter().chain([&path, &last]) {
        fs::remove_file(file).expect("it is there");
    }
}

#[test]
fn a_full_disk_and_a_fifo_that_nobody_reads_cost_lines_and_no_time() {
    let (full, _) = log("full");
    full.put(Format::Json, Some(Path::new("/dev/full"))).expect("it can be opened");
    let (fifo, path) = log("fifo");
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
    assert!(made.success());
    fifo.put(Format::Json, Some(&path)).expect("it can be opened");
    for (log, most) in [(full, 0), (fifo, 64 << 10)] {
        let lane = log.lane();
        let number = 3000;
        (0..number).for_each(|_| lane.log(&exchange()));
        let begun = Instant::now();
        let said = warnings(&log);
        assert!(begun.elapsed() < LAST_PATIENCE, "it was waited for");
        assert_eq!(said.len(), 1, "{said:?}");
        let dropped = said[0].split("dropped=").nth(1).and_then(|rest| rest.split(' ').next());
        let dropped: u64 = dropped.and_then(|text| text.parse().ok()).expect("a number");
        let kept = number - dropped;
        let line = rendered(Format::Json, &exchange()).len() as u64;
        assert!(kept * line <= most, "{kept} lines were written");
        assert!(most == 0 || kept > 0, "{kept} lines were written");
        assert!(said[0].contains("make room, or mend access_log.file"), "{said:?}");
    }
    fs::remove_file(path).expect("it is there");
}

/// One whose reader stalls: the writer hangs in its write, and nobody else does.
#[test]
fn a_writer_that_hangs_holds_up_nobody_and_what_it_cannot_take_is_counted() {
    let (reader, held) = std::io::pipe().expect("a pipe");
    let path = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held)));
    let log = AccessLog::off();
    // A pipe, opened for blocking writes as the standard output of a container is.
    let target = Target::blocking(fs::File::options().append(true).open(&path).expect("a pipe"));
    log.write_to(target).expect("a thread");
    log.shared.format.store(Format::Json as u8, Ordering::Relaxed);
    let lane = log.lane();
    let line = rendered(Format::Json, &exchange()).len();
    let number = 4 * Lane::BYTES / line;
    let begun = Instant::now();
    for _ in 0..number {
        lane.log(&exchange());
    }
    assert!(lock(&lane.lines).len() <= Lane::BYTES + line, "the lane is bounded");
    let said = warnings(&log);
    assert!(begun.elapsed() < LAST_PATIENCE * 3, "it was waited for");
    assert!(said.iter().any(|line| line.contains("dropped=")), "{said:?}");
    drop(reader);
}

#[test]
fn what_cannot_be_opened_is_told_with_the_remedy_and_changes_nothing() {
    let log = AccessLog::off();
    for (path, needle) in [
        ("/nowhere/access.log", "make its folder"),
        ("/tmp", "name a file in it"),
        ("/proc/access.log", "access_log.file"),
    ] {
        let error = log.put(Format::Json, Some(Path::new(path))).expect_err("no file").to_string();
        assert!(error.contains(needle) && error.contains(path), "{error}");
        assert!(!log.lane().is_on());
    }
}
