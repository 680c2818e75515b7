//! A Debian daemon in a folder of the test's own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take that is expected to happen.
const DEADLINE: Duration = Duration::from_secs(30);

/// Killed with the test.
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it, with everything that it says in a log of this folder, and waits until it is ready.
    pub fn start(mut command: Command, folder: &Path, ready: impl FnMut() -> bool) -> Self {
        let name = command.get_program().to_string_lossy().replace('/', "-");
        let log = folder.join(format!("{name}.log"));
        let said = File::create(&log).expect("a log");
        let path = std::env::var("PATH").unwrap_or_default();
        let child = command
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .stdin(Stdio::null())
            .stdout(said.try_clone().expect("a log"))
            .stderr(said)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}; remedy: tests/tools/provision"));
        let mut daemon = Self { child, log };
        daemon.until(ready);
        daemon
    }

    /// Waits for something that it is to do.
    pub fn until(&mut self, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !is_so() {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                panic!("it ended with {status}: {}", self.said());
            }
            assert!(Instant::now() < deadline, "it is not done: {}", self.said());
            thread::yield_now();
        }
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGTERM, and its end.
    pub fn stop(mut self) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        assert!(status.success());
        self.child.wait().expect("it can be waited for");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a journald of the test's own has its sockets and its journal.
pub struct Journal(PathBuf);

impl Journal {
    /// Of its own protocol.
    pub fn socket(&self) -> PathBuf {
        self.0.join("sockets/socket")
    }

    /// What is `/dev/log` elsewhere.
    pub fn syslog(&self) -> PathBuf {
        self.0.join("sockets/dev-log")
    }

    /// The folder of its files, once there is one.
    pub fn journal(&self) -> Option<PathBuf> {
        let mut found = fs::read_dir(self.0.join("var-log/journal")).ok()?;
        Some(found.next()?.ok()?.path())
    }

    /// What it has of a program, as `journalctl` tells it.
    pub fn entries(&self, program: &str) -> Vec<Value> {
        let Some(journal) = self.journal() else { return Vec::new() };
        let output = Command::new("journalctl")
            .args(["--quiet", "--no-pager", "--all", "--output=json", "-t", program, "-D"])
            .arg(journal)
            .output()
            .expect("journalctl runs");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

/// A real journald that has nothing to do with that of the machine.
pub fn journald(folder: &Path) -> (Daemon, Journal) {
    let journal = Journal(folder.to_owned());
    let (log, sockets) = (folder.join("var-log"), folder.join("sockets"));
    fs::create_dir_all(log.join("journal")).expect("a folder");
    fs::create_dir_all(&sockets).expect("a folder");
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command
        .args(["--mount", "sh", "-c"])
        .arg("mount --bind \"$0\" /var/log && exec /lib/systemd/systemd-journald floodwall")
        .arg(&log)
        .env("RUNTIME_DIRECTORY", &sockets);
    let socket = journal.socket();
    (Daemon::start(command, folder, || socket.exists()), journal)
}
