//! One connection to the application: its socket, and HTTP/1.1 on it.
//!
//! Whatever is spoken before HTTP (TLS, a PROXY header) is spoken here, on the stream between the
//! two. Nothing is tried again, and nothing is kept: see [`super::upstream`] and [`super::pool`].

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::body::UpstreamBody;
use super::failure::Failure;
use super::server::Server;
use super::settings::Address;
use super::tls::client::Client;

/// The most that is buffered of one response: its head must fit, and a body is read in pieces of
/// this at most.
const BUFFER_BYTES: usize = 128 * 1024;

/// A connection to the application. Dropped, it is closed by the core that it belongs to.
#[derive(Debug)]
pub struct Link {
    pub sender: http1::SendRequest<UpstreamBody>,
    pub wire: Arc<Wire>,
}

/// What was seen on a connection.
#[derive(Debug, Default)]
pub struct Wire {
    answered: AtomicBool,
}

impl Wire {
    /// A request is about to be written.
    pub fn ask(&self) {
        self.answered.store(false, Ordering::Relaxed);
    }

    /// Whether as much as a byte has come since.
    pub fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }
}

/// A new connection, within `limit`. `held` is dropped when it has been closed.
pub async fn connect<H>(server: &Server, limit: Duration, held: H) -> Result<Link, Failure>
where
    H: Send + 'static,
{
    match &server.address {
        Address::Tcp { host, port } => {
            handshake(in_time(limit, tcp(host, *port)).await?, held).await
        }
        Address::Tls { host, port } => {
            let connecting = tls(server.tls.as_deref(), host, *port);
            handshake(in_time(limit, connecting).await?, held).await
        }
        Address::Unix(path) => {
            let connecting = async { UnixStream::connect(path).await.map_err(Failure::Connect) };
            handshake(in_time(limit, connecting).await?, held).await
        }
    }
}

async fn in_time<T>(
    limit: Duration,
    connecting: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(limit, connecting).await.unwrap_or(Err(Failure::ConnectTimeout))
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect((host, port)).await.map_err(Failure::Connect)?;
    // Without it a body's last piece may wait for an acknowledgement.
    stream.set_nodelay(true).map_err(Failure::Connect)?;
    Ok(stream)
}

async fn tls(
    client: Option<&Client>,
    host: &str,
    port: u16,
) -> Result<TlsStream<TcpStream>, Failure> {
    let Some(client) = client else {
        return Err(Failure::Untrusted(io::Error::other("nothing was set up for it")));
    };
    let stream = tcp(host, port).await?;
    client.connect(host, stream).await.map_err(Failure::Untrusted)
}

/// HTTP/1.1 on a stream. The connection is a task of its own on this core.
async fn handshake<S, H>(stream: S, held: H) -> Result<Link, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Send + 'static,
{
    let wire = Arc::new(Wire::default());
    let stream = Attentive { stream, wire: Arc::clone(&wire), broken: None };
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(BUFFER_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Failure::Unsent)?;
    tokio::spawn(async move {
        // Its error reaches the exchange that uses it; an idle connection's has no one to tell.
        let _ = connection.await;
        drop(held);
    });
    Ok(Link { sender, wire })
}

/// A stream that hears its other end out. An application may answer before it has read the
/// request (413), and close: writing fails then, while the answer is there to be read. So what
/// went wrong in writing is told in reading, behind everything that could be read.
struct Attentive<S> {
    stream: S,
    wire: Arc<Wire>,
    /// Why nothing can be written any more.
    broken: Option<io::Error>,
}

impl<S> Attentive<S> {
    fn written(
        &mut self,
        outcome: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(Err(error)) = outcome else { return outcome };
        self.broken = Some(error);
        // Reading is what goes on; it was asked before writing was.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Attentive<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.wire.answered.store(true, Ordering::Relaxed);
        }
        match self.broken.take_if(|_| outcome.is_pending()) {
            Some(error) => Poll::Ready(Err(error)),
            None => outcome,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Attentive<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.broken.is_some() {
            return Poll::Pending;
        }
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(outcome, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.broken.is_some() {
            return Poll::Pending;
        }
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.written(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken.is_some() {
            return Poll::Pending;
        }
        // Of a stream that buffers, writing fails here.
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Err(error)) => self.written(Poll::Ready(Err(error)), cx).map_ok(drop),
            outcome => outcome,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
