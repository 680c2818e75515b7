//! What is held, and who sends it.

use std::future::poll_fn;
use std::pin::pin;

use http::{Request, Response};
use http_body_util::Full;
use rustix::net::RecvFlags;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::yield_now;

use super::*;
use crate::proxy::held::HELD_BYTES;
use crate::proxy::http1::{Http1, Incoming, Limits};
use crate::proxy::woken::Woken;

/// A connection whose exchange is over, on a thread with an outbox.
struct Rig {
    client: UnixStream,
    stream: Downstream,
    seat: Arc<Seat>,
    woken: Arc<Woken>,
    task: Waker,
}

impl Rig {
    /// Its client has sent something, which was read, and nothing is written yet.
    async fn new() -> Self {
        tokio::spawn(outbox::run());
        yield_now().await;
        Self::without_outbox().await
    }

    async fn without_outbox() -> Self {
        let (mut client, server) = UnixStream::pair().expect("two ends");
        // As little as the system allows.
        SockRef::from(&server).set_send_buffer_size(1).expect("it is one");
        let clock = Clock::start();
        let seat = Arc::new(Seat::new(clock, clock.now()));
        let pace = Pace::new(LINGER_TIME, 0);
        let mut stream = Downstream::new(Socket::Unix(server), Arc::clone(&seat), clock, pace);
        client.write_all(b"a").await.expect("it is taken");
        stream.read_exact(&mut [0]).await.expect("it has come");
        drop(seat.begin().expect("it has its place"));
        let (woken, task) = Woken::new();
        let mut rig = Self { client, stream, seat, woken, task };
        assert!(rig.read().is_pending());
        rig
    }

    fn poll<T>(&mut self, poll: impl FnOnce(Pin<&mut Downstream>, &mut Context<'_>) -> T) -> T {
        poll(Pin::new(&mut self.stream), &mut Context::from_waker(&self.task))
    }

    fn read(&mut self) -> Poll<io::Result<()>> {
        self.poll(|stream, cx| stream.poll_read(cx, &mut ReadBuf::new(&mut [0])))
    }

    fn write(&mut self, bytes: &[u8]) {
        let written = self.poll(|stream, cx| stream.poll_write(cx, bytes));
        assert!(matches!(written, Poll::Ready(Ok(length)) if length == bytes.len()), "{written:?}");
    }

    fn flush(&mut self) -> Poll<io::Result<()>> {
        self.poll(AsyncWrite::poll_flush)
    }

    /// Looks whether there is something to read.
    fn look(&mut self) -> Poll<io::Result<()>> {
        self.poll(|stream, cx| stream.poll_readable(cx).map(Ok))
    }

    /// Writes, and has it posted.
    fn post(&mut self, bytes: &[u8]) {
        self.write(bytes);
        assert!(matches!(self.flush(), Poll::Ready(Ok(()))), "it is as good as flushed");
    }

    /// What has come by now; none where nothing has, nor an end.
    fn came(&self) -> Option<Vec<u8>> {
        came(&self.client)
    }
}

fn came(client: &UnixStream) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 2 * HELD_BYTES];
    let (length, _) = rustix::net::recv(client, &mut *bytes, RecvFlags::DONTWAIT).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

#[tokio::test]
async fn what_is_held_is_sent_by_the_outbox_in_its_order_and_nobody_is_woken_for_it() {
    let mut rig = Rig::new().await;
    rig.write(b"1");
    assert_eq!(rig.came(), None);
    rig.post(b"2");
    rig.post(b"3");
    assert_eq!(rig.came(), None, "others have their turn first");
    yield_now().await;
    assert_eq!(rig.came().as_deref(), Some(&b"123"[..]));
    assert_eq!(rig.woken.times(), 0);
    rig.write(b"4");
    assert_eq!(rig.came().as_deref(), Some(&b"4"[..]), "nothing was read since");
}

#[tokio::test]
async fn what_finds_no_room_behind_what_is_posted_is_written_behind_it() {
    let mut rig = Rig::new().await;
    rig.post(b"first");
    let more = vec![b'm'; HELD_BYTES];
    let written = rig.poll(|stream, cx| stream.poll_write(cx, &more));
    assert!(matches!(written, Poll::Ready(Ok(length)) if length > 0), "{written:?}");
    let came = rig.came().expect("it is there");
    assert!(came.starts_with(b"firstmm"), "{came:?}");
    yield_now().await;
    assert_eq!(rig.came(), None, "nothing is sent twice");
}

/// More than the system takes at once.
fn much() -> Vec<u8> {
    (0..HELD_BYTES).map(|at| b'a' + u8::try_from(at % 23).expect("it is small")).collect()
}

#[tokio::test]
async fn what_the_system_does_not_take_is_sent_on_by_its_owner_who_is_woken() {
    let moves = [Rig::flush, Rig::read, Rig::look];
    for go_on in moves {
        let mut rig = Rig::new().await;
        rig.post(&much());
        yield_now().await;
        assert_eq!(rig.woken.times(), 1);
        assert!(!rig.seat.rests() && !rig.seat.is_blocked());
        let polled = go_on(&mut rig);
        assert!(polled.is_pending());
        assert!(rig.seat.is_blocked(), "its client is waited for");
        let mut all = Vec::new();
        while all.len() < much().len() {
            all.extend(rig.came().unwrap_or_default());
            yield_now().await;
            let _ = go_on(&mut rig);
        }
        assert!(all == much(), "in order, and each once");
        assert!(!rig.seat.is_blocked() && rig.seat.rests());
        assert!(rig.woken.times() > 1, "when there was room");
        assert!(matches!(rig.flush(), Poll::Ready(Ok(()))));
    }
}

/// Its task is woken, and neither reads nor writes anything then: it waits for an exchange, or for
/// somebody who has the body of a request.
#[tokio::test]
async fn a_response_is_sent_on_whatever_follows_it() {
    let (get, post) = ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\n");
    let post = format!("{post}Content-Length: 5\r\n\r\n");
    for requests in [format!("{get}{get}{get}"), format!("{get}{post}"), post] {
        let Rig { mut client, stream, .. } = Rig::new().await;
        let (mut answered, mut kept) = (false, Vec::new());
        let service = |request: Request<Incoming>| {
            kept.push(request.into_body());
            let is_first = !std::mem::replace(&mut answered, true);
            async move {
                match is_first {
                    true => Response::new(Full::<Bytes>::from(much()[..BODY].to_vec())),
                    false => std::future::pending().await,
                }
            }
        };
        let limits = Limits { head_bytes: 1_000, headers: 10 };
        let mut server = pin!(Http1::new(Box::new(stream), limits, Clock::start(), service));
        client.write_all(requests.as_bytes()).await.expect("it is taken");
        let reading = async {
            let mut all = Vec::new();
            while !all.ends_with(&much()[..BODY]) {
                assert!(client.read_buf(&mut all).await.is_ok_and(|length| length > 0));
            }
        };
        tokio::select! {
            () = reading => {}
            ended = poll_fn(|cx| server.poll(cx)) => unreachable!("it waits: {}", ended.is_ok()),
        }
    }
}

/// With its head it is held.
const BODY: usize = HELD_BYTES - 1_000;

#[tokio::test]
async fn what_the_outbox_sends_ends_the_wait_for_a_client() {
    let mut rig = Rig::new().await;
    rig.post(b"first");
    yield_now().await;
    while rig.poll(|stream, cx| stream.poll_write(cx, &much())).is_ready() {}
    assert!(rig.seat.is_blocked());
    while rig.came().is_some() {}
    rig.client.write_all(b"a").await.expect("it is taken");
    rig.stream.read_exact(&mut [0]).await.expect("it has come");
    rig.post(b"last");
    assert!(rig.seat.is_blocked(), "nothing was taken yet");
    yield_now().await;
    assert_eq!(rig.came().as_deref(), Some(&b"last"[..]));
    assert!(!rig.seat.is_blocked());
}

#[tokio::test]
async fn an_error_is_told_to_the_owner_who_is_woken() {
    let mut rig = Rig::new().await;
    let (other, _) = UnixStream::pair().expect("two ends");
    rig.post(b"nobody reads it");
    // It is not woken because its client is gone.
    let mut nobody = Context::from_waker(Waker::noop());
    let read = Pin::new(&mut rig.stream).poll_read(&mut nobody, &mut ReadBuf::new(&mut [0]));
    assert!(read.is_pending());
    drop(std::mem::replace(&mut rig.client, other));
    yield_now().await;
    assert_eq!(rig.woken.times(), 1);
    assert!(matches!(rig.flush(), Poll::Ready(Err(_))));
}

#[tokio::test]
async fn who_drops_it_has_sent_what_is_posted_and_closed_it_at_once() {
    for broken in [false, true] {
        let mut rig = Rig::new().await;
        rig.post(b"why");
        if broken {
            rig.seat.break_off();
        }
        let Rig { client, stream, .. } = rig;
        drop(stream);
        if !broken {
            assert_eq!(came(&client).as_deref(), Some(&b"why"[..]));
        }
        assert_eq!(came(&client).as_deref(), Some(&b""[..]), "it has ended");
        yield_now().await;
    }
}

/// Who serves it, and would send it, is taken from a connection that rests.
#[tokio::test]
async fn a_connection_does_not_rest_while_it_holds_what_was_answered() {
    let mut rig = Rig::without_outbox().await;
    rig.write(b"b");
    assert!(!rig.seat.rests(), "it was not sent yet");
    poll_fn(|cx| Pin::new(&mut rig.stream).poll_flush(cx)).await.expect("it is sent");
    assert!(rig.seat.rests());
    assert_eq!(rig.came().as_deref(), Some(&b"b"[..]));
    let mut rig = Rig::new().await;
    rig.post(b"b");
    assert!(!rig.seat.rests(), "it was not sent yet");
    yield_now().await;
    assert!(rig.seat.rests());
    assert_eq!(rig.came().as_deref(), Some(&b"b"[..]));
}

#[tokio::test]
async fn where_there_is_no_outbox_its_owner_has_another_turn() {
    let mut rig = Rig::without_outbox().await;
    rig.write(b"b");
    assert!(rig.flush().is_pending());
    assert_eq!((rig.woken.times(), rig.came()), (1, None));
    assert!(matches!(rig.flush(), Poll::Ready(Ok(()))));
    assert_eq!(rig.came().as_deref(), Some(&b"b"[..]));
}
