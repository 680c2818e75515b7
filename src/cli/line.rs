//! What the command line may say. The comments of these types are the help texts.

mod probe;

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use floodwall::config::{self, Config, Overrides, Upstream};
use floodwall::replay::assume::Assume;
use floodwall::replay::lines::Format;

pub use self::probe::{Probe, Site};
use super::Trouble;
use super::when::When;

/// A reverse proxy that keeps anonymous traffic from filling the session store of a Django site
/// that cannot be patched (CVE-2015-5963, CVE-2015-5964, CVE-2015-5143)
#[derive(Debug, Parser)]
#[command(
    name = "floodwall",
    version,
    max_term_width = 100,
    arg_required_else_help = false,
    disable_help_subcommand = true,
    after_help = "\
Exit codes:
  0  done
  1  failed while running
  2  the configuration or the command line is wrong
What floodwall probe has found is told by 0, 3 and 4.

Try: floodwall run --upstream http://127.0.0.1:8000"
)]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve, until SIGTERM or SIGINT
    ///
    /// Either --config or --upstream must be there; the other options are what they would be in an
    /// empty file. What an option says holds in place of what the file says.
    #[command(after_help = "\
Exit codes:
  0  stopped by a signal, after running exchanges were done
  1  failed: an address is taken, the state cannot be written, ...
  2  the configuration or the command line is wrong; all mistakes are told")]
    Run {
        #[command(flatten)]
        source: Source,

        /// Replace the process at the control socket: take its listening sockets and what it knows,
        /// and have it drain and end; `floodwall upgrade` starts such a process
        #[arg(long)]
        take_over: bool,
    },

    /// Say what is wrong with a configuration, or what it puts in force
    ///
    /// Also says how warm the ledger is in the state file. Listens nowhere, connects to nothing,
    /// writes no file. Takes the options of `floodwall run`, so that a command line can be checked
    /// by exchanging one word.
    #[command(after_help = "\
Exit codes:
  0  nothing is wrong: \"FILE: ok\" and what is in force, on standard output
  1  standard output could not be written
  2  something is wrong: every mistake with its line and column, on standard error")]
    Check(Source),

    /// Have a running process read its configuration again
    ///
    /// Prints what has changed, and which changed keys only a restart puts in force. A file with
    /// mistakes changes nothing. Running exchanges end under the configuration that they began
    /// with; no connection is closed for it.
    #[command(after_help = "\
Exit codes:
  0  the configuration is in force
  1  no running process could be reached, or it did not answer
  2  the configuration is wrong: every mistake is told, and the one before stays in force")]
    Reload(Running),

    /// Have a running process start the binary anew and hand over to it
    ///
    /// The new process takes over the listening sockets, the ledger and the budgets; the old one
    /// ends its exchanges and goes. No connection is refused meanwhile.
    #[command(after_help = "\
Exit codes:
  0  the new process serves
  1  it could not start, or no running process could be reached: the old one serves on
  2  the configuration or the command line is wrong")]
    Upgrade(Running),

    /// Say how a running process stands
    #[command(after_help = "\
Exit codes:
  0  it runs
  1  no running process could be reached, or it did not answer
  2  the configuration or the command line is wrong")]
    Status(Asked),

    /// Send an alert that says that it is a test
    ///
    /// The running process sends it, once, to each destination of [alerts], and this prints what
    /// became of it. Where none runs, and --config names a file, it is sent from here.
    #[command(after_help = "\
Exit codes:
  0  every destination took it
  1  one did not, there is none, or the running process did not answer
  2  the configuration or the command line is wrong")]
    TestAlert(Running),

    /// Say what would become of a request, and why: its site, rule, standing and budget
    ///
    /// Asks the running process, whose ledger and budgets count. Where none runs, and --config names
    /// a file, that and its state file tell what they can. Nothing is charged, and nothing is sent
    /// to the application.
    #[command(after_help = "\
Other users of this machine can read a command line while it runs: take no session cookie for
--cookie that somebody still needs.

Exit codes:
  0  explained
  1  the running process did not answer
  2  the configuration or the command line is wrong

Try: floodwall explain --config floodwall.toml --address 203.0.113.7 /accounts/logout/")]
    Explain(Request),

    /// Ask a site of your own whether it is exposed, and write the configuration that fits
    ///
    /// Some ten harmless requests tell whether logouts and made-up cookies create sessions, and
    /// which of the CVEs that points to. At most 16 are sent, one after another, to one address;
    /// each may leave a session record behind, and the report says how many did. What is not given
    /// is looked for: /accounts/logout/, /accounts/login/, /admin/ and the like.
    #[command(after_help = "\
Nothing is sent before you have typed yes, or without --yes. Redirections to other sites are not
followed, nothing is sent twice, and nothing is posted but to a logout that takes nothing else.

Exit codes:
  0  not exposed
  1  failed: the site does not answer, or FILE cannot be written; or you did not type yes
  2  the command line is wrong
  3  exposed to at least one of CVE-2015-5963, CVE-2015-5964, CVE-2015-5143
  4  it cannot be told; the report says what would help

Try: floodwall probe --write floodwall.toml https://www.example.org/")]
    Probe(Probe),
    /// Say what was prevented, when, from where, on which routes, and what reached the store
    ///
    /// Reads the history that Floodwall keeps while it runs, as of the last minute that was over;
    /// nobody has to run. All times are UTC.
    #[command(after_help = "\
Times are durations before now (90m, 24h, 7d), today, yesterday, days (2026-11-23), or times
(2026-11-23T09:05Z, 2026-11-23T10:05+01:00; UTC where no offset is written).

Exit codes:
  0  reported, also where there is nothing to report
  1  there is no history, or it cannot be read, or the output cannot be written
  2  the configuration or the command line is wrong

Try: floodwall report --config floodwall.toml --since 7d --format html --output report.html")]
    Report(Reported),
    /// Say what a configuration would have done to the requests of access logs
    ///
    /// Reads the common and combined formats of Apache and nginx with what servers put around them,
    /// JSON, and Floodwall's own JSON; packed by gzip or not; several logs with the oldest first.
    /// Logs of others hold no cookies: two worlds are told of, and what is assumed. With Floodwall's
    /// own every decision is made again in its order: the report says whether that is exact, and if
    /// not, why. Reads no state file, listens nowhere, writes no file.
    #[command(after_help = "\
Exit codes:
  0  told
  1  a log could not be read
  2  the configuration or the command line is wrong

Try: floodwall replay --config floodwall.toml /var/log/nginx/access.log*")]
    Replay(Replay),

    /// Print what a shell needs to complete this command line
    ///
    /// For bash: floodwall completions bash > /usr/share/bash-completion/completions/floodwall
    #[command(after_help = "\
Exit codes:
  0  printed
  1  standard output could not be written
  2  the command line is wrong")]
    Completions {
        /// The shell
        shell: Shell,
    },

    /// Print the manual page of all commands, or write one page for each
    ///
    /// To read it: floodwall man | man -l -
    #[command(after_help = "\
Exit codes:
  0  printed, or written
  1  it could not be written
  2  the command line is wrong")]
    Man {
        /// Write one page for each command into this directory, which must be there
        #[arg(value_hint = ValueHint::DirPath)]
        directory: Option<PathBuf>,
    },
}

/// Where the configuration comes from.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("source").required(true).multiple(true)))]
pub struct Source {
    /// The configuration, in TOML [default: none, all defaults are in force]
    #[arg(short, long, value_name = "FILE", group = "source", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,

    /// Where the application is: http[s]://HOST[:PORT] or unix:/PATH [default: that of the file;
    /// http://127.0.0.1:8000 where it names none]
    #[arg(long, value_name = "URL", group = "source", value_parser = upstream)]
    upstream: Option<Upstream>,

    /// Where to listen: an IP address and a port, as in 0.0.0.0:80 or [::]:80, or unix:/PATH; repeat
    /// it for more [default: those of the file; 127.0.0.1:8080 where it names none]
    #[arg(long, value_name = "ADDR", value_parser = config::listen)]
    listen: Vec<config::Listen>,

    /// Where known sessions and budgets are kept over a restart; "" keeps nothing [default: that of
    /// the file; floodwall.state in the working directory where it names none]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    state: Option<OsString>,
}

/// Which running process is meant.
#[derive(Args, Debug)]
pub struct Running {
    /// Its control socket [default: that of the file; where it names none the state's path
    /// and ".control"]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub control: Option<PathBuf>,

    /// Its configuration, which names the control socket
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
}

/// A running process, and in which form it is to answer.
#[derive(Args, Debug)]
pub struct Asked {
    #[command(flatten)]
    pub running: Running,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Logs to be replayed.
#[derive(Args, Debug)]
pub struct Replay {
    /// The access logs; - is standard input
    #[arg(value_name = "LOG", required = true, value_hint = ValueHint::FilePath)]
    pub logs: Vec<PathBuf>,

    /// The configuration
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: PathBuf,

    /// Which of several sites; lines that name another host, or another site, are left out
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub site: Option<String>,

    /// How the logs are written [default: found out from their first lines]
    #[arg(long, value_name = "FORMAT", value_parser = Format::ALL.map(Format::word))]
    pub format: Option<String>,

    /// Which answers began a session, as far as a log cannot tell: those of pages that rules name, of
    /// everything but pictures and the like, or of logins alone
    #[arg(
        long,
        value_name = "WHICH",
        default_value = Assume::Rules.word(),
        value_parser = Assume::ALL.map(Assume::word)
    )]
    pub assume: String,

    /// How many visitors, or lines, are told of one by one
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(..=10_000))]
    pub list: u16,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// A request to be explained.
#[derive(Args, Debug)]
pub struct Request {
    /// Path and query, as in a request line: /accounts/logout/?next=/
    #[arg(value_name = "PATH", value_parser = target)]
    pub path: String,

    /// As in a request line, in upper case
    #[arg(long, value_name = "METHOD", default_value = "GET", value_parser = method)]
    pub method: String,

    /// The site that is asked for [default: none, as of an HTTP/1.0 client]
    #[arg(long, value_name = "HOST", value_parser = NonEmptyStringValueParser::new())]
    pub host: Option<String>,

    /// A cookie that comes with it, NAME=VALUE; repeat it for more
    #[arg(long = "cookie", value_name = "COOKIE", value_parser = NonEmptyStringValueParser::new())]
    pub cookies: Vec<String>,

    /// The address that it comes from; the one that it has by itself is nobody's
    #[arg(long, value_name = "ADDRESS", default_value = "192.0.2.1", value_parser = address)]
    pub address: IpAddr,

    /// Do not ask the running process: explain from the configuration and its state file
    #[arg(long, requires = "config")]
    pub offline: bool,

    #[command(flatten)]
    pub asked: Asked,
}

/// What a report is to be of.
#[derive(Args, Debug)]
pub struct Reported {
    /// Where it begins
    #[arg(long, value_name = "WHEN", default_value = "24h", value_parser = When::parse)]
    pub since: When,

    /// Where it ends; a day is included [default: now]
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    pub until: Option<When>,

    /// Of one site only [default: all]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub site: Option<String>,

    /// For people, for programs, or a page to be sent to somebody
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = ReportFormat::Text)]
    pub format: ReportFormat,

    /// Write it there, and print the path
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// The history [default: history.file of the configuration; where that names none the state's
    /// path and ".history"]
    #[arg(long, value_name = "HISTORY", conflicts_with = "config", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,

    /// The configuration, which names the history
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
}

/// What a report looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    Text,
    Json,
    Html,
}

impl Reported {
    /// The configuration of the file, if one is named.
    pub fn config(&self) -> Result<Option<Config>, Trouble> {
        loaded(self.config.as_ref())
    }
}

impl Source {
    /// The configuration that it stands for.
    pub fn config(&self) -> Result<Config, Trouble> {
        let overrides = Overrides {
            listen: self.listen.clone(),
            upstream: self.upstream.clone(),
            state: self
                .state
                .as_ref()
                .map(|path| (!path.is_empty()).then(|| PathBuf::from(path.clone()))),
        };
        let config = match &self.config {
            Some(path) => Config::load(path, overrides),
            None => Config::without_file(overrides),
        };
        config.map_err(|error| Trouble::Misconfigured(error.to_string()))
    }

    /// What messages call the source of the configuration.
    pub fn name(&self) -> String {
        let file = self.config.as_ref().map(|file| file.display().to_string());
        file.unwrap_or_else(|| "command line".to_owned())
    }
}

impl Running {
    /// The configuration of the file, if one is named.
    pub fn config(&self) -> Result<Option<Config>, Trouble> {
        loaded(self.config.as_ref())
    }
}

/// The configuration of a file, if there is one.
fn loaded(path: Option<&PathBuf>) -> Result<Option<Config>, Trouble> {
    let load = |path: &PathBuf| Config::load(path, Overrides::default());
    let config = path.map(load).transpose();
    config.map_err(|error| Trouble::Misconfigured(error.to_string()))
}

fn upstream(text: &str) -> Result<Upstream, String> {
    text.parse()
}

/// A target in origin-form: nobody else's is asked for on a command line.
fn target(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err("begin it with a slash, as in /accounts/logout/; the host is --host".to_owned());
    }
    match text.bytes().all(|byte| (b'!'..=b'~').contains(&byte)) {
        true => Ok(text.to_owned()),
        false => Err("percent-encode spaces and what is not ASCII, as browsers do".to_owned()),
    }
}

/// A method (RFC 9110, section 9.1). One in lower case is another method, and a slip.
fn method(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_uppercase() || b"-_".contains(&byte);
    match !text.is_empty() && text.bytes().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("a method is written in upper case, as in GET or POST".to_owned()),
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "write an IP address, as in 203.0.113.7 or 2001:db8::7".to_owned())
}
