//! The program at the limit of its file descriptors, and the memory that connections cost it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use floodwall::proxy::settings::Address;

use crate::raw::{Application, OK, Wire};
use crate::support::attack::bounded;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::frames::Frames;
use crate::support::inside::await_that;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn upstream(application: &Application) -> String {
    let Address::Tcp { host, port } = &application.address else { panic!("it listens on TCP") };
    format!("http://{host}:{port}")
}

fn connect(floodwall: &Floodwall) -> Wire {
    Wire::tcp(TcpStream::connect(floodwall.address()).expect("it listens"))
}

/// The upstream that an application is which answers everything.
fn answering() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            thread::spawn(move || {
                let mut requests = BufReader::new(stream.try_clone().expect("a copy")).lines();
                // A request of these tests ends with its first empty line.
                while let Some(Ok(line)) = requests.next() {
                    if line.is_empty() && stream.write_all(OK.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    format!("http://{address}")
}

fn get(client: &mut Wire) {
    client.send(GET);
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    client.exactly(2);
}

/// The last request of a connection.
fn is_served(client: &mut Wire) -> bool {
    client
        .ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .starts_with("HTTP/1.1 200 ")
}

#[test]
fn the_limit_of_open_files_is_raised_and_connections_fit_under_it() {
    let folder = Folder::new("files");
    let application = Application::tcp();
    let configuration =
        "cores = 1\n[downstream_limits]\nconnections = 1000\n[http2]\nenabled = false\n";
    let floodwall =
        Floodwall::start_with_files((100, 170), &folder, &upstream(&application), configuration);
    let log = floodwall.log();
    // 170 in all, 72 for itself, and two for each connection.
    for part in ["\"descriptors\":170", "\"configured\":1000", "\"connections\":49"] {
        assert!(log.contains(part), "{log}");
    }
    let working: Vec<_> = (0..49)
        .map(|_| {
            let mut client = connect(&floodwall);
            client.send(GET);
            let mut wire = application.accept();
            wire.head();
            (client, wire)
        })
        .collect();
    assert_eq!(connect(&floodwall).rest(), "", "one more is refused");
    for (mut client, mut wire) in working {
        wire.send(OK);
        assert!(client.head().starts_with("HTTP/1.1 200 "));
    }
    assert!(floodwall.stop().success());
    assert!(!read(&folder).contains("\"kind\":\"accept\""));
}

/// As many streams as there may be connections, on one of them, and an exchange on each of the others.
#[test]
fn what_http2_adds_fits_under_the_limit_of_open_files_too() {
    let folder = Folder::new("files");
    let application = Application::tcp();
    // More than the budget of a client has.
    let rule = "[[rule]]\nname = 'all'\npath = '/'\naction = 'forward'\n";
    let configuration = format!("cores = 1\n{rule}[downstream_limits]\nconnections = 1000\n");
    let floodwall =
        Floodwall::start_with_files((100, 170), &folder, &upstream(&application), &configuration);
    // 170 in all, 72 for itself, and three for each connection.
    let log = floodwall.log();
    assert!(log.contains("\"connections\":32"), "{log}");
    let mut streams = Frames::connect(floodwall.address().parse().expect("an address"), &[]);
    (0..32).for_each(|number| streams.get(1 + number * 2, &[]));
    let mut working: Vec<Wire> = (0..32).map(|_| application.accept()).collect();
    let clients: Vec<Wire> = (0..31)
        .map(|_| {
            let mut client = connect(&floodwall);
            client.send(GET);
            working.push(application.accept());
            client
        })
        .collect();
    assert_eq!(connect(&floodwall).rest(), "", "one more is refused");
    for mut wire in working {
        wire.head();
        wire.send(OK);
    }
    for mut client in clients {
        assert!(client.head().starts_with("HTTP/1.1 200 "));
    }
    drop(streams);
    assert!(floodwall.stop().success());
    assert!(!read(&folder).contains("\"kind\":\"accept\""));
}

/// Somebody else takes the descriptors away, while a flood of idle connections comes.
#[test]
fn without_descriptors_it_goes_on_with_what_it_has_and_recovers() {
    let folder = Folder::new("descriptors");
    let application = answering();
    let floodwall = Floodwall::start(&folder, &application, "cores = 1\n");
    let mut established = connect(&floodwall);
    get(&mut established);
    floodwall.limit_files(64);
    let began = Instant::now();
    let flood: Vec<Wire> = (0..300).map(|_| connect(&floodwall)).collect();
    let mut floodwall = floodwall;
    await_kind(&mut floodwall, "accept", || get(&mut established));
    // It makes room for what waits in the queue again and again, and serves all the while.
    await_that("no idle connection is shed", || {
        get(&mut established);
        flood.iter().filter(|wire| wire.is_open()).count() < 200
    });
    drop(flood);
    let mut newcomers: Vec<Wire> = (0..10).map(|_| connect(&floodwall)).collect();
    let lost = newcomers.iter_mut().map(is_served).filter(|served| !served);
    let attack = "300 idle connections, no file descriptor left";
    bounded(attack, "of 10 visitors lost after it", 0, lost.count() as u64);
    let span = began.elapsed();
    assert!(floodwall.stop().success());
    // One attempt in a tenth of a second, and one that was under way.
    let failures = u128::from(told(&read(&folder), "accept"));
    assert!(failures <= span.as_millis() / 100 + 1, "{failures} in {span:?}");
}

/// An exchange waits for a descriptor, rather than fail, while one can be had.
#[test]
fn an_exchange_without_a_descriptor_waits_for_one() {
    let folder = Folder::new("no-descriptor");
    let application = answering();
    let configuration = "cores = 1\n[upstream_limits]\nidle_connections = 0\n";
    let floodwall = Floodwall::start(&folder, &application, configuration);
    let mut established = connect(&floodwall);
    get(&mut established);
    let idle: Vec<Wire> = (0..20)
        .map(|_| {
            let mut wire = connect(&floodwall);
            get(&mut wire);
            wire
        })
        .collect();
    // None may be opened from now on.
    floodwall.limit_files(3);
    established.send(GET);
    let freed = || idle.iter().filter(|wire| !wire.is_open()).count();
    await_that("nobody makes room", || freed() > 0);
    floodwall.limit_files(64);
    assert!(established.head().starts_with("HTTP/1.1 200 "));
    assert!(floodwall.stop().success());
}

/// What connections cost in memory: `cargo nextest run memory_of_connections` prints it.
#[test]
fn memory_of_connections_is_bounded() {
    const COUNT: u64 = 400;
    let application = answering();
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(63 << 10));
    let kinds: [(&str, &str, bool, u64); 3] = [
        ("connections that say nothing", "", false, 24 << 10),
        ("idle connections after a request", GET, true, 40 << 10),
        ("heads of 63 KiB that do not end", &head, false, 160 << 10),
    ];
    for (attack, said, answered, promised) in kinds {
        let folder = Folder::new("memory");
        let configuration = "cores = 1\n[downstream_limits]\nheader_timeout = '5m'\n";
        let floodwall = Floodwall::start(&folder, &application, configuration);
        let mut witness = connect(&floodwall);
        get(&mut witness);
        let before = floodwall.resident();
        let connections: Vec<Wire> = (0..COUNT)
            .map(|_| {
                let mut wire = connect(&floodwall);
                wire.send(said);
                if answered {
                    wire.head();
                    wire.exactly(2);
                }
                wire
            })
            .collect();
        // The witness comes behind them in every queue.
        get(&mut connect(&floodwall));
        get(&mut witness);
        let each = floodwall.resident().saturating_sub(before) / COUNT;
        bounded(attack, "bytes of memory each", promised, each);
        assert!(connections.iter().all(Wire::is_open), "all of them are there");
    }
}

fn read(folder: &Folder) -> String {
    std::fs::read_to_string(folder.path().join("log")).expect("a log")
}

/// Waits until a kind of limit was told, doing something meanwhile.
fn await_kind(floodwall: &mut Floodwall, kind: &str, mut meanwhile: impl FnMut()) {
    let line = format!("\"kind\":\"{kind}\"");
    await_that("the limit is not told", || {
        meanwhile();
        floodwall.log().contains(&line)
    });
}

/// How many of a kind were told, one by one or as suppressed.
fn told(log: &str, kind: &str) -> u64 {
    let kind = format!("\"kind\":\"{kind}\"");
    log.lines()
        .filter(|line| line.contains("client limited") && line.contains(&kind))
        .map(|line| {
            let suppressed = line.split("\"suppressed\":").nth(1);
            let digits = suppressed.map(|rest| rest.split(['}', ',']).next().unwrap_or_default());
            let suppressed = digits.map_or(0, |digits| digits.parse().expect("a number"));
            suppressed + u64::from(line.contains("\"detail\""))
        })
        .sum()
}
