//! Lines on their way to standard error: put in a buffer by whoever has something to say, written
//! by a thread of their own.
//!
//! It promises that nobody ever waits for the reader of a pipe, that lines are written whole, in
//! their order, each with one write, and that those for which there was no room are counted and told
//! of. It knows nothing of what is in a line.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// For how long the last lines may take, at the end.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// A handle on the lines; all clones are of the same.
#[derive(Clone)]
pub(super) struct Queue(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    /// Told of a line.
    filled: Condvar,
    /// Told when nothing is left.
    emptied: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Lines for which there was no room, and which nobody was told of.
    dropped: u64,
    /// One is being written, or told of.
    writing: bool,
}

impl Queue {
    /// Bytes that wait at most, beside the line that reaches it.
    pub(super) const BYTES: usize = 256 * 1024;

    /// What is written to `out`, by a thread that this starts.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let shared =
            Shared { waiting: Mutex::default(), filled: Condvar::new(), emptied: Condvar::new() };
        let queue = Self(Arc::new(shared));
        let own = queue.clone();
        thread::Builder::new().name(String::from("log")).spawn(move || own.write_all_to(out))?;
        Ok(queue)
    }

    /// Puts a line behind the others, or drops and counts it.
    fn put(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.bytes >= Self::BYTES {
            waiting.dropped += 1;
            return;
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line.to_vec());
        drop(waiting);
        self.0.filled.notify_one();
    }

    /// Waits until all is written, for two seconds at most.
    pub(super) fn finish(&self) {
        let left = |waiting: &mut Waiting| {
            !waiting.lines.is_empty() || waiting.writing || waiting.dropped > 0
        };
        let waiting = self.waiting();
        drop(self.0.emptied.wait_timeout_while(waiting, LAST_PATIENCE, left));
    }

    /// The thread's life.
    fn write_all_to(&self, mut out: impl Write) {
        loop {
            let line = self.next();
            // What cannot be written is lost, and nothing else happens.
            let _ = out.write_all(&line);
            let dropped = {
                let mut waiting = self.waiting();
                let caught_up = waiting.lines.is_empty();
                if caught_up { std::mem::take(&mut waiting.dropped) } else { 0 }
            };
            if dropped > 0 {
                tracing::warn!(
                    dropped,
                    remedy = "have standard error read, or give it a faster disk",
                    "lines of the log were dropped: they came faster than they were taken"
                );
            }
        }
    }

    /// The next line; waits for one.
    fn next(&self) -> Vec<u8> {
        let mut waiting = self.waiting();
        waiting.writing = false;
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.bytes -= line.len();
                waiting.writing = true;
                return line;
            }
            self.0.emptied.notify_all();
            waiting = self.0.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(self)
    }
}

/// Takes one line, which comes in one piece.
pub(super) struct Line<'a>(&'a Queue);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
