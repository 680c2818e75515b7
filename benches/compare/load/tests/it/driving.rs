//! What the generator says is what has happened.

use std::collections::HashSet;
use std::fs;

use crate::site::{Nginx, Upstream, count, drive, result, said, sum};

/// All answered with 200, and nothing else.
fn all_well(said: &serde_json::Value, requests: u64) {
    assert_eq!(count(said, "requests"), requests, "{said}");
    assert_eq!(said["by_status"], serde_json::json!({ "200": requests }), "{said}");
    assert_eq!(sum(&said["errors"]) + count(said, "unfinished"), 0, "{said}");
}

#[test]
fn every_request_is_counted_on_both_sides() {
    let upstream = Upstream::start("");
    let mut asked = 0;
    for (words, page) in [
        ("--path /small --requests 400", "/small"),
        ("--path /page --headers browser --requests 300", "/page"),
        ("--path /upload --body 16384 --requests 200", "/upload"),
        ("--path /upload --body 3000000 --requests 20", "/upload"),
        ("--path /small --method HEAD --requests 100", "/small"),
        ("--path /small --new-connections --requests 100", "/small"),
        ("--path /any?thing --rate 2000 --requests 100", "other"),
    ] {
        let before = count(&upstream.counts()["by_path"], page);
        let said = drive(upstream.address, words);
        let requests = words.rsplit(' ').next().expect("a number").parse().expect("a number");
        all_well(&said, requests);
        asked += requests;
        let counts = upstream.counts();
        assert_eq!(count(&counts["by_path"], page) - before, requests, "{words}");
        assert_eq!(count(&counts, "requests"), asked, "{words}");
        assert_eq!(count(&counts, "records"), 0, "{words}");
        let connections = count(&said, "connections");
        assert_eq!(
            connections,
            if words.contains("new-") { requests } else { connections.min(16) }
        );
    }
}

#[test]
fn bytes_are_those_of_the_bodies_and_heads() {
    let upstream = Upstream::start("");
    let said = drive(upstream.address, "--path /big --connections 2 --requests 4");
    all_well(&said, 4);
    let (bytes, bodies) = (count(&said, "bytes"), 4 * 100 * (1 << 20));
    assert!(bytes > bodies && bytes < bodies + 4 * 1024, "{bytes}");
}

#[test]
fn sessions_are_what_the_cookie_makes_of_them() {
    let upstream = Upstream::start("");
    let mut before = 0;
    let mut added = |words: &str| {
        let said = drive(upstream.address, &format!("--requests 100 --connections 4 {words}"));
        assert_eq!((count(&said, "requests"), sum(&said["errors"])), (100, 0), "{said}");
        let records = count(&upstream.counts(), "records");
        (records - std::mem::replace(&mut before, records), count(&said, "set_cookies"))
    };
    for headers in ["few", "browser"] {
        let mut added = |words: &str| added(&format!("{words} --headers {headers}"));
        assert_eq!(added("--path /small --cookie none"), (0, 0));
        assert_eq!(added("--path /small --cookie invented"), (100, 100));
        // Those of the logins before.
        assert_eq!(added("--path /small --cookie known"), (4, 0));
        assert_eq!(added("--path /logout/ --cookie none"), (100, 100));
        assert_eq!(added("--path /logout/ --cookie invented"), (100, 100));
        assert_eq!(added("--path /logout/ --cookie issued"), (4, 100));
        assert_eq!(added("--path /logout/ --cookie known"), (4, 100));
        assert_eq!(added("--path /login/ --body 20 --expect 302"), (100, 100));
        assert_eq!(added("--path /cart/ --cookie issued"), (4, 100));
    }
}

#[test]
fn chunks_and_bodies_that_the_end_of_a_connection_ends_are_read() {
    let upstream = Upstream::start("");
    for (chunked, header) in [("on", true), ("off", false)] {
        let gzip = format!("gzip on; gzip_proxied any; chunked_transfer_encoding {chunked};");
        let nginx = Nginx::start(upstream.address, &gzip, "", "");
        let request =
            b"GET /page HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n";
        let raw = raw_head(nginx.address, request);
        assert_eq!(raw.contains("Transfer-Encoding: chunked"), header, "{raw}");
        assert!(!raw.contains("Content-Length"), "{raw}");
        let said = drive(nginx.address, "--path /page --headers browser --requests 200");
        all_well(&said, 200);
        assert_eq!(count(&said, "connections"), if header { 16 } else { 200 }, "{said}");
    }
}

fn raw_head(address: std::net::SocketAddr, request: &[u8]) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    stream.write_all(request).expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it closes");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    String::from_utf8(answer[..end].to_vec()).expect("text")
}

#[test]
fn a_kept_connection_that_the_target_closes_is_opened_again() {
    let upstream = Upstream::start("");
    let nginx = Nginx::start(upstream.address, "keepalive_requests 10;", "", "");
    let said = drive(nginx.address, "--connections 1 --requests 100");
    all_well(&said, 100);
    assert_eq!(count(&said, "connections"), 10, "{said}");
}

#[test]
fn addresses_are_as_many_as_were_asked_for() {
    let upstream = Upstream::start("");
    let log = "log_format l '$remote_addr $http_x_forwarded_for'; access_log {folder}/log l;";
    let nginx = Nginx::start(upstream.address, log, "", "");
    let words = "--requests 210 --new-connections --connections 3 --addresses 7 --forwarded 30";
    all_well(&drive(nginx.address, words), 210);
    let mut lines = Vec::new();
    // nginx logs after it has answered.
    crate::site::await_that("all are logged", || {
        let text = fs::read_to_string(nginx.folder.0.join("log")).expect("a log");
        lines = text.lines().filter(|line| line.starts_with("127.1.")).map(str::to_owned).collect();
        lines.len() == 210
    });
    let column = |place: usize| -> HashSet<&str> {
        lines.iter().filter_map(|line| line.split(' ').nth(place)).collect()
    };
    assert_eq!(column(0).len(), 7);
    assert_eq!(column(1).len(), 30);
}

#[test]
fn tls_is_new_or_resumed_as_was_asked() {
    let upstream = Upstream::start("");
    let nginx = Nginx::tls(upstream.address);
    let known = drive(nginx.address, "--tls --requests 100 --cookie known --connections 4");
    all_well(&known, 100);
    let kept =
        drive(nginx.address, "--tls --requests 100 --connections 4 --path /upload --body 40000");
    all_well(&kept, 100);
    assert_eq!((count(&kept, "handshakes"), count(&kept, "resumed")), (4, 0), "{kept}");
    let big = drive(nginx.address, "--tls --requests 1 --connections 1 --path /big");
    all_well(&big, 1);
    for (words, full) in [("--connections 4", 60), ("--connections 4 --resume", 4)] {
        let said = result("handshakes", nginx.address, &format!("{words} --requests 60"));
        all_well(&said, 60);
        assert_eq!(count(&said, "handshakes"), 60, "{said}");
        assert_eq!(60 - count(&said, "resumed"), full, "{words}: {said}");
    }
}

#[test]
fn what_the_warm_up_asks_is_not_counted() {
    let upstream = Upstream::start("");
    let words = "--warmup 0.2 --seconds 0.2 --rate 1000 --cookie known --connections 2";
    let said = drive(upstream.address, words);
    all_well(&said, 200);
    assert_eq!(count(&upstream.counts()["by_path"], "/small"), 400);
    assert_eq!(count(&upstream.counts()["by_path"], "POST /login/"), 2);
}

#[test]
fn an_open_loop_counts_the_time_that_a_request_waits_to_be_sent() {
    let upstream = Upstream::start("--capacity 50");
    let said = drive(upstream.address, "--rate 100 --seconds 1 --connections 1");
    // All that was due is asked, and the last of a hundred is served after two seconds.
    all_well(&said, 100);
    assert!(said["max"].as_f64() > Some(900_000.0), "{said}");
    assert!(said["p50"].as_f64() > Some(400_000.0), "{said}");
    assert!(count(&said, "waited") + count(&said, "late") > 50, "{said}");
    // A closed loop waits for itself.
    let said = drive(upstream.address, "--requests 20 --connections 1");
    all_well(&said, 20);
    assert!(said["p50"].as_f64() > Some(15_000.0), "{said}");
}

#[test]
fn what_is_due_and_never_sent_is_said() {
    let upstream = Upstream::start("--capacity 10");
    let said = drive(upstream.address, "--rate 100 --seconds 0.5 --connections 1 --timeout 0.5");
    let failed = sum(&said["errors"]) + count(&said, "unfinished");
    assert_eq!(count(&said, "requests") + failed, 50, "{said}");
    assert!(count(&said, "unfinished") > 20, "{said}");
}

#[test]
fn watched_processes_are_told_of() {
    let upstream = Upstream::start("");
    let process = upstream.running.0.id();
    let said = drive(upstream.address, &format!("--seconds 0.5 --watch {process} --core 0"));
    let used = said["watched_cpu_seconds"][process.to_string()].as_f64().expect("a time");
    assert!(used > 0.0 && used <= said["seconds"].as_f64().expect("a time") + 0.1, "{said}");
    assert!(said["own_cpu_seconds"].as_f64() > Some(0.0), "{said}");
    assert!(said["core_busy_share"].as_f64() > Some(0.0), "{said}");
    let lasted =
        said["cpu_end"].as_f64().zip(said["cpu_start"].as_f64()).map(|(to, from)| to - from);
    assert!(
        (lasted.expect("times") - said["seconds"].as_f64().expect("a time")).abs() < 0.1,
        "{said}"
    );
    // Two that share a core leave nothing of it.
    let full = said["core_busy_share"].as_f64() > Some(0.95);
    assert!(said["saturated"] == true || !full, "{said}");
}

#[test]
fn a_counter_that_is_reset_forgets_the_records() {
    let upstream = Upstream::start("");
    drive(upstream.address, "--path /cart/ --requests 10");
    assert_eq!(count(&upstream.counts(), "records"), 10);
    said(upstream.address, b"GET /-/reset HTTP/1.1\r\nConnection: close\r\n\r\n");
    let counts = upstream.counts();
    assert_eq!((count(&counts, "records"), count(&counts, "requests")), (0, 0));
}
