//! How connections learn that they are to end: at a stop, or when this process is replaced.

use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Sleep;

/// Whether connections are to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Not,
    /// With the exchange that runs; at once if none does.
    Now,
    /// With the next response, which says so: whoever is just sending a request on an idle
    /// connection would else find it closed.
    Gently,
}

/// Whether one is to end, told once.
pub(super) struct Stop {
    told: bool,
    pub(super) ending: watch::Receiver<Ending>,
    /// How long it stays when it is to end gently, for its client to send another request.
    grace: Duration,
    pause: Option<Pin<Box<Sleep>>>,
}

/// What one who is asked often has heard.
pub(super) struct Heard {
    ending: watch::Receiver<Ending>,
    /// Whether it was to end gently then.
    at_first: bool,
}

impl From<&Stop> for Heard {
    fn from(stop: &Stop) -> Self {
        let ending = stop.ending.clone();
        let at_first = *ending.borrow() == Ending::Gently;
        Self { ending, at_first }
    }
}

impl Heard {
    /// Whether it is to end gently. Takes a lock only once it was told something.
    pub(super) fn is_gentle(&self) -> bool {
        let news = self.ending.has_changed().unwrap_or(true);
        if news { *self.ending.borrow() == Ending::Gently } else { self.at_first }
    }
}

impl Stop {
    pub(super) fn new(ending: watch::Receiver<Ending>, grace: Duration) -> Self {
        Self { told: false, ending, grace, pause: None }
    }

    /// Waits until asked to stop, which it is once.
    pub(super) async fn asked(&mut self) {
        if self.told {
            return std::future::pending().await;
        }
        self.ending().await;
        self.told = true;
    }

    /// The same, but where it may end gently so much later.
    pub(super) async fn asked_gently(&mut self) {
        if self.told {
            return std::future::pending().await;
        }
        if self.ending().await == Ending::Gently {
            let grace = self.grace;
            let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(grace)));
            pause.as_mut().await;
        }
        self.told = true;
    }

    /// Has it told once more, to whoever serves from here on.
    pub(super) fn repeat(&mut self) {
        self.told = false;
    }

    /// How it is to end, once it is.
    async fn ending(&mut self) -> Ending {
        // An error says that nobody is there any more who could say it.
        let ending = self.ending.wait_for(|ending| *ending != Ending::Not).await;
        ending.map_or(Ending::Now, |ending| *ending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked_often_has_heard_how_it_is_now() {
        let (end, ending) = watch::channel(Ending::Not);
        let stop = Stop::new(ending, Duration::ZERO);
        let early = Heard::from(&stop);
        assert!(!early.is_gentle());
        end.send_replace(Ending::Gently);
        // One who comes late, after its connection has seen it.
        let mut stop = stop;
        stop.ending.mark_unchanged();
        let late = Heard::from(&stop);
        assert!(early.is_gentle() && late.is_gentle());
        end.send_replace(Ending::Now);
        assert!(!early.is_gentle() && !late.is_gentle());
        end.send_replace(Ending::Gently);
        drop(end);
        assert!(early.is_gentle() && late.is_gentle(), "though nobody is left to say so");
    }
}
