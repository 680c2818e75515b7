//! Addresses that tests know before anything listens there.

use std::mem;
use std::net::SocketAddr;

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt,
};

/// An address of loopback that is this process's own until it ends: whoever connects is refused
/// until something listens there, and again after that.
///
/// A socket that never listens keeps its port: the system gives it to nobody who asks for any, and
/// to no connection. Who asks for this one gets it, with `SO_REUSEADDR`, as all servers set it.
pub fn own_address() -> SocketAddr {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .expect("a descriptor");
    sockopt::set_socket_reuseaddr(&socket, true).expect("a socket has it");
    bind(&socket, &loopback).expect("a free port");
    let address = getsockname(&socket).expect("it is bound");
    mem::forget(socket);
    address.try_into().expect("it is of IPv4")
}
