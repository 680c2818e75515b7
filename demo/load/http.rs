//! One HTTP/1.1 connection, read with as little code as that takes.
//!
//! Owns the socket, its source address and the framing of responses (Content-Length, chunked, up
//! to the end of the connection, none at all for HEAD, 204 and 304). Connects again when the
//! server has closed. Requests are bytes, because half of what a flood sends is no URL that a
//! library would write.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::Target;

/// More than any page of the rig's but `/big/`, which nothing here asks for.
const MAX_HEAD: usize = 64 << 10;
const MAX_BODY: usize = 16 << 20;

/// A request as it goes over the wire.
pub struct Request {
    pub bytes: Vec<u8>,
    /// Its response has no body, whatever the headers say.
    pub head: bool,
}

#[derive(Debug, Default)]
pub struct Response {
    pub status: u16,
    /// Names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    fn says(&self, name: &str, token: &str) -> bool {
        self.header(name).flat_map(|v| v.split(',')).any(|t| t.trim().eq_ignore_ascii_case(token))
    }
}

pub struct Connection {
    target: Target,
    source: Ipv4Addr,
    stream: Option<TcpStream>,
    /// What was read and not yet used.
    buffer: Vec<u8>,
    /// Whether as much as a byte has come of the response.
    answered: bool,
    /// Connections that the server had closed, under a request that was then sent again.
    pub resent: u64,
}

impl Connection {
    /// Connects at the first request.
    pub fn new(target: Target, source: Ipv4Addr) -> Self {
        Self { target, source, stream: None, buffer: Vec::new(), answered: false, resent: 0 }
    }

    /// Sends a request and reads the whole response, or fails at the deadline.
    ///
    /// A kept connection may have been closed by the server at any time. If that shows before the
    /// first byte of a response, the request is sent again on a new one, once, as browsers do.
    pub fn exchange(&mut self, request: &Request, deadline: Instant) -> io::Result<Response> {
        let kept = self.stream.is_some();
        let mut result = self.attempt(request, deadline);
        if kept && !self.answered && result.as_ref().is_err_and(was_closed) {
            self.resent += 1;
            result = self.attempt(request, deadline);
        }
        if result.is_err() {
            self.stream = None;
        }
        result
    }

    fn attempt(&mut self, request: &Request, deadline: Instant) -> io::Result<Response> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.target.address(), self.source, left(deadline)?)?,
        };
        self.buffer.clear();
        self.answered = false;
        stream.set_write_timeout(Some(left(deadline)?))?;
        stream.write_all(&request.bytes)?;
        let Self { buffer, answered, .. } = self;
        let mut reader = Reader { stream: &mut stream, buffer, answered, deadline };
        let (response, reusable) = reader.response(request.head)?;
        // Bytes that nobody asked for would be taken for the next response.
        if reusable && self.buffer.is_empty() {
            self.stream = Some(stream);
        }
        Ok(response)
    }
}

fn connect(target: SocketAddrV4, source: Ipv4Addr, timeout: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddrV4::new(source, 0).into())?;
    socket.connect_timeout(&target.into(), timeout)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

/// Time-outs of zero mean "none" to the socket, so they may not reach it.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn was_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed response: {what}"))
}

struct Reader<'a> {
    stream: &'a mut TcpStream,
    buffer: &'a mut Vec<u8>,
    answered: &'a mut bool,
    deadline: Instant,
}

impl Reader<'_> {
    /// The response, and whether the connection can take another request.
    fn response(&mut self, to_head: bool) -> io::Result<(Response, bool)> {
        let (mut response, http_1_1) = loop {
            let (response, http_1_1) = self.head()?;
            // 100 Continue and the like precede the response.
            if response.status >= 200 {
                break (response, http_1_1);
            }
        };
        let mut reusable = !response.says("connection", "close")
            && (http_1_1 || response.says("connection", "keep-alive"));
        response.body = if to_head || matches!(response.status, 204 | 304) {
            Vec::new()
        } else if response.says("transfer-encoding", "chunked") {
            self.chunked()?
        } else if let Some(length) = response.header("content-length").next() {
            self.exactly(length.parse().map_err(|_| malformed("Content-Length"))?)?
        } else {
            reusable = false;
            self.rest()?
        };
        Ok((response, reusable))
    }

    fn head(&mut self) -> io::Result<(Response, bool)> {
        let end = self.find(b"\r\n\r\n")?;
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.split("\r\n");
        let mut status_line = lines.next().unwrap_or_default().splitn(3, ' ');
        let version = status_line.next().unwrap_or_default();
        let status = status_line.next().and_then(|s| s.parse().ok());
        let status =
            status.filter(|_| version.starts_with("HTTP/1.")).ok_or(malformed("status line"))?;
        let headers = lines
            .filter(|line| !line.is_empty())
            .map(|line| {
                let (name, value) = line.split_once(':').ok_or(malformed("header"))?;
                Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
            })
            .collect::<io::Result<_>>()?;
        Ok((Response { status, headers, body: Vec::new() }, version == "HTTP/1.1"))
    }

    fn chunked(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| malformed("chunk size"))?;
            if size == 0 {
                // Trailers, up to an empty line.
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            if body.len() + size > MAX_BODY {
                return Err(malformed("body too large"));
            }
            body.extend(self.exactly(size)?);
            self.line()?;
        }
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        if length > MAX_BODY {
            return Err(malformed("body too large"));
        }
        while self.buffer.len() < length {
            self.fill()?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.buffer.len() <= MAX_BODY {
            match self.fill() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(std::mem::take(self.buffer));
                }
                Err(error) => return Err(error),
            }
        }
        Err(malformed("body too large"))
    }

    fn line(&mut self) -> io::Result<String> {
        let end = self.find(b"\r\n")?;
        let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
        Ok(String::from_utf8_lossy(&line[..end]).into_owned())
    }

    fn find(&mut self, what: &[u8]) -> io::Result<usize> {
        loop {
            if let Some(at) = self.buffer.windows(what.len()).position(|w| w == what) {
                return Ok(at);
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(malformed("head too large"));
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        self.stream.set_read_timeout(Some(left(self.deadline)?))?;
        let mut chunk = [0; 8 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                self.buffer.extend_from_slice(&chunk[..n]);
                *self.answered = true;
                Ok(())
            }
            // How a socket's time-out shows depends on the platform.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::TimedOut.into()),
            Err(e) => Err(e),
        }
    }
}
