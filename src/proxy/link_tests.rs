//! What comes between two exchanges of a connection.

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::proxy::clock::Clock;
use crate::proxy::places::{Answer, Places};
use crate::proxy::socket::Socket;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

async fn link() -> (Link, UnixStream) {
    let (near, far) = UnixStream::pair().expect("two ends");
    let place = match Arc::new(Places::default()).ask(0, None) {
        Answer::Granted(place) => Arc::new(place),
        Answer::Wait(_) | Answer::Full => unreachable!("there is no limit"),
    };
    let stream = RawStream::Plain(Socket::Unix(near));
    let link = Link::new(stream, UpstreamClient::Own, None, place).await;
    (link.expect("nothing is sent yet"), far)
}

/// This core is told of all that has happened.
async fn told() {
    let (mut one, mut other) = UnixStream::pair().expect("two ends");
    one.write_all(b"a").await.expect("it is taken");
    other.read_exact(&mut [0]).await.expect("it has come");
}

/// The turn may be long, where many have something to send.
#[tokio::test]
async fn what_comes_while_a_request_waits_for_its_turn_is_no_answer_to_it() {
    for disturbance in [Some(ANSWER), Some(b"\n"), None] {
        let (mut link, mut far) = link().await;
        let mut request = Request::new(UpstreamBody::empty(Clock::start()));
        *request.method_mut() = Method::POST;
        let mut request = Some(Box::new(request));
        far.write_all(ANSWER).await.expect("it is taken");
        link.send(&mut request, false).await.expect("the first is answered");
        assert!(far.read(&mut [0; 1_000]).await.is_ok_and(|length| length > 0));
        assert!(link.is_fit());
        let unanswered = {
            let mut sending = std::pin::pin!(link.send(&mut request, false));
            let polled = poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx).is_pending())).await;
            assert!(polled, "it has its turn later");
            match disturbance {
                Some(bytes) => far.write_all(bytes).await.expect("it is taken"),
                None => far.shutdown().await.expect("it is open"),
            }
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
