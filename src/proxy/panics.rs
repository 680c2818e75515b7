//! Panics: faults of ours, each of which is to cost one exchange and nothing else.
//!
//! What an exchange holds is let go of as the panic unwinds: it stays charged, as one that nobody
//! knows the outcome of, and what it shares with others is whole between two operations. A panic
//! while a response is relayed ends its connection, for there is nothing else left to be said.

use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::pin::Pin;
use std::task::Poll;

/// Sees a future to its end; `None` if it panics.
pub async fn caught<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        // It is not polled again after a panic.
        match panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Some),
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}

/// Has each panic of the process logged from now on, with its place. Its message is not: it might
/// hold what came in a request.
pub fn log() {
    panic::set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "a panic, which is a fault of Floodwall: please report this");
    }));
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::pin::pin;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What was logged.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_logged_with_its_place_and_without_its_message() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        let line = line!() + 3;
        tracing::subscriber::with_default(subscriber, || {
            log();
            let outcome = panic::catch_unwind(|| panic!("{}", "what came in a request"));
            drop(panic::take_hook());
            assert!(outcome.is_err());
        });
        let logged = String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("text");
        assert_eq!(logged.lines().count(), 1, "{logged}");
        assert!(logged.contains("\"level\":\"ERROR\""), "{logged}");
        assert!(logged.contains(&format!("\"place\":\"{}:{line}:", file!())), "{logged}");
        assert!(!logged.contains("what came"), "{logged}");
    }

    #[tokio::test]
    async fn a_panic_is_caught_wherever_it_comes_and_drops_what_was_held() {
        let held = Arc::new(());
        for polls in 0..3 {
            let kept = Arc::clone(&held);
            let failing = async move {
                for _ in 0..polls {
                    tokio::task::yield_now().await;
                }
                assert!(polls > 2, "on purpose");
                kept
            };
            assert!(caught(pin!(failing)).await.is_none());
            assert_eq!(Arc::strong_count(&held), 1);
        }
        assert_eq!(caught(pin!(async { 7 })).await, Some(7));
    }
}
