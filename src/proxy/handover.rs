//! One process takes over from another: listening sockets, what the guards remember, and the state
//! files. Over the control socket, between two processes of one user.
//!
//! The successor asks; the predecessor passes its sockets, then the snapshot of each site, and lets
//! go of the state files. When the successor serves, the predecessor stops accepting, and drains.
//! Until it is gone each tells the other what it charges and which keys come and go; a key is told
//! before its client learns of it. A successor that fails before it serves leaves everything as it
//! was. It promises that no listening socket is ever closed, and that one process at a time writes a
//! state file. What is said on the wire is in `wire`.

pub mod predecessor;
pub mod successor;
mod wire;

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::SendFlags;
use tokio::sync::watch;

use super::shield::Shield;
use super::site::Site;
use crate::guard::ledger::KeyRecord;
use wire::Frame;

/// How often each tells the other what it has charged, where no key gives occasion.
const TELL_INTERVAL: Duration = Duration::from_millis(50);
/// How long an answer waits at most for the other side to have taken in what it brings.
const HEARING: Duration = Duration::from_secs(1);
/// How long one side may take nothing of what it is told.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one side has told and the other has not taken, at most: it may be busy with its start, or
/// with a slow disk. Some million keys.
const MOST_WAITING: usize = 128 << 20;

/// The writing half of the connection between the two. Threads that move bytes tell by it: nobody
/// waits for the other side here.
#[derive(Debug)]
pub struct Link {
    way: Mutex<Option<Way>>,
    /// Frames that tell something which were sent, and how many of them the other side has taken in.
    told: AtomicU64,
    taken: watch::Sender<u64>,
    /// Whether the other side takes in at once what it is told: it serves.
    attentive: AtomicBool,
}

#[derive(Debug)]
struct Way {
    stream: UnixStream,
    /// What the other side has not taken yet, from `sent` on.
    waiting: Vec<u8>,
    sent: usize,
}

/// What a site tells the other process.
#[derive(Debug)]
pub struct Outbox {
    link: Arc<Link>,
    /// The site's number on the wire.
    site: u32,
    /// Records that wait until the snapshot is through; `None` from then on.
    early: Mutex<Option<Vec<KeyRecord>>>,
}

impl Link {
    fn new(stream: UnixStream) -> Self {
        Self {
            way: Mutex::new(Some(Way { stream, waiting: Vec::new(), sent: 0 })),
            told: AtomicU64::new(0),
            taken: watch::Sender::new(0),
            attentive: AtomicBool::new(false),
        }
    }

    /// The other side serves from here on.
    fn is_served(&self) {
        self.attentive.store(true, Ordering::Release);
    }

    /// Nobody is there to be waited for any more.
    fn abandon(&self) {
        self.attentive.store(false, Ordering::Release);
        self.taken.send_replace(u64::MAX);
    }

    /// The other side has taken in one more of what it was told.
    fn heard(&self) {
        self.taken.send_modify(|taken| *taken = taken.saturating_add(1));
    }

    /// Waits until the other side has taken in all that it was told so far, for a moment at most.
    async fn all_heard(&self) {
        if !self.attentive.load(Ordering::Acquire) {
            return;
        }
        let told = self.told.load(Ordering::Acquire);
        let mut taken = self.taken.subscribe();
        let heard = taken.wait_for(|taken| *taken >= told);
        // Who is that slow learns of it late.
        let _ = tokio::time::timeout(HEARING, heard).await;
    }

    /// Sends a frame, as soon as the other side takes it. When that fails the connection is given
    /// up: the other side sees its end.
    fn send(&self, frame: Frame<'_>) {
        self.with(|way| {
            if let Frame::Told { .. } = frame {
                self.told.fetch_add(1, Ordering::AcqRel);
            }
            frame.write(&mut way.waiting)?;
            way.flush()
        });
    }

    /// Sends what waits, as far as the other side takes it. To be called all the while.
    fn flush(&self) {
        self.with(Way::flush);
    }

    /// Sends all that waits, and waits for the other side to take it.
    fn finish(&self) {
        self.with(|way| {
            let sent = std::mem::take(&mut way.sent);
            way.stream.write_all(&std::mem::take(&mut way.waiting)[sent..])
        });
    }

    fn with(&self, send: impl FnOnce(&mut Way) -> io::Result<()>) {
        let mut way = lock(&self.way);
        if way.as_mut().is_some_and(|way| send(way).is_err())
            && let Some(way) = way.take()
        {
            let _ = way.stream.shutdown(std::net::Shutdown::Both);
            self.abandon();
        }
    }
}

impl Way {
    fn flush(&mut self) -> io::Result<()> {
        while let rest @ [_, ..] = &self.waiting[self.sent..] {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(&self.stream, rest, flags) {
                Ok(length) => self.sent += length,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if rest.len() > MOST_WAITING => {
                    return Err(io::ErrorKind::OutOfMemory.into());
                }
                Err(Errno::AGAIN) => {
                    // Not at each frame: it would be moved again and again.
                    if self.sent > self.waiting.len() / 2 {
                        self.waiting.drain(..self.sent);
                        self.sent = 0;
                    }
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.waiting.clear();
        self.sent = 0;
        Ok(())
    }
}

impl Outbox {
    fn new(link: &Arc<Link>, site: u32, early: bool) -> Arc<Self> {
        let early = Mutex::new(early.then(Vec::new));
        Arc::new(Self { link: Arc::clone(link), site, early })
    }

    /// Tells of keys, and of whatever else has happened.
    pub fn tell(&self, shield: &Shield, records: &[Option<KeyRecord>]) {
        let mut early = lock(&self.early);
        match &mut *early {
            Some(early) => early.extend(records.iter().flatten()),
            None => {
                let records: Vec<KeyRecord> = records.iter().flatten().copied().collect();
                self.send(shield, &records);
            }
        }
    }

    /// Waits until the other process knows what it was told, so that a client which learns of a key
    /// finds it known there.
    pub async fn all_heard(&self) {
        self.link.all_heard().await;
    }

    /// The snapshot is through: what has come meanwhile is told.
    fn open(&self, shield: &Shield) {
        let mut early = lock(&self.early);
        let records = early.take().unwrap_or_default();
        self.send(shield, &records);
    }

    fn send(&self, shield: &Shield, records: &[KeyRecord]) {
        let (wall, now) = (shield.clock.wall(), shield.clock.now());
        let told = shield.guard.tell(records, wall, now);
        if !told.is_empty() {
            self.link.send(Frame::Told { site: self.site, bytes: &told });
        }
    }
}

/// Takes in what the other process told of a site. What cannot be read is left out: that costs
/// precision, not safety.
fn take(link: &Link, sites: &[Arc<Site>], site: u32, told: &[u8]) {
    take_in(sites, site, told);
    link.send(Frame::Taken);
}

fn take_in(sites: &[Arc<Site>], site: u32, told: &[u8]) {
    let Some(site) = usize::try_from(site).ok().and_then(|site| sites.get(site)) else { return };
    let shield = &site.shield;
    let (wall, now) = (shield.clock.wall(), shield.clock.now());
    match shield.guard.take(told, wall, now) {
        Ok(keys) => {
            if let Some(state) = &shield.state {
                state.append_told(&keys);
            }
        }
        Err(damaged) => {
            tracing::warn!(site = site.name, %damaged, "what the other process told is lost")
        }
    }
}

/// Tells what has happened on all sites.
fn tell(sites: &[Arc<Site>]) {
    for site in sites {
        if let Some(outbox) = &*site.shield.outbox.load() {
            outbox.tell(&site.shield, &[]);
        }
    }
}

/// The other process is gone.
fn end(sites: &[Arc<Site>]) {
    for site in sites {
        if let Some(outbox) = site.shield.outbox.swap(None) {
            outbox.link.abandon();
        }
        site.shield.guard.end_handover(site.shield.clock.now());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
