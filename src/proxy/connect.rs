//! One connection to the application: its socket, and HTTP/1.1 on it.
//!
//! Whatever is spoken before HTTP (TLS, a PROXY header) is spoken here, on the stream between the
//! two. Nothing is tried again, and nothing is kept: see [`super::upstream`] and [`super::pool`].

use std::io;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
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
    H: Send + 'static,
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
    H: Send + 'static,
{
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
    Ok(sender)
}
