//! Servers are checked: a failing one is left out before an exchange is lost to it.

use crate::raw::{Application, Wire, values};
use crate::support::backend::{Backend, Manner};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::load::Target;
use crate::support::sending::send;

use super::{ask, before, get, of, of_server};

const QUICK: &str = "[health]\npath = '/healthz/?full'\ninterval = '100ms'\ntimeout = '300ms'\n\
                     healthy = 2\nunhealthy = 2\n[balance]\nslow_start = '0s'\neject_after = 0\n";

#[test]
fn a_server_that_fails_its_checks_gets_nothing_until_it_passes_them() {
    for manner in [Manner::Failing, Manner::Hanging, Manner::Garbage, Manner::Closing] {
        let servers = [Backend::start(), Backend::start()];
        let floodwall = before(&[&servers[0], &servers[1]], QUICK);
        let share = || of_server(&ask(&floodwall, 10), &servers[0]);
        assert_eq!(share(), 5, "until a check has failed all are taken to be well");
        servers[0].set(manner);
        let asked = servers[0].number();
        await_that("it is not checked", || servers[0].number() >= asked + 3);
        assert_eq!(share(), 0, "{manner:?}");
        let others = servers[0].requests().split_off(asked);
        assert!(others.iter().all(|line| line == "GET /healthz/?full"), "{others:?}");
        servers[0].set(Manner::Well);
        await_that("it does not come back", || share() == 5);
    }
}

#[test]
fn a_check_is_a_request_like_any_other_with_the_host_that_is_wished() {
    let application = Application::tcp();
    let configuration = format!(
        "upstream = '{}'\n[health]\npath = '/healthz/'\nhost = 'www.example.org'\ninterval = '100ms'",
        application.address
    );
    let _floodwall = of(&configuration, 2);
    let answers = [
        ("Set-Cookie: sessionid=0123456789abcdef0123456789abcdef\r\n", vec![]),
        ("", vec!["sessionid=0123456789abcdef0123456789abcdef"]),
        // Once rotated, the new one is sent.
        (
            "Set-Cookie: sessionid=fedcba9876543210fedcba9876543210; HttpOnly\r\n",
            vec!["sessionid=0123456789abcdef0123456789abcdef"],
        ),
        ("", vec!["sessionid=fedcba9876543210fedcba9876543210"]),
        (
            "Set-Cookie: sessionid=; Max-Age=0\r\n",
            vec!["sessionid=fedcba9876543210fedcba9876543210"],
        ),
        ("", vec![]),
    ];
    for (cookie, sent) in answers {
        // Once in the process, though there are two cores; on a connection of its own.
        let mut wire: Wire = application.accept();
        let head = wire.head();
        assert!(head.starts_with("GET /healthz/ HTTP/1.1\r\n"), "{head}");
        assert_eq!(values(&head, "host"), ["www.example.org"]);
        assert_eq!(values(&head, "connection"), ["close"]);
        assert!(values(&head, "user-agent")[0].starts_with("floodwall/"), "{head}");
        assert_eq!(values(&head, "cookie"), sent);
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{cookie}\r\n"));
        assert_eq!(wire.rest(), "");
    }
}

/// Three servers share their sessions: who is checked first has it for all.
#[test]
fn the_checks_of_all_servers_share_one_session() {
    let servers: Vec<Application> = (0..3).map(|_| Application::tcp()).collect();
    let urls: Vec<String> = servers.iter().map(|one| format!("'{}'", one.address)).collect();
    let floodwall = of(
        &format!("upstream = [{}]\n[health]\npath = '/h/'\ninterval = '1h'", urls.join(", ")),
        1,
    );
    let mut first = servers[0].accept();
    first.head();
    assert!(servers[1..].iter().all(Application::is_left_alone), "they wait for the first answer");
    let key = "0123456789abcdef0123456789abcdef";
    first.send(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: sessionid={key}\r\n\r\n"
    ));
    for server in &servers[1..] {
        let mut wire = server.accept();
        assert_eq!(values(&wire.head(), "cookie"), [format!("sessionid={key}")]);
        wire.send("HTTP/1.1 204 No Content\r\n\r\n");
    }
    floodwall.await_rest();
    let (keys, _) = floodwall.shield.guard.sizes();
    assert_eq!(keys, 1, "the ledger knows it");
}

/// The server has as many connections as it may have, checks included.
#[test]
fn a_check_takes_a_place() {
    let server = Backend::start();
    let configuration =
        format!("upstream = '{}'\n{QUICK}[upstream_limits]\nconnections = 1\n", server.url());
    let floodwall = of(&configuration, 2);
    for _ in 0..40 {
        assert_eq!(get(&floodwall, "/").status, 200);
    }
    await_that("it is not checked", || {
        server.requests().iter().filter(|line| **line == "GET /healthz/?full").count() >= 3
    });
    assert_eq!(server.most_open(), 1);
}

#[test]
fn the_log_says_when_a_server_goes_down_and_why_and_when_it_is_back() {
    let (away, well) = (Backend::start(), Backend::start());
    let (address, url) = (away.address(), away.url());
    let folder = Folder::new("servers");
    let configuration = format!(
        "listen = '127.0.0.1:0'\nstate = ''\nupstream = ['{url}', '{}']\ncores = 1\n[balance]\neject_after = 2\neject_for = '100ms'\n",
        well.url()
    );
    let mut floodwall = Floodwall::start_by_file(&folder, &configuration);
    drop(away);
    let target: Target = floodwall.target();
    let ask = || assert_eq!(send(target, "GET /", "").status, 200);
    for _ in 0..8 {
        ask();
    }
    floodwall.await_said("\"message\":\"server down\"");
    let why = "exchanges failed 2 times in a row: connect";
    let down = floodwall.log();
    let lines: Vec<&str> = down.lines().filter(|line| line.contains("server down")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(&url) && lines[0].contains(why), "{lines:?}");
    let _back = Backend::at(address);
    await_that("it is not told that it is back", || {
        ask();
        floodwall.log().contains("\"message\":\"server up\"")
    });
}
