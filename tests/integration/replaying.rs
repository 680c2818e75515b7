//! Access logs of nginx and of Apache, as these servers write them, replayed by the program.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::address::own_address;
use crate::support::folder::Folder;
use crate::support::front::Front;

/// Requests that curl sends, with the name that the agent goes by: escapes and quotes in all places.
const REQUESTS: [(&str, &[&str]); 8] = [
    ("/", &["-A", "Mozilla/5.0 (X11) Gecko"]),
    ("/style.css", &["-A", "Mozilla/5.0 (X11) Gecko"]),
    ("/accounts/logout/", &["-A", "Mozilla/5.0 (X11) Gecko"]),
    ("/accounts/logout/?next=%2F", &["-A", "quote\" back\\slash \u{1b}[31m ü"]),
    ("/a?b=\"c\"&d=\\", &["-e", "http://from/\"x\""]),
    ("/accounts/login/", &["-X", "POST", "-d", "a=b", "-A", ""]),
    ("/cart", &["-u", "some one:pass[word]"]),
    ("/", &["-H", "X-Forwarded-For: 203.0.113.7, 198.51.100.3", "-I"]),
];

/// Sends all requests over IPv4, and one over IPv6; and one that is no request. So many lines.
fn ask(port: u16, ipv6: bool) -> usize {
    let curl = |host: &str, path: &str, options: &[&str]| {
        let url = format!("http://{host}:{port}{path}");
        let status = Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-g", "--path-as-is"])
            .args(options)
            .arg(url)
            .status();
        assert!(status.expect("curl runs").success(), "{path}");
    };
    for (path, options) in REQUESTS {
        curl("127.0.0.1", path, options);
    }
    if ipv6 {
        curl("[::1]", "/accounts/logout/", &["-A", "Mozilla/5.0 (IPv6)"]);
    }
    let mut garbage = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    garbage.write_all(b"\x16\x03\x01\x02\x00\r\n\r\n").expect("it is sent");
    // It may be reset.
    let _ = garbage.read_to_end(&mut Vec::new());
    REQUESTS.len() + usize::from(ipv6) + 1
}

/// Waits until a log has so many lines.
fn await_lines(log: &Path, number: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let lines = || fs::read(log).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count();
    while lines() < number {
        assert!(Instant::now() < deadline, "{} has {} lines", log.display(), lines());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What the program says of a log.
fn replay(folder: &Folder, configuration: &str, arguments: &[&str], logs: &[PathBuf]) -> Value {
    let config = folder.path().join("replay.toml");
    fs::write(&config, configuration).expect("it can be written");
    let mut program = Command::new(env!("CARGO_BIN_EXE_floodwall"));
    program.args(["replay", "--json", "--config"]).arg(&config).args(arguments).args(logs);
    let output = program.output().expect("floodwall runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_log_of_which_no_line_can_be_read_is_a_failure_that_says_what_to_do() {
    let folder = Folder::new("replay-unread");
    let (config, log) = (folder.path().join("floodwall.toml"), folder.path().join("other.log"));
    fs::write(&config, "").expect("it can be written");
    fs::write(&log, "no access log\nat all\n").expect("it can be written");
    for json in [&[][..], &["--json"][..]] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_floodwall"));
        program.args(["replay", "--config"]).arg(&config).args(json).arg("other.log");
        let output = program.current_dir(folder.path()).output().expect("floodwall runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(output.stdout.is_empty(), "it told of no requests as of some");
        assert!(said.contains("other.log (text): none of 2 lines could be read"), "{said}");
        assert!(said.contains("--format"), "{said}");
    }
}

/// What every log of these requests has to give, whoever wrote it: all of them, each once.
fn check(folder: &Folder, log: &Path, format: &str, requests: usize) {
    let logs = [log.to_owned()];
    let report = replay(folder, "trusted_proxies = ['127.0.0.1']\n", &[], &logs);
    assert_eq!(report["logs"][0]["format"], format, "{}", log.display());
    let text = || fs::read_to_string(log).unwrap_or_default();
    let unread = report["unread"].as_object().expect("an object").values();
    let unread: u64 = unread.filter_map(Value::as_u64).sum();
    assert_eq!(unread, 0, "{}: {}\n{}", log.display(), report["unread"], text());
    assert_eq!(report["requests"], requests, "{}\n{}", log.display(), text());
    assert_eq!(report["without_request"], 1, "{}\n{}", log.display(), text());
    let rules = &report["worlds"][0]["rules"];
    let ipv6 = requests - REQUESTS.len();
    assert_eq!(rules["logout"]["seen"], 2 + ipv6, "{}: {rules}", log.display());
    assert_eq!(rules["login"]["seen"], 1, "{}: {rules}", log.display());
}

#[test]
fn nginx_logs_are_read_in_each_of_its_formats() {
    let folder = Folder::new("replay-nginx");
    let (address, path) = (own_address(), folder.path().display());
    let port = address.port();
    let http = format!(
        r#"
        log_format main '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
            '"$http_referer" "$http_user_agent" "$http_x_forwarded_for" $request_time $upstream_response_time';
        log_format vhost '$host:$server_port $remote_addr - $remote_user [$time_local] "$request" $status '
            '$body_bytes_sent "$http_referer" "$http_user_agent"';
        log_format line escape=json '{{"time_local":"$time_local","remote_addr":"$remote_addr",'
            '"remote_user":"$remote_user","request":"$request","status": "$status",'
            '"body_bytes_sent":"$body_bytes_sent","http_user_agent":"$http_user_agent"}}';
        log_format parts escape=json '{{"msec":$msec,"remote_addr":"$remote_addr","method":"$request_method",'
            '"uri":"$uri","request_uri":"$request_uri","args":"$args","status":$status,'
            '"x_forwarded_for":"$http_x_forwarded_for","user_agent":"$http_user_agent"}}';
        server {{
            listen {address}; listen [::1]:{port};
            access_log {path}/combined.log combined; access_log {path}/main.log main;
            access_log {path}/vhost.log vhost; access_log {path}/line.log line;
            access_log {path}/parts.log parts;
            location / {{ return 200 'ok'; }}
        }}"#
    );
    let _nginx = Front::nginx(&folder, address, &http);
    let lines = ask(port, true);
    for (log, format) in [
        ("combined", "text"),
        ("main", "text"),
        ("vhost", "text"),
        ("line", "json"),
        ("parts", "json"),
    ] {
        let log = folder.path().join(format!("{log}.log"));
        await_lines(&log, lines);
        check(&folder, &log, format, lines - 1);
    }
    // Whom a trusted proxy names is the client.
    let main = folder.path().join("main.log");
    let report =
        replay(&folder, "trusted_proxies = ['127.0.0.1']\n", &[], std::slice::from_ref(&main));
    assert_eq!(report["clients_about"], 3);
    let report = replay(&folder, "", &[], &[main]);
    assert_eq!(report["clients_about"], 2);
}

#[test]
fn apache_logs_are_read_in_each_of_its_formats() {
    let folder = Folder::new("replay-apache");
    let (address, path) = (own_address(), folder.path().display());
    let directives = format!(
        r#"
        LogFormat "%h %l %u %t \"%r\" %>s %O" common
        LogFormat "%h %l %u %t \"%r\" %>s %O \"%{{Referer}}i\" \"%{{User-Agent}}i\"" combined
        LogFormat "%v:%p %h %l %u %t \"%r\" %>s %O \"%{{Referer}}i\" \"%{{User-Agent}}i\" %D" vhost_combined
        LogFormat "{{ \"time\":\"%t\", \"remoteIP\":\"%a\", \"host\":\"%V\", \"request\":\"%U\", \"query\":\"%q\", \"method\":\"%m\", \"status\":\"%>s\", \"userAgent\":\"%{{User-agent}}i\", \"referer\":\"%{{Referer}}i\" }}" json
        CustomLog {path}/common.log common
        CustomLog {path}/combined.log combined
        CustomLog {path}/vhost.log vhost_combined
        CustomLog {path}/json.log json"#
    );
    let _apache = Front::apache(&folder, address, &directives);
    let lines = ask(address.port(), false);
    for (log, format) in
        [("common", "text"), ("combined", "text"), ("vhost", "text"), ("json", "json")]
    {
        let log = folder.path().join(format!("{log}.log"));
        await_lines(&log, lines);
        check(&folder, &log, format, lines - 1);
    }
}

/// A log of a flood of logouts by many clients, in which users of browsers log in and out.
fn flood(folder: &Folder) -> PathBuf {
    let mut log = String::new();
    let browser = "\"http://shop/\" \"Mozilla/5.0 (X11; Linux) Gecko/20100101 Firefox/140.0\"";
    for second in 0..60 {
        let time = format!("[31/Dec/2026:23:30:{second:02} +0000]");
        let mut line = |client: &str, request: &str, status: u16, rest: &str| {
            log += &format!("{client} - - {time} \"{request} HTTP/1.1\" {status} 17 {rest}\n");
        };
        if second == 5 {
            line("192.0.2.8", "GET /accounts/login/", 200, browser);
            line("192.0.2.8", "GET /static/site.css", 200, browser);
            line("192.0.2.8", "POST /accounts/login/", 302, browser);
        }
        for number in 0..100 {
            let client = format!("198.51.100.{}", (second * 100 + number) % 250);
            line(&client, "GET /accounts/logout/?x=1", 302, "\"-\" \"python-requests/2.31\"");
        }
        if second == 40 {
            line("192.0.2.8", "GET /account/", 200, browser);
            line("192.0.2.8", "GET /accounts/logout/?x=2", 302, browser);
            line("192.0.2.9", "GET /static/site.css", 200, browser);
            line("192.0.2.9", "GET /accounts/logout/?x=3", 302, browser);
        }
    }
    let file = folder.path().join("flood.log");
    fs::write(&file, log).expect("it can be written");
    file
}

#[test]
fn a_flood_in_a_log_is_told_of_with_the_honest_visitors_that_it_would_have_cost() {
    let folder = Folder::new("replay-flood");
    let log = flood(&folder);
    let rules = "[budget.logout]\nclient = { rate = '6/min', burst = 5 }\n\
                 site = { rate = '60/min', burst = 100 }\n";
    let report = replay(&folder, rules, &[], std::slice::from_ref(&log));
    assert_eq!((&report["requests"], &report["lines"]), (&6_007.into(), &6_007.into()));
    let [strangers, members] = report["worlds"].as_array().expect("worlds").as_slice() else {
        panic!("{report}")
    };
    for (world, sessions) in [(strangers, 0), (members, 1)] {
        let logout = &world["rules"]["logout"];
        let forwarded = logout["forwarded"].as_u64().expect("a number");
        // A burst, and what comes back in a minute: each record that would have been written.
        assert!((100..=161).contains(&forwarded), "{logout}");
        assert_eq!(logout["refused"], 6_002 - forwarded, "{logout}");
        // Whoever has a session ends it.
        assert_eq!(logout["created"], forwarded - sessions, "{logout}");
        assert_eq!(world["floods"][0]["rule"], "logout");
        assert!(world["floods"][0]["requests"].as_u64() > Some(5_000), "{}", world["floods"]);
        assert_eq!(world["floods"].as_array().map(Vec::len), Some(1));
    }
    // Whoever has logged in gets through where that is known, and is told of where it is not.
    let hits = |world: &Value| {
        let hits = world["visitors"]["hits"].as_array().expect("hits").clone();
        hits.iter().map(|hit| hit["client"].as_str().expect("one").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(hits(strangers), ["192.0.2.8", "192.0.2.9"], "{}", strangers["visitors"]);
    assert_eq!(hits(members), ["192.0.2.9"], "{}", members["visitors"]);
    assert_eq!(strangers["visitors"]["hits"][0]["logged_in"], true);
    assert_eq!(strangers["visitors"]["hits"][0]["path"], "/accounts/logout/");

    // What is assumed decides: of a patched application nobody is refused.
    let patched = replay(&folder, rules, &["--assume", "logins"], std::slice::from_ref(&log));
    assert_eq!(patched["worlds"][0]["all"]["refused"], 0, "{patched}");

    // A mode that refuses nobody tells what it would have kept from the application.
    let observed = replay(&folder, &format!("mode = 'observe'\n{rules}"), &[], &[log]);
    let all = &observed["worlds"][0]["all"];
    assert_eq!(all["refused"], 0);
    assert!(all["would_absorb"].as_u64() > Some(5_000), "{all}");
}

#[test]
fn several_logs_are_read_in_their_order_whatever_order_they_are_named_in_and_how_they_are_packed() {
    let folder = Folder::new("replay-order");
    let whole = flood(&folder);
    let text = fs::read_to_string(&whole).expect("a log");
    let expected = replay(&folder, "", &[], std::slice::from_ref(&whole));
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut parts = Vec::new();
    for (number, part) in lines.chunks(lines.len() / 3).enumerate() {
        let path = folder.path().join(format!("part.{number}"));
        fs::write(&path, part.concat()).expect("it can be written");
        if number > 0 {
            assert!(Command::new("gzip").arg(&path).status().expect("gzip runs").success());
        }
        let packed = format!("part.{number}{}", if number > 0 { ".gz" } else { "" });
        parts.insert(0, folder.path().join(packed));
    }
    let found = replay(&folder, "", &[], &parts);
    assert_eq!(found["worlds"], expected["worlds"]);
    assert_eq!(found["lines"], expected["lines"]);

    // Through standard input, two packed members one behind the other.
    let config = folder.path().join("replay.toml");
    let script = "cat \"$2\" \"$3\" | \"$0\" replay --json --config \"$1\" -";
    let output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_floodwall")])
        .arg(&config)
        .args([&parts[2], &parts[1]])
        .output()
        .expect("sh runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(found["lines"], 2 * (lines.len() / 3));
}

#[test]
fn what_cannot_be_replayed_says_why_and_what_to_do() {
    let folder = Folder::new("replay-wrong");
    let config = folder.path().join("c.toml");
    let site = "[[site]]\nname = 'shop'\nhosts = ['shop.example']\n[[site]]\nname = 'blog'\nhosts = ['blog.example']\n";
    fs::write(&config, site).expect("it can be written");
    let cut = folder.path().join("cut.gz");
    fs::write(&cut, b"\x1f\x8b\x08\x00\x00\x00").expect("it can be written");
    let said = |arguments: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_floodwall"));
        let output = program.arg("replay").arg("--config").arg(&config).args(arguments).output();
        let output = output.expect("floodwall runs");
        (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
    };
    let cut = cut.to_str().expect("UTF-8");
    for (arguments, code, words) in [
        (&["/nowhere/x.log", "--site", "shop"][..], 1, "correct the name"),
        (&["/tmp", "--site", "shop"], 1, "name the logs in it"),
        (&[cut, "--site", "shop"], 1, "damaged or was cut"),
        (&["-"], 2, "--site NAME with one of shop, blog"),
        (&["-", "--site", "blok"], 2, "did you mean blog?"),
        (&[], 2, "LOG"),
        (&["-", "--format", "jsn"], 2, "json"),
    ] {
        let (found, text) = said(arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: {text}");
    }

    // Lines of another host are another site's.
    let log = folder.path().join("vhosts.log");
    let line = |host: &str| {
        format!(
            "{host}:80 192.0.2.1 - - [31/Dec/2026:23:30:00 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"x\"\n"
        )
    };
    let text = [line("shop.example"), line("SHOP.example"), line("blog.example")].concat();
    fs::write(&log, text).expect("it can be written");
    let report = replay(&folder, site, &["--site", "shop"], &[log]);
    assert_eq!((&report["requests"], &report["of_other_sites"]), (&2.into(), &1.into()));
}
