//! Failures of the upstream: one line a second for each kind, however many requests fail.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::escape::visible;
use super::repeat::Repeat;
use crate::guard::moment::Moment;

/// The time between two lines of one kind.
const SPAN: Duration = Duration::from_secs(1);

/// After this long without a failure, what was suppressed last is told.
const REST: Duration = Duration::from_secs(10);

/// Kinds told apart at most. They are words of our own code; what is beyond shares a line.
const MOST_KINDS: usize = 32;

/// The kind that stands for those beyond [`MOST_KINDS`].
const OTHER: &str = "other";

/// The kinds of failures seen so far.
#[derive(Default)]
pub(super) struct Failures(Mutex<Vec<(&'static str, Repeat)>>);

impl Failures {
    /// Writes one failure, or counts it. `detail` is formatted only if it is written.
    pub(super) fn tell(&self, kind: &'static str, detail: &dyn Display, now: Moment) {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kinds.iter().any(|(known, _)| *known == kind);
        let kind = if known || kinds.len() < MOST_KINDS { kind } else { OTHER };
        let index = kinds.iter().position(|(known, _)| *known == kind).unwrap_or_else(|| {
            kinds.push((kind, Repeat::default()));
            kinds.len() - 1
        });
        let admitted = kinds.get_mut(index).and_then(|(_, repeat)| repeat.admit(now, SPAN));
        drop(kinds);
        if let Some(suppressed) = admitted {
            let suppressed = (suppressed > 0).then_some(suppressed);
            tracing::warn!(kind, detail = visible(detail), suppressed, "upstream failed");
        }
    }

    /// Tells how many were suppressed last, of kinds that have come to rest.
    pub(super) fn tick(&self, now: Moment) {
        self.tell_suppressed(now, REST);
    }

    /// Tells how many were suppressed.
    pub(super) fn finish(&self, now: Moment) {
        self.tell_suppressed(now, Duration::ZERO);
    }

    fn tell_suppressed(&self, now: Moment, span: Duration) {
        let due: Vec<(&'static str, u64)> = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter_mut()
            .filter_map(|(kind, repeat)| Some((*kind, repeat.overdue(now, span)?)))
            .collect();
        for (kind, suppressed) in due {
            tracing::warn!(kind, suppressed, "upstream failed");
        }
    }
}
