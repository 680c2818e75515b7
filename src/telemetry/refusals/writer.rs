//! Where the lines of the refusal sample go: to the ordinary log, or to a file, which a thread of its
//! own writes.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::dated;
use crate::telemetry::escape::visible;
use crate::telemetry::target::{OpenError, Target};

/// Lines that wait for the disk at most. What comes then is dropped, and counted.
const WAITING: usize = 1_024;

/// For how long the last lines may take on their way to the disk, at the end.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct Writer {
    /// `None`: lines go to the ordinary log.
    thread: Mutex<Option<SyncSender<Order>>>,
    lost: Arc<Lost>,
}

/// What could not be written.
#[derive(Default)]
struct Lost {
    lines: AtomicU64,
    why: Mutex<Option<String>>,
}

enum Order {
    Line(String),
    Reopen,
    /// Told when everything before is written.
    End(SyncSender<()>),
}

impl Writer {
    /// Writes there from now on.
    pub(super) fn put(&self, file: Option<&Path>) -> Result<(), OpenError> {
        // The thread before ends when it has written what it was given.
        let Some(file) = file else {
            self.thread().take();
            return Ok(());
        };
        let failed = |source| OpenError::new("refusal_sample.file", file, source);
        let target = Target::open(file).map_err(failed)?;
        let (sender, orders) = sync_channel(WAITING);
        let lost = Arc::clone(&self.lost);
        let thread = thread::Builder::new().name("refusals".to_owned());
        thread.spawn(move || write_all(target, &orders, &lost)).map_err(failed)?;
        *self.thread() = Some(sender);
        Ok(())
    }

    pub(super) fn write(&self, line: &str, unix_ms: impl FnOnce() -> u64) {
        let Some(thread) = self.thread().clone() else {
            tracing::info!("{line}");
            return;
        };
        if thread.try_send(Order::Line(dated(line, unix_ms()))).is_err() {
            self.lost.count(None);
        }
    }

    pub(super) fn reopen(&self) {
        let thread = self.thread().clone();
        // On a thread of its own where the queue is full: it must not be forgotten.
        if let Some(thread) = thread
            && let Err(order) = thread.try_send(Order::Reopen)
        {
            drop(order);
            let _ = thread::Builder::new().spawn(move || thread.send(Order::Reopen));
        }
    }

    /// Lines that could not be written.
    pub(super) fn dropped(&self) -> u64 {
        self.lost.lines.load(Ordering::Relaxed)
    }

    /// Why the latest could not be.
    pub(super) fn trouble(&self) -> Option<String> {
        self.lost.why().take()
    }

    pub(super) fn finish(&self) {
        if let Some(thread) = self.thread().take() {
            let (end, ended) = sync_channel(1);
            if thread.try_send(Order::End(end)).is_ok() {
                let _ = ended.recv_timeout(LAST_PATIENCE);
            }
        }
    }

    fn thread(&self) -> MutexGuard<'_, Option<SyncSender<Order>>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lost {
    fn count(&self, why: Option<String>) {
        self.lines.fetch_add(1, Ordering::Relaxed);
        if why.is_some() {
            *self.why() = why;
        }
    }

    fn why(&self) -> MutexGuard<'_, Option<String>> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's life: until nobody gives it orders any more.
fn write_all(mut target: Target, orders: &Receiver<Order>, lost: &Lost) {
    let mut torn = false;
    for order in orders {
        match order {
            Order::Line(line) => {
                // What was cut ends before another line begins.
                let line = if torn { format!("\n{line}") } else { line };
                let written = write(&mut target, line.as_bytes());
                torn = written.is_err();
                if let Err(error) = written {
                    lost.count(Some(visible(error)));
                }
            }
            Order::Reopen => match target.again() {
                Ok(again) => {
                    target = again.unwrap_or(target);
                    torn = false;
                }
                Err(error) => tracing::warn!(
                    detail = %error,
                    remedy = "mend refusal_sample.file, then send SIGUSR1 again",
                    "the refusal sample cannot be opened anew, and goes to the old file"
                ),
            },
            Order::End(end) => {
                let _ = end.send(());
                return;
            }
        }
    }
}

fn write(target: &mut Target, line: &[u8]) -> io::Result<()> {
    target.file().write_all(line)
}
