//! Attacks on genuine Django through Floodwall, by somebody who has read its source. Whatever is
//! tried, the store grows by no more than the spares and what the budgets paid for.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::django::{Django, Release};
use crate::support::inside::{Inside, await_that};
use crate::support::load::Target;
use crate::support::load::http::{Connection, Request, Response};

/// Three sessions for a client from each budget, and none back within a test. Nobody waits for a
/// key, so that whoever would is at the end of its patience at once.
const THREE: &str = "[budget.anonymous]\nclient = { rate = '1/d', burst = 3 }\n\
                     site = { rate = '1/d', burst = 300 }\n\
                     [budget.logout]\nclient = { rate = '1/d', burst = 3 }\n\
                     site = { rate = '1/d', burst = 300 }\n\
                     [session]\nkey_wait = '0s'\n";

/// Sends a head (`\n` stands for the end of a line) and a body as they are.
fn send(target: Target, head: &str, body: &str) -> Response {
    let bytes = raw(target, head, body);
    let deadline = Instant::now() + Duration::from_secs(30);
    Connection::new(target, Ipv4Addr::LOCALHOST)
        .exchange(&Request { bytes, head: head.starts_with("HEAD ") }, deadline)
        .expect("an answer")
}

fn raw(target: Target, head: &str, body: &str) -> Vec<u8> {
    let (line, headers) = head.split_once('\n').unwrap_or((head, ""));
    let mut wire = format!("{line} HTTP/1.1\r\nHost: {target}\r\n");
    for header in headers.lines() {
        wire.extend([header, "\r\n"]);
    }
    wire.extend(["\r\n", body]);
    wire.into_bytes()
}

/// The session key that an answer sets.
fn key(response: &Response) -> Option<&str> {
    let line = response.header("set-cookie").find_map(|line| line.strip_prefix("sessionid="))?;
    line.split(';').next().filter(|value| value.len() == 32)
}

/// A page that somebody is still uploading to, with this session key.
fn hold(floodwall: &Inside, key: &str) -> TcpStream {
    let target = floodwall.target();
    let head = format!("POST /echo/\nCookie: sessionid={key}\nContent-Length: 10");
    let mut stream = TcpStream::connect(target.address()).expect("it listens");
    stream.write_all(&raw(target, &head, "")).expect("it reads");
    await_that("the upload is not admitted", || floodwall.shield.guard.under_way().keys == 1);
    stream
}

/// An upload that is never finished keeps a paid key busy, so that logouts with it lose patience.
/// Only one of them is free.
#[test]
fn logouts_that_overtake_a_stalled_upload_need_a_budget() {
    for release in [Release::V1_4_21, Release::V1_7_9] {
        if !release.available() {
            continue;
        }
        let site = Django::start_with(release, &["--threads", "16"]);
        let floodwall = Inside::start(&site.upstream(), THREE);
        let target = floodwall.target();
        let paid = send(target, "GET /write/", "");
        let paid = key(&paid).expect("a session").to_owned();
        let stalled = hold(&floodwall, &paid);
        let logout = format!("GET /accounts/logout/\nCookie: sessionid={paid}");
        thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| send(target, &logout, ""));
            }
        });
        drop(stalled);
        floodwall.await_rest();
        let rows = site.rows() - floodwall.spares();
        // The key's own, the one that is free, and three of the budget for logouts.
        assert!(rows <= 1 + 1 + 3, "Django {release}: {rows} rows");
    }
}

/// Where no rule names the logout, sixteen of one key are under way at once, and each brings
/// another key. One of those takes the place of the paid key, but not for ever: an attacker who
/// goes on with each of them gains no more than the debt.
#[test]
fn a_paid_key_does_not_multiply_where_no_rule_names_the_view() {
    for release in [Release::V1_4_21, Release::V1_7_9] {
        if !release.available() {
            continue;
        }
        let site = Django::start_with(release, &["--threads", "16"]);
        let configuration = format!("profile_rules = false\n{THREE}");
        let floodwall = Inside::start(&site.upstream(), &configuration);
        let target = floodwall.target();
        let first = send(target, "GET /write/", "");
        let mut keys = vec![key(&first).expect("a session").to_owned()];
        let mut next = 0;
        while let Some(current) = keys.get(next).filter(|_| next < 64).cloned() {
            next += 1;
            let logout = format!("GET /accounts/logout/\nCookie: sessionid={current}");
            let answers: Vec<Response> = thread::scope(|scope| {
                let logouts: Vec<_> =
                    (0..16).map(|_| scope.spawn(|| send(target, &logout, ""))).collect();
                logouts.into_iter().map(|logout| logout.join().expect("an answer")).collect()
            });
            keys.extend(answers.iter().filter_map(|answer| key(answer).map(str::to_owned)));
        }
        floodwall.await_rest();
        // Three keys of the budget, and two rounds at most for each.
        let rows = site.rows();
        assert!(rows <= 3 * 2 * 16, "Django {release}: {rows} rows");
        println!("Django {release}: {rows} rows after {next} rounds");
    }
}

/// A view that answers many times without writing and then writes, under as many names as there
/// are methods: what passes because its class is clean, with the budget spent, is paid off before
/// more passes.
#[test]
fn views_that_turn_from_clean_to_creating_gain_no_more_than_pass_at_once() {
    let release = Release::V1_7_9;
    if !release.available() {
        return;
    }
    let site = Django::start_with(release, &["--threads", "16"]);
    let floodwall = Inside::start(&site.upstream(), THREE);
    let target = floodwall.target();
    let add = |method: &str, bytes: u32| {
        let csrf = "Cookie: csrftoken=abc\nX-CSRFToken: abc";
        send(target, &format!("{method} /messages/add/?bytes={bytes}\n{csrf}"), "").status
    };
    let methods = ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "XYZ"];
    for method in methods {
        for _ in 0..8 {
            assert_eq!(add(method, 16), 200);
        }
    }
    // Messages of that size are kept in the session.
    while add("GET", 5000) == 200 {}
    for method in methods {
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| add(method, 5000));
            }
        });
    }
    floodwall.await_rest();
    let rows = site.rows();
    assert!(rows <= 3 + 32, "{rows} rows");
}
