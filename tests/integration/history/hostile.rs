//! A history that somebody else had in hands: its report says what can be said, and does nothing to
//! whoever reads it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{TIGHT, history, report};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::shop::{ask, connect, shop};

/// A history with a flood.
fn flooded(folder: &Folder) -> PathBuf {
    let shop = shop();
    let floodwall = Floodwall::start(folder, shop.upstream(), TIGHT);
    for _ in 0..40 {
        ask(&mut connect(floodwall.address()), "a", "/", "x=1");
    }
    assert!(floodwall.stop().success());
    history(folder)
}

/// Changes it by Python's sqlite3, which knows nothing of what Floodwall would write.
fn change(file: &Path, statements: &str) {
    let script = "import sqlite3, sys\n\
                  with sqlite3.connect(sys.argv[1]) as file: file.executescript(sys.argv[2])";
    let status = Command::new("python3").args(["-c", script]).arg(file).arg(statements).status();
    assert!(status.expect("python3 runs").success());
}

#[test]
fn names_in_it_drive_no_terminal_and_make_no_lines() {
    let folder = Folder::new("history-terminal");
    let file = flooded(&folder);
    let hostile = "'x' || char(27) || ']0;owned' || char(7) || char(10) || 'Forged' || char(8238)";
    change(
        &file,
        &format!(
            "UPDATE word SET text = text || {hostile}
                WHERE text IN ('default', '(no rule)', 'client-budget', 'keys');
             UPDATE flood_client SET client = {hostile}"
        ),
    );
    let (code, text, err) = report(&["--file", file.to_str().expect("UTF-8")]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(text.contains("]0;owned"), "{text}");
    let drives = |char: char| char != '\n' && (char.is_control() || char == '\u{202e}');
    assert!(!text.contains(drives), "{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("Forged")), "{text}");
    let (code, _, err) = report(&["--file", file.to_str().expect("UTF-8"), "--site", "another"]);
    assert_eq!(code, 2, "{err}");
    assert!(!err.contains(drives), "{err:?}");
}

#[test]
fn numbers_in_it_are_taken_for_what_they_can_be() {
    let folder = Folder::new("history-numbers");
    let file = flooded(&folder);
    change(
        &file,
        "UPDATE flood SET last = began - 3600;
         UPDATE minute_event SET count = 9223372036854775807;
         UPDATE minute_fill SET most = 9223372036854775807;
         UPDATE flood_client SET at_least = 9223372036854775807, at_most = -1;
         INSERT INTO minute_exchange SELECT 9223372036854775807, site, standing, verdict, status, 1
            FROM minute_exchange LIMIT 1;
         INSERT OR IGNORE INTO minute_event SELECT minute, site, route,
            (SELECT id FROM word WHERE text = 'refused'), id, 1 << 62 FROM minute_event, word
            WHERE text = 'forwarded'",
    );
    for format in ["text", "json", "html"] {
        let arguments =
            ["--file", file.to_str().expect("UTF-8"), "--format", format, "--since", "1h"];
        let (code, out, err) = report(&arguments);
        // SQLite says itself where a sum does not fit.
        assert!(code == 0 || code == 1 && err.contains("integer overflow"), "{out}{err}");
    }
    change(
        &file,
        "UPDATE minute_event SET count = 1; DELETE FROM minute_event WHERE detail IN \
                   (SELECT id FROM word WHERE text = 'forwarded')",
    );
    for format in ["text", "json", "html"] {
        let arguments = ["--file", file.to_str().expect("UTF-8"), "--format", format];
        let (code, out, err) = report(&arguments);
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
    }
}

/// What is no table may never end.
#[test]
fn views_in_the_place_of_tables_are_not_read() {
    let folder = Folder::new("history-views");
    let file = flooded(&folder);
    change(
        &file,
        "ALTER TABLE minute_fill RENAME TO other;
         CREATE VIEW minute_fill AS SELECT * FROM other",
    );
    let (code, out, err) = report(&["--file", file.to_str().expect("UTF-8")]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("it is no history of Floodwall"), "{err}");
}
