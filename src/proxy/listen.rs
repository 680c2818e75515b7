//! Listening sockets, and the connections that come in by them.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::core::Core;
use super::exchange::exchange;
use super::failure::Failure;
use super::live::Token;
use super::settings::DownstreamLimits;
use crate::guard::moment::Moment;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// The pause after a failed accept: file descriptors come back when connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two records of failed accepts.
const ACCEPT_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// hyper's own header limit, which costs nothing; any other is an allocation for each request.
const FREE_HEADERS: usize = 100;
/// hyper takes no smaller buffer.
const SMALLEST_BUFFER: usize = 8192;

/// Binds one listening socket. `[::]` does not take IPv4 too: what listens where is what the
/// configuration says, on every system.
///
/// A client that takes nothing of what was sent to it for `stall_limit` is cut off by the kernel:
/// the application must not be held by somebody who does not read.
pub fn bind(address: SocketAddr, stall_limit: Duration) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Without it a restart has to wait for the connections of the process before it.
    socket.set_reuse_address(true)?;
    // Connections inherit these, which saves two system calls for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(stall_limit))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Accepts connections until it is dropped; `stop` is what the connections listen to. A failure to
/// accept is waited out, and said at most once a minute.
pub async fn accept(core: Arc<Core>, listener: TcpListener, stop: watch::Receiver<()>) {
    let builder = server(&core.settings.downstream_limits);
    let mut trouble = Trouble::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let token = core.connections.token();
                let core = Arc::clone(&core);
                tokio::spawn(connection(core, builder.clone(), stream, peer, stop.clone(), token));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                trouble.say(core.clock.now(), &error);
                core.upstream.pool().clear();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, to its end. When told to stop it ends after the exchange that is running, or
/// at once if none is.
async fn connection(
    core: Arc<Core>,
    builder: http1::Builder,
    stream: TcpStream,
    peer: SocketAddr,
    mut stop: watch::Receiver<()>,
    _running: Token,
) {
    let service = service_fn(|request| {
        let core = Arc::clone(&core);
        async move {
            let running = core.exchanges.token();
            let response = exchange(&core, peer, request).await;
            Ok::<_, Infallible>(response.map(|body| body.holding(running)))
        }
    });
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let outcome = tokio::select! {
        biased;
        outcome = serving.as_mut() => outcome,
        _ = stop.changed() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = outcome {
        if let Some(failure) = error.source().and_then(|source| source.downcast_ref::<Failure>()) {
            core.failed(failure);
        } else if error.is_parse() {
            core.failed(&Failure::Head(error));
        }
        // Everything else is a client that hung up.
    }
}

fn server(limits: &DownstreamLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .keep_alive(true)
        .half_close(false)
        .title_case_headers(false)
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.head_bytes.max(SMALLEST_BUFFER))
        .max_header_size(limits.head_bytes);
    if limits.headers != FREE_HEADERS {
        builder.max_headers(limits.headers);
    }
    builder
}

/// An error of the connection that was to be accepted, not of the socket that accepts.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

/// Failed accepts, said once in a while.
#[derive(Debug, Default)]
struct Trouble {
    said: Option<Moment>,
    untold: u64,
}

impl Trouble {
    fn say(&mut self, now: Moment, error: &io::Error) {
        self.untold += 1;
        if self.said.is_some_and(|said| now.since(said) < ACCEPT_LOG_INTERVAL) {
            return;
        }
        tracing::warn!(error = %error, failures = self.untold, "connections cannot be accepted");
        self.said = Some(now);
        self.untold = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream as StdStream;

    use socket2::SockRef;

    use super::*;

    #[test]
    fn all_of_ipv6_leaves_the_port_free_in_ipv4() {
        let limit = Duration::from_secs(7);
        // Somebody else may have a port in IPv4 alone; nobody has all of these.
        let free = (0..20).any(|_| {
            let listener = bind("[::]:0".parse().unwrap(), limit).unwrap();
            let port = listener.local_addr().unwrap().port();
            bind(SocketAddr::from(([0, 0, 0, 0], port)), limit).is_ok()
        });
        assert!(free, "IPv4 is taken together with IPv6");
    }

    #[test]
    fn connections_inherit_the_options_of_their_listening_socket() {
        let limit = Duration::from_secs(7);
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)), limit).unwrap();
        listener.set_nonblocking(false).unwrap();
        let _client = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
        assert_eq!(SockRef::from(&accepted).tcp_user_timeout().unwrap(), Some(limit));
    }
}
