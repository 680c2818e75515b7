//! `load drive`: asks over many connections at once, in one thread.
//!
//! Closed loop: each connection asks again as soon as it has an answer. Open loop, with a rate: requests are due at
//! fixed times, whatever the answers do, and a latency counts from when its request was due.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::keys::Random;
use crate::link::{self, Link, Received};
use crate::messages::Message;
use crate::pace::Pace;
use crate::poll::{self, Poll, Ready};
use crate::tally::{Failure, LATE, Tally};
use crate::wire::{Answer, AnswerReader, Key, SetSession};

/// What is read at once.
const PIECE: usize = 256 << 10;
/// A larger rest of a body is thrown away unread.
const SKIP: u64 = 64 << 10;
/// After a connection that could not be opened.
const REST: Duration = Duration::from_millis(10);
/// The token of the timer of an open loop.
const TICK: u64 = u64::MAX;
/// How often requests are looked for that take too long.
const WATCH: Duration = Duration::from_millis(250);

/// Which session cookie a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Cookie {
    None,
    /// That of a login, once for each connection
    Known,
    /// Another that nobody has issued, each time
    Invented,
    /// What the last answer set, once one has
    Issued,
}

/// What is asked, and how often.
pub struct Load {
    pub target: SocketAddrV4,
    pub connections: usize,
    pub cookie: Cookie,
    /// Requests a second.
    pub rate: Option<f64>,
    pub renew: bool,
    pub tls: bool,
    pub resume: bool,
    pub addresses: u32,
    pub forwarded: u32,
    pub requests: Option<u64>,
    pub seconds: Duration,
    pub warmup: Duration,
    pub timeout: Duration,
    /// Empty: any status.
    pub expect: Vec<u16>,
    pub to_head: bool,
    pub messages: Messages,
}

pub struct Messages {
    pub without_session: Message,
    pub with_session: Message,
    pub login: Message,
    pub body: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
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
enum State {
    /// Waits for its turn.
    Idle,
    /// Comes back to it later.
    Resting,
    Asking,
}

struct Client {
    link: Option<Link>,
    /// A session to be resumed is its own, so that there is always one.
    tls: Option<Arc<ClientConfig>>,
    state: State,
    reader: AnswerReader,
    head: Vec<u8>,
    sent: usize,
    written: bool,
    key: Option<Key>,
    /// A latency counts from here.
    due: Instant,
    asked_at: Instant,
    free_at: Instant,
    counted: bool,
}

struct Engine<'a> {
    load: &'a Load,
    poll: Poll,
    clients: Vec<Client>,
    idle: VecDeque<usize>,
    resting: VecDeque<(Instant, usize)>,
    asking: usize,
    buffer: Vec<u8>,
    random: Random,
    phase: Phase,
    /// Requests that may still be begun.
    left: Option<u64>,
    opened: u32,
    forwarded: u32,
    tally: Tally,
}

/// Runs the whole load. Fails where it could not begin.
pub fn run(load: &Load, tally: Tally) -> Result<Tally, String> {
    let failed = |error: io::Error| error.to_string();
    let mut engine = Engine::new(load, tally).map_err(failed)?;
    engine.prepare()?;
    engine.measure().map_err(failed)?;
    Ok(engine.tally)
}

impl<'a> Engine<'a> {
    fn new(load: &'a Load, tally: Tally) -> io::Result<Self> {
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

    /// Logs in where that is wanted.
    fn prepare(&mut self) -> Result<(), String> {
        if self.load.cookie != Cookie::Known {
            return Ok(());
        }
        let begin = Instant::now();
        self.phase = Phase::Preparing { left: self.clients.len() };
        for client in 0..self.clients.len() {
            self.ask(client, begin, begin);
        }
        let mut events = Poll::room();
        while let Phase::Preparing { left: 1.. } = self.phase {
            if begin.elapsed() > self.load.timeout || self.asking == 0 {
                let with = self.clients.iter().filter(|client| client.key.is_some()).count();
                return Err(format!("{with} of {} could log in", self.clients.len()));
            }
            self.turn(&mut events, Some(WATCH)).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn measure(&mut self) -> io::Result<()> {
        let begin = Instant::now();
        let from = begin + self.load.warmup;
        let to = from + self.load.seconds;
        let mut pace = self.load.rate.map(|rate| Pace::new(rate, begin));
        if let Some(pace) = &pace {
            self.poll.every(pace.tick(), TICK)?;
        }
        let mut watch = begin + WATCH;
        let mut events = Poll::room();
        self.phase = Phase::Warming;
        self.idle.extend(0..self.clients.len());
        loop {
            let now = Instant::now();
            if self.phase == Phase::Warming && now >= from {
                self.phase = Phase::Measuring;
                self.tally.open();
            }
            if now >= to {
                self.tally.close();
            }
            // What is due before the end of an open loop is still sent.
            let begun = pace.as_ref().map_or(now, Pace::due) >= to || self.left == Some(0);
            if self.phase == Phase::Measuring && begun {
                self.phase = Phase::Draining;
            }
            if self.phase == Phase::Draining && self.drained() || now >= to + self.load.timeout {
                break;
            }
            if now >= watch {
                watch = now + WATCH;
                self.give_up(now);
            }
            let mut next = watch.min(if now < from { from } else { to.max(now) });
            while let Some(&(until, client)) = self.resting.front() {
                if until > now {
                    next = next.min(until);
                    break;
                }
                self.resting.pop_front();
                self.wait(client);
            }
            while self.may_ask() && pace.as_ref().is_none_or(|pace| pace.due() <= now.min(to)) {
                let Some(client) = self.idle.pop_front() else { break };
                match &mut pace {
                    Some(pace) => {
                        self.pace(client, pace.due(), from, now);
                        pace.advance();
                    }
                    None => self.ask(client, now, now),
                }
            }
            // Those that were begun may have made time pass.
            self.turn(&mut events, Some(next.saturating_duration_since(Instant::now())))?;
        }
        let unsent = match self.left {
            Some(0) => 0,
            Some(_) | None => pace.map_or(0, |pace| pace.until(to)),
        };
        self.tally.unfinished = self.unfinished() + unsent;
        self.tally.close();
        Ok(())
    }

    fn may_ask(&self) -> bool {
        match self.phase {
            Phase::Preparing { .. } | Phase::Draining => false,
            Phase::Warming => true,
            Phase::Measuring => self.left != Some(0),
        }
    }

    /// Whether nothing is waited for any more: where only time bounds a closed loop, what has not been answered in
    /// time is not waited for.
    fn drained(&self) -> bool {
        self.asking == 0 || self.load.rate.is_none() && self.load.requests.is_none()
    }

    fn unfinished(&self) -> u64 {
        let counted = |client: &&Client| client.state == State::Asking && client.counted;
        self.clients.iter().filter(counted).count() as u64
    }

    fn turn(
        &mut self,
        events: &mut Vec<rustix::event::epoll::Event>,
        most: Option<Duration>,
    ) -> io::Result<()> {
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

    /// A request of the open loop.
    fn pace(&mut self, client: usize, due: Instant, from: Instant, now: Instant) {
        if due >= from && self.phase == Phase::Measuring {
            let free = self.clients[client].free_at;
            if now.saturating_duration_since(due.max(free)) > LATE {
                self.tally.late += 1;
            } else if free.saturating_duration_since(due) > LATE {
                self.tally.waited += 1;
            }
        }
        self.ask(client, due, now);
        self.clients[client].counted &= due >= from;
    }

    fn ask(&mut self, index: usize, due: Instant, now: Instant) {
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

    fn wait(&mut self, index: usize) {
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
    fn give_up(&mut self, now: Instant) {
        for index in 0..self.clients.len() {
            let client = &self.clients[index];
            let waited = now.saturating_duration_since(client.asked_at);
            if client.state == State::Asking && waited > self.load.timeout {
                self.fail(index, Failure::Timeout);
            }
        }
    }
}
