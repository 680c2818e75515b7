//! Those who wait for an exchange to end: the guard says for what, the waiting is done here.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use crate::guard::client::Client;
use crate::guard::exchange::WaitFor;

/// Bells to wait at. A few keys share one; whoever is woken for nothing asks again and waits on.
#[derive(Debug)]
pub struct Waiters {
    keys: Box<[Notify]>,
    spare: Notify,
    line: Line,
}

impl Default for Waiters {
    fn default() -> Self {
        let keys = (0..Self::KEY_BELLS).map(|_| Notify::new()).collect();
        Self { keys, spare: Notify::new(), line: Line::default() }
    }
}

impl Waiters {
    const KEY_BELLS: u64 = 64;

    /// How long who waits for room in a budget, or between recycled exchanges, pauses before asking
    /// again. A bell would wake all of a flood at each settlement, for the one that finds room.
    const PAUSE: Duration = Duration::from_millis(25);

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
            match (rung, what) {
                (Some(rung), WaitFor::Key(_)) => rung.await,
                (Some(rung), WaitFor::Spare | WaitFor::Budget) => {
                    let _ = timeout(Self::PAUSE, rung).await;
                }
                (None, _) => sleep(Self::PAUSE).await,
            }
        }
    }

    /// Asks again until the answer is not to wait, as it was before, for `what`. `ask(true)` means
    /// that patience is spent, and must not say to wait; it is spent at once where `client` finds no
    /// place in the line for a spare.
    pub async fn until_admitted<T>(
        &self,
        mut what: WaitFor,
        client: Client,
        patience: Duration,
        mut ask: impl FnMut(bool) -> Result<T, WaitFor>,
    ) -> T {
        let patience = sleep(patience);
        tokio::pin!(patience);
        let mut spent = false;
        let mut place = None;
        loop {
            if what == WaitFor::Spare && place.is_none() {
                place = self.line.join(client);
                spent |= place.is_none();
            }
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

/// Who waits for a spare. Whoever floods a logout must neither have all of its connections wait, and
/// ask, nor leave no place to others.
#[derive(Debug, Default)]
struct Line(Mutex<Vec<Client>>);

impl Line {
    const PLACES: usize = 128;
    /// For one client: more than a browser has connections.
    const PLACES_PER_CLIENT: usize = 8;

    /// A place, until it is dropped; `None` if there is none.
    fn join(&self, client: Client) -> Option<InLine<'_>> {
        let mut waiting = self.lock();
        let own = waiting.iter().filter(|other| **other == client).count();
        if waiting.len() >= Self::PLACES || own >= Self::PLACES_PER_CLIENT {
            return None;
        }
        waiting.push(client);
        Some(InLine { line: self, client })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Client>> {
        // Nothing panics between the steps of one change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the line.
struct InLine<'a> {
    line: &'a Line,
    client: Client,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let mut waiting = self.line.lock();
        if let Some(at) = waiting.iter().position(|other| *other == self.client) {
            waiting.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use tokio::time::timeout;

    use super::*;

    fn client(number: u8) -> Client {
        Client::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)), 32)
    }

    #[test]
    fn one_client_has_a_few_places_in_the_line_and_leaves_some_to_others() {
        let line = Line::default();
        let own: Vec<_> = std::iter::from_fn(|| line.join(client(0))).collect();
        assert_eq!(own.len(), Line::PLACES_PER_CLIENT);
        let others: Vec<_> = (1..=255).filter_map(|number| line.join(client(number))).collect();
        assert_eq!(own.len() + others.len(), Line::PLACES);
        drop(own);
        assert!(line.join(client(255)).is_some(), "a place is given back");
        drop(others);
        assert!(line.lock().is_empty());
    }

    #[tokio::test]
    async fn who_finds_no_place_in_the_line_is_out_of_patience_at_once() {
        let waiters = Waiters::default();
        let _own: Vec<_> = std::iter::from_fn(|| waiters.line.join(client(1))).collect();
        let hour = Duration::from_secs(3_600);
        let asked = |number| {
            let ask = |spent| if spent { Ok(spent) } else { Err(WaitFor::Spare) };
            timeout(
                Duration::from_millis(100),
                waiters.until_admitted(WaitFor::Spare, client(number), hour, ask),
            )
        };
        assert!(asked(1).await.is_ok());
        assert!(asked(2).await.is_err(), "another client waits");
    }

    #[tokio::test]
    async fn who_waits_for_room_between_exchanges_needs_no_bell() {
        let waiters = Waiters::default();
        let mut asked = 0;
        let ask = |_| {
            asked += 1;
            if asked < 4 { Err(WaitFor::Spare) } else { Ok(()) }
        };
        let hour = Duration::from_secs(3_600);
        let waiting = waiters.until_admitted(WaitFor::Spare, client(1), hour, ask);
        timeout(Duration::from_secs(20), waiting).await.expect("it asks by itself");
        assert_eq!(asked, 4);
    }
}
