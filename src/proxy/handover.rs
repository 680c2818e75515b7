//! One process takes over from another: listening sockets, what the guards remember, and the state
//! files. Over the control socket, between two processes of one user.
//!
//! The successor asks; the predecessor passes its sockets, then the snapshot of each site, and lets
//! go of the state files. When the successor serves, the predecessor stops accepting, and drains.
//! Until it is gone each tells the other what it charges and which keys come and go; a key is told
//! before its client learns of it. A successor that fails before it serves leaves everything as it
//! was. It promises that no listening socket is ever closed, and that one process at a time writes a
//! state file. What is said on the wire is in [`wire`].

pub mod predecessor;
pub mod successor;
mod wire;

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::shield::Shield;
use super::site::Site;
use crate::guard::ledger::KeyRecord;
use wire::Frame;

/// How often each tells the other what it has charged, where no key gives occasion.
const TELL_INTERVAL: Duration = Duration::from_millis(50);
/// How long one side may take nothing of what it is told.
const PATIENCE: Duration = Duration::from_secs(5);

/// The writing half of the connection between the two.
#[derive(Debug)]
pub struct Link(Mutex<Option<UnixStream>>);

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
        Self(Mutex::new(Some(stream)))
    }

    /// Sends a frame. When that fails the connection is given up: the other side sees its end.
    fn send(&self, frame: Frame<'_>) -> bool {
        let mut stream = lock(&self.0);
        let sent = stream.as_mut().is_some_and(|stream| frame.write(stream).is_ok());
        if !sent && let Some(stream) = stream.take() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        sent
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
fn take(sites: &[Arc<Site>], site: u32, told: &[u8]) {
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
        site.shield.outbox.store(None);
        site.shield.guard.end_handover(site.shield.clock.now());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
