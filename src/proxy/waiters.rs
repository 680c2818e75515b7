//! Those who wait for an exchange to end: the guard says for what, the waiting is done here.

use std::time::Duration;

use tokio::sync::Notify;
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

    fn bell(&self, what: WaitFor) -> &Notify {
        match what {
            // The remainder is less than the number of bells.
            WaitFor::Key(key) => &self.keys[(key.0 % Self::KEY_BELLS) as usize],
            WaitFor::Spare => &self.spare,
        }
    }

    /// Lets everybody ask again who waits for this.
    pub fn wake(&self, what: WaitFor) {
        self.bell(what).notify_waiters();
    }

    /// Asks until the answer is not to wait. `ask(true)` means that patience is spent, and must
    /// not say to wait; how long patience lasts depends on what for.
    pub async fn until_admitted<T>(
        &self,
        patience: impl Fn(WaitFor) -> Duration,
        mut ask: impl FnMut(bool) -> Result<T, WaitFor>,
    ) -> T {
        let mut what = match ask(false) {
            Ok(answer) => return answer,
            Err(what) => what,
        };
        let patience = sleep(patience(what));
        tokio::pin!(patience);
        let mut spent = false;
        loop {
            let rung = self.bell(what).notified();
            tokio::pin!(rung);
            // Registered before asking again: what ended in between rings for us too.
            rung.as_mut().enable();
            match ask(spent) {
                Ok(answer) => return answer,
                Err(other) if other != what => what = other,
                Err(_) => tokio::select! {
                    () = rung => {}
                    () = patience.as_mut(), if !spent => spent = true,
                },
            }
        }
    }
}
