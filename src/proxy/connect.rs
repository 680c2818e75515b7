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
use tokio::time::{Sleep, timeout};

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
    H: Send + Unpin + 'static,
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
    H: Send + Unpin + 'static,
{
    let wire = Arc::new(Wire { header, ..Wire::default() });
    let stream =
        Attentive { stream, wire: Arc::clone(&wire), has_ended: false, broken: None, _held: held };
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(BUFFER_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Failure::Unsent)?;
    tokio::spawn(async move {
        // Its error reaches the exchange that uses it; an idle connection's has no one to tell.
        // The stream outlives it where it becomes a tunnel.
        let _ = connection.with_upgrades().await;
    });
    Ok(Link { sender, wire })
}

/// How long reading may take to come to an end after writing has failed.
const HEARING: Duration = Duration::from_secs(5);

/// A stream that hears its other end out. An application may answer before it has read the
/// request (413), and close: writing fails then, while the answer is there to be read. So nothing
/// is said of writing that fails before reading has come to its end, behind everything that is
/// there.
struct Attentive<S, H> {
    stream: S,
    wire: Arc<Wire>,
    /// Nothing more can be read.
    has_ended: bool,
    broken: Option<Broken>,
    /// Dropped when it is closed.
    _held: H,
}

/// Writing has failed.
struct Broken {
    kind: io::ErrorKind,
    /// Until that is told, whatever is read.
    patience: Pin<Box<Sleep>>,
}

impl<S, H> Attentive<S, H> {
    /// What is said of writing, where it failed before.
    fn broken(&mut self, cx: &mut Context<'_>) -> Option<Poll<io::Error>> {
        let broken = self.broken.as_mut()?;
        let told = self.has_ended || broken.patience.as_mut().poll(cx).is_ready();
        Some(if told { Poll::Ready(broken.kind.into()) } else { Poll::Pending })
    }

    fn written<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        let Poll::Ready(Err(error)) = outcome else { return outcome };
        let patience = Box::pin(tokio::time::sleep(HEARING));
        self.broken = Some(Broken { kind: error.kind(), patience });
        match self.broken(cx) {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(_)) | None => Poll::Ready(Err(error)),
        }
    }
}

impl<S: AsyncRead + Unpin, H: Unpin> AsyncRead for Attentive<S, H> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.wire.answered.store(true, Ordering::Relaxed);
        } else if outcome.is_ready() {
            self.has_ended = true;
            // In a tunnel, who writes goes on, and has to learn of it.
            cx.waker().wake_by_ref();
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin, H: Unpin> AsyncWrite for Attentive<S, H> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(broken) = self.broken(cx) {
            return broken.map(Err);
        }
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(outcome, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(broken) = self.broken(cx) {
            return broken.map(Err);
        }
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.written(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(broken) = self.broken(cx) {
            return broken.map(Err);
        }
        // Of a stream that buffers, writing fails here.
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(outcome, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
