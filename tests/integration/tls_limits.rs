//! Clients that are slow, greedy or many before their handshake is done, against honest ones.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::raw::Wire;
use crate::support::attack::bounded;
use crate::support::inside::await_that;
use crate::support::tls::{Authority, curl};
use crate::tls::Served;

/// Between two drops of what drips.
const PAUSE: Duration = Duration::from_millis(10);

struct Site {
    authority: Authority,
    served: Served,
    config: Arc<ClientConfig>,
}

impl Site {
    fn start(more: &str) -> Self {
        let authority = Authority::new("limits");
        let served = Served::start(&[authority.issue("a", &["DNS:a.test"])], more);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority.certificate()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { authority, served, config: Arc::new(config) }
    }

    fn connect(&self) -> Wire {
        Wire::tcp(TcpStream::connect(&self.served.tls).unwrap())
    }

    fn client(&self) -> ClientConnection {
        let name = ServerName::try_from("a.test").unwrap();
        ClientConnection::new(Arc::clone(&self.config), name).unwrap()
    }

    /// What a client says first, as bytes on the wire.
    fn hello(&self) -> Vec<u8> {
        let mut hello = Vec::new();
        self.client().write_tls(&mut hello).unwrap();
        hello
    }

    /// A connection whose handshake is done, and on which nothing was said yet.
    fn greeted(&self) -> (TcpStream, ClientConnection) {
        let (mut stream, mut client) =
            (TcpStream::connect(&self.served.tls).unwrap(), self.client());
        while client.is_handshaking() {
            client.complete_io(&mut stream).unwrap();
        }
        (stream, client)
    }

    /// Whether a visitor with curl is served.
    fn serves(&self) -> bool {
        let (url, at) = self.served.url("a.test", "/");
        curl(&self.authority.certificate(), &["--resolve", &at, &url]).0 == 0
    }
}

/// What is said on connections that are to take places from others.
fn stages(site: &Site) -> [(&'static str, Vec<u8>); 3] {
    let hello = site.hello();
    let half = hello[..hello.len() / 2].to_vec();
    [
        ("TLS connections that say nothing, at the cap", Vec::new()),
        ("handshakes that stop in the ClientHello, at the cap", half),
        ("handshakes that stop after the ClientHello, at the cap", hello),
    ]
}

#[test]
fn handshakes_that_stop_keep_nobody_out() {
    const CAP: usize = 32;
    let site = Site::start(
        "[downstream_limits]\nconnections = 32\nheader_timeout = '5m'\nsend_timeout = '5m'",
    );
    for (attack, said) in stages(&site) {
        let open: Vec<Wire> = (0..CAP * 2)
            .map(|_| {
                let wire = site.connect();
                // One that has been closed already made room.
                let _ = wire.stream().write(&said);
                wire.stream().flush().unwrap();
                wire
            })
            .collect();
        await_that("nobody makes room", || site.serves());
        let kept_out = (0..10).filter(|_| !site.serves()).count() as u64;
        bounded(attack, "of 10 visitors kept out", 0, kept_out);
        drop(open);
    }
}

#[test]
fn a_handshake_that_drips_is_cut_off_and_told() {
    let mut site = Site::start("[downstream_limits]\nheader_timeout = '500ms'");
    let hello = site.hello();
    let mut client = site.connect();
    // The beginning of a record of 16 KiB with a ClientHello in it, and then a byte at a time.
    client.send(b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc");
    let dripped = client.drip(b"\x00", PAUSE, 1_000);
    assert!(dripped < 1_000, "it may drip on");
    site.served.floodwall.await_said("handshake-timeout");
    // One that never answers what it was told.
    let mut client = site.connect();
    client.send(&hello);
    let mut bytes = Vec::new();
    client.stream().read_to_end(&mut bytes).unwrap();
    assert!(bytes.starts_with(b"\x16\x03\x03"), "it was told the rest of the handshake first");
    // Nothing at all.
    assert_eq!(site.connect().rest(), "");
    assert!(site.serves());
}

/// Browsers connect before they know what they want.
#[test]
fn a_connection_with_nothing_to_say_yet_is_no_slow_head() {
    let site = Site::start("[downstream_limits]\nheader_timeout = '500ms'");
    let (mut stream, mut client) = site.greeted();
    let mut rest = Vec::new();
    // It is closed after the time for a head, and nobody is blamed.
    while let Ok(read) = client.read_tls(&mut stream) {
        client.process_new_packets().unwrap();
        if read == 0 {
            break;
        }
    }
    let _ = client.reader().read_to_end(&mut rest);
    assert!(rest.is_empty());
    let log = site.served.floodwall.log();
    assert!(!log.contains("head-timeout") && !log.contains("handshake-timeout"), "{log}");
}

/// After the handshake a connection is as any other: its heads have their time, too.
#[test]
fn a_head_that_drips_within_tls_is_cut_off_and_told() {
    let mut site = Site::start("[downstream_limits]\nheader_timeout = '500ms'");
    let (mut stream, mut client) = site.greeted();
    stream.set_nonblocking(false).unwrap();
    let mut sent = 0;
    for piece in std::iter::once(&b"GET / HTTP/1.1\r\nX: "[..]).chain(std::iter::repeat(&b"x"[..]))
    {
        client.writer().write_all(piece).unwrap();
        if client.write_tls(&mut stream).is_err() || sent > 1_000 {
            break;
        }
        sent += 1;
        thread::sleep(PAUSE);
    }
    assert!(sent < 1_000, "it may drip on");
    site.served.floodwall.await_said("head-timeout");
}

/// What connections cost in memory: `cargo nextest run memory_of_tls` prints it.
#[test]
fn memory_of_tls_connections_is_bounded() {
    const COUNT: u64 = 400;
    let more = "[downstream_limits]\nheader_timeout = '5m'\nidle_timeout = '1h'";
    enum Held {
        Raw(Wire),
        Tls(TcpStream, Box<ClientConnection>),
    }
    let endless = |site: &Site| {
        // As much of a ClientHello as is taken at all: 64 KiB in records of 16.
        let mut bytes = Vec::new();
        for record in 0..3 {
            bytes.extend_from_slice(b"\x16\x03\x01\x40\x00");
            let body = vec![0; 0x4000];
            bytes.extend_from_slice(&body);
            if record == 0 {
                bytes[5..9].copy_from_slice(b"\x01\x00\xff\x00");
            }
        }
        let mut wire = site.connect();
        wire.send(bytes);
        Held::Raw(wire)
    };
    let silent = |site: &Site| Held::Raw(site.connect());
    let half = |site: &Site| {
        let mut wire = site.connect();
        wire.send(site.hello());
        wire.exactly(1);
        Held::Raw(wire)
    };
    let greeted = |site: &Site| {
        let (stream, client) = site.greeted();
        Held::Tls(stream, Box::new(client))
    };
    let idle = |site: &Site| {
        let (mut stream, mut client) = site.greeted();
        client.writer().write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"\n\n") && !said.windows(4).any(|four| four == b"http") {
            client.complete_io(&mut stream).unwrap();
            let mut piece = [0; 4096];
            if let Ok(read) = client.reader().read(&mut piece) {
                said.extend_from_slice(&piece[..read]);
            }
        }
        Held::Tls(stream, Box::new(client))
    };
    type Kind<'a> = (&'static str, u64, &'a dyn Fn(&Site) -> Held);
    let kinds: [Kind<'_>; 5] = [
        ("TLS connections that say nothing", 24 << 10, &silent),
        ("handshakes that stop after the ClientHello", 48 << 10, &half),
        ("ClientHellos of 64 KiB that do not end", 160 << 10, &endless),
        ("TLS connections without a request", 40 << 10, &greeted),
        ("idle TLS connections after a request", 64 << 10, &idle),
    ];
    for (attack, promised, kind) in kinds {
        let site = Site::start(more);
        let _warm: Vec<Held> = (0..8).map(|_| kind(&site)).collect();
        assert!(site.serves());
        let before = site.served.floodwall.resident();
        let held: Vec<Held> = (0..COUNT).map(|_| kind(&site)).collect();
        // The witness comes behind them in every queue.
        assert!(site.serves());
        let each = site.served.floodwall.resident().saturating_sub(before) / COUNT;
        bounded(attack, "bytes of memory each", promised, each);
        let open = |held: &Held| match held {
            Held::Raw(wire) => wire.is_open() || !wire.is_silent(),
            Held::Tls(stream, client) => stream.peer_addr().is_ok() && !client.is_handshaking(),
        };
        assert!(held.iter().all(open), "all of them are there");
    }
}
