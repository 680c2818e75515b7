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

#[derive(Default)]
pub(super) struct Viewers(Vec<Viewer>);

struct Viewer {
    site: Name,
    events: mpsc::Sender<Bytes>,
}

/// Whether one more may look.
pub(super) enum Place<'a> {
    Free(FreePlace<'a>),
    None,
}

pub(super) struct FreePlace<'a>(&'a mut Viewers);

impl Viewers {
    pub(super) fn place(&mut self) -> Place<'_> {
        self.0.retain(|viewer| !viewer.events.is_closed());
        match self.0.len() < MOST_VIEWERS {
            true => Place::Free(FreePlace(self)),
            false => Place::None,
        }
    }

    /// Tells each what is new of its site, rendered once for each site that somebody looks at.
    /// Whose site is gone, or who does not read, is told nothing any more.
    pub(super) fn tell(&mut self, news: impl Fn(&str) -> Option<Bytes>) {
        let mut rendered: Vec<(Name, Option<Bytes>)> = Vec::new();
        self.0.retain(|viewer| {
            let known = rendered.iter().position(|(site, _)| *site == viewer.site);
            let index = known.unwrap_or_else(|| {
                rendered.push((viewer.site.clone(), news(&viewer.site)));
                rendered.len() - 1
            });
            let event = rendered[index].1.clone();
            event.is_some_and(|event| viewer.events.try_send(event).is_ok())
        });
    }
}

impl FreePlace<'_> {
    /// The body of an answer that begins with `first`.
    pub(super) fn take(self, site: Name, first: Bytes) -> Events {
        let (events, receiver) = mpsc::channel(WAITING);
        // There is room for it.
        let _ = events.try_send(first);
        self.0.0.push(Viewer { site, events });
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
