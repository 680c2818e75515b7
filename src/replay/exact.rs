//! Floodwall's own log: every decision again, in its order, with the moments that the guard was given.
//!
//! The guard is a machine: from the same beginning the same questions, in the same order and at the
//! same moments, get the same answers. Only its secret is another one, so that what depends on where
//! something stands in a table that is full may differ; that is told. [`Doubt`] names everything else
//! that makes the replay an estimate.

mod doubt;
mod run;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use memchr::memchr;
use serde_json::{Value, json};

pub use self::doubt::{Doubt, Doubts};
use self::run::Run;
use super::fields::Unread;
use super::input::{InputError, LONGEST_LINE, Log};
use super::lines::{Counts, Distinct, Format};
use super::own::{self, Told};
use super::report::{Read, Report, WorldReport};
use super::tables::Tables;
use super::{Counters, Setting};
use crate::guard::client::Client;
use crate::guard::moment::Moment;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// How good the replay is, and what it found.
#[derive(Debug, Default)]
pub struct Exactness {
    /// Lines that say what became of them, and whose verdict is the same now.
    pub same: u64,
    /// By what it was and what it is.
    pub changed: BTreeMap<(String, String), u64>,
    /// The first of them.
    pub differing: Vec<Differing>,
    /// Whether all of the log was written under the rules that it is replayed under; `None`: it does
    /// not say under which.
    pub same_rules: Option<bool>,
    pub runs: u64,
    pub doubts: Doubts,
    /// Sessions of before that were taken in when they were met with.
    pub adopted: u64,
    most: usize,
}

/// A line whose verdict is another one.
#[derive(Clone, Debug)]
pub struct Differing {
    pub unix_ms: u64,
    pub client: Client,
    pub path: String,
    pub was: String,
    pub is: String,
}

impl Exactness {
    /// Lines whose verdict is another one.
    pub fn different(&self) -> u64 {
        self.changed.values().sum()
    }

    /// Whether it decides as the log says because it must.
    pub fn is_exact(&self) -> bool {
        self.same_rules == Some(true) && self.doubts.is_empty()
    }

    fn compare(&mut self, told: &Told, client: Client, was: &str, is: &str) {
        if was == is {
            self.same += 1;
            return;
        }
        *self.changed.entry((was.to_owned(), is.to_owned())).or_default() += 1;
        if self.differing.len() < self.most {
            let path = told.target.split('?').next().unwrap_or_default().to_owned();
            let (was, is, unix_ms) = (was.to_owned(), is.to_owned(), told.unix_ms);
            self.differing.push(Differing { unix_ms, client, path, was, is });
        }
    }

    /// What there is to say of it, line by line.
    pub fn words(&self) -> Vec<String> {
        let (same, different) = (self.same, self.different());
        let all = same + different;
        let mut words = Vec::new();
        match self.same_rules {
            Some(true) => {}
            Some(false) => words.push(String::from(
                "other rules: the log was written, at least in part, under another configuration",
            )),
            None => words.push(String::from(
                "the part of the log that says under which rules it was written is not here",
            )),
        }
        if self.doubts.is_empty() {
            words.push(String::from(
                "complete: every decision is here, in its order, from the start of the process on",
            ));
        }
        words.extend(self.doubts.words());
        if self.adopted > 0 {
            let adopted = self.adopted;
            words.push(format!(
                "{adopted} sessions of before are taken to be paid for and logged in"
            ));
        }
        words.push(match (self.is_exact(), different) {
            (true, 0) => format!("exact: each of the {all} requests has the verdict that it had"),
            (true, _) => format!(
                "{different} of {all} verdicts differ, though nothing is missing: please report this"
            ),
            (false, _) => format!("an estimate: {different} of {all} verdicts differ"),
        });
        for ((was, is), number) in &self.changed {
            words.push(format!("  {number} were {was}, and would be {is}"));
        }
        words
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let changed = self
            .changed
            .iter()
            .map(|((was, is), number)| json!({ "was": was, "is": is, "requests": number }));
        let differing = self.differing.iter().map(|line| {
            json!({
                "unix_ms": line.unix_ms,
                "client": line.client.to_string(),
                "path": line.path,
                "was": line.was,
                "is": line.is,
            })
        });
        json!({
            "exact": self.is_exact(),
            "same_rules": self.same_rules,
            "runs": self.runs,
            "same": self.same,
            "different": self.different(),
            "changed": changed.collect::<Vec<_>>(),
            "differing": differing.collect::<Vec<_>>(),
            "adopted_sessions": self.adopted,
            "doubts": self.doubts.json(),
        })
    }
}

/// What the runs share.
struct Shared<'a> {
    setting: &'a Setting,
    digest: u64,
    exactness: Exactness,
    tables: Tables,
    /// Which of its moments the first process began at, in milliseconds since 1970.
    origin_unix_ms: Option<u64>,
    /// In the time of the tables.
    latest: Moment,
}

impl Shared<'_> {
    /// A moment of the tables: processes begin their own.
    fn moment(&mut self, unix_ms: u64) -> Moment {
        let origin = *self.origin_unix_ms.get_or_insert(unix_ms);
        let since = std::time::Duration::from_millis(unix_ms.saturating_sub(origin));
        let at = Moment::from_nanos(0).after(Moment::HEADROOM).after(since);
        self.latest = self.latest.max(at);
        self.latest
    }
}

/// Processes whose decisions are under way at a time: two while one takes over from the other.
const RUNS: usize = 4;

/// Reads the logs in this order.
pub(super) fn replay(
    setting: &Setting,
    logs: Vec<(Format, Log)>,
    counters: &Counters,
) -> Result<Report, InputError> {
    let names = logs.iter().map(|(format, log)| (log.name.clone(), *format)).collect();
    let start = Moment::from_nanos(0).after(Moment::HEADROOM);
    let mut shared = Shared {
        setting,
        digest: setting.policy.digest(),
        exactness: Exactness { most: setting.list, ..Exactness::default() },
        tables: Tables::new(&setting.policy, setting.floods, start),
        origin_unix_ms: None,
        latest: start,
    };
    let (mut counts, mut clients) = (Counts::default(), Distinct::default());
    let hasher = RandomState::new();
    let mut runs: Vec<Run> = Vec::new();
    for (_, mut log) in logs {
        log.begin(&counters.bytes)?;
        while let Some(block) = log.block()? {
            for _ in 0..block.too_long {
                counts.lines += 1;
                counts.is_unread(Unread::Long);
            }
            for line in lines(&block.bytes) {
                counts.lines += 1;
                let told = match line.len() > LONGEST_LINE {
                    true => Err(Unread::Long),
                    false => own::read(line, &setting.site),
                };
                match told {
                    Ok(Some(told)) => {
                        counts.takes(told.unix_ms);
                        let client = Client::fold(told.address, &setting.policy.client);
                        clients.add(hasher.hash_one(client));
                        take(&mut runs, told, &mut shared);
                    }
                    Ok(None) => counts.requestless += 1,
                    Err(why) => {
                        counts.is_unread(why);
                        shared.exactness.doubts.note(Doubt::Damaged, 1, None);
                    }
                }
            }
            counters.lines.store(counts.lines, Ordering::Relaxed);
        }
    }
    runs.into_iter().for_each(|run| run.end(&mut shared));
    let Shared { exactness, mut tables, origin_unix_ms, latest, .. } = shared;
    tables.end(latest);
    let world = WorldReport::of_tables(tables, origin_unix_ms.unwrap_or(0));
    let read = Read { logs: names, counts, clients: clients.count() };
    Ok(Report { exact: Some(exactness), ..Report::new(setting, read, vec![world]) })
}

/// The lines of a block that are not empty.
fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = block;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr(b'\n', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        Some(line)
    })
    .filter(|line| !line.is_empty())
}

/// Gives a line to its run.
fn take(runs: &mut Vec<Run>, told: Told, shared: &mut Shared<'_>) {
    let index = match runs.iter().position(|run| run.number == told.run) {
        Some(index) => index,
        None => {
            if runs.len() >= RUNS {
                runs.remove(0).end(shared);
            }
            shared.exactness.runs += 1;
            runs.push(Run::new(&told));
            runs.len() - 1
        }
    };
    runs[index].take(told, shared);
}

#[cfg(test)]
#[path = "exact_tests.rs"]
mod tests;
