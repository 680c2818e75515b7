//! The command line: what was asked for, and the exit code that answers.
//!
//! `--help`, the shells' completions and the manual page are made of one source, the types of
//! [`line`].

mod control;
mod explain;
mod generate;
mod line;
mod probe;
mod replay;
mod report;
mod usage;
mod when;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use floodwall::admin;
use floodwall::config::{Config, LogFormat, LogLevel, Site};
use floodwall::guard::footprint::Footprint;
use floodwall::probe::conclude::Verdict;
use floodwall::proxy::panics;
use floodwall::telemetry::logs::{self, Format, Level};

use self::line::{Command, CommandLine, Source};
use self::usage::Usage;

/// Something went wrong while it ran.
const FAILED: u8 = 1;
/// The configuration or the command line is wrong.
const MISCONFIGURED: u8 = 2;
/// A probed site is exposed.
const EXPOSED: u8 = 3;
/// Whether a probed site is exposed cannot be told.
const CANNOT_TELL: u8 = 4;

/// Why a command could not be carried out; its text says what to do.
enum Trouble {
    /// Something went wrong while it ran.
    Failed(String),
    /// The configuration or the command line is wrong.
    Misconfigured(String),
}

/// Carries out what the arguments of the process ask for.
pub fn main() -> ExitCode {
    let command = match CommandLine::try_parse() {
        Ok(line) => line.command,
        Err(error) => {
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    print(&error.render().to_string())
                }
                _ => misconfigured(&Usage::of(&error)),
            };
        }
    };
    let outcome = match command {
        Command::Run { source, take_over } => run(&source, take_over),
        Command::Check(source) => check(&source),
        Command::Reload(running) => control::reload(&running),
        Command::Upgrade(running) => control::upgrade(&running),
        Command::Status(asked) => control::status(&asked),
        Command::TestAlert(running) => control::test_alert(&running),
        Command::Explain(asked) => explain::explain(&asked),
        Command::Probe(asked) => match probe::probe(&asked) {
            Ok((text, verdict)) => return verdict_of(print(&text), verdict),
            Err(trouble) => Err(trouble),
        },
        Command::Report(asked) => report::report(&asked),
        Command::Replay(asked) => replay::replay(&asked),
        Command::Completions { shell } => Ok(generate::completions(shell)),
        Command::Man { directory } => generate::manual(directory.as_deref()),
    };
    match outcome {
        Ok(text) => print(&text),
        Err(Trouble::Misconfigured(what)) => misconfigured(&what),
        Err(Trouble::Failed(what)) => {
            complain(&what);
            ExitCode::from(FAILED)
        }
    }
}

/// What a script learns of a probe, where its report could be written.
fn verdict_of(printed: ExitCode, verdict: Verdict) -> ExitCode {
    match verdict {
        _ if printed != ExitCode::SUCCESS => printed,
        Verdict::NotExposed => printed,
        Verdict::Failed => ExitCode::from(FAILED),
        Verdict::Exposed => ExitCode::from(EXPOSED),
        Verdict::CannotTell => ExitCode::from(CANNOT_TELL),
    }
}

fn run(source: &Source, take_over: bool) -> Result<String, Trouble> {
    let config = source.config()?;
    // As in `check`: a start that cannot go well is not to be tried again by whoever supervises it.
    certificates(&config)?;
    alerts(&config)?;
    token(&config)?;
    let format = match config.log().format {
        LogFormat::Auto => Format::Auto,
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let level = match config.log().level {
        LogLevel::Error => Level::Error,
        LogLevel::Warn => Level::Warn,
        LogLevel::Info => Level::Info,
        LogLevel::Debug => Level::Debug,
    };
    let failed = |error: Box<dyn std::error::Error>| Trouble::Failed(error.to_string());
    let _log = logs::init(format, level).map_err(&failed)?;
    panics::log();
    let load = || {
        source.config().map_err(|trouble| match trouble {
            Trouble::Failed(what) | Trouble::Misconfigured(what) => what,
        })
    };
    floodwall::proxy::run(config, &load, take_over).map_err(failed)?;
    Ok(String::new())
}

fn check(source: &Source) -> Result<String, Trouble> {
    let config = source.config()?;
    let certificates = certificates(&config)?;
    let alerts = alerts(&config)?;
    let token = token(&config)?;
    let sites: String = config.sites().iter().map(|site| of_site(&config, site)).collect();
    let summary = config.summary();
    Ok(format!("{}: ok\n{summary}{certificates}{token}{alerts}{sites}", source.name()))
}

/// What there is to say of the certificates, keys and authorities that the configuration names.
fn certificates(config: &Config) -> Result<String, Trouble> {
    floodwall::proxy::start::certificates(config)
        .map_err(|error| Trouble::Misconfigured(error.to_string()))
}

/// What there is to say of the files that alerts need.
fn alerts(config: &Config) -> Result<String, Trouble> {
    floodwall::proxy::start::alerts(config)
        .map_err(|error| Trouble::Misconfigured(error.to_string()))
}

/// What there is to say of the admin listener's token.
fn token(config: &Config) -> Result<String, Trouble> {
    let file = config.admin().token_file.as_deref();
    admin::token(file).map_err(|error| Trouble::Misconfigured(error.to_string()))?;
    let doubt = file.and_then(admin::doubt);
    Ok(doubt.map_or(String::new(), |doubt| format!("  token     {doubt}\n")))
}

/// What the tables of a site take at most, and what a start would find in its state file.
fn of_site(config: &Config, site: &Site) -> String {
    let of = match site.name() {
        Site::ONLY => String::new(),
        name => format!(" of {name}"),
    };
    let tables = tables(config, site);
    let ledger = floodwall::proxy::start::state_summary(site);
    let ledger = ledger.map_or(String::new(), |said| format!("  ledger{of}    {said}\n"));
    format!("  tables{of}    {tables}\n{ledger}")
}

/// What the tables take at most.
fn tables(config: &Config, site: &Site) -> String {
    const MIB: usize = 1 << 20;
    let tables = floodwall::proxy::start::footprint(config, site);
    let part = |table: &Footprint| format!("{} {}", table.table, table.bytes.div_ceil(MIB));
    let parts: Vec<String> = tables.iter().map(part).collect();
    let all: usize = tables.iter().map(|table| table.bytes).sum();
    format!("{} MiB at most ({})", all.div_ceil(MIB), parts.join(", "))
}

fn misconfigured(error: &dyn fmt::Display) -> ExitCode {
    complain(error);
    ExitCode::from(MISCONFIGURED)
}

/// Writes to standard error. Where that cannot be written there is nobody to tell.
fn complain(error: &dyn fmt::Display) {
    let text = error.to_string();
    let _ = writeln!(io::stderr(), "{}", text.trim_end());
}

/// Writes to standard output, which may be a pipe that nobody reads.
fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(FAILED),
    }
}
