//! One process takes over from another under the eyes of clients: nothing fails, nothing is
//! forgotten.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::raw::Application;
use crate::support::address::own_address;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::recorder::Recorder;
use crate::support::shop::{ask, connect, session_of, shop, status};

const TIGHT: &str = "[session]\nunknown = 'drop'\n[budget.anonymous]\n\
                     client = { rate = '1/d', burst = 3 }\nsite = { rate = '1/d', burst = 3 }\n";

/// To be listened on by one process after the other.
fn port() -> String {
    own_address().to_string()
}

/// curl asks ten thousand times on a few connections, and new connections come all the while, as
/// the program is replaced three times by a new file.
#[test]
fn no_request_fails_while_the_program_is_replaced() {
    let folder = Folder::new("upgrade-load");
    let upstream = Recorder::start(|_| "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned());
    let program = folder.path().join("floodwall");
    let put = |program: &std::path::Path| {
        let beside = program.with_extension("new");
        fs::copy(env!("CARGO_BIN_EXE_floodwall"), &beside).unwrap();
        fs::rename(beside, program).unwrap();
    };
    put(&program);
    let address = port();
    let mut floodwall =
        Floodwall::start_program(&program, &folder, upstream.upstream(), "", &address);
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..4)
        .map(|index| {
            let (address, stop, asked) = (address.clone(), Arc::clone(&stop), Arc::clone(&asked));
            thread::spawn(move || {
                let mut wire = connect(&address);
                while !stop.load(Ordering::SeqCst) {
                    let head = ask(&mut wire, "a", "/", "x=1");
                    assert_eq!(status(&head), "200");
                    asked.fetch_add(1, Ordering::SeqCst);
                    if index % 2 == 0 || head.contains("connection: close") {
                        wire = connect(&address);
                    }
                }
            })
        })
        .collect();
    let said = folder.path().join("curl");
    let mut curl = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}\n",
        ])
        .arg(format!("http://{address}/[1-10000]"))
        .stdout(File::create(&said).unwrap())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("curl runs");
    for _ in 0..3 {
        let before = asked.load(Ordering::SeqCst);
        await_that("clients ask on", || asked.load(Ordering::SeqCst) > before + 100);
        put(&program);
        floodwall.upgrade();
        let running = format!("/proc/{}/exe", floodwall.last());
        assert_eq!(fs::metadata(running).unwrap().ino(), fs::metadata(&program).unwrap().ino());
    }
    assert!(curl.wait().unwrap().success());
    stop.store(true, Ordering::SeqCst);
    clients.into_iter().for_each(|client| client.join().expect("no request failed"));
    let said = fs::read_to_string(said).unwrap();
    assert_eq!(said.lines().filter(|line| *line == "200").count(), 10_000);
    assert_eq!(said.lines().count(), 10_000);
    floodwall.await_ended();
    assert_eq!(floodwall.log().matches("the predecessor has gone").count(), 2 + 1);
}

#[test]
fn sessions_and_debts_are_carried_over() {
    let folder = Folder::new("upgrade-memory");
    let shop = shop();
    let address = port();
    let mut floodwall = Floodwall::start_at(&folder, shop.upstream(), TIGHT, &address);
    let mut wire = connect(&address);
    let cookie = session_of(&ask(&mut wire, "a", "/", "x=1")).unwrap();
    assert_eq!(status(&ask(&mut wire, "a", "/", "x=1")), "200");
    for left in [1, 0, 0] {
        floodwall.upgrade();
        // Each on a connection of its own: one that the old process has taken is its last.
        let ask = |cookie: &str| ask(&mut connect(&address), "a", "/", cookie);
        assert_eq!(status(&ask(&cookie)), "200", "a session is lost");
        for _ in 0..left {
            assert_eq!(status(&ask("x=1")), "200");
        }
        assert_eq!(status(&ask("x=1")), "429", "a budget is refilled");
    }
    floodwall.await_ended();
    // One process has the state, and a second start says so.
    let state = folder.path().join("state");
    let second = Command::new(env!("CARGO_BIN_EXE_floodwall"))
        .args(["run", "--upstream", shop.upstream(), "--listen", &port(), "--state"])
        .arg(&state)
        .output()
        .unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("state.control is in use by another floodwall"), "{said}");
    floodwall.stop_last();
    let floodwall = Floodwall::start_at(&folder, shop.upstream(), TIGHT, &address);
    let mut wire = connect(&address);
    assert_eq!(status(&ask(&mut wire, "a", "/", &cookie)), "200", "the last one has saved it");
    assert_eq!(status(&ask(&mut wire, "a", "/", "x=1")), "429");
    assert!(!floodwall.log().contains("damaged"));
}

/// What the old process still has to learn, the new one learns from it.
#[test]
fn a_session_that_the_old_process_learns_of_late_is_known_to_the_new_one() {
    let folder = Folder::new("upgrade-late");
    let application = Application::tcp();
    let address = port();
    let upstream = match &application.address {
        floodwall::proxy::settings::Address::Tcp { port, .. } => format!("http://127.0.0.1:{port}"),
        floodwall::proxy::settings::Address::Tls { .. }
        | floodwall::proxy::settings::Address::Unix(_) => {
            unreachable!("it is TCP")
        }
    };
    let mut floodwall = Floodwall::start_at(&folder, &upstream, TIGHT, &address);
    let mut slow = connect(&address);
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut wire = application.accept();
    wire.head();
    floodwall.upgrade();
    // Two are left: the one that runs is held, there as here.
    for (number, expected) in [(1, "200"), (2, "200"), (3, "429")] {
        let mut client = connect(&address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        if expected == "200" {
            let mut wire = application.accept();
            wire.head();
            wire.send(format!(
                "HTTP/1.1 200 OK\r\nSet-Cookie: sessionid={number:032x}; Path=/\r\n\
                 Connection: close\r\nContent-Length: 0\r\n\r\n"
            ));
        }
        assert_eq!(status(&client.head()), expected, "{number}");
    }
    let late = "f".repeat(32);
    wire.send(format!(
        "HTTP/1.1 200 OK\r\nSet-Cookie: sessionid={late}; Path=/\r\nContent-Length: 0\r\n\r\n"
    ));
    let head = slow.head();
    assert_eq!(status(&head), "200");
    assert!(head.contains("connection: close"), "{head}");
    let mut client = connect(&address);
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: sessionid={late}\r\n\r\n"));
    let mut wire = application.accept();
    assert!(wire.head().contains(&late), "the new process does not know the session");
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(status(&client.head()), "200");
    floodwall.await_ended();
}

#[test]
fn a_successor_that_fails_leaves_everything_as_it_was() {
    let folder = Folder::new("upgrade-failed");
    let shop = shop();
    let address = port();
    let mut floodwall = Floodwall::start_at(&folder, shop.upstream(), TIGHT, &address);
    let mut wire = connect(&address);
    let cookie = session_of(&ask(&mut wire, "a", "/", "x=1")).unwrap();
    // One that cannot read its configuration, one that breaks off in the middle, one at the end.
    floodwall.configure("[[[");
    let (well, said) = floodwall.tell(&["upgrade"]);
    assert!(!well && said.contains("its log says why; this one goes on"), "{said}");
    for read in [0, 1 << 20] {
        let mut stream = UnixStream::connect(floodwall.control()).unwrap();
        stream.write_all(b"{\"do\":\"take-over\",\"sites\":[\"default\"]}\n").unwrap();
        let mut bytes = vec![0; read];
        let mut length = 0;
        // Until the frame that says that all is there.
        while read > 0 && !bytes[..length].ends_with(&[2, 0, 0, 0, 0, 0, 0, 0, 0]) {
            length += stream.read(&mut bytes[length..]).unwrap();
        }
        let failed = floodwall.log().matches("the successor has failed").count();
        drop(stream);
        await_that("it notices", || {
            floodwall.log().matches("the successor has failed").count() > failed
        });
    }
    assert_eq!(status(&ask(&mut wire, "a", "/", &cookie)), "200");
    for expected in ["200", "200", "429"] {
        assert_eq!(status(&ask(&mut connect(&address), "a", "/", "x=1")), expected);
    }
    // It has taken its state back, and a real successor still can have it.
    floodwall.configure(TIGHT);
    await_that("it is ready for the next", || floodwall.tell(&["reload"]).0);
    floodwall.upgrade();
    assert_eq!(status(&ask(&mut connect(&address), "a", "/", &cookie)), "200");
    assert_eq!(status(&ask(&mut connect(&address), "a", "/", "x=1")), "429");
    floodwall.await_ended();
    floodwall.stop_last();
    let floodwall = Floodwall::start_at(&folder, shop.upstream(), TIGHT, &address);
    assert_eq!(status(&ask(&mut connect(&address), "a", "/", &cookie)), "200");
    assert!(!floodwall.log().contains("cold\""), "{}", floodwall.log());
}
