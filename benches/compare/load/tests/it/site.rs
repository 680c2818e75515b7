//! What the tests run: the program itself, and nginx. All end with the test.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::address::own_address;

const PATIENCE: Duration = Duration::from_secs(30);

/// A program that is ended with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder that goes with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("load-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a new folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn load() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// `load upstream` with these words.
pub struct Upstream {
    pub address: SocketAddr,
    pub running: Running,
}

impl Upstream {
    pub fn start(words: &str) -> Self {
        let words = format!("upstream --listen 127.0.0.1:0 {words}");
        let mut running =
            Running(load().args(words.split_whitespace()).spawn().expect("it starts"));
        let line = first_line(running.0.stdout.as_mut().expect("a pipe"));
        Self { address: line.trim().parse().expect("an address"), running }
    }

    pub fn counts(&self) -> Value {
        let answer = said(self.address, b"GET /-/counts HTTP/1.1\r\nConnection: close\r\n\r\n");
        let body = answer.split("\r\n\r\n").nth(1).expect("a body");
        serde_json::from_str(body).expect("JSON")
    }
}

fn first_line(out: &mut ChildStdout) -> String {
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).expect("a line");
    line
}

/// All that a server answers to these bytes, until it closes.
pub fn said(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(bytes).expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it closes");
    String::from_utf8(answer).expect("text")
}

/// What `load drive` says with these words.
pub fn drive(target: SocketAddr, words: &str) -> Value {
    result("drive", target, words)
}

/// What a subcommand says with these words, in one line.
pub fn result(subcommand: &str, target: SocketAddr, words: &str) -> Value {
    let output = load()
        .args([subcommand, "--target", &target.to_string()])
        .args(words.split_whitespace())
        .output()
        .expect("it runs");
    assert!(output.status.success(), "load {subcommand} {words}: {:?}", output.status);
    serde_json::from_slice(&output.stdout).expect("a line of JSON")
}

/// `load hold`, which waits for the end of its standard input.
pub fn hold(target: SocketAddr, words: &str) -> Child {
    load()
        .args(["hold", "--target", &target.to_string()])
        .args(words.split_whitespace())
        .stdin(Stdio::piped())
        .spawn()
        .expect("it starts")
}

pub fn count(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("{name} of {value}"))
}

/// All that is listed there, whatever it is.
pub fn sum(value: &Value) -> u64 {
    value
        .as_object()
        .expect("an object")
        .values()
        .map(|count| count.as_u64().expect("a count"))
        .sum()
}

/// nginx before an upstream.
pub struct Nginx {
    pub address: SocketAddr,
    pub folder: Folder,
    _running: Running,
}

impl Nginx {
    /// With this in its `http` block; `{upstream}` and `{folder}` are filled in.
    pub fn start(upstream: SocketAddr, http: &str, listen: &str, server: &str) -> Self {
        let folder = Folder::new();
        let place = folder.0.display();
        let address = own_address();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {place}/{kind};"))
            .concat();
        let http =
            if http.contains("access_log") { http } else { &format!("access_log off; {http}") };
        let text = format!(
            "daemon off; master_process off; pid {place}/pid; error_log stderr crit;
             events {{ worker_connections 512; }}
             http {{ {temporary} {http}
               upstream u {{ server {upstream}; keepalive 16; }}
               server {{ listen {address} {listen}; {server}
                 location / {{ proxy_pass http://u; proxy_http_version 1.1;
                   proxy_set_header Connection \"\"; }} }} }}"
        );
        let file = folder.0.join("nginx.conf");
        fs::write(&file, text.replace("{folder}", &place.to_string())).expect("our folder");
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("nginx");
        command.args(["-e", "stderr", "-p"]).arg(&folder.0).arg("-c").arg(&file).env("PATH", path);
        let running = Running(command.stdin(Stdio::null()).spawn().expect("nginx is installed"));
        await_that("nginx listens", || TcpStream::connect(address).is_ok());
        Self { address, folder, _running: running }
    }

    /// The same with TLS.
    pub fn tls(upstream: SocketAddr) -> Self {
        let keys = Folder::new();
        let (certificate, key) = (keys.0.join("certificate"), keys.0.join("key"));
        let made = Command::new("openssl")
            .args("req -x509 -nodes -days 2 -subj /CN=localhost -newkey ec".split(' '))
            .args(["-pkeyopt", "ec_paramgen_curve:P-256", "-out"])
            .arg(&certificate)
            .arg("-keyout")
            .arg(&key)
            .stderr(Stdio::null())
            .status();
        assert!(made.expect("openssl is installed").success());
        let server = format!(
            "ssl_certificate {}; ssl_certificate_key {};",
            certificate.display(),
            key.display()
        );
        Self::start(upstream, "", "ssl", &server)
    }
}

pub fn await_that(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "not so in time: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
