//! Listening sockets that another process has opened: systemd, or the process that this one
//! replaces.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

/// Sockets that are there already.
#[derive(Debug, Default)]
pub struct Passed {
    tcp: Vec<(SocketAddr, TcpListener)>,
}

impl Passed {
    /// None.
    pub fn none() -> Self {
        Self::default()
    }

    /// What systemd has passed (sd_listen_fds(3)).
    ///
    /// # Errors
    /// One of them is no listening TCP socket.
    pub fn by_systemd() -> io::Result<Self> {
        let mut sockets = ListenFd::from_env();
        let mut tcp = Vec::new();
        for index in 0..sockets.len() {
            if let Some(listener) = sockets.take_tcp_listener(index)? {
                tcp.push((listener.local_addr()?, listener));
            }
        }
        Ok(Self { tcp })
    }

    /// Sockets that a predecessor has passed.
    pub fn by_predecessor(sockets: Vec<TcpListener>) -> io::Result<Self> {
        let tcp = sockets.into_iter().map(|socket| Ok((socket.local_addr()?, socket)));
        Ok(Self { tcp: tcp.collect::<io::Result<_>>()? })
    }

    /// The one that listens at an address.
    pub fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let index = self.tcp.iter().position(|(at, _)| *at == address)?;
        Some(self.tcp.swap_remove(index).1)
    }

    /// One that nobody has taken.
    pub fn left(&self) -> Option<SocketAddr> {
        self.tcp.first().map(|(address, _)| *address)
    }
}
