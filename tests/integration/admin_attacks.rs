//! The admin listener among floods, clients that do nothing, and successors.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::admin::{by_socket, curl};
use crate::metrics::{samples_of, sum};
use crate::raw::{Application, Wire, values};
use crate::support::address::own_address;
use crate::support::attack::bounded;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::load::flood::{Flood, Scenario};
use crate::support::shop::{connect, shop};

const ADMIN: &str = "admin.listen = '127.0.0.1:0'\n";

fn wire(address: SocketAddr) -> Wire {
    Wire::tcp(TcpStream::connect(address).expect("it listens"))
}

/// How many connections to an address of this machine are a process's.
fn accepted(address: SocketAddr) -> u64 {
    let table = fs::read_to_string("/proc/net/tcp").expect("the kernel tells");
    // Others may have the same port of another address of this machine.
    let local = format!("0100007F:{:04X}", address.port());
    let is_one = |line: &&str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        // Established, or waiting to be closed here; those without a file are the kernel's, or
        // wait to be accepted.
        let held = ["01", "08"].contains(&fields[3]) && fields[9] != "0";
        fields[1] == local && held
    };
    table.lines().skip(1).filter(is_one).count() as u64
}

#[test]
fn every_request_has_an_answer_of_its_kind() {
    let folder = Folder::new("admin-kinds");
    let shop = shop();
    let listen =
        format!("admin.listen = ['127.0.0.1:0', 'unix:{}/admin']\n", folder.path().display());
    let floodwall = Floodwall::start(&folder, shop.upstream(), &listen);
    let socket = folder.path().join("admin");
    let tcp = {
        let log = floodwall.log();
        let listening = "\"message\":\"admin listens\",\"address\":\"127";
        let rest = log.split(listening).nth(1).and_then(|rest| rest.split('"').next());
        format!("127{}", rest.expect("it listens")).parse().expect("an address")
    };
    let unix = || Wire::unix(UnixStream::connect(&socket).expect("it listens"));
    for mut wire in [wire(tcp), unix()] {
        for target in ["/metrics", "/status", "/healthz", "/readyz"] {
            wire.send(format!("HEAD {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
            let head = wire.head();
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            assert_ne!(values(&head, "content-length"), ["0"], "{target}");
            assert_eq!(values(&head, "cache-control"), ["no-store"]);
            // A content would stand before the next head.
        }
        for target in ["/metrics", "/nothing", "/healthz"] {
            wire.send(format!(
                "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi"
            ));
            let head = wire.head();
            assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
            assert_eq!(values(&head, "allow"), ["GET, HEAD"]);
            let length: Vec<usize> =
                values(&head, "content-length").iter().map(|said| said.parse().unwrap()).collect();
            wire.exactly(length[0]);
        }
        wire.send("GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let said = wire.rest();
        assert!(said.starts_with("HTTP/1.1 404 "), "{said}");
        for place in ["/healthz", "/metrics", "/readyz", "/status"] {
            assert!(said.contains(place), "{said}");
        }
    }
    for nonsense in ["GET\r\n\r\n", "\0\0\0\0\r\n\r\n", "GET / HTTP/1.1\r\nX\r\n\r\n"] {
        let said = wire(tcp).ask(nonsense);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 400 "), "{said}");
    }
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let said = wire(tcp).ask(&long);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    assert_eq!(by_socket(&socket, "/healthz").0, "200");
}

/// Connections that are idle before a request, idle after one, and that read nothing of what they
/// asked for: twelve times as many as there are places.
#[test]
fn who_only_connects_keeps_no_operator_out() {
    const EACH: usize = 256;
    let folder = Folder::new("admin-idle");
    let shop = shop();
    let floodwall = Floodwall::start(&folder, shop.upstream(), ADMIN);
    let admin = floodwall.admin();
    let url = format!("http://{admin}/metrics");
    let mut kept: Vec<Wire> = Vec::new();
    let mut most = 0;
    for kind in ["idle", "asked", "deaf"] {
        for number in 0..EACH {
            let mut wire = wire(admin);
            match kind {
                "idle" => {}
                // It may have to leave meanwhile.
                "asked" => wire.say(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
                _ => {
                    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
                    wire.say(request.repeat(20).as_bytes());
                }
            }
            kept.push(wire);
            if number % 64 == 63 {
                assert_eq!(curl(&[&url]).0, "200", "{kind}, {number}");
                // Who has lost the place to the latest may be about to go.
                await_that("more stay than there are places", || {
                    let stay = accepted(admin);
                    if stay <= 64 {
                        most = most.max(stay);
                    }
                    stay <= 64
                });
            }
        }
    }
    assert_eq!(kept.len(), 3 * EACH);
    let attack = "768 connections to the admin listener that ask for nothing, or read nothing";
    bounded(attack, "connections that it has", 64, most);
    drop(kept);
    assert_eq!(floodwall.stop().code(), Some(0));
}

#[test]
fn who_is_idle_after_an_answer_goes_in_time() {
    let folder = Folder::new("admin-patience");
    let shop = shop();
    let floodwall = Floodwall::start(&folder, shop.upstream(), ADMIN);
    let mut idle = wire(floodwall.admin());
    idle.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    idle.head();
    assert_eq!(idle.rest(), "alive\n");
}

/// Two cores busy with a flood, and operators who look.
#[test]
fn operators_are_answered_under_a_full_flood() {
    let folder = Folder::new("admin-flood");
    let shop = shop();
    let floodwall = Floodwall::start(&folder, shop.upstream(), &format!("cores = 2\n{ADMIN}"));
    let (admin, target) = (floodwall.admin(), floodwall.target());
    let floods: Vec<_> = [(Scenario::AnonymousLogout, 1), (Scenario::MadeUpRead, 2)]
        .map(|(scenario, seed)| {
            let mut flood = Flood::new(target, scenario);
            flood.requests = 6_000;
            flood.connections = 24;
            flood.sources = 200;
            flood.seed = seed;
            flood.time_limit = Duration::from_secs(60);
            thread::spawn(move || flood.run())
        })
        .into();
    let (mut asked, mut slowest) = (0, Duration::ZERO);
    let mut seen: f64 = 0.0;
    while !floods.iter().all(thread::JoinHandle::is_finished) || asked < 9 {
        for target in ["/metrics", "/healthz", "/status"] {
            let began = Instant::now();
            let (status, page) = curl(&[&format!("http://{admin}{target}")]);
            slowest = slowest.max(began.elapsed());
            assert_eq!(status, "200", "{target}: {page}");
            asked += 1;
        }
        let counted = sum(&samples_of(admin), "floodwall_exchanges_total", "");
        assert!(counted >= seen, "a counter goes back: {seen}, {counted}");
        seen = counted;
    }
    for flood in floods {
        let report = flood.join().expect("it ends");
        assert_eq!(report.errors, 0, "{report}");
    }
    println!("{asked} answers of the admin listener under a flood, the slowest in {slowest:?}");
    await_that("not each exchange is counted", || {
        sum(&samples_of(admin), "floodwall_exchanges_total", "") == 12_000.0
    });
    let samples = samples_of(admin);
    assert!(sum(&samples, "floodwall_flood_running", "logout") >= 1.0, "no flood is told of");
    assert!(sum(&samples, "floodwall_refused_total", "") > 0.0);
}

/// curl asks without a pause, each time on a new connection, while the program is replaced twice.
#[test]
fn no_look_fails_while_the_program_is_replaced() {
    let folder = Folder::new("admin-upgrade");
    let shop = shop();
    let (admin, address) = (own_address(), own_address().to_string());
    let listen = format!("admin.listen = ['{admin}', 'unix:{}/admin']\n", folder.path().display());
    let mut floodwall = Floodwall::start_at(&folder, shop.upstream(), &listen, &address);
    let socket = folder.path().join("admin");
    let stop = AtomicBool::new(false);
    let process = |page: &str| -> u64 {
        let page: serde_json::Value = serde_json::from_str(page).expect("JSON");
        page["process"].as_u64().expect("a number")
    };
    let asked = thread::scope(|scope| {
        let tcp = scope.spawn(|| {
            let mut asked = 0;
            while !stop.load(Ordering::SeqCst) {
                assert_eq!(curl(&[&format!("http://{admin}/metrics")]).0, "200");
                asked += 1;
            }
            asked
        });
        let unix = scope.spawn(|| {
            let mut asked = 0;
            while !stop.load(Ordering::SeqCst) {
                assert_eq!(by_socket(&socket, "/status").0, "200");
                asked += 1;
            }
            asked
        });
        for _ in 0..2 {
            floodwall.upgrade();
            let last = u64::from(floodwall.last());
            await_that("the old process answers on", || {
                process(&curl(&[&format!("http://{admin}/status")]).1) == last
            });
        }
        floodwall.await_ended();
        assert_eq!(process(&by_socket(&socket, "/status").1), u64::from(floodwall.last()));
        stop.store(true, Ordering::SeqCst);
        tcp.join().expect("no look failed") + unix.join().expect("no look failed")
    });
    println!("{asked} looks while the program was replaced twice");
    floodwall.stop_last();
    assert!(!socket.exists());
}

#[test]
fn whoever_balances_load_hears_of_a_stop_and_looks_until_the_end() {
    let folder = Folder::new("admin-drain");
    let application = Application::tcp();
    let floodwall::proxy::settings::Address::Tcp { port, .. } = &application.address else {
        panic!("it listens on TCP")
    };
    let upstream = format!("http://127.0.0.1:{port}");
    let admin = own_address();
    let listen = format!("admin.listen = '{admin}'\n");
    let floodwall = Floodwall::start(&folder, &upstream, &listen);
    let url = |path: &str| format!("http://{admin}{path}");
    let mut client = connect(floodwall.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut wire = application.accept();
    wire.head();
    assert_eq!(curl(&[&url("/readyz")]), ("200".into(), "ready\n".into()));
    assert_eq!(samples_of(admin)["floodwall_draining"], 0.0);
    floodwall.signal("-TERM");
    await_that("nobody hears of the stop", || curl(&[&url("/readyz")]).0 == "503");
    assert_eq!(curl(&[&url("/readyz")]).1, "draining\n");
    assert_eq!(curl(&[&url("/healthz")]).0, "200");
    await_that("the metrics do not tell of it", || {
        let samples = samples_of(admin);
        samples["floodwall_draining"] == 1.0 && samples["floodwall_ready"] == 0.0
    });
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    client.head();
    assert_eq!(floodwall.ended().code(), Some(0));
    assert!(TcpStream::connect(admin).is_err());
}

#[test]
fn check_tells_of_the_admin_listener_and_of_a_token_that_everybody_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("admin-check");
    let (file, config) = (folder.path().join("token"), folder.path().join("floodwall.toml"));
    let write = |mode| {
        fs::write(&file, "0123456789abcdef\n").expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("it is ours");
        let text = format!(
            "state = '{}/state'\nadmin.listen = '0.0.0.0:9180'\nadmin.token_file = '{}'\n",
            folder.path().display(),
            file.display()
        );
        fs::write(&config, text).expect("a file");
    };
    let check = || {
        let output = Floodwall::program()
            .args(["check", "--config"])
            .arg(&config)
            .output()
            .expect("floodwall runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).expect("UTF-8"))
    };
    write(0o600);
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains(&format!("  admin     0.0.0.0:9180, with the token of {}\n", file.display()))
    );
    assert!(said.contains("  history   ") && !said.contains("everybody"), "{said}");
    write(0o644);
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("everybody on this machine can use") && said.contains("chmod 0640"),
        "{said}"
    );
    fs::remove_file(&file).expect("it is there");
    let (code, said) = check();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("admin.token_file"), "{said}");
    let remedy = format!("  = make one: openssl rand -hex 32 > {}", file.display());
    assert!(said.contains(&remedy), "{said}");
}
