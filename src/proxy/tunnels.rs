//! How many tunnels there are, in all and for each client; shared by all cores.
//!
//! A tunnel is not a connection that waits, and cannot be shed: without a bound of their own,
//! tunnels would take every place there is.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::settings::Upgrades;
use crate::guard::client::Client;

/// The tunnels of all cores, those included that are being asked for.
#[derive(Debug, Default)]
pub struct Tunnels(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    all: usize,
    /// No client is in it that has none.
    of_clients: HashMap<Client, usize>,
}

/// Why there is no place for a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTunnel {
    /// There are `tunnels` of them.
    All,
    /// There are `tunnels_per_client` of this client.
    Client(Client),
}

impl fmt::Display for NoTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("there are as many tunnels as allowed"),
            Self::Client(client) => write!(f, "client {client} has as many tunnels as allowed"),
        }
    }
}

impl Tunnels {
    /// Takes a place for a tunnel, within the limits as they are now.
    pub fn take(self: &Arc<Self>, client: Client, limits: &Upgrades) -> Result<Place, NoTunnel> {
        let mut table = self.lock();
        if table.all >= limits.tunnels {
            return Err(NoTunnel::All);
        }
        match table.of_clients.entry(client) {
            Entry::Occupied(taken) if *taken.get() >= limits.tunnels_per_client => {
                return Err(NoTunnel::Client(client));
            }
            Entry::Occupied(mut taken) => *taken.get_mut() += 1,
            Entry::Vacant(none) => {
                none.insert(1);
            }
        }
        table.all += 1;
        Ok(Place { tunnels: Arc::clone(self), client })
    }

    /// How many there are.
    pub fn number(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing panics between the steps of one change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place for a tunnel, given back when this is dropped.
#[derive(Debug)]
pub struct Place {
    tunnels: Arc<Tunnels>,
    client: Client,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.tunnels.lock();
        table.all -= 1;
        if let Entry::Occupied(mut taken) = table.of_clients.entry(self.client) {
            if *taken.get() > 1 {
                *taken.get_mut() -= 1;
            } else {
                taken.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::super::settings::Protocols;
    use super::*;

    #[test]
    fn nobody_gets_more_than_its_share_and_what_is_given_back_is_there_again() {
        let limits = Upgrades {
            protocols: Protocols::Any,
            idle_timeout: Duration::ZERO,
            tunnels: 3,
            tunnels_per_client: 2,
        };
        let client = |last| Client::new(IpAddr::from([127, 0, 0, last]), 32);
        let tunnels = Arc::new(Tunnels::default());
        let take = |last| tunnels.take(client(last), &limits);
        let first = take(1).unwrap();
        let _second = take(1).unwrap();
        assert_eq!(take(1).unwrap_err(), NoTunnel::Client(client(1)));
        let third = take(2).unwrap();
        assert_eq!(take(3).unwrap_err(), NoTunnel::All);
        drop(third);
        assert_eq!(tunnels.lock().of_clients.len(), 1, "nothing is kept of who has none");
        drop(first);
        let _fourth = take(1).unwrap();
        assert_eq!(take(1).unwrap_err(), NoTunnel::Client(client(1)));
        assert_eq!(tunnels.number(), 2);
    }
}
