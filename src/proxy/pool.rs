//! Idle connections to one server of the application: one pool for each core.
//!
//! Last in, first out: under little load the older ones fall idle and are closed. Nothing is
//! tried again here; see [`super::upstream`] for why. A connection is used by its own core only,
//! but any core may close it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::link::Link;
use super::proxy_header::Header;
use crate::guard::moment::Moment;

/// How many are kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct PoolLimits {
    /// Of each core.
    pub capacity: usize,
    pub idle_timeout: Duration,
    /// How long a connection may take to become ready after its response has been read: as long
    /// as an upload that the application answered early may pause.
    pub settle_timeout: Duration,
}

/// The idle connections of one core. Another core takes the lock only where it wants one closed.
#[derive(Debug, Default)]
pub struct Pool {
    /// The longest idle in front.
    idle: Mutex<VecDeque<Idle>>,
}

#[derive(Debug)]
struct Idle {
    link: Link,
    since: Moment,
}

impl Pool {
    /// The connection with this header that was used last, if one is alive.
    pub fn take(&self, header: Option<&Header>, limits: &PoolLimits, now: Moment) -> Option<Link> {
        let mut idle = self.lock();
        loop {
            let index = idle.iter().rposition(|idle| idle.link.header() == header)?;
            let Idle { mut link, since } = idle.remove(index)?;
            if now.since(since) >= limits.idle_timeout {
                // Those in front have been idle for longer still.
                idle.drain(..index);
                return None;
            }
            if link.is_fit() {
                return Some(link);
            }
        }
    }

    /// Keeps a connection that is ready for another request.
    pub fn put(&self, link: Link, limits: &PoolLimits, now: Moment) {
        if limits.capacity == 0 {
            return;
        }
        let mut idle = self.lock();
        while idle.len() >= limits.capacity {
            // The longest idle is the likeliest to be closed by the application under our hands.
            idle.pop_front();
        }
        idle.push_back(Idle { link, since: now });
    }

    /// Closes the connections that have been idle for too long, or that the application has closed.
    pub fn expire(&self, limits: &PoolLimits, now: Moment) {
        let mut idle = self.lock();
        while idle.front().is_some_and(|oldest| now.since(oldest.since) >= limits.idle_timeout) {
            idle.pop_front();
        }
        idle.retain_mut(|idle| idle.link.is_fit());
    }

    /// Since when the one has been idle that has been so for longest.
    pub fn oldest(&self) -> Option<Moment> {
        self.lock().front().map(|idle| idle.since)
    }

    /// Closes the one that has been idle for longest.
    pub fn close_oldest(&self) -> bool {
        self.lock().pop_front().is_some()
    }

    /// Closes all idle connections: their file descriptors are needed elsewhere.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// How many connections are idle.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is idle.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        // A panic between two whole operations leaves the queue whole.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
