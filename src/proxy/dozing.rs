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
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::oneshot;

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn it_is_looked_at_when_it_calls_and_when_another_task_waits() {
        let (sender, mut receiver) = oneshot::channel();
        let mut looks = 0;
        let mut dozing = Dozing::new(poll_fn(|cx| {
            looks += 1;
            Pin::new(&mut receiver).poll(cx)
        }));
        let (first, second) = (Arc::new(Task::default()), Arc::new(Task::default()));
        let mut poll = |task: &Arc<Task>| {
            let waker = Waker::from(Arc::clone(task));
            Pin::new(&mut dozing).poll(&mut Context::from_waker(&waker))
        };
        for task in [&first, &first, &second, &second, &second] {
            assert!(poll(task).is_pending());
        }
        sender.send(7).expect("it is waited for");
        let woken = [&first, &second].map(|task| task.0.load(Ordering::Relaxed));
        assert_eq!(woken, [0, 1], "who waited last is told");
        assert_eq!(poll(&second), Poll::Ready(Ok(7)));
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
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        for _ in 0..3 {
            assert!(Pin::new(&mut dozing).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!((looks, task.0.load(Ordering::Relaxed)), (3, 3));
    }
}
