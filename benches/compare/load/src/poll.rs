//! epoll, level-triggered, with timeouts of nanoseconds.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

const EVENTS: usize = 256;

pub struct Poll {
    epoll: OwnedFd,
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
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    pub fn room() -> Vec<Event> {
        Vec::with_capacity(EVENTS)
    }

    /// From now on it is told when `fd` can be read.
    pub fn add(&self, fd: impl AsFd, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token), EventFlags::IN)?)
    }

    /// Whether it is also told when `fd` can be written.
    pub fn writing(&self, fd: impl AsFd, token: u64, wanted: bool) -> io::Result<()> {
        let flags = if wanted { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(token), flags)?)
    }

    /// Waits until something happens, or so long.
    pub fn wait(&self, events: &mut Vec<Event>, most: Option<Duration>) -> io::Result<()> {
        events.clear();
        let most = most.map(|most| Timespec {
            tv_sec: most.as_secs().min(3600).cast_signed(),
            tv_nsec: most.subsec_nanos().into(),
        });
        match epoll::wait(&self.epoll, spare_capacity(events), most.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
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
