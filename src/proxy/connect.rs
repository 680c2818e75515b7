//! Connecting to the application.
//!
//! Whatever is spoken before HTTP (TLS, a PROXY header) is spoken here. Nothing is tried again, and
//! nothing is kept: see [`super::upstream`] and [`super::pool`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::failure::Failure;
use super::link::Link;
use super::places::Place;
use super::proxy_header::Header;
use super::raw_stream::RawStream;
use super::server::Server;
use super::settings::{Address, UpstreamClient};
use super::socket::Socket;

/// A new connection, within `limit`, which begins with `header`. `place` is given back when it has
/// been closed.
pub async fn connect(
    server: &Server,
    client: UpstreamClient,
    header: Option<Header>,
    limit: Duration,
    place: Arc<Place>,
) -> Result<Link, Failure> {
    let stream = timeout(limit, open(server, header)).await;
    Link::new(stream.unwrap_or(Err(Failure::ConnectTimeout))?, client, header, place).await
}

async fn open(server: &Server, header: Option<Header>) -> Result<RawStream, Failure> {
    match &server.address {
        Address::Tcp { host, port } => {
            tcp(host, *port, header).await.map(RawStream::plain).map_err(Failure::Connect)
        }
        Address::Tls { host, port } => {
            let Some(tls) = &server.tls else {
                let error = io::Error::other("nothing was set up for it");
                return Err(Failure::Untrusted(error));
            };
            let stream = tcp(host, *port, header).await.map_err(Failure::Connect)?;
            let stream = tls.connect(host, stream).await.map_err(Failure::Untrusted)?;
            Ok(RawStream::Tls(Box::new(stream)))
        }
        Address::Unix(path) => {
            let mut stream = UnixStream::connect(path).await.map_err(Failure::Connect)?;
            introduce(&mut stream, header).await.map_err(Failure::Connect)?;
            Ok(RawStream::plain(Socket::Unix(stream)))
        }
    }
}

async fn tcp(host: &str, port: u16, header: Option<Header>) -> io::Result<Socket> {
    let mut stream = TcpStream::connect((host, port)).await?;
    // Without it a body's last piece may wait for an acknowledgement.
    stream.set_nodelay(true)?;
    introduce(&mut stream, header).await?;
    Ok(Socket::Tcp(stream))
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
