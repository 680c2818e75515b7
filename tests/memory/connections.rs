//! What a client's connection takes: bytes that are allocated for each, counted and not measured.
//! Alone in its process, whose allocations it counts.

#![allow(clippy::disallowed_methods, reason = "deadlines of tests are of the real clock")]

use std::alloc::System;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use backend::Backend;
use inside::{Inside, await_that};

#[path = "../integration/support/address.rs"]
mod address;
#[allow(dead_code, reason = "the integration tests have uses for it that these have not")]
#[path = "../integration/support/backend.rs"]
mod backend;
#[allow(dead_code, reason = "the same")]
#[path = "../integration/support/inside.rs"]
mod inside;
#[allow(dead_code, reason = "the same")]
#[path = "../../demo/load/mod.rs"]
mod load;
#[allow(dead_code, reason = "the same")]
#[path = "../integration/support/single.rs"]
mod single;

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Only one test at a time may allocate.
static ALONE: Mutex<()> = Mutex::new(());

/// So many connections are counted, after some that everything has grown by what it needs once.
const COUNTED_CONNECTIONS: usize = 500;
const FIRST_CONNECTIONS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(20);

const CONFIGURATION: &str = "
    cores = 1
    [downstream_limits]
    connections = 2000
    connections_per_client = 2000
    header_timeout = \"60s\"
";
const HEAD: &str = "GET /page HTTP/1.1\r\nHost: site.test\r\nUser-Agent: test\r\n\r\n";
/// What a connection has at least that speaks, and not while it rests: the exchange's place.
const WHILE_IT_SPEAKS: i64 = 1 << 10;
const AT_REST: i64 = 4 << 10;
/// What those that are gone may leave: what grows with how many there were once, and what the backend
/// has written down.
const LEFT: i64 = 512;
/// While a head is not whole it is gathered.
const IN_A_HEAD: i64 = 8 << 10;

struct Rig {
    inside: Inside,
    _backend: Backend,
    _alone: MutexGuard<'static, ()>,
}

impl Rig {
    fn start() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let backend = Backend::start();
        let inside = Inside::start(&backend.url(), CONFIGURATION);
        Self { inside, _backend: backend, _alone: alone }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.inside.target().address()).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is connected");
        stream
    }

    /// A connection that has made one request.
    fn used(&self) -> TcpStream {
        let mut stream = self.connect();
        ask(&mut stream);
        stream
    }

    fn taken(&self) -> usize {
        self.inside.app.seats.taken()
    }
}

fn allocated() -> i64 {
    let stats = COUNTED.stats();
    stats.bytes_allocated as i64 - stats.bytes_deallocated as i64
}

/// Waits until no more than this is allocated.
fn await_allocated(most: i64) {
    let deadline = Instant::now() + PATIENCE;
    while allocated() > most {
        assert!(Instant::now() < deadline, "{} bytes, not {most}", allocated());
        thread::yield_now();
    }
}

fn ask(stream: &mut TcpStream) {
    stream.write_all(HEAD.as_bytes()).expect("it is connected");
    answered(stream);
}

/// Reads one answer.
fn answered(stream: &mut TcpStream) {
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    let is_whole = |answer: &[u8]| {
        let text = String::from_utf8_lossy(answer);
        text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.starts_with("127.0.0.1:"))
    };
    while !is_whole(&answer) {
        let read = stream.read(&mut piece).expect("an answer in time");
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..read]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{:?}", String::from_utf8_lossy(&answer));
}

/// Bytes for each of these connections, once they take no more than `most`.
fn for_each(before: i64, connections: &[TcpStream], most: i64) -> i64 {
    let number = connections.len() as i64;
    await_allocated(before + most * number);
    (allocated() - before) / number
}

#[test]
fn an_idle_connection_holds_no_buffers() {
    let rig = Rig::start();
    let first: Vec<_> = (0..FIRST_CONNECTIONS).map(|_| rig.used()).collect();
    await_allocated(allocated() - FIRST_CONNECTIONS as i64 * WHILE_IT_SPEAKS);
    let before = allocated();
    let mut idle: Vec<_> = (0..COUNTED_CONNECTIONS).map(|_| rig.used()).collect();
    let each = for_each(before, &idle, AT_REST);
    println!("{each} bytes for an idle connection");

    // What rests is as good as new, and rests again.
    idle.iter_mut().for_each(ask);
    println!("{} bytes after another request", for_each(before, &idle, AT_REST));
    drop(idle);
    await_that("they do not end", || rig.taken() == first.len());
    await_allocated(before + LEFT * COUNTED_CONNECTIONS as i64);
}

#[test]
fn a_silent_connection_holds_no_buffers_and_one_within_a_head_gives_them_back() {
    let rig = Rig::start();
    let first: Vec<_> = (0..FIRST_CONNECTIONS).map(|_| rig.used()).collect();
    await_allocated(allocated() - FIRST_CONNECTIONS as i64 * WHILE_IT_SPEAKS);
    let before = allocated();
    let silent: Vec<_> = (0..COUNTED_CONNECTIONS).map(|_| rig.connect()).collect();
    await_that("they are not accepted", || rig.taken() == FIRST_CONNECTIONS + COUNTED_CONNECTIONS);
    println!("{} bytes for a silent connection", for_each(before, &silent, AT_REST));
    let mut dripping = silent;
    let half = HEAD.len() / 2;
    for round in 0..half {
        for stream in &mut dripping {
            stream.write_all(&HEAD.as_bytes()[round..=round]).expect("it is connected");
        }
    }
    for stream in &mut dripping {
        stream.write_all(&HEAD.as_bytes()[half..HEAD.len() - 1]).expect("it is connected");
    }
    let each = for_each(before, &dripping, IN_A_HEAD);
    println!("{each} bytes for a connection within a head");
    for stream in &mut dripping {
        stream.write_all(b"\n").expect("it is connected");
        answered(stream);
    }
    for_each(before, &dripping, AT_REST);
    drop((dripping, first));
    await_that("they do not end", || rig.taken() == 0);
}

/// The beginning of a second head, which has come with the first, is not lost when its connection
/// rests, and the rest of it may come later.
#[test]
fn what_came_of_the_next_head_is_kept() {
    let rig = Rig::start();
    let mut first = rig.used();
    await_allocated(allocated() - WHILE_IT_SPEAKS);
    let before = allocated();
    let (begun, rest) = HEAD.split_at(9);
    first.write_all(format!("{HEAD}{begun}").as_bytes()).expect("it is connected");
    answered(&mut first);
    // Another one, which rests: so has the first been looked at by then.
    let mut other = rig.used();
    await_allocated(before + 2 * AT_REST + IN_A_HEAD);
    first.write_all(rest.as_bytes()).expect("it is connected");
    answered(&mut first);
    await_allocated(before + 2 * AT_REST);
    ask(&mut first);
    ask(&mut other);
}

/// A body that is read to its end is in nobody's way.
#[test]
fn a_connection_rests_after_an_upload() {
    let rig = Rig::start();
    let mut stream = rig.used();
    await_allocated(allocated() - WHILE_IT_SPEAKS);
    let before = allocated();
    let upload = "POST /form HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in ["3\r\nabc\r\n0\r\n\r\n", "0\r\n\r\n"] {
        stream.write_all(format!("{upload}{body}").as_bytes()).expect("it is connected");
        answered(&mut stream);
        await_allocated(before + AT_REST);
    }
    ask(&mut stream);
}

/// An idle connection that is closed by its client, or by a stop, ends at once though it rests.
#[test]
fn what_rests_ends_with_its_client_and_with_a_stop() {
    let rig = Rig::start();
    let mut idle: Vec<_> = (0..4).map(|_| rig.used()).collect();
    await_allocated(allocated() - 4 * WHILE_IT_SPEAKS);
    idle.truncate(2);
    await_that("it stays when its client has gone", || rig.taken() == 2);
    rig.inside.running.as_ref().expect("it runs").stop();
    for stream in &mut idle {
        assert_eq!(stream.read(&mut [0; 16]).expect("it is closed, not reset"), 0);
    }
    await_that("it stays at a stop", || rig.taken() == 0);
}
