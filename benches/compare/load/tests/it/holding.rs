//! Connections that are kept open.

use std::io::{BufRead, BufReader};

use crate::site::{Nginx, Upstream, count, hold};

fn line(out: &mut impl BufRead) -> serde_json::Value {
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    serde_json::from_str(&line).expect("JSON")
}

#[test]
fn as_many_are_open_as_were_asked_for_until_standard_input_ends() {
    let upstream = Upstream::start("");
    let mut held = hold(upstream.address, "--connections 300 --addresses 3");
    let mut out = BufReader::new(held.stdout.take().expect("a pipe"));
    assert_eq!(count(&line(&mut out), "open"), 300);
    assert_eq!(count(&upstream.counts(), "requests"), 300);
    let process = upstream.running.0.id();
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).expect("it runs").count();
    assert!(descriptors > 300, "{descriptors}");
    drop(held.stdin.take());
    assert_eq!(count(&line(&mut out), "still_open"), 300);
    assert!(held.wait().expect("it ends").success());
}

#[test]
fn those_that_the_target_has_closed_are_not_open() {
    let upstream = Upstream::start("");
    let nginx = Nginx::start(upstream.address, "keepalive_timeout 1s;", "", "");
    let mut held = hold(nginx.address, "--connections 20 --seconds 3");
    let mut out = BufReader::new(held.stdout.take().expect("a pipe"));
    assert_eq!(count(&line(&mut out), "open"), 20);
    assert_eq!(count(&line(&mut out), "still_open"), 0);
    assert!(held.wait().expect("it ends").success());
}

#[test]
fn it_fails_where_not_all_can_be_opened() {
    let upstream = Upstream::start("");
    let nginx = Nginx::start(upstream.address, "keepalive_timeout 0;", "", "");
    let mut held = hold(nginx.address, "--connections 2");
    assert!(!held.wait().expect("it ends").success());
}
