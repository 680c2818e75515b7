//! `flood TARGET --scenario NAME`: floods a site on this machine, and says what came of it.
//!
//! `demo/run` drives it, and it can be run by hand:
//! `cargo run --release --example flood -- 127.0.0.1:8080 --scenario anonymous-logout`.

#![allow(clippy::disallowed_methods, reason = "a load is measured by the real clock")]

#[allow(dead_code, reason = "shared with the integration tests, which use more of it")]
mod load;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use clap::Parser;
use clap::builder::{PossibleValuesParser, RangedU64ValueParser};
use load::flood::{Flood, Report, Scenario};
use load::visit::{Transcript, Visit};
use load::{MAX_SOURCES, Target};

/// In milliseconds. A round from login to logout then takes over two seconds. Nobody logs in more often than that,
/// and Floodwall's default budget for logins (30 a minute for each client) expects it.
const USER_PAUSE: u64 = 200;

/// Floods a site on this machine, while a logged-in user browses it if one is named
#[derive(Parser)]
#[command(name = "flood", max_term_width = 100)]
struct Options {
    /// An address in 127.0.0.0/8 and a port; nothing else is flooded
    target: Target,

    /// What to send
    #[arg(long, value_parser = PossibleValuesParser::new(Scenario::ALL.map(Scenario::word)))]
    scenario: String,

    /// How many requests
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = most(10_000_000))]
    requests: u64,

    /// How many at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = most(1024))]
    connections: u64,

    /// Client addresses, from 127.0.0.2 on
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = most(MAX_SOURCES.into()))]
    sources: u64,

    /// The same seed sends the same requests
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Seconds after which it ends
    #[arg(long, value_name = "S", default_value_t = 120, value_parser = most(3600))]
    time_limit: u64,

    /// This user of the rig's site browses meanwhile, from 127.0.0.1
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// How many milliseconds the user looks at a page
    #[arg(long, value_name = "MS", default_value_t = USER_PAUSE, value_parser = most(60_000))]
    user_pause: u64,

    /// One line for a script: requests, errors, refused, the user's successes, steps, p50 and p99 in
    /// ms; what went wrong goes to standard error
    #[arg(long)]
    tsv: bool,
}

fn most(most: u64) -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(1..=most)
}

impl Options {
    fn flood(&self) -> Option<Flood> {
        let scenario =
            Scenario::ALL.into_iter().find(|scenario| scenario.word() == self.scenario)?;
        let mut flood = Flood::new(self.target, scenario);
        flood.requests = self.requests;
        flood.connections = usize::try_from(self.connections).ok()?;
        flood.sources = u8::try_from(self.sources).ok()?;
        flood.seed = self.seed;
        flood.time_limit = Duration::from_secs(self.time_limit);
        Some(flood)
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let flood = options.flood().expect("the parsers let nothing else through");
    let (report, transcript) = run(&options, &flood);
    if options.tsv {
        println!("{}", tsv(&report, &transcript));
    } else {
        println!("{report}");
        if options.user.is_some() {
            println!("user: {} of {} steps", transcript.successes(), transcript.steps.len());
        }
    }
    if let Some(error) = report.first_error.as_ref().filter(|_| options.tsv) {
        eprintln!("  {} requests failed, first: {error}", report.errors);
    }
    for failure in transcript.failures().take(5) {
        eprintln!("  the user: {failure}");
    }
    ExitCode::SUCCESS
}

/// The flood, and meanwhile the user, who finishes the round that was begun.
fn run(options: &Options, flood: &Flood) -> (Report, Transcript) {
    let over = AtomicBool::new(false);
    let progress = AtomicU64::new(0);
    thread::scope(|scope| {
        let user = options.user.as_deref().map(|name| {
            let mut visit = Visit::new(flood.target, name);
            visit.pause = Duration::from_millis(options.user_pause);
            scope.spawn(|| visit_until(visit, &over))
        });
        let meter = scope.spawn(|| show(&progress, flood.requests, &over));
        let report = flood.run_with(&progress);
        over.store(true, Ordering::Relaxed);
        meter.join().expect("the meter does not panic");
        let transcript = user.map(|user| user.join().expect("the user does not panic"));
        (report, transcript.unwrap_or_default())
    })
}

fn visit_until(visit: Visit, over: &AtomicBool) -> Transcript {
    visit.until(|| over.load(Ordering::Relaxed))
}

/// A line that counts up, on a terminal; elsewhere nothing, because it would be a thousand lines.
fn show(progress: &AtomicU64, requests: u64, over: &AtomicBool) {
    let mut terminal = io::stderr();
    if !terminal.is_terminal() {
        return;
    }
    while !over.load(Ordering::Relaxed) {
        let _ = write!(terminal, "\r  {} of {requests} requests", progress.load(Ordering::Relaxed));
        thread::sleep(Duration::from_millis(100));
    }
    let _ = write!(terminal, "\r\x1b[K");
}

fn tsv(report: &Report, transcript: &Transcript) -> String {
    let ms = |percent| format!("{:.1}", transcript.percentile(percent).as_secs_f64() * 1e3);
    [
        report.sent().to_string(),
        report.errors.to_string(),
        report.refused().to_string(),
        transcript.successes().to_string(),
        transcript.steps.len().to_string(),
        ms(50),
        ms(99),
    ]
    .join("\t")
}
