//! What was written and is not sent yet, because other tasks have their turn first: see [`Turn`](super::turn::Turn).

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::mem;
use std::task::{Context, Poll, ready};

use super::socket::Socket;

/// The most that is held: pages fit in with their heads. To copy more takes longer than waiting saves.
pub const HELD_BYTES: usize = 16 << 10;
/// So many buffers are kept for the next that is held: half a megabyte on each core.
const KEPT: usize = 32;

thread_local! {
    static UNUSED: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// What was written and is not sent yet. Empty, it has no buffer.
#[derive(Debug, Default)]
pub struct Held {
    bytes: Vec<u8>,
    sent: usize,
}

impl Held {
    /// Whether all was sent.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes pieces behind what it holds, if there is room for all of them; how long they are.
    pub fn take(&mut self, pieces: &[IoSlice<'_>]) -> Option<usize> {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        if self.bytes.len() + length > HELD_BYTES {
            return None;
        }
        if self.bytes.capacity() == 0 {
            // A thread that ends keeps none.
            let unused = UNUSED.try_with(|unused| unused.borrow_mut().pop());
            self.bytes = unused.ok().flatten().unwrap_or_default();
        }
        pieces.iter().for_each(|piece| self.bytes.extend_from_slice(piece));
        Some(length)
    }

    /// Sends a part; how much.
    ///
    /// # Errors
    /// Those of writing to a socket; that it takes nothing is one.
    pub fn poll_send(&mut self, socket: &Socket, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let sent = ready!(socket.poll_send(cx, &self.bytes[self.sent..]))?;
        Poll::Ready(self.sent(sent))
    }

    /// Sends a part at once; how much.
    ///
    /// # Errors
    /// `WouldBlock` if the socket takes nothing just now; else as above.
    pub fn try_send(&mut self, socket: &Socket) -> io::Result<usize> {
        let sent = socket.try_write(&self.bytes[self.sent..])?;
        self.sent(sent)
    }

    fn sent(&mut self, sent: usize) -> io::Result<usize> {
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.sent += sent;
        if self.sent == self.bytes.len() {
            self.sent = 0;
            let mut buffer = mem::take(&mut self.bytes);
            buffer.clear();
            // As above.
            let _ = UNUSED.try_with(|unused| {
                let mut unused = unused.borrow_mut();
                if unused.len() < KEPT && buffer.capacity() <= HELD_BYTES {
                    unused.push(buffer);
                }
            });
        }
        Ok(sent)
    }
}
