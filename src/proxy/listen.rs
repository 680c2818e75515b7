//! Listening sockets, and the connections that come in by them.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::core::Core;
use super::downstream::Downstream;
use super::exchange::exchange;
use super::failure::Failure;
use super::forwarded;
use super::live::Token;
use super::pace::{Alarm, Pace};
use super::seat::{Overdue, Seat};
use super::seats::Taken;
use super::settings::DownstreamLimits;
use super::upload::Upload;
use crate::guard::client::Client;
use crate::guard::moment::Moment;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// The pause after a failed accept: file descriptors come back when connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// hyper's own header limit, which costs nothing; any other is an allocation for each request.
const FREE_HEADERS: usize = 100;
/// hyper takes no smaller buffer.
const SMALLEST_BUFFER: usize = 8192;
/// What the kernel holds of a response that it has not sent yet. A socket takes more when half of
/// it is gone, so that a slow client is seen to take something in time; a megabyte at a time, as
/// without this limit, it takes minutes.
const UNSENT: std::ops::RangeInclusive<u64> = (16 << 10)..=(128 << 10);

/// Binds one listening socket. `[::]` does not take IPv4 too: what listens where is what the
/// configuration says, on every system.
///
/// A client that acknowledges nothing of what was sent to it for the send timeout is cut off by
/// the kernel, also after its connection was closed.
pub fn bind(address: SocketAddr, limits: &DownstreamLimits) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Without it a restart has to wait for the connections of the process before it.
    socket.set_reuse_address(true)?;
    // Connections inherit these, which saves system calls for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(limits.send_timeout))?;
    socket.set_tcp_notsent_lowat(unsent(limits))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// As much as a client that barely keeps up takes in the send timeout.
fn unsent(limits: &DownstreamLimits) -> u32 {
    let bytes = match limits.body_rate {
        0 => *UNSENT.end(),
        rate => rate.saturating_mul(limits.send_timeout.as_secs()),
    };
    u32::try_from(bytes.clamp(*UNSENT.start(), *UNSENT.end())).unwrap_or(u32::MAX)
}

/// Accepts connections until it is dropped; `stop` is what the connections listen to. A failure to
/// accept is waited out, and connections that only wait are closed meanwhile.
pub async fn accept(core: Arc<Core>, listener: TcpListener, stop: watch::Receiver<()>) {
    let builder = server(&core.settings.downstream_limits);
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => begin(&core, &builder, stream, peer, &stop),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                core.failed(&Failure::Accept(error));
                core.seats.make_room(core.clock.now());
                core.upstream.pool().clear();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves a connection if there is a place for it; otherwise closes it.
fn begin(
    core: &Arc<Core>,
    builder: &http1::Builder,
    stream: TcpStream,
    peer: SocketAddr,
    stop: &watch::Receiver<()>,
) {
    let now = core.clock.now();
    let group = if forwarded::trusts(peer.ip(), &core.settings.trusted_proxies) {
        None
    } else {
        Some(Client::fold(peer.ip(), &core.app.shield.guard.policy().client))
    };
    match core.seats.take(group, Seat::new(core.clock, now), now) {
        Ok(taken) => {
            let seat = Arc::clone(taken.seat());
            let running = core.connections.token();
            let connection = Connection { core: Arc::clone(core), peer, taken, _running: running };
            let task = tokio::spawn(connection.serve(builder.clone(), stream, stop.clone()));
            seat.served_by(task.abort_handle());
        }
        Err(full) => core.failed(&Failure::Refused(full)),
    }
}

/// One connection.
struct Connection {
    core: Arc<Core>,
    peer: SocketAddr,
    taken: Taken,
    _running: Token,
}

impl Connection {
    /// Serves it to its end. When told to stop it ends after the exchange that is running, or at
    /// once if none is; when its client takes too long it is cut off.
    async fn serve(
        self,
        builder: http1::Builder,
        stream: TcpStream,
        mut stop: watch::Receiver<()>,
    ) {
        let (core, seat) = (&self.core, self.taken.seat());
        let limits = &core.settings.downstream_limits;
        let pace = Pace::new(limits.send_timeout, limits.body_rate);
        let stream = Downstream::new(stream, Arc::clone(seat), core.clock, pace);
        let service = service_fn(|request: Request<Incoming>| {
            let core = Arc::clone(core);
            let (counted, running) = (core.exchanges.token(), seat.begin());
            let peer = self.peer;
            async move {
                let Some(running) = running else {
                    // The connection's task is being ended.
                    return std::future::pending().await;
                };
                let limits = &core.settings.downstream_limits;
                let request = request.map(|body| Upload::new(body, limits, core.clock, &running));
                let response = exchange(&core, peer, request).await;
                Ok::<_, Infallible>(response.map(|body| body.holding(counted, running)))
            }
        });
        let serving = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(serving);
        let mut watch = Watch::new(core, seat);
        let mut stopping = false;
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = serving.as_mut() => break outcome,
                _ = stop.changed(), if !stopping => {
                    stopping = true;
                    serving.as_mut().graceful_shutdown();
                }
                // After the others: it sees what they have just done.
                overdue = std::future::poll_fn(|cx| watch.poll(cx)) => {
                    return self.cut_off(overdue);
                }
            }
        };
        if let Err(error) = outcome {
            self.failed(error);
        }
    }

    /// Tells why, and breaks off. Its socket is closed when the caller returns.
    fn cut_off(&self, overdue: Overdue) {
        match overdue {
            Overdue::Idle => {}
            Overdue::Head => self.core.failed(&Failure::HeadTimeout),
            Overdue::Send => {
                self.taken.seat().break_off();
                self.core.failed(&Failure::SendStalled);
            }
        }
    }

    fn failed(&self, error: hyper::Error) {
        if let Some(failure) = error.source().and_then(|source| source.downcast_ref::<Failure>()) {
            self.core.failed(failure);
        } else if error.is_parse_too_large() {
            self.core.failed(&Failure::HeadTooLarge(error));
        } else if error.is_parse() {
            self.core.failed(&Failure::Head(error));
        }
        // Everything else is a client that hung up.
    }
}

/// Notices when a connection is to be cut off. One timer for all that it may wait for.
struct Watch<'a> {
    core: &'a Core,
    seat: &'a Seat,
    alarm: Alarm,
}

impl<'a> Watch<'a> {
    fn new(core: &'a Core, seat: &'a Seat) -> Self {
        let now = core.clock.now();
        // An exchange may end, in part, in another task than the connection's: the connection is
        // idle then and nobody sets the alarm, so it must ring before an idle connection is due.
        let alarm = Alarm::new(now, core.settings.downstream_limits.idle_timeout);
        Self { core, seat, alarm }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Overdue> {
        let due = self.seat.due(&self.core.settings.downstream_limits);
        let Some((due, overdue)) = due else {
            return self.alarm.poll(cx, &self.core.clock, Moment::NEVER).map(|()| Overdue::Idle);
        };
        self.alarm.poll(cx, &self.core.clock, due).map(|()| overdue)
    }
}

fn server(limits: &DownstreamLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .keep_alive(true)
        .half_close(false)
        .title_case_headers(false)
        // Ours knows a head from an idle connection: see `seat`.
        .header_read_timeout(None)
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

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
