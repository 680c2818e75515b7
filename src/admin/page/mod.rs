//! The page that operators look at: its files, the last hour, and the events that keep it live.
//!
//! One look at the process a second serves everybody who looks, and the last hour is there before
//! anybody does. It promises that nothing outside of this listener is asked for anything, and that
//! a viewer who does not read costs a bounded amount of memory, for a bounded time.

mod assets;
mod columns;
mod events;
mod recent;
mod render;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;

pub(super) use self::events::Events;
use self::events::{Place, Viewers};
use self::recent::{Recent, Taken};
use super::serve::{Reply, plain};
use crate::telemetry::snapshot::Snapshot;

/// What is kept between two looks.
#[derive(Default)]
pub(super) struct Page(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    recent: Recent,
    viewers: Viewers,
}

impl Page {
    /// Takes a look at the process, once a second, and tells whoever looks at the page.
    pub(super) fn take(&self, snapshot: Arc<Snapshot>) {
        let mut kept = self.lock();
        let Kept { recent, viewers } = &mut *kept;
        if recent.take(snapshot) == Taken::Now {
            viewers.tell(|site| render::news(recent, site));
        }
    }

    /// Nobody is told anything any more.
    pub(super) fn end(&self) {
        self.lock().viewers.end();
    }

    /// The answer to a request that may be answered; `None` where nothing of this is meant.
    pub(super) fn answer(&self, request: &Request<Incoming>) -> Option<Reply> {
        match request.uri().path() {
            "/events" => Some(self.events(request)),
            path => assets::answer(path, request.headers()).map(|reply| reply.map(Either::Left)),
        }
    }

    fn events(&self, request: &Request<Incoming>) -> Reply {
        // Pages of other sites cannot read what comes, but could take all places.
        if request.headers().get("sec-fetch-site").is_some_and(|site| site != "same-origin") {
            return plain(StatusCode::FORBIDDEN, "only for the page at /\n");
        }
        let mut kept = self.lock();
        let Kept { recent, viewers } = &mut *kept;
        let site = recent.site(wanted_site(request.uri().query()).as_deref());
        let Place::Free(place) = viewers.place() else {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "too many look already\n");
        };
        let body = match *request.method() {
            Method::HEAD => Either::Left(Full::new(Bytes::new())),
            _ => {
                let last = request.headers().get("last-event-id");
                let last = last.and_then(|last| last.to_str().ok());
                Either::Right(place.take(site.clone(), render::backlog(recent, &site, last)))
            }
        };
        let mut reply = Response::new(body);
        assets::secure(reply.headers_mut(), HeaderValue::from_static("no-store"));
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        // Else nginx would keep it back until there is more.
        reply.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
        reply
    }

    /// It stays right whoever panics: numbers for a plot.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The site that a query names, as `site=NAME`.
fn wanted_site(query: Option<&str>) -> Option<String> {
    let site = query?.split('&').find_map(|pair| pair.strip_prefix("site="))?;
    Some(percent_decode_str(site).decode_utf8_lossy().into_owned())
}

/// Names are shared by all that look at a site.
type Name = Arc<str>;
