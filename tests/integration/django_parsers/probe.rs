//! A genuine server with an application that tells what a request was when it reached Django, and
//! a Floodwall before it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use super::program;
use crate::support::django::Release;
use crate::support::load::Target;

/// How long anything may take that is expected to happen.
const DEADLINE: Duration = Duration::from_secs(30);

/// What Django is run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Waitress,
    Gunicorn,
    Wsgiref,
}

impl Server {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waitress => "waitress",
            Self::Gunicorn => "gunicorn",
            Self::Wsgiref => "wsgiref",
        }
    }
}

/// A server that runs; it ends with its standard input.
pub struct Probe {
    server: Child,
    stdin: Option<ChildStdin>,
    address: String,
}

impl Probe {
    pub fn start(release: Release, server: Server) -> Self {
        let mut server = Command::new(program("probe"))
            .args([release.word(), server.word()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("tests/django/probe starts");
        let stdin = server.stdin.take();
        let mut said = String::new();
        let stdout = server.stdout.take().expect("it was piped");
        BufReader::new(stdout).read_line(&mut said).expect("it is running");
        let address = said.trim_end().strip_prefix("ready ");
        let address = address.unwrap_or_else(|| panic!("{said:?} instead of \"ready …\""));
        Self { server, stdin, address: address.to_owned() }
    }

    /// As Floodwall's `upstream`.
    pub fn upstream(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.server.wait();
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// What the application said, if it was asked.
    said: Option<BTreeMap<String, Vec<u8>>>,
}

impl Answer {
    /// Whether the request reached the application.
    pub fn arrived(&self) -> bool {
        self.said.is_some()
    }

    /// What the application had under this name.
    pub fn said(&self, name: &str) -> Option<&[u8]> {
        self.said.as_ref()?.get(name).map(Vec::as_slice)
    }

    /// The same as text.
    pub fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(self.said(name).unwrap_or_default()).into_owned()
    }

    /// The names of everything that it had.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.said.iter().flat_map(|said| said.keys().map(String::as_str))
    }
}

/// Sends bytes on a connection of their own, which are to ask for its end, and reads the answer.
pub fn send(target: Target, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(target.address()).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream.set_nodelay(true).expect("an option");
    // A refusal may come before everything is read.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{}", shown(bytes));
    }
    let text = String::from_utf8_lossy(&answer);
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.unwrap_or_else(|| panic!("{text:?} of {}", shown(bytes)));
    let said = text.split_once("\r\n\r\n").map(|(_, body)| body).filter(|_| status == 200);
    let said = said.map(|body| body.lines().filter_map(read).collect());
    Answer { status, said }
}

fn read(line: &str) -> Option<(String, Vec<u8>)> {
    let (name, hex) = line.split_once(' ')?;
    let digits: Option<Vec<u8>> = hex
        .as_bytes()
        .chunks(2)
        .map(|two| Some((digit(two[0])? << 4) | digit(*two.get(1)?)?))
        .collect();
    Some((name.to_owned(), digits?))
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Bytes as a message shows them.
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for part in bytes.utf8_chunks() {
        text.extend(part.valid().escape_debug());
        text.extend(part.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}
