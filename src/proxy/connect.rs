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
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::body::UpstreamBody;
use super::failure::Failure;
use super::proxy_header::Header;
use super::server::Server;
use super::settings::Address;

/// The most that is buffered of one response: its head must fit, and a body is read in pieces of
/// this at most.
const BUFFER_BYTES: usize = 128 * 1024;

/// A connection to the application. Dropped, it is closed by the core that it belongs to.
#[derive(Debug)]
pub struct Link {
    pub sender: http1::SendRequest<UpstreamBody>,
    pub wire: Arc<Wire>,
}

/// What was said, and seen, on a connection.
#[derive(Debug, Default)]
pub struct Wire {
    /// What it began with, where connections belong to one client each.
    pub header: Option<Header>,
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

/// A new connection, within `limit`, which begins with `header`. `held` is dropped when it has been closed.
pub async fn connect<H>(
    server: &Server,
    header: Option<Header>,
    limit: Duration,
    held: H,
) -> Result<Link, Failure>
where
    H: Send + 'static,
{
    match &server.address {
        Address::Tcp { host, port } => {
            let connecting = async { tcp(host, *port, header).await.map_err(Failure::Connect) };
            handshake(in_time(limit, connecting).await?, header, held).await
        }
        Address::Tls { host, port } => {
            let connecting = async {
                let Some(client) = &server.tls else {
                    let error = io::Error::other("nothing was set up for it");
                    return Err(Failure::Untrusted(error));
                };
                let stream = tcp(host, *port, header).await.map_err(Failure::Connect)?;
                client.connect(host, stream).await.map_err(Failure::Untrusted)
            };
            handshake(in_time(limit, connecting).await?, header, held).await
        }
        Address::Unix(path) => {
            let connecting = async {
                let mut stream = UnixStream::connect(path).await.map_err(Failure::Connect)?;
                introduce(&mut stream, header).await.map_err(Failure::Connect)?;
                Ok(stream)
            };
            handshake(in_time(limit, connecting).await?, header, held).await
        }
    }
}

async fn tcp(host: &str, port: u16, header: Option<Header>) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect((host, port)).await?;
    // Without it a body's last piece may wait for an acknowledgement.
    stream.set_nodelay(true)?;
    introduce(&mut stream, header).await?;
    Ok(stream)
}

/// Says whose connection it is, before anything else.
async fn introduce(
    stream: &mut (impl AsyncWrite + Unpin),
    header: Option<Header>,
) -> io::Result<()> {
    match header {
        Some(header) => stream.write_all(&header.bytes()).await,
        None => Ok(()),
    }
}

async fn in_time<T>(
    limit: Duration,
    connecting: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(limit, connecting).await.unwrap_or(Err(Failure::ConnectTimeout))
}

/// HTTP/1.1 on a stream. The connection is a task of its own on this core.
async fn handshake<S, H>(stream: S, header: Option<Header>, held: H) -> Result<Link, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Send + 'static,
{
    let wire = Arc::new(Wire { header, ..Wire::default() });
    let stream = Attentive { stream, wire: Arc::clone(&wire), is_broken: false };
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
/// request (413), and close: writing fails then, while the answer is there to be read. So nothing
/// is said of writing that fails; reading will come to the end, behind everything that is there.
struct Attentive<S> {
    stream: S,
    wire: Arc<Wire>,
    /// Nothing can be written any more.
    is_broken: bool,
}

impl<S> Attentive<S> {
    fn written<T>(&mut self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if !matches!(outcome, Poll::Ready(Err(_))) {
            return outcome;
        }
        self.is_broken = true;
        // What wakes the task is the end of reading.
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
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Attentive<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_broken {
            return Poll::Pending;
        }
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_broken {
            return Poll::Pending;
        }
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.written(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_broken {
            return Poll::Pending;
        }
        // Of a stream that buffers, writing fails here.
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
