//! The log: where lines go and what they look like.
//!
//! Lines go to standard error, each with one write, so that lines of several processes do not mix.
//! A line that cannot be written (closed, disk full) is lost, and nothing else happens: a proxy
//! must outlive its log. Nor does anybody wait for it: a thread of its own writes the lines, and where
//! a reader stalls without closing its pipe, those for which there is no room are counted and told of
//! when it goes on. What was said last is written before the process ends, unless it is killed.

mod queue;

use std::error::Error;
use std::io::{self, IsTerminal};

use tracing::dispatcher::Dispatch;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

use self::queue::Queue;

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

/// The log of the process. Dropped, it waits until what was said is written, for two seconds at
/// most.
#[must_use = "what is said last may get lost"]
pub struct Log(Queue);

impl Drop for Log {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// Sends the lines of the whole process to standard error from now on. Fails if that was done
/// before, or where no thread can be had.
pub fn init(format: Format, level: Level) -> Result<Log, Box<dyn Error>> {
    let terminal = io::stderr().is_terminal();
    let format = match format {
        Format::Auto if terminal => Format::Text,
        Format::Auto => Format::Json,
        Format::Text | Format::Json => format,
    };
    let queue = Queue::start(io::stderr())?;
    let dispatch = dispatch(format, level, terminal, queue.clone());
    tracing::dispatcher::set_global_default(dispatch)?;
    Ok(Log(queue))
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
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};
    use std::thread;

    use super::*;

    /// Has this test binary run one of the ignored tests below with this standard error.
    fn child(name: &str, stderr: Stdio) -> Child {
        let name = format!("telemetry::logs::tests::{name}");
        Command::new(std::env::current_exe().expect("the test binary"))
            .args(["--ignored", "--exact", &name])
            // Or the test harness would take what is printed, and no print could fail.
            .arg("--no-capture")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("a child")
    }

    fn survives(stderr: Stdio) -> bool {
        let mut child = child("logs_until_it_is_done", stderr);
        // A pipe without a reader.
        drop(child.stderr.take());
        let output = child.wait_with_output().expect("its end");
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed")
    }

    #[test]
    #[ignore = "run by the test below, in a process of its own"]
    fn logs_until_it_is_done() {
        let _log = init(Format::Auto, Level::Debug).expect("the first time");
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

    const LINES: u64 = 20_000;

    #[test]
    #[ignore = "run by the test below, in a process of its own"]
    fn logs_and_says_so() {
        let log = init(Format::Json, Level::Debug).expect("the first time");
        for number in 0..LINES {
            tracing::error!(number, "a line that is read late");
        }
        println!("logged");
        let _ = io::stdin().read_line(&mut String::new());
        drop(log);
    }

    /// More than a pipe holds, and more than waits: nobody waits, and nothing is lost in silence.
    #[test]
    fn a_reader_that_stalls_holds_nobody_up_and_is_told_how_many_lines_it_missed() {
        let mut child = child("logs_and_says_so", Stdio::piped());
        let mut said = BufReader::new(child.stdout.take().expect("piped")).lines();
        assert!(said.by_ref().map_while(Result::ok).any(|line| line.ends_with("logged")));
        // Only now somebody reads, and only then it ends.
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let reading = thread::spawn(move || lines.collect::<Result<Vec<_>, _>>());
        drop(child.stdin.take());
        assert!(child.wait().expect("its end").success());
        drop(said);
        let lines = reading.join().expect("no panic").expect("UTF-8");
        let lines = lines.iter().filter(|line| line.starts_with('{'));
        let lines = lines.map(|line| serde_json::from_str(line).expect("a whole line"));
        let lines: Vec<serde_json::Value> = lines.collect();
        let numbers: Vec<u64> = lines.iter().filter_map(|line| line["number"].as_u64()).collect();
        assert!(numbers.is_sorted() && numbers.first() == Some(&0));
        let dropped: u64 = lines.iter().filter_map(|line| line["dropped"].as_u64()).sum();
        assert!(dropped > 0, "all of them fit");
        assert_eq!(numbers.len() as u64 + dropped, LINES);
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
