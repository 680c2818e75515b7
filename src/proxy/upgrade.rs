//! A process that has itself replaced: by a new start of its own program, or by a successor that
//! somebody else has started.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::thread;

use tokio::sync::mpsc::UnboundedSender;

/// The flag that makes a start a takeover.
pub const TAKE_OVER: &str = "--take-over";

/// What happens while a process is replaced.
#[derive(Debug)]
pub enum Event {
    /// The successor serves, or has failed before it did.
    Serving(bool),
    /// The new process that was started has ended.
    Ended(io::Result<ExitStatus>),
}

/// How this process was started, to be started again.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// As this process was started. To be asked before its file can have been replaced.
    pub fn own() -> io::Result<Self> {
        let arguments = std::env::args_os().skip(1).filter(|one| one != TAKE_OVER).collect();
        Ok(Self { path: std::env::current_exe()?, arguments })
    }

    /// Starts it again, as the successor of this process; its number. `events` is told of its end.
    pub fn start(&self, events: UnboundedSender<Event>) -> io::Result<u32> {
        let mut child = Command::new(&self.path)
            .args(&self.arguments)
            .arg(TAKE_OVER)
            // These were for this process, by its number.
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_FDNAMES")
            .env_remove("WATCHDOG_PID")
            .spawn()?;
        let number = child.id();
        thread::Builder::new().name(String::from("successor")).spawn(move || {
            // Nobody listens when this process has ended before.
            let _ = events.send(Event::Ended(child.wait()));
        })?;
        Ok(number)
    }
}
