//! An exchange with the application is finished even if its client has hung up.
//!
//! The future of an exchange is dropped when its client goes away. What the application then answers
//! would not be seen: a session created for nobody would be charged to nobody, and a spare would
//! be lost. [`Observed`] goes on alone instead.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

use super::live::Live;

/// A future that, once begun, runs to its end: dropped before that, it becomes a task of the
/// current runtime, counted in a [`Live`] so that a stop can wait for it. A future that was never
/// polled, or that panicked, is just dropped. Costs one allocation.
#[must_use = "futures do nothing unless polled"]
pub struct Observed<'a, F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    /// `None` when it has ended, or while it is polled: a panic leaves it so.
    future: Option<Pin<Box<F>>>,
    begun: bool,
    live: &'a Live,
}

impl<'a, F> Observed<'a, F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    /// Wraps `future`; `live` counts it from the time that it runs alone.
    pub fn new(live: &'a Live, future: F) -> Self {
        Self { future: Some(Box::pin(future)), begun: false, live }
    }
}

impl<F> Future for Observed<'_, F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(mut future) = self.future.take() else {
            // Polled after its end, which no caller does: it cannot end twice.
            return Poll::Pending;
        };
        self.begun = true;
        let outcome = future.as_mut().poll(cx);
        if outcome.is_pending() {
            self.future = Some(future);
        }
        outcome
    }
}

impl<F> Drop for Observed<'_, F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn drop(&mut self) {
        let Some(future) = self.future.take() else { return };
        // Without a runtime there is nothing left to run on: the process is ending.
        if self.begun
            && let Ok(runtime) = Handle::try_current()
        {
            let token = self.live.token();
            runtime.spawn(async move {
                drop(future.await);
                drop(token);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn dropped_after_it_began_it_still_ends() {
        let live = Live::default();
        let (answer, awaited) = oneshot::channel::<()>();
        let (done, seen) = oneshot::channel();
        let mut observed = Observed::new(&live, async move {
            let _ = awaited.await;
            let _ = done.send(());
        });
        assert!(futures_poll(&mut observed).await.is_pending());
        drop(observed);
        assert_eq!(live.number(), 1);
        answer.send(()).unwrap();
        seen.await.unwrap();
        live.emptied().await;
    }

    #[tokio::test]
    async fn dropped_before_it_began_it_does_nothing() {
        let live = Live::default();
        drop(Observed::new(&live, async { unreachable!("it was never begun") }));
        assert_eq!(live.number(), 0);
    }

    #[tokio::test]
    async fn after_a_panic_it_is_not_begun_again() {
        let live = Live::default();
        let counted = live.clone();
        let task = tokio::spawn(async move {
            let () = Observed::new(&counted, async { panic!("on purpose") }).await;
        });
        assert!(task.await.unwrap_err().is_panic());
        assert_eq!(live.number(), 0);
    }

    async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
    }
}
