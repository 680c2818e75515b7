//! The program itself, as an operator runs it.

use std::fs::{self, File};
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::address::own_address;
use super::folder::Folder;
use super::load::Target;

/// How long anything may take that is expected to happen.
const DEADLINE: Duration = Duration::from_secs(30);

/// A running floodwall. Killed with the test, if it has not ended.
pub struct Floodwall {
    child: Child,
    address: String,
    log: PathBuf,
    folder: PathBuf,
    /// The processes that have taken over from it, one from the other.
    successors: Vec<u32>,
}

impl Floodwall {
    /// Starts it in front of `upstream` (as in `--upstream`), with its files in `folder` and this
    /// configuration besides; waits until it listens, on a port that stays its own when it has ended.
    pub fn start(folder: &Folder, upstream: &str, configuration: &str) -> Self {
        Self::start_at(folder, upstream, configuration, &own_address().to_string())
    }

    /// The same at a given address, as a restart is.
    pub fn start_at(folder: &Folder, upstream: &str, configuration: &str, listen: &str) -> Self {
        let program = Command::new(env!("CARGO_BIN_EXE_floodwall"));
        Self::start_as(program, folder, upstream, configuration, listen)
    }

    /// The same of a program's file, at a given address.
    pub fn start_program(
        program: &Path,
        folder: &Folder,
        upstream: &str,
        configuration: &str,
        listen: &str,
    ) -> Self {
        Self::start_as(Command::new(program), folder, upstream, configuration, listen)
    }

    /// The same with these limits of open files, soft and hard, on a free port.
    pub fn start_with_files(
        files: (u32, u32),
        folder: &Folder,
        upstream: &str,
        configuration: &str,
    ) -> Self {
        let mut program = Command::new("prlimit");
        program.arg(format!("--nofile={}:{}", files.0, files.1));
        program.arg(env!("CARGO_BIN_EXE_floodwall"));
        Self::start_as(program, folder, upstream, configuration, "127.0.0.1:0")
    }

    /// The same under a supervisor that is told at a socket, and whose watchdog wants a sign of life
    /// within so long; standard error goes to `stderr`, and the address is the caller's to choose.
    pub fn supervised(
        notify: &Path,
        watchdog: Duration,
        folder: &Folder,
        configuration: &str,
        stderr: Stdio,
    ) -> Child {
        Self::program()
            .env("NOTIFY_SOCKET", notify)
            .env("WATCHDOG_USEC", watchdog.as_micros().to_string())
            .args(["run", "--config"])
            .arg(written(folder, configuration))
            .stdin(Stdio::null())
            .stderr(stderr)
            .spawn()
            .expect("floodwall runs")
    }

    /// Starts it as a file alone says, which names the listening sockets, sites and state.
    pub fn start_by_file(folder: &Folder, configuration: &str) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_floodwall"));
        program.arg("run").arg("--config").arg(written(folder, configuration));
        Self::started(program, folder)
    }

    /// The program, to be started.
    pub fn program() -> Command {
        Command::new(env!("CARGO_BIN_EXE_floodwall"))
    }

    /// The same without the rights of root, whoever runs the tests: permissions count.
    pub fn without_rights() -> Command {
        if !rustix::process::geteuid().is_root() {
            return Self::program();
        }
        let mut program = Command::new("setpriv");
        program.args(["--bounding-set=-all", "--inh-caps=-all"]);
        program.arg(env!("CARGO_BIN_EXE_floodwall"));
        program
    }

    /// Starts what cannot run: its exit code, and what it writes to standard error.
    pub fn refused(
        mut program: Command,
        folder: &Folder,
        configuration: &str,
    ) -> (Option<i32>, String) {
        program.arg("run").arg("--config").arg(written(folder, configuration));
        let output = program.stdin(Stdio::null()).output().expect("floodwall runs");
        (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
    }

    fn start_as(
        mut program: Command,
        folder: &Folder,
        upstream: &str,
        configuration: &str,
        listen: &str,
    ) -> Self {
        program
            .arg("run")
            .arg("--config")
            .arg(written(folder, configuration))
            .args(["--upstream", upstream, "--listen", listen, "--state"])
            .arg(folder.path().join("state"));
        Self::started(program, folder)
    }

    fn started(mut program: Command, folder: &Folder) -> Self {
        let log = folder.path().join("log");
        let stderr = File::options().create(true).append(true).open(&log).expect("a log");
        let said = fs::metadata(&log).map_or(0, |log| log.len());
        let child = program
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .expect("floodwall runs");
        let mut floodwall = Self {
            child,
            address: String::new(),
            log,
            folder: folder.path().to_owned(),
            successors: Vec::new(),
        };
        let listening = "\"message\":\"listening\",\"address\":\"";
        let log = floodwall.await_log(said, listening);
        let address = log.split(listening).nth(1).and_then(|rest| rest.split('"').next());
        floodwall.address = address.expect("it was waited for").to_owned();
        floodwall
    }

    /// Where it listens first: `127.0.0.1:PORT`, or `unix:PATH`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where it listens: plain HTTP first, then TLS, then where it redirects; so many.
    pub fn addresses(&self, count: usize) -> Vec<String> {
        const LISTENING: &str = "\"message\":\"listening\",\"address\":\"";
        let deadline = Instant::now() + DEADLINE;
        loop {
            let log = self.log();
            let rest = log.split(LISTENING).skip(1).filter_map(|rest| rest.split_once('"'));
            let all: Vec<String> = rest.map(|(address, _)| address.to_owned()).collect();
            if all.len() >= count {
                return all;
            }
            assert!(Instant::now() < deadline, "{count} addresses were not told: {log}");
            std::thread::yield_now();
        }
    }

    /// Where its admin listener is, of `admin.listen = '127.0.0.1:0'`.
    pub fn admin(&self) -> SocketAddr {
        const LISTENS: &str = "\"message\":\"admin listens\",\"address\":\"";
        let log = self.log();
        let address = log.rsplit(LISTENS).next().and_then(|rest| rest.split('"').next());
        address.and_then(|address| address.parse().ok()).expect("it listens before it serves")
    }

    /// Where to send a flood, or a user.
    pub fn target(&self) -> Target {
        self.address.parse().expect("it listens on loopback")
    }

    /// Everything that it has logged.
    pub fn log(&self) -> String {
        read(&self.log)
    }

    /// Waits until the log says something.
    pub fn await_said(&mut self, what: &str) {
        self.await_log(0, what);
    }

    /// What was logged from there on, as soon as it holds a whole line that says this.
    fn await_log(&mut self, from: u64, what: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        let from = usize::try_from(from).expect("logs are short");
        loop {
            let log = read(&self.log);
            let news = log.get(from..).unwrap_or_default();
            if news.rsplit_once('\n').is_some_and(|(lines, _)| lines.contains(what)) {
                return news.to_owned();
            }
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                panic!("floodwall ended with {status}: {log}");
            }
            assert!(Instant::now() < deadline, "{what:?} was not said: {log}");
            std::thread::yield_now();
        }
    }

    /// Changes the soft limit of open files while it runs.
    pub fn limit_files(&self, files: u32) {
        let status = Command::new("prlimit")
            .args(["--pid", &self.child.id().to_string()])
            .arg(format!("--nofile={files}:"))
            .status()
            .expect("prlimit runs");
        assert!(status.success());
    }

    /// Memory that it has in use, in bytes.
    pub fn resident(&self) -> u64 {
        let status = read(&PathBuf::from(format!("/proc/{}/status", self.child.id())));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")).expect("it runs");
        kib.parse::<u64>().expect("a number") * 1024
    }

    /// Its process id.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has ended.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("it can be waited for")
    }

    /// Writes another configuration, which is not in force yet.
    pub fn configure(&self, configuration: &str) {
        let file = self.folder.join("floodwall.toml");
        fs::write(file, configuration).expect("the configuration can be written");
    }

    /// `floodwall COMMAND --control …`: whether it went well, and what it said.
    pub fn tell(&self, command: &[&str]) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_floodwall"))
            .args(command)
            .arg("--control")
            .arg(self.control())
            .output()
            .expect("floodwall runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).expect("UTF-8"))
    }

    /// Has it replaced by a new start of its program; it has ended when this returns.
    pub fn upgrade(&mut self) {
        let gone = || self.log().matches("the predecessor has gone").count();
        let deadline = Instant::now() + DEADLINE;
        while gone() < self.successors.len() {
            assert!(Instant::now() < deadline, "a predecessor stays: {}", self.log());
            std::thread::yield_now();
        }
        let (well, said) = self.tell(&["upgrade"]);
        assert!(well, "{said}{}", self.log());
        let number = said.strip_prefix("process ").and_then(|rest| rest.split(' ').next());
        let successor: Option<u32> = number.and_then(|number| number.parse().ok());
        self.successors.extend(successor);
        assert!(successor.is_some(), "{said}");
    }

    /// The process that runs, after all that were replaced.
    pub fn last(&self) -> u32 {
        self.successors.last().copied().unwrap_or_else(|| self.child.id())
    }

    /// Waits until the first process and all successors but the last have ended.
    pub fn await_ended(&mut self) {
        assert!(self.child.wait().expect("it can be waited for").success());
        for successor in self.successors.iter().rev().skip(1) {
            await_gone(*successor);
        }
    }

    /// SIGTERM to the last successor, and its end.
    pub fn stop_last(&mut self) {
        let last = self.successors.pop().expect("there is one");
        let status = Command::new("kill").args(["-TERM", &last.to_string()]).status();
        assert!(status.expect("kill runs").success());
        await_gone(last);
    }

    /// Its control socket.
    pub fn control(&self) -> PathBuf {
        self.folder.join("state.control")
    }

    /// SIGTERM, and the exit status.
    pub fn stop(self) -> ExitStatus {
        self.signal("-TERM");
        self.ended()
    }

    /// The exit status, once it has ended.
    pub fn ended(mut self) -> ExitStatus {
        self.child.wait().expect("it can be waited for")
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        let _ = self.child.wait();
    }

    /// Sends a signal to this process alone.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(status.success());
    }
}

impl Drop for Floodwall {
    fn drop(&mut self) {
        for successor in &self.successors {
            let _ = Command::new("kill").args(["-KILL", &successor.to_string()]).status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn written(folder: &Folder, configuration: &str) -> PathBuf {
    let file = folder.path().join("floodwall.toml");
    fs::write(&file, configuration).expect("the configuration can be written");
    file
}

/// Waits until a process that is no child of this one has ended.
fn await_gone(process: u32) {
    let state = || fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let deadline = Instant::now() + DEADLINE;
    while !(state().is_empty() || state().contains(") Z ")) {
        assert!(Instant::now() < deadline, "process {process} does not end");
        std::thread::yield_now();
    }
}

fn read(path: &Path) -> String {
    let mut text = String::new();
    let _ = File::open(path).and_then(|mut file| file.read_to_string(&mut text));
    text
}
