//! What comes between two exchanges of a connection.

use std::net::Shutdown;
use std::pin::pin;

use http::{HeaderValue, Method};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio::task::yield_now;

use super::*;
use crate::proxy::clock::Clock;
use crate::proxy::outbox;
use crate::proxy::places::{Answer, Places};
use crate::proxy::socket::Socket;
use crate::proxy::woken::Woken;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

async fn link() -> (Link, UnixStream) {
    let (near, far) = UnixStream::pair().expect("two ends");
    // As little as the system allows.
    SockRef::from(&near).set_send_buffer_size(1).expect("it is one");
    let place = match Arc::new(Places::default()).ask(0, None) {
        Answer::Granted(place) => Arc::new(place),
        Answer::Wait(_) | Answer::Full => unreachable!("there is no limit"),
    };
    let stream = RawStream::plain(Socket::Unix(near));
    let link = Link::new(stream, UpstreamClient::Own, None, place).await;
    (link.expect("nothing is sent yet"), far)
}

/// This core is told of all that has happened.
async fn told() {
    let (mut one, mut other) = UnixStream::pair().expect("two ends");
    one.write_all(b"a").await.expect("it is taken");
    other.read_exact(&mut [0]).await.expect("it has come");
}

fn request() -> Option<Box<Request<UpstreamBody>>> {
    let mut request = Request::new(UpstreamBody::empty(Clock::start()));
    *request.method_mut() = Method::POST;
    Some(Box::new(request))
}

/// One that has carried a request.
async fn used() -> (Link, UnixStream) {
    let (mut link, mut far) = link().await;
    far.write_all(ANSWER).await.expect("it is taken");
    link.send(&mut request(), None, false).await.expect("the first is answered");
    assert!(far.read(&mut [0; 1_000]).await.is_ok_and(|length| length > 0));
    assert!(link.is_fit());
    (link, far)
}

fn disturb(far: &UnixStream, disturbance: Option<&[u8]>) {
    match disturbance {
        Some(bytes) => assert!(far.try_write(bytes).is_ok_and(|length| length == bytes.len())),
        None => SockRef::from(far).shutdown(Shutdown::Write).expect("it is open"),
    }
}

/// The turn may be long, where many have something to send.
#[tokio::test]
async fn what_comes_while_a_request_waits_for_its_turn_is_no_answer_to_it() {
    for disturbance in [Some(ANSWER), Some(b"\n"), None] {
        let (mut link, far) = used().await;
        let mut request = request();
        let unanswered = {
            let mut sending = pin!(link.send(&mut request, None, false));
            let polled = poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx).is_pending())).await;
            assert!(polled, "it has its turn later");
            disturb(&far, disturbance);
            told().await;
            sending.await
        };
        assert!(matches!(unanswered, Err(Unanswered::Unsent(_))), "{unanswered:?}");
        assert!(request.is_some(), "it can be sent on another");
        told().await;
        let written = far.try_read(&mut [0]);
        assert!(written.is_err(), "nothing of it was written");
    }
}

/// Runs on a thread with an outbox, which is told of what has happened after each turn of a task.
fn with_outbox(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().event_interval(1).build();
    runtime.expect("there is room for one").block_on(async {
        tokio::spawn(outbox::run());
        yield_now().await;
        test.await;
    });
}

/// The outbox looks, or the request's own task, whichever has its turn first.
#[test]
fn what_comes_while_a_request_is_in_the_outbox_is_no_answer_to_it() {
    with_outbox(async {
        for disturbance in [Some(ANSWER), Some(b"\n"), None] {
            for outbox_first in [true, false] {
                let (mut link, far) = used().await;
                let mut request = request();
                let unanswered = {
                    let mut sending = pin!(link.send(&mut request, None, false));
                    // Has its turn before the outbox: the disturbance is told of behind it.
                    drop(tokio::spawn(async {}));
                    let mut polled = |cx: &mut Context<'_>| sending.as_mut().poll(cx).is_pending();
                    assert!(poll_fn(|cx| Poll::Ready(polled(cx))).await, "it has its turn later");
                    disturb(&far, disturbance);
                    if outbox_first {
                        tokio::spawn(async {}).await.expect("it ends");
                    }
                    sending.await
                };
                assert!(matches!(unanswered, Err(Unanswered::Unsent(_))), "{unanswered:?}");
                assert!(request.is_some(), "it can be sent on another");
                yield_now().await;
                assert!(far.try_read(&mut [0]).is_err(), "nothing of it was written");
            }
        }
    });
}

#[test]
fn a_request_is_sent_by_the_outbox_and_its_task_woken_by_the_answer() {
    with_outbox(async {
        let (mut link, mut far) = used().await;
        let mut request = request();
        let mut sending = pin!(link.send(&mut request, None, false));
        let (woken, waker) = Woken::new();
        let mut cx = Context::from_waker(&waker);
        assert!(sending.as_mut().poll(&mut cx).is_pending());
        let mut head = [0; 1_000];
        let length = far.read(&mut head).await.expect("it is sent");
        assert!(head[..length].ends_with(b"\r\n\r\n"), "all of it");
        assert_eq!(woken.times(), 0);
        far.write_all(ANSWER).await.expect("it is taken");
        while woken.times() == 0 {
            yield_now().await;
        }
        assert!(matches!(sending.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
    });
}

/// A request of which as much as a byte was sent may have been carried out: a second logout is a second
/// session.
#[test]
fn what_the_outbox_has_sent_of_a_request_counts_as_sent() {
    with_outbox(async {
        for lines in [0, 40] {
            let (mut link, mut far) = used().await;
            let mut request = request();
            for _ in 0..lines {
                let value = HeaderValue::from_bytes(&[b'v'; 1_000]).expect("a value");
                request.as_mut().expect("it is there").headers_mut().append("x-long", value);
            }
            let mut sending = pin!(link.send(&mut request, None, false));
            let mut polled = |cx: &mut Context<'_>| sending.as_mut().poll(cx).is_pending();
            assert!(poll_fn(|cx| Poll::Ready(polled(cx))).await, "it has its turn later");
            assert!(far.read(&mut [0; 100]).await.is_ok_and(|length| length > 0));
            // Not all of a long one was.
            drop(far);
            let unanswered = sending.await;
            assert!(matches!(unanswered, Err(Unanswered::Silent(_))), "{unanswered:?}");
        }
    });
}

#[test]
fn what_the_outbox_could_not_send_is_written_on_by_its_owner() {
    with_outbox(async {
        let (mut link, mut far) = used().await;
        let mut request = request();
        let value = HeaderValue::from_bytes(&[b'v'; 40_000]).expect("a value");
        request.as_mut().expect("it is there").headers_mut().append("x-long", value);
        let reading = async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert!(far.read_buf(&mut head).await.is_ok_and(|length| length > 0));
            }
            far.write_all(ANSWER).await.expect("it is taken");
            head
        };
        let (answered, head) = tokio::join!(link.send(&mut request, None, false), reading);
        answered.expect("it is answered");
        let head = String::from_utf8(head).expect("a head is text");
        assert_eq!(head, format!("POST / HTTP/1.1\r\nx-long: {}\r\n\r\n", "v".repeat(40_000)));
    });
}

/// A server may be gone when it is written to, and a request then goes to another.
#[test]
fn what_the_outbox_fails_to_send_counts_as_unsent() {
    with_outbox(async {
        // Of a new connection nobody looks whether something has come.
        let (mut link, far) = link().await;
        let mut request = request();
        let mut sending = pin!(link.send(&mut request, None, false));
        let mut polled = |cx: &mut Context<'_>| sending.as_mut().poll(cx).is_pending();
        assert!(poll_fn(|cx| Poll::Ready(polled(cx))).await, "it has its turn later");
        drop(far);
        let unanswered = sending.await;
        assert!(matches!(unanswered, Err(Unanswered::Unsent(_))), "{unanswered:?}");
    });
}
