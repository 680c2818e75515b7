//! `load hold`: connections that are open and idle.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::time::Timespec;
use serde_json::json;

use crate::link;
use crate::messages::{Ask, Headers, Message};
use crate::options::HoldOptions;
use crate::wire::AnswerReader;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Fails where one could not be opened, or was closed with its answer.
pub fn run(options: &HoldOptions) -> Result<(), String> {
    let mut request = Vec::new();
    Message::new(&Ask {
        method: "GET",
        path: "/small",
        host: "localhost",
        headers: Headers::Few,
        body: None,
        session: false,
        forwarded: false,
        close: false,
    })
    .write(None, 0, &mut request);
    let mut open = Vec::new();
    for number in 0..options.connections {
        let held = hold(options, number, &request)
            .map_err(|error| format!("{number} of {} are open: {error}", options.connections))?;
        open.push(held);
    }
    say(&json!({ "open": open.len() })).map_err(|error| error.to_string())?;
    await_end(options.seconds).map_err(|error| error.to_string())?;
    let still = open.iter().filter(|held| is_open(held)).count();
    say(&json!({ "still_open": still })).map_err(|error| error.to_string())
}

fn hold(options: &HoldOptions, number: u32, request: &[u8]) -> io::Result<TcpStream> {
    let from = link::source(number % options.addresses);
    let mut held =
        TcpStream::from(link::connect(options.target, Some(from), SocketFlags::empty())?);
    held.set_read_timeout(Some(PATIENCE))?;
    held.write_all(request)?;
    let mut reader = AnswerReader::default();
    let mut buffer = [0; 16 << 10];
    loop {
        let length = held.read(&mut buffer)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let answer = reader.feed(&buffer[..length], false);
        match answer.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))? {
            Some(answer) if answer.close => return Err(io::ErrorKind::ConnectionAborted.into()),
            Some(_) => return Ok(held),
            None => {}
        }
    }
}

fn say(line: &serde_json::Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Waits for the end of standard input, or so long.
fn await_end(most: Duration) -> io::Result<()> {
    let until = Instant::now() + most;
    let stdin = io::stdin();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let mut watched = [PollFd::new(&stdin, PollFlags::IN)];
        match rustix::event::poll(&mut watched, Some(&timeout)) {
            Ok(0) => return Ok(()),
            Ok(_) if rustix::io::read(&stdin, &mut [0; 64][..])? == 0 => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_open(held: &TcpStream) -> bool {
    let idle = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
    held.set_nonblocking(true).is_ok() && held.peek(&mut [0]).is_err_and(idle)
}
