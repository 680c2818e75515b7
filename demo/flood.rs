//! `flood TARGET --scenario NAME`: floods a site on this machine, and says what came of it.
//!
//! `demo/run` drives it, and it can be run by hand:
//! `cargo run --release --example flood -- 127.0.0.1:8080 --scenario anonymous-logout`.

#![allow(clippy::disallowed_methods, reason = "a load is measured by the real clock")]

#[allow(dead_code, reason = "shared with the integration tests, which use more of it")]
mod load;

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use lexopt::{Arg, ValueExt};
use load::flood::{Flood, Report, Scenario};
use load::visit::{Transcript, Visit};
use load::{MAX_SOURCES, Target};

const HELP: &str = "\
Floods a site on this machine, while a logged-in user browses it if one is named.

Usage: flood TARGET --scenario NAME [OPTIONS]

  TARGET               an address in 127.0.0.0/8 and a port; nothing else is flooded
  --scenario NAME      what to send, see below
  --requests N         how many, at most 10,000,000 [2000]
  --connections N      at once, at most 1024 [64]
  --sources N          client addresses, from 127.0.0.2 on, at most 253 [8]
  --seed N             the same seed sends the same requests [1]
  --time-limit S       seconds after which it ends, at most 3600 [120]
  --user NAME          this user of the rig's site browses meanwhile, from 127.0.0.1
  --user-pause MS      how long the user looks at a page [200]
  --tsv                one line for a script: requests, errors, refused, the user's successes,
                       steps, p50 and p99 in ms; what went wrong goes to standard error

Scenarios:
";

/// A round from login to logout then takes over two seconds. Nobody logs in more often than that,
/// and Floodwall's default budget for logins (30 a minute for each client) expects it.
const USER_PAUSE: Duration = Duration::from_millis(200);

struct Options {
    flood: Flood,
    user: Option<String>,
    user_pause: Duration,
    tsv: bool,
}

fn main() -> ExitCode {
    let options = match parse(lexopt::Parser::from_env()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", help());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("flood: {error}\n\n{}", help());
            return ExitCode::from(2);
        }
    };
    let (report, transcript) = run(&options);
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

fn help() -> String {
    Scenario::ALL.iter().fold(HELP.to_owned(), |help, s| help + "  " + s.word() + "\n")
}

fn parse(mut parser: lexopt::Parser) -> Result<Option<Options>, Box<dyn Error>> {
    let (mut target, mut scenario) = (None, None);
    let placeholder = Flood::new("127.0.0.1:1".parse()?, Scenario::AnonymousLogout);
    let mut options =
        Options { flood: placeholder, user: None, user_pause: USER_PAUSE, tsv: false };
    let flood = &mut options.flood;
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(None),
            Arg::Long("scenario") => {
                let name = parser.value()?.string()?;
                let named = Scenario::ALL.into_iter().find(|s| s.word() == name);
                scenario = Some(named.ok_or_else(|| format!("there is no scenario {name:?}"))?);
            }
            Arg::Long("requests") => flood.requests = number(&mut parser, 10_000_000)?,
            Arg::Long("connections") => flood.connections = number(&mut parser, 1024)? as usize,
            Arg::Long("sources") => flood.sources = number(&mut parser, MAX_SOURCES.into())? as u8,
            Arg::Long("seed") => flood.seed = parser.value()?.parse()?,
            Arg::Long("time-limit") => {
                flood.time_limit = Duration::from_secs(number(&mut parser, 3600)?);
            }
            Arg::Long("user") => options.user = Some(parser.value()?.string()?),
            Arg::Long("user-pause") => {
                options.user_pause = Duration::from_millis(number(&mut parser, 60_000)?);
            }
            Arg::Long("tsv") => options.tsv = true,
            Arg::Value(value) if target.is_none() => target = Some(value.parse::<Target>()?),
            other => return Err(other.unexpected().into()),
        }
    }
    flood.target = target.ok_or("TARGET is missing")?;
    flood.scenario = scenario.ok_or("--scenario is missing")?;
    Ok(Some(options))
}

fn number(parser: &mut lexopt::Parser, most: u64) -> Result<u64, Box<dyn Error>> {
    let number = parser.value()?.parse()?;
    if (1..=most).contains(&number) {
        Ok(number)
    } else {
        Err(format!("{number} is not in 1 to {most}").into())
    }
}

/// The flood, and meanwhile the user, who finishes the round that was begun.
fn run(options: &Options) -> (Report, Transcript) {
    let over = AtomicBool::new(false);
    let progress = AtomicU64::new(0);
    thread::scope(|scope| {
        let user = options.user.as_deref().map(|name| {
            let mut visit = Visit::new(options.flood.target, name);
            visit.pause = options.user_pause;
            scope.spawn(|| visit_until(visit, &over))
        });
        let meter = scope.spawn(|| show(&progress, options.flood.requests, &over));
        let report = options.flood.run_with(&progress);
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
