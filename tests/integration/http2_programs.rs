//! HTTP/2 as others speak it: h2load and nghttp, of nghttp2; and what a client of it may take.

use std::net::SocketAddr;
use std::process::{Command, Output};

use crate::support::attack::bounded;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::frames::Frames;
use crate::support::inside::Inside;
use crate::support::recorder::{Recorder, Seen};

/// What one connection may make Floodwall keep, with 100 streams that take nothing.
const CONNECTION_BYTES: u64 = 40 << 20;

fn run(program: &str, arguments: &[&str]) -> (Output, String) {
    let output = Command::new(program).args(arguments).output().expect("tests/run installs it");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, said)
}

#[test]
fn h2load_is_answered_every_time_over_many_connections_and_streams() {
    let recorder = Recorder::start(|_| "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned());
    let proxy = Inside::start(recorder.upstream(), "exempt = ['127.0.0.1']");
    let url = format!("http://{}/page", proxy.target());
    let (output, said) = run("h2load", &["-n", "5000", "-c", "8", "-m", "50", "-t", "2", &url]);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("5000 total, 5000 started, 5000 done, 5000 succeeded, 0 failed"),
        "{said}"
    );
    assert!(said.contains("status codes: 5000 2xx, 0 3xx, 0 4xx, 0 5xx"), "{said}");
    let file = Folder::new("h2load");
    let body = file.path().join("body");
    std::fs::write(&body, vec![b'x'; 300_000]).expect("a folder of our own");
    let body = body.display().to_string();
    let upload = ["-n", "100", "-c", "2", "-m", "20", "-d", &*body, &*url];
    let (output, said) = run("h2load", &upload);
    assert!(output.status.success() && said.contains("status codes: 100 2xx"), "{said}");
    drop(proxy);
    let seen = recorder.finish();
    assert_eq!(seen.len(), 5_100);
    let whole = |seen: &Seen| match seen {
        Seen::Request(request) => request.target == "/page",
        Seen::Cut | Seen::Malformed(..) => false,
    };
    assert!(seen.iter().all(whole), "something else than requests reached the application");
}

#[test]
fn nghttp_is_served_with_its_priorities_and_its_upload() {
    let recorder = Recorder::start(|_| "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned());
    let proxy = Inside::start(recorder.upstream(), "exempt = ['127.0.0.1']");
    let url = format!("http://{}/page", proxy.target());
    let (output, said) = run("nghttp", &["-v", "-m", "20", "-H", "cookie: a=1; b=2", &url]);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches(":status: 200").count(), 20, "{said}");
    assert!(!said.contains("RST_STREAM"), "{said}");
    let file = Folder::new("nghttp");
    let body = file.path().join("body");
    std::fs::write(&body, vec![b'x'; 3_000_000]).expect("a folder of our own");
    let arguments = ["-v", "-d", &body.display().to_string(), "--trailer", "x-sum: 1", &url];
    let (output, said) = run("nghttp", &arguments);
    assert!(output.status.success() && said.contains(":status: 200"), "{said}");
    drop(proxy);
    let seen = recorder.finish();
    let cookies = seen.iter().filter_map(|seen| match seen {
        Seen::Request(request) => request.values("cookie").next(),
        Seen::Cut | Seen::Malformed(..) => None,
    });
    assert_eq!(cookies.filter(|line| *line == "a=1; b=2").count(), 20);
    assert!(matches!(seen.last(), Some(Seen::Request(last)) if last.body.len() == 3_000_000));
}

/// Every stream that a connection may have, each with a long response of which nothing is taken.
#[test]
fn a_connection_that_takes_nothing_keeps_no_more_than_this() {
    const CONNECTIONS: u64 = 2;
    const ROOM: u64 = 500_000;
    let body = "x".repeat(2_000_000);
    let recorder = Recorder::start(move |_| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    });
    let folder = Folder::new("http2-memory");
    let configuration = "exempt = ['127.0.0.1']\ncores = 1\n";
    let floodwall = Floodwall::start(&folder, recorder.upstream(), configuration);
    let address: SocketAddr = floodwall.address().parse().expect("an address");
    let before = floodwall.resident();
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        // Some of it flows first: buffers grow with what they let through.
        let mut client = Frames::connect(address, &[&*format!("4={ROOM}"), "windows=no"]);
        client.window(0, 100_000_000);
        for number in 0..100 {
            client.get(1 + 2 * number, &[]);
        }
        let mut taken = 0;
        while taken < 100 * ROOM {
            taken += client.await_event("data")["bytes"].as_u64().expect("a number");
        }
        clients.push(client);
    }
    let kept = floodwall.resident().saturating_sub(before) / CONNECTIONS;
    bounded(
        "100 streams of one HTTP/2 connection, whose client takes nothing of long responses",
        "bytes of memory for each connection",
        CONNECTION_BYTES,
        kept,
    );
    let mut another = Frames::connect(address, &[]);
    another.get(1, &[]);
    assert_eq!(another.answer(1).bytes, 2_000_000);
}
