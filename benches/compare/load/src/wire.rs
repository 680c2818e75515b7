//! HTTP/1 as it is read: heads by httparse, bodies by their length, by chunks or by the end of the connection.
//!
//! Promises that a message is whole only where its framing says so; what it cannot read is [`Unreadable`].
//! Knows nothing of sockets, and keeps nothing of a body.

use std::mem::{self, MaybeUninit};

use httparse::{Header, Status};

/// What proxies send stays far below.
const MAX_HEAD: usize = 64 << 10;
const MAX_HEADERS: usize = 64;
/// Django 1.7's keys: `[a-z0-9]{32}`.
pub const KEY_LENGTH: usize = 32;

pub type Key = [u8; KEY_LENGTH];

/// No message of HTTP/1, or one that is framed in no way that RFC 9112, section 6, knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// What is still to come of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    Length(u64),
    Chunked(Chunk),
    /// Until the connection ends.
    Close,
}

/// The place within a chunked body (RFC 9112, section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    Size { size: u64, digits: u8 },
    Extension { size: u64 },
    SizeEnd { size: u64 },
    Data { left: u64 },
    DataEnd { seen: u8 },
    Trailer { length: u32 },
    TrailerEnd { length: u32 },
    Done,
}

impl Chunk {
    pub const START: Self = Self::Size { size: 0, digits: 0 };

    fn step(self, byte: u8) -> Result<Self, Unreadable> {
        match (self, byte) {
            (Self::Size { size, digits: 1.. }, b'\r') => Ok(Self::SizeEnd { size }),
            (Self::Size { size, digits: 1.. }, b';' | b' ' | b'\t') => Ok(Self::Extension { size }),
            (Self::Size { size, digits: digits @ 0..15 }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(Unreadable)?;
                Ok(Self::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
            }
            (Self::Extension { size }, b'\r') => Ok(Self::SizeEnd { size }),
            (Self::Extension { size }, _) => Ok(Self::Extension { size }),
            (Self::SizeEnd { size: 0 }, b'\n') => Ok(Self::Trailer { length: 0 }),
            (Self::SizeEnd { size }, b'\n') => Ok(Self::Data { left: size }),
            (Self::DataEnd { seen: 0 }, b'\r') => Ok(Self::DataEnd { seen: 1 }),
            (Self::DataEnd { seen: 1 }, b'\n') => Ok(Self::START),
            (Self::Trailer { length }, b'\r') => Ok(Self::TrailerEnd { length }),
            (Self::Trailer { length: 0..65536 }, b'\n') => Err(Unreadable),
            (Self::Trailer { length: length @ 0..65536 }, _) => {
                Ok(Self::Trailer { length: length + 1 })
            }
            (Self::TrailerEnd { length: 0 }, b'\n') => Ok(Self::Done),
            (Self::TrailerEnd { .. }, b'\n') => Ok(Self::Trailer { length: 0 }),
            (
                Self::Size { .. }
                | Self::SizeEnd { .. }
                | Self::Data { .. }
                | Self::DataEnd { .. }
                | Self::Trailer { .. }
                | Self::TrailerEnd { .. }
                | Self::Done,
                _,
            ) => Err(Unreadable),
        }
    }

    /// How many of these bytes belong to the body, framing included.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, Unreadable> {
        let mut at = 0;
        while at < bytes.len() && *self != Self::Done {
            if let Self::Data { left } = *self {
                let part = left.min((bytes.len() - at) as u64);
                at += usize::try_from(part).map_err(|_| Unreadable)?;
                *self = match left - part {
                    0 => Self::DataEnd { seen: 0 },
                    left => Self::Data { left },
                };
            } else {
                *self = self.step(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }
}

impl Body {
    pub const NONE: Self = Self::Length(0);

    pub fn done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunk) => *chunk == Chunk::Done,
            Self::Close => false,
        }
    }

    /// How many of these bytes belong to the body, framing included.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, Unreadable> {
        match self {
            Self::Length(left) => {
                let part = (*left).min(bytes.len() as u64);
                *left -= part;
                usize::try_from(part).map_err(|_| Unreadable)
            }
            Self::Chunked(chunk) => chunk.take(bytes),
            Self::Close => Ok(bytes.len()),
        }
    }

    /// So many bytes of the body have been thrown away unread.
    pub fn skip(&mut self, bytes: u64) {
        if let Self::Length(left) = self {
            *left = left.saturating_sub(bytes);
        }
    }
}

/// The fields that frame a message, in either direction.
#[derive(Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl Framing {
    /// Whether the field was one of these.
    fn field(&mut self, header: &Header<'_>) -> Result<bool, Unreadable> {
        if is(header, "content-length") {
            let text = std::str::from_utf8(header.value).map_err(|_| Unreadable)?;
            let length = text.trim().parse().map_err(|_| Unreadable)?;
            if self.length.replace(length).is_some_and(|other| other != length) {
                return Err(Unreadable);
            }
        } else if is(header, "transfer-encoding") {
            if !header.value.trim_ascii().eq_ignore_ascii_case(b"chunked") || self.chunked {
                return Err(Unreadable);
            }
            self.chunked = true;
        } else if is(header, "connection") {
            for word in header.value.split(|byte| *byte == b',') {
                self.close |= word.trim_ascii().eq_ignore_ascii_case(b"close");
                self.keep_alive |= word.trim_ascii().eq_ignore_ascii_case(b"keep-alive");
            }
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn body(&self, without: Body) -> Result<Body, Unreadable> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Unreadable),
            (true, None) => Ok(Body::Chunked(Chunk::START)),
            (false, Some(length)) => Ok(Body::Length(length)),
            (false, None) => Ok(without),
        }
    }

    fn closes(&self, version: Option<u8>) -> bool {
        self.close || version == Some(0) && !self.keep_alive
    }
}

fn is(header: &Header<'_>, name: &str) -> bool {
    header.name.eq_ignore_ascii_case(name)
}

/// What an answer says of the session cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetSession {
    No,
    Key(Key),
    Deleted,
}

/// The head of an answer, without its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub session: SetSession,
    /// The connection carries no other.
    pub close: bool,
}

/// Reads one answer after the other.
#[derive(Default)]
pub struct AnswerReader {
    /// A head that has not come in whole.
    head: Vec<u8>,
    pending: Option<(Answer, Body)>,
}

impl AnswerReader {
    /// Whether nothing of an answer has come yet.
    pub fn untouched(&self) -> bool {
        self.pending.is_none() && self.head.is_empty()
    }

    /// What is certain to be nothing but body still, in bytes.
    pub fn only_body(&self) -> u64 {
        match self.pending {
            Some((_, Body::Length(left))) => left,
            Some((_, Body::Chunked(_) | Body::Close)) | None => 0,
        }
    }

    /// So many bytes of the body have been thrown away unread. An answer that this completes is returned.
    pub fn skip(&mut self, bytes: u64) -> Option<Answer> {
        if let Some((_, body)) = &mut self.pending {
            body.skip(bytes);
        }
        self.whole()
    }

    /// An answer that these bytes complete. What follows it was not asked for.
    pub fn feed(&mut self, bytes: &[u8], to_head: bool) -> Result<Option<Answer>, Unreadable> {
        if self.pending.is_some() {
            return self.body(bytes);
        }
        if self.head.is_empty() {
            return self.begin(bytes, to_head);
        }
        let mut head = mem::take(&mut self.head);
        head.extend_from_slice(bytes);
        let answer = self.begin(&head, to_head);
        if self.head.is_empty() {
            // The allocation is for the next one.
            head.clear();
            self.head = head;
        }
        answer
    }

    /// The connection has ended; an answer that this completes is returned.
    pub fn end(&mut self) -> Option<Answer> {
        match self.pending.take() {
            Some((answer, Body::Close)) => Some(answer),
            Some((_, Body::Length(_) | Body::Chunked(_))) | None => None,
        }
    }

    /// Forgets what has come: another connection begins.
    pub fn restart(&mut self) {
        self.head.clear();
        self.pending = None;
    }

    fn begin(&mut self, mut bytes: &[u8], to_head: bool) -> Result<Option<Answer>, Unreadable> {
        loop {
            let Some((answer, body, length)) = answer_head(bytes, to_head)? else {
                if bytes.len() > MAX_HEAD {
                    return Err(Unreadable);
                }
                self.head.extend_from_slice(bytes);
                return Ok(None);
            };
            bytes = &bytes[length..];
            // An interim answer; nobody asked for another protocol.
            match answer.status {
                101 => return Err(Unreadable),
                100..200 => {}
                _ => {
                    self.pending = Some((answer, body));
                    return self.body(bytes);
                }
            }
        }
    }

    fn body(&mut self, bytes: &[u8]) -> Result<Option<Answer>, Unreadable> {
        let Some((_, body)) = &mut self.pending else { return Err(Unreadable) };
        if body.take(bytes)? < bytes.len() {
            return Err(Unreadable);
        }
        Ok(self.whole())
    }

    fn whole(&mut self) -> Option<Answer> {
        self.pending.take_if(|(_, body)| body.done()).map(|(answer, _)| answer)
    }
}

fn answer_head(bytes: &[u8], to_head: bool) -> Result<Option<(Answer, Body, usize)>, Unreadable> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut head = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let parsed = parser.parse_response_with_uninit_headers(&mut head, bytes, &mut headers);
    let Status::Complete(length) = parsed.map_err(|_| Unreadable)? else { return Ok(None) };
    let mut framing = Framing::default();
    let mut session = SetSession::No;
    for header in head.headers.iter() {
        if !framing.field(header)? && is(header, "set-cookie") {
            session = set_session(header.value).unwrap_or(session);
        }
    }
    let status = head.code.ok_or(Unreadable)?;
    let body = framing.body(Body::Close)?;
    let body = if to_head || matches!(status, 100..200 | 204 | 304) { Body::NONE } else { body };
    let close = framing.closes(head.version) || body == Body::Close;
    Ok(Some((Answer { status, session, close }, body, length)))
}

fn set_session(value: &[u8]) -> Option<SetSession> {
    let value = value.trim_ascii().strip_prefix(b"sessionid=")?;
    let value = value.split(|byte| *byte == b';').next().unwrap_or(value);
    let value =
        value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
    match Key::try_from(value) {
        Ok(key) => Some(SetSession::Key(key)),
        Err(_) => Some(SetSession::Deleted),
    }
}

/// The session cookie of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    No,
    Key(Key),
    /// None that Django makes.
    Other,
}

/// The head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    pub method: &'a str,
    /// Without the query.
    pub path: &'a str,
    pub session: Shown,
    pub body: Body,
    /// The connection carries no other.
    pub close: bool,
}

/// The request at the beginning of these bytes, and where its head ends; `None` while it is not whole.
pub fn request(bytes: &[u8]) -> Result<Option<(Request<'_>, usize)>, Unreadable> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut []);
    let length = match head.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if bytes.len() <= MAX_HEAD => return Ok(None),
        Ok(Status::Partial) | Err(_) => return Err(Unreadable),
    };
    let mut framing = Framing::default();
    let mut session = Shown::No;
    for header in head.headers.iter() {
        if !framing.field(header)? && is(header, "cookie") {
            session = shown(header.value, session);
        }
    }
    let target = head.path.ok_or(Unreadable)?;
    let request = Request {
        method: head.method.ok_or(Unreadable)?,
        path: target.split('?').next().unwrap_or(target),
        session,
        body: framing.body(Body::NONE)?,
        close: framing.closes(head.version),
    };
    Ok(Some((request, length)))
}

/// The last of the same name wins, as for Django.
fn shown(value: &[u8], mut session: Shown) -> Shown {
    for pair in value.split(|byte| *byte == b';') {
        if let Some(value) = pair.trim_ascii().strip_prefix(b"sessionid=") {
            session = match Key::try_from(value) {
                Ok(key) => Shown::Key(key),
                Err(_) if value.is_empty() => Shown::No,
                Err(_) => Shown::Other,
            };
        }
    }
    session
}
