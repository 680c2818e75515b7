//! A connection to the target, plain or with TLS, which never blocks.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, sockopt};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConnection, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme};

/// Where a connection comes from: one of 127.1.1.1 to 127.1.250.250, in turn.
pub fn source(number: u32) -> Ipv4Addr {
    let octet = |number: u32| (1 + number % 250) as u8;
    Ipv4Addr::new(127, 1, octet(number / 250), octet(number))
}

/// A socket that has begun to connect to `target`, from `from` if that is given.
pub fn connect(
    target: SocketAddrV4,
    from: Option<Ipv4Addr>,
    flags: SocketFlags,
) -> io::Result<OwnedFd> {
    let flags = flags | SocketFlags::CLOEXEC;
    let kind = SocketType::STREAM;
    let socket = rustix::net::socket_with(AddressFamily::INET, kind, flags, Some(ipproto::TCP))?;
    if let Some(from) = from {
        // A port whose last connection has closed will do.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::bind(&socket, &SocketAddrV4::new(from, 0))?;
    }
    sockopt::set_tcp_nodelay(&socket, true)?;
    plain_tcp(&socket)?;
    match rustix::net::connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Congestion control that sets no timers of its own, as BBR's pacing does for each segment.
pub fn plain_tcp(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_tcp_congestion(socket, "reno")?)
}

/// What has been read.
pub enum Received {
    /// So many bytes, and whether there may be more.
    Bytes(usize, bool),
    Nothing,
    End,
}

pub struct Link {
    socket: OwnedFd,
    tls: Option<Box<Tls>>,
    /// Answers that have come over it.
    pub answers: u32,
    /// It is also told when this can be written.
    pub armed: bool,
}

struct Tls {
    session: ClientConnection,
    /// Encrypted, and not yet sent.
    unsent: Vec<u8>,
    accepted: bool,
    told: bool,
}

impl Link {
    pub fn open(
        target: SocketAddrV4,
        from: Option<Ipv4Addr>,
        tls: Option<&Arc<ClientConfig>>,
    ) -> io::Result<Self> {
        let socket = connect(target, from, SocketFlags::NONBLOCK)?;
        let tls = match tls {
            None => None,
            Some(config) => {
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                let mut session =
                    ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
                session.set_buffer_limit(None);
                Some(Box::new(Tls { session, unsent: Vec::new(), accepted: false, told: false }))
            }
        };
        Ok(Self { socket, tls, answers: 0, armed: false })
    }

    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// How its handshake has ended, once.
    pub fn handshake(&mut self) -> Option<HandshakeKind> {
        let tls = self.tls.as_mut().filter(|tls| !tls.told && !tls.session.is_handshaking())?;
        tls.told = true;
        tls.session.handshake_kind()
    }

    /// A new message may be sent.
    pub fn next(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.accepted = false;
        }
    }

    /// Writes what is left of a message after the first `sent` bytes. Whether all has been written.
    pub fn send(&mut self, head: &[u8], body: &[u8], sent: &mut usize) -> io::Result<bool> {
        if let Some(tls) = &mut self.tls {
            if !tls.accepted {
                tls.accepted = true;
                tls.session.writer().write_all(head)?;
                tls.session.writer().write_all(body)?;
            }
            return tls.flush(&self.socket);
        }
        let done = if body.is_empty() {
            rustix::net::send(&self.socket, &head[*sent..], SendFlags::NOSIGNAL)
        } else {
            let at = (*sent).min(head.len());
            let parts = [IoSlice::new(&head[at..]), IoSlice::new(&body[*sent - at..])];
            rustix::io::writev(&self.socket, &parts)
        };
        match done {
            Ok(length) => *sent += length,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(*sent == head.len() + body.len())
    }

    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        if let Some(tls) = &mut self.tls {
            return tls.receive(&self.socket, buffer);
        }
        self.receive_with(buffer, RecvFlags::empty())
    }

    /// Throws away up to so many bytes, which the system then does not copy. Only without TLS.
    pub fn discard(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        self.receive_with(buffer, RecvFlags::TRUNC)
    }

    pub fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// Whether something waits until the socket can be written again, beside the message.
    pub fn blocked(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.unsent.is_empty())
    }

    fn receive_with(&mut self, buffer: &mut [u8], flags: RecvFlags) -> io::Result<Received> {
        let room = buffer.len();
        match rustix::net::recv(&self.socket, buffer, flags) {
            Ok((_, 0)) => Ok(Received::End),
            // Had there been more, it would have been read.
            Ok((_, length)) => Ok(Received::Bytes(length, length >= room)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Received::Nothing),
            Err(error) => Err(error.into()),
        }
    }
}

impl Tls {
    /// Whether all has been sent.
    fn flush(&mut self, socket: &OwnedFd) -> io::Result<bool> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.unsent)?;
        }
        if self.unsent.is_empty() {
            return Ok(true);
        }
        match rustix::net::send(socket, &self.unsent, SendFlags::NOSIGNAL) {
            Ok(length) => drop(self.unsent.drain(..length)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.unsent.is_empty())
    }

    fn receive(&mut self, socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            match self.session.reader().read(buffer) {
                Ok(0) => return Ok(Received::End),
                Ok(length) => return Ok(Received::Bytes(length, true)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Without a close_notify; how much of an answer came is seen elsewhere.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(Received::End);
                }
                Err(error) => return Err(error),
            }
            match self.session.read_tls(&mut Socket(socket)) {
                // Once more, for how it has ended.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Received::Nothing);
                }
                Err(error) => return Err(error),
            }
            self.session.process_new_packets().map_err(io::Error::other)?;
            self.flush(socket)?;
        }
    }
}

struct Socket<'a>(&'a OwnedFd);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(self.0, buffer, RecvFlags::empty()).map(|(_, length)| length)?)
    }
}

/// Sessions are resumed with a ticket, or never.
pub fn tls(resume: bool) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let any = Arc::new(AnyCertificate(provider.clone()));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(any)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption =
        if resume { Resumption::in_memory_sessions(8) } else { Resumption::disabled() };
    Ok(Arc::new(config))
}

/// Whom it talks to is known: it is on this machine. Checking would cost only the generator.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
