//! Idle connections to the application: one pool for each core.
//!
//! Last in, first out: under little load the older ones fall idle and are closed. Nothing is
//! tried again here; see [`super::upstream`] for why.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;

use super::body::UpstreamBody;
use super::clock::Clock;
use crate::guard::moment::Moment;

/// The idle connections of one core. The lock is never contended; it is there for `Send`.
#[derive(Debug)]
pub struct Pool {
    clock: Clock,
    capacity: usize,
    idle_timeout: Duration,
    /// How long a connection may take to become ready after its response has been read: as long
    /// as an upload that the application answered early may pause.
    settle_timeout: Duration,
    /// The longest idle in front.
    idle: Mutex<VecDeque<Idle>>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<UpstreamBody>,
    since: Moment,
}

impl Pool {
    /// An empty pool.
    pub fn new(
        clock: Clock,
        capacity: usize,
        idle_timeout: Duration,
        settle_timeout: Duration,
    ) -> Self {
        Self { clock, capacity, idle_timeout, settle_timeout, idle: Mutex::default() }
    }

    /// The connection that was used last, if one is alive.
    pub fn take(&self) -> Option<SendRequest<UpstreamBody>> {
        let now = self.clock.now();
        let mut idle = self.lock();
        loop {
            let Idle { sender, since } = idle.pop_back()?;
            if now.since(since) >= self.idle_timeout {
                // Those in front have been idle for longer still.
                idle.clear();
                return None;
            }
            if sender.is_ready() {
                return Some(sender);
            }
        }
    }

    /// Closes the connections that have been idle for too long.
    pub fn expire(&self) {
        let now = self.clock.now();
        let mut idle = self.lock();
        while idle.front().is_some_and(|oldest| now.since(oldest.since) >= self.idle_timeout) {
            idle.pop_front();
        }
        idle.retain(|connection| !connection.sender.is_closed());
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

    fn put(&self, sender: SendRequest<UpstreamBody>) {
        if self.capacity == 0 {
            return;
        }
        let since = self.clock.now();
        let mut idle = self.lock();
        if idle.len() >= self.capacity {
            // The longest idle is the likeliest to be closed by the application under our hands.
            idle.pop_front();
        }
        idle.push_back(Idle { sender, since });
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        // A panic between two whole operations leaves the queue whole.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in use. Dropped, it is closed; given back, it is used again.
#[derive(Debug)]
pub struct Lease {
    sender: SendRequest<UpstreamBody>,
    pool: Arc<Pool>,
    /// Whether the connection can carry another request.
    again: bool,
}

impl Lease {
    /// A connection on which a response is being read. `again` is false if it must be closed.
    pub fn new(sender: SendRequest<UpstreamBody>, pool: Arc<Pool>, again: bool) -> Self {
        Self { sender, pool, again }
    }

    /// The response has been read to its end.
    pub fn give_back(mut self) {
        if !self.again || self.sender.is_closed() {
            return;
        }
        if self.sender.is_ready() {
            self.pool.put(self.sender);
            return;
        }
        // The connection's task has not come to its end of the exchange yet, or the application
        // answered before it had read the request.
        tokio::spawn(async move {
            let ready = tokio::time::timeout(self.pool.settle_timeout, self.sender.ready()).await;
            if let Ok(Ok(())) = ready {
                self.pool.put(self.sender);
            }
        });
    }
}
