//! A takeover in which one of the two processes is slow, is stopped, or fails late.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use crate::support::address::own_address;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::shop::{ask, connect, session_of, shop};

/// Without an admin listener: one socket is passed.
const WIDE: &str = "[admin]\nlisten = ''\n\
                    [session]\nunknown = 'drop'\nin_flight_anonymous = 64\n[budget.anonymous]\n\
                    client = { rate = '1000/s', burst = 100000 }\n\
                    site = { rate = '1000/s', burst = 100000 }\n";

/// Frames as a successor sees them: their kinds.
const READY: u8 = 2;
const TOLD: u8 = 4;

/// A successor that has got everything, and does nothing with it.
struct Successor(UnixStream);

impl Successor {
    fn begin(floodwall: &Floodwall) -> Self {
        let mut stream = UnixStream::connect(floodwall.control()).unwrap();
        stream.write_all(b"{\"do\":\"take-over\",\"sites\":[\"default\"]}\n").unwrap();
        let mut byte = [0];
        while byte != *b"\n" {
            stream.read_exact(&mut byte).unwrap();
        }
        // One byte with the one socket.
        stream.read_exact(&mut byte).unwrap();
        let mut successor = Self(stream);
        while successor.frame() != READY {}
        successor
    }

    /// The kind of the next frame.
    fn frame(&mut self) -> u8 {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).expect("the predecessor has not given up");
        let length = u32::from_le_bytes([head[5], head[6], head[7], head[8]]);
        self.0.read_exact(&mut vec![0; length as usize]).unwrap();
        head[0]
    }
}

/// A new process reads a big state, or its disk is slow: what it is told meanwhile waits for it, and
/// no client does.
#[test]
fn no_client_waits_for_a_successor_that_takes_nothing() {
    const SESSIONS: usize = 2000;
    let folder = Folder::new("upgrade-slow");
    let shop = shop();
    let floodwall = Floodwall::start(&folder, shop.upstream(), WIDE);
    let mut successor = Successor::begin(&floodwall);
    let mut wire = connect(floodwall.address());
    for _ in 0..SESSIONS {
        assert!(session_of(&ask(&mut wire, "a", "/", "x=1")).is_some());
    }
    for _ in 0..SESSIONS {
        assert_eq!(successor.frame(), TOLD);
    }
    assert!(!floodwall.log().contains("the successor has failed"));
}

/// Reads with a time limit are interrupted by that.
#[test]
fn a_process_that_was_stopped_goes_on_with_its_takeover() {
    let folder = Folder::new("upgrade-stopped");
    let shop = shop();
    let floodwall = Floodwall::start(&folder, shop.upstream(), WIDE);
    let mut successor = Successor::begin(&floodwall);
    let mut wire = connect(floodwall.address());
    for _ in 0..3 {
        floodwall.signal("-STOP");
        floodwall.signal("-CONT");
        assert!(session_of(&ask(&mut wire, "a", "/", "x=1")).is_some());
        assert_eq!(successor.frame(), TOLD);
    }
    assert!(!floodwall.log().contains("the successor has failed"));
}

/// Its connection ends before its lock does: it has a lot to free, or the kernel has.
#[test]
fn the_state_is_taken_back_however_long_a_failed_successor_takes_to_end() {
    let folder = Folder::new("upgrade-lock");
    let shop = shop();
    let floodwall = Floodwall::start(&folder, shop.upstream(), WIDE);
    let successor = Successor::begin(&floodwall);
    let path = folder.path().join("state.lock");
    let lock = File::open(&path).unwrap();
    await_that("the file is free", || lock.try_lock().is_ok());
    drop(successor);
    await_that("it notices", || floodwall.log().contains("the successor has failed"));
    let meanwhile = session_of(&ask(&mut connect(floodwall.address()), "a", "/", "x=1")).unwrap();
    drop(lock);
    await_that("it has the file again", || File::open(&path).unwrap().try_lock().is_err());
    await_that("it is ready for the next", || floodwall.tell(&["reload"]).0);
    let afterwards = session_of(&ask(&mut connect(floodwall.address()), "a", "/", "x=1")).unwrap();
    floodwall.signal("-KILL");
    drop(floodwall);
    let floodwall = Floodwall::start(&folder, shop.upstream(), WIDE);
    for cookie in [meanwhile, afterwards] {
        let new = session_of(&ask(&mut connect(floodwall.address()), "a", "/", &cookie));
        assert_eq!(new, None, "the session is forgotten");
    }
}

/// It puts its control socket in the place of the old one's shortly before it serves.
#[test]
fn the_control_socket_is_back_after_a_successor_that_failed_late() {
    let folder = Folder::new("upgrade-control");
    let shop = shop();
    let floodwall = Floodwall::start(&folder, shop.upstream(), WIDE);
    let successor = Successor::begin(&floodwall);
    std::fs::remove_file(floodwall.control()).unwrap();
    drop(UnixListener::bind(floodwall.control()).unwrap());
    assert!(!floodwall.tell(&["status"]).0);
    drop(successor);
    await_that("it is obeyed again", || floodwall.tell(&["status"]).0);
    floodwall.signal("-TERM");
    await_that("its file goes with it", || !floodwall.control().exists());
}

/// nginx in front finds Floodwall by the file, whatever becomes of an upgrade.
#[test]
fn the_file_of_a_unix_socket_stays_until_a_successor_serves_without_it() {
    let folder = Folder::new("upgrade-unix");
    let socket = folder.path().join("http.sock");
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, taken) = (own_address(), holder.local_addr().unwrap());
    let state = folder.path().join("state");
    let listens =
        |more: &str| format!("state = '{}'\nlisten = ['{address}'{more}]\n", state.display());
    let with = format!(", 'unix:{}'", socket.display());
    let mut floodwall = Floodwall::start_by_file(&folder, &listens(&with));
    floodwall.configure(&listens(&format!("{with}, '{taken}'")));
    let (well, said) = floodwall.tell(&["upgrade"]);
    assert!(!well, "{said}");
    assert!(floodwall.log().contains(&format!("cannot listen on {taken}")));
    assert!(UnixStream::connect(&socket).is_ok(), "the file went with the successor that failed");
    await_that("it is ready for the next", || floodwall.tell(&["status"]).0);
    floodwall.configure(&listens(&with));
    await_that("it is ready for the next", || floodwall.tell(&["reload"]).0);
    floodwall.upgrade();
    assert!(UnixStream::connect(&socket).is_ok());
    // One that somebody has removed is there again.
    std::fs::remove_file(&socket).unwrap();
    floodwall.upgrade();
    assert!(UnixStream::connect(&socket).is_ok());
    floodwall.configure(&listens(""));
    floodwall.upgrade();
    await_that("nobody listens there any more", || !socket.exists());
    floodwall.await_ended();
    floodwall.stop_last();
}
