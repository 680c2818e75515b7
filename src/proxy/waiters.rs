//! Those who wait for an exchange to end: the guard says for what, the waiting is done here.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::guard::exchange::WaitFor;

/// Bells to wait at. A few keys share one; whoever is woken for nothing asks again and waits on.
#[derive(Debug)]
pub struct Waiters {
    keys: Box<[Notify]>,
    spare: Notify,
}

impl Default for Waiters {
    fn default() -> Self {
        let keys = (0..Self::KEY_BELLS).map(|_| Notify::new()).collect();
        Self { keys, spare: Notify::new() }
    }
}

impl Waiters {
    const KEY_BELLS: u64 = 64;

    /// How long who waits for room in a budget pauses before asking again. A bell would wake all
    /// of a flood at each settlement, for the one that finds room.
    const BUDGET_PAUSE: Duration = Duration::from_millis(25);

    fn bell(&self, what: WaitFor) -> Option<&Notify> {
        match what {
            // The remainder is less than the number of bells.
            WaitFor::Key(key) => Some(&self.keys[(key.0 % Self::KEY_BELLS) as usize]),
            WaitFor::Spare => Some(&self.spare),
            WaitFor::Budget => None,
        }
    }

    /// Lets everybody ask again who waits for this.
    pub fn wake(&self, what: WaitFor) {
        if let Some(bell) = self.bell(what) {
            bell.notify_waiters();
        }
    }

    /// Begins to wait; what ends from now on is not missed.
    fn rung(&self, what: WaitFor) -> impl Future<Output = ()> {
        let mut rung = self.bell(what).map(|bell| Box::pin(bell.notified()));
        if let Some(rung) = &mut rung {
            rung.as_mut().enable();
        }
        async move {
            match rung {
                Some(rung) => rung.await,
                None => sleep(Self::BUDGET_PAUSE).await,
            }
        }
    }

    /// Asks again until the answer is not to wait, as it was before, for `what`. `ask(true)` means
    /// that patience is spent, and must not say to wait.
    pub async fn until_admitted<T>(
        &self,
        mut what: WaitFor,
        patience: Duration,
        mut ask: impl FnMut(bool) -> Result<T, WaitFor>,
    ) -> T {
        let patience = sleep(patience);
        tokio::pin!(patience);
        let mut spent = false;
        loop {
            // Registered before asking again: what ended in between rings for us too.
            let rung = self.rung(what);
            match ask(spent) {
                Ok(answer) => return answer,
                Err(other) if other != what => {
                    what = other;
                    yield_now().await;
                }
                Err(_) => tokio::select! {
                    () = rung => {}
                    () = patience.as_mut(), if !spent => spent = true,
                },
            }
        }
    }
}
