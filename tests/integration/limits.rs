//! Clients that are slow, greedy or many, against one that is honest.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::raw::{Application, OK, Proxy, Wire, has, patient, values};
use crate::support::attack::bounded;
use crate::support::inside::await_that;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
/// What a test waits for that is to happen after this.
const SHORT: Duration = Duration::from_millis(200);
/// Between two drops of what drips.
const PAUSE: Duration = Duration::from_millis(10);

/// A connection from one of the addresses of this machine, with little room for what it receives.
fn connect_from(source: [u8; 4], address: SocketAddr) -> Wire {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    Wire::tcp(TcpStream::from(socket))
}

/// One exchange, with whatever connection the application is reached by.
fn serve(application: &Application, client: &mut Wire, wire: &mut Option<Wire>) -> String {
    client.send(GET);
    let wire = wire.get_or_insert_with(|| application.accept());
    wire.head();
    wire.send(OK);
    let head = client.head();
    client.exactly(2);
    head
}

/// An exchange that has begun, and does not end.
fn begun(application: &Application, mut client: Wire) -> (Wire, Wire) {
    client.send(GET);
    let mut wire = application.accept();
    wire.head();
    (client, wire)
}

/// Lets as much time pass as a connection may be silent.
fn pass_a_header_timeout(proxy: &Proxy) {
    assert_eq!(proxy.connect().rest(), "");
}

#[test]
fn a_head_that_drips_is_cut_off_and_told() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.downstream_limits.header_timeout = SHORT;
    let proxy = Proxy::start(settings);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX: ");
    assert!(client.drip(b"x", PAUSE, 1_000) < 1_000, "it may drip on");
    assert_eq!(client.rest(), "");
    assert_eq!(proxy.failure(), "head-timeout");
    assert!(application.is_left_alone());
}

#[test]
fn the_time_for_a_head_counts_from_its_first_byte() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.downstream_limits.header_timeout = SHORT;
    let proxy = Proxy::start(settings);
    let (mut client, mut wire) = (proxy.connect(), None);
    for _ in 0..2 {
        serve(&application, &mut client, &mut wire);
        // Idle for longer than a head may take.
        pass_a_header_timeout(&proxy);
    }
    client.send("GET / HT");
    assert_eq!(client.rest(), "");
    assert_eq!(proxy.failure(), "head-timeout");
}

/// As old clients send it (RFC 9112, 2.2).
#[test]
fn an_empty_line_behind_a_body_begins_no_head() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.downstream_limits.header_timeout = SHORT;
    let proxy = Proxy::start(settings);
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody\r\n");
    let mut wire = application.accept();
    wire.head();
    assert_eq!(wire.exactly(4), b"body");
    wire.send(OK);
    client.head();
    client.exactly(2);
    // Also those that rest look at what came.
    pass_a_header_timeout(&proxy);
    pass_a_header_timeout(&proxy);
    serve(&application, &mut client, &mut Some(wire));
}

#[test]
fn a_connection_is_closed_when_idle_and_not_before() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.downstream_limits.idle_timeout = SHORT;
    let proxy = Proxy::start(settings);
    let (mut client, mut wire) = (proxy.connect(), None);
    serve(&application, &mut client, &mut wire);
    let idle = Instant::now();
    assert_eq!(client.rest(), "");
    assert!(idle.elapsed() + PAUSE > SHORT, "closed after {:?}", idle.elapsed());
}

#[test]
fn a_slow_application_is_not_held_against_its_client() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    let limits = &mut settings.downstream_limits;
    (limits.header_timeout, limits.idle_timeout) = (SHORT, SHORT);
    (limits.body_timeout, limits.send_timeout) = (SHORT, SHORT);
    limits.body_rate = 1 << 20;
    let proxy = Proxy::start(settings);
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    let mut wire = application.accept();
    wire.head();
    wire.exactly(2);
    for piece in ["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "a", "b", "c"] {
        pass_a_header_timeout(&proxy);
        pass_a_header_timeout(&proxy);
        wire.send(piece);
        client.until(piece.get(piece.len() - 1..).unwrap());
    }
    assert_eq!(client.rest(), "", "and then it is idle");
}

#[test]
fn the_upload_of_an_early_answer_is_no_idle_connection() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    (settings.downstream_limits.idle_timeout, settings.downstream_limits.header_timeout) =
        (SHORT, SHORT);
    let proxy = Proxy::start(settings);
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nlo");
    let mut wire = application.accept();
    wire.head();
    wire.send(OK);
    client.head();
    client.exactly(2);
    pass_a_header_timeout(&proxy);
    pass_a_header_timeout(&proxy);
    client.send("ng");
    assert_eq!(wire.exactly(4), b"long");
    assert_eq!(client.rest(), "", "and then it is idle");
}

#[test]
fn uploads_that_drip_hold_no_worker_for_long() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.downstream_limits.body_timeout = SHORT;
    settings.downstream_limits.body_rate = 10_000;
    let proxy = Proxy::start(settings);
    let held: Vec<_> = (0..16)
        .map(|_| {
            let mut client = proxy.connect();
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
            let wire = application.accept();
            let dripping = thread::spawn(move || {
                assert!(client.drip(b"x", PAUSE, 1_000) < 1_000, "it may drip on");
                client.head()
            });
            (dripping, wire)
        })
        .collect();
    let mut free = 0;
    for (dripping, mut wire) in held {
        let head = dripping.join().unwrap();
        assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
        assert_eq!(values(&head, "connection"), ["close"]);
        wire.rest();
        free += 1;
        assert_eq!(proxy.failure(), "upload-stalled");
    }
    bounded("uploads below the rate", "workers held, of 16", 0, 16 - free);
}

#[test]
fn an_upload_that_keeps_up_is_taken_however_long_it_takes() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.downstream_limits.body_timeout = Duration::from_secs(1);
    settings.downstream_limits.body_rate = 1_000;
    let proxy = Proxy::start(settings);
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n");
    let mut wire = application.accept();
    wire.head();
    // A hundred a piece, two thousand bytes a second or more: twice as fast as it must be.
    assert_eq!(client.drip(&[b'x'; 200], Duration::from_millis(20), 100), 100);
    wire.exactly(20_000);
    wire.send(OK);
    assert!(client.head().starts_with("HTTP/1.1 200 "));
}

#[test]
fn readers_below_the_rate_hold_no_worker_for_long() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.downstream_limits.send_timeout = SHORT;
    settings.downstream_limits.body_rate = 1 << 30;
    let proxy = Proxy::start(settings);
    const LENGTH: usize = 16 << 20;
    // Of the second pair it is the rate that is too low: there is something of it all the time.
    let held: Vec<_> = [4, 4, 32 << 10, 32 << 10]
        .into_iter()
        .map(|length| {
            let client = connect_from([127, 0, 0, 1], proxy.address());
            let (mut client, mut wire) = begun(&application, client);
            let let_go = Arc::new(AtomicBool::new(false));
            let told = Arc::clone(&let_go);
            let reading = thread::spawn(move || {
                while !told.load(Ordering::Relaxed) && client.sip(length, PAUSE, 1) > 0 {}
            });
            let working = thread::spawn(move || {
                wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
                let sent = wire.flood(LENGTH, crate::raw::DEADLINE);
                assert!(sent < LENGTH, "the response was taken whole");
                assert_eq!(wire.rest(), "");
                let_go.store(true, Ordering::Relaxed);
            });
            (reading, working)
        })
        .collect();
    let mut free = 0;
    for (reading, working) in held {
        working.join().unwrap();
        assert_eq!(proxy.failure(), "send-stalled");
        free += 1;
        reading.join().unwrap();
    }
    bounded("readers below the rate", "workers held, of 4", 0, 4 - free);
}

#[test]
fn a_reader_that_keeps_up_gets_all_however_long_it_takes() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.downstream_limits.send_timeout = Duration::from_secs(1);
    settings.downstream_limits.body_rate = 10_000;
    let proxy = Proxy::start(settings);
    let client = connect_from([127, 0, 0, 1], proxy.address());
    let (mut client, mut wire) = begun(&application, client);
    const LENGTH: usize = 6 << 20;
    let working = thread::spawn(move || {
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
        wire.send(vec![b'x'; LENGTH]);
    });
    client.head();
    assert_eq!(client.sip(32 << 10, PAUSE, LENGTH), LENGTH);
    working.join().unwrap();
}

#[test]
fn a_target_may_be_as_long_as_allowed() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.downstream_limits.target_bytes = 300;
    let proxy = Proxy::start(settings);
    let path = |length: usize| format!("/{}?q", "x".repeat(length - 3));
    let absolute = |length: usize| format!("http://a{}", path(length - "http://a".len()));
    let mut wire = None;
    for target in [path(300), absolute(300)] {
        let mut client = proxy.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let wire = wire.get_or_insert_with(|| application.accept());
        wire.head();
        wire.send(OK);
        assert!(client.head().starts_with("HTTP/1.1 200 "));
    }
    for target in [path(301), absolute(301)] {
        let mut client = proxy.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 414 "), "{head}");
        assert_eq!(proxy.failure(), "target-bytes");
    }
    assert!(application.is_left_alone());
}

#[test]
fn a_head_may_be_as_large_as_allowed() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.downstream_limits.head_bytes = 8192;
    settings.downstream_limits.headers = 20;
    let proxy = Proxy::start(settings);
    let large = |bytes: usize| {
        let rest = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(bytes - rest))
    };
    let many =
        |lines: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(lines - 1));
    let mut wire = None;
    for (request, status) in
        [(large(8192), 200), (many(20), 200), (large(8193), 431), (many(21), 431)]
    {
        let mut client = proxy.connect();
        client.send(request);
        if status == 200 {
            let wire = wire.get_or_insert_with(|| application.accept());
            wire.head();
            wire.send(OK);
        }
        let head = client.head();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        if status != 200 {
            assert_eq!(proxy.failure(), "head-bytes");
        }
    }
    assert!(application.is_left_alone());
}

#[test]
fn a_body_that_says_that_it_is_too_large_is_not_begun() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.downstream_limits.body_bytes = 100_000;
    let proxy = Proxy::start(settings);
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 413 ") && has(&head, "connection"), "{head}");
    assert_eq!(proxy.failure(), "body-bytes");
    assert!(application.is_left_alone());
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    client.send(vec![b'x'; 100_000]);
    let mut wire = application.accept();
    wire.head();
    wire.exactly(100_000);
    wire.send(OK);
    assert!(client.head().starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_body_that_turns_out_too_large_is_cut_off() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.downstream_limits.body_bytes = 10;
    let proxy = Proxy::start(settings);
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = proxy.connect();
    client.send(format!("{chunked}5\r\nabcde\r\n5\r\nfghij\r\n0\r\n\r\n"));
    let mut wire = application.accept();
    wire.head();
    wire.until("0\r\n\r\n");
    wire.send(OK);
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    client.exactly(2);
    client.send(format!("{chunked}5\r\nabcde\r\n"));
    wire.head();
    wire.until("abcde\r\n");
    client.send("6\r\nfghijk\r\n0\r\n\r\n");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    assert_eq!(values(&head, "connection"), ["close"]);
    assert_eq!(proxy.failure(), "body-bytes");
    assert_eq!(wire.rest(), "", "what was cut must not look whole");
}

#[test]
fn curl_is_told_that_its_upload_is_too_large() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.downstream_limits.body_bytes = 1 << 20;
    let proxy = Proxy::start(settings);
    let upload = crate::raw::scratch("limits-curl").join("upload");
    std::fs::write(&upload, vec![b'x'; (1 << 20) + 1]).unwrap();
    let output = Command::new("curl")
        .args(["--silent", "--max-time", "20", "--output", "/dev/null", "--write-out"])
        .args(["%{http_code}", "--data-binary", &format!("@{}", upload.display())])
        .arg(format!("http://{}/", proxy.address()))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "413", "{output:?}");
    assert!(application.is_left_alone());
}

#[test]
fn beyond_the_cap_the_newest_is_refused_and_who_works_is_not_disturbed() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.downstream_limits.connections = 8;
    settings.downstream_limits.connections_per_client = 6;
    let proxy = Proxy::start(settings);
    let mut working: Vec<_> = (0..6).map(|_| begun(&application, proxy.connect())).collect();
    assert_eq!(proxy.connect().rest(), "");
    assert_eq!(proxy.failure(), "client-connections");
    let other = || connect_from([127, 0, 0, 2], proxy.address());
    working.extend((0..2).map(|_| begun(&application, other())));
    assert_eq!(other().rest(), "");
    assert_eq!(proxy.failure(), "connections");
    for (client, wire) in &mut working {
        wire.send(OK);
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }
}

/// The application goes on working for them, and each has a connection to it.
#[test]
fn who_hangs_up_and_comes_again_has_no_more_exchanges_than_connections() {
    const CAP: usize = 8;
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.downstream_limits.connections_per_client = CAP;
    let proxy = Proxy::start(settings);
    let mut working: Vec<_> = (0..CAP).map(|_| begun(&application, proxy.connect()).1).collect();
    let let_in = (0..CAP).filter(|_| is_served(proxy.connect())).count();
    bounded("clients that hang up and come again, cap 8", "let in beyond it", 0, let_in as u64);
    // Until the application is done.
    working.pop().unwrap().send(OK);
    await_that("nobody makes room", || is_served(proxy.connect()));
    assert!(application.is_left_alone());
}

#[test]
fn trusted_proxies_have_no_cap_of_their_own() {
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.downstream_limits.connections_per_client = 2;
    settings.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    let proxy = Proxy::start(settings);
    let _working: Vec<_> = (0..5).map(|_| begun(&application, proxy.connect())).collect();
    let other = || connect_from([127, 0, 0, 2], proxy.address());
    let _others = [begun(&application, other()), begun(&application, other())];
    assert_eq!(other().rest(), "");
    assert_eq!(proxy.failure(), "client-connections");
}

/// Two thousand connections that say nothing, from two addresses, against a cap of 64.
#[test]
fn connections_that_say_nothing_keep_nobody_out() {
    const CAP: usize = 64;
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.cores = 2;
    settings.downstream_limits.connections = CAP;
    let proxy = Proxy::start(settings);
    let mut established = proxy.connect();
    refused_target(&mut established);
    let mut open: Vec<Wire> = Vec::new();
    for number in 0..2_000_u32 {
        let source = [127, 0, 0, 2 + u8::try_from(number % 2).unwrap()];
        open.push(connect_from(source, proxy.address()));
        if number % 10 == 0 {
            refused_target(&mut established);
            open.retain(Wire::is_open);
        }
    }
    await_that("more connections are open than allowed", || {
        open.retain(Wire::is_open);
        open.len() < CAP
    });
    bounded(
        "2,000 connections that say nothing, cap 64",
        "open at once",
        64,
        open.len() as u64 + 1,
    );
    // Those that are left have a moment to say something; then they make room for who has more to
    // say.
    await_that("nobody makes room", || is_served(proxy.connect()));
    let newcomers: Vec<_> = (0..20).map(|_| proxy.connect()).map(is_served).collect();
    let kept_out = newcomers.iter().filter(|served| !**served).count() as u64;
    bounded("2,000 connections that say nothing, cap 64", "of 20 visitors kept out", 0, kept_out);
    refused_target(&mut established);
}

/// The same with heads that have begun, and go on.
#[test]
fn heads_that_drip_keep_nobody_out() {
    const CAP: usize = 16;
    let application = Application::tcp();
    let mut settings = patient(&application);
    settings.downstream_limits.connections = CAP;
    let proxy = Proxy::start(settings);
    let dripping: Vec<_> = (0..CAP)
        .map(|_| {
            let mut client = connect_from([127, 0, 0, 2], proxy.address());
            client.send("GET / HTTP/1.1\r\nX: ");
            thread::spawn(move || client.drip(b"x", PAUSE, 3_000))
        })
        .collect();
    await_that("nobody makes room", || is_served(proxy.connect()));
    let kept_out = (0..10).filter(|_| !is_served(proxy.connect())).count() as u64;
    bounded("heads that drip, at the cap", "of 10 visitors kept out", 0, kept_out);
    drop(proxy);
    for client in dripping {
        client.join().unwrap();
    }
}

/// An exchange that needs no application.
fn refused_target(client: &mut Wire) {
    client.send("GET * HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    client.exactly(values(&head, "content-length")[0].parse().unwrap());
}

/// Whether a connection was let in.
fn is_served(mut client: Wire) -> bool {
    client
        .ask("GET * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .starts_with("HTTP/1.1 400 ")
}
