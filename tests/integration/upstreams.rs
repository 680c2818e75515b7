//! Several servers: how they share the exchanges, what becomes of those of a server that fails,
//! and how many connections each has.

mod early;
mod health;
mod limit;
mod lingering;
mod sharing;

use std::net::Ipv4Addr;

use floodwall::config::Config;

use crate::support::backend::Backend;
use crate::support::inside::Inside;
use crate::support::load::http::{Connection, Response};
use crate::support::sending::{send, send_on};

/// In front of these servers, with this configuration besides, on one core.
fn before(servers: &[&Backend], configuration: &str) -> Inside {
    let urls: Vec<String> = servers.iter().map(|server| format!("'{}'", server.url())).collect();
    of(&format!("upstream = [{}]\n{configuration}", urls.join(", ")), 1)
}

/// As the configuration has it, on so many cores.
fn of(configuration: &str, cores: usize) -> Inside {
    Inside::before(configuration, |settings| settings.cores = cores)
}

/// A client that keeps its connection.
fn client(floodwall: &Inside) -> Connection {
    Connection::new(floodwall.target(), Ipv4Addr::LOCALHOST)
}

/// As many requests one after the other; who answered each.
fn ask(floodwall: &Inside, number: usize) -> Vec<String> {
    let mut client = client(floodwall);
    let answers = (0..number).map(|_| send_on(&mut client, floodwall.target(), "GET /", ""));
    let servers = answers.map(|answer| {
        assert_eq!(answer.status, 200);
        body(&answer)
    });
    servers.collect()
}

fn get(floodwall: &Inside, path: &str) -> Response {
    send(floodwall.target(), &format!("GET {path}"), "")
}

fn body(answer: &Response) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// How many of the answers are a server's.
fn of_server(answers: &[String], server: &Backend) -> usize {
    let address = server.address().to_string();
    answers.iter().filter(|answer| **answer == address).count()
}

#[test]
fn what_is_in_force_is_said() {
    let configuration = "upstream = ['http://a:1', { url = 'http://b:2', weight = 3 }]\n\
                         [health]\npath = '/healthz/'\n[upstream_limits]\nconnections = 7\n";
    let config = Config::parse("test", configuration.as_bytes(), Default::default());
    let said = config.expect("it is good").summary().to_string();
    for line in [
        "  upstream  http://a:1, http://b:2 (weight 3)\n",
        "  balance   round-robin, ejected for 10s after 5 failures in a row, slow start 10s\n",
        "  health    GET /healthz/ each 5s in 2s, down after 3 failures, up after 2 answers",
        "  limit     7 connections to each server; 256 wait 5s\n",
    ] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
}
