//! `load drive`: asks over many connections at once, in one thread.
//!
//! Closed loop: each connection asks again as soon as it has an answer. Open loop, with a rate: requests are due at
//! fixed times, whatever the answers do, and a latency counts from when its request was due.

use std::io;
use std::time::{Duration, Instant};

use crate::engine::{Engine, Phase, TICK};
use crate::load::{Cookie, Load};
use crate::pace::Pace;
use crate::poll::Poll;
use crate::tally::{LATE, Tally};

/// How often requests are looked for that take too long.
const WATCH: Duration = Duration::from_millis(250);

/// Runs the whole load. Fails where it could not begin.
pub fn run(load: &Load, tally: Tally) -> Result<Tally, String> {
    let failed = |error: io::Error| error.to_string();
    let mut engine = Engine::new(load, tally).map_err(failed)?;
    engine.prepare()?;
    engine.measure().map_err(failed)?;
    Ok(engine.tally)
}

impl Engine<'_> {
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
            while let Some(&(until, client)) = self.resting.front()
                && until <= now
            {
                self.resting.pop_front();
                self.wait(client);
            }
            let is_due = |pace: &Pace| pace.due() <= now && pace.due() < to;
            while self.may_ask() && pace.as_ref().is_none_or(is_due) {
                let Some(client) = self.idle.pop_front() else { break };
                match &mut pace {
                    Some(pace) => {
                        self.pace(client, pace.due(), from, now);
                        pace.advance();
                    }
                    None => self.ask(client, now, now),
                }
            }
            // What was begun may have failed already, and made time pass.
            let rested = self.resting.front().map_or(watch, |(until, _)| *until);
            let edge = [from, to].into_iter().find(|edge| *edge > now).unwrap_or(watch);
            let next = watch.min(rested).min(edge);
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
}
