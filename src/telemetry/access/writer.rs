//! The thread that writes the access log, and the file that it writes to.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::{Format, Lane, Shared, lines, lock};
use crate::telemetry::target::Target;

/// Between the first line and the write that has it: others join it meanwhile. A full disk is tried
/// as often.
const GATHER: Duration = Duration::from_millis(50);

/// What the writer is to do besides.
#[derive(Default)]
pub(super) struct Orders {
    /// Written to from now on.
    pub(super) target: Option<Target>,
    pub(super) reopen: bool,
    pub(super) end: bool,
    pub(super) ended: bool,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    target: Target,
    /// Swapped with a lane's.
    lines: Vec<u8>,
    /// The rest of a line whose beginning is in the file.
    rest: Vec<u8>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, target: Target) -> Self {
        Self { shared, target, lines: Vec::new(), rest: Vec::new() }
    }

    /// Writes until told to end.
    pub(super) fn run(mut self) {
        loop {
            // Taken before the lines: those that were logged before a rotation go to the old file.
            let orders = {
                let mut orders = lock(&self.shared.orders);
                let (target, reopen) = (orders.target.take(), std::mem::take(&mut orders.reopen));
                Orders { target, reopen, end: orders.end, ended: false }
            };
            let wrote = self.collect();
            if let Some(target) = orders.target {
                self.drop_rest();
                self.target = target;
            } else if orders.reopen {
                self.reopen();
            }
            if orders.end {
                self.drop_rest();
                lock(&self.shared.orders).ended = true;
                self.shared.ended.notify_all();
                return;
            }
            if wrote || !self.rest.is_empty() {
                thread::sleep(GATHER);
            } else {
                // A line or an order that comes between wakes it at once.
                thread::park();
                if !lock(&self.shared.orders).end {
                    thread::sleep(GATHER);
                }
            }
        }
    }

    /// Writes what is in the lanes; whether there was anything.
    fn collect(&mut self) -> bool {
        let lanes: Vec<Arc<Lane>> = lock(&self.shared.lanes).clone();
        let mut any = false;
        for lane in lanes {
            self.lines.clear();
            std::mem::swap(&mut *lock(&lane.lines), &mut self.lines);
            any |= !self.lines.is_empty();
            if let Err((error, dropped)) = self.write() {
                self.shared.drop_lines(dropped, Some(error.to_string()));
            }
        }
        any
    }

    /// Writes `rest` and `lines`. On an error the line that was begun is kept as the rest, what
    /// follows it is dropped: the error, and how many lines were.
    fn write(&mut self) -> Result<(), (io::Error, u64)> {
        let file = self.target.file();
        let (written, outcome) = write(file, &self.rest);
        self.rest.drain(..written);
        if let Err(error) = outcome {
            return Err((error, lines(&self.lines)));
        }
        let (written, outcome) = write(file, &self.lines);
        let Err(error) = outcome else { return Ok(()) };
        let (before, mut after) = self.lines.split_at(written);
        if before.last().is_some_and(|last| *last != b'\n') {
            let end =
                after.iter().position(|byte| *byte == b'\n').map_or(after.len(), |end| end + 1);
            let (rest, following) = after.split_at(end);
            self.rest.extend_from_slice(rest);
            after = following;
        }
        Err((error, lines(after)))
    }

    /// What was cut in the middle stays so in a file that is left.
    fn drop_rest(&mut self) {
        if !self.rest.is_empty() {
            self.rest.clear();
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Opens the file anew; where that fails the old one is written to still.
    fn reopen(&mut self) {
        let off = self.shared.format() == Format::Off;
        if off {
            return;
        }
        match self.target.again() {
            Ok(Some(target)) => {
                self.drop_rest();
                self.target = target;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(
                file = %self.target,
                detail = %error,
                remedy = "mend access_log.file, then send SIGUSR1 again",
                "the access log cannot be opened anew, and goes to the old file"
            ),
        }
    }
}

/// Writes all of it, or as much as could be, and why no more.
fn write(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(length) => written += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}
