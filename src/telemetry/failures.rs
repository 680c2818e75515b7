//! Failures, and limits that were met: one line in a while for each kind, however many there are.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::escape::visible;
use super::repeat::Repeat;
use crate::guard::moment::Moment;

/// Between two lines of one kind of failure of the upstream.
const FAILURE_SPAN: Duration = Duration::from_secs(1);

/// After this long without a failure, what was suppressed last is told.
const FAILURE_REST: Duration = Duration::from_secs(10);

/// Both, for limits that clients have met: they are met all day.
const LIMIT_SPAN: Duration = Duration::from_secs(60);

/// Kinds told apart at most. They are words of our own code; what is beyond shares a line.
const MOST_KINDS: usize = 32;

/// The kind that stands for those beyond [`MOST_KINDS`].
const OTHER: &str = "other";

/// The kinds of failures seen so far.
pub(super) struct Failures {
    site: Option<Arc<str>>,
    message: &'static str,
    span: Duration,
    rest: Duration,
    kinds: Mutex<Vec<Kind>>,
}

/// One kind, and how often it happened.
struct Kind {
    word: &'static str,
    repeat: Repeat,
    count: u64,
}

impl Failures {
    /// Of the upstream.
    pub(super) fn of_upstream(site: Option<Arc<str>>) -> Self {
        Self::new(site, "upstream failed", FAILURE_SPAN, FAILURE_REST)
    }

    /// Clients that were held to a limit.
    pub(super) fn of_limits(site: Option<Arc<str>>) -> Self {
        Self::new(site, "client limited", LIMIT_SPAN, LIMIT_SPAN)
    }

    fn new(site: Option<Arc<str>>, message: &'static str, span: Duration, rest: Duration) -> Self {
        Self { site, message, span, rest, kinds: Mutex::default() }
    }

    /// Writes one failure, or counts it. `detail` is formatted only if it is written.
    pub(super) fn tell(&self, kind: &'static str, detail: &dyn Display, now: Moment) {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kinds.iter().any(|known| known.word == kind);
        let kind = if known || kinds.len() < MOST_KINDS { kind } else { OTHER };
        let index = kinds.iter().position(|known| known.word == kind).unwrap_or_else(|| {
            kinds.push(Kind { word: kind, repeat: Repeat::default(), count: 0 });
            kinds.len() - 1
        });
        let admitted = kinds.get_mut(index).and_then(|kind| {
            kind.count += 1;
            kind.repeat.admit(now, self.span)
        });
        drop(kinds);
        if let Some(suppressed) = admitted {
            let suppressed = (suppressed > 0).then_some(suppressed);
            let site = self.site.as_deref();
            tracing::warn!(site, kind, detail = visible(detail), suppressed, "{}", self.message);
        }
    }

    /// How often each kind happened that did.
    pub(super) fn counts(&self) -> Vec<(&'static str, u64)> {
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.iter().map(|kind| (kind.word, kind.count)).collect()
    }

    /// Tells how many were suppressed last, of kinds that have come to rest.
    pub(super) fn tick(&self, now: Moment) {
        self.tell_suppressed(now, self.rest);
    }

    /// Tells how many were suppressed.
    pub(super) fn finish(&self, now: Moment) {
        self.tell_suppressed(now, Duration::ZERO);
    }

    fn tell_suppressed(&self, now: Moment, span: Duration) {
        let due: Vec<(&'static str, u64)> = self
            .kinds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter_mut()
            .filter_map(|kind| Some((kind.word, kind.repeat.overdue(now, span)?)))
            .collect();
        for (kind, suppressed) in due {
            tracing::warn!(site = self.site.as_deref(), kind, suppressed, "{}", self.message);
        }
    }
}
