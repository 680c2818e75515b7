//! The command line: what was asked for, and the exit code that answers.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use floodwall::config::{self, Config, LogFormat, LogLevel, Overrides, Site, Upstream, nearest};
use floodwall::guard::footprint::Footprint;
use floodwall::telemetry::logs::{self, Format, Level};
use lexopt::Arg;

/// Something went wrong while it ran.
const FAILED: u8 = 1;
/// The configuration or the command line is wrong.
const MISCONFIGURED: u8 = 2;

const HELP: &str = "\
Floodwall is a reverse proxy that keeps anonymous traffic from filling the session store
of a Django site that cannot be patched (CVE-2015-5963, CVE-2015-5964, CVE-2015-5143).

Usage: floodwall COMMAND [OPTIONS]

Commands:
  run      serve, until SIGTERM or SIGINT
  check    say what is wrong with a configuration, or what it puts in force

Options:
  -h, --help       print this, or with a command what is said of it
  -V, --version    print the version

Exit codes:
  0  done
  1  failed while running
  2  the configuration or the command line is wrong

Try: floodwall run --upstream http://127.0.0.1:8000
";

const RUN_HELP: &str = "\
Serves, until SIGTERM or SIGINT.

Usage: floodwall run [OPTIONS]

Either --config or --upstream must be there; the other options are what they would be in an
empty file. What an option says holds in place of what the file says.

Options:
  -c, --config FILE     the configuration, in TOML [default: none, all defaults are in force]
      --upstream URL    where the application is: http://HOST[:PORT] or unix:/PATH
                        [default: that of the file; http://127.0.0.1:8000 where it names none]
      --listen ADDR     where to listen: an IP address and a port, as in 0.0.0.0:80 or [::]:80;
                        repeat it for more [default: those of the file; 127.0.0.1:8080 where it
                        names none]
      --state FILE      where known sessions and budgets are kept over a restart; \"\" keeps
                        nothing [default: that of the file; floodwall.state in the working
                        directory where it names none]
  -h, --help            print this

Exit codes:
  0  stopped by a signal, after running exchanges were done
  1  failed: an address is taken, the state cannot be written, ...
  2  the configuration or the command line is wrong; all mistakes are told
";

const CHECK_HELP: &str = "\
Says what is wrong with a configuration, or what it puts in force, and how warm the ledger is in
the state file. Listens nowhere, connects to nothing, writes no file.

Usage: floodwall check [OPTIONS]

Takes the options of `floodwall run`, so that a command line can be checked by exchanging one
word. Either --config or --upstream must be there.

Options:
  -c, --config FILE     the configuration, in TOML [default: none, all defaults are in force]
      --upstream URL    in place of the file's: http://HOST[:PORT] or unix:/PATH
                        [default: http://127.0.0.1:8000]
      --listen ADDR     in place of the file's; repeat it for more [default: 127.0.0.1:8080]
      --state FILE      in place of the file's; \"\" keeps nothing [default: floodwall.state]
  -h, --help            print this

Exit codes:
  0  nothing is wrong: \"FILE: ok\" and what is in force, on standard output
  1  standard output could not be written
  2  something is wrong: every mistake with its line and column, on standard error
";

fn main() -> ExitCode {
    match parse(lexopt::Parser::from_env()) {
        Ok(Asked::Text(text)) => print(&text),
        Ok(Asked::Run(options)) => match options.config() {
            Ok(config) => run(&config),
            Err(error) => misconfigured(&error),
        },
        Ok(Asked::Check(options)) => match options.config() {
            Ok(config) => {
                let (name, summary) = (options.name(), config.summary());
                let sites: String =
                    config.sites().iter().map(|site| of_site(&config, site)).collect();
                print(&format!("{name}: ok\n{summary}{sites}"))
            }
            Err(error) => misconfigured(&error),
        },
        Err(usage) => misconfigured(&usage),
    }
}

fn run(config: &Config) -> ExitCode {
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
    let outcome =
        logs::init(format, level).map_err(Into::into).and_then(|()| floodwall::proxy::run(config));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(FAILED)
        }
    }
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

/// What the command line asks for.
enum Asked {
    Text(String),
    Run(Options),
    Check(Options),
}

/// The options of `run` and `check`.
#[derive(Default)]
struct Options {
    file: Option<PathBuf>,
    overrides: Overrides,
}

impl Options {
    fn config(&self) -> Result<Config, config::Error> {
        match &self.file {
            Some(path) => Config::load(path, self.overrides.clone()),
            None => Config::without_file(self.overrides.clone()),
        }
    }

    /// What messages call the source of the configuration.
    fn name(&self) -> String {
        let file = self.file.as_deref().map(Path::display);
        file.map_or_else(|| "command line".to_owned(), |file| file.to_string())
    }
}

/// A wrong command line.
struct Usage {
    what: String,
    /// What to do about it.
    help: String,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "floodwall: {}\n  = {}", self.what, self.help)
    }
}

/// The commands.
#[derive(Clone, Copy)]
enum Command {
    Run,
    Check,
}

impl Command {
    const ALL: [Self; 2] = [Self::Run, Self::Check];

    const fn word(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Check => "check",
        }
    }

    const fn help(self) -> &'static str {
        match self {
            Self::Run => RUN_HELP,
            Self::Check => CHECK_HELP,
        }
    }
}

/// The flags of `run` and `check`, for the nearest one to a wrong one.
const FLAGS: [&str; 5] = ["--config", "--upstream", "--listen", "--state", "--help"];

fn parse(mut parser: lexopt::Parser) -> Result<Asked, Usage> {
    let help = "floodwall --help says what there is";
    let command = match parser.next().map_err(|error| usage(&error, help))? {
        None => return Err(usage("no command", help)),
        Some(Arg::Short('h') | Arg::Long("help")) => return Ok(Asked::Text(HELP.to_owned())),
        Some(Arg::Short('V') | Arg::Long("version")) => {
            return Ok(Asked::Text(concat!("floodwall ", env!("CARGO_PKG_VERSION"), "\n").into()));
        }
        Some(Arg::Value(word)) => {
            let found = Command::ALL.into_iter().find(|command| word == command.word());
            found.ok_or_else(|| {
                let words = Command::ALL.map(Command::word);
                unknown("command", &word.to_string_lossy(), &words, help)
            })?
        }
        Some(Arg::Short(flag)) => {
            return Err(unknown("flag", &format!("-{flag}"), &["-h", "-V"], help));
        }
        Some(Arg::Long(flag)) => {
            let flag = format!("--{flag}");
            if FLAGS.contains(&flag.as_str()) {
                let help = format!("write the command first: floodwall run {flag} ...");
                return Err(usage(&format_args!("no command before {flag}"), &help));
            }
            return Err(unknown("flag", &flag, &["--help", "--version"], help));
        }
    };
    options(parser, command)
}

fn options(mut parser: lexopt::Parser, command: Command) -> Result<Asked, Usage> {
    let help = format!("floodwall {} --help says what there is", command.word());
    let wrong = |error: lexopt::Error| usage(&error, &help);
    let mut options = Options::default();
    while let Some(arg) = parser.next().map_err(wrong)? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => {
                return Ok(Asked::Text(command.help().to_owned()));
            }
            Arg::Short('c') | Arg::Long("config") => {
                let path = PathBuf::from(parser.value().map_err(wrong)?);
                once("--config", &mut options.file, path)?;
            }
            Arg::Long("upstream") => {
                let upstream = value("--upstream", parser.value().map_err(wrong)?, |text| {
                    text.parse::<Upstream>()
                })?;
                once("--upstream", &mut options.overrides.upstream, upstream)?;
            }
            Arg::Long("listen") => {
                let address = value("--listen", parser.value().map_err(wrong)?, config::listen)?;
                options.overrides.listen.push(address);
            }
            Arg::Long("state") => {
                let path = parser.value().map_err(wrong)?;
                let path = (!path.is_empty()).then(|| PathBuf::from(path));
                once("--state", &mut options.overrides.state, path)?;
            }
            Arg::Short(flag) => return Err(unknown("flag", &format!("-{flag}"), &[], &help)),
            Arg::Long(flag) => return Err(unknown("flag", &format!("--{flag}"), &FLAGS, &help)),
            Arg::Value(word) => {
                let what = format!("{word:?} belongs to no flag");
                return Err(usage(&what, "a configuration is named by --config FILE"));
            }
        }
    }
    if options.file.is_none() && options.overrides.upstream.is_none() {
        let help = "write --config FILE, or --upstream URL to have all defaults in force";
        return Err(usage("neither --config nor --upstream is given", help));
    }
    Ok(match command {
        Command::Run => Asked::Run(options),
        Command::Check => Asked::Check(options),
    })
}

/// A flag's value as `read` takes it.
fn value<T>(
    flag: &str,
    raw: OsString,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, Usage> {
    let text = raw.to_str().ok_or_else(|| usage(&format_args!("{flag}: not UTF-8"), "check it"))?;
    read(text).map_err(|what| usage(&format_args!("{flag} {text:?}"), &what))
}

/// Fills a flag that may stand once.
fn once<T>(flag: &str, slot: &mut Option<T>, value: T) -> Result<(), Usage> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(usage(&format_args!("{flag} is given twice"), "leave one of them out")),
    }
}

fn unknown(kind: &str, word: &str, all: &[&str], help: &str) -> Usage {
    let what = format!("unknown {kind} {word:?}");
    match nearest(word, all.iter().copied()) {
        Some(near) => usage(&what, &format!("did you mean {near}?")),
        None => usage(&what, help),
    }
}

fn usage(what: &(impl fmt::Display + ?Sized), help: &str) -> Usage {
    Usage { what: what.to_string(), help: help.to_owned() }
}
