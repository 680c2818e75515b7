//! A response that came before its request had been sent.
//!
//! The rest of the request goes on, however slowly the client takes the response: it may be a client
//! that reads nothing before it has sent everything. So a task of its own moves both, and no piece
//! of the response waits in it but one.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::body::UpstreamBody;
use super::link::Cause;
use super::server::Lease;

/// A response's body, as it comes from its task. Dropped before its end, the connection is closed.
#[derive(Debug)]
pub struct Pumped {
    pieces: mpsc::Receiver<Result<Frame<Bytes>, Cause>>,
    /// What is left of it, where that is known.
    left: Option<u64>,
}

impl Pumped {
    /// Sends the rest of a request while its response is read from the connection of `lease`, which
    /// is given back when both have ended.
    pub fn start(lease: Lease, unsent: UpstreamBody) -> Self {
        let left = lease.size_hint().exact();
        let (sender, pieces) = mpsc::channel(1);
        tokio::spawn(Pump { lease, unsent, is_sending: true }.run(sender));
        Self { pieces, left }
    }

    /// The next piece; none when it has ended.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let polled = self.pieces.poll_recv(cx);
        match (&polled, &mut self.left) {
            (Poll::Ready(Some(Ok(frame))), Some(left)) => {
                *left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
            }
            (Poll::Ready(None), left) => *left = Some(0),
            (Poll::Ready(Some(_)) | Poll::Pending, _) => {}
        }
        polled
    }

    /// Whether it has ended.
    pub fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    /// What is left of it.
    pub fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

struct Pump {
    lease: Lease,
    unsent: UpstreamBody,
    is_sending: bool,
}

impl Pump {
    async fn run(mut self, sender: mpsc::Sender<Result<Frame<Bytes>, Cause>>) {
        while !self.lease.is_end_stream() {
            let Ok(room) = self.while_sending(sender.reserve()).await else { return };
            let gone = pin!(sender.closed());
            let mut gone = Some(gone);
            let piece = poll_fn(|cx| {
                self.send(cx);
                if gone.as_mut().is_some_and(|gone| gone.as_mut().poll(cx).is_ready()) {
                    gone = None;
                    return Poll::Ready(None);
                }
                self.lease.link().poll_frame(cx).map(Some)
            });
            match piece.await {
                Some(Some(piece @ Ok(_))) => room.send(piece),
                Some(Some(flaw @ Err(_))) => return room.send(flaw),
                Some(None) => break,
                // Nobody wants it any more.
                None => return,
            }
        }
        drop(sender);
        let limit = self.lease.settle_timeout();
        let settling = poll_fn(|cx| {
            self.send(cx);
            if !self.is_sending { Poll::Ready(()) } else { self.lease.link().poll_disturbed(cx) }
        });
        // Whatever came of it, the connection knows whether it can be used again.
        let _ = timeout(limit, settling).await;
        self.lease.give_back();
    }

    async fn while_sending<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = pin!(other);
        poll_fn(|cx| {
            self.send(cx);
            other.as_mut().poll(cx)
        })
        .await
    }

    fn send(&mut self, cx: &mut Context<'_>) {
        if self.is_sending && self.lease.link().poll_upload(cx, &mut self.unsent).is_ready() {
            self.is_sending = false;
        }
    }
}
