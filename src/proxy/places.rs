//! How many connections one server may have, all cores together, and who waits for one.
//!
//! A place is held by a connection until it is closed, idle or not. Who finds none waits in line,
//! first come, first served, whichever core it is on; it leaves the line when it is dropped. A
//! connection whose response has been read goes to who waits first, if that is on the same core,
//! and is closed for it if not: nobody overtakes the line.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::link::Link;

/// The places of one server.
#[derive(Debug, Default)]
pub struct Places {
    line: Mutex<Line>,
    /// As in `line`, to be read without its lock.
    waiting: AtomicUsize,
    open: AtomicUsize,
}

#[derive(Debug, Default)]
struct Line {
    /// Connections at most; 0: any number.
    limit: usize,
    open: usize,
    waiting: VecDeque<Waiting>,
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    core: usize,
    granted: oneshot::Sender<Granted>,
}

/// What somebody gets who wants a connection.
#[derive(Debug)]
pub enum Granted {
    /// A connection may be made.
    Place(Place),
    /// One of the same core that has just become idle.
    Link(Link),
}

/// What somebody is told who wants a connection.
#[derive(Debug)]
pub enum Answer {
    Granted(Place),
    /// To wait in line.
    Wait(InLine),
    /// The line is as long as it may be.
    Full,
}

/// The right to have a connection open; given on when it is dropped.
#[derive(Debug)]
pub struct Place(Option<Arc<Places>>);

/// A place in the line, left when it is dropped.
#[derive(Debug)]
pub struct InLine {
    places: Arc<Places>,
    ticket: u64,
    granted: oneshot::Receiver<Granted>,
}

impl Places {
    /// Connections at most, from now on; 0: any number. What is open stays so, and who waits has
    /// what there is more.
    pub fn limit_to(self: &Arc<Self>, limit: usize) {
        let mut line = self.lock();
        line.limit = limit;
        while (limit == 0 || line.open < limit) && self.grant(&mut line) {
            self.set_open(&mut line, |open| open + 1);
        }
    }

    /// A place, now or later. At most `longest` wait, if there is such a bound.
    pub fn ask(self: &Arc<Self>, core: usize, longest: Option<usize>) -> Answer {
        let mut line = self.lock();
        if line.limit == 0 || (line.open < line.limit && line.waiting.is_empty()) {
            self.set_open(&mut line, |open| open + 1);
            return Answer::Granted(Place(Some(Arc::clone(self))));
        }
        if longest.is_some_and(|longest| line.waiting.len() >= longest) {
            return Answer::Full;
        }
        let ticket = line.next;
        line.next += 1;
        let (sender, granted) = oneshot::channel();
        line.waiting.push_back(Waiting { ticket, core, granted: sender });
        self.note_waiting(&line);
        Answer::Wait(InLine { places: Arc::clone(self), ticket, granted })
    }

    /// Gives a connection that has become idle to who waits first, if that is on the same core.
    /// `None` if somebody has it, or if it was closed for another; the connection if nobody waits.
    pub fn hand_over(&self, link: Link, core: usize) -> Option<Link> {
        if !self.is_waited_for() {
            return Some(link);
        }
        let mut link = link;
        let mut line = self.lock();
        while let Some(first) = line.waiting.front() {
            if first.core != core {
                // Its place becomes free when it is closed, and goes to the first in line.
                return None;
            }
            let Some(first) = line.waiting.pop_front() else { break };
            self.note_waiting(&line);
            match first.granted.send(Granted::Link(link)) {
                Err(Granted::Link(back)) => link = back,
                Ok(()) | Err(Granted::Place(_)) => return None,
            }
        }
        Some(link)
    }

    /// Sends away all who wait: there is no point in it.
    pub fn dismiss(&self) {
        let mut line = self.lock();
        let waiting = std::mem::take(&mut line.waiting);
        self.note_waiting(&line);
        drop(line);
        drop(waiting);
    }

    /// Whether somebody waits.
    pub fn is_waited_for(&self) -> bool {
        self.waiting() > 0
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Connections that are open, or about to be.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Gives a place to who waits first, unless there are too many.
    fn release(self: &Arc<Self>) {
        let mut line = self.lock();
        let fits = line.limit == 0 || line.open <= line.limit;
        if !(fits && self.grant(&mut line)) {
            self.set_open(&mut line, |open| open.saturating_sub(1));
        }
    }

    /// Gives a place to who waits first. False if nobody does.
    fn grant(self: &Arc<Self>, line: &mut Line) -> bool {
        while let Some(first) = line.waiting.pop_front() {
            self.note_waiting(line);
            let place = Granted::Place(Place(Some(Arc::clone(self))));
            match first.granted.send(place) {
                // Who is gone needs none, and must not give it back while the line is locked.
                Err(Granted::Place(mut place)) => drop(place.0.take()),
                Ok(()) | Err(Granted::Link(_)) => return true,
            }
        }
        false
    }

    fn leave(&self, ticket: u64) {
        let mut line = self.lock();
        line.waiting.retain(|waiting| waiting.ticket != ticket);
        self.note_waiting(&line);
    }

    fn set_open(&self, line: &mut Line, change: impl FnOnce(usize) -> usize) {
        line.open = change(line.open);
        self.open.store(line.open, Ordering::Release);
    }

    fn note_waiting(&self, line: &Line) {
        self.waiting.store(line.waiting.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // A panic between two whole operations leaves the line whole.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InLine {
    /// Waits for its turn; `None` if it was sent away. What was granted is not lost if this is
    /// dropped.
    pub async fn turn(&mut self) -> Option<Granted> {
        (&mut self.granted).await.ok()
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        self.places.leave(self.ticket);
        // What was granted meanwhile is dropped with the receiver, outside all locks.
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(places) = self.0.take() {
            places.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(limit: usize) -> Arc<Places> {
        let places = Arc::new(Places::default());
        places.limit_to(limit);
        places
    }

    fn taken(answer: Answer) -> Place {
        match answer {
            Answer::Granted(place) => place,
            Answer::Wait(_) | Answer::Full => panic!("there was room"),
        }
    }

    fn waits(answer: Answer) -> InLine {
        match answer {
            Answer::Wait(line) => line,
            Answer::Granted(_) | Answer::Full => panic!("it was to wait"),
        }
    }

    fn has_place(line: &mut InLine) -> Option<Place> {
        match line.granted.try_recv() {
            Ok(Granted::Place(place)) => Some(place),
            Ok(Granted::Link(_)) | Err(_) => None,
        }
    }

    #[test]
    fn places_go_to_who_came_first_on_whichever_core() {
        let places = places(1);
        let held = taken(places.ask(0, Some(2)));
        let (mut first, mut second) =
            (waits(places.ask(1, Some(2))), waits(places.ask(0, Some(2))));
        assert!(matches!(places.ask(0, Some(2)), Answer::Full));
        assert!(has_place(&mut first).is_none());
        drop(held);
        let held = has_place(&mut first).expect("its turn");
        assert!(has_place(&mut second).is_none());
        assert!(matches!(places.ask(0, Some(1)), Answer::Full), "nobody overtakes");
        drop(held);
        drop(has_place(&mut second).expect("its turn"));
        assert_eq!((places.open(), places.waiting()), (0, 0));
    }

    #[test]
    fn who_leaves_the_line_makes_room_and_loses_no_place() {
        let places = places(1);
        let held = taken(places.ask(0, Some(1)));
        drop(waits(places.ask(0, Some(1))));
        let leaving = waits(places.ask(0, Some(1)));
        drop(held);
        // It was granted to somebody who never looked.
        drop(leaving);
        assert_eq!((places.open(), places.waiting()), (0, 0));
        drop(taken(places.ask(0, Some(1))));
    }

    #[test]
    fn a_lower_limit_takes_places_as_they_become_free() {
        let places = places(3);
        let mut held: Vec<_> = (0..3).map(|_| taken(places.ask(0, None))).collect();
        places.limit_to(1);
        let mut line = waits(places.ask(0, None));
        held.pop();
        assert!(has_place(&mut line).is_none());
        held.pop();
        assert!(has_place(&mut line).is_none());
        assert_eq!(places.open(), 1);
        held.pop();
        drop(has_place(&mut line).expect("its turn"));
        assert_eq!(places.open(), 0);
    }

    /// While somebody waits, whoever comes waits too, and who leaves is replaced: without this a
    /// line that never ends would keep the old limit for ever.
    #[test]
    fn a_higher_limit_lets_in_who_waits() {
        let places = places(1);
        let _held = taken(places.ask(0, None));
        let gone = waits(places.ask(0, None));
        let mut line: Vec<_> = (0..3).map(|_| waits(places.ask(0, None))).collect();
        drop(gone);
        places.limit_to(3);
        let in_line = line.iter_mut().filter_map(has_place).collect::<Vec<_>>();
        assert_eq!((in_line.len(), places.open(), places.waiting()), (2, 3, 1));
        places.limit_to(0);
        let last = line.iter_mut().find_map(has_place);
        assert_eq!((last.is_some(), places.open(), places.waiting()), (true, 4, 0));
    }

    #[tokio::test]
    async fn who_is_dismissed_is_told() {
        let places = places(1);
        let _held = taken(places.ask(0, None));
        let mut line = waits(places.ask(0, None));
        places.dismiss();
        assert!(line.turn().await.is_none());
    }
}
