//! epoll, level-triggered, with timeouts of nanoseconds.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{self, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

const EVENTS: usize = 256;

pub struct Poll {
    epoll: OwnedFd,
    timer: Option<OwnedFd>,
}

/// Something has happened to what was added under this token.
#[derive(Clone, Copy)]
pub struct Ready {
    pub token: u64,
    pub readable: bool,
    pub writable: bool,
}

impl Poll {
    pub fn new() -> io::Result<Self> {
        // Without this, a timeout ends up to 50 microseconds late.
        rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, timer: None })
    }

    pub fn room() -> Vec<Event> {
        Vec::with_capacity(EVENTS)
    }

    /// From now on it is told when `fd` can be read.
    pub fn add(&self, fd: impl AsFd, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token), EventFlags::IN)?)
    }

    /// From now on it wakes up at all multiples of this time. That costs less than a timeout for each, which would
    /// be cancelled by most answers.
    pub fn every(&mut self, tick: Duration, token: u64) -> io::Result<()> {
        let timer = time::timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let tick = timespec(tick);
        let times = Itimerspec { it_interval: tick, it_value: tick };
        time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)?;
        self.add(&timer, token)?;
        self.timer = Some(timer);
        Ok(())
    }

    /// The timer has run out: it is set to its next multiple.
    pub fn ticked(&self) -> io::Result<()> {
        match self.timer.as_ref().map(|timer| rustix::io::read(timer, &mut [0; 8][..])) {
            None | Some(Ok(_) | Err(Errno::AGAIN | Errno::INTR)) => Ok(()),
            Some(Err(error)) => Err(error.into()),
        }
    }

    /// Whether it is also told when `fd` can be written.
    pub fn writing(&self, fd: impl AsFd, token: u64, wanted: bool) -> io::Result<()> {
        let flags = if wanted { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(token), flags)?)
    }

    /// Waits until something happens, or so long.
    pub fn wait(&self, events: &mut Vec<Event>, most: Option<Duration>) -> io::Result<()> {
        events.clear();
        let most = most.map(timespec);
        match epoll::wait(&self.epoll, spare_capacity(events), most.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs().min(3600).cast_signed(), tv_nsec: time.subsec_nanos().into() }
}

/// An error or a hang-up is found by reading.
pub fn ready(event: &Event) -> Ready {
    let flags = event.flags;
    Ready {
        token: event.data.u64(),
        readable: flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR),
        writable: flags.contains(EventFlags::OUT),
    }
}
