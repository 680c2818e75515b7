//! Chromium, driven by its own driver (W3C WebDriver).

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::folder::Folder;

/// The driver, and the browser.
pub struct Chromium {
    driver: Child,
    address: String,
    session: String,
    _folder: Folder,
}

impl Chromium {
    /// One that has never been started before, and asks nobody outside of this machine for anything;
    /// `options` are more arguments.
    pub fn start(options: &[String]) -> Self {
        let folder = Folder::new("chromium");
        let mut driver = Command::new("chromedriver")
            .args(["--port=0", "--allowed-ips=127.0.0.1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver runs; remedy: tests/tools/provision");
        let mut lines = BufReader::new(driver.stdout.take().expect("it is piped")).lines();
        let port = lines.find_map(|line| {
            let line = line.ok()?;
            let port = line.split("successfully on port ").nth(1)?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        // What it says later is read, so that it is not kept waiting.
        std::thread::spawn(move || lines.for_each(drop));
        let address = format!("127.0.0.1:{}", port.expect("it listens"));
        let mut browser = Self { driver, address, session: String::new(), _folder: folder };
        let data = browser._folder.path().display().to_string();
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-background-networking".to_owned(),
            format!("--user-data-dir={data}"),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            "--no-first-run".to_owned(),
        ];
        arguments.extend_from_slice(options);
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        }}});
        let begun = browser.call("POST", "", &capabilities);
        browser.session = format!("/{}", begun["sessionId"].as_str().expect("a session"));
        browser
    }

    /// One command of the driver; its value.
    pub fn call(&self, method: &str, path: &str, content: &Value) -> Value {
        let url = format!("http://{}/session{}{path}", self.address, self.session);
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "60", "-X", method, &url]);
        if method == "POST" {
            curl.args([
                "-H",
                "Content-Type: application/json",
                "-H",
                "Expect:",
                "--data-binary",
                "@-",
            ]);
        }
        let mut asked = curl
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("curl runs");
        // Scripts may be too long for an argument.
        let mut stdin = asked.stdin.take().expect("it is piped");
        let _ = stdin.write_all(content.to_string().as_bytes());
        drop(stdin);
        let out = asked.wait_with_output().expect("curl runs");
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "{path}: {}", String::from_utf8_lossy(&out.stderr));
        let answer: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
        assert!(answer["value"]["error"].is_null(), "{path}: {answer}");
        answer["value"].clone()
    }

    /// Opens a page, and waits until it is loaded.
    pub fn go(&self, url: &str) {
        self.call("POST", "/url", &json!({ "url": url }));
    }

    /// Runs a script in the page; what it returns.
    pub fn run(&self, script: &str) -> Value {
        self.call("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The same of one that calls its last argument with what it returns.
    pub fn run_async(&self, script: &str) -> Value {
        self.call("POST", "/execute/async", &json!({ "script": script, "args": [] }))
    }

    /// A command of the DevTools protocol.
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.call("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// What was written to the console since this was asked for last.
    pub fn console(&self) -> Vec<String> {
        let said = self.call("POST", "/se/log", &json!({ "type": "browser" }));
        said.as_array().expect("lines").iter().map(|line| line["message"].to_string()).collect()
    }

    /// Presses a key, as in W3C WebDriver, 17.4.2.
    pub fn press(&self, key: &str) {
        let keys = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": keys });
        self.call("POST", "/actions", &json!({ "actions": [keyboard] }));
    }

    /// The size of the window's inside, in CSS pixels.
    pub fn resize(&self, width: u32, height: u32, mobile: bool) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
    }

    /// All of the page as it looks, as PNG in Base64.
    pub fn picture(&self) -> String {
        let size = self.devtools("Page.getLayoutMetrics", &json!({}))["cssContentSize"].clone();
        let (width, height) = (&size["width"], &size["height"]);
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        let how = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let picture = self.devtools("Page.captureScreenshot", &how);
        picture["data"].as_str().expect("Base64").to_owned()
    }

    pub fn cookie(&self, name: &str) -> Option<Value> {
        let all = self.call("GET", "/cookie", &Value::Null);
        all.as_array()?.iter().find(|cookie| cookie["name"] == name).cloned()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let url = format!("http://{}/session{}", self.address, self.session);
        let mut curl = Command::new("curl");
        let _ = curl.args(["--silent", "--max-time", "20", "-X", "DELETE", &url]).output();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
