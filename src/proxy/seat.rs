//! What one connection of a client is doing, and since when.
//!
//! Shared by the connection's task, which cuts it off when it is due; by its socket and its
//! exchanges, which say what happens; and by all cores, of which any may shed a connection that
//! waits for its client. All of it is atomic, and nothing on a request's way takes a lock.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::clock::Clock;
use super::settings::DownstreamLimits;
use crate::guard::moment::Moment;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing has come by it yet.
    Silent(Moment),
    /// A request's head has begun.
    Head(Moment),
    /// An exchange runs: a part of its request or of its response is still to come.
    Exchange,
    /// It is kept alive for another request.
    Idle(Moment),
    /// Its place was given to somebody else: it is being closed, and what still comes is not read.
    Shed,
}

/// Why a connection is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// Nothing came for too long. That is nobody's failure.
    Idle,
    /// A head takes too long.
    Head,
    /// The client does not take what is sent to it.
    Send,
}

/// The state of one connection. About 100 bytes.
#[derive(Debug)]
pub struct Seat {
    clock: Clock,
    /// A [`Phase`], packed.
    phase: AtomicU64,
    /// When the last bytes of a head came, in nanoseconds; 0: nobody knows.
    heard: AtomicU64,
    /// Parts of exchanges that run: a response, and the upload of its request.
    running: AtomicU32,
    /// When patience with a client that takes nothing ends, in nanoseconds; 0: it takes.
    blocked_until: AtomicU64,
    /// What is still to be sent is to be thrown away.
    broken: AtomicBool,
    /// What comes is no longer HTTP.
    switched: AtomicBool,
    /// Bytes that came over HTTP/2 since the last exchange.
    chatter: AtomicU64,
    /// It speaks HTTP/2: bytes that come are no sign of a request.
    multiplexed: AtomicBool,
    /// Its task has something to look at: it was shed, or its client resets too much.
    called: Notify,
    /// A request's body was not read to its end.
    unread: AtomicBool,
    /// What the client has sent was read: the last look at its socket found nothing.
    dry: AtomicBool,
    /// Something was written that is not sent yet.
    holding: AtomicBool,
    /// Nothing is sent any more.
    ending: AtomicBool,
    /// It has been silent for so long that it is to rest.
    lulled: AtomicBool,
    /// Where it stands among the connections that speak; see [`Speakers`](super::resting::Speakers).
    pub(super) spoken_for: AtomicUsize,
    task: OnceLock<AbortHandle>,
    /// Where it stands in the table of its client; written and read under the table's lock.
    pub(super) place: AtomicUsize,
}

/// What a client of HTTP/2 may say while nothing runs: twice what it may have been sending, by its
/// windows, of a body that was refused.
const CHATTER: u64 = 2 << 20;

/// Moments fit into 61 bits: 73 years.
const KIND_SHIFT: u32 = 61;

impl Phase {
    const fn pack(self) -> u64 {
        let (kind, since) = match self {
            Self::Silent(since) => (0, since.as_nanos()),
            Self::Head(since) => (1, since.as_nanos()),
            Self::Idle(since) => (2, since.as_nanos()),
            Self::Exchange => (3, 0),
            Self::Shed => (4, 0),
        };
        (kind << KIND_SHIFT) | since
    }

    const fn unpack(packed: u64) -> Self {
        let since = Moment::from_nanos(packed & ((1 << KIND_SHIFT) - 1));
        match packed >> KIND_SHIFT {
            0 => Self::Silent(since),
            1 => Self::Head(since),
            2 => Self::Idle(since),
            3 => Self::Exchange,
            _ => Self::Shed,
        }
    }
}

impl Seat {
    /// A connection that has just been accepted.
    pub fn new(clock: Clock, now: Moment) -> Self {
        Self {
            clock,
            phase: AtomicU64::new(Phase::Silent(now).pack()),
            heard: AtomicU64::new(0),
            running: AtomicU32::new(0),
            blocked_until: AtomicU64::new(0),
            broken: AtomicBool::new(false),
            switched: AtomicBool::new(false),
            chatter: AtomicU64::new(0),
            multiplexed: AtomicBool::new(false),
            called: Notify::new(),
            unread: AtomicBool::new(false),
            dry: AtomicBool::new(false),
            holding: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            lulled: AtomicBool::new(false),
            spoken_for: AtomicUsize::new(usize::MAX),
            task: OnceLock::new(),
            place: AtomicUsize::new(usize::MAX),
        }
    }

    /// Names the task that serves the connection: without it, it cannot be shed.
    pub fn served_by(&self, task: AbortHandle) {
        let _ = self.task.set(task);
    }

    /// What it is doing.
    pub fn phase(&self) -> Phase {
        Phase::unpack(self.phase.load(Ordering::Acquire))
    }

    /// Bytes have come. False if they come too late: the connection has been shed.
    pub fn arrived(&self) -> bool {
        if self.multiplexed.load(Ordering::Relaxed) {
            return self.phase() != Phase::Shed;
        }
        loop {
            let phase = self.phase();
            match phase {
                // What comes while an exchange runs is not read at once.
                Phase::Exchange => return true,
                Phase::Head(_) => {
                    self.heard.store(self.clock.now().as_nanos(), Ordering::Relaxed);
                    return true;
                }
                Phase::Shed => return false,
                Phase::Silent(_) | Phase::Idle(_) => {
                    let now = self.clock.now();
                    if self.change(phase, Phase::Head(now)) {
                        self.heard.store(now.as_nanos(), Ordering::Relaxed);
                        return true;
                    }
                }
            }
        }
    }

    /// When the head came that is whole now: when the bytes were read that made it so, if they were
    /// read for it and not with what went before.
    pub fn whole(&self) -> Moment {
        match self.heard.swap(0, Ordering::Relaxed) {
            0 => self.clock.now(),
            heard => Moment::from_nanos(heard),
        }
    }

    /// What has come was no head, but went before one: nothing of a request is there yet.
    pub fn greeted(&self) {
        self.heard.store(0, Ordering::Relaxed);
        let phase = self.phase();
        if let Phase::Head(_) = phase {
            self.change(phase, Phase::Silent(self.clock.now()));
        }
    }

    /// HTTP/2 is spoken from here on. What has come so far was no request: only a request ends the
    /// silence, or the idle time, whatever other frames come.
    pub fn multiplex(&self) {
        self.multiplexed.store(true, Ordering::Relaxed);
        if let Phase::Head(since) = self.phase() {
            self.change(Phase::Head(since), Phase::Silent(since));
        }
    }

    /// So many bytes have come. Over HTTP/2 it is counted what is said while nothing runs.
    pub fn heard(&self, bytes: usize) {
        if self.multiplexed.load(Ordering::Relaxed) && self.phase() != Phase::Exchange {
            self.chatter.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Whether more is said than any client has to say that asks for nothing. Being answered, it
    /// might take the answers so slowly that it is never seen to be idle.
    pub fn chatters(&self) -> bool {
        self.chatter.load(Ordering::Relaxed) > CHATTER
    }

    /// Has the connection's task look at what has changed.
    pub fn call(&self) {
        self.called.notify_one();
    }

    /// Waits until there is something to look at.
    pub async fn called(&self) {
        self.called.notified().await;
    }

    /// A head is whole: an exchange runs until all copies of what this returns are dropped. `None`
    /// if it comes too late: the connection has been shed, and nothing of it may be sent on.
    pub fn begin(self: &Arc<Self>) -> Option<Running> {
        loop {
            let phase = self.phase();
            if phase == Phase::Shed {
                return None;
            }
            if self.change(phase, Phase::Exchange) {
                self.running.fetch_add(1, Ordering::AcqRel);
                self.chatter.store(0, Ordering::Relaxed);
                return Some(Running(Arc::clone(self)));
            }
        }
    }

    /// The client takes nothing; patience ends then.
    pub fn blocked(&self, until: Moment) {
        self.blocked_until.store(until.as_nanos(), Ordering::Release);
    }

    /// The client takes something.
    pub fn unblocked(&self) {
        self.blocked_until.store(0, Ordering::Release);
    }

    /// Whether the client's socket takes nothing just now.
    pub fn is_blocked(&self) -> bool {
        self.blocked_until.load(Ordering::Acquire) != 0
    }

    /// When it is to be cut off, as things stand, and why.
    pub fn due(&self, limits: &DownstreamLimits) -> Option<(Moment, Overdue)> {
        if self.chatters() {
            return Some((Moment::from_nanos(0), Overdue::Idle));
        }
        let blocked_until = self.blocked_until.load(Ordering::Acquire);
        if blocked_until != 0 {
            return Some((Moment::from_nanos(blocked_until), Overdue::Send));
        }
        match self.phase() {
            Phase::Silent(since) => Some((since.after(limits.header_timeout), Overdue::Idle)),
            Phase::Head(since) => Some((since.after(limits.header_timeout), Overdue::Head)),
            Phase::Idle(since) => Some((since.after(limits.idle_timeout), Overdue::Idle)),
            Phase::Exchange | Phase::Shed => None,
        }
    }

    /// Since when it has been waiting for its client to send a request, or the rest of its head,
    /// with nothing left to send to it.
    pub fn waiting_since(&self) -> Option<Moment> {
        match self.phase() {
            Phase::Silent(since) | Phase::Head(since) | Phase::Idle(since)
                if self.blocked_until.load(Ordering::Acquire) == 0 =>
            {
                Some(since)
            }
            Phase::Silent(_) | Phase::Head(_) | Phase::Idle(_) | Phase::Exchange | Phase::Shed => {
                None
            }
        }
    }

    /// Closes it, if it has been waiting since `since` still. Whatever comes at the same time is
    /// not read: the client may safely send it again.
    pub fn shed(&self, since: Moment) -> bool {
        let Some(task) = self.task.get() else { return false };
        let phases = [Phase::Idle(since), Phase::Silent(since), Phase::Head(since)];
        let claimed = phases.into_iter().any(|phase| self.change(phase, Phase::Shed));
        if claimed {
            if self.multiplexed.load(Ordering::Relaxed) {
                // It has a word to say before: GOAWAY.
                self.call();
            } else {
                task.abort();
            }
        }
        claimed
    }

    /// Throws away what is still to be sent: the client does not want it, and the system would
    /// keep it for as long as the client likes.
    pub fn break_off(&self) {
        self.broken.store(true, Ordering::Release);
    }

    /// See [`Seat::break_off`].
    pub fn is_broken_off(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Whether the client may still be sending what nobody reads: the rest of a request that was
    /// answered before.
    pub fn has_unread(&self) -> bool {
        self.unread.load(Ordering::Acquire)
    }

    /// A look at the client's socket has found nothing, or something.
    pub fn looked(&self, dry: bool) {
        self.dry.store(dry, Ordering::Relaxed);
    }

    /// Something was written that waits to be sent, or all of it was sent.
    pub fn holds(&self, holding: bool) {
        self.holding.store(holding, Ordering::Release);
    }

    /// See [`Seat::holds`].
    pub fn is_holding(&self) -> bool {
        self.holding.load(Ordering::Acquire)
    }

    /// Nothing is sent any more: what still comes is thrown away.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Whether nothing is there of any exchange, of HTTP/1: neither one that runs, nor a part of a
    /// response that is to be sent, nor a byte of a body that nobody has read, and what came last
    /// has been looked at. What comes next begins a request, or belongs to the head of one.
    pub fn rests(&self) -> bool {
        matches!(self.phase(), Phase::Idle(_))
            && self.dry.load(Ordering::Relaxed)
            && !self.is_blocked()
            && !self.is_holding()
            && !self.has_unread()
            && !self.ending.load(Ordering::Relaxed)
    }

    /// It has been silent for so long that it is to rest.
    pub fn lull(&self) {
        self.lulled.store(true, Ordering::Relaxed);
    }

    /// Whether it is to rest, and does so still; told once.
    pub fn is_to_rest(&self) -> bool {
        self.lulled.load(Ordering::Relaxed)
            && self.lulled.swap(false, Ordering::Relaxed)
            && self.rests()
    }

    /// Notes that another protocol is spoken: what comes after an end of ours is still wanted.
    pub fn switch(&self) {
        self.switched.store(true, Ordering::Release);
    }

    /// See [`Seat::switch`].
    pub fn is_switched(&self) -> bool {
        self.switched.load(Ordering::Acquire)
    }

    fn change(&self, from: Phase, to: Phase) -> bool {
        self.phase
            .compare_exchange(from.pack(), to.pack(), Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

/// A part of an exchange that runs. When the last one is dropped the connection is idle.
#[derive(Debug)]
pub struct Running(Arc<Seat>);

impl Running {
    /// Gives up reading what the client sends with this request.
    pub fn leave_unread(&self) {
        self.0.unread.store(true, Ordering::Release);
    }
}

impl Clone for Running {
    fn clone(&self) -> Self {
        self.0.running.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.change(Phase::Exchange, Phase::Idle(self.0.clock.lately()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn seat() -> (Arc<Seat>, Moment) {
        let clock = Clock::start();
        let now = clock.now();
        (Arc::new(Seat::new(clock, now)), now)
    }

    #[test]
    fn a_phase_survives_packing() {
        let now = Moment::from_nanos(0).after(Moment::HEADROOM * 3);
        for phase in
            [Phase::Silent(now), Phase::Head(now), Phase::Idle(now), Phase::Exchange, Phase::Shed]
        {
            assert_eq!(Phase::unpack(phase.pack()), phase);
        }
    }

    #[test]
    fn an_exchange_ends_with_its_last_part() {
        let (seat, _) = seat();
        assert!(seat.arrived());
        let response = seat.begin().unwrap();
        let upload = response.clone();
        drop(response);
        assert_eq!(seat.phase(), Phase::Exchange, "the upload of an early answer goes on");
        drop(upload);
        assert!(matches!(seat.phase(), Phase::Idle(_)));
    }

    #[test]
    fn a_head_came_when_it_was_read_unless_it_was_read_with_another() {
        let (seat, _) = seat();
        assert!(seat.arrived());
        let Phase::Head(first) = seat.phase() else { panic!("{:?}", seat.phase()) };
        let running = seat.begin().unwrap();
        assert_eq!(seat.whole(), first);
        assert!(seat.arrived(), "the next, which is not read before its turn");
        let before = seat.clock.now();
        drop(running);
        let running = seat.begin().unwrap();
        assert!(seat.whole() > before, "it has waited for its turn since");
        drop(running);
        assert!(seat.arrived());
        let (Phase::Head(began), between) = (seat.phase(), seat.clock.now()) else {
            panic!("{:?}", seat.phase())
        };
        assert!(seat.arrived(), "the rest of it");
        assert!(began < between && seat.whole() > between);
        assert!(seat.arrived());
        seat.greeted();
        let before = seat.clock.now();
        assert!(seat.whole() > before, "that was no head");
    }

    /// The last byte of a head may come when its connection is just being given up.
    #[tokio::test]
    async fn no_exchange_begins_on_what_was_shed() {
        let (seat, now) = seat();
        seat.served_by(tokio::spawn(std::future::pending::<()>()).abort_handle());
        assert!(seat.arrived());
        let Phase::Head(since) = seat.phase() else { panic!("{:?}", seat.phase()) };
        assert!(since >= now && seat.shed(since));
        assert!(seat.begin().is_none());
        assert_eq!(seat.phase(), Phase::Shed);
    }

    #[tokio::test]
    async fn only_what_waits_is_shed_and_what_comes_then_is_not_read() {
        let (seat, now) = seat();
        assert!(!seat.shed(now), "nothing serves it yet");
        seat.served_by(tokio::spawn(std::future::pending::<()>()).abort_handle());
        assert!(!seat.shed(now.after(Duration::from_nanos(1))), "it has moved in the meantime");
        let running = seat.begin().unwrap();
        assert_eq!(seat.waiting_since(), None);
        drop(running);
        seat.blocked(now);
        assert_eq!(seat.waiting_since(), None, "its response is not sent yet");
        seat.unblocked();
        let since = seat.waiting_since().unwrap();
        assert!(seat.shed(since) && !seat.shed(since));
        assert!(!seat.arrived());
    }
}
