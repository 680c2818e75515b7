//! What cuts a connection off when its client takes too long.

use std::task::{Context, Poll};
use std::time::Duration;

use super::core::Core;
use super::pace::Alarm;
use super::seat::{Overdue, Phase, Seat};
use super::settings::DownstreamLimits;
use crate::guard::moment::Moment;

/// How long an idle client may take to acknowledge that no other request is taken.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Notices when a connection is to be cut off. One timer for all that it may wait for.
pub(super) struct Watch<'a> {
    core: &'a Core,
    limits: &'a DownstreamLimits,
    seat: &'a Seat,
    alarm: Alarm,
    /// When the client was told that no other request is taken.
    told: Option<Moment>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(core: &'a Core, limits: &'a DownstreamLimits, seat: &'a Seat) -> Self {
        let now = core.clock.now();
        // An exchange may end, in part, in another task than the connection's: the connection is
        // idle then and nobody sets the alarm, so it must ring before an idle connection is due.
        let alarm = Alarm::new(now, limits.idle_timeout);
        Self { core, limits, seat, alarm, told: None }
    }

    /// The client has been told that no other request is taken: once idle, it need not stay idle
    /// for long.
    pub(super) fn told(&mut self) {
        self.told.get_or_insert(self.core.clock.now());
    }

    /// Whether it has been told.
    pub(super) fn is_told(&self) -> bool {
        self.told.is_some()
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Overdue> {
        let due = match (self.told, self.seat.phase()) {
            (Some(told), Phase::Silent(since) | Phase::Idle(since)) if !self.seat.is_blocked() => {
                Some((told.max(since).after(LAST_WORDS), Overdue::Idle))
            }
            _ => self.seat.due(self.limits),
        };
        let Some((due, overdue)) = due else {
            return self.alarm.poll(cx, &self.core.clock, Moment::NEVER).map(|()| Overdue::Idle);
        };
        self.alarm.poll(cx, &self.core.clock, due).map(|()| overdue)
    }
}
