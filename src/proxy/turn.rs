//! When to send: behind the turns of the other tasks that are ready.

use std::task::{Context, Poll};

/// Lets a task send when those that were ready with it have had their turn.
///
/// Several connections have something to read at once. So their tasks read and decide one after the
/// other, and then send one after the other: the core stays with the same code for longer, and
/// whom the first of them wakes is still awake for the rest. Alone, a task has its next turn at
/// once.
///
/// Where the core's [outbox](super::outbox) can send, no task is polled again for it; this is for what
/// its owner has to write: what is encrypted on its way to the application, and requests with a body.
#[derive(Debug, Default)]
pub struct Turn {
    is_due: bool,
}

impl Turn {
    /// What is sent next waits for a turn of its own.
    pub const fn give_way(&mut self) {
        self.is_due = true;
    }

    /// Somebody else sees to it that it waits.
    pub const fn leave(&mut self) {
        self.is_due = false;
    }

    /// Whether what is sent next has to wait.
    pub const fn is_due(&self) -> bool {
        self.is_due
    }

    /// Ready when it is to be sent, at the next turn at the latest.
    pub fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if std::mem::take(&mut self.is_due) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}
