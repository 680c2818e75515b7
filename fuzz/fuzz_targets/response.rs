//! What an application answers, read by our own leg and by hyper's client: the same bytes, in the
//! same pieces.
//!
//! Where ours finds a response, hyper finds the very same, with the same end; and a connection that
//! ours uses again hyper would use again, too. Where hyper refuses, ours does. Ours refuses more, and
//! what that may be stands in `is_stricter`.

#![no_main]

mod pieces;

use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use floodwall::proxy::leg::{Flaw, Leg};
use http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use http::response::Parts;
use http::{Method, Request, StatusCode};
use http_body::Body;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use libfuzzer_sys::fuzz_target;
use pieces::pieces;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

fuzz_target!(|input: &[u8]| {
    let Some((&[how, seed], bytes)) = input.split_first_chunk() else { return };
    let method = if how & 1 == 0 { Method::GET } else { Method::HEAD };
    let script = Script { pieces: pieces(bytes, seed), ends: how & 2 != 0, ..Script::default() };
    let (own, flaw) = of_own(&method, script.clone());
    let hyper = of_hyper(&method, script);
    compare(&own, flaw.as_ref(), &hyper, &method, bytes);
});

fn compare(own: &Found, flaw: Option<&Flaw>, hyper: &Found, method: &Method, bytes: &[u8]) {
    let said = || format!("{}\nown {own:?}, {flaw:?}\nhyper {hyper:?}", bytes.escape_ascii());
    if own.ready {
        assert!(hyper.ready, "used again, which hyper would not do: {}", said());
    }
    match own.end {
        End::Whole => {
            assert_eq!(hyper.end, End::Whole, "{}", said());
            assert_eq!(own.body, hyper.body, "{}", said());
            assert_eq!(own.trailers, hyper.trailers, "{}", said());
        }
        End::Waits if own.head.is_none() && hyper.end == End::Flawed => {
            // A head that is none is looked at again when its end has come.
            assert!(hyper.head.is_none(), "{}", said());
            return;
        }
        End::Waits => {
            assert_eq!(hyper.end, End::Waits, "{}", said());
            assert_eq!(own.body, hyper.body, "{}", said());
        }
        End::Flawed if hyper.end == End::Flawed => {
            let (one, other) = (&own.body, &hyper.body);
            assert!(one.starts_with(other) || other.starts_with(one), "{}", said());
        }
        End::Flawed => {
            assert!(flaw.is_some_and(|flaw| is_stricter(flaw, hyper, method, bytes)), "{}", said());
            return;
        }
    }
    match (&own.head, &hyper.head) {
        (Some(own), Some(hyper)) => {
            assert_eq!(own.status, hyper.status, "{}", said());
            assert_eq!(own.version, hyper.version, "{}", said());
            assert_eq!(own.headers, hyper.headers, "{}", said());
            let reason = |parts: &Parts| {
                parts.extensions.get::<hyper::ext::ReasonPhrase>().map(|r| r.as_bytes().to_vec())
            };
            assert_eq!(reason(own), reason(hyper), "{}", said());
        }
        (None, None) => {}
        (Some(_), None) => panic!("{}", said()),
        (None, Some(_)) => {
            assert!(flaw.is_some_and(|flaw| is_stricter(flaw, hyper, method, bytes)), "{}", said());
        }
    }
}

/// What only ours refuses, and on what bytes.
fn is_stricter(flaw: &Flaw, hyper: &Found, method: &Method, bytes: &[u8]) -> bool {
    let headers = hyper.head.as_ref().map(|head| &head.headers);
    let has = |name| headers.is_some_and(|headers| headers.contains_key(name));
    let bare =
        || (0..bytes.len()).any(|at| bytes[at] == b'\n' && (at == 0 || bytes[at - 1] != b'\r'));
    // hyper reads over informational responses, whatever they say of a body.
    let interim = || bytes.windows(10).any(|it| it.starts_with(b"HTTP/1.") && it.ends_with(b" 1"));
    match flaw {
        // In front of the status line, or behind an informational response.
        Flaw::Before => bytes.iter().any(|byte| b"\r\n".contains(byte)),
        Flaw::LineFeed => bare(),
        Flaw::Interim => {
            bytes.windows(10).filter(|it| it.starts_with(b"HTTP/1.1 1")).count() > 32
                || bytes.windows(10).filter(|it| it.starts_with(b"HTTP/1.")).count() > 32
        }
        // Where hyper does not look at it, or takes more than 63 bits.
        Flaw::Length => {
            let status = hyper.head.as_ref().map(|head| head.status);
            *method == Method::HEAD
                || matches!(status, Some(StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED))
                || status.is_some_and(|status| status == StatusCode::SWITCHING_PROTOCOLS)
                || has(TRANSFER_ENCODING)
                || headers.is_some_and(|headers| {
                    let value = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
                    let first = value.and_then(|value| value.split(',').next());
                    first.is_some_and(|first| first.trim().parse::<i64>().is_err())
                })
                || interim()
        }
        // Whoever sees such a head from hyper refuses it.
        Flaw::TransferCoding => has(TRANSFER_ENCODING) || interim(),
        // Controls in an extension.
        Flaw::ChunkSize => {
            bytes.iter().any(|byte| byte.is_ascii_control() && !b"\r\n\t".contains(byte))
        }
        Flaw::Trailers => bare(),
        Flaw::Broken(_)
        | Flaw::Ended
        | Flaw::Cut
        | Flaw::Head(_)
        | Flaw::HeadBytes
        | Flaw::Extensions
        | Flaw::ChunkEnd
        | Flaw::Upload => false,
    }
}

/// What a client finds.
#[derive(Debug)]
struct Found {
    head: Option<Parts>,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
    end: End,
    /// Whether the connection is used again.
    ready: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    /// For more bytes.
    Waits,
    Flawed,
}

/// An application that says this when it has the head of a request.
#[derive(Clone, Debug, Default)]
struct Script {
    /// The next one last.
    pieces: Vec<Bytes>,
    ends: bool,
    asked: Vec<u8>,
    /// Whether the last piece was read, so that whoever wants the next one has to come again.
    paused: bool,
}

/// It is looked at from outside while a client has it.
#[derive(Clone, Debug)]
struct Stream(Arc<Mutex<Script>>);

impl Stream {
    fn is_silent(&self) -> bool {
        let script = self.0.lock().unwrap();
        script.pieces.is_empty() && !script.ends
    }

    /// So often whoever reads it may have to come again.
    fn turns(&self) -> usize {
        2 * self.0.lock().unwrap().pieces.len() + 8
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut script = self.0.lock().unwrap();
        script.paused = !script.paused;
        if script.paused || !script.asked.ends_with(b"\r\n\r\n") {
            return Poll::Pending;
        }
        match script.pieces.pop() {
            Some(mut piece) => {
                let now = piece.split_to(piece.len().min(buf.remaining()));
                buf.put_slice(&now);
                if !piece.is_empty() {
                    script.pieces.push(piece);
                }
                Poll::Ready(Ok(()))
            }
            None if script.ends => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap().asked.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn request(method: &Method) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = method.clone();
    request
}

fn of_own(method: &Method, script: Script) -> (Found, Option<Flaw>) {
    let stream = Stream(Arc::new(Mutex::new(script)));
    let turns = stream.turns();
    let (mut leg, mut request) = (Leg::new(stream), request(method));
    let cx = &mut Context::from_waker(Waker::noop());
    let waits = End::Waits;
    let mut found =
        Found { head: None, body: Vec::new(), trailers: None, end: waits, ready: false };
    leg.begin(&request, None);
    for _ in 0..turns {
        match leg.poll_head(cx, &mut request) {
            Poll::Ready(Ok(parts)) => {
                found.head = Some(parts);
                break;
            }
            Poll::Ready(Err(flaw)) => {
                found.end = End::Flawed;
                assert!(!leg.is_ready(), "used again after {flaw:?}");
                return (found, Some(flaw));
            }
            Poll::Pending => {}
        }
    }
    if found.head.is_none() {
        return (found, None);
    }
    let mut turn = 0;
    while turn < turns {
        match leg.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => take(&mut found, frame),
            Poll::Ready(Some(Err(flaw))) => {
                found.end = End::Flawed;
                assert!(!leg.is_ready(), "used again after {flaw:?}");
                return (found, Some(flaw));
            }
            Poll::Ready(None) => {
                found.end = End::Whole;
                break;
            }
            Poll::Pending => turn += 1,
        }
    }
    found.ready = leg.is_ready() && leg.stream().is_silent();
    (found, None)
}

fn of_hyper(method: &Method, script: Script) -> Found {
    let stream = Stream(Arc::new(Mutex::new(script)));
    let turns = stream.turns();
    let cx = &mut Context::from_waker(Waker::noop());
    let mut shaking =
        pin!(http1::Builder::new().max_buf_size(128 << 10).handshake(TokioIo::new(stream.clone())));
    let Poll::Ready(Ok((mut sender, connection))) = shaking.as_mut().poll(cx) else {
        panic!("there is nothing to wait for");
    };
    let mut connection = pin!(connection.with_upgrades());
    let mut sent = pin!(sender.send_request(request(method)));
    let mut ended = false;
    let mut drive = |cx: &mut Context<'_>| {
        if !ended {
            ended = connection.as_mut().poll(cx).is_ready();
        }
    };
    let waits = End::Waits;
    let mut found =
        Found { head: None, body: Vec::new(), trailers: None, end: waits, ready: false };
    let mut incoming = None;
    for _ in 0..turns {
        drive(cx);
        match sent.as_mut().poll(cx) {
            Poll::Ready(Ok(response)) => {
                let (parts, body) = response.into_parts();
                found.head = Some(parts);
                incoming = Some(body);
                break;
            }
            Poll::Ready(Err(_)) => {
                found.end = End::Flawed;
                return found;
            }
            Poll::Pending => {}
        }
    }
    let Some(mut incoming) = incoming else { return found };
    let mut turn = 0;
    while turn < turns {
        match Pin::new(&mut incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => take(&mut found, frame),
            Poll::Ready(Some(Err(_))) => {
                found.end = End::Flawed;
                return found;
            }
            Poll::Ready(None) => {
                found.end = End::Whole;
                break;
            }
            Poll::Pending => turn += 1,
        }
        drive(cx);
    }
    drop(incoming);
    for _ in 0..turns {
        drive(cx);
    }
    found.ready = sender.is_ready();
    found
}

fn take(found: &mut Found, frame: http_body::Frame<Bytes>) {
    match frame.into_data() {
        Ok(data) => found.body.extend_from_slice(&data),
        Err(frame) => found.trailers = frame.into_trailers().ok(),
    }
}
