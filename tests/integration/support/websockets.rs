//! WebSocket as others speak it: a client and a server made of a library of another language.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// How long anything may take before the test has failed.
const DEADLINE: Duration = Duration::from_secs(60);

/// One of the programs of tests/websockets. Killed when this is dropped.
pub struct Program {
    child: Child,
    orders: ChildStdin,
    lines: Receiver<String>,
}

impl Program {
    /// A server, and where it listens.
    pub fn server() -> (Self, String) {
        let server = Self::start("server", &[]);
        let line = server.line();
        let address = line.strip_prefix("ready ").expect("it says where it listens").to_owned();
        (server, address)
    }

    /// A client of `address`, and how its handshake went.
    pub fn client(address: &str, path: &str, cookie: Option<&str>) -> (Self, Value) {
        let arguments: Vec<&str> = [address, path].into_iter().chain(cookie).collect();
        let client = Self::start("client", &arguments);
        let said = client.said();
        (client, said)
    }

    pub fn start(program: &str, arguments: &[&str]) -> Self {
        Self::start_with(program, arguments, None)
    }

    /// Speaks TLS with "a.test", if that has an authority.
    pub fn start_with(program: &str, arguments: &[&str], authority: Option<&Path>) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let cache =
            env::var_os("FLOODWALL_CACHE").map_or_else(|| root.join("tests/.cache"), PathBuf::from);
        let mut child = Command::new(cache.join("websockets/bin/python"))
            .arg(root.join("tests/websockets").join(program))
            .args(arguments)
            .envs(authority.map(|file| ("WEBSOCKET_CA", file)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/websockets/provision was run");
        let orders = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (seen, lines) = mpsc::channel();
        thread::spawn(move || {
            output.lines().map_while(Result::ok).all(|line| seen.send(line).is_ok())
        });
        Self { child, orders, lines }
    }

    /// What it says to an order.
    pub fn ask(&mut self, order: &str) -> Value {
        self.order(order);
        self.said()
    }

    pub fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("it runs");
    }

    /// The next thing that it says.
    pub fn said(&self) -> Value {
        serde_json::from_str(&self.line()).expect("JSON")
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("something is said in time")
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
