//! What makes a replay an estimate.

use serde_json::{Value, json};

use crate::telemetry::warmth::rfc3339;

/// One reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// The first decisions of the process are not here.
    Beginning,
    /// It began with what it remembered of before, which is not in the log.
    Remembered,
    /// Decisions are missing: lines were dropped, or left out, or their exchanges were not over.
    Missing,
    /// A line came so late that what is behind it had been decided.
    Late,
    /// A line could not be read.
    Damaged,
    /// Another process served the site at the same time.
    Shared,
    /// The target was cut by the log.
    Cut,
    /// Another version of the program wrote it.
    Version,
    /// What was refused goes on here, and what its answer would have said is assumed.
    Assumed,
    /// A table is full, and who finds a place in it depends on a secret that is not in the log.
    Full,
    /// It is not told how exchanges ended.
    Unended,
}

impl Doubt {
    pub const ALL: [Self; 11] = [
        Self::Beginning,
        Self::Remembered,
        Self::Missing,
        Self::Late,
        Self::Damaged,
        Self::Shared,
        Self::Cut,
        Self::Version,
        Self::Assumed,
        Self::Full,
        Self::Unended,
    ];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Beginning => "beginning",
            Self::Remembered => "remembered",
            Self::Missing => "missing",
            Self::Late => "late",
            Self::Damaged => "damaged",
            Self::Shared => "shared",
            Self::Cut => "cut",
            Self::Version => "version",
            Self::Assumed => "assumed",
            Self::Full => "full",
            Self::Unended => "unended",
        }
    }

    fn words(self, number: u64) -> String {
        match self {
            Self::Beginning => String::from(
                "the log begins in the middle of a process' life: what it knew is not here",
            ),
            Self::Remembered => String::from(
                "the process began with what it remembered of before (a state file, or a process that \
                 it took over from), which is not in the log",
            ),
            Self::Missing => {
                format!(
                    "{number} decisions are missing: lines were dropped, or left out, or their \
                     exchanges were not over"
                )
            }
            Self::Late => format!("{number} lines came too late to be put in their order"),
            Self::Damaged => format!("{number} lines could not be read"),
            Self::Shared => format!(
                "{number} requests came while another process served the site as well, and had its part \
                 in the budgets"
            ),
            Self::Cut => {
                format!("{number} lines have no whole path: the log cuts it at 4096 bytes")
            }
            Self::Version => String::from("another version of floodwall wrote the log"),
            Self::Assumed => format!(
                "{number} requests that did not reach the application would now: what it would have \
                 answered is assumed"
            ),
            Self::Full => String::from(
                "a table was full, and who finds a place in it depends on a secret that is not in the \
                 log",
            ),
            Self::Unended => format!("of {number} requests it is not told how they ended"),
        }
    }
}

/// All reasons, with how often there were, and since when.
#[derive(Debug, Default)]
pub struct Doubts([Option<Noted>; Doubt::ALL.len()]);

#[derive(Clone, Copy, Debug)]
struct Noted {
    number: u64,
    since_ms: Option<u64>,
}

impl Doubts {
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// There was such a reason so often more, at about this time.
    pub fn note(&mut self, doubt: Doubt, number: u64, unix_ms: Option<u64>) {
        if number > 0 {
            let noted =
                self.0[doubt as usize].get_or_insert(Noted { number: 0, since_ms: unix_ms });
            // Numbers of decisions are what the log says that they are.
            noted.number = noted.number.saturating_add(number);
        }
    }

    /// How often there was this reason.
    pub fn count(&self, doubt: Doubt) -> u64 {
        self.0[doubt as usize].map_or(0, |noted| noted.number)
    }

    fn all(&self) -> impl Iterator<Item = (Doubt, Noted)> + '_ {
        Doubt::ALL.into_iter().zip(&self.0).filter_map(|(doubt, noted)| Some((doubt, (*noted)?)))
    }

    /// Each of them in words, with the time from when on it counts.
    pub fn words(&self) -> Vec<String> {
        let word = |(doubt, noted): (Doubt, Noted)| {
            let since = noted.since_ms.map(|ms| format!("from {} on: ", rfc3339(ms / 1_000)));
            format!("{}{}", since.unwrap_or_default(), doubt.words(noted.number))
        };
        self.all().map(word).collect()
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let reason = |(doubt, noted): (Doubt, Noted)| {
            let since = noted.since_ms.map(|ms| rfc3339(ms / 1_000));
            (doubt.word().to_owned(), json!({ "number": noted.number, "since": since }))
        };
        Value::Object(self.all().map(reason).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_much_is_missing_it_stays_a_doubt() {
        let mut doubts = Doubts::default();
        for number in [1, u64::MAX, u64::MAX] {
            doubts.note(Doubt::Missing, number, Some(1));
        }
        assert_eq!(doubts.count(Doubt::Missing), u64::MAX);
        assert!(!doubts.is_empty());
    }
}
