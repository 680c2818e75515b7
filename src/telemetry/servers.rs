//! Servers of the application that go down, and come back: one line for each change, one in a
//! second at most for each server. What was left out last is told when the second is over, so that
//! what was said last of a server is also what was true last.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::escape::visible;
use super::repeat::Repeat;
use crate::guard::moment::Moment;

/// Between two lines about one server.
const SPAN: Duration = Duration::from_secs(1);

/// How a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Why.
    Down(String),
    /// After having been down for so long.
    Up(Duration),
}

impl State {
    pub(super) fn down(why: &dyn Display) -> Self {
        Self::Down(visible(why))
    }
}

/// The servers that were told of. They are those of the configuration.
pub(super) struct Servers {
    site: Option<Arc<str>>,
    slots: Mutex<BTreeMap<String, Slot>>,
}

#[derive(Default)]
struct Slot {
    repeat: Repeat,
    untold: Option<State>,
}

impl Servers {
    /// Those of a site, which is named where there are several.
    pub(super) fn new(site: Option<Arc<str>>) -> Self {
        Self { site, slots: Mutex::default() }
    }

    /// Writes a line, or keeps it until the second is over.
    pub(super) fn tell(&self, server: &str, state: State, now: Moment) {
        let mut slots = self.lock();
        let slot = slots.entry(server.to_owned()).or_default();
        let Some(suppressed) = slot.repeat.admit(now, SPAN) else {
            slot.untold = Some(state);
            return;
        };
        slot.untold = None;
        drop(slots);
        self.log(server, &state, suppressed);
    }

    /// Writes what was kept for a second.
    pub(super) fn tick(&self, now: Moment) {
        self.tell_untold(now, SPAN);
    }

    /// Writes all that was kept.
    pub(super) fn finish(&self, now: Moment) {
        self.tell_untold(now, Duration::ZERO);
    }

    fn tell_untold(&self, now: Moment, span: Duration) {
        let mut due = Vec::new();
        for (server, slot) in self.lock().iter_mut() {
            if let Some(suppressed) = slot.repeat.overdue(now, span)
                && let Some(state) = slot.untold.take()
            {
                // The line itself is one of those that were suppressed.
                due.push((server.clone(), state, suppressed - 1));
            }
        }
        for (server, state, suppressed) in due {
            self.log(&server, &state, suppressed);
        }
    }

    fn log(&self, server: &str, state: &State, suppressed: u64) {
        let site = self.site.as_deref();
        let suppressed = (suppressed > 0).then_some(suppressed);
        match state {
            State::Down(why) => tracing::warn!(site, server, why, suppressed, "server down"),
            State::Up(after) => {
                tracing::info!(site, server, down_s = after.as_secs(), suppressed, "server up");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
