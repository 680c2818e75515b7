//! What is borrowed, and what of it is sent.

use rustix::net::RecvFlags;
use socket2::SockRef;
use tokio::net::UnixStream;
use tokio::task::yield_now;

use super::*;
use crate::proxy::woken::Woken;

async fn ends() -> (Outlet, UnixStream) {
    tokio::spawn(outbox::run());
    yield_now().await;
    let (near, far) = UnixStream::pair().expect("two ends");
    // As little as the system allows.
    SockRef::from(&near).set_send_buffer_size(1).expect("it is one");
    (Outlet::new(Socket::Unix(near)), far)
}

/// What has come by now; none where nothing has, nor an end.
fn came(far: &UnixStream) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 64 << 10];
    let (length, _) = rustix::net::recv(far, &mut *bytes, RecvFlags::DONTWAIT).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

fn sent(outlet: &Outlet) -> Poll<Option<(Vec<u8>, usize)>> {
    outlet.poll_sent(&mut Context::from_waker(Waker::noop()))
}

fn borrow(outlet: &Outlet, request: &[u8], task: &Waker) -> bool {
    outlet.borrow(&mut Context::from_waker(task), &mut request.to_vec(), true)
}

#[tokio::test]
async fn what_is_borrowed_is_given_back_with_how_much_of_it_was_sent() {
    for (length, polled) in [(7, false), (7, true), (32 << 10, false), (32 << 10, true)] {
        let (outlet, far) = ends().await;
        let request = vec![b'r'; length];
        let (woken, task) = Woken::new();
        assert!(borrow(&outlet, &request, if polled { Waker::noop() } else { &task }));
        if polled {
            // It may go on in another task than the one that it began in.
            assert!(outlet.poll_sent(&mut Context::from_waker(&task)).is_pending());
        }
        assert_eq!(came(&far), None, "others have their turn first");
        yield_now().await;
        let came = came(&far).unwrap_or_default().len();
        assert!(came > 0 && (came == length) == (length == 7), "{came}");
        assert_eq!(woken.times() == 0, came == length, "its owner sends the rest");
        assert_eq!(sent(&outlet), Poll::Ready(Some((request, came))));
        assert_eq!(sent(&outlet), Poll::Ready(None));
    }
}

#[tokio::test]
async fn nothing_is_taken_where_something_has_come_or_no_outbox_runs() {
    let (near, far) = UnixStream::pair().expect("two ends");
    let outlet = Outlet::new(Socket::Unix(near));
    assert!(!borrow(&outlet, b"request", Waker::noop()), "no outbox runs");
    tokio::spawn(outbox::run());
    yield_now().await;
    assert_eq!(far.try_write(b"stray").expect("it is taken"), 5);
    yield_now().await;
    assert!(!borrow(&outlet, b"request", Waker::noop()), "something has come");
    assert_eq!((sent(&outlet), came(&far)), (Poll::Ready(None), None));
}

#[tokio::test]
async fn what_is_dropped_before_its_turn_is_not_sent_and_closed_at_once() {
    let (outlet, far) = ends().await;
    assert!(borrow(&outlet, b"request", Waker::noop()));
    drop(outlet);
    assert_eq!(came(&far).as_deref(), Some(&b""[..]), "it has ended");
    yield_now().await;
}
