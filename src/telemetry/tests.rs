use std::io;
use std::sync::{Arc, LazyLock, Mutex};

use tracing::dispatcher::{self, Dispatch};

use super::logs::{Format, Level, dispatch};

/// Lines as they would be written, by the real formatter, on this thread only.
pub(super) struct Capture {
    dispatch: Dispatch,
    written: Written,
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `tracing` remembers for each line of code whether anybody listens to it, and forgets to ask
/// the threads that listen for themselves while there is only one of them. So there are two more.
static LISTENERS: LazyLock<[Dispatch; 2]> =
    LazyLock::new(|| [(); 2].map(|()| dispatch(Format::Text, Level::Debug, false, io::sink)));

impl Capture {
    pub(super) fn new(format: Format, level: Level) -> Self {
        Self::of_terminal(format, level, false)
    }

    fn of_terminal(format: Format, level: Level, terminal: bool) -> Self {
        LazyLock::force(&LISTENERS);
        let written = Written::default();
        let writer = written.clone();
        Self { dispatch: dispatch(format, level, terminal, move || writer.clone()), written }
    }

    /// The lines that `work` wrote.
    pub(super) fn lines(&self, work: impl FnOnce()) -> Vec<String> {
        dispatcher::with_default(&self.dispatch, work);
        let bytes = std::mem::take(&mut *self.written.0.lock().expect("no panic"));
        String::from_utf8(bytes).expect("UTF-8").split_terminator('\n').map(String::from).collect()
    }
}
