//! Who gets webhooks: a server in another language, with a library of others that checks what is
//! signed.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use super::inside::await_that;
use super::tls::Issued;

/// tests/alerts/receiver. Killed when this is dropped.
pub struct Receiver {
    child: Child,
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    /// Treats requests so, one after the other.
    pub fn start(secret: &str, behaviours: &[&str]) -> Self {
        Self::start_with(secret, behaviours, None, 0)
    }

    /// The same with TLS where there is a certificate, and at this port.
    pub fn start_with(secret: &str, behaviours: &[&str], tls: Option<&Issued>, port: u16) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let cache = std::env::var_os("FLOODWALL_CACHE");
        let cache = cache.map_or_else(|| root.join("tests/.cache"), PathBuf::from);
        let mut command = Command::new(cache.join("alerts/bin/python"));
        command.arg(root.join("tests/alerts/receiver")).arg(secret).args(behaviours);
        command.env("RECEIVER_PORT", port.to_string());
        if let Some(tls) = tls {
            command.env("RECEIVER_CERTIFICATE", &tls.certificate).env("RECEIVER_KEY", &tls.key);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/alerts/provision was run");
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut address = String::new();
        output.read_line(&mut address).expect("it says where it listens");
        let address = address.trim().parse().expect("an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let message = serde_json::from_str(&line).expect("JSON");
                kept.lock().expect("no thread panicked").push(message);
            }
        });
        Self { child, address, seen }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has come so far, in its order.
    pub fn seen(&self) -> Vec<Value> {
        self.seen.lock().expect("no thread panicked").clone()
    }

    /// The same, once there are so many.
    pub fn await_seen(&self, number: usize) -> Vec<Value> {
        await_that("no webhook comes", || self.seen().len() >= number);
        self.seen()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
