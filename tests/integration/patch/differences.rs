//! What differs from the patch, as `differences.md` lists it.

use super::table::{Row, cell};
use crate::support::django::Release;

/// A difference that must occur.
pub struct Difference {
    /// The section that gives the reason.
    pub section: usize,
    pub site: &'static str,
    pub scenario: &'static str,
    patched: &'static str,
    pub shielded: &'static str,
}

impl Difference {
    pub fn is(&self, row: &Row) -> bool {
        (self.site, self.scenario) == (row.site, row.scenario)
            && self.patched == cell(&row.patched)
            && self.shielded == cell(&row.shielded)
    }
}

/// The list for one release.
pub struct Differences {
    pub titles: Vec<&'static str>,
    pub all: Vec<Difference>,
}

impl Differences {
    pub fn of(release: Release) -> Self {
        let mut list = Self { titles: Vec::new(), all: Vec::new() };
        for line in include_str!("differences.md").lines() {
            if let Some(title) = line.strip_prefix("## ") {
                list.titles.push(title);
            }
            let Some(row) = line.strip_prefix("| ").filter(|row| !row.starts_with("releases "))
            else {
                continue;
            };
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let [releases, site, scenario, patched, shielded, ""] = cells[..] else {
                panic!("not a row of five cells: {line}");
            };
            if releases.split(", ").any(|word| covers(word, release)) {
                let section = list.titles.len();
                list.all.push(Difference { section, site, scenario, patched, shielded });
            }
        }
        list
    }
}

/// `1.7` stands for all releases of that series, `1.7.8` for itself.
fn covers(word: &str, release: Release) -> bool {
    let covers = |release: Release| {
        let rest = release.word().strip_prefix(word);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    assert!(Release::vulnerable().any(covers), "{word} is no vulnerable release");
    covers(release)
}
