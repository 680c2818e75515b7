//! A socket to the application, on which its core's outbox sends requests that wait for their turn.
//!
//! It borrows a request, and gives it back with how much of it was sent. It promises that nothing of it
//! is sent when something has come meanwhile by a connection that has carried requests before: that is
//! no answer to it, and such a connection is of no use; nor when it is dropped before. It refuses to
//! know what a request is.

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::outbox::{self, Letter};
use super::socket::Socket;

/// A socket to the application.
#[derive(Debug)]
pub struct Outlet(Arc<Shared>);

/// What is its own and the outbox's.
#[derive(Debug)]
struct Shared {
    socket: Socket,
    loan: Mutex<Loan>,
}

/// What is borrowed.
#[derive(Debug)]
struct Loan {
    state: State,
    /// The request, and how much of it was sent.
    request: Vec<u8>,
    sent: usize,
    /// Whether the connection has carried requests before.
    is_used: bool,
    /// Whom the outbox wakes if it could not send all.
    task: Waker,
}

/// Of what is borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Nothing,
    /// It waits for its turn.
    Posted,
    /// It had its turn.
    Due,
}

impl Outlet {
    /// Nothing is borrowed.
    pub fn new(socket: Socket) -> Self {
        let loan = Mutex::new(Loan {
            state: State::Nothing,
            request: Vec::new(),
            sent: 0,
            is_used: false,
            task: Waker::noop().clone(),
        });
        Self(Arc::new(Shared { socket, loan }))
    }

    /// Whether there is nothing to read, not even an end, of what the system has told of. A request
    /// that came by itself was told of later than all that the server had sent before it.
    pub fn is_silent(&self) -> bool {
        self.0.is_silent()
    }

    /// Takes a request, to have it sent at its turn; [`Self::poll_sent`] gives it back. The task is
    /// woken when there is something to read, or if not all of the request could be sent. False, and
    /// nothing is taken, where there is something to read already, or no outbox.
    pub fn borrow(&self, cx: &mut Context<'_>, request: &mut Vec<u8>, is_used: bool) -> bool {
        if self.0.socket.poll_readable(cx).is_ready() {
            return false;
        }
        let mut loan = self.0.lock();
        if !outbox::post(Arc::clone(&self.0) as _) {
            return false;
        }
        loan.task.clone_from(cx.waker());
        (loan.request, loan.sent) = (mem::take(request), 0);
        (loan.state, loan.is_used) = (State::Posted, is_used);
        true
    }

    /// Gives back what was borrowed, with how much of it was sent: when it had its turn, or when there
    /// is something to read before. `None` where nothing was.
    pub fn poll_sent(&self, cx: &mut Context<'_>) -> Poll<Option<(Vec<u8>, usize)>> {
        let mut loan = self.0.lock();
        match loan.state {
            State::Nothing => return Poll::Ready(None),
            State::Posted if self.0.socket.poll_readable(cx).is_pending() => {
                loan.task.clone_from(cx.waker());
                return Poll::Pending;
            }
            State::Posted => outbox::withdraw(&self.0),
            State::Due => {}
        }
        loan.state = State::Nothing;
        Poll::Ready(Some((mem::take(&mut loan.request), loan.sent)))
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        if mem::replace(&mut self.0.lock().state, State::Nothing) == State::Posted {
            outbox::withdraw(&self.0);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Loan> {
        // Nothing panics between the steps of one change.
        self.loan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_silent(&self) -> bool {
        let peek = || {
            let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            rustix::net::recv(&self.socket, &mut [0], flags).map_err(io::Error::from)
        };
        let peeked = self.socket.try_read_by(peek);
        matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends what the socket takes at once; whether that is all. An error comes again when its owner
    /// writes.
    fn try_send(&self, loan: &mut Loan) -> bool {
        if loan.is_used && !self.is_silent() {
            return false;
        }
        while loan.sent < loan.request.len() {
            match self.socket.try_write(&loan.request[loan.sent..]) {
                Ok(0) | Err(_) => return false,
                Ok(sent) => loan.sent += sent,
            }
        }
        true
    }
}

impl Letter for Shared {
    fn send(&self) {
        let mut loan = self.lock();
        if loan.state != State::Posted {
            return;
        }
        loan.state = State::Due;
        if !self.try_send(&mut loan) {
            loan.task.wake_by_ref();
        }
    }
}

impl AsyncRead for Outlet {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.socket.poll_recv(cx, buf)
    }
}

impl AsyncWrite for Outlet {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.socket.poll_send(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.socket.poll_send_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.socket.is_write_vectored()
    }

    /// What was written is the system's.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.socket.shut_down())
    }
}

#[cfg(test)]
#[path = "outlet_tests.rs"]
mod tests;
