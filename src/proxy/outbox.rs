//! What waits to be sent until the tasks of its core that are ready have had their turn.
//!
//! Each core has one outbox. It is a task that is woken with the first letter that is posted, and so
//! has its turn behind those that were ready by then: it sends for all of them, and nobody's task is
//! polled a second time for nothing but to send. It promises to send in the order of posting, and owns
//! nothing else: what a letter is, and what becomes of what the system does not take, is up to who has
//! posted it. See [`Turn`](super::turn::Turn) for why sending waits at all.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::mem;
use std::ptr;
use std::sync::Arc;
use std::task::{Poll, Waker};

thread_local! {
    /// That of the core whose thread it is.
    static OUTBOX: RefCell<Outbox> = const { RefCell::new(Outbox { letters: Vec::new(), task: None }) };
}

/// What is to be sent when its turn has come.
pub trait Letter: Send + Sync {
    /// Sends what the system takes at once, and wakes its owner if that is not all. Posts nothing.
    fn send(&self);
}

struct Outbox {
    letters: Vec<Arc<dyn Letter>>,
    /// While it runs.
    task: Option<Waker>,
}

/// Runs the outbox of this thread, which has no other. What is posted when this is dropped is left with
/// its owners.
pub async fn run() -> Infallible {
    let _open = Open;
    let mut due = Vec::new();
    poll_fn(|cx| {
        with(|outbox| {
            outbox.task.get_or_insert_with(|| cx.waker().clone()).clone_from(cx.waker());
            mem::swap(&mut outbox.letters, &mut due);
        });
        due.drain(..).for_each(|letter: Arc<dyn Letter>| letter.send());
        Poll::Pending
    })
    .await
}

/// Has a letter sent at the next turn. False where no outbox runs: its owner sends it then.
pub fn post(letter: Arc<dyn Letter>) -> bool {
    let posted = with(|outbox| {
        let Some(task) = &outbox.task else { return false };
        if outbox.letters.is_empty() {
            task.wake_by_ref();
        }
        outbox.letters.push(letter);
        true
    });
    posted.unwrap_or(false)
}

/// Takes back a letter that was not sent yet: nobody but its owner holds it then. Looks through all of
/// them, which is seldom needed.
pub fn withdraw<L: Letter>(letter: &Arc<L>) {
    with(|outbox| {
        outbox.letters.retain(|posted| !ptr::addr_eq(Arc::as_ptr(posted), Arc::as_ptr(letter)));
    });
}

/// Asks the outbox; `None` where the thread is ending.
fn with<T>(ask: impl FnOnce(&mut Outbox) -> T) -> Option<T> {
    OUTBOX
        .try_with(|outbox| outbox.try_borrow_mut().ok().map(|mut outbox| ask(&mut outbox)))
        .ok()?
}

/// While the outbox runs.
struct Open;

impl Drop for Open {
    fn drop(&mut self) {
        let left = with(|outbox| {
            outbox.task = None;
            mem::take(&mut outbox.letters)
        });
        // Not while it is asked.
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, MutexGuard};

    use tokio::task::yield_now;

    use super::*;

    #[derive(Default)]
    struct Said(Mutex<Vec<&'static str>>);

    impl Said {
        fn lock(&self) -> MutexGuard<'_, Vec<&'static str>> {
            self.0.lock().expect("nobody panics")
        }
    }

    struct Word(&'static str, Arc<Said>);

    impl Letter for Word {
        fn send(&self) {
            self.1.lock().push(self.0);
        }
    }

    fn word(word: &'static str, said: &Arc<Said>) -> Arc<Word> {
        Arc::new(Word(word, Arc::clone(said)))
    }

    #[tokio::test]
    async fn letters_are_sent_in_their_order_behind_the_tasks_that_were_ready() {
        let said = Arc::<Said>::default();
        tokio::spawn(run());
        yield_now().await;
        for (task, letter) in [("a", "to a"), ("b", "to b"), ("c", "to c")] {
            let said = Arc::clone(&said);
            tokio::spawn(async move {
                said.lock().push(task);
                assert!(post(word(letter, &said)));
            });
        }
        while said.lock().len() < 6 {
            yield_now().await;
        }
        assert_eq!(*said.lock(), ["a", "b", "c", "to a", "to b", "to c"]);
        assert!(post(word("later", &said)));
        yield_now().await;
        assert_eq!(said.lock().last(), Some(&"later"), "it is woken again");
    }

    #[tokio::test]
    async fn what_is_withdrawn_is_not_sent_and_nobody_holds_it() {
        let said = Arc::<Said>::default();
        tokio::spawn(run());
        yield_now().await;
        let letters = ["a", "b", "c"].map(|letter| word(letter, &said));
        for letter in &letters {
            assert!(post(Arc::clone(letter) as _));
        }
        withdraw(&letters[1]);
        assert_eq!(letters.each_ref().map(Arc::strong_count), [2, 1, 2]);
        yield_now().await;
        assert_eq!(*said.lock(), ["a", "c"]);
        assert_eq!(letters.each_ref().map(Arc::strong_count), [1, 1, 1]);
    }

    #[tokio::test]
    async fn where_no_outbox_runs_letters_are_left_with_their_owners() {
        let said = Arc::<Said>::default();
        assert!(!post(word("before", &said)));
        let outbox = tokio::spawn(run());
        yield_now().await;
        let letter = word("at the end", &said);
        outbox.abort();
        assert!(post(Arc::clone(&letter) as _));
        assert!(outbox.await.is_err_and(|error| error.is_cancelled()));
        assert!(!post(word("after", &said)));
        assert_eq!((Arc::strong_count(&letter), said.lock().len()), (1, 0));
    }
}
