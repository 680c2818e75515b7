//! `load upstream`: a fixed fast site, whose store grows as that of an unpatched Django does.
//!
//! Answers without allocating where no session is set. With a capacity, it serves one request after the other, as
//! one worker of an application does, and sleeps meanwhile. A request is served also where its client has gone.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::{SocketAddr, SocketAddrV4, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use serde_json::json;

use crate::link;
use crate::pages::{BIG, Page, Pages};
use crate::poll::{self, Poll, Ready};
use crate::store::Store;
use crate::wire::{self, Body, Shown};

const LISTENER: u64 = u64::MAX;
/// What is read, and what of `/big` is written, at once.
const PIECE: usize = 1 << 20;
/// So many such writes before others have their turn.
const TURN: usize = 4;

/// What has been asked on a connection.
#[derive(Clone, Copy)]
struct Asked {
    what: What,
    head_only: bool,
    shown: Shown,
    close: bool,
}

#[derive(Clone, Copy)]
enum What {
    Page(Page),
    Counts,
    Reset,
}

/// What is still to be written: first these bytes, then so much of `/big`.
#[derive(Default)]
struct Unsent {
    bytes: Vec<u8>,
    at: usize,
    big: u64,
}

impl Unsent {
    fn nothing(&self) -> bool {
        self.at == self.bytes.len() && self.big == 0
    }
}

struct Connection {
    socket: OwnedFd,
    /// What has come, and is not yet a whole head.
    partial: Vec<u8>,
    /// A request whose body is still coming.
    reading: Option<(Body, Asked)>,
    /// A request that waits in line.
    waiting: bool,
    unsent: Unsent,
    close: bool,
}

/// A place for connections, and how often it has been given away.
#[derive(Default)]
struct Place {
    turn: u32,
    connection: Option<Connection>,
}

/// An application of limited capacity.
struct Line {
    each: Duration,
    /// When the last in line has been served.
    free: Instant,
    waiting: VecDeque<(Instant, u64, Asked)>,
}

pub struct Upstream {
    poll: Poll,
    listener: TcpListener,
    places: Vec<Place>,
    vacant: Vec<u32>,
    line: Option<Line>,
    site: Site,
    buffer: Vec<u8>,
}

/// What is the same for all connections.
struct Site {
    pages: Pages,
    store: Store,
    requests: [u64; Page::ALL.len()],
    piece: Vec<u8>,
    scratch: Vec<u8>,
}

impl Upstream {
    /// `capacity` is in requests a second.
    pub fn listen(address: SocketAddrV4, capacity: Option<f64>) -> io::Result<Self> {
        let listener = rustix::net::socket(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::STREAM,
            None,
        )?;
        rustix::net::sockopt::set_socket_reuseaddr(&listener, true)?;
        // Accepted sockets inherit it.
        rustix::net::sockopt::set_tcp_nodelay(&listener, true)?;
        link::plain_tcp(&listener)?;
        rustix::net::bind(&listener, &address)?;
        rustix::net::listen(&listener, 4096)?;
        let listener = TcpListener::from(listener);
        listener.set_nonblocking(true)?;
        let poll = Poll::new()?;
        poll.add(&listener, LISTENER)?;
        let line = capacity.map(|rate| Line {
            each: Duration::from_secs_f64(1.0 / rate),
            free: Instant::now(),
            waiting: VecDeque::new(),
        });
        let site = Site {
            pages: Pages::new(),
            store: Store::new(),
            requests: [0; Page::ALL.len()],
            piece: vec![b'x'; PIECE],
            scratch: Vec::new(),
        };
        let (places, vacant, buffer) = (Vec::new(), Vec::new(), vec![0; PIECE]);
        Ok(Self { poll, listener, places, vacant, line, site, buffer })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the process is ended.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Poll::room();
        loop {
            let most = self.serve_line();
            self.poll.wait(&mut events, most)?;
            self.site.pages.refresh();
            for event in &events {
                let ready = poll::ready(event);
                if ready.token == LISTENER {
                    self.accept()?;
                } else {
                    self.turn(ready);
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        loop {
            let socket = match rustix::net::accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::CONNABORTED | Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let index = self.vacant.pop().unwrap_or_else(|| {
                self.places.push(Place::default());
                (self.places.len() - 1) as u32
            });
            let place = &mut self.places[index as usize];
            self.poll.add(&socket, u64::from(place.turn) << 32 | u64::from(index))?;
            place.connection = Some(Connection {
                socket,
                partial: Vec::new(),
                reading: None,
                waiting: false,
                unsent: Unsent::default(),
                close: false,
            });
        }
    }

    /// The connection of this token leaves its place, if it is still there.
    fn take(&mut self, token: u64) -> Option<Connection> {
        let place = self.places.get_mut(token as u32 as usize)?;
        place.connection.take_if(|_| place.turn == (token >> 32) as u32)
    }

    fn put(&mut self, token: u64, connection: Option<Connection>) {
        let index = token as u32;
        let place = &mut self.places[index as usize];
        place.connection = connection;
        if place.connection.is_none() {
            place.turn = place.turn.wrapping_add(1) & (u32::MAX >> 1);
            self.vacant.push(index);
        }
    }

    fn turn(&mut self, ready: Ready) {
        let Some(mut connection) = self.take(ready.token) else { return };
        let kept = (|| {
            if ready.writable && connection.flush(&mut self.site)? {
                self.poll.writing(&connection.socket, ready.token, false)?;
                self.go_on(&mut connection, ready.token)?;
            }
            if ready.readable {
                self.read(&mut connection, ready.token)?;
            }
            Ok::<(), io::Error>(())
        })();
        self.put(ready.token, kept.is_ok().then_some(connection));
    }

    fn read(&mut self, connection: &mut Connection, token: u64) -> io::Result<()> {
        let mut buffer = mem::take(&mut self.buffer);
        let received = rustix::net::recv(&connection.socket, &mut buffer[..], RecvFlags::empty());
        let done = match received {
            Ok((_, 0)) => Err(gone()),
            Ok((_, length)) if connection.partial.is_empty() => {
                self.process(connection, token, &buffer[..length])
            }
            Ok((_, length)) => {
                connection.partial.extend_from_slice(&buffer[..length]);
                self.go_on(connection, token)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        };
        self.buffer = buffer;
        done
    }

    /// With what has come before.
    fn go_on(&mut self, connection: &mut Connection, token: u64) -> io::Result<()> {
        if connection.partial.is_empty() {
            return Ok(());
        }
        let bytes = mem::take(&mut connection.partial);
        self.process(connection, token, &bytes)
    }

    fn process(
        &mut self,
        connection: &mut Connection,
        token: u64,
        mut bytes: &[u8],
    ) -> io::Result<()> {
        while !bytes.is_empty() && !connection.busy() {
            let asked = if let Some((body, asked)) = &mut connection.reading {
                let taken = body.take(bytes).map_err(unreadable)?;
                bytes = &bytes[taken..];
                if !body.done() {
                    continue;
                }
                let asked = *asked;
                connection.reading = None;
                asked
            } else {
                let Some((request, length)) = wire::request(bytes).map_err(unreadable)? else {
                    break;
                };
                bytes = &bytes[length..];
                let asked = Asked::of(&request);
                if !request.body.done() {
                    connection.reading = Some((request.body, asked));
                    continue;
                }
                asked
            };
            self.asked(connection, token, asked)?;
        }
        if connection.partial.len() + bytes.len() > PIECE {
            return Err(gone());
        }
        connection.partial.extend_from_slice(bytes);
        Ok(())
    }

    fn asked(&mut self, connection: &mut Connection, token: u64, asked: Asked) -> io::Result<()> {
        if let (Some(line), What::Page(_)) = (&mut self.line, asked.what) {
            line.free = line.free.max(Instant::now()) + line.each;
            line.waiting.push_back((line.free, token, asked));
            connection.waiting = true;
            return Ok(());
        }
        self.answer(connection, token, asked)
    }

    fn answer(&mut self, connection: &mut Connection, token: u64, asked: Asked) -> io::Result<()> {
        if !connection.answer(&mut self.site, asked)? {
            self.poll.writing(&connection.socket, token, true)?;
        }
        Ok(())
    }

    /// Serves those whose time has come, and says how long the next one takes.
    fn serve_line(&mut self) -> Option<Duration> {
        loop {
            let line = self.line.as_mut()?;
            let &(due, token, asked) = line.waiting.front()?;
            let left = due.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                return Some(left);
            }
            line.waiting.pop_front();
            let Some(mut connection) = self.take(token) else {
                // Who hangs up still gets a record.
                self.site.visit(asked);
                continue;
            };
            connection.waiting = false;
            let kept = self
                .answer(&mut connection, token, asked)
                .and_then(|()| self.go_on(&mut connection, token));
            self.put(token, kept.is_ok().then_some(connection));
        }
    }
}

impl Site {
    /// Counts, and does to the store what the page does.
    fn visit(&mut self, asked: Asked) -> Option<wire::Key> {
        let What::Page(page) = asked.what else { return None };
        self.requests[page as usize] += 1;
        self.store.visit(page.session(), asked.shown)
    }

    fn counts(&self) -> String {
        let by_path: serde_json::Map<_, _> = Page::ALL
            .into_iter()
            .map(|page| (page.word().to_owned(), self.requests[page as usize].into()))
            .collect();
        let requests: u64 = self.requests.iter().sum();
        json!({
            "requests": requests,
            "records": self.store.records(),
            "created": self.store.created(),
            "deleted": self.store.deleted(),
            "by_path": by_path,
        })
        .to_string()
    }
}

impl Asked {
    fn of(request: &wire::Request<'_>) -> Self {
        let what = match request.path {
            "/-/counts" => What::Counts,
            "/-/reset" => What::Reset,
            path => What::Page(Page::of(request.method, path)),
        };
        let head_only = request.method == "HEAD";
        Self { what, head_only, shown: request.session, close: request.close }
    }
}

impl Connection {
    /// Whether another request has to wait.
    fn busy(&self) -> bool {
        self.waiting || !self.unsent.nothing()
    }

    /// Whether all of the answer could be written.
    fn answer(&mut self, site: &mut Site, asked: Asked) -> io::Result<bool> {
        self.close = asked.close;
        let session = site.visit(asked);
        let bytes = match (asked.what, session) {
            (What::Page(page), None) => site.pages.plain(page, asked.head_only),
            (What::Page(page), Some(key)) => {
                site.pages.with_session(page, asked.head_only, &key, &mut site.scratch);
                &site.scratch
            }
            (What::Counts | What::Reset, _) => {
                if let What::Reset = asked.what {
                    site.store.clear();
                    site.requests = [0; Page::ALL.len()];
                }
                let counts = site.counts();
                site.scratch = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{counts}",
                    counts.len()
                )
                .into_bytes();
                &site.scratch
            }
        };
        let sent = send(&self.socket, bytes)?;
        if sent < bytes.len() {
            self.unsent.at = 0;
            self.unsent.bytes = bytes[sent..].to_vec();
        }
        if let (What::Page(Page::Big), false) = (asked.what, asked.head_only) {
            self.unsent.big = BIG;
        }
        self.flush(site)
    }

    /// Whether nothing is left to be written.
    fn flush(&mut self, site: &mut Site) -> io::Result<bool> {
        for _ in 0..TURN {
            let unsent = &mut self.unsent;
            if unsent.at < unsent.bytes.len() {
                unsent.at += send(&self.socket, &unsent.bytes[unsent.at..])?;
                if unsent.at < unsent.bytes.len() {
                    return Ok(false);
                }
            } else if unsent.big > 0 {
                let most = unsent.big.min(PIECE as u64) as usize;
                let sent = send(&self.socket, &site.piece[..most])?;
                unsent.big -= sent as u64;
                if sent < most {
                    return Ok(false);
                }
            } else if self.close {
                return Err(gone());
            } else {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// How much could be written at once.
fn send(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
        Ok(sent) => Ok(sent),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn gone() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

fn unreadable(_: wire::Unreadable) -> io::Error {
    io::ErrorKind::InvalidData.into()
}
