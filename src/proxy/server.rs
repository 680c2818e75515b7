//! One server of the application, as all cores share it.
//!
//! It owns the connections that are idle, the places for connections, the health and the load of
//! one server, and outlives reloads that keep it. It refuses to know which server is next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http_body::SizeHint;

use super::clock::Clock;
use super::health::Health;
use super::link::Link;
use super::places::Places;
use super::pool::{Pool, PoolLimits};
use super::proxy_header::Header;
use super::settings::Address;
use super::tls::client::Client;

/// One server.
#[derive(Debug)]
pub struct Server {
    pub address: Address,
    /// How TLS is spoken with it, where its address has that.
    pub tls: Option<Arc<Client>>,
    /// As it is called in the log.
    pub name: String,
    pub health: Health,
    pub places: Arc<Places>,
    clock: Clock,
    /// One for each core.
    pools: Box<[Pool]>,
    /// Exchanges that it has, where it is one of several.
    load: AtomicUsize,
    /// When it is to be checked next, in nanoseconds; 0: at once.
    pub(super) check_due: AtomicU64,
}

impl Server {
    /// A server that nothing is known of, which is taken to be well.
    pub fn new(address: Address, tls: Option<Arc<Client>>, cores: usize, clock: Clock) -> Self {
        Self {
            name: address.to_string(),
            address,
            tls,
            health: Health::default(),
            places: Arc::default(),
            clock,
            pools: (0..cores).map(|_| Pool::default()).collect(),
            load: AtomicUsize::new(0),
            check_due: AtomicU64::new(0),
        }
    }

    /// The idle connections of a core.
    pub fn pool(&self, core: usize) -> &Pool {
        // There are as many as cores.
        &self.pools[core]
    }

    /// Exchanges that it has.
    pub fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// Closes the connection that has been idle for longest, on whichever core.
    pub fn close_oldest_idle(&self) -> bool {
        let idle = self.pools.iter().filter_map(|pool| pool.oldest().map(|since| (since, pool)));
        idle.min_by_key(|(since, _)| *since).is_some_and(|(_, pool)| pool.close_oldest())
    }

    /// Closes all idle connections.
    pub fn clear(&self) {
        self.pools.iter().for_each(Pool::clear);
    }

    /// Takes back a connection that is ready for another request: for who waits for one, or for
    /// the pool of its core.
    fn keep(&self, mut link: Link, core: usize, limits: &PoolLimits) {
        // Who waits uses it at once, without a look at what came behind the response.
        if self.places.is_waited_for() && !link.is_fit() {
            return;
        }
        let link = match link.header() {
            // It is of no use to another client: who waits gets its place.
            Some(_) if self.places.is_waited_for() => return,
            Some(_) => link,
            None => match self.places.hand_over(link, core) {
                Some(link) => link,
                None => return,
            },
        };
        self.pool(core).put(link, limits, self.clock.lately());
        // Who came meanwhile has looked for an idle one before this was.
        if self.places.is_waited_for() {
            self.close_oldest_idle();
        }
    }
}

/// Whose a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub core: usize,
    /// What it begins with, where connections belong to one client.
    pub header: Option<Box<Header>>,
}

/// An exchange of a server that is one of several: it counts until this is dropped.
#[derive(Debug)]
pub struct Burden {
    server: Arc<Server>,
    on_trial: bool,
}

impl Burden {
    /// One more exchange; `on_trial` where a trial has begun with it.
    pub fn new(server: &Arc<Server>, on_trial: bool) -> Self {
        server.load.fetch_add(1, Ordering::Relaxed);
        Self { server: Arc::clone(server), on_trial }
    }
}

impl Drop for Burden {
    fn drop(&mut self) {
        self.server.load.fetch_sub(1, Ordering::Relaxed);
        if self.on_trial {
            self.server.health.end_trial();
        }
    }
}

/// A connection in use. Dropped, it is closed; given back, it is used again.
#[derive(Debug)]
pub struct Lease {
    link: Link,
    server: Arc<Server>,
    core: usize,
    limits: PoolLimits,
    /// Whether the connection can carry another request.
    again: bool,
    burden: Option<Burden>,
}

impl Lease {
    /// Whose connection it is.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// A connection on which a response is being read. `again` is false if it must be closed.
    pub fn new(
        link: Link,
        server: &Arc<Server>,
        core: usize,
        limits: PoolLimits,
        again: bool,
        burden: Option<Burden>,
    ) -> Self {
        Self { link, server: Arc::clone(server), core, limits, again, burden }
    }

    /// The connection.
    pub fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    /// Whether the response's body has ended.
    pub fn is_end_stream(&self) -> bool {
        self.link.is_end_stream()
    }

    /// What is left of the response's body.
    pub fn size_hint(&self) -> SizeHint {
        self.link.size_hint()
    }

    /// How long what is left of a request may take after the response to it.
    pub const fn settle_timeout(&self) -> Duration {
        self.limits.settle_timeout
    }

    /// The connection, whose server it is, and what it counts as: for another protocol than HTTP.
    pub fn into_parts(self) -> (Link, Arc<Server>, Option<Burden>) {
        (self.link, self.server, self.burden)
    }

    /// The response has been read to its end.
    pub fn give_back(self) {
        let Self { mut link, server, core, limits, again, .. } = self;
        if !again {
            return;
        }
        match link.is_settled() {
            Some(true) => server.keep(link, core, &limits),
            Some(false) => {}
            None => {
                tokio::spawn(async move {
                    let settled = tokio::time::timeout(limits.settle_timeout, link.settled()).await;
                    if let Ok(true) = settled {
                        server.keep(link, core, &limits);
                    }
                });
            }
        }
    }
}
