//! Whoever looks at the page, and the events on the way there.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

use super::Name;

/// So many may look at once. There are 64 places for connections: with some of them programs ask.
pub(super) const MOST_VIEWERS: usize = 32;

/// So many events may wait for a viewer to read. Who reads less has the connection closed, and
/// finds all it missed when it comes again.
const WAITING: usize = 8;

/// After so many events, ten minutes, a viewer is told to come again, which a page does at once.
/// Who is gone without a word, or reads nothing while the system's buffers take it, does not.
const MOST_EVENTS: u32 = 600;

/// What tells a page to come again.
const AGAIN: &[u8] = b"event: again\ndata:\n\n";

#[derive(Default)]
pub(super) struct Viewers {
    all: Vec<Viewer>,
    /// Nobody is to be told anything any more.
    ended: bool,
}

struct Viewer {
    site: Name,
    events: mpsc::Sender<Bytes>,
    /// How many more it will be told.
    left: u32,
}

/// Whether one more may look.
pub(super) enum Place<'a> {
    Free(FreePlace<'a>),
    None,
}

pub(super) struct FreePlace<'a>(&'a mut Viewers);

impl Viewers {
    pub(super) fn place(&mut self) -> Place<'_> {
        self.all.retain(|viewer| !viewer.events.is_closed());
        match !self.ended && self.all.len() < MOST_VIEWERS {
            true => Place::Free(FreePlace(self)),
            false => Place::None,
        }
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
        self.all.clear();
    }

    /// Tells each what is new of its site, rendered once for each site that somebody looks at.
    /// Whose site is gone, or who does not read, is told nothing any more.
    pub(super) fn tell(&mut self, news: impl Fn(&str) -> Option<Bytes>) {
        let mut rendered: Vec<(Name, Option<Bytes>)> = Vec::new();
        self.all.retain_mut(|viewer| {
            let known = rendered.iter().position(|(site, _)| *site == viewer.site);
            let index = known.unwrap_or_else(|| {
                rendered.push((viewer.site.clone(), news(&viewer.site)));
                rendered.len() - 1
            });
            let Some(event) = rendered[index].1.clone() else { return false };
            viewer.left -= 1;
            let (event, stays) = match viewer.left {
                0 => (Bytes::from_static(AGAIN), false),
                _ => (event, true),
            };
            viewer.events.try_send(event).is_ok() && stays
        });
    }
}

impl FreePlace<'_> {
    /// The body of an answer that begins with `first`.
    pub(super) fn take(self, site: Name, first: Bytes) -> Events {
        let (events, receiver) = mpsc::channel(WAITING);
        // There is room for it.
        let _ = events.try_send(first);
        self.0.all.push(Viewer { site, events, left: MOST_EVENTS });
        Events(receiver)
    }
}

/// Events for one viewer, until it is told nothing any more.
#[derive(Debug)]
pub(crate) struct Events(mpsc::Receiver<Bytes>);

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn viewer(viewers: &mut Viewers, site: &str) -> Option<Events> {
        match viewers.place() {
            Place::Free(place) => Some(place.take(site.into(), Bytes::from_static(b"first"))),
            Place::None => None,
        }
    }

    /// All that waits for a viewer, and whether it is told nothing any more.
    fn waiting(events: &mut Events) -> (Vec<Bytes>, bool) {
        let mut found = Vec::new();
        let mut context = Context::from_waker(std::task::Waker::noop());
        loop {
            match std::pin::pin!(events.frame()).poll(&mut context) {
                Poll::Ready(Some(frame)) => {
                    found.push(frame.expect("it never fails").into_data().expect("data"));
                }
                Poll::Ready(None) => return (found, true),
                Poll::Pending => return (found, false),
            }
        }
    }

    fn news(site: &str) -> Option<Bytes> {
        Some(Bytes::from(site.to_owned()))
    }

    #[test]
    fn each_is_told_of_its_own_site_and_a_site_is_rendered_once() {
        let mut viewers = Viewers::default();
        let mut all = ["a", "b", "a"].map(|site| viewer(&mut viewers, site).expect("a place"));
        let rendered = std::cell::Cell::new(0);
        viewers.tell(|site| {
            rendered.set(rendered.get() + 1);
            news(site)
        });
        assert_eq!(rendered.get(), 2);
        let told = all.each_mut().map(|events| waiting(events).0);
        assert_eq!(told, [["first", "a"], ["first", "b"], ["first", "a"]]);
    }

    #[test]
    fn who_reads_nothing_is_told_so_much_and_no_more() {
        let mut viewers = Viewers::default();
        let mut idle = viewer(&mut viewers, "a").expect("a place");
        for _ in 0..2 * WAITING {
            viewers.tell(news);
        }
        assert!(viewers.all.is_empty());
        let (told, ended) = waiting(&mut idle);
        assert_eq!((told.len(), ended), (WAITING, true));
    }

    #[test]
    fn whose_site_is_gone_is_told_nothing_any_more() {
        let mut viewers = Viewers::default();
        let mut events = viewer(&mut viewers, "a").expect("a place");
        viewers.tell(|_| None);
        assert_eq!(waiting(&mut events), (vec![Bytes::from_static(b"first")], true));
    }

    #[test]
    fn after_ten_minutes_a_viewer_has_to_come_again() {
        let mut viewers = Viewers::default();
        let mut events = viewer(&mut viewers, "a").expect("a place");
        let mut told = Vec::new();
        for _ in 0..MOST_EVENTS {
            viewers.tell(news);
            told.extend(waiting(&mut events).0);
        }
        assert_eq!(told.len() as u32, MOST_EVENTS + 1);
        assert_eq!(told.last().expect("some"), AGAIN);
        assert_eq!(waiting(&mut events), (vec![], true));
    }

    #[test]
    fn a_place_is_free_again_once_its_viewer_is_gone() {
        let mut viewers = Viewers::default();
        let mut all: Vec<Events> =
            std::iter::from_fn(|| viewer(&mut viewers, "a")).take(100).collect();
        assert_eq!(all.len(), MOST_VIEWERS);
        all.pop();
        all.extend(viewer(&mut viewers, "a"));
        assert_eq!(all.len(), MOST_VIEWERS);
    }

    #[test]
    fn at_the_end_all_events_end() {
        let mut viewers = Viewers::default();
        let mut events = viewer(&mut viewers, "a").expect("a place");
        viewers.end();
        assert_eq!(waiting(&mut events), (vec![Bytes::from_static(b"first")], true));
        assert!(viewer(&mut viewers, "a").is_none());
    }
}
