//! Starting and stopping.

use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use floodwall::proxy::orders::Orders;
use floodwall::proxy::passed::Passed;
use floodwall::proxy::run::{Bound, Ear, RunError, run};

use floodwall::proxy::settings::{Door, DoorAddress, DoorKind};

use crate::raw::{Application, OK, Proxy, Wire, settings, shield};
use crate::support::address::own_address;

const GET: &str = "GET / HTTP/1.1\r\nHost: site.example\r\n\r\n";

#[test]
fn a_port_in_use_is_named_with_its_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut settings = settings(Application::tcp().address);
    let door = DoorAddress::Tcp(address);
    settings.doors.push(Door { address: door, kind: DoorKind::Plain });
    let shield = shield();
    let app = settings.app(shield.clock, shield, |_| {});
    let error = Bound::new(app, Passed::none()).unwrap_err();
    assert!(matches!(error, RunError::Bind { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&address.to_string()) && text.contains("`listen`"), "{text}");
}

#[test]
fn all_cores_and_all_addresses_serve() {
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    settings.cores = 3;
    let door = settings.doors[0].clone();
    settings.doors.push(door);
    let proxy = Proxy::start(settings);
    assert_eq!(proxy.running().addresses().len(), 2);
    for address in proxy.running().addresses().to_vec() {
        for _ in 0..10 {
            let mut client = proxy.connect_to(address.tcp().unwrap());
            client.send("GET * HTTP/1.1\r\nHost: a\r\n\r\n");
            assert!(client.head().starts_with("HTTP/1.1 400 "));
        }
    }
    proxy.running().stop();
    assert_eq!(proxy.wait(), 0);
}

#[test]
fn a_stop_lets_running_exchanges_end_and_takes_no_new_ones() {
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    let address = own_address();
    settings.doors[0].address = DoorAddress::Tcp(address);
    let proxy = Proxy::start(settings);
    let mut idle = proxy.connect();
    idle.send("GET * HTTP/1.1\r\nHost: a\r\n\r\n");
    idle.head();
    idle.until("\n");
    let mut client = proxy.connect();
    client.send(GET);
    let mut wire = application.accept();
    wire.head();

    proxy.running().stop();
    assert_eq!(idle.rest(), "", "an idle connection is closed at once");
    assert!(TcpStream::connect(address).is_err(), "the port is free");
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlo");
    assert!(client.head().contains("connection: close\r\n"));
    wire.send("ng");
    assert_eq!(client.rest(), "long");
    assert_eq!(proxy.wait(), 0);
}

/// What it sends may still become HTTP/1 or HTTP/2: who finds that out hears of the stop, and so
/// must who serves it then.
#[test]
fn a_stop_in_the_first_bytes_of_a_connection_is_heard_by_whoever_serves_it() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    client.send("P");
    // Whose turn comes later, on the only core.
    let mut other = proxy.connect();
    other.send("GET * HTTP/1.1\r\nHost: a\r\n\r\n");
    other.head();

    proxy.running().stop();
    assert!(other.rest().ends_with('\n'));
    client.send("UT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    let mut wire = application.accept();
    wire.head();
    wire.send(OK);
    assert!(client.head().contains("connection: close\r\n"));
    assert_eq!(client.rest(), "ok");
    assert_eq!(proxy.wait(), 0);
}

#[test]
fn sigterm_drains() {
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    // `run` tells nobody its port.
    let address = own_address();
    settings.doors[0].address = DoorAddress::Tcp(address);
    let shield = shield();
    let app = settings.app(shield.clock, shield, |_| {});
    let running = thread::spawn(move || {
        let orders = Orders {
            control: &|| Ok(None),
            reload: &|| Err(String::new()),
            program: None,
            serving: &|| Ok(()),
        };
        run(app, Passed::none(), &orders, Ear::open()?)
    });
    let mut client = loop {
        // Once it listens it has taken the signals over.
        match TcpStream::connect(address) {
            Ok(stream) => break Wire::tcp(stream),
            Err(_) => assert!(!running.is_finished()),
        }
    };
    client.send(GET);
    let mut wire = application.accept();
    wire.head();
    let process = std::process::id().to_string();
    assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    while TcpStream::connect(address).is_ok() {
        thread::yield_now();
    }
    wire.send(OK);
    assert!(client.rest().ends_with("ok"));
    running.join().unwrap().unwrap();
}

#[test]
fn a_stop_waits_for_exchanges_whose_client_is_gone() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut gone = proxy.connect();
    gone.send(GET);
    let mut wire = application.accept();
    wire.head();
    let mut idle = proxy.connect();
    drop(gone);
    proxy.running().stop();
    // It is closed after the hang-up was noticed, and the exchange is still there.
    assert_eq!(idle.rest(), "");
    wire.send(OK);
    assert_eq!(proxy.wait(), 0);
}

#[test]
fn what_outlasts_the_drain_is_cut_and_counted() {
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    settings.drain_timeout = Duration::from_millis(50);
    let proxy = Proxy::start(settings);
    let mut client = proxy.connect();
    client.send(GET);
    let mut wire = application.accept();
    wire.head();
    proxy.running().stop();
    assert_eq!(proxy.wait(), 1);
    assert_eq!(client.rest(), "");
    assert_eq!(wire.rest(), "");
}

#[test]
fn an_exchange_without_a_client_is_cut_and_counted_too() {
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    settings.drain_timeout = Duration::from_millis(50);
    let proxy = Proxy::start(settings);
    let mut gone = proxy.connect();
    gone.send(GET);
    let mut wire = application.accept();
    wire.head();
    drop(gone);
    proxy.running().stop();
    assert_eq!(proxy.wait(), 1);
    assert_eq!(wire.rest(), "");
}

#[test]
fn a_second_request_to_stop_ends_at_once() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    client.send(GET);
    let mut wire = application.accept();
    wire.head();
    proxy.running().stop();
    proxy.running().abort();
    assert_eq!(proxy.wait(), 1);
    assert_eq!(client.rest(), "");
}
