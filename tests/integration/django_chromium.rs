//! Chromium, by its own driver, at an HTTPS page of a genuine Django.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::django::{Django, Release};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::tls::{Authority, openssl};

/// The driver of a browser (W3C WebDriver), and the browser.
struct Browser {
    driver: Child,
    address: String,
    session: String,
    _folder: Folder,
}

impl Browser {
    /// `pin` is the key that it believes, `name` what it resolves to this machine.
    fn start(pin: &str, name: &str) -> Self {
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
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-background-networking".to_owned(),
            format!("--user-data-dir={data}"),
            format!("--host-resolver-rules=MAP {name} 127.0.0.1, MAP * ~NOTFOUND"),
            format!("--ignore-certificate-errors-spki-list={pin}"),
        ];
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
        }}});
        let begun = browser.call("POST", "", &capabilities);
        browser.session = format!("/{}", begun["sessionId"].as_str().expect("a session"));
        browser
    }

    /// One command of the driver; its value.
    fn call(&self, method: &str, path: &str, content: &Value) -> Value {
        let url = format!("http://{}/session{}{path}", self.address, self.session);
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "60", "-X", method, &url]);
        if method == "POST" {
            curl.args(["-H", "Content-Type: application/json", "-d", &content.to_string()]);
        }
        let out = curl.stdin(Stdio::null()).output().expect("curl runs");
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "{path}: {}", String::from_utf8_lossy(&out.stderr));
        let answer: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
        assert!(answer["value"]["error"].is_null(), "{path}: {answer}");
        answer["value"].clone()
    }

    fn go(&self, url: &str) {
        self.call("POST", "/url", &json!({ "url": url }));
    }

    /// Runs a script in the page; what it returns.
    fn run(&self, script: &str) -> Value {
        self.call("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    fn cookie(&self, name: &str) -> Option<Value> {
        let all = self.call("GET", "/cookie", &Value::Null);
        all.as_array()?.iter().find(|cookie| cookie["name"] == name).cloned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let url = format!("http://{}/session{}", self.address, self.session);
        let mut curl = Command::new("curl");
        let _ = curl.args(["--silent", "--max-time", "20", "-X", "DELETE", &url]).output();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

#[test]
fn chromium_logs_in_and_out_over_https() {
    let release = Release::V1_7_9;
    if !release.available() {
        return;
    }
    let site = Django::start(release);
    let authority = Authority::new("chromium");
    let issued = authority.issue("a", &["DNS:site.test"]);
    // Chromium names keys by the hash of what openssl writes here.
    let key = openssl(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&issued.key));
    let public = authority.path("public.pem");
    fs::write(&public, key).unwrap();
    let pin = openssl(Command::new("sh").args(["-c", &format!(
        "openssl pkey -pubin -in '{}' -outform der | openssl dgst -sha256 -binary | openssl base64",
        public.display()
    )]));
    let folder = Folder::new("chromium-floodwall");
    let configuration =
        format!("[tls]\nlisten = '127.0.0.1:0'\ncertificates = [{}]\n", issued.entry());
    let floodwall = Floodwall::start(&folder, &format!("http://{}", site.target()), &configuration);
    let tls = floodwall.addresses(2)[1].clone();
    let port = tls.rsplit_once(':').unwrap().1.to_owned();
    let at = |path: &str| format!("https://site.test:{port}{path}");

    let browser = Browser::start(pin.trim(), "site.test");
    browser.go(&at("/accounts/login/?next=/read/"));
    assert_eq!(browser.run("return window.isSecureContext"), true);
    browser.run(
        "document.querySelector('[name=username]').value = 'user1';\
         document.querySelector('[name=password]').value = 'secret';\
         document.querySelector('form').submit();",
    );
    await_that("nobody is logged in", || site.authenticated() == 1);
    await_that("the page after the login does not come", || {
        browser.run("return location.pathname") == "/read/"
    });
    let session = browser.cookie("sessionid").expect("a session");
    assert_eq!(session["domain"], "site.test");
    browser.go(&at("/accounts/logout/"));
    await_that("nobody is logged out", || site.authenticated() == 0);
    assert!(browser.cookie("sessionid").is_none(), "the cookie is deleted");
}
