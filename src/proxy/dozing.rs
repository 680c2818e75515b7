//! A future that is not looked at again before it calls.
//!
//! Whoever waits for several things looks at all of them each time that one has moved. What moves
//! once in the life of a connection need not be asked with each of its requests.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Polls a future only when that has called since, or when another task waits. Costs one allocation
/// for each task that waits.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub(super) struct Dozing<F> {
    future: F,
    bell: Option<Arc<Bell>>,
}

/// What the future wakes.
#[derive(Debug)]
struct Bell {
    task: Waker,
    rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl<F: Future + Unpin> Dozing<F> {
    /// Has `future` polled as seldom as it calls.
    pub(super) const fn new(future: F) -> Self {
        Self { future, bell: None }
    }
}

impl<F: Future + Unpin> Future for Dozing<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let known = self.bell.as_ref().filter(|bell| bell.task.will_wake(cx.waker()));
        let bell = match known {
            Some(bell) if !bell.rung.load(Ordering::Acquire) => return Poll::Pending,
            Some(bell) => Arc::clone(bell),
            None => Arc::new(Bell { task: cx.waker().clone(), rung: AtomicBool::new(false) }),
        };
        // Before the look: what moves during it rings again.
        bell.rung.store(false, Ordering::Release);
        self.bell = Some(Arc::clone(&bell));
        Pin::new(&mut self.future).poll(&mut Context::from_waker(&Waker::from(bell)))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::sync::oneshot;

    use super::*;
    use crate::proxy::woken::Woken;

    #[test]
    fn it_is_looked_at_when_it_calls_and_when_another_task_waits() {
        let (sender, mut receiver) = oneshot::channel();
        let mut looks = 0;
        let mut dozing = Dozing::new(poll_fn(|cx| {
            looks += 1;
            Pin::new(&mut receiver).poll(cx)
        }));
        let ((first, first_task), (second, second_task)) = (Woken::new(), Woken::new());
        let mut poll = |task: &Waker| Pin::new(&mut dozing).poll(&mut Context::from_waker(task));
        for task in [&first_task, &first_task, &second_task, &second_task, &second_task] {
            assert!(poll(task).is_pending());
        }
        sender.send(7).expect("it is waited for");
        assert_eq!([first.times(), second.times()], [0, 1], "who waited last is told");
        assert_eq!(poll(&second_task), Poll::Ready(Ok(7)));
        assert_eq!(looks, 3, "one for each task, and one for the call");
    }

    #[test]
    fn who_calls_while_being_looked_at_is_looked_at_again() {
        let mut looks = 0;
        let mut dozing = Dozing::new(poll_fn(|cx| {
            looks += 1;
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        let (task, waker) = Woken::new();
        for _ in 0..3 {
            assert!(Pin::new(&mut dozing).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!((looks, task.times()), (3, 3));
    }
}
