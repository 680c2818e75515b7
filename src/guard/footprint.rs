//! What the guard's tables take at most, by the policy that bounds them.

use super::budget::Budgets;
use super::image;
use super::learned::Learned;
use super::ledger::Ledger;
use super::policy::Policy;
use super::regulars::Regulars;
use super::spares::Spares;

/// A table, and the bytes that it takes once all of it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    pub table: &'static str,
    /// The key of the configuration that bounds it; empty where a constant does.
    pub key: &'static str,
    pub entries: usize,
    pub bytes: usize,
}

impl Policy {
    /// The guard's tables. Not until all of a table is in use does it take what is said here.
    pub fn footprint(&self) -> [Footprint; 6] {
        let table = |table, key, entries, bytes| Footprint { table, key, entries, bytes };
        let (sessions, clients) = (self.session.capacity, self.client.capacity);
        let (spares, learned) = (self.recycle.spares, self.learned.capacity);
        [
            table("sessions", "session.capacity", sessions, Ledger::bytes(sessions)),
            table("clients", "client.capacity", clients, Budgets::bytes(clients)),
            table("spares", "recycle.spares", spares.into(), Spares::bytes(spares)),
            table("learned paths", "learned.capacity", learned, Learned::bytes(learned)),
            table("regulars", "", Regulars::CLIENTS, Regulars::BYTES),
            // While it is read. To be written it needs no more than a piece of it.
            table("state file", "", sessions + clients, image::bytes(sessions, clients)),
        ]
    }
}
