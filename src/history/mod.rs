//! The history: what each minute had, and every flood, in an SQLite file beside the state.
//!
//! A thread of its own looks at the process some times a minute and writes when a minute of the wall
//! clock is over, or a flood has begun or ended. It promises that no request ever waits for it: a disk
//! that is full, slow, read-only or gone costs minutes of the history, which are kept in memory for an
//! hour first, and the operator is told once. A process that is killed loses the minute that runs;
//! a flood that it had is found as cut. While a disk hangs nobody looks, and all that happened
//! meanwhile is in the minute in which that began.
//!
//! The file is in SQLite's rollback mode: nothing but the file is there between two writes, it can be
//! read by others at any time, and may be copied. Some processes may write to one: counts add up.
//!
//! It takes a row for each number that is not zero, of some 20 bytes: a site that is flooded through
//! two rules writes some 60 of them in a minute, 1.2 KiB, a quiet one half of it, an idle one none.
//! What is older than `history.keep` goes, once an hour.

mod file;
#[cfg(test)]
pub(crate) mod made;
pub mod minutes;
pub mod read;

mod schema;
mod store;
pub mod words;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use self::writer::Writer;
use crate::telemetry::kept::KeptCounts;
use crate::telemetry::snapshot::Snapshot;

/// How long the last minute may take on its way to the disk, at the end.
const LAST_PATIENCE: Duration = Duration::from_secs(8);

/// Where a history is kept, and for how long.
#[derive(Clone, Debug)]
pub struct Settings {
    pub file: PathBuf,
    pub keep: Duration,
}

/// The thread that keeps a history.
#[derive(Debug)]
pub struct History {
    orders: Sender<Order>,
    ended: Receiver<()>,
}

/// What it is told.
#[derive(Debug)]
enum Order {
    Keep(Duration),
    /// So the process stood just before something that changes what is counted.
    Note(Box<Snapshot>),
    End(Box<Snapshot>),
}

impl History {
    /// Starts to keep one of what `look` shows, which counts from the beginning of the process.
    pub fn start(
        settings: Settings,
        counts: Arc<KeptCounts>,
        look: impl Fn() -> Snapshot + Send + 'static,
    ) -> io::Result<Self> {
        let (orders, told) = mpsc::channel();
        let (ends, ended) = mpsc::channel();
        thread::Builder::new().name("history".to_owned()).spawn(move || {
            let first = look();
            Writer::new(settings, counts, &first).run(&look, &told);
            drop(ends);
        })?;
        Ok(Self { orders, ended })
    }

    /// From now on this is how long things are kept.
    pub fn keep(&self, keep: Duration) {
        self.tell(Order::Keep(keep));
    }

    /// Something is about to change what is counted: a site goes. So it stood before.
    pub fn note(&self, snapshot: Snapshot) {
        self.tell(Order::Note(Box::new(snapshot)));
    }

    /// The last minute is written, and floods that run still are cut. Waits for that, but not for
    /// ever: a thread that hangs goes with the process.
    pub fn finish(self, snapshot: Snapshot) {
        self.tell(Order::End(Box::new(snapshot)));
        if self.ended.recv_timeout(LAST_PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!(
                "the history cannot be written, and is not waited for: its last minutes are lost"
            );
        }
    }

    fn tell(&self, order: Order) {
        // A thread that has panicked was told of, and takes no orders.
        let _ = self.orders.send(order);
    }
}
