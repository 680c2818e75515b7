//! PROXY headers: of genuine HAProxy and curl, and of those who have no right to send one.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use floodwall::proxy::proxy_header::Version;
use floodwall::proxy::settings::{AcceptHeader, Address, ProxyProtocol};

use crate::raw::{Application, OK, Proxy, Wire, has, settings, values};
use crate::support::address::own_address;
use crate::support::attack::bounded;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::front::Front;
use crate::support::inside::await_that;
use crate::support::recorder::{Recorder, Seen};
use crate::support::sending::{send_from, text};
use crate::support::single::Single;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 4097 80\r\n";
/// The same, with a TLV.
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\xc0\0\x02\x07\x0a\0\0\x01\x10\x01\0\x50\x04\0\x01x";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn accepting(application: &Application, accept: AcceptHeader) -> Single {
    let mut settings = settings(application.address.clone());
    settings.proxy_protocol =
        ProxyProtocol { accept, from: vec!["127.0.0.1/32".parse().expect("an address")] };
    settings
}

/// A connection from another address of this machine.
fn connect_from(source: [u8; 4], address: SocketAddr) -> Wire {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    Wire::tcp(TcpStream::from(socket))
}

/// What the application gets of a request behind this header.
fn forwarded(client: &mut Wire, application: &Application, header: &[u8], request: &str) -> String {
    client.send([header, request.as_bytes()].concat());
    let mut wire = application.accept();
    let head = wire.head();
    wire.send(OK);
    assert!(client.until("ok").starts_with("HTTP/1.1 200 "));
    head
}

#[test]
fn haproxy_in_front_names_its_clients_and_checks() {
    let folder = Folder::new("haproxy");
    let application = Recorder::echo();
    let configuration = "[proxy_protocol]\naccept = 'required'\nfrom = '127.0.0.1'\n";
    let floodwall = Floodwall::start(&folder, application.upstream(), configuration);
    let doors: Vec<SocketAddr> = (0..3).map(|_| own_address()).collect();
    let server = |options: &str| {
        format!("  server floodwall {} check inter 200ms {options}\n", floodwall.address())
    };
    // A relay of bytes, one of requests, and one whose checks are mere connections.
    let sections = format!(
        "listen v1\n  mode tcp\n  bind {}\n  option httpchk GET /check-1\n{}\
         listen v2\n  bind {}\n  option httpchk GET /check-2\n{}\
         listen tcp\n  mode tcp\n  bind {}\n{}",
        doors[0],
        server("send-proxy check-send-proxy"),
        doors[1],
        server("send-proxy-v2 check-send-proxy"),
        doors[2],
        server("send-proxy-v2-ssl-cn"),
    );
    let haproxy = Front::haproxy(&folder, doors[0], &sections);
    for door in doors {
        let target = door.to_string().parse().expect("loopback");
        for client in [5, 6] {
            let request = "GET /page\nX-Forwarded-For: 192.0.2.66\nForwarded: for=192.0.2.66";
            let said = text(&send_from(Ipv4Addr::new(127, 0, 0, client), target, request, ""));
            assert_eq!(values(&said, "x-forwarded-for"), [format!("127.0.0.{client}")], "{said}");
            assert!(!said.contains("192.0.2.66"), "{said}");
        }
    }
    for check in ["/check-1", "/check-2"] {
        let found = |seen: &Seen| match seen {
            Seen::Request(request) if request.target == check => {
                let by: Vec<&str> = request.values("x-forwarded-for").collect();
                assert_eq!(by, ["127.0.0.1"], "the proxy itself");
                true
            }
            Seen::Request(_) => false,
            other => panic!("{other:?}"),
        };
        await_that("HAProxy checks", || application.seen().iter().any(found));
    }
    drop(haproxy);
    assert!(!floodwall.log().contains("proxy-header"), "{}", floodwall.log());
}

#[test]
fn haproxy_that_sends_no_header_where_one_is_required_is_told_of() {
    let folder = Folder::new("haproxy");
    let application = Recorder::echo();
    let configuration = "[proxy_protocol]\naccept = 'required'\nfrom = '127.0.0.1'\n";
    let mut floodwall = Floodwall::start(&folder, application.upstream(), configuration);
    let door = own_address();
    let sections = format!(
        "listen plain\n  bind {door}\n  retries 0\n  server floodwall {}\n",
        floodwall.address()
    );
    let haproxy = Front::haproxy(&folder, door, &sections);
    assert_eq!(send_from(Ipv4Addr::LOCALHOST, haproxy.target(), "GET /", "").status, 502);
    floodwall.await_said("127.0.0.1 sent no PROXY header, which proxy_protocol.accept requires");
    assert_eq!(application.seen().len(), 0);
}

#[test]
fn curl_names_itself() {
    let folder = Folder::new("curl");
    let application = Recorder::echo();
    let configuration = "[proxy_protocol]\naccept = 'optional'\nfrom = '127.0.0.1'\n";
    let floodwall = Floodwall::start(&folder, application.upstream(), configuration);
    for header in [&["--haproxy-protocol"][..], &[]] {
        let url = format!("http://{}/", floodwall.address());
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "20"]).args(header).arg(url);
        let output = curl.output().expect("curl runs");
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(values(&said, "x-forwarded-for"), ["127.0.0.1"], "{said}");
    }
}

#[test]
fn a_header_is_read_however_it_is_split_and_nothing_behind_it_is_lost() {
    let application = Application::tcp();
    for accept in [AcceptHeader::Optional, AcceptHeader::Required] {
        let proxy = Proxy::start(accepting(&application, accept));
        for header in [V1, V2] {
            for split in 1..header.len() {
                let mut client = proxy.connect();
                client.send(&header[..split]);
                let head = forwarded(&mut client, &application, &header[split..], GET);
                assert_eq!(values(&head, "x-forwarded-for"), ["192.0.2.7"]);
            }
            // Two requests at once, more than is read at first.
            let mut client = proxy.connect();
            let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(6_000));
            client.send([header, long.as_bytes(), GET.as_bytes()].concat());
            let mut wire = application.accept();
            assert!(wire.head().starts_with(&long[..6_000]));
            wire.send(OK);
            assert!(wire.head().starts_with("GET / "));
        }
        let mut check = proxy.connect();
        let head = forwarded(&mut check, &application, LOCAL, GET);
        assert_eq!(values(&head, "x-forwarded-for"), ["127.0.0.1"]);
    }
}

#[test]
fn optional_takes_what_comes_without_a_header() {
    let application = Application::tcp();
    let proxy = Proxy::start(accepting(&application, AcceptHeader::Optional));
    let head = forwarded(&mut proxy.connect(), &application, b"", GET);
    assert_eq!(values(&head, "x-forwarded-for"), ["127.0.0.1"]);
    let mut client = proxy.connect();
    client.send("P");
    let post = "OST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    assert!(forwarded(&mut client, &application, b"", post).starts_with("POST / "));
}

/// Client, HAProxy, nginx: a header names nginx's client only if nginx is trusted.
#[test]
fn forwarded_addresses_are_believed_of_whom_the_header_names() {
    let application = Application::tcp();
    let claims = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n";
    for (trusted, expected) in [
        ("192.0.2.7/32", "198.51.100.1, 192.0.2.7"),
        // The proxy that sends headers is trusted for that, not for what its clients say.
        ("127.0.0.1/32", "192.0.2.7"),
    ] {
        let mut settings = accepting(&application, AcceptHeader::Required);
        settings.trusted_proxies = vec![trusted.parse().expect("a prefix")];
        let proxy = Proxy::start(settings);
        let head = forwarded(&mut proxy.connect(), &application, V2, claims);
        assert_eq!(values(&head, "x-forwarded-for"), [expected]);
    }
}

#[test]
fn what_is_no_good_header_is_closed_without_an_answer() {
    let application = Application::tcp();
    let proxy = Proxy::start(accepting(&application, AcceptHeader::Required));
    let bad: [&[u8]; 4] = [
        GET.as_bytes(),
        b"PROXY TCP4 1.2.3 1.2.3.4 1 1\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    ];
    for bytes in bad {
        let mut client = proxy.connect();
        client.send(bytes);
        assert_eq!(client.rest(), "", "{}", bytes.escape_ascii());
        assert_eq!(proxy.failure(), "proxy-header");
    }
    // Who connects and goes has said nothing wrong: so do checks.
    let mut check = proxy.connect();
    check.finish();
    assert_eq!(check.rest(), "");
    assert!(application.is_left_alone());
    assert_eq!(proxy.told(), 0);
}

#[test]
fn a_forged_header_is_never_believed() {
    let application = Application::tcp();
    let mut forged = 0;
    for accept in [AcceptHeader::Off, AcceptHeader::Optional, AcceptHeader::Required] {
        let proxy = Proxy::start(accepting(&application, accept));
        for header in [V1, V2, LOCAL] {
            let mut client = connect_from([127, 0, 0, 2], proxy.address());
            client.send([header, GET.as_bytes()].concat());
            let answer = client.rest();
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
            forged += u64::from(!application.is_left_alone());
        }
        // Who must send none is served without one, as anybody.
        let mut client = connect_from([127, 0, 0, 2], proxy.address());
        let head = forwarded(&mut client, &application, b"", GET);
        assert_eq!(values(&head, "x-forwarded-for"), ["127.0.0.2"]);
        assert!(!has(&head, "forwarded"));
    }
    bounded("PROXY headers from who may not send them", "requests that were forwarded", 0, forged);
}

#[test]
fn a_second_header_is_no_header() {
    let application = Application::tcp();
    let proxy = Proxy::start(accepting(&application, AcceptHeader::Required));
    let mut client = proxy.connect();
    client.send([V1, V1, GET.as_bytes()].concat());
    assert!(client.rest().starts_with("HTTP/1.1 400 "));
    assert!(application.is_left_alone());
}

/// A client behind a proxy has no more connections than it would have without.
#[test]
fn connections_are_counted_by_the_client_that_is_named() {
    let application = Application::tcp();
    let mut settings = accepting(&application, AcceptHeader::Required);
    settings.downstream_limits.connections_per_client = 16;
    let proxy = Proxy::start(settings);
    let busy: Vec<_> = (0..16)
        .map(|_| {
            let mut client = proxy.connect();
            client.send([V1, GET.as_bytes()].concat());
            let mut wire = application.accept();
            wire.head();
            (client, wire)
        })
        .collect();
    let mut one_more = proxy.connect();
    one_more.send([V2, GET.as_bytes()].concat());
    assert_eq!(one_more.rest(), "");
    assert_eq!(proxy.failure(), "client-connections");
    // Another one, and the proxy itself, are not kept out.
    let other = b"PROXY TCP4 192.0.2.8 10.0.0.1 4097 80\r\n";
    forwarded(&mut proxy.connect(), &application, other, GET);
    forwarded(&mut proxy.connect(), &application, LOCAL, GET);
    drop(busy);
}

#[test]
fn dripped_headers_end_with_the_time_for_a_head() {
    let application = Application::tcp();
    let mut settings = accepting(&application, AcceptHeader::Required);
    settings.downstream_limits.header_timeout = Duration::from_millis(400);
    let proxy = Proxy::start(settings);
    let mut client = proxy.connect();
    let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 80]].concat();
    let pieces: Vec<&[u8]> = long.chunks(1).collect();
    let sent = pieces
        .iter()
        .take_while(|piece| {
            client.drip(piece, Duration::from_millis(20), 1) == 1 && client.is_open()
        })
        .count();
    assert!((1..pieces.len()).contains(&sent), "{sent} pieces");
    assert_eq!(proxy.failure(), "head-timeout");
    assert!(application.is_left_alone());
}

#[test]
fn silent_connections_at_a_required_door_keep_nobody_out() {
    let application = Application::tcp();
    let mut settings = accepting(&application, AcceptHeader::Required);
    settings.downstream_limits.connections = 500;
    let proxy = Proxy::start(settings);
    let silent: Vec<Wire> = (0..2_000)
        .map(|index: u32| {
            let mut client = proxy.connect();
            // Some say half of a header. It may have been shed already.
            client.say(&V1[..index as usize % 2 * 10]);
            client
        })
        .collect();
    let is_served = || {
        let mut client = proxy.connect();
        let refused = "GET * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        client.say(V1);
        client.ask(refused).starts_with("HTTP/1.1 400 ")
    };
    // Each has a moment to say something.
    await_that("nobody makes room", is_served);
    let kept_out = (0..20).filter(|_| !is_served()).count();
    let open = silent.iter().filter(|client| client.is_open()).count();
    bounded("2,000 connections silent before their PROXY header", "kept open", 500, open as u64);
    bounded("the same", "of 20 visitors kept out", 0, kept_out as u64);
}

#[test]
fn a_peer_on_a_unix_socket_may_send_a_header_and_must_where_it_is_required() {
    let folder = Folder::new("proxy-protocol");
    let socket = folder.path().join("s");
    let application = Recorder::echo();
    let listen = format!("unix:{}", socket.display());
    let required = "[proxy_protocol]\naccept = 'required'\n";
    let _floodwall = Floodwall::start_at(&folder, application.upstream(), required, &listen);
    let connect = || Wire::unix(UnixStream::connect(&socket).expect("it listens"));
    let mut client = connect();
    client.send([V2, GET.as_bytes()].concat());
    assert!(client.until("x-forwarded-for: 192.0.2.7\n").starts_with("HTTP/1.1 200 "));
    let mut client = connect();
    client.send(GET);
    assert_eq!(client.rest(), "");
}

/// What HAProxy and nginx behind Floodwall understand of the headers that it sends.
#[test]
fn haproxy_and_nginx_behind_learn_of_the_client() {
    let folder = Folder::new("behind");
    let application = Recorder::echo();
    let (checked, other) = (own_address(), own_address());
    let backend = application.upstream().strip_prefix("http://").expect("TCP").to_owned();
    let sections = format!(
        "listen headers\n  bind {checked} accept-proxy\n  \
         http-request set-header X-Seen %[src]:%[src_port],%[dst]:%[dst_port]\n  \
         server application {backend}\n\
         listen health\n  bind {other}\n  http-request return status 200\n"
    );
    let _haproxy = Front::haproxy(&folder, other, &sections);
    let server = own_address();
    let seen = "$proxy_protocol_addr:$proxy_protocol_port,\
                $proxy_protocol_server_addr:$proxy_protocol_server_port";
    let block =
        format!("server {{ listen {server} proxy_protocol; return 200 \"x-seen: {seen}\\n\"; }}");
    let _nginx = Front::nginx(&folder, server, &block);
    for version in ["v1", "v2"] {
        for behind in [checked, server] {
            let folder = Folder::new("behind-floodwall");
            let configuration = format!(
                "trusted_proxies = '127.0.0.9'\n[upstream_proxy_protocol]\nsend = '{version}'\n"
            );
            let floodwall = Floodwall::start(&folder, &format!("http://{behind}"), &configuration);
            let address: SocketAddr = floodwall.address().parse().expect("an address");
            let mut client = connect_from([127, 0, 0, 8], address);
            let source = client.stream().local_addr().expect("it is connected");
            for _ in 0..2 {
                client.send(GET);
                let said = client.until(&format!("x-seen: {source},{address}\n"));
                assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
            }
            // Forwarded addresses have no port, and neither has a number for that.
            let mut proxy = connect_from([127, 0, 0, 9], address);
            for client in ["192.0.2.1", "192.0.2.2"] {
                let request =
                    format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n\r\n");
                proxy.send(request);
                let said = proxy.until(&format!("x-seen: {client}:,{address}\n"));
                assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
            }
        }
    }
}

/// A connection says once whose it is: it is nobody else's then, however many wait for one.
#[test]
fn connections_to_the_application_belong_to_one_client() {
    let application = Application::tcp();
    let mut settings = settings(application.address.clone());
    settings.site.upstream.header = Some(Version::V1);
    settings.trusted_proxies = vec!["127.0.0.1/32".parse().expect("an address")];
    let proxy = Proxy::start(settings);
    let ask = |client: &mut Wire, forwarded: &str| {
        let line = if forwarded.is_empty() {
            String::new()
        } else {
            format!("X-Forwarded-For: {forwarded}\r\n")
        };
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n"));
    };
    let mut client = proxy.connect();
    let mut wires: Vec<Wire> = Vec::new();
    let to = proxy.address();
    for (from, named) in [
        ("192.0.2.1", format!("PROXY TCP4 192.0.2.1 127.0.0.1 0 {}\r\n", to.port())),
        ("192.0.2.2", format!("PROXY TCP4 192.0.2.2 127.0.0.1 0 {}\r\n", to.port())),
        // Junk: the proxy stands in for somebody.
        ("junk", "PROXY UNKNOWN\r\n".to_owned()),
        ("2001:db8::1", format!("PROXY TCP6 2001:db8::1 ::ffff:127.0.0.1 0 {}\r\n", to.port())),
    ] {
        ask(&mut client, from);
        let mut wire = application.accept();
        assert_eq!(wire.until("\r\n"), named);
        assert!(wire.head().starts_with("GET / HTTP/1.1\r\n"));
        wire.send(OK);
        client.until("ok");
        wires.push(wire);
    }
    // Each comes back on its own, without another header.
    for (index, from) in ["192.0.2.1", "192.0.2.2", "junk", "2001:db8::1"].iter().enumerate() {
        ask(&mut client, from);
        assert!(wires[index].head().starts_with("GET / HTTP/1.1\r\n"), "{from}");
        wires[index].send(OK);
        client.until("ok");
    }
    assert!(application.is_left_alone());
    let peer = client.stream().local_addr().expect("it is connected");
    ask(&mut client, "");
    let mut wire = application.accept();
    let named = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", peer.port(), to.port());
    assert_eq!(wire.until("\r\n"), named);
}

/// Health checks are Floodwall's own.
#[test]
fn checks_name_nobody() {
    let application = Application::tcp();
    let Address::Tcp { port, .. } = &application.address else { panic!("it listens on TCP") };
    let folder = Folder::new("checks");
    let configuration = "[health]\npath = '/health'\n[upstream_proxy_protocol]\nsend = 'v2'\n";
    let upstream = format!("http://127.0.0.1:{port}");
    let _floodwall = Floodwall::start(&folder, &upstream, configuration);
    let mut wire = application.accept();
    assert_eq!(wire.exactly(LOCAL.len()), LOCAL);
    assert!(wire.head().starts_with("GET /health HTTP/1.1\r\n"));
}
