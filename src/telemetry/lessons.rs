//! What was learned of single paths lately, for whoever looks: the latest, in bounded memory.
//!
//! Paths are of a stranger's choice: they are encoded and cut as in a line of the log.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::escape::{LIMIT, visible};
use crate::guard::fact::Notice;
use crate::guard::moment::Moment;

/// So many are remembered.
const MOST: usize = 20;

/// Something that was learned of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lesson {
    pub at: Moment,
    pub what: Learned,
    /// Of the requests that it was learned of, where it is true of these only: their method, and
    /// the word for their standing.
    pub of: Option<(&'static str, &'static str)>,
    /// Fit for a line.
    pub path: String,
}

/// What is learned of paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// Requests without a live session create one there.
    Creates,
    /// It flushes sessions: it is recycled from now on.
    Flushes,
    /// It writes to the session that it was given: gated for a while.
    Writes,
}

impl Learned {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Creates => "creates",
            Self::Flushes => "flushes",
            Self::Writes => "writes",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Lessons(Mutex<VecDeque<Lesson>>);

impl Lessons {
    /// Bytes of all of them, beside this.
    pub(super) const fn bytes() -> usize {
        MOST * (size_of::<Lesson>() + LIMIT)
    }

    /// Remembers what a notice says of a path, if it says anything. What was known is as of now.
    pub(super) fn note(&self, notice: &Notice, now: Moment) {
        let (what, of, path) = match notice {
            Notice::PathCreates { method, standing, path } => {
                (Learned::Creates, Some((*method, standing.word())), path)
            }
            Notice::PathFlushes { path, .. } => (Learned::Flushes, None, path),
            Notice::PathWrites { path, .. } | Notice::WritesAfterLogout { path, .. } => {
                (Learned::Writes, None, path)
            }
            Notice::ClassesFull
            | Notice::OtherCookieLooksLikeKey { .. }
            | Notice::KeyOfOtherShape { .. }
            | Notice::LedgerOverflowed
            | Notice::ClientTableFull
            | Notice::Warmth { .. } => return,
        };
        let lesson = Lesson { at: now, what, of, path: visible(path) };
        let mut lessons = self.lock();
        lessons.retain(|known| Lesson { at: now, ..known.clone() } != lesson);
        if lessons.len() == MOST {
            lessons.pop_front();
        }
        lessons.push_back(lesson);
    }

    /// The latest, oldest first.
    pub(super) fn latest(&self) -> Vec<Lesson> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Lesson>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::route::StandingWord;

    fn creates(path: &str) -> Notice {
        Notice::PathCreates { method: "GET", standing: StandingWord::None, path: path.to_owned() }
    }

    #[test]
    fn the_latest_are_kept_each_once_and_fit_for_a_line() {
        let lessons = Lessons::default();
        for second in 0..100_u64 {
            let now = Moment::from_nanos(second * 1_000_000_000);
            lessons.note(&creates(&format!("/{second}\n")), now);
            lessons.note(&creates("/again"), now);
            lessons.note(&Notice::LedgerOverflowed, now);
        }
        let latest = lessons.latest();
        assert_eq!(latest.len(), MOST);
        let paths: Vec<&str> = latest.iter().map(|lesson| &*lesson.path).collect();
        assert_eq!(paths[MOST - 2..], ["/99%0A", "/again"]);
        assert_eq!(paths.iter().filter(|path| **path == "/again").count(), 1);
    }
}
