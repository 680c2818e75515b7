//! The access log of the program, read by those who read such logs, and written whatever clients,
//! disks and operators do meanwhile.

mod hostile;
mod rotation;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::recorder::Recorder;
use crate::support::strict::Request;

/// A session key that must be nowhere.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// An application that gives a session to who asks at `/new`, and ten bytes to everybody else.
pub fn application() -> Recorder {
    Recorder::start(|request: &Request| match request.target.split('?').next() {
        Some("/new") => format!(
            "HTTP/1.1 201 Created\r\nContent-Length: 3\r\nSet-Cookie: sessionid={SECRET}\r\n\r\nnew"
        ),
        Some("/fails") => String::from("garbage\r\n\r\n"),
        Some("/logout/") => String::from(
            "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\
             Set-Cookie: sessionid=\"\"; Max-Age=0\r\n\r\n",
        ),
        _ => String::from("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"),
    })
}

/// A configuration that logs in this format, into this file.
pub fn logging(format: &str, file: &Path) -> String {
    format!(
        "[downstream_limits]\nheader_timeout = '300ms'\nhead_bytes = '128KiB'\n\
         [access_log]\nformat = '{format}'\nfile = '{}'\n",
        file.display()
    )
}

/// What a test logs into.
pub fn file(folder: &Folder) -> PathBuf {
    folder.path().join("access.log")
}

/// The objects of a JSON log, as Python reads them: strictly, line by line.
pub fn objects(file: &Path) -> Vec<Value> {
    let script = "import json, sys\n\
                  for line in open(sys.argv[1], 'rb').read().split(b'\\n')[:-1]:\n    \
                  print(json.dumps(json.loads(line.decode('utf-8', 'strict'))))";
    let output =
        Command::new("python3").args(["-c", script]).arg(file).output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Runs curl against it, and gives back the status that it saw.
fn curl(floodwall: &Floodwall, path: &str, options: &[&str]) -> u64 {
    let output = Command::new("curl")
        .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--path-as-is"])
        .args(options)
        .arg(format!("http://{}{path}", floodwall.address()))
        .output()
        .expect("curl runs");
    String::from_utf8_lossy(&output.stdout).parse().expect("a status")
}

#[test]
fn an_exchange_is_told_with_all_that_is_known_of_it() {
    let (folder, application) = (Folder::new("access"), application());
    let file = file(&folder);
    // One lane, so that the lines are in the order of the exchanges.
    let configuration = format!(
        "cores = 1\ntrusted_proxies = ['127.0.0.1']\n{}\
         [budget.anonymous]\nclient = {{ rate = '1/d', burst = 2 }}\n\
         site = {{ rate = '1/d', burst = 100 }}\n\
         [[rule]]\nname = 'gone'\npath = '/gone'\naction = 'answer'\n\
         answer = {{ status = 410 }}\n\
         [[rule]]\nname = 'shop'\nprefix = '/shop/'\naction = 'forward'\n",
        logging("json", &file)
    );
    let floodwall = Floodwall::start(&folder, application.upstream(), &configuration);
    let from = ["-H", "X-Forwarded-For: 203.0.113.7", "-H", "Host: shop.example"];
    let cookie = format!("Cookie: sessionid={SECRET}");
    let asked = [
        ("/shop/a?b=%22", &["-A", "agent \"1\"", "-e", "http://from/"][..], 200),
        ("/shop/", &["-H", &cookie], 200),
        ("/new", &[], 201),
        ("/new", &[], 201),
        ("/new", &[], 429),
        ("/gone", &[], 410),
        ("/shop/fails", &["-X", "POST", "-d", "a=1"], 200),
        ("/fails", &["-H", "X-Forwarded-For: 203.0.113.8"], 502),
        ("/shop/", &["-I"], 200),
    ];
    for (path, options, status) in asked {
        let options = [&from[..], options].concat();
        assert_eq!(curl(&floodwall, path, &options), status, "{path}");
    }
    assert!(floodwall.stop().success());
    let lines = objects(&file);
    assert_eq!(lines.len(), asked.len());
    for (line, (path, _, status)) in lines.iter().zip(asked) {
        assert_eq!((line["path"].as_str(), line["status"].as_u64()), (Some(path), Some(status)));
        assert_eq!((&line["site"], &line["peer"]), (&"default".into(), &"127.0.0.1".into()));
        assert_eq!((&line["host"], &line["aborted"]), (&"shop.example".into(), &false.into()));
        assert_eq!(line["protocol"], "HTTP/1.1");
        let time = line["time"].as_str().expect("a time");
        assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
        assert!(line["duration_ms"].as_f64() >= line["upstream_ms"].as_f64(), "{line}");
    }
    let told = |number: usize, key: &str| lines[number][key].clone();
    let verdict = |number| (told(number, "route"), told(number, "verdict"), told(number, "why"));
    let of = |route: &str, verdict: &str, why: Option<&str>| {
        (Value::from(route), Value::from(verdict), why.map_or(Value::Null, Value::from))
    };
    assert_eq!(verdict(0), of("shop", "forwarded", None));
    assert_eq!(told(0, "user_agent"), "agent \"1\"");
    assert_eq!(told(0, "referer"), "http://from/");
    assert_eq!(told(0, "client"), "203.0.113.7");
    assert_eq!((told(0, "standing"), told(0, "bytes")), ("none".into(), 10.into()));
    assert!(told(0, "upstream_ms").as_f64() > Some(0.0));
    assert_eq!(told(0, "upstream"), application.upstream());
    assert_eq!(told(1, "standing"), "unknown");
    assert_eq!(verdict(4), of("(no rule)", "refused", Some("client-budget")));
    assert_eq!((told(4, "upstream"), told(4, "upstream_ms")), (Value::Null, Value::Null));
    assert_eq!(verdict(5), of("gone", "answered", None));
    assert_eq!(told(0, "class"), Value::Null);
    assert_eq!((told(2, "class"), told(3, "class")), ("unproven".into(), "creating".into()));
    assert_eq!(verdict(7), of("(no rule)", "forwarded", Some("closed")));
    assert_eq!(told(7, "client"), "203.0.113.8");
    assert_eq!((told(8, "method"), told(8, "bytes")), ("HEAD".into(), 0.into()));
    let text = fs::read_to_string(&file).expect("it is there");
    assert!(!text.contains(SECRET), "a session key is in the log");
}

/// What goaccess says of a log.
fn goaccess(file: &Path, format: &str) -> Value {
    let output = Command::new("goaccess")
        .args(["--no-global-config", "-o", "json", "--log-format", format])
        .args(["--no-progress", "-f"])
        .arg(file)
        .output()
        .expect("goaccess runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Hostile paths and agents, and what hyper refuses, included.
#[test]
fn goaccess_reads_common_and_combined_without_a_complaint() {
    for (format, name) in [("common", "COMMON"), ("combined", "COMBINED")] {
        let (folder, application) = (Folder::new("goaccess"), application());
        let file = file(&folder);
        let floodwall = Floodwall::start(&folder, application.upstream(), &logging(format, &file));
        for options in [&["-A", "Mozilla/5.0 \"q\" \\ \u{1b}[31m"][..], &["-A", ""], &["-I"]] {
            for path in ["/", "/a?b=\"c\"", "/%22%0a", "/new"] {
                curl(&floodwall, path, options);
            }
        }
        hostile::refused_by_the_parser(&floodwall);
        assert!(floodwall.stop().success());
        let number = fs::read_to_string(&file).expect("ASCII").lines().count() as u64;
        assert_eq!(number, 12 + hostile::REFUSED.len() as u64);
        let said = goaccess(&file, name);
        let general = &said["general"];
        assert_eq!(general["failed_requests"], 0, "{format}: {general}");
        assert_eq!(general["total_requests"], number, "{format}: {general}");
    }
}

/// One line starts, and another stops, with a reload.
#[test]
fn a_reload_puts_the_access_log_in_force() {
    let (folder, application) = (Folder::new("access-reload"), application());
    let file = file(&folder);
    let floodwall = Floodwall::start(&folder, application.upstream(), "");
    let reload = |configuration: &str| {
        let path = folder.path().join("floodwall.toml");
        fs::write(&path, configuration).expect("it can be written");
        let output = Command::new(env!("CARGO_BIN_EXE_floodwall"))
            .args(["reload", "--control"])
            .arg(folder.path().join("state.control"))
            .output()
            .expect("floodwall runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    curl(&floodwall, "/before", &[]);
    assert_eq!(reload(&logging("json", &file)), (Some(0), String::new()));
    curl(&floodwall, "/on", &[]);
    // A file that cannot be opened changes nothing.
    let (code, said) = reload(&logging("json", Path::new("/nowhere/access.log")));
    assert_eq!(code, Some(2));
    assert!(said.contains("make its folder"), "{said}");
    curl(&floodwall, "/still", &[]);
    assert_eq!(reload(""), (Some(0), String::new()));
    curl(&floodwall, "/off", &[]);
    assert!(floodwall.stop().success());
    // Cores write their lines by turns: those of one moment may stand in any order.
    let lines = objects(&file);
    let mut paths: Vec<&str> = lines.iter().filter_map(|line| line["path"].as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/on", "/still"]);
}

#[test]
fn a_file_that_cannot_be_opened_ends_the_start_with_the_remedy() {
    let folder = Folder::new("access-start");
    for (path, remedy) in [("/nowhere/a.log", "make its folder"), ("/tmp", "name a file in it")] {
        let file = folder.path().join("floodwall.toml");
        fs::write(&file, logging("json", Path::new(path))).expect("it can be written");
        let output = Command::new(env!("CARGO_BIN_EXE_floodwall"))
            .args(["run", "--listen", "127.0.0.1:0", "--state", "", "--config"])
            .arg(&file)
            .output()
            .expect("floodwall runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(path) && said.contains(remedy), "{said}");
    }
}
