//! The log: where lines go and what they look like.
//!
//! Lines go to standard error, each with one write, so that lines of several cores do not mix.
//! A line that cannot be written (closed, disk full) is lost, and nothing else happens: a proxy
//! must outlive its log. What it cannot outlive is a reader of a pipe that stalls without closing
//! it: a core then waits in its write. Floodwall writes a few lines a second at most, whatever is
//! done to it, so only such a reader brings that about.

use std::io::{self, IsTerminal};

use tracing::dispatcher::{Dispatch, SetGlobalDefaultError};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// [`Format::Text`] where standard error is a terminal, [`Format::Json`] elsewhere.
    Auto,
    /// For people: time, level, message, `key=value`. In colours on a terminal, unless the
    /// environment has `NO_COLOR`.
    Text,
    /// One JSON object a line: `timestamp` (RFC 3339, UTC), `level`, `message`, and the fields.
    Json,
}

impl Format {
    pub const ALL: [Self; 3] = [Self::Auto, Self::Text, Self::Json];

    /// The word for it in TOML.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// How much is written: lines of this level and of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

impl Level {
    pub const ALL: [Self; 4] = [Self::Error, Self::Warn, Self::Info, Self::Debug];

    /// The word for it in TOML.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    const fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
        }
    }
}

/// Sends the lines of the whole process to standard error from now on. Fails if that was done
/// before.
pub fn init(format: Format, level: Level) -> Result<(), SetGlobalDefaultError> {
    let terminal = io::stderr().is_terminal();
    let format = match format {
        Format::Auto if terminal => Format::Text,
        Format::Auto => Format::Json,
        Format::Text | Format::Json => format,
    };
    tracing::dispatcher::set_global_default(dispatch(format, level, terminal, io::stderr))
}

/// What makes lines of events and hands each to a writer of `writer`.
pub(super) fn dispatch<W>(format: Format, level: Level, terminal: bool, writer: W) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer).with_target(false).log_internal_errors(false);
    // The formatter colours by itself, and minds `NO_COLOR`; it is only ever told not to.
    let lines = if terminal { lines } else { lines.with_ansi(false) };
    let lines = match format {
        Format::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
        Format::Auto | Format::Text => lines.boxed(),
    };
    // Libraries do not know what must stay out of our log: their lines could hold a session key.
    let ours = Targets::new().with_target(env!("CARGO_CRATE_NAME"), level.filter());
    Dispatch::new(Registry::default().with(lines.with_filter(ours)))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// Has this test binary run `logs_until_it_is_done` with `stderr` as its standard error.
    fn survives(stderr: Stdio) -> bool {
        let mut child = Command::new(std::env::current_exe().expect("the test binary"))
            .args(["--ignored", "--exact", "telemetry::logs::tests::logs_until_it_is_done"])
            // Or the test harness would take what is printed, and no print could fail.
            .arg("--no-capture")
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("a child");
        // A pipe without a reader.
        drop(child.stderr.take());
        let output = child.wait_with_output().expect("its end");
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed")
    }

    #[test]
    #[ignore = "run by the test below, in a process of its own"]
    fn logs_until_it_is_done() {
        init(Format::Auto, Level::Debug).expect("the first time");
        for number in 0..10_000 {
            tracing::error!(number, "a line that goes nowhere");
        }
        assert!(init(Format::Text, Level::Debug).is_err(), "the second time");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_outlives_a_full_disk_and_a_closed_standard_error() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a full disk");
        assert!(survives(full.into()));
        assert!(survives(Stdio::piped()));
    }

    #[test]
    fn libraries_and_lower_levels_write_nothing() {
        let capture = crate::telemetry::tests::Capture::new(Format::Text, Level::Info);
        let lines = capture.lines(|| {
            tracing::debug!("lower");
            tracing::error!(target: "library", "foreign");
            tracing::info!("ours");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].ends_with(" INFO ours"), "{lines:?}");
    }
}
