//! The sockets of clients, and those that they come in by: TCP or Unix.
//!
//! What both kinds have in common stands here, so that nobody else asks which it is.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener as StdTcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::{Domain, SockRef};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::settings::DoorAddress;

/// Up to so many bytes of several pieces are copied together, and sent as one: the system takes longer
/// to look at a list of pieces than it takes to copy the head and the body of a short message.
const GATHERED_BYTES: usize = 4096;

thread_local! {
    /// Where they are copied to. Nothing stays there.
    static GATHERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The other end of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Tcp(SocketAddr),
    /// It has no address. The permissions of the socket's file let it in.
    Unix,
}

impl Peer {
    /// Its address; of a Unix socket, the loopback address. IPv4 is never written as IPv6.
    pub fn ip(self) -> IpAddr {
        match self {
            Self::Tcp(address) => address.ip().to_canonical(),
            Self::Unix => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(_) => self.ip().fmt(f),
            Self::Unix => f.write_str("a peer on a Unix socket"),
        }
    }
}

/// A socket that listens, of no runtime yet.
#[derive(Debug)]
pub enum Listening {
    Tcp(StdTcpListener),
    Unix(StdUnixListener),
}

impl Listening {
    /// A listening socket that another process has passed.
    ///
    /// # Errors
    /// It is none, or of another kind.
    pub fn of(passed: OwnedFd) -> io::Result<Self> {
        let socket = socket2::Socket::from(passed);
        if !socket.is_listener()? {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match socket.domain()? {
            Domain::IPV4 | Domain::IPV6 => Ok(Self::Tcp(socket.into())),
            Domain::UNIX => Ok(Self::Unix(OwnedFd::from(socket).into())),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// The same socket once more.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(listener) => listener.try_clone().map(Self::Tcp),
            Self::Unix(listener) => listener.try_clone().map(Self::Unix),
        }
    }

    /// Its descriptor.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }

    /// Where it listens; a port that was 0 is what the system gave.
    pub fn address(&self) -> io::Result<DoorAddress> {
        match self {
            Self::Tcp(listener) => Ok(DoorAddress::Tcp(listener.local_addr()?)),
            Self::Unix(listener) => {
                let address = listener.local_addr()?;
                let path = address.as_pathname().map(ToOwned::to_owned);
                Ok(DoorAddress::Unix(path.unwrap_or_default()))
            }
        }
    }

    /// The same socket for the runtime that is entered.
    pub fn register(&self) -> io::Result<Listener> {
        match self {
            Self::Tcp(listener) => TcpListener::from_std(listener.try_clone()?).map(Listener::Tcp),
            Self::Unix(listener) => {
                UnixListener::from_std(listener.try_clone()?).map(Listener::Unix)
            }
        }
    }
}

/// A socket that listens, of one core.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// The next connection, and who made it.
    pub async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Self::Tcp(listener) => {
                listener.accept().await.map(|(stream, peer)| (Socket::Tcp(stream), Peer::Tcp(peer)))
            }
            Self::Unix(listener) => {
                listener.accept().await.map(|(stream, _)| (Socket::Unix(stream), Peer::Unix))
            }
        }
    }
}

/// A socket that is connected: a client's, or the application's.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Reads in a way of the caller's, unless the system has not told of anything to read, nor of
    /// an end, since it was all read.
    ///
    /// # Errors
    ///
    /// `WouldBlock` then, without asking the system; else what `read` says.
    pub fn try_read_by<T>(&self, read: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, read),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, read),
        }
    }

    /// Writes what the system takes at once; how much.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if it takes nothing; else the system's.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
        }
    }

    /// As [`AsyncRead::poll_read`], of a socket that is shared. One task may wait at a time.
    pub fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = buf.remaining();
        loop {
            ready!(self.poll_read_ready(cx))?;
            let before = buf.filled().len();
            let read = self.try_read_by(|| {
                let read = match self {
                    Self::Tcp(stream) => stream.try_read_buf(buf),
                    Self::Unix(stream) => stream.try_read_buf(buf),
                }?;
                all_or_drained(read, room)
            });
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if buf.filled().len() > before {
                        return Poll::Ready(Ok(()));
                    }
                }
                outcome => return Poll::Ready(outcome.map(drop)),
            }
        }
    }

    /// As [`AsyncWrite::poll_write`], of a socket that is shared. One task may wait at a time.
    pub fn poll_send(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(cx))?;
            let mut taken = 0;
            let written = self.try_write_by(|| {
                taken = self.try_write(bytes)?;
                all_or_drained(taken, bytes.len())
            });
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if taken > 0 {
                        return Poll::Ready(Ok(taken));
                    }
                }
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    /// As [`AsyncWrite::poll_write_vectored`], of a socket that is shared. One task may wait at a time.
    pub fn poll_send_vectored(
        &self,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length: usize = bytes.iter().map(|piece| piece.len()).sum();
        if length <= GATHERED_BYTES {
            return GATHERED.with_borrow_mut(|gathered| {
                gathered.clear();
                bytes.iter().for_each(|piece| gathered.extend_from_slice(piece));
                self.poll_send(cx, gathered)
            });
        }
        loop {
            ready!(self.poll_write_ready(cx))?;
            let written = match self {
                Self::Tcp(stream) => stream.try_write_vectored(bytes),
                Self::Unix(stream) => stream.try_write_vectored(bytes),
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    /// Sends no more, as [`AsyncWrite::poll_shutdown`], of a socket that is shared.
    ///
    /// # Errors
    /// The system's.
    pub fn shut_down(&self) -> io::Result<()> {
        match SockRef::from(self).shutdown(Shutdown::Write) {
            // The other end has closed it.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            outcome => outcome,
        }
    }

    fn try_write_by<T>(&self, write: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::WRITABLE, write),
            Self::Unix(stream) => stream.try_io(Interest::WRITABLE, write),
        }
    }

    /// What the client has connected to, if that is an address.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Ready when it can be read, or has ended. It might be ready without cause.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        // An error comes again when it is read.
        self.poll_read_ready(cx).map(drop)
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Unix(stream) => stream.poll_write_ready(cx),
        }
    }

    /// Has what is still to be sent thrown away when it is closed.
    pub fn throw_away(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_zero_linger(),
            // What was written is the peer's already, and in its own memory.
            Self::Unix(_) => Ok(()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// What moved less than it might have has left nothing: that is told the runtime as it is told that
/// nothing moved. The next look waits for the system then, and need not ask it first.
fn all_or_drained(moved: usize, room: usize) -> io::Result<usize> {
    if 0 < moved && moved < room { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(moved) }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_recv(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What was written is the system's.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shut_down())
    }
}
