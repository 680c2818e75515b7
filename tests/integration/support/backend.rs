//! A server of the application that answers as it is told, and writes down what it was asked.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::address::own_address;
use super::inside::await_that;

/// Between two looks at whether a request is to be answered at last.
const LOOK: Duration = Duration::from_millis(2);

/// What becomes of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Each is answered with 200, and the server's address in the body.
    Well,
    /// Each is answered with 503.
    Failing,
    /// None is answered, until the manner changes.
    Hanging,
    /// Something that is no HTTP comes.
    Garbage,
    /// The connection is closed instead.
    Closing,
}

impl Manner {
    const ALL: [Self; 5] = [Self::Well, Self::Failing, Self::Hanging, Self::Garbage, Self::Closing];
}

/// Ended, with its connections, when it is dropped.
pub struct Backend {
    address: SocketAddr,
    seen: Arc<Seen>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<String>>,
    open: Mutex<Vec<TcpStream>>,
    most_open: AtomicUsize,
    connections: AtomicUsize,
    manner: AtomicU8,
    over: AtomicBool,
}

impl Backend {
    /// On a port that stays its own when it has ended.
    pub fn start() -> Self {
        Self::at(own_address())
    }

    pub fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("the port is free");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let accepting = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.over.load(Ordering::SeqCst) {
                    return;
                }
                shared.note(&stream);
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.serve(stream, address));
            }
        });
        Self { address, seen, accepting: Some(accepting) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As Floodwall's `upstream`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The request lines, in the order in which their requests came, without their version.
    pub fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().expect("no thread panicked").clone()
    }

    pub fn number(&self) -> usize {
        self.requests().len()
    }

    /// Connections that were open at once at most.
    pub fn most_open(&self) -> usize {
        self.seen.most_open.load(Ordering::SeqCst)
    }

    /// Connections that there were.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub fn set(&self, manner: Manner) {
        self.seen.manner.store(manner as u8, Ordering::SeqCst);
    }

    /// Waits until a request has come for this target.
    pub fn await_request(&self, target: &str) {
        await_that("a request does not come", || {
            self.requests().iter().any(|line| line.split(' ').nth(1) == Some(target))
        });
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.seen.over.store(true, Ordering::SeqCst);
        // So that the listener looks.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for stream in self.seen.open.lock().expect("no thread panicked").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Seen {
    /// Counts the connections that are open, those that the other side has closed not among them.
    fn note(&self, stream: &TcpStream) {
        stream.set_nodelay(true).expect("it is connected");
        let mut open = self.open.lock().expect("no thread panicked");
        open.retain(is_open);
        open.push(stream.try_clone().expect("a descriptor"));
        self.connections.fetch_add(1, Ordering::SeqCst);
        self.most_open.fetch_max(open.len(), Ordering::SeqCst);
    }

    fn serve(&self, mut stream: TcpStream, address: SocketAddr) {
        let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = bytes.drain(..end + 4).collect();
                let line = String::from_utf8_lossy(&head);
                let line = line.lines().next().unwrap_or_default();
                let line = line.trim_end_matches(" HTTP/1.1").to_owned();
                self.requests.lock().expect("no thread panicked").push(line);
                if !self.answer(&mut stream, address) {
                    return;
                }
            }
            match stream.read(&mut piece) {
                Ok(0) | Err(_) => return,
                Ok(length) => bytes.extend_from_slice(&piece[..length]),
            }
        }
    }

    /// Whether the connection goes on.
    fn answer(&self, stream: &mut TcpStream, address: SocketAddr) -> bool {
        let manner = || Manner::ALL[usize::from(self.manner.load(Ordering::SeqCst))];
        while manner() == Manner::Hanging && is_open(stream) && !self.over.load(Ordering::SeqCst) {
            thread::park_timeout(LOOK);
        }
        let body = address.to_string();
        let status = match manner() {
            Manner::Well => "200 OK",
            Manner::Failing => "503 Oops",
            Manner::Garbage => {
                let _ = stream.write_all(b"SMTP/9 maybe\r\n\r\n");
                let _ = stream.shutdown(Shutdown::Both);
                return false;
            }
            Manner::Hanging | Manner::Closing => {
                let _ = stream.shutdown(Shutdown::Both);
                return false;
            }
        };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).is_ok()
    }
}

/// Whether the other side has not closed.
fn is_open(stream: &TcpStream) -> bool {
    match rustix::net::recv(stream, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, length)) => length > 0,
        Err(error) => error == Errno::WOULDBLOCK,
    }
}
