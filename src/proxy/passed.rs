//! Listening sockets that another process has opened: systemd, or the process that this one
//! replaces.

use std::io;

use listenfd::ListenFd;

use super::listen;
use super::settings::{DoorAddress, Settings};
use super::socket::Listening;
use super::unix::SocketFile;

/// Sockets that are there already.
#[derive(Debug, Default)]
pub struct Passed {
    sockets: Vec<PassedSocket>,
    by_predecessor: bool,
}

/// One of them.
#[derive(Debug)]
pub struct PassedSocket {
    pub listening: Listening,
    /// Whether this process is to remove its file, if it is a Unix socket. systemd removes its own.
    pub owns_file: bool,
}

impl Passed {
    /// None.
    pub fn none() -> Self {
        Self::default()
    }

    /// What systemd has passed (sd_listen_fds(3)).
    ///
    /// # Errors
    /// One of them is no listening socket, of TCP or Unix.
    pub fn by_systemd() -> io::Result<Self> {
        let mut sockets = ListenFd::from_env();
        let mut passed = Vec::new();
        for index in 0..sockets.len() {
            // The first of them refuses, and leaves, what is of the other kind.
            let listening = match sockets.take_tcp_listener(index) {
                Ok(Some(listener)) => Listening::Tcp(listener),
                Ok(None) => continue,
                Err(_) => match sockets.take_unix_listener(index) {
                    Ok(Some(listener)) => Listening::Unix(listener),
                    Ok(None) => continue,
                    Err(error) => {
                        let what = format!(
                            "a file descriptor was passed that is no listening socket of TCP or \
                             Unix ({error}): take it out of the socket unit (ListenStream= only)"
                        );
                        return Err(io::Error::new(error.kind(), what));
                    }
                },
            };
            passed.push(PassedSocket { listening, owns_file: false });
        }
        Ok(Self { sockets: passed, by_predecessor: false })
    }

    /// Sockets that a predecessor has passed.
    pub fn by_predecessor(sockets: Vec<PassedSocket>) -> Self {
        Self { sockets, by_predecessor: true }
    }

    /// The one that listens at an address, ready to be used; and its file, if it is ours.
    pub fn take(
        &mut self,
        address: &DoorAddress,
        settings: &Settings,
    ) -> io::Result<Option<(Listening, Option<SocketFile>)>> {
        let found = self
            .sockets
            .iter()
            .position(|socket| socket.listening.address().is_ok_and(|at| at == *address));
        let Some(index) = found else { return Ok(None) };
        let PassedSocket { listening, owns_file } = self.sockets.swap_remove(index);
        listen::prepare(&listening, &settings.downstream_limits)?;
        let file = match address {
            DoorAddress::Unix(path) if owns_file => match SocketFile::adopt(path) {
                // Somebody has removed it: nobody can connect, and it is bound anew.
                None => return Ok(None),
                file => file,
            },
            DoorAddress::Unix(_) | DoorAddress::Tcp(_) => None,
        };
        Ok(Some((listening, file)))
    }

    /// The files of a predecessor's sockets that nobody has taken.
    pub fn left_files(&self) -> Vec<SocketFile> {
        let file = |socket: &PassedSocket| match socket.listening.address() {
            Ok(DoorAddress::Unix(path)) if socket.owns_file => SocketFile::adopt(&path),
            Ok(DoorAddress::Unix(_) | DoorAddress::Tcp(_)) | Err(_) => None,
        };
        self.sockets.iter().filter_map(file).collect()
    }

    /// Where one listens that systemd has passed and nobody has taken. One of a predecessor's that
    /// the configuration names no more is closed when both have let go of it.
    pub fn left(&self) -> Option<DoorAddress> {
        if self.by_predecessor {
            return None;
        }
        self.sockets.iter().find_map(|socket| socket.listening.address().ok())
    }
}
