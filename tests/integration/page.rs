//! The page of the admin listener and its events, as curl and raw connections see them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::address::own_address;
use crate::support::attack::bounded;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::recorder::Recorder;
use crate::support::shop::shop;

/// Floodwall in front of a shop, with its admin listener at the address.
struct Watched {
    floodwall: Floodwall,
    admin: String,
    folder: Folder,
    shop: Recorder,
}

impl Watched {
    fn start(name: &str) -> Self {
        let folder = Folder::new(name);
        let shop = shop();
        let admin = own_address();
        let configuration = format!("admin.listen = '{admin}'\n");
        let floodwall = Floodwall::start(&folder, shop.upstream(), &configuration);
        Self { floodwall, admin: admin.to_string(), folder, shop }
    }

    /// The head in lower case, and the body, as curl shows them.
    fn ask(&self, arguments: &[&str], path: &str) -> (String, Vec<u8>) {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "10", "--include"])
            .args(arguments)
            .arg(format!("http://{}{path}", self.admin))
            .output()
            .expect("curl runs");
        let said = output.stdout;
        let end = said.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(said[..end].to_vec()).expect("UTF-8");
        (head.to_lowercase(), said[end + 4..].to_vec())
    }

    /// A connection on which the events of the page come.
    fn look(&self, headers: &str) -> Events {
        let mut stream = TcpStream::connect(&self.admin).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        write!(stream, "GET /events HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n").expect("sent");
        let mut lines = BufReader::new(stream);
        let mut status = String::new();
        lines.read_line(&mut status).expect("an answer");
        Events { lines, status }
    }
}

struct Events {
    lines: BufReader<TcpStream>,
    status: String,
}

impl Events {
    /// The next event: its kind, its id and its data.
    fn next(&mut self) -> (String, String, Value) {
        let (mut kind, mut id) = (String::new(), String::new());
        for line in self.lines.by_ref().lines() {
            let line = line.expect("a line within ten seconds");
            if let Some(word) = line.strip_prefix("event: ") {
                kind = word.to_owned();
            } else if let Some(word) = line.strip_prefix("id: ") {
                id = word.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                return (kind, id, serde_json::from_str(data).expect("JSON"));
            }
        }
        panic!("the events have ended");
    }

    /// Goes on until the first look has been taken, which is told of as a backlog.
    fn backlog(watched: &Watched, headers: &str) -> (Self, String, Value) {
        let mut events = watched.look(headers);
        let (kind, id, data) = events.next();
        assert_eq!(kind, "backlog");
        (events, id, data)
    }
}

#[test]
fn the_page_asks_nobody_else_for_anything_and_is_framed_by_nobody() {
    let watched = Watched::start("page");
    let (head, body) = watched.ask(&[], "/");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    for line in [
        "content-type: text/html; charset=utf-8",
        "cache-control: no-cache",
        "x-frame-options: deny",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; \
         connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
    ] {
        assert!(head.contains(line), "{line}\n{head}");
    }
    let page = String::from_utf8(body).expect("UTF-8");
    assert!(!page.contains("style=") && !page.contains(" on"), "nothing is inline");
    let script = page.split('"').find(|part| part.ends_with("/page.js")).expect("a script");
    let script = format!("/{script}");
    let (head, plain) = watched.ask(&[], &script);
    assert!(head.contains("cache-control: private, max-age=31536000, immutable"), "{head}");
    assert!(head.contains("vary: accept-encoding"), "{head}");
    let (head, unpacked) = watched.ask(&["--compressed"], &script);
    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert_eq!(plain, unpacked);
    let etag = head.lines().find_map(|line| line.strip_prefix("etag: w/")).expect("a tag");
    let (head, body) = watched.ask(&["--header", &format!("If-None-Match: W/{etag}")], &script);
    assert!(head.starts_with("http/1.1 304") && body.is_empty(), "{head}");
    let (head, body) = watched.ask(&["--head"], "/");
    assert!(head.starts_with("http/1.1 200") && body.is_empty(), "{head}");
    assert!(watched.ask(&[], "/assets/0000000000000000/page.js").0.starts_with("http/1.1 404"));
    assert!(watched.ask(&["--data", "x"], "/").0.starts_with("http/1.1 405"));
}

#[test]
fn each_second_is_told_once_also_to_who_comes_again() {
    let watched = Watched::start("page-events");
    let (mut events, first, data) = Events::backlog(&watched, "");
    assert_eq!(data["continues"], false);
    let columns = data["columns"].as_array().expect("names");
    let forwarded = columns.iter().position(|name| name == "forwarded").expect("a column");
    for _ in 0..3 {
        watched.ask_shop();
    }
    let mut told = Vec::new();
    let mut last = first;
    while told.iter().sum::<u64>() < 3 {
        let (kind, id, data) = events.next();
        assert_eq!(kind, "news");
        let rows = data["fine"].as_array().expect("rows");
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].as_array().expect("a row").len(), columns.len());
        told.push(rows[0][forwarded].as_u64().expect("a count"));
        last = id;
    }
    assert_eq!(told.iter().sum::<u64>(), 3, "{told:?}");
    let newest = events.next().2["fine"][0][0].clone();
    drop(events);

    let (_, _, data) = Events::backlog(&watched, &format!("last-event-id: {last}\r\n"));
    assert_eq!(data["continues"], true);
    let missed = data["fine"].as_array().expect("rows");
    assert_eq!(missed.first().map(|row| at(&row[0])), Some(at(&newest)), "{data}");
    let (_, _, data) = Events::backlog(&watched, "last-event-id: 0/1/default\r\n");
    assert_eq!(data["continues"], false, "another process gave that id");
    let all = data["fine"].as_array().expect("rows");
    assert!(all.len() >= told.len(), "{data}");

    // A new process counts from zero, and says that it is another one.
    let Watched { floodwall, folder, admin, shop } = watched;
    let address = floodwall.address().to_owned();
    assert!(floodwall.stop().success());
    let configuration = format!("admin.listen = '{admin}'\n");
    let floodwall = Floodwall::start_at(&folder, shop.upstream(), &configuration, &address);
    let watched = Watched { floodwall, admin, folder, shop };
    let (_, _, data) = Events::backlog(&watched, &format!("last-event-id: {last}\r\n"));
    assert_eq!(data["continues"], false);
}

/// A time in a row, in tenths of a second: it is told by the age that the row has at the time.
fn at(value: &Value) -> u64 {
    value.as_u64().expect("a time") / 100
}

impl Watched {
    fn ask_shop(&self) {
        let url = format!("http://{}/", self.floodwall.address());
        let asked = Command::new("curl").args(["--silent", &url]).stdout(Stdio::null()).status();
        assert!(asked.expect("curl runs").success());
    }
}

#[test]
fn viewers_leave_room_for_programs_and_give_their_places_back() {
    let watched = Watched::start("page-viewers");
    let mut viewers = Vec::new();
    let refused = loop {
        let viewer = watched.look("");
        if !viewer.status.contains(" 200 ") {
            break viewer;
        }
        viewers.push(viewer);
    };
    assert!(refused.status.contains(" 503 "), "{}", refused.status);
    bounded(
        "viewers of the page that never leave",
        "viewers, while programs are answered",
        32,
        viewers.len() as u64,
    );
    assert!(watched.ask(&[], "/status").0.starts_with("http/1.1 200"));
    drop(viewers);
    // It is known within a second that they are gone.
    await_that("no place is given back", || watched.look("").status.contains(" 200 "));
}

/// A page of another site cannot read the events, but it could take all places.
#[test]
fn pages_of_other_sites_take_no_place() {
    let watched = Watched::start("page-cross");
    for site in ["cross-site", "same-site", "none"] {
        let header = format!("sec-fetch-site: {site}\r\n");
        assert!(watched.look(&header).status.contains(" 403 "), "{site}");
    }
    assert!(watched.look("sec-fetch-site: same-origin\r\n").status.contains(" 200 "));
    let head = watched.ask(&["--head"], "/events").0;
    assert!(head.starts_with("http/1.1 200") && head.contains("text/event-stream"), "{head}");
}
