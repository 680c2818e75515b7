//! The connections of a load: what each has asked, and what has come of it.
//!
//! Promises that a failed connection is counted and opened again. Knows nothing of when to ask.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll::Event;
use rustls::ClientConfig;

use crate::keys::Random;
use crate::link::{self, Link, Received};
use crate::load::{Cookie, Load};
use crate::poll::{self, Poll, Ready};
use crate::tally::{Failure, Tally};
use crate::wire::{Answer, AnswerReader, Key, SetSession};

/// What is read at once.
const PIECE: usize = 256 << 10;
/// A larger rest of a body is thrown away unread.
const SKIP: u64 = 64 << 10;
/// After a connection that could not be opened.
const REST: Duration = Duration::from_millis(10);
/// The token of the timer of an open loop.
pub const TICK: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// So many have yet to log in.
    Preparing {
        left: usize,
    },
    Warming,
    Measuring,
    /// Nothing more is asked.
    Draining,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for its turn.
    Idle,
    /// Comes back to it later.
    Resting,
    Asking,
}

pub struct Client {
    link: Option<Link>,
    /// A session to be resumed is its own, so that there is always one.
    tls: Option<Arc<ClientConfig>>,
    state: State,
    reader: AnswerReader,
    head: Vec<u8>,
    sent: usize,
    written: bool,
    pub key: Option<Key>,
    /// A latency counts from here.
    due: Instant,
    asked_at: Instant,
    pub free_at: Instant,
    pub counted: bool,
}

pub struct Engine<'a> {
    pub load: &'a Load,
    pub poll: Poll,
    pub clients: Vec<Client>,
    pub idle: VecDeque<usize>,
    pub resting: VecDeque<(Instant, usize)>,
    pub asking: usize,
    buffer: Vec<u8>,
    random: Random,
    pub phase: Phase,
    /// Requests that may still be begun.
    pub left: Option<u64>,
    opened: u32,
    forwarded: u32,
    pub tally: Tally,
}

impl<'a> Engine<'a> {
    pub fn new(load: &'a Load, tally: Tally) -> io::Result<Self> {
        let now = Instant::now();
        let client = |_| {
            let tls = load.tls.then(|| link::tls(load.resume)).transpose();
            Ok(Client {
                link: None,
                tls: tls.map_err(io::Error::other)?,
                state: State::Idle,
                reader: AnswerReader::default(),
                head: Vec::new(),
                sent: 0,
                written: false,
                key: None,
                due: now,
                asked_at: now,
                free_at: now,
                counted: false,
            })
        };
        Ok(Self {
            load,
            poll: Poll::new()?,
            clients: (0..load.connections).map(client).collect::<io::Result<_>>()?,
            idle: VecDeque::new(),
            resting: VecDeque::new(),
            asking: 0,
            buffer: vec![0; PIECE],
            random: Random::new(),
            phase: Phase::Preparing { left: 0 },
            left: load.requests,
            opened: 0,
            forwarded: 0,
            tally,
        })
    }

    pub fn may_ask(&self) -> bool {
        match self.phase {
            Phase::Preparing { .. } | Phase::Draining => false,
            Phase::Warming => true,
            Phase::Measuring => self.left != Some(0),
        }
    }

    /// Whether nothing is waited for any more: where only time bounds a closed loop, what has not been answered in
    /// time is not waited for.
    pub fn drained(&self) -> bool {
        self.asking == 0 || self.load.rate.is_none() && self.load.requests.is_none()
    }

    pub fn unfinished(&self) -> u64 {
        let counted = |client: &&Client| client.state == State::Asking && client.counted;
        self.clients.iter().filter(counted).count() as u64
    }

    pub fn turn(&mut self, events: &mut Vec<Event>, most: Option<Duration>) -> io::Result<()> {
        self.poll.wait(events, most)?;
        for event in events.iter() {
            let Ready { token, readable, writable } = poll::ready(event);
            if token == TICK {
                self.poll.ticked()?;
                continue;
            }
            let client = token as usize;
            if writable && self.clients[client].link.as_ref().is_some_and(|link| link.armed) {
                self.push(client);
            }
            if readable {
                self.pull(client);
            }
        }
        Ok(())
    }

    pub fn ask(&mut self, index: usize, due: Instant, now: Instant) {
        let load = self.load;
        let client = &mut self.clients[index];
        client.state = State::Asking;
        (client.due, client.asked_at) = (due, now);
        (client.sent, client.written) = (0, false);
        client.reader.restart();
        client.counted = self.phase == Phase::Measuring;
        self.asking += 1;
        if client.counted
            && let Some(left) = &mut self.left
        {
            *left -= 1;
        }
        let invented;
        let (message, key) = match (self.phase, load.cookie) {
            (Phase::Preparing { .. }, _) => (&load.messages.login, None),
            (_, Cookie::Invented) => {
                invented = self.random.key();
                (&load.messages.with_session, Some(&invented))
            }
            (_, Cookie::None | Cookie::Known | Cookie::Issued) => match &client.key {
                Some(key) => (&load.messages.with_session, Some(key)),
                None => (&load.messages.without_session, None),
            },
        };
        message.write(key, self.forwarded, &mut client.head);
        if load.forwarded > 0 {
            self.forwarded = (self.forwarded + 1) % load.forwarded;
        }
        match &mut client.link {
            Some(link) => link.next(),
            None => {
                let from = (load.addresses > 0).then(|| link::source(self.opened % load.addresses));
                self.opened = self.opened.wrapping_add(1);
                self.tally.connections += 1;
                let opened = Link::open(load.target, from, client.tls.as_ref())
                    .and_then(|link| self.poll.add(link.socket(), index as u64).map(|()| link));
                match opened {
                    Ok(link) => client.link = Some(link),
                    Err(error) => return self.fail(index, Failure::of(&error)),
                }
            }
        }
        self.push(index);
    }

    /// Writes as much of the request as can be written.
    fn push(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let Some(link) = &mut client.link else { return };
        let preparing = matches!(self.phase, Phase::Preparing { .. });
        let body: &[u8] = if preparing { &[] } else { &self.load.messages.body };
        let done = match link.send(&client.head, body, &mut client.sent) {
            Ok(done) => done,
            // It may have answered before it closed; reading tells.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => true,
            Err(error) => return self.fail_with(index, &error),
        };
        client.written = done;
        self.arm(index, !done);
    }

    /// Is told when the socket can be written, or no longer.
    fn arm(&mut self, index: usize, wanted: bool) {
        let Some(link) = &mut self.clients[index].link else { return };
        let wanted = wanted || link.blocked();
        if wanted == link.armed {
            return;
        }
        link.armed = wanted;
        if let Err(error) = self.poll.writing(link.socket(), index as u64, wanted) {
            self.fail_with(index, &error);
        }
    }

    /// Reads what there is.
    fn pull(&mut self, index: usize) {
        loop {
            let client = &mut self.clients[index];
            let Some(link) = &mut client.link else { return };
            let body = client.reader.only_body();
            let skipped = link.is_plain() && body > SKIP;
            let received = if skipped {
                let most = usize::try_from(body).unwrap_or(PIECE).min(PIECE);
                link.discard(&mut self.buffer[..most])
            } else {
                link.receive(&mut self.buffer)
            };
            if let Some(kind) = link.handshake() {
                self.tally.handshake(kind);
            }
            let (answer, more) = match received {
                Ok(Received::Nothing) => break,
                Ok(Received::Bytes(..)) if client.state != State::Asking => {
                    // Nothing was asked: that of a timeout, for one.
                    return self.drop_idle(index);
                }
                Ok(Received::Bytes(length, more)) => {
                    let answer = if skipped {
                        Ok(client.reader.skip(length as u64))
                    } else {
                        client.reader.feed(&self.buffer[..length], self.load.to_head)
                    };
                    self.tally.read(length);
                    (answer, more)
                }
                Ok(Received::End) | Err(_) if client.state != State::Asking => {
                    return self.drop_idle(index);
                }
                Ok(Received::End) => match client.reader.end() {
                    Some(answer) => (Ok(Some(answer)), false),
                    None => return self.fail(index, Failure::Closed),
                },
                Err(error) => return self.fail_with(index, &error),
            };
            match answer {
                Ok(Some(answer)) => return self.finish(index, &answer),
                Ok(None) if more => {}
                Ok(None) => break,
                Err(_) => return self.fail(index, Failure::Unreadable),
            }
        }
        let written = self.clients[index].written;
        self.arm(index, !written && self.clients[index].state == State::Asking);
    }

    fn drop_idle(&mut self, index: usize) {
        self.clients[index].link = None;
        self.tally.closed_idle += 1;
    }

    fn finish(&mut self, index: usize, answer: &Answer) {
        let now = Instant::now();
        let load = self.load;
        if self.counts(index) {
            let expected = load.expect.is_empty() || load.expect.contains(&answer.status);
            let due = self.clients[index].due;
            self.tally.answer(answer, now.saturating_duration_since(due), expected);
        }
        let client = &mut self.clients[index];
        match (answer.session, load.cookie) {
            (SetSession::Key(key), Cookie::Known | Cookie::Issued) => client.key = Some(key),
            (SetSession::Deleted, Cookie::Issued) => client.key = None,
            (SetSession::No | SetSession::Deleted, Cookie::Known | Cookie::Issued)
            | (_, Cookie::None | Cookie::Invented) => {}
        }
        match &mut client.link {
            // An answer that came before the whole request was sent leaves nothing that could be used.
            Some(link) if !answer.close && !load.renew && client.written => link.answers += 1,
            Some(_) | None => client.link = None,
        }
        client.free_at = now;
        self.asking -= 1;
        if let Phase::Preparing { left } = &mut self.phase {
            client.state = State::Idle;
            if client.key.is_some() {
                *left -= 1;
            }
            return;
        }
        if load.rate.is_none() && self.may_ask() {
            self.ask(index, now, now);
        } else {
            self.wait(index);
        }
    }

    /// Whether what comes of this request is counted.
    fn counts(&self, index: usize) -> bool {
        if self.load.rate.is_some() || self.load.requests.is_some() {
            self.clients[index].counted
        } else {
            self.phase == Phase::Measuring
        }
    }

    pub fn wait(&mut self, index: usize) {
        self.clients[index].state = State::Idle;
        self.idle.push_back(index);
    }

    fn fail_with(&mut self, index: usize, error: &io::Error) {
        self.fail(index, Failure::of(error));
    }

    fn fail(&mut self, index: usize, failure: Failure) {
        let client = &self.clients[index];
        let used = client.link.as_ref().is_some_and(|link| link.answers > 0);
        let failure = match failure {
            Failure::Closed | Failure::Reset if used && client.reader.untouched() => Failure::Stale,
            Failure::Closed
            | Failure::Reset
            | Failure::Refused
            | Failure::Stale
            | Failure::Timeout
            | Failure::Unreadable
            | Failure::Tls
            | Failure::NoPort
            | Failure::Status
            | Failure::Other => failure,
        };
        if self.counts(index) {
            self.tally.failure(failure);
        }
        let client = &mut self.clients[index];
        client.link = None;
        client.state = State::Resting;
        self.asking -= 1;
        let now = Instant::now();
        client.free_at = now;
        let rest = if matches!(failure, Failure::Refused | Failure::NoPort) {
            REST
        } else {
            Duration::ZERO
        };
        self.resting.push_back((now + rest, index));
    }

    /// Gives up those that have waited for too long.
    pub fn give_up(&mut self, now: Instant) {
        for index in 0..self.clients.len() {
            let client = &self.clients[index];
            let waited = now.saturating_duration_since(client.asked_at);
            if client.state == State::Asking && waited > self.load.timeout {
                self.fail(index, Failure::Timeout);
            }
        }
    }
}
