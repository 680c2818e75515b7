use std::net::TcpStream as StdStream;

use socket2::SockRef;

use super::*;
use crate::config::Config;
use crate::proxy::start;

fn limits() -> DownstreamLimits {
    let standard = start::settings(&Config::default()).downstream_limits;
    DownstreamLimits { send_timeout: Duration::from_secs(120), ..standard }
}

#[test]
fn all_of_ipv6_leaves_the_port_free_in_ipv4() {
    let limits = limits();
    // Somebody else may have a port in IPv4 alone; nobody has all of these.
    let free = (0..20).any(|_| {
        let listener = tcp("[::]:0".parse().unwrap(), &limits).unwrap();
        let port = listener.address().unwrap().tcp().unwrap().port();
        tcp(SocketAddr::from(([0, 0, 0, 0], port)), &limits).is_ok()
    });
    assert!(free, "IPv4 is taken together with IPv6");
}

#[test]
fn connections_inherit_the_options_of_their_listening_socket() {
    let limits = limits();
    let listening = tcp(SocketAddr::from(([127, 0, 0, 1], 0)), &limits).unwrap();
    let Listening::Tcp(listener) = listening else { panic!("{listening:?}") };
    listener.set_nonblocking(false).unwrap();
    let _client = StdStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    assert!(accepted.nodelay().unwrap());
    assert_eq!(SockRef::from(&accepted).tcp_user_timeout().unwrap(), Some(limits.send_timeout));
    assert_eq!(SockRef::from(&accepted).tcp_notsent_lowat().unwrap(), 60_000);
}
