//! The buffers that a core reads into: taken for one read, and kept until what was read is gone.
//!
//! A connection that waits holds none. What is short is copied, so that a little of a slow response
//! does not hold a large buffer; what is long is passed on as it lies. Each core keeps a few that
//! nobody uses.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

/// Pages and small uploads fit into one with their heads.
pub const SMALL_BYTES: usize = 32 << 10;
/// Of a long body.
pub const LARGE_BYTES: usize = 128 << 10;
/// Of a long body as much as can be had at once: a download takes a quarter less CPU time than in large
/// ones. While so many are lent, who asks for one gets a large one: clients that take nothing hold
/// no more of these.
pub const HUGE_BYTES: usize = 512 << 10;
const HUGE_LENT: usize = 16;
/// What fills no more than this part of a small or of a large buffer is copied out of it: memory for
/// more than 1 KiB takes glibc longer than a buffer of ours.
const COPIED_PART: usize = 16;
/// So many unused ones are kept of each kind: one megabyte.
const SMALL_KEPT: usize = 32;
const LARGE_KEPT: usize = 8;
const HUGE_KEPT: usize = 2;
/// So many for the heads of requests, none larger than this.
const HEADS_KEPT: usize = 16;
const HEAD_BYTES: usize = 4 << 10;

/// How large a buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Small,
    Large,
}

impl Size {
    /// For the next read, after one that filled so much of a buffer of so many bytes.
    const fn after(self, read: usize, bytes: usize) -> Self {
        if read == bytes {
            Self::Large
        } else if read <= SMALL_BYTES {
            Self::Small
        } else {
            self
        }
    }
}

/// Those of a core that nobody uses.
#[derive(Default)]
struct Store {
    small: Vec<Box<[u8]>>,
    large: Vec<Box<[u8]>>,
    huge: Vec<Box<[u8]>>,
    /// How many of the last kind are lent.
    huge_lent: usize,
    heads: Vec<Vec<u8>>,
}

thread_local! {
    static STORE: RefCell<Store> = RefCell::default();
}

/// Asks the store; `None` where the thread is ending.
fn with_store<T>(ask: impl FnOnce(&mut Store) -> T) -> Option<T> {
    STORE.try_with(|store| store.try_borrow_mut().ok().map(|mut store| ask(&mut store))).ok()?
}

fn take(size: Size) -> Box<[u8]> {
    let taken = with_store(|store| {
        let (kept, bytes) = match size {
            Size::Small => (&mut store.small, SMALL_BYTES),
            Size::Large if store.huge_lent < HUGE_LENT => {
                store.huge_lent += 1;
                (&mut store.huge, HUGE_BYTES)
            }
            Size::Large => (&mut store.large, LARGE_BYTES),
        };
        kept.pop().unwrap_or_else(|| vec![0; bytes].into_boxed_slice())
    });
    taken.unwrap_or_else(|| vec![0; SMALL_BYTES].into_boxed_slice())
}

fn give_back(buffer: Box<[u8]>) {
    with_store(|store| {
        let (kept, most) = match buffer.len() {
            SMALL_BYTES => (&mut store.small, SMALL_KEPT),
            LARGE_BYTES => (&mut store.large, LARGE_KEPT),
            HUGE_BYTES => {
                store.huge_lent = store.huge_lent.saturating_sub(1);
                (&mut store.huge, HUGE_KEPT)
            }
            _ => return,
        };
        if kept.len() < most {
            kept.push(buffer);
        }
    });
}

/// An empty buffer to write a request's head into.
pub fn take_head() -> Vec<u8> {
    with_store(|store| store.heads.pop()).flatten().unwrap_or_default()
}

/// Keeps it for another head.
pub fn give_back_head(mut head: Vec<u8>) {
    if head.capacity() > HEAD_BYTES || head.capacity() == 0 {
        return;
    }
    head.clear();
    with_store(|store| {
        if store.heads.len() < HEADS_KEPT {
            store.heads.push(head);
        }
    });
}

/// Reads once; nothing where the stream has ended. `size` becomes that for the next read.
pub fn poll_read(
    stream: Pin<&mut impl AsyncRead>,
    cx: &mut Context<'_>,
    size: &mut Size,
) -> Poll<io::Result<Bytes>> {
    let mut lent = Lent { buffer: take(*size), length: 0 };
    let mut into = ReadBuf::new(&mut lent.buffer);
    ready!(stream.poll_read(cx, &mut into))?;
    lent.length = into.filled().len();
    let bytes = lent.buffer.len();
    let short = lent.length <= bytes.min(LARGE_BYTES) / COPIED_PART;
    *size = size.after(lent.length, bytes);
    Poll::Ready(Ok(if short {
        Bytes::copy_from_slice(lent.as_ref())
    } else {
        Bytes::from_owner(lent)
    }))
}

/// A buffer, and how much was read into it; given back when dropped.
struct Lent {
    buffer: Box<[u8]>,
    length: usize,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads all of `bytes`, with the sizes of what was read and of the buffers for it.
    fn read_all(mut bytes: &[u8]) -> Vec<(usize, Size)> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let (mut size, mut read) = (Size::Small, Vec::new());
        loop {
            let used = size;
            match poll_read(Pin::new(&mut bytes), &mut cx, &mut size) {
                Poll::Ready(Ok(piece)) if piece.is_empty() => return read,
                Poll::Ready(Ok(piece)) => read.push((piece.len(), used)),
                Poll::Ready(Err(_)) | Poll::Pending => unreachable!("a slice is always there"),
            }
        }
    }

    fn kept() -> (usize, usize) {
        with_store(|store| (store.small.len(), store.huge.len())).expect("the thread runs")
    }

    #[test]
    fn what_is_long_is_read_into_large_buffers() {
        let read = read_all(&vec![1; SMALL_BYTES + 2 * HUGE_BYTES + 10]);
        assert_eq!(
            read,
            [
                (SMALL_BYTES, Size::Small),
                (HUGE_BYTES, Size::Large),
                (HUGE_BYTES, Size::Large),
                (10, Size::Large)
            ]
        );
    }

    #[test]
    fn buffers_come_back_when_what_was_read_is_dropped_and_not_without_bound() {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let bytes = vec![1; SMALL_BYTES];
        let mut read = || {
            let mut size = Size::Small;
            poll_read(Pin::new(&mut &*bytes), &mut cx, &mut size)
        };
        let lent: Vec<_> = (0..SMALL_KEPT + 5).map(|_| read()).collect();
        assert_eq!(kept().0, 0);
        drop(lent);
        assert_eq!(kept().0, SMALL_KEPT);
        let one = read();
        assert_eq!(kept().0, SMALL_KEPT - 1, "it is used again");
        drop(one);
        assert_eq!(kept().0, SMALL_KEPT);
    }

    #[test]
    fn no_more_than_so_many_huge_ones_are_lent() {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let bytes = vec![1; HUGE_BYTES];
        let mut read = || {
            let mut size = Size::Large;
            match poll_read(Pin::new(&mut &*bytes), &mut cx, &mut size) {
                Poll::Ready(Ok(piece)) => piece,
                Poll::Ready(Err(_)) | Poll::Pending => unreachable!("a slice is always there"),
            }
        };
        let lent: Vec<_> = (0..HUGE_LENT).map(|_| read()).collect();
        assert!(lent.iter().all(|piece| piece.len() == HUGE_BYTES));
        let next = read();
        assert_eq!(next.len(), LARGE_BYTES);
        drop(lent);
        assert_eq!(kept().1, HUGE_KEPT);
        assert_eq!(read().len(), HUGE_BYTES);
    }

    #[test]
    fn what_is_short_holds_no_buffer_and_neither_does_who_waits() {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut size = Size::Large;
        let short = poll_read(Pin::new(&mut &b"short"[..]), &mut cx, &mut size);
        assert!(matches!(short, Poll::Ready(Ok(bytes)) if bytes == "short"));
        assert_eq!((size, kept()), (Size::Small, (0, 1)));
        let (mut silent, _other) = tokio::io::duplex(1);
        assert!(poll_read(Pin::new(&mut silent), &mut cx, &mut size).is_pending());
        assert_eq!(kept(), (1, 1));
    }
}
