//! A proxy, its client and its application, all played by the test, byte for byte.
//!
//! Every read has a deadline, so that what never comes fails the test instead of hanging it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use floodwall::config::{Config, Overrides};
use floodwall::proxy::clock::Clock;
use floodwall::proxy::core::App;
use floodwall::proxy::failure::Failure;
use floodwall::proxy::passed::Passed;
use floodwall::proxy::run::{Bound, Running};
use floodwall::proxy::settings::{
    Address, Door, DoorAddress, DoorKind, DownstreamLimits, Http2Limits, Protocols, ProxyProtocol,
    Settings, SiteSettings, Upgrades, UpstreamClient, UpstreamLimits, UpstreamSettings,
};
use floodwall::proxy::shield::Shield;
use floodwall::proxy::start;
use floodwall::proxy::upstream::Told;

use crate::support::single::Single;

/// How long anything may take before the test has failed.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A response, whole.
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What HTTP can be spoken by with the application.
pub const CLIENTS: [UpstreamClient; 2] = [UpstreamClient::Own, UpstreamClient::Hyper];

/// A proxy within the test's process.
pub struct Proxy {
    running: Option<Running>,
    pub app: Arc<App>,
    upstream_host: String,
    failures: Receiver<&'static str>,
}

/// What an application on a free port would be called with.
pub fn settings(upstream: Address) -> Single {
    let address = DoorAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let shell = Settings {
        admin: Vec::new(),
        doors: vec![Door { address, kind: DoorKind::Plain }],
        unix_mode: 0o660,
        trusted_proxies: Vec::new(),
        proxy_protocol: ProxyProtocol::default(),
        cores: 1,
        drain_timeout: DEADLINE,
        tls: None,
        save_interval: DEADLINE,
        downstream_limits: DownstreamLimits {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            send_timeout: Duration::from_secs(60),
            body_rate: 500,
            refusal_pause: Duration::ZERO,
            head_bytes: 64 * 1024,
            headers: 100,
            target_bytes: 8 * 1024,
            body_bytes: 1 << 30,
            connections: 1_000,
            connections_per_client: 1_000,
        },
        upgrades: Upgrades {
            protocols: Protocols::Named(vec!["websocket".to_owned(), "echo/1".to_owned()]),
            idle_timeout: Duration::from_secs(60),
            tunnels: 1_000,
            tunnels_per_client: 1_000,
        },
        http2: Http2Limits {
            enabled: true,
            streams: 100,
            header_list_bytes: 64 * 1024,
            resets: 200,
        },
    };
    let site = SiteSettings {
        upstream: UpstreamSettings::single(upstream),
        hold_time: DEADLINE,
        upstream_limits: UpstreamLimits {
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(30),
            idle_connections: 64,
            connections: 0,
            queue: 0,
            queue_timeout: Duration::ZERO,
        },
    };
    Single { shell, site }
}

/// For what must not happen in a test.
const LONG: Duration = Duration::from_secs(300);

/// No limit that a test could meet without meaning to.
pub fn patient(application: &Application) -> Single {
    let mut settings = settings(application.address.clone());
    let limits = &mut settings.downstream_limits;
    limits.header_timeout = LONG;
    limits.idle_timeout = LONG;
    limits.body_timeout = LONG;
    limits.send_timeout = LONG;
    settings.site.upstream_limits =
        UpstreamLimits { response_timeout: LONG, ..settings.site.upstream_limits };
    settings
}

/// The guard as it is without a configuration file, keeping nothing.
pub fn shield() -> Arc<Shield> {
    shield_of("state = ''")
}

/// The guard of a configuration.
pub fn shield_of(configuration: &str) -> Arc<Shield> {
    let config = Config::parse("test", configuration.as_bytes(), Overrides::default()).unwrap();
    Arc::new(start::shield(&config, &config.sites()[0], 1, Clock::start()).unwrap())
}

impl Proxy {
    pub fn start(settings: Single) -> Self {
        Self::telling(settings, |_| {})
    }

    /// Tells `also` of every failure.
    pub fn telling(settings: Single, also: impl Fn(&Failure) + Send + Sync + 'static) -> Self {
        let (failed, failures) = mpsc::channel();
        let failed = move |failure: &Failure| {
            let _ = failed.send(failure.word());
            also(failure);
        };
        let upstream_host = settings.site.upstream.host();
        let shield = shield();
        let app = settings.app(shield.clock, shield, failed);
        Self::with(app, upstream_host, failures)
    }

    /// Behind `shield`; `told` is told of the servers.
    pub fn telling_of_servers(settings: Single, shield: Arc<Shield>, told: Arc<Told>) -> Self {
        let (failed, failures) = mpsc::channel();
        let failed = move |failure: &Failure| {
            let _ = failed.send(failure.word());
        };
        let upstream_host = settings.site.upstream.host();
        let app = settings.app_telling(shield.clock, shield, failed, told);
        Self::with(app, upstream_host, failures)
    }

    fn with(app: Arc<App>, upstream_host: String, failures: Receiver<&'static str>) -> Self {
        let running = Bound::new(Arc::clone(&app), Passed::none()).unwrap().start().unwrap();
        Self { running: Some(running), app, upstream_host, failures }
    }

    /// In front of an application, with what is usual.
    pub fn before(application: &Application) -> Self {
        Self::start(settings(application.address.clone()))
    }

    /// The same, whose application is spoken with by this client.
    pub fn speaking(application: &Application, client: UpstreamClient) -> Self {
        let mut settings = settings(application.address.clone());
        settings.site.upstream.client = client;
        Self::start(settings)
    }

    pub fn address(&self) -> SocketAddr {
        self.running().addresses()[0].tcp().unwrap()
    }

    /// What the upstream is called in `Host` where the client calls it nothing.
    pub fn upstream_host(&self) -> &str {
        &self.upstream_host
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    /// A client's connection.
    pub fn connect(&self) -> Wire {
        self.connect_to(self.address())
    }

    pub fn connect_to(&self, address: SocketAddr) -> Wire {
        Wire::tcp(TcpStream::connect(address).unwrap())
    }

    /// The word of the next failure that is told.
    pub fn failure(&self) -> &'static str {
        self.failures.recv_timeout(DEADLINE).expect("a failure is told")
    }

    /// How many failures were told that nobody has asked for.
    pub fn told(&self) -> usize {
        self.failures.try_iter().count()
    }

    /// Waits for the end; how many exchanges were cut.
    pub fn wait(mut self) -> usize {
        self.running.take().unwrap().wait().unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            running.wait().unwrap();
        }
    }
}

/// An application that the test plays: it takes the connections one by one.
pub struct Application {
    pub address: Address,
    accepted: Receiver<Wire>,
}

impl Application {
    pub fn tcp() -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// At an address on this machine.
    pub fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (found, accepted) = mpsc::channel();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if found.send(Wire::tcp(stream)).is_err() {
                    return;
                }
            }
        });
        Self { address: Address::Tcp { host: "127.0.0.1".to_owned(), port }, accepted }
    }

    pub fn unix(path: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        let (found, accepted) = mpsc::channel();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if found.send(Wire::unix(stream)).is_err() {
                    return;
                }
            }
        });
        Self { address: Address::Unix(path), accepted }
    }

    /// The next connection.
    pub fn accept(&self) -> Wire {
        self.accepted.recv_timeout(DEADLINE).expect("the proxy connects")
    }

    /// A connection that has been made already.
    pub fn accept_more(&self) -> Option<Wire> {
        self.accepted.try_recv().ok()
    }

    /// Whether no further connection was made.
    pub fn is_left_alone(&self) -> bool {
        self.accepted.try_recv().is_err()
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HangUp {
    Finish,
    Reset,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// One end of a connection. What was read beyond what was asked for is kept.
pub struct Wire {
    stream: Stream,
    read: Vec<u8>,
}

impl Wire {
    pub fn tcp(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: Stream::Tcp(stream), read: Vec::new() }
    }

    pub fn unix(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self { stream: Stream::Unix(stream), read: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes.as_ref()),
            Stream::Unix(stream) => stream.write_all(bytes.as_ref()),
        }
        .unwrap();
    }

    /// Sends bytes to somebody who may have hung up.
    pub fn say(&mut self, bytes: &[u8]) {
        let Stream::Tcp(stream) = &mut self.stream else { panic!("saying is for TCP") };
        match stream.write_all(bytes) {
            Ok(()) => {}
            Err(error) if is_end(error.kind()) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Sends as much as the other side takes, at most `limit` bytes, until it takes nothing for
    /// `patience`, or hangs up; how much that was.
    pub fn flood(&mut self, limit: usize, patience: Duration) -> usize {
        let Stream::Tcp(stream) = &mut self.stream else { panic!("flooding is for TCP") };
        stream.set_write_timeout(Some(patience)).unwrap();
        let piece = vec![b'x'; 64 * 1024];
        let mut sent = 0;
        while sent < limit {
            match stream.write(&piece[..piece.len().min(limit - sent)]) {
                Ok(written) => sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if is_end(error.kind()) => break,
                Err(error) => panic!("flooding failed: {error}"),
            }
        }
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        sent
    }

    /// Sends bytes to somebody who may have hung up; everything that comes then.
    pub fn ask(&mut self, bytes: &str) -> String {
        let Stream::Tcp(stream) = &mut self.stream else { panic!("asking is for TCP") };
        match stream.write_all(bytes.as_bytes()) {
            Ok(()) => self.rest(),
            Err(error) if is_end(error.kind()) => String::new(),
            Err(error) => panic!("{error}"),
        }
    }

    /// Sends `piece` again and again, with `pause` after each, until the other side says something
    /// or ends, at most `limit` times; how often that was.
    pub fn drip(&mut self, piece: &[u8], pause: Duration, limit: usize) -> usize {
        let Stream::Tcp(stream) = &mut self.stream else { panic!("dripping is for TCP") };
        stream.set_read_timeout(Some(pause)).unwrap();
        let mut sent = 0;
        while sent < limit && stream.write_all(piece).is_ok() {
            sent += 1;
            match stream.peek(&mut [0]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => break,
            }
        }
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        sent
    }

    /// Reads pieces of `length` bytes, with `pause` before each, to the end of the connection, or
    /// until there were `limit` bytes; how many there were.
    pub fn sip(&mut self, length: usize, pause: Duration, limit: usize) -> usize {
        let Stream::Tcp(stream) = &mut self.stream else { panic!("sipping is for TCP") };
        let mut piece = vec![0; length];
        let mut read = self.read.len();
        while read < limit {
            thread::sleep(pause);
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => read += length,
                Err(error) if is_end(error.kind()) => break,
                Err(error) => panic!("nothing came in time: {error}"),
            }
        }
        read
    }

    /// Whether the other side has neither ended nor said anything, so far.
    pub fn is_open(&self) -> bool {
        let Stream::Tcp(stream) = &self.stream else { panic!("only TCP is looked at so") };
        stream.set_nonblocking(true).unwrap();
        let seen = stream.peek(&mut [0]);
        stream.set_nonblocking(false).unwrap();
        matches!(seen, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    pub fn finish(&mut self) {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
        .unwrap();
    }

    /// The socket, of TCP.
    pub fn stream(&self) -> &TcpStream {
        let Stream::Tcp(stream) = &self.stream else { panic!("it is not TCP") };
        stream
    }

    /// Whether something has come that was not read yet.
    pub fn has_more(&self) -> bool {
        let stream = self.stream();
        stream.set_nonblocking(true).unwrap();
        let seen = stream.peek(&mut [0]);
        stream.set_nonblocking(false).unwrap();
        matches!(seen, Ok(1)) || !self.read.is_empty()
    }

    /// Whether nothing has come, nor an end.
    pub fn is_silent(&self) -> bool {
        let stream = self.stream();
        stream.set_nonblocking(true).unwrap();
        let nothing = stream.peek(&mut [0]).is_err_and(|e| e.kind() == ErrorKind::WouldBlock);
        stream.set_nonblocking(false).unwrap();
        nothing && self.read.is_empty()
    }

    /// Hangs up with FIN, or with RST.
    pub fn hang_up(self, how: HangUp) {
        match how {
            HangUp::Reset => SockRef::from(self.stream()).set_linger(Some(Duration::ZERO)).unwrap(),
            HangUp::Finish => {}
        }
    }

    /// Text up to and with `end`.
    pub fn until(&mut self, end: &str) -> String {
        String::from_utf8(self.bytes_until(end)).expect("what was sent is text")
    }

    /// Bytes up to and with `end`.
    pub fn bytes_until(&mut self, end: &str) -> Vec<u8> {
        let mut searched = 0;
        loop {
            if let Some(at) = find(&self.read[searched..], end.as_bytes()) {
                let rest = self.read.split_off(searched + at + end.len());
                return std::mem::replace(&mut self.read, rest);
            }
            searched = self.read.len().saturating_sub(end.len());
            assert!(self.fill(), "ended before {end:?}, after {} bytes", self.read.len());
        }
    }

    /// A head: request or status line, and headers.
    pub fn head(&mut self) -> String {
        self.until("\r\n\r\n")
    }

    /// Exactly this many bytes.
    pub fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.read.len() < length {
            assert!(self.fill(), "ended after {} of {length} bytes", self.read.len());
        }
        let rest = self.read.split_off(length);
        std::mem::replace(&mut self.read, rest)
    }

    /// Everything to the end of the connection; a reset is an end.
    pub fn rest(&mut self) -> String {
        while self.fill() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned()
    }

    /// Reads to the end; whether that was a reset.
    pub fn is_reset(&mut self) -> bool {
        let Stream::Tcp(stream) = &mut self.stream else { panic!("resets are of TCP") };
        let mut piece = [0; 64 * 1024];
        loop {
            match stream.read(&mut piece) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == ErrorKind::ConnectionReset,
            }
        }
    }

    fn fill(&mut self) -> bool {
        let mut piece = [0; 64 * 1024];
        let read = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(&mut piece),
            Stream::Unix(stream) => stream.read(&mut piece),
        };
        match read {
            Ok(0) => false,
            Ok(length) => {
                self.read.extend_from_slice(&piece[..length]);
                true
            }
            Err(error) if is_end(error.kind()) => false,
            Err(error) => {
                let read = self.read.escape_ascii();
                panic!("nothing came in time behind \"{read}\", or the connection broke: {error}")
            }
        }
    }
}

/// An empty directory of this test's own.
pub fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("floodwall-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Whether a head has this header line, name in any case.
pub fn has(head: &str, name: &str) -> bool {
    !values(head, name).is_empty()
}

/// The values of a header, line by line.
pub fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect()
}

fn is_end(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
