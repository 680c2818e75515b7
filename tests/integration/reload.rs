//! A new configuration put in force under the eyes of clients.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::{fs, thread};

use crate::raw::{Application, OK};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::recorder::Recorder;
use crate::support::shop::{ask, connect, session_of, shop, status};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

fn budget(rate: &str, burst: u32) -> String {
    format!(
        "[budget.anonymous]\nclient = {{ rate = '{rate}', burst = {burst} }}\n\
         site = {{ rate = '{rate}', burst = {burst} }}\n"
    )
}

#[test]
fn the_connection_stays_and_the_next_request_meets_the_new_rules() {
    let folder = Folder::new("reload-rules");
    let shop = shop();
    let floodwall = Floodwall::start(&folder, shop.upstream(), "");
    let socket = fs::symlink_metadata(floodwall.control()).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    let mut wire = connect(floodwall.address());
    assert_eq!(status(&ask(&mut wire, "a", "/gone/", "x=1")), "200");
    let rule =
        "[[rule]]\nname = 'gone'\npath = '/gone/'\naction = 'answer'\nanswer = { status = 410 }";
    floodwall.configure(rule);
    assert_eq!(floodwall.tell(&["reload"]), (true, "the configuration is in force\n".into()));
    assert_eq!(status(&ask(&mut wire, "a", "/gone/", "x=1")), "410");
    floodwall.configure("");
    floodwall.signal("-HUP");
    await_that("SIGHUP reloads", || floodwall.log().matches("reloaded: ").count() == 2);
    assert_eq!(status(&ask(&mut wire, "a", "/gone/", "x=1")), "200");
    assert_eq!(floodwall.log().matches("floodwall starts").count(), 1);
}

#[test]
fn a_bad_one_is_refused_as_check_does_and_the_old_one_stays() {
    let folder = Folder::new("reload-refused");
    let shop = shop();
    let floodwall = Floodwall::start(&folder, shop.upstream(), &budget("1/h", 1));
    floodwall.configure("[sesion]\nlifetime = 14\n");
    let (well, said) = floodwall.tell(&["reload"]);
    assert!(!well);
    assert!(said.contains("floodwall.toml:1:2: unknown key \"sesion\""), "{said}");
    assert!(said.contains("did you mean `session`?"), "{said}");
    assert!(floodwall.log().contains("not reloaded: the old configuration stays"));
    let mut wire = connect(floodwall.address());
    let statuses: Vec<String> =
        (0..3).map(|_| status(&ask(&mut wire, "a", "/", "x=1")).to_owned()).collect();
    assert_eq!(statuses, ["200", "429", "429"]);
}

#[test]
fn what_only_a_restart_changes_is_named() {
    let folder = Folder::new("reload-restart");
    let shop = shop();
    let floodwall = Floodwall::start(&folder, shop.upstream(), "");
    let other = "unix_mode = '0600'\ncores = 1\n[session]\ncapacity = 5000\n[log]\nlevel = 'debug'";
    floodwall.configure(other);
    // As long as it is so.
    for _ in 0..2 {
        let (well, said) = floodwall.tell(&["reload"]);
        assert!(well);
        let told = "the configuration is in force; only a restart changes: ";
        let keys = said.strip_prefix(told).unwrap_or_else(|| panic!("{said}"));
        assert_eq!(keys.trim(), "unix_mode, cores, log.level, session.capacity");
    }
    floodwall.configure("");
    assert_eq!(floodwall.tell(&["reload"]), (true, "the configuration is in force\n".into()));
}

/// A budget that is spent stays so, whatever its rate becomes; and whoever has a session keeps it.
#[test]
fn no_budget_is_refilled_and_no_session_forgotten() {
    let folder = Folder::new("reload-budgets");
    let shop = shop();
    let floodwall = Floodwall::start(&folder, shop.upstream(), &budget("1/h", 3));
    let mut wire = connect(floodwall.address());
    let head = ask(&mut wire, "a", "/", "x=1");
    let cookie = session_of(&head).unwrap();
    for _ in 0..2 {
        assert_eq!(status(&ask(&mut wire, "a", "/", "x=1")), "200");
    }
    for (rate, burst) in [("1/h", 3), ("2/h", 3), ("1/d", 2), ("1/h", 3)] {
        floodwall.configure(&budget(rate, burst));
        assert!(floodwall.tell(&["reload"]).0);
        assert_eq!(status(&ask(&mut wire, "a", "/", "x=1")), "429", "{rate} {burst}");
        let known = ask(&mut wire, "a", "/", &cookie);
        assert_eq!(status(&known), "200", "{rate} {burst}");
    }
    // Room for more is room at once.
    floodwall.configure(&budget("1/h", 5));
    assert!(floodwall.tell(&["reload"]).0);
    assert_eq!(status(&ask(&mut wire, "a", "/", "x=1")), "200");
}

#[test]
fn an_exchange_ends_at_the_upstream_that_it_began_with() {
    let folder = Folder::new("reload-running");
    let (before, after) = (Application::tcp(), Application::tcp());
    let site = |application: &Application| {
        let port = match &application.address {
            floodwall::proxy::settings::Address::Tcp { port, .. } => *port,
            floodwall::proxy::settings::Address::Tls { .. }
            | floodwall::proxy::settings::Address::Unix(_) => unreachable!("it is TCP"),
        };
        format!("[[site]]\nname = 'a'\nupstream = 'http://127.0.0.1:{port}'\n")
    };
    let floodwall = Floodwall::start(&folder, "http://127.0.0.1:1", &site(&before));
    let (mut running, mut next) = (connect(floodwall.address()), connect(floodwall.address()));
    running.send(GET);
    let mut wire = before.accept();
    wire.head();
    floodwall.configure(&site(&after));
    assert!(floodwall.tell(&["reload"]).0);
    next.send(GET);
    let mut other = after.accept();
    other.head();
    other.send(OK);
    assert_eq!(status(&next.head()), "200");
    wire.send(OK);
    assert_eq!(status(&running.head()), "200");
    assert_eq!(running.exactly(2), b"ok");
    assert!(before.is_left_alone());
}

/// Nothing of a configuration is put in force that fails at its end.
#[test]
fn what_cannot_be_begun_changes_nothing() {
    let folder = Folder::new("reload-half");
    let shop = shop();
    let site = |name: &str, file: &str| {
        let state = folder.path().join(file);
        format!("[[site]]\nname = '{name}'\nhosts = '{name}'\nstate = '{}'\n", state.display())
    };
    let both = format!("{}{}", site("a", "a"), site("b", "b"));
    let floodwall = Floodwall::start(&folder, shop.upstream(), &both);
    let mut wire = connect(floodwall.address());
    let none = folder.path().join("none");
    let log = format!("[access_log]\nformat = 'json'\nfile = '{}/log'\n", none.display());
    for (second, what) in [
        (site("c", "b"), "site c: its state file is that of site b"),
        (site("c", "none/c"), "site c: cannot open the state file"),
        (format!("{}{log}", site("c", "c")), "access_log.file: "),
    ] {
        floodwall.configure(&format!("mode = 'observe'\n{}{second}", site("a", "a")));
        let (well, said) = floodwall.tell(&["reload"]);
        assert!(!well && said.contains(what), "{said}");
        for (host, expected) in [("a", "200"), ("b", "200"), ("c", "421")] {
            assert_eq!(status(&ask(&mut wire, host, "/", "x=1")), expected, "{what}: {host}");
        }
    }
    assert!(!floodwall.log().contains("observing only"));
    // Whatever had begun is ended: it can begin.
    floodwall.configure(&format!("{both}{}", site("c", "c")));
    assert!(floodwall.tell(&["reload"]).0);
    assert_eq!(status(&ask(&mut wire, "c", "/", "x=1")), "200");
    assert!(floodwall.stop().success());
}

#[test]
fn a_site_that_goes_and_comes_back_has_forgotten_nothing() {
    let folder = Folder::new("reload-sites");
    let shop = shop();
    let first = format!("{}[[site]]\nname = 'a'\nhosts = 'a'\n", budget("1/h", 1));
    let both = format!("{first}[[site]]\nname = 'b'\nhosts = 'b'\n");
    let mut floodwall = Floodwall::start(&folder, shop.upstream(), &first);
    let mut wire = connect(floodwall.address());
    assert_eq!(status(&ask(&mut wire, "b", "/", "x=1")), "421");
    floodwall.configure(&both);
    assert!(floodwall.tell(&["reload"]).0);
    assert_eq!(status(&ask(&mut wire, "b", "/", "x=1")), "200");
    assert_eq!(status(&ask(&mut wire, "b", "/", "x=1")), "429");
    assert_eq!(status(&ask(&mut wire, "a", "/", "x=1")), "200");
    floodwall.configure(&first);
    assert!(floodwall.tell(&["reload"]).0);
    assert_eq!(status(&ask(&mut wire, "b", "/", "x=1")), "421");
    floodwall.configure(&both);
    assert!(floodwall.tell(&["reload"]).0);
    assert_eq!(status(&ask(&mut wire, "b", "/", "x=1")), "429");
    floodwall.configure(&first);
    assert!(floodwall.tell(&["reload"]).0);
    floodwall.await_said("reloaded");
    assert!(floodwall.stop().success());
    // A site that was gone at the end was saved all the same.
    let floodwall = Floodwall::start(&folder, shop.upstream(), &both);
    assert_eq!(status(&ask(&mut connect(floodwall.address()), "b", "/", "x=1")), "429");
}

/// Fifty reloads while four clients ask on connections that stay, and four on new ones each time.
#[test]
fn no_request_fails_while_the_configuration_is_replaced() {
    let folder = Folder::new("reload-load");
    let upstream = Recorder::start(|_| "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned());
    let floodwall = Arc::new(Floodwall::start(&folder, upstream.upstream(), ""));
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..8)
        .map(|index| {
            let (floodwall, stop, asked) =
                (Arc::clone(&floodwall), Arc::clone(&stop), Arc::clone(&asked));
            thread::spawn(move || {
                let mut wire = connect(floodwall.address());
                while !stop.load(Ordering::SeqCst) {
                    if index % 2 == 0 {
                        wire = connect(floodwall.address());
                    }
                    assert_eq!(status(&ask(&mut wire, "a", "/", "x=1")), "200");
                    asked.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for round in 0..50 {
        floodwall.configure(&format!("drain_timeout = '{}s'\n", round + 1));
        assert!(floodwall.tell(&["reload"]).0);
        let so_far = asked.load(Ordering::SeqCst);
        await_that("clients ask on", || asked.load(Ordering::SeqCst) > so_far + 8);
    }
    stop.store(true, Ordering::SeqCst);
    clients.into_iter().for_each(|client| client.join().expect("no request failed"));
}
