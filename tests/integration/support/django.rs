//! Genuine Django sites for tests, through the rig in `tests/django`.
//!
//! Owns the server's process and the conversation with it. A release that this machine cannot run
//! is skipped by name, never in silence, and never where `CI` is set.

use std::collections::BTreeSet;
use std::env;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::load::Target;

/// The releases of the rig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    V1_4_20,
    V1_4_21,
    V1_4_22,
    V1_7_8,
    V1_7_9,
    V1_7_10,
    V1_8_2,
    V1_8_3,
    V1_8_4,
}

impl Release {
    pub const ALL: [Self; 9] = [
        Self::V1_4_20,
        Self::V1_4_21,
        Self::V1_4_22,
        Self::V1_7_8,
        Self::V1_7_9,
        Self::V1_7_10,
        Self::V1_8_2,
        Self::V1_8_3,
        Self::V1_8_4,
    ];

    /// What a plain run takes full counts on: it grows on logouts without a session and with an
    /// invented one, and needs no Python 2.7.
    const COUNTED_IN_FULL: Self = Self::V1_7_9;

    /// Its version.
    pub const fn word(self) -> &'static str {
        match self {
            Self::V1_4_20 => "1.4.20",
            Self::V1_4_21 => "1.4.21",
            Self::V1_4_22 => "1.4.22",
            Self::V1_7_8 => "1.7.8",
            Self::V1_7_9 => "1.7.9",
            Self::V1_7_10 => "1.7.10",
            Self::V1_8_2 => "1.8.2",
            Self::V1_8_3 => "1.8.3",
            Self::V1_8_4 => "1.8.4",
        }
    }

    /// The first of its series that is patched; `None` where it is that itself.
    pub const fn patched(self) -> Option<Self> {
        match self {
            Self::V1_4_20 | Self::V1_4_21 => Some(Self::V1_4_22),
            Self::V1_7_8 | Self::V1_7_9 => Some(Self::V1_7_10),
            Self::V1_8_2 | Self::V1_8_3 => Some(Self::V1_8_4),
            Self::V1_4_22 | Self::V1_7_10 | Self::V1_8_4 => None,
        }
    }

    pub fn vulnerable() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|release| release.patched().is_some())
    }

    /// How many requests a flood of it takes: all that are wanted on one release, and on every
    /// release in a full run (`tests/run --full`).
    pub fn requests(self, full: u64) -> u64 {
        if self == Self::COUNTED_IN_FULL || env::var_os("FLOODWALL_FULL").is_some() {
            full
        } else {
            full.min(2_000)
        }
    }

    /// Whether it is there to be tested. A release that cannot run on this machine is named on
    /// standard error; where `CI` is set that is a failure, and so is, anywhere, a release that
    /// nobody tried to install.
    #[must_use = "a test of a release that is not there has to end"]
    pub fn available(self) -> bool {
        let cache = cache();
        if cache.join(self.word()).join("python").exists() {
            return true;
        }
        let reason = fs::read_to_string(cache.join(format!("{self}.skipped")))
            .unwrap_or_else(|_| panic!("Django {self} is not installed; remedy: run tests/run"));
        let skip = format!("SKIP Django {self}: {}", reason.trim());
        assert!(env::var_os("CI").is_none(), "{skip}; nothing may be skipped where CI is set");
        eprintln!("{skip}");
        false
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What runs a release, and the servers that are installed with it.
pub fn python(release: Release) -> PathBuf {
    cache().join(release.word()).join("python")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn cache() -> PathBuf {
    let cache = env::var_os("FLOODWALL_CACHE").map(PathBuf::from);
    cache.unwrap_or_else(|| root().join("tests/.cache")).join("django")
}

/// A site that is being served. It ends, and its data with it, when this is dropped; also when the
/// test's process dies, because its standard input ends then.
pub struct Django {
    pub release: Release,
    server: Child,
    talk: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    address: String,
    data: PathBuf,
}

impl Django {
    /// With the database backend and the settings of a new project.
    pub fn start(release: Release) -> Self {
        Self::start_with(release, &[])
    }

    /// `options` are those of `tests/django/serve`.
    pub fn start_with(release: Release, options: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("floodwall-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let data = env::temp_dir().join(name);
        let mut server = Command::new(root().join("tests/django/serve"))
            .args([release.word(), "--data"])
            .arg(&data)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/django/serve starts");
        let stdin = server.stdin.take().expect("it was piped");
        let stdout = BufReader::new(server.stdout.take().expect("it was piped"));
        let talk = Mutex::new((stdin, stdout));
        let mut site = Self { release, server, talk, address: String::new(), data };
        site.address = site.hear("ready ");
        site
    }

    /// As Floodwall's `upstream`.
    pub fn upstream(&self) -> String {
        if self.address.starts_with("unix:") {
            self.address.clone()
        } else {
            format!("http://{}", self.address)
        }
    }

    /// Where to send a flood, or a user, directly.
    pub fn target(&self) -> Target {
        self.address.parse().expect("the site was not started with --unix")
    }

    /// Session records.
    pub fn rows(&self) -> u64 {
        self.ask("rows", "rows ").parse().expect("a number")
    }

    /// Requests that the application is answering.
    pub fn under_way(&self) -> u64 {
        self.ask("under_way", "under_way ").parse().expect("a number")
    }

    pub fn keys(&self) -> BTreeSet<String> {
        self.ask("keys", "keys").split_whitespace().map(str::to_owned).collect()
    }

    /// Records of somebody who is logged in.
    pub fn authenticated(&self) -> u64 {
        self.ask("authenticated", "authenticated ").parse().expect("a number")
    }

    pub fn delete(&self, key: &str) {
        self.ask(&format!("delete {key}"), "ok");
    }

    pub fn clear(&self) {
        self.ask("clear", "ok");
    }

    fn ask(&self, command: &str, expected: &str) -> String {
        let mut talk = self.talk.lock().expect("no other question panicked");
        writeln!(talk.0, "{command}").expect("the site is running");
        read(&mut talk.1, expected)
    }

    fn hear(&self, expected: &str) -> String {
        read(&mut self.talk.lock().expect("no other question panicked").1, expected)
    }
}

/// The rest of a line that begins as expected.
fn read(stdout: &mut impl BufRead, expected: &str) -> String {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("the site is running");
    let rest = line.trim_end().strip_prefix(expected);
    rest.unwrap_or_else(|| panic!("{line:?} instead of \"{expected}…\"")).to_owned()
}

impl Drop for Django {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = fs::remove_dir_all(&self.data);
    }
}
