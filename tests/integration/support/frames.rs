//! A client of HTTP/2 that sends what it is told to, right or wrong: tests/http2/frames, which is
//! made of a frame library of another language.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// How long anything may take before the test has failed.
const DEADLINE: Duration = Duration::from_secs(20);

/// Errors of RFC 9113, 7.
pub const NO_ERROR: u64 = 0;
pub const PROTOCOL_ERROR: u64 = 1;
pub const CANCEL: u64 = 8;

/// One connection.
pub struct Frames {
    child: Child,
    orders: ChildStdin,
    events: Receiver<Value>,
}

/// The end of a stream, as its client sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: String,
    pub headers: Vec<(String, String)>,
    pub trailers: Vec<(String, String)>,
    pub bytes: u64,
    pub text: String,
    /// What it was reset with, if it was.
    pub reset: Option<u64>,
}

impl Answer {
    pub fn value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

impl Frames {
    /// `options`: settings of the client (4=0 is a window of nothing), `windows=no`,
    /// `acknowledge=no`, `preface=no`.
    pub fn connect(address: SocketAddr, options: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let cache =
            env::var_os("FLOODWALL_CACHE").map_or_else(|| root.join("tests/.cache"), PathBuf::from);
        let mut child = Command::new(cache.join("http2/bin/python"))
            .arg(root.join("tests/http2/frames"))
            .arg(address.to_string())
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/http2/provision was run");
        let orders = child.stdin.take().expect("it is piped");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let (seen, events) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect("each line is an event");
                if seen.send(event).is_err() {
                    return;
                }
            }
        });
        Self { child, orders, events }
    }

    pub fn order(&mut self, order: &Value) {
        writeln!(self.orders, "{order}").expect("the client runs");
    }

    /// Opens a stream with these fields after the pseudo-headers of a GET, some of which they may
    /// replace; one replaced by nothing is left out.
    pub fn get(&mut self, stream: u32, fields: &[(&str, &str)]) {
        self.request(stream, fields, true);
    }

    pub fn request(&mut self, stream: u32, fields: &[(&str, &str)], end: bool) {
        let fields = request(fields);
        self.order(&json!({ "do": "headers", "stream": stream, "fields": fields, "end": end }));
    }

    /// A number of requests, taken back at once; how many could be sent.
    pub fn resets(&mut self, first: u32, count: u32, fields: &[(&str, &str)]) -> u64 {
        self.resets_on(first, count, fields);
        self.await_event("sent")["times"].as_u64().expect("a number")
    }

    /// The same, without waiting until they are sent.
    pub fn resets_on(&mut self, first: u32, count: u32, fields: &[(&str, &str)]) {
        let fields = request(fields);
        self.order(&json!({
            "do": "resets", "first": first, "count": count, "fields": fields, "end": true
        }));
    }

    pub fn data(&mut self, stream: u32, data: &str, end: bool) {
        self.order(&json!({ "do": "data", "stream": stream, "data": data, "end": end }));
    }

    pub fn trailers(&mut self, stream: u32, fields: &[(&str, &str)]) {
        self.order(&json!({ "do": "headers", "stream": stream, "fields": fields, "end": true }));
    }

    pub fn reset(&mut self, stream: u32) {
        self.order(&json!({ "do": "reset", "stream": stream }));
    }

    pub fn window(&mut self, stream: u32, bytes: u32) {
        self.order(&json!({ "do": "window", "stream": stream, "bytes": bytes }));
    }

    /// Sends bytes again and again; how often it could.
    pub fn flood(&mut self, frame: &[u8], times: u64) -> u64 {
        self.flood_on(frame, times);
        self.await_event("sent")["times"].as_u64().expect("a number")
    }

    /// The same, without waiting until they are sent.
    pub fn flood_on(&mut self, frame: &[u8], times: u64) {
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        self.order(&json!({ "do": "raw", "hex": hex, "times": times }));
    }

    /// The next event, whatever it is.
    pub fn event(&self) -> Value {
        self.events.recv_timeout(DEADLINE).expect("something comes in time")
    }

    /// The next event of this kind; others are passed over.
    pub fn await_event(&self, kind: &str) -> Value {
        loop {
            let event = self.event();
            if event["event"] == kind {
                return event;
            }
            assert_ne!(event["event"], "closed", "closed before {kind}");
        }
    }

    /// Waits for the end of a stream; those of others are passed over.
    pub fn answer(&self, stream: u32) -> Answer {
        let mut answer = Answer::default();
        loop {
            let event = self.event();
            assert_ne!(event["event"], "closed", "closed before an answer: {answer:?}");
            assert_ne!(event["event"], "goaway", "{event} before an answer: {answer:?}");
            if event["stream"] != stream {
                continue;
            }
            match event["event"].as_str() {
                Some("headers") => {
                    let fields = event["fields"].as_array().expect("a list").iter();
                    let text = |value: &Value| value.as_str().expect("text").to_owned();
                    let fields = fields.map(|field| (text(&field[0]), text(&field[1])));
                    if answer.status.is_empty() {
                        answer.headers = fields.collect();
                        answer.status = answer.value(":status").unwrap_or_default().to_owned();
                    } else {
                        answer.trailers = fields.collect();
                    }
                }
                Some("data") => {
                    answer.bytes += event["bytes"].as_u64().expect("a number");
                    answer.text.push_str(event["text"].as_str().expect("text"));
                }
                Some("reset") => {
                    answer.reset = event["code"].as_u64();
                    return answer;
                }
                _ => {}
            }
            if event["end"] == true {
                return answer;
            }
        }
    }

    /// Waits for the end of the connection; the codes of GOAWAY before it.
    pub fn end(&self) -> Vec<u64> {
        let mut told = Vec::new();
        loop {
            let event = self.event();
            match event["event"].as_str() {
                Some("closed") => return told,
                Some("goaway") => told.push(event["code"].as_u64().expect("a number")),
                _ => {}
            }
        }
    }

    /// Whether the connection has not ended so far; what has come is passed over.
    pub fn is_open(&self) -> bool {
        !self.events.try_iter().any(|event| event["event"] == "closed")
    }
}

fn request(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    let usual =
        [(":method", "GET"), (":scheme", "http"), (":authority", "site.example"), (":path", "/")];
    let (mut pseudo, mut others) = (Vec::new(), Vec::new());
    for (name, value) in usual {
        if !fields.iter().any(|(other, _)| *other == name) {
            pseudo.push((name.to_owned(), value.to_owned()));
        }
    }
    for (name, value) in fields {
        let to = if name.starts_with(':') { &mut pseudo } else { &mut others };
        // Nothing in place of a pseudo-header leaves it out.
        if !(name.starts_with(':') && value.is_empty()) {
            to.push(((*name).to_owned(), (*value).to_owned()));
        }
    }
    pseudo.extend(others);
    pseudo
}

impl Drop for Frames {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
