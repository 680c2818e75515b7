//! Odds that operators meet: what the program says of them, and with which exit code it ends.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::raw::{Application, OK, Wire};
use crate::support::address::own_address;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A program in front of an application that the test plays.
fn before(application: &Application, folder: &Folder, drain: &str) -> Floodwall {
    let upstream = format!("http://{}", application.address.host());
    Floodwall::start(folder, &upstream, &format!("cores = 1\ndrain_timeout = '{drain}'\n"))
}

/// A request that is under way, on both sides.
fn under_way(floodwall: &Floodwall, application: &Application) -> (Wire, Wire) {
    let mut client = Wire::tcp(TcpStream::connect(floodwall.address()).expect("it listens"));
    client.send(GET);
    let mut wire = application.accept();
    wire.head();
    (client, wire)
}

#[test]
fn what_outlasts_the_drain_is_cut_counted_and_no_failure() {
    let (application, folder) = (Application::tcp(), Folder::new("odds"));
    let floodwall = before(&application, &folder, "100ms");
    let (mut client, _wire) = under_way(&floodwall, &application);
    let status = floodwall.stop();
    assert_eq!(status.code(), Some(0));
    assert_eq!(client.rest(), "");
    let log = fs::read_to_string(folder.path().join("log")).expect("a log");
    assert!(log.contains("\"message\":\"drained\",\"exchanges_cut\":1"), "{log}");
    assert!(log.contains("the state is saved"), "{log}");
}

#[test]
fn what_ends_within_the_drain_is_answered() {
    let (application, folder) = (Application::tcp(), Folder::new("odds"));
    let mut floodwall = before(&application, &folder, "30s");
    let (mut client, mut wire) = under_way(&floodwall, &application);
    floodwall.signal("-TERM");
    floodwall.await_said("draining");
    wire.send(OK);
    assert!(client.rest().ends_with("ok"));
    assert_eq!(floodwall.ended().code(), Some(0));
    let log = fs::read_to_string(folder.path().join("log")).expect("a log");
    assert!(log.contains("\"exchanges_cut\":0"), "{log}");
}

#[test]
fn a_second_signal_ends_at_once_and_saves() {
    for signals in [["-TERM", "-TERM"], ["-INT", "-TERM"], ["-TERM", "-INT"]] {
        let (application, folder) = (Application::tcp(), Folder::new("odds"));
        // Longer than the whole suite may take.
        let mut floodwall = before(&application, &folder, "1h");
        let (mut client, _wire) = under_way(&floodwall, &application);
        floodwall.signal(signals[0]);
        floodwall.await_said("draining");
        floodwall.signal(signals[1]);
        assert_eq!(floodwall.ended().code(), Some(0), "{signals:?}");
        assert_eq!(client.rest(), "");
        let log = fs::read_to_string(folder.path().join("log")).expect("a log");
        assert!(log.contains("\"exchanges_cut\":1") && log.contains("the state is saved"), "{log}");
    }
}

#[test]
fn an_address_that_cannot_be_listened_on_is_named_with_its_remedy() {
    let folder = Folder::new("odds");
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = holder.local_addr().expect("it is bound").to_string();
    for (address, remedy) in [
        (taken.as_str(), "the port is in use: stop what listens there, or give `listen` another"),
        // Of networks for documentation: no interface has them.
        ("192.0.2.1:8080", "no interface has this address: correct `listen`"),
        ("[2001:db8::1]:8080", "no interface has this address: correct `listen`"),
        ("127.0.0.1:80", "ports below 1024 need CAP_NET_BIND_SERVICE"),
    ] {
        let configuration = format!("listen = ['{}', '{address}']\nstate = ''\n", own_address());
        let refused = Floodwall::refused(Floodwall::without_rights(), &folder, &configuration);
        let (code, said) = refused;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("cannot listen on {address}: ")), "{said}");
        assert!(said.contains(remedy), "{said}");
        assert!(!said.contains("\"listening\""), "all addresses, or none: {said}");
    }
    drop(holder);
}

#[test]
fn a_state_that_cannot_be_written_is_named_with_its_remedy() {
    let folder = Folder::new("odds");
    let locked = folder.path().join("locked");
    fs::create_dir(&locked).expect("it is new");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).expect("it is ours");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("it can be written");
    for control in ["", "control = ''\n"] {
        for state in [locked.join("state"), folder.path().join("none/state"), file.join("state")] {
            let state = state.display();
            let configuration = format!("listen = '127.0.0.1:0'\nstate = '{state}'\n{control}");
            let refused = Floodwall::refused(Floodwall::without_rights(), &folder, &configuration);
            let (code, said) = refused;
            assert_eq!(code, Some(1), "{said}");
            let last = said.lines().last().expect("a line");
            assert!(last.contains(&state.to_string()) && last.contains("`state`"), "{said}");
            assert!(last.contains("folder must exist and be writable"), "{said}");
        }
    }
}

/// An old client, or a health check: no `Host`, no chunks, and a connection that ends.
#[test]
fn http_1_0_gets_what_it_can_read() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n2\r\nok\r\n0\r\nx: y\r\n\r\n";
    let (application, folder) = (Application::tcp(), Folder::new("odds"));
    let floodwall = before(&application, &folder, "30s");
    let mut wire = None;
    for (headers, answer, kept) in [
        ("", OK, false),
        ("Host: a\r\n", OK, false),
        ("Connection: keep-alive\r\n", OK, true),
        ("Host: a\r\nConnection: close\r\n", OK, false),
        // Without a length its end is that of the connection.
        ("Connection: keep-alive\r\n", CHUNKED, false),
        ("", CHUNKED, false),
        ("Connection: keep-alive\r\n", "HTTP/1.1 204 No Content\r\n\r\n", true),
    ] {
        let mut client = Wire::tcp(TcpStream::connect(floodwall.address()).expect("it listens"));
        client.send(format!("GET / HTTP/1.0\r\n{headers}\r\n"));
        let wire = wire.get_or_insert_with(|| application.accept());
        wire.head();
        wire.send(answer);
        let head = client.head();
        let lower = head.to_ascii_lowercase();
        assert!(head.starts_with("HTTP/1.0 20"), "{head}");
        assert!(!lower.contains("transfer-encoding") && !lower.contains("trailer"), "{head}");
        assert_eq!(lower.contains("connection: keep-alive"), kept, "{headers}: {head}");
        if kept {
            if !head.contains("204") {
                assert_eq!(client.exactly(2), b"ok");
            }
            client.send("GET * HTTP/1.0\r\n\r\n");
            assert!(client.rest().starts_with("HTTP/1.0 400 "));
        } else {
            assert_eq!(client.rest(), "ok", "{headers}");
        }
    }
    // What we say ourselves, too.
    let mut client = Wire::tcp(TcpStream::connect(floodwall.address()).expect("it listens"));
    client.send("GET * HTTP/1.0\r\n\r\n");
    assert!(client.rest().starts_with("HTTP/1.0 400 "));
}

/// What one site's file has no more, its spares, is saved again when a later one cannot begin.
#[test]
fn a_start_that_fails_at_one_site_saves_the_others() {
    let folder = Folder::new("odds-half");
    let at = |name: &str| folder.path().join(name);
    let site = |name: &str, state: &Path| {
        format!("[[site]]\nname = '{name}'\nhosts = '{name}'\nstate = '{}'\n", state.display())
    };
    let sites = |second: &Path| {
        let top = "listen = '127.0.0.1:0'\ncontrol = ''\n";
        format!("{top}{}{}", site("a", &at("a")), site("b", second))
    };
    let refused = |configuration: &str| {
        let (code, said) = Floodwall::refused(Floodwall::program(), &folder, configuration);
        assert_eq!(code, Some(1), "{said}");
        let left = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<String> = left.map(|name| name.into_string().unwrap()).collect();
        assert!(!left.iter().any(|name| name.contains(".journal.")), "not ended well: {left:?}");
    };
    refused(&sites(&at("none").join("b")));
    assert!(at("a").exists());
    refused(&format!(
        "{}[access_log]\nformat = 'json'\nfile = '{}'\n",
        sites(&at("b")),
        at("none").join("log").display()
    ));
}
