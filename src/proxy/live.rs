//! What is still running: a count that can be waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts things that run; each holds a [`Token`].
#[derive(Clone, Debug, Default)]
pub struct Live(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    number: AtomicUsize,
    emptied: Notify,
}

impl Live {
    /// One more runs, until the token is dropped.
    pub fn token(&self) -> Token {
        self.0.number.fetch_add(1, Ordering::AcqRel);
        Token(Arc::clone(&self.0))
    }

    /// How many run.
    pub fn number(&self) -> usize {
        self.0.number.load(Ordering::Acquire)
    }

    /// Waits until none runs.
    pub async fn emptied(&self) {
        loop {
            let emptied = self.0.emptied.notified();
            tokio::pin!(emptied);
            // Registered before the count is read, so that no last token slips by unnoticed.
            emptied.as_mut().enable();
            if self.number() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

/// Held by what runs.
#[derive(Debug)]
pub struct Token(Arc<Count>);

impl Drop for Token {
    fn drop(&mut self) {
        if self.0.number.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.emptied.notify_waiters();
        }
    }
}
