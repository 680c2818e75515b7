//! The comparison as a table, and its verdict.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::differences::Differences;
use super::{Outcome, RUNS};
use crate::support::django::Release;

/// One scenario, on both sides.
pub struct Row {
    pub site: &'static str,
    pub scenario: &'static str,
    pub patched: [Outcome; RUNS],
    pub shielded: [Outcome; RUNS],
}

impl Row {
    fn differs(&self) -> bool {
        self.patched != self.shielded
    }
}

/// Prints the table, and fails on what differs unexpectedly or no longer does.
pub fn judge(vulnerable: Release, patched: Release, rows: &[Row]) {
    let differences = Differences::of(vulnerable);
    let table = table(vulnerable, patched, rows, &differences);
    // Printed where a test's output is shown, and kept where it can be linked.
    println!("{table}");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("patch");
    fs::create_dir_all(&folder).expect("the target directory can be written");
    fs::write(folder.join(format!("{vulnerable}.md")), &table).expect("the table can be written");

    let mut faults = String::new();
    for row in rows.iter().filter(|row| row.differs()) {
        if !differences.all.iter().any(|known| known.is(row)) {
            let (old, new) = (cell(&row.shielded), cell(&row.patched));
            let _ = writeln!(faults, "unexpected: {}: {}: {new} | {old}", row.site, row.scenario);
        }
    }
    for known in &differences.all {
        if !rows.iter().any(|row| row.differs() && known.is(row)) {
            let shielded = known.shielded;
            let _ = writeln!(faults, "gone: {}: {}: {shielded}", known.site, known.scenario);
        }
    }
    assert!(faults.is_empty(), "{vulnerable} behind Floodwall, {patched} direct:\n{faults}");
}

fn table(vulnerable: Release, patched: Release, rows: &[Row], known: &Differences) -> String {
    let mut lines = vec![[
        String::from("scenario"),
        format!("{patched}, direct"),
        format!("{vulnerable} behind Floodwall"),
        String::from("differs"),
    ]];
    let mut site = "";
    for row in rows {
        if row.site != site {
            site = row.site;
            lines.push([format!("**{site}**"), String::new(), String::new(), String::new()]);
        }
        let reason = known.all.iter().find(|known| known.is(row));
        let differs = match (row.differs(), reason) {
            (false, _) => String::new(),
            (true, None) => String::from("UNEXPECTED"),
            (true, Some(reason)) => format!("({})", reason.section),
        };
        lines.push([row.scenario.to_owned(), cell(&row.patched), cell(&row.shielded), differs]);
    }
    let mut text = format!(
        "Django {vulnerable} behind Floodwall, compared with the patched {patched}: status, session \
         cookie, records added.\n\n"
    );
    draw(&lines, &mut text);
    let same = rows.iter().filter(|row| !row.differs()).count();
    let _ = writeln!(text, "\n{same} of {} scenarios are alike. What differs:\n", rows.len());
    for (title, number) in known.titles.iter().zip(1..) {
        if known.all.iter().any(|known| known.section == number) {
            let _ = writeln!(text, "{title}");
        }
    }
    text.push_str("\nThe reasons are in tests/integration/patch/differences.md.\n");
    text
}

fn draw(lines: &[[String; 4]], text: &mut String) {
    let widths: [usize; 4] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].len()).max().unwrap_or_default()
    });
    for (index, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if index == 0 {
            for width in widths {
                let _ = write!(text, "|{}", "-".repeat(width + 2));
            }
            text.push_str("|\n");
        }
    }
}

/// The runs in one cell: once where they are alike.
pub fn cell(runs: &[Outcome; RUNS]) -> String {
    let [first, rest @ ..] = runs;
    if rest.iter().all(|run| run == first) {
        return first.to_string();
    }
    if rest.iter().all(|run| *run == rest[0]) {
        return format!("{first}, then {}", rest[0]);
    }
    runs.each_ref().map(Outcome::to_string).join(", ")
}
