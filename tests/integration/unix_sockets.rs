//! Listening on Unix sockets: their files, who may connect, and genuine nginx in front.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use crate::raw::{Wire, values};
use crate::support::address::own_address;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::front::Front;
use crate::support::recorder::Recorder;
use crate::support::sending::{send, send_from, text};

fn listen(path: &Path) -> String {
    format!("unix:{}", path.display())
}

fn ask(path: &Path, request: &str) -> String {
    let mut wire = Wire::unix(UnixStream::connect(path).expect("somebody listens"));
    wire.send(request);
    let head = wire.head();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length = values(&head, "content-length")[0].parse().expect("a length");
    String::from_utf8(wire.exactly(length)).expect("text")
}

/// What the README says of nginx in front, run by nginx.
#[test]
fn nginx_in_front_as_the_readme_has_it() {
    let readme = include_str!("../../README.md");
    let (_, snippet) = readme.split_once("```nginx\n").expect("a snippet");
    let (snippet, _) = snippet.split_once("```").expect("its end");
    let folder = Folder::new("nginx");
    let socket = folder.path().join("http.sock");
    let place = folder.path().to_str().expect("text");
    fs::create_dir(folder.path().join("static")).expect("it is new");
    fs::write(folder.path().join("static/style.css"), "b {}").expect("it can be written");
    let mut snippet = snippet.to_owned();
    let address = own_address();
    for (written, here) in [
        ("/run/floodwall/http.sock", socket.to_str().expect("text").to_owned()),
        ("listen 80", format!("listen {address}")),
        ("/srv/site", place.to_owned()),
    ] {
        assert!(snippet.contains(written), "{snippet}");
        snippet = snippet.replace(written, &here);
    }
    let application = Recorder::echo();
    let budget = "[budget.anonymous]\nclient = { rate = '1/d', burst = 2 }\n";
    let floodwall = Floodwall::start_at(&folder, application.upstream(), budget, &listen(&socket));
    assert_eq!(floodwall.address(), listen(&socket));
    let nginx = Front::nginx(&folder, address, &snippet);

    let answer = send(nginx.target(), "GET /static/style.css", "");
    assert_eq!((answer.status, text(&answer)), (200, "b {}".to_owned()));
    assert_eq!(application.seen().len(), 0, "nginx has its files itself");
    let claims = "GET /a?b=%20\nX-Forwarded-For: 192.0.2.66\nForwarded: for=192.0.2.66\n\
                  X-Real-IP: 192.0.2.66\nX-Forwarded-Proto: https";
    let answer = text(&send(nginx.target(), claims, ""));
    assert!(answer.starts_with("GET /a?b=%20\n"), "{answer}");
    assert_eq!(values(&answer, "host"), [address.to_string()]);
    assert_eq!(values(&answer, "x-forwarded-for"), ["127.0.0.1, 127.0.0.1"]);
    assert_eq!(values(&answer, "x-forwarded-proto"), ["http"]);
    assert!(!answer.contains("192.0.2.66"), "{answer}");
    // Each client of nginx has a name, and a budget of its own.
    let source = |last| format!("127.0.0.{last}").parse().expect("an address");
    for client in [2, 3] {
        let answer = send_from(source(client), nginx.target(), "GET /", "");
        let expected = format!("127.0.0.{client}, 127.0.0.1");
        assert_eq!(values(&text(&answer), "x-forwarded-for"), [expected]);
    }
    assert!(floodwall.stop().success());
    assert!(!socket.exists());
}

#[test]
fn the_peer_is_believed() {
    let folder = Folder::new("unix");
    let socket = folder.path().join("s");
    let application = Recorder::echo();
    let _floodwall = Floodwall::start_at(&folder, application.upstream(), "", &listen(&socket));
    let said = ask(
        &socket,
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n\
                    X-Forwarded-Proto: https\r\nX-Real-IP: 192.0.2.7\r\n\r\n",
    );
    assert_eq!(values(&said, "x-forwarded-for"), ["192.0.2.7, 127.0.0.1"]);
    assert_eq!(values(&said, "x-forwarded-proto"), ["https"]);
    assert_eq!(values(&said, "x-real-ip"), ["192.0.2.7"]);
}

/// As what the loopback address asks itself would be.
#[test]
fn who_names_no_client_is_not_exempt() {
    let folder = Folder::new("unix");
    let socket = folder.path().join("s");
    let application = Recorder::start(|request| {
        let key = "0123456789abcdefghijklmnopqrstuv";
        let set = if request.method == "POST" {
            format!("Set-Cookie: sessionid={key}\r\n")
        } else {
            String::new()
        };
        format!("HTTP/1.1 200 OK\r\n{set}Content-Length: 0\r\n\r\n")
    });
    let exempt = "exempt = ['127.0.0.1']\n[budget.login]\nclient = { rate = '1/d', burst = 2 }\n\
                  challenge = 'none'";
    let _floodwall = Floodwall::start_at(&folder, application.upstream(), exempt, &listen(&socket));
    let answer = |named: &str| {
        let mut wire = Wire::unix(UnixStream::connect(&socket).expect("it listens"));
        wire.send(format!("POST /login/ HTTP/1.1\r\nHost: a\r\n{named}Content-Length: 0\r\n\r\n"));
        wire.head().split(' ').nth(1).expect("a status").to_owned()
    };
    assert_eq!([answer(""), answer(""), answer("")], ["200", "200", "429"]);
    let named = "X-Forwarded-For: 127.0.0.1\r\n";
    assert_eq!([answer(named), answer(named)], ["200", "200"]);
}

#[test]
fn only_those_with_permission_can_connect() {
    let application = Recorder::echo();
    for (configuration, mode) in
        [("", 0o660), ("unix_mode = '0666'\n", 0o666), ("unix_mode = '600'\n", 0o600)]
    {
        let folder = Folder::new("unix");
        let socket = folder.path().join("s");
        let floodwall =
            Floodwall::start_at(&folder, application.upstream(), configuration, &listen(&socket));
        let found = fs::metadata(&socket).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(found, mode, "{configuration}");
        drop(floodwall);
    }
}

#[test]
fn the_file_of_a_process_that_is_gone_is_replaced_and_a_listeners_is_not() {
    let folder = Folder::new("unix");
    let socket = folder.path().join("s");
    let application = Recorder::echo();
    let file = format!(
        "listen = '{}'\nupstream = '{}'\nstate = ''\n",
        listen(&socket),
        application.upstream()
    );
    Floodwall::start_by_file(&folder, &file).kill();
    assert!(socket.exists(), "nobody was there to remove it");
    let floodwall = Floodwall::start_by_file(&folder, &file);
    ask(&socket, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");

    let (code, said) = Floodwall::refused(Floodwall::program(), &folder, &file);
    assert_eq!(code, Some(1), "{said}");
    let name = listen(&socket);
    assert!(said.contains(&name) && said.contains("in use by another process"), "{said}");
    ask(&socket, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");

    // Somebody else's by now: it stays.
    fs::remove_file(&socket).expect("it is there");
    let other = UnixListener::bind(&socket).expect("the path is free");
    assert!(floodwall.stop().success());
    assert!(UnixStream::connect(&socket).is_ok());
    drop(other);
}

/// Two starts in the same moment: one of them listens, and keeps its file.
#[test]
fn of_many_starts_at_once_one_listens() {
    let folder = Folder::new("unix");
    let socket = folder.path().join("s");
    for round in 0..200 {
        if round % 2 == 1 {
            drop(UnixListener::bind(&socket).expect("the path is free"));
        }
        let together = Barrier::new(8);
        let bound: Vec<_> = thread::scope(|scope| {
            let start = || {
                together.wait();
                floodwall::proxy::unix::bind(&socket, 0o600, 16)
            };
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            starts.into_iter().filter_map(|start| start.join().unwrap().ok()).collect()
        });
        assert_eq!(bound.len(), 1);
        assert!(UnixStream::connect(&socket).is_ok(), "its file is there");
        drop(bound);
        assert!(!socket.exists());
    }
}

#[test]
fn what_is_no_socket_is_left_alone_and_every_mistake_is_named() {
    let folder = Folder::new("unix");
    let file = folder.path().join("precious");
    fs::write(&file, "precious").expect("it can be written");
    let inode = fs::metadata(&file).expect("it is there").ino();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    let locked = folder.path().join("locked");
    fs::create_dir(&locked).expect("it is new");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).expect("it is ours");
    for (path, remedy) in [
        (file.clone(), "no socket"),
        (link, "no socket"),
        (folder.path().to_owned(), "no socket"),
        (folder.path().join("none/s"), "no such directory"),
        (file.join("s"), "no such directory"),
        (locked.join("s"), "write to the directory"),
    ] {
        let configuration = format!("listen = '{}'\nstate = ''\n", listen(&path));
        let (code, said) = Floodwall::refused(Floodwall::without_rights(), &folder, &configuration);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&listen(&path)) && said.contains(remedy), "{said}");
    }
    assert_eq!(fs::read_to_string(&file).expect("it is there"), "precious");
    assert_eq!(fs::metadata(&file).expect("it is there").ino(), inode);
}
