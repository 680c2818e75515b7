//! Who is connected, and who has to leave where there are too many.
//!
//! It promises that whoever comes gets in: idle connections, or those that take nothing of what
//! they are sent, keep nobody out, however many they are. Where there is no place, one of those
//! goes that matter least: who has asked for nothing goes before who has, that before who knew the
//! token, and of these who asked longest ago.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Connections at once.
pub(super) const MOST: usize = 64;

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Visits {
    list: Mutex<List>,
    /// Whether the process, or this part of it, ends.
    ended: AtomicBool,
    /// Told when the last one has gone.
    empty: Notify,
}

#[derive(Debug, Default)]
struct List {
    visits: Vec<Entry>,
    /// Counts what happens.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    regard: Regard,
    /// When it last asked, or came.
    asked: u64,
    leave: Arc<Notify>,
}

/// What somebody has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Regard {
    /// Nothing yet.
    Silent,
    /// It has asked for something.
    Asked,
    /// It may look.
    Trusted,
}

/// One connection. Dropped, its place is free.
#[derive(Debug)]
pub(super) struct Visit {
    visits: Arc<Visits>,
    number: u64,
    leave: Arc<Notify>,
}

impl Visits {
    /// Lets one in; where there is no place, another one goes.
    pub(super) fn enter(self: &Arc<Self>) -> Visit {
        let mut list = self.list();
        if list.visits.len() >= MOST {
            let least = |(_, entry): &(usize, &Entry)| (entry.regard, entry.asked);
            if let Some((index, _)) = list.visits.iter().enumerate().min_by_key(least) {
                list.visits.swap_remove(index).leave.notify_one();
            }
        }
        let number = list.tick();
        let leave = Arc::new(Notify::new());
        let told = Arc::clone(&leave);
        list.visits.push(Entry { number, regard: Regard::Silent, asked: number, leave: told });
        Visit { visits: Arc::clone(self), number, leave }
    }

    /// From now on each answer is the last one of its connection. Who waits for nothing goes; who
    /// has just come may still ask.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        let list = self.list();
        let heard = list.visits.iter().filter(|entry| entry.regard > Regard::Silent);
        heard.for_each(|entry| entry.leave.notify_one());
        if list.visits.is_empty() {
            self.empty.notify_one();
        }
    }

    /// Waits until nobody is there, after [`Self::end`].
    pub(super) async fn emptied(&self) {
        self.empty.notified().await;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

impl Visit {
    /// It asks for something.
    pub(super) fn asks(&self) {
        self.show(Regard::Asked);
    }

    /// It may look.
    pub(super) fn is_trusted(&self) {
        self.show(Regard::Trusted);
    }

    /// Waits until it has to leave, and says how.
    pub(super) async fn farewell(&self) -> Farewell {
        self.leave.notified().await;
        let stays = self.visits.list().visits.iter().any(|entry| entry.number == self.number);
        if stays { Farewell::WhenAnswered } else { Farewell::Now }
    }

    fn show(&self, regard: Regard) {
        let mut list = self.visits.list();
        let now = list.tick();
        if let Some(entry) = list.visits.iter_mut().find(|entry| entry.number == self.number) {
            entry.regard = entry.regard.max(regard);
            entry.asked = now;
        }
    }
}

/// How one leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// Another one needs the place.
    Now,
    /// The process ends.
    WhenAnswered,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut list = self.visits.list();
        list.visits.retain(|entry| entry.number != self.number);
        if list.visits.is_empty() && self.visits.has_ended() {
            self.visits.empty.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn where_there_is_no_place_the_least_regarded_goes() {
        let visits = Arc::new(Visits::default());
        let mut inside: Vec<Visit> = (0..MOST).map(|_| visits.enter()).collect();
        inside[0].is_trusted();
        inside[1].asks();
        inside[2].asks();
        inside[1].asks();
        // Who came third last asked for nothing, and is the oldest of those.
        inside.push(visits.enter());
        assert_eq!(inside[3].farewell().await, Farewell::Now);
        inside[4..].iter().for_each(Visit::asks);
        inside.push(visits.enter());
        assert_eq!(inside[2].farewell().await, Farewell::Now);
        inside[MOST + 1].asks();
        inside.push(visits.enter());
        assert_eq!(inside[1].farewell().await, Farewell::Now);
        inside.iter().skip(1).for_each(Visit::is_trusted);
        inside.push(visits.enter());
        inside[MOST + 3].asks();
        // It is the only one that was not trusted.
        let newest = visits.enter();
        assert_eq!(inside[MOST + 3].farewell().await, Farewell::Now);
        assert_eq!(visits.list().visits.len(), MOST);
        drop((inside, newest));
        assert_eq!(visits.list().visits.len(), 0);
    }

    #[tokio::test]
    async fn at_the_end_who_has_just_come_may_still_ask() {
        let visits = Arc::new(Visits::default());
        let (silent, heard) = (visits.enter(), visits.enter());
        heard.asks();
        visits.end();
        assert_eq!(heard.farewell().await, Farewell::WhenAnswered);
        assert!(visits.has_ended());
        let waiting = tokio::spawn({
            let visits = Arc::clone(&visits);
            async move { visits.emptied().await }
        });
        drop(heard);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(silent);
        waiting.await.expect("it ends");
    }
}
