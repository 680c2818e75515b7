//! Debian's Prometheus, scraping.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::folder::Folder;

const DEADLINE: Duration = Duration::from_secs(60);

/// A Prometheus that runs. Killed with the test.
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
}

impl Prometheus {
    /// Listens on a free port, with its data in `folder`, and this configuration.
    pub fn start(folder: &Folder, configuration: &Path) -> Self {
        let log = folder.path().join("prometheus.log");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("prometheus").display()))
            .args(["--web.listen-address=127.0.0.1:0", "--storage.tsdb.retention.time=1d"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus: {error}; remedy: tests/tools/provision"));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut prometheus = Self { child, address: nowhere };
        let deadline = Instant::now() + DEADLINE;
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let listening = || {
            let said = said();
            let (_, rest) = said.split_once("msg=\"Listening on\" address=")?;
            rest.split_whitespace().next()?.parse().ok()
        };
        while prometheus.get("/-/ready").is_none() {
            prometheus.address = listening().unwrap_or(nowhere);
            if let Some(status) = prometheus.child.try_wait().expect("it can be waited for") {
                panic!("prometheus ended with {status}: {}", said());
            }
            assert!(Instant::now() < deadline, "prometheus is not ready: {}", said());
            thread::yield_now();
        }
        prometheus
    }

    /// The values that a query has now, with the labels of each.
    pub fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let data = self.api("query", &[("query", query)]);
        let found = data["result"].as_array().expect("a vector");
        let value = |sample: &Value| {
            let value = sample["value"][1].as_str().expect("a number");
            (sample["metric"].clone(), value.parse().expect("a number"))
        };
        found.iter().map(value).collect()
    }

    /// What its API says.
    pub fn api(&self, what: &str, fields: &[(&str, &str)]) -> Value {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "20", "--get"]);
        for (key, value) in fields {
            curl.arg("--data-urlencode").arg(format!("{key}={value}"));
        }
        let output = curl.arg(format!("http://{}/api/v1/{what}", self.address)).output();
        let said = output.expect("curl runs").stdout;
        let said: Value = serde_json::from_slice(&said).expect("JSON");
        assert_eq!(said["status"], "success", "{what} {fields:?}: {said}");
        said["data"].clone()
    }

    fn get(&self, path: &str) -> Option<String> {
        let output = Command::new("curl")
            .args(["--silent", "--fail", "--max-time", "5"])
            .arg(format!("http://{}{path}", self.address))
            .output()
            .expect("curl runs");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
