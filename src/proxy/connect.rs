//! One connection to the application: its socket, and HTTP/1.1 on it.
//!
//! Whatever is spoken before HTTP (TLS, a PROXY header) is spoken here, on the stream between the
//! two. Nothing is tried again, and nothing is kept: see [`super::upstream`] and [`super::pool`].

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::body::UpstreamBody;
use super::failure::Failure;
use super::settings::Address;

/// The most that is buffered of one response: its head must fit, and a body is read in pieces of
/// this at most.
const BUFFER_BYTES: usize = 128 * 1024;

/// Sends requests on one connection, which is closed when this is dropped.
pub type Sender = http1::SendRequest<UpstreamBody>;

/// A new connection, within `limit`. `held` is dropped when it has been closed.
pub async fn connect<H>(address: &Address, limit: Duration, held: H) -> Result<Sender, Failure>
where
    H: Send + Unpin + 'static,
{
    match address {
        Address::Tcp { host, port } => {
            let stream = in_time(limit, TcpStream::connect((host.as_str(), *port))).await?;
            // Without it a body's last piece may wait for an acknowledgement.
            stream.set_nodelay(true).map_err(Failure::Connect)?;
            handshake(stream, held).await
        }
        Address::Unix(path) => {
            handshake(in_time(limit, UnixStream::connect(path)).await?, held).await
        }
    }
}

async fn in_time<T>(
    limit: Duration,
    connecting: impl Future<Output = io::Result<T>>,
) -> Result<T, Failure> {
    match timeout(limit, connecting).await {
        Ok(connected) => connected.map_err(Failure::Connect),
        Err(_) => Err(Failure::ConnectTimeout),
    }
}

/// HTTP/1.1 on a stream. The connection is a task of its own on this core.
async fn handshake<S, H>(stream: S, held: H) -> Result<Sender, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Send + Unpin + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(BUFFER_BYTES)
        .handshake(TokioIo::new(Holding { stream, _held: held }))
        .await
        .map_err(Failure::Unsent)?;
    tokio::spawn(async move {
        // Its error reaches the exchange that uses it; an idle connection's has no one to tell.
        // After an upgrade the stream goes on, in a tunnel.
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
}

/// A stream with what is to be dropped when it is closed: it may outlive HTTP, in a tunnel.
struct Holding<S, H> {
    stream: S,
    _held: H,
}

impl<S: AsyncRead + Unpin, H: Unpin> AsyncRead for Holding<S, H> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin, H: Unpin> AsyncWrite for Holding<S, H> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
