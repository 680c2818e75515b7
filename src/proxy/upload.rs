//! The body of a client's request, as the client sends it: bounded in size and in time.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::clock::Clock;
use super::failure::Failure;
use super::http1;
use super::pace::{Alarm, Pace};
use super::seat::Running;
use super::settings::DownstreamLimits;

/// How it comes.
#[derive(Debug)]
pub enum Incoming {
    Http1(http1::Incoming),
    Http2(hyper::body::Incoming),
}

/// Why it does not.
#[derive(Debug)]
pub enum Cause {
    Http1(http1::Flaw),
    Http2(hyper::Error),
}

impl Incoming {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        match self {
            Self::Http1(incoming) => Pin::new(incoming)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(Cause::Http1))),
            Self::Http2(incoming) => Pin::new(incoming)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(Cause::Http2))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(incoming) => incoming.is_end_stream(),
            Self::Http2(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(incoming) => incoming.size_hint(),
            Self::Http2(incoming) => incoming.size_hint(),
        }
    }
}

/// The body of a request.
#[derive(Debug)]
pub struct Upload {
    /// `None` when there is none, or when it has ended. Most requests have none: it is not to be
    /// carried about with them.
    source: Option<Box<Source>>,
    clock: Clock,
}

#[derive(Debug)]
struct Source {
    incoming: Incoming,
    /// Bytes that may still come.
    left: u64,
    pace: Pace,
    alarm: Option<Alarm>,
    /// The exchange is not over before this has ended.
    running: Running,
    /// Nothing more will come.
    ended: bool,
}

impl Drop for Source {
    fn drop(&mut self) {
        if !self.ended && !self.incoming.is_end_stream() {
            self.running.leave_unread();
        }
    }
}

impl Upload {
    /// What comes by `incoming`, a part of the exchange that `running` stands for.
    pub fn new(
        incoming: Incoming,
        limits: &DownstreamLimits,
        clock: Clock,
        running: &Running,
    ) -> Self {
        let source = (!incoming.is_end_stream()).then(|| {
            Box::new(Source {
                incoming,
                left: limits.body_bytes,
                pace: Pace::new(limits.body_timeout, limits.body_rate),
                alarm: None,
                running: running.clone(),
                ended: false,
            })
        });
        Self { source, clock }
    }

    /// Whether its end, its trailers or its failure have been read.
    pub const fn has_ended(&self) -> bool {
        self.source.is_none()
    }

    /// None.
    pub const fn none(clock: Clock) -> Self {
        Self { source: None, clock }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Failure;

    /// Ready with a failure when the client has had enough time, or has sent too much.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let clock = self.clock;
        let Some(source) = &mut self.source else { return Poll::Ready(None) };
        let failure = match source.incoming.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                if let Some(left) = source.left.checked_sub(bytes) {
                    source.left = left;
                    source.pace.moved(clock.now(), bytes);
                    if frame.is_trailers() {
                        // The last frame.
                        source.ended = true;
                        self.source = None;
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Some(Failure::UploadTooLarge)
            }
            Poll::Ready(Some(Err(error))) => Some(Failure::Upload(error)),
            Poll::Ready(None) => {
                source.ended = true;
                None
            }
            Poll::Pending => {
                let now = clock.now();
                let due = source.pace.wait(now);
                let alarm =
                    source.alarm.get_or_insert_with(|| Alarm::new(now, source.pace.limit()));
                if alarm.poll(cx, &clock, due).is_pending() {
                    return Poll::Pending;
                }
                Some(Failure::UploadStalled)
            }
        };
        self.source = None;
        Poll::Ready(failure.map(Err))
    }

    fn is_end_stream(&self) -> bool {
        self.source.as_ref().is_none_or(|source| source.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.source
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |source| source.incoming.size_hint())
    }
}
