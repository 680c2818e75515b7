//! What is said between a process and its successor: frames, and file descriptors (unix(7),
//! `SCM_RIGHTS`).

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// No frame is longer: a snapshot comes in pieces.
const LONGEST: u32 = 64 << 20;

/// What is said, but for the sockets themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A piece of a site's snapshot; an empty one ends it.
    Snapshot { site: u32, bytes: &'a [u8] },
    /// Every snapshot is through, and the state files are free.
    Ready,
    /// The successor accepts connections.
    Serving,
    /// What happened on a site.
    Told { site: u32, bytes: &'a [u8] },
    /// One of those has been taken in.
    Taken,
    /// Nothing runs any more, and all was told.
    Gone,
}

/// A frame that has come; its bytes are in the buffer that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    Snapshot(u32),
    Ready,
    Serving,
    Told(u32),
    Taken,
    Gone,
}

impl Frame<'_> {
    pub(super) fn write(self, to: &mut impl Write) -> io::Result<()> {
        let (kind, site, bytes): (u8, u32, &[u8]) = match self {
            Self::Snapshot { site, bytes } => (1, site, bytes),
            Self::Ready => (2, 0, &[]),
            Self::Serving => (3, 0, &[]),
            Self::Told { site, bytes } => (4, site, bytes),
            Self::Gone => (5, 0, &[]),
            Self::Taken => (6, 0, &[]),
        };
        let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut head = [0; 9];
        head[0] = kind;
        head[1..5].copy_from_slice(&site.to_le_bytes());
        head[5..].copy_from_slice(&length.to_le_bytes());
        to.write_all(&head)?;
        to.write_all(bytes)
    }
}

impl Came {
    /// Reads the next frame, its bytes into `bytes`. A read that has a time limit may end with
    /// `WouldBlock`, before anything of a frame has come: within one it is waited for.
    pub(super) fn read(from: &mut UnixStream, bytes: &mut Vec<u8>) -> io::Result<Self> {
        let mut head = [0; 9];
        // A read with a time limit is interrupted where the process was stopped and goes on
        // (signal(7)): that is no end.
        let first = uninterrupted(|| from.read(&mut head))?;
        if first == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        fill(from, &mut head[first..])?;
        let site = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
        let length = u32::from_le_bytes([head[5], head[6], head[7], head[8]]);
        if length > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        bytes.clear();
        bytes.resize(length as usize, 0);
        fill(from, bytes)?;
        Ok(match head[0] {
            1 => Self::Snapshot(site),
            2 => Self::Ready,
            3 => Self::Serving,
            4 => Self::Told(site),
            5 => Self::Gone,
            6 => Self::Taken,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }
}

/// Fills `bytes`, over pauses.
fn fill(from: &mut UnixStream, mut bytes: &mut [u8]) -> io::Result<()> {
    /// As many reads that time out as are endured within one frame.
    const PAUSES: usize = 200;
    let mut pauses = 0;
    while !bytes.is_empty() {
        match uninterrupted(|| from.read(bytes)) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => bytes = &mut bytes[length..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && pauses < PAUSES => {
                pauses += 1;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// Passes a file descriptor, with one byte.
pub(super) fn pass(stream: &UnixStream, socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let sockets = [socket];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    uninterrupted(|| {
        Ok(sendmsg(stream, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::empty())?)
    })?;
    Ok(())
}

/// Takes a file descriptor that was passed.
pub(super) fn receive(stream: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut pieces = [IoSliceMut::new(&mut byte)];
    let message = uninterrupted(|| {
        Ok(recvmsg(stream, &mut pieces, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?)
    })?;
    if message.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut sockets = ancillary.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(sockets) => sockets.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    sockets.next().ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::thread;

    use super::*;

    #[test]
    fn frames_and_sockets_come_as_they_were_sent() {
        let (mut here, mut there) = UnixStream::pair().expect("a pair");
        let long = vec![7; 3 << 20];
        let sent = long.clone();
        let sender = thread::spawn(move || {
            let (passed, kept) = UnixStream::pair().expect("a pair");
            pass(&here, passed.as_fd()).expect("it is taken");
            for frame in [
                Frame::Snapshot { site: 3, bytes: &sent },
                Frame::Ready,
                Frame::Told { site: 1, bytes: b"x" },
                Frame::Gone,
            ] {
                frame.write(&mut here).expect("it is read");
            }
            kept
        });
        let mut passed = UnixStream::from(receive(&there).expect("a socket"));
        let mut bytes = Vec::new();
        let mut next = || Came::read(&mut there, &mut bytes).map(|came| (came, bytes.clone()));
        assert!(next().is_ok_and(|came| came == (Came::Snapshot(3), long)));
        assert!(next().is_ok_and(|came| came == (Came::Ready, Vec::new())));
        assert!(next().is_ok_and(|came| came == (Came::Told(1), b"x".to_vec())));
        assert!(next().is_ok_and(|came| came == (Came::Gone, Vec::new())));
        let mut kept = sender.join().expect("no panic");
        assert!(next().is_err(), "the end");
        kept.write_all(b"hello").expect("the other end is open");
        let mut said = [0; 5];
        passed.read_exact(&mut said).expect("it was said");
        assert_eq!(&said, b"hello");
    }
}
