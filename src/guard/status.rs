//! What the guard holds at a moment, in numbers: for whoever asks how it stands.

use super::Guard;
use super::budget::Left;
use super::fact::Warmth;
use super::learned::Classes;
use super::moment::Moment;

/// How the guard stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    pub warmth: Warmth,
    /// Session keys in the ledger, dead ones included.
    pub keys: Fill,
    /// Records kept as spares.
    pub spares: Fill,
    /// Clients and prefixes that owe something.
    pub clients: Fill,
    pub classes: Classes,
}

/// How full a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    pub used: usize,
    pub capacity: usize,
}

impl Guard {
    /// How the guard stands. Looks at all of its tables, piece by piece: nobody waits for a lock for
    /// longer than some thousand entries take.
    pub fn status(&self, now: Moment) -> Status {
        let (keys, spares) = self.sizes();
        let policy = self.policy();
        Status {
            warmth: self.warmth(now),
            keys: Fill { used: keys, capacity: policy.session.capacity },
            spares: Fill { used: spares, capacity: policy.recycle.spares.into() },
            clients: Fill { used: self.budgets.owing(now), capacity: policy.client.capacity },
            classes: self.learned.classes(now),
        }
    }

    /// What is left for the whole site of each budget of the policy, with its name.
    pub fn budgets_left(&self, now: Moment) -> Vec<(String, Left)> {
        self.budgets.left(now)
    }
}
