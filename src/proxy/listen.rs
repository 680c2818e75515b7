//! Listening sockets, and the connections that come in by them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Type};
use tokio::sync::watch;

use super::connection::{Connection, Protocols};
use super::core::Core;
use super::ending::Ending;
use super::failure::Failure;
use super::forwarded;
use super::in_force::InForce;
use super::introduction;
use super::seat::Seat;
use super::seats::Group;
use super::settings::{DoorAddress, DoorKind, DownstreamLimits};
use super::socket::{Listener, Listening, Peer, Socket};
use super::unix::{self, SocketFile};
use crate::guard::client::Client;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// The pause after a failed accept: file descriptors come back when connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What the kernel holds of a response that it has not sent yet. A socket takes more when half of
/// it is gone, so that a slow client is seen to take something in time; a megabyte at a time, as
/// without this limit, it takes minutes.
const UNSENT: std::ops::RangeInclusive<u64> = (16 << 10)..=(128 << 10);

/// Binds one listening socket; the file that it has, with these permissions, if it is a Unix socket.
pub fn bind(
    address: &DoorAddress,
    limits: &DownstreamLimits,
    unix_mode: u32,
) -> io::Result<(Listening, Option<SocketFile>)> {
    match address {
        DoorAddress::Tcp(address) => Ok((tcp(*address, limits)?, None)),
        DoorAddress::Unix(path) => {
            let (listener, file) = unix::bind(path, unix_mode, BACKLOG)?;
            Ok((Listening::Unix(listener), Some(file)))
        }
    }
}

/// `[::]` does not take IPv4 too: what listens where is what the
/// configuration says, on every system.
///
/// A client that acknowledges nothing of what was sent to it for the send timeout is cut off by
/// the kernel, also after its connection was closed.
fn tcp(address: SocketAddr, limits: &DownstreamLimits) -> io::Result<Listening> {
    let socket =
        socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Without it a restart has to wait for the connections of the process before it.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listening = Listening::Tcp(socket.into());
    prepare(&listening, limits)?;
    Ok(listening)
}

/// Sets what connections inherit, which saves system calls for each; also on a socket that another
/// process has opened.
pub fn prepare(listening: &Listening, limits: &DownstreamLimits) -> io::Result<()> {
    match listening {
        Listening::Tcp(listener) => {
            let socket = SockRef::from(listener);
            socket.set_tcp_nodelay(true)?;
            socket.set_tcp_user_timeout(Some(limits.send_timeout))?;
            socket.set_tcp_notsent_lowat(unsent(limits))?;
            socket.set_nonblocking(true)
        }
        Listening::Unix(listener) => listener.set_nonblocking(true),
    }
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
pub async fn accept(
    core: Arc<Core>,
    kind: DoorKind,
    listener: Listener,
    stop: watch::Receiver<Ending>,
) {
    let mut in_force = core.in_force();
    let mut protocols = Protocols::new(&in_force);
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                let now_in_force = core.in_force();
                if !Arc::ptr_eq(&in_force, &now_in_force) {
                    in_force = now_in_force;
                    protocols = Protocols::new(&in_force);
                }
                begin(&core, &in_force, &protocols, kind, socket, peer, &stop);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                core.failed(&Failure::Accept(error), None);
                core.seats.make_room(core.clock.now());
                for site in core.in_force().sites.all() {
                    site.upstream.clear();
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves a connection if there is a place for it; otherwise closes it.
fn begin(
    core: &Arc<Core>,
    in_force: &Arc<InForce>,
    protocols: &Protocols,
    kind: DoorKind,
    socket: Socket,
    peer: Peer,
    stop: &watch::Receiver<Ending>,
) {
    let now = core.clock.now();
    // Whose it is comes out later, where a PROXY header is expected.
    let group = match introduction::is_expected(peer, &in_force.settings.proxy_protocol) {
        true => None,
        false => group(in_force, peer),
    };
    match core.seats.take(group, Seat::new(core.clock, now), now) {
        Ok(taken) => {
            let seat = Arc::clone(taken.seat());
            let connection =
                Connection::new(core, Arc::clone(in_force), protocols.clone(), kind, peer, taken);
            // Boxed: the runtime moves about what it is given, which is large.
            let task = tokio::spawn(Box::pin(connection.serve(socket, stop.clone())));
            seat.served_by(task.abort_handle());
        }
        Err(full) => core.failed(&Failure::Refused(full), None),
    }
}

/// Whose connections those of a peer are counted with.
pub(super) fn group(in_force: &InForce, peer: Peer) -> Group {
    if forwarded::is_trusted(peer, &in_force.settings.trusted_proxies) {
        return None;
    }
    let site = in_force.sites.all().first()?;
    Some(Client::fold(peer.ip(), &site.shield.guard.policy().client))
}

/// An error of the connection that was to be accepted, not of the socket that accepts.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
