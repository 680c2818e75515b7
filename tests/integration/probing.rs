//! `floodwall probe` against sites that do what no Django does, and at the terminal of who asks.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::address::own_address;
use crate::support::attack::bounded;
use crate::support::backend::{Backend, Manner};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;

/// What the command line promises.
const MOST: usize = 16;
const KEY: &str = "0123456789abcdefghijklmnopqrstuv";

/// A server that answers the request of each connection as it likes.
struct Site {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Site {
    fn start(answer: impl Fn(usize, &str, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&requests), Arc::new(answer));
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                thread::spawn(move || {
                    let head = head(&mut stream);
                    let number = {
                        let mut seen = seen.lock().expect("no thread panicked");
                        seen.push(head.clone());
                        seen.len()
                    };
                    answer(number, &head, &mut stream);
                });
            }
        });
        Self { address, requests }
    }

    /// One that answers with these headers.
    fn saying(headers: &'static str) -> Self {
        Self::start(move |_, _, stream| {
            let answer = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 2\r\n\r\nok");
            let _ = stream.write_all(answer.as_bytes());
        })
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no thread panicked").clone()
    }
}

fn head(stream: &mut TcpStream) -> String {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    while !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(length) => bytes.extend_from_slice(&piece[..length]),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn run(arguments: &[&str]) -> Output {
    let mut program = Floodwall::program();
    // Nobody's proxy is asked.
    program.env("http_proxy", "http://127.0.0.1:1").env("ALL_PROXY", "http://127.0.0.1:1");
    program.arg("probe").args(arguments).stdin(Stdio::null()).output().expect("floodwall runs")
}

/// Exit code, text and JSON of two probes of the same site.
fn probe(url: &str, arguments: &[&str]) -> (i32, String, Value) {
    let asked = |more: &[&str]| run(&[&["--yes", url][..], arguments, more].concat());
    let text = asked(&[]);
    let json = asked(&["--json"]);
    assert_eq!(text.status, json.status);
    let said =
        String::from_utf8(text.stdout).expect("UTF-8") + &String::from_utf8_lossy(&text.stderr);
    let json = serde_json::from_slice(&json.stdout).unwrap_or_else(|_| panic!("{said}"));
    (text.status.code().expect("no signal"), said, json)
}

/// Whether a report is fit for a terminal.
fn is_plain(text: &str) -> bool {
    text.chars().all(|char| char == '\n' || !char.is_control())
}

#[test]
fn no_site_gets_more_requests_than_were_stated() {
    let mut worst = 0;
    let session =
        |number: usize| format!("Set-Cookie: sessionid={number:032}; Path=/\r\nVary: Cookie\r\n");
    let sites: Vec<Site> = vec![
        // Each path sends to another, and to itself.
        Site::start(move |number, head, stream| {
            let path = head.split(' ').nth(1).unwrap_or("/");
            let location = format!("Location: /{number}{path}\r\n");
            let session = session(number);
            let answer =
                format!("HTTP/1.1 302 Found\r\n{location}{session}Content-Length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes());
        }),
        Site::start(|_, head, stream| {
            let path = head.split(' ').nth(1).unwrap_or("/");
            let answer =
                format!("HTTP/1.1 307 Again\r\nLocation: {path}\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes());
        }),
        // A new session for each request, whatever it brings.
        Site::start(move |number, _, stream| {
            let session = session(number);
            let answer = format!("HTTP/1.1 200 OK\r\n{session}Content-Length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes());
        }),
        // Gone after half of the head, or of the body.
        Site::start(|number, _, stream| {
            let part = if number.is_multiple_of(2) {
                "HTTP/1.1 200 O"
            } else {
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"
            };
            let _ = stream.write_all(part.as_bytes());
        }),
        Site::saying("Connection: keep-alive\r\n"),
    ];
    for site in sites {
        let mut many = vec!["--logout", "/a/", "--logout", "/b/", "--login", "/c/"];
        many.extend(["--page", "/d/"].into_iter().cycle().take(2 * MOST));
        let pages: Vec<String> = (0..2 * MOST).map(|number| format!("--page=/{number}/")).collect();
        many.extend(pages.iter().map(String::as_str));
        for arguments in [&[][..], &many] {
            let before = site.requests().len();
            let output = run(&[&["--yes", "--json", &site.url()][..], arguments].concat());
            let sent = site.requests().len() - before;
            let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            let told = json["requests"].as_array().map(Vec::len);
            assert_eq!(told, Some(sent), "{json}");
            worst = worst.max(sent);
        }
    }
    // One is kept for ending a session, and none was there to be ended.
    assert!(worst + 1 >= MOST, "{worst} are not as many as there might be");
    let attack = "sites that redirect, break off or begin sessions forever, probed";
    bounded(attack, "requests", MOST as u64, worst as u64);
}

#[test]
fn pages_and_heads_without_an_end_take_no_more_than_their_time_and_room() {
    let sent = Arc::new(AtomicUsize::new(0));
    let written = Arc::clone(&sent);
    let page = "x".repeat(1 << 16);
    let site = Site::start(move |_, _, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while let Ok(length) = stream.write(page.as_bytes()) {
            written.fetch_add(length, Ordering::SeqCst);
        }
    });
    let (_, text, _) = probe(&site.url(), &[]);
    assert!(site.requests().len() > 10, "{text}");
    let each = sent.load(Ordering::SeqCst) / site.requests().len();
    // What is read, and what the buffers of both sockets take besides.
    bounded("pages without an end, probed", "KiB of each", 12 << 10, (each >> 10) as u64);
    let endless = |what: &'static str, head: &'static str| {
        Site::start(move |_, _, stream| {
            let _ = stream.write_all(head.as_bytes());
            while stream.write_all(what.as_bytes()).is_ok() {
                thread::park_timeout(Duration::from_millis(1));
            }
        })
    };
    let ok = "HTTP/1.1 200 OK\r\n\r\n";
    let page = Box::leak("x".repeat(1 << 16).into_boxed_str());
    let lines = Box::leak("Set-Cookie: a=b\r\n".repeat(1 << 12).into_boxed_str());
    // One request may take a second, and all together six.
    for (site, code, most) in [
        (endless(page, ok), 4, MOST),
        (endless("x", ok), 4, 6 + 1),
        (endless(lines, "HTTP/1.1 200 OK\r\n"), 1, 1),
        (endless("x", "HTTP/1.1 200 OK\r\nX: "), 1, 1),
        (endless("HTTP/1.1 100 Continue\r\n\r\n", ""), 1, 1),
    ] {
        let output = run(&["--yes", "--timeout", "1", &site.url()]);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(site.requests().len() <= most, "{most}: {text}");
    }
}

#[test]
fn a_site_that_does_not_answer_is_a_failure() {
    let backend = Backend::start();
    for manner in [Manner::Hanging, Manner::Garbage, Manner::Closing] {
        backend.set(manner);
        let before = backend.number();
        let (code, text, json) = probe(&backend.url(), &["--timeout", "1"]);
        assert_eq!((code, &json["verdict"]), (1, &"failed".into()), "{manner:?}: {text}");
        assert_eq!(backend.number() - before, 2, "{manner:?}: one for each probe: {text}");
        assert!(text.contains("at most 1 record"), "{manner:?}: {text}");
    }
    let (code, text, _) = probe(&format!("http://{}", own_address()), &[]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("nobody can be reached") && text.contains("nothing"), "{text}");
    let output = run(&["--yes", "http://nobody.invalid/"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("has no address"), "{said}");
}

#[test]
fn what_is_no_django_is_not_judged() {
    for headers in [
        "",
        "Server: Apache\r\nX-Powered-By: PHP/5.3\r\nSet-Cookie: PHPSESSID=0123456789abcdef0123456789abcdef; path=/\r\n",
        "Set-Cookie: JSESSIONID=0123456789ABCDEF0123456789ABCDEF; Path=/; HttpOnly\r\n",
        "Set-Cookie: sessionid=4711; Path=/\r\nVary: Cookie\r\n",
        "Vary: Cookie\r\nX-Cache: HIT from edge\r\n",
    ] {
        let (code, text, json) = probe(&Site::saying(headers).url(), &[]);
        assert_eq!(code, 4, "{headers}: {text}");
        assert_eq!(json["session_cookie"], "sessionid", "{headers}: {text}");
        assert!(!text.contains("behaves like"), "{text}");
    }
}

#[test]
fn nothing_of_a_site_drives_a_terminal_or_gets_into_the_configuration() {
    let hostile = [
        "Set-Cookie: sessionid\u{1b}[2J=x; Path=/\u{1b}]0;x\u{7}\r\n".to_owned(),
        format!("Set-Cookie: sess\"\u{202e}\\={KEY}; HttpOnly\r\nVary: Cookie\r\n"),
        format!(
            "Set-Cookie: sessionid={KEY}; Path=/\"]\u{1b}[31m; Domain=\"\"\r\nVary: Cookie\r\n"
        ),
        format!("Set-Cookie: expires={KEY}; HttpOnly\r\nVary: Cookie\r\n"),
        format!("Set-Cookie: sessionid={KEY}; Max-Age=99999999999999999999\r\nVary: Cookie\r\n"),
        "Via: \u{1b}[2J\r\n".to_owned(),
        "Cache-Control: \u{9b}31m\r\nVary: cookie, \u{1b}\r\n".to_owned(),
    ];
    for headers in hostile {
        let site = Site::start({
            let headers = headers.clone();
            move |_, _, stream| {
                let answer = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 0\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let (_, text, json) = probe(&site.url(), &[]);
        assert!(is_plain(&text), "{text:?}");
        // Sent back to the site itself it would be a session's.
        assert!(!text.contains(KEY) && !json.to_string().contains(KEY), "{text}");
        let written = json["configuration"].as_str().expect("text");
        let folder = Folder::new("probing");
        let file = folder.path().join("floodwall.toml");
        fs::write(&file, written).expect("it can be written");
        let check = Floodwall::program().arg("check").arg("--config").arg(&file).output();
        let check = check.expect("floodwall runs");
        let said = String::from_utf8_lossy(&check.stderr);
        assert!(check.status.success(), "{said}{written}");
    }
    let away = Site::start(|_, _, stream| {
        let answer =
            "HTTP/1.1 302 Found\r\nLocation: //x/\u{9b}2J\u{202e}\r\nContent-Length: 0\r\n\r\n";
        let _ = stream.write_all(answer.as_bytes());
    });
    let (code, text, _) = probe(&away.url(), &[]);
    assert!(code == 4 && is_plain(&text) && away.requests().len() == 2, "{text:?}");
    assert!(text.contains("sends to //x/%C2%9B2J%E2%80%AE: probe that"), "{text:?}");
}

/// What is sent is what is said: one address, no foreign header, the operator's own on each request.
#[test]
fn requests_carry_what_the_operator_says_and_nothing_posts() {
    let site = Site::saying("Vary: Cookie\r\n");
    let headers = ["--header", "Host: www.shop.test", "--header", "Authorization: Basic eDp5"];
    let (_, text, _) = probe(&site.url(), &headers);
    let requests = site.requests();
    assert!(requests.len() > 6, "{text}");
    for request in &requests {
        let lower = request.to_ascii_lowercase();
        assert!(lower.starts_with("get /"), "{request}");
        for line in [
            "host: www.shop.test\r\n",
            "authorization: basic edp5\r\n",
            "user-agent: floodwall-probe/",
        ] {
            assert_eq!(lower.matches(line).count(), 1, "{line} in {request}");
        }
        for name in ["accept-encoding:", "referer:", "range:"] {
            assert!(!lower.contains(name), "{request}");
        }
    }
    let keys: Vec<&str> =
        requests.iter().filter_map(|one| one.split("sessionid=").nth(1)).collect();
    let unlike = keys.iter().enumerate().all(|(at, key)| !keys[..at].contains(key));
    assert!(keys.len() > 1 && unlike, "{keys:?}");
}

/// The program at a terminal of its own, where somebody types.
fn at_a_terminal(url: &str, typed: &str) -> (i32, String) {
    let program = env!("CARGO_BIN_EXE_floodwall");
    let mut script = Command::new("script")
        .args(["--quiet", "--return", "--echo", "never", "--command"])
        .arg(format!("{program} probe {url}"))
        .arg("/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script runs");
    let mut stdin = script.stdin.take().expect("it was piped");
    stdin.write_all(typed.as_bytes()).expect("it reads");
    let output = script.wait_with_output().expect("it ends");
    drop(stdin);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().expect("no signal"), said)
}

#[test]
fn nothing_is_sent_before_somebody_has_said_yes() {
    let site = Site::saying("");
    let output = run(&[&site.url()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--yes"), "{said}");
    for typed in ["no\n", "y\n", "\n", "yes please\n", "YES\n", "\u{4}"] {
        let (code, said) = at_a_terminal(&site.url(), typed);
        assert_eq!(code, 1, "{typed:?}: {said}");
        for part in [&*site.url(), &*site.address, "16 requests at most", "nothing was sent"] {
            assert!(said.contains(part), "{typed:?}: {part} in {said}");
        }
    }
    assert_eq!(site.requests(), Vec::<String>::new());
    let (code, said) = at_a_terminal(&site.url(), "yes\n");
    assert!(code == 4 && !site.requests().is_empty(), "{said}");
}

#[test]
fn a_file_that_is_there_is_never_written_over() {
    let site = Site::saying("");
    let folder = Folder::new("probing");
    let file = folder.path().join("floodwall.toml");
    let path = file.to_str().expect("UTF-8");
    let output = run(&["--yes", "--write", path, &site.url()]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(path), "{text}");
    let written = fs::read_to_string(&file).expect("it was written");
    assert!(written.contains(&site.address), "{written}");
    let before = site.requests().len();
    let output = run(&["--yes", "--write", path, &site.url()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("is there already"), "{said}");
    assert_eq!((site.requests().len(), fs::read_to_string(&file).ok()), (before, Some(written)));
}
