//! A genuine Django, started for one test and stopped with it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Every release that the rig knows.
pub const VULNERABLE: [&str; 6] = ["1.4.20", "1.4.21", "1.7.8", "1.7.9", "1.8.2", "1.8.3"];

/// A folder of the test's own, removed with it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("floodwall-{name}-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder can be made");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether a release can run on this machine. `tests/run` has provisioned what can be had, and
/// said loudly what cannot: this repeats the name where it is left out.
pub fn available(release: &str) -> bool {
    let cache = std::env::var_os("FLOODWALL_CACHE")
        .map_or_else(|| root().join("tests/.cache"), PathBuf::from);
    let django = cache.join("django");
    if django.join(release).is_dir() {
        return true;
    }
    assert!(
        django.join(format!("{release}.skipped")).exists(),
        "Django {release} is not provisioned: run tests/run, or tests/django/provision {release}"
    );
    eprintln!("SKIP Django {release}: it cannot run on this machine (see tests/run)");
    false
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A running server.
pub struct Django {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    address: String,
    _folder: Folder,
}

impl Django {
    /// Starts a release with further arguments of `tests/django/serve`.
    pub fn start(release: &str, arguments: &[&str]) -> Self {
        let folder = Folder::new(&format!("django-{release}"));
        let mut child = Command::new(root().join("tests/django/serve"))
            .arg(release)
            .arg("--data")
            .arg(folder.path())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/django/serve runs");
        let ask = child.stdin.take().expect("it was piped");
        let mut answers = BufReader::new(child.stdout.take().expect("it was piped"));
        let mut line = String::new();
        answers.read_line(&mut line).expect("the server speaks");
        let address = line
            .trim()
            .strip_prefix("ready ")
            .unwrap_or_else(|| panic!("Django {release} did not start: {line:?}"))
            .to_owned();
        Self { child, ask, answers, address, _folder: folder }
    }

    /// `127.0.0.1:PORT`, or `unix:PATH`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Session records in the store.
    pub fn rows(&mut self) -> i64 {
        self.number("rows")
    }

    /// Records of logged-in users.
    pub fn authenticated(&mut self) -> i64 {
        self.number("authenticated")
    }

    /// Removes a record behind everybody's back.
    pub fn delete(&mut self, key: &str) {
        assert_eq!(self.say(&format!("delete {key}")), "ok");
    }

    /// Empties the session store.
    pub fn clear(&mut self) {
        assert_eq!(self.say("clear"), "ok");
    }

    fn number(&mut self, what: &str) -> i64 {
        let answer = self.say(what);
        let number = answer.strip_prefix(what).map(str::trim).and_then(|text| text.parse().ok());
        number.unwrap_or_else(|| panic!("{what}: {answer}"))
    }

    fn say(&mut self, line: &str) -> String {
        writeln!(self.ask, "{line}").expect("the server listens");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("the server answers");
        answer.trim().to_owned()
    }
}

impl Drop for Django {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
