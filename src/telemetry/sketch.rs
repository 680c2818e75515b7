//! Who took part in a flood, in bounded memory: the clients with most events, and how many
//! clients there were.

use std::cmp::Reverse;
use std::collections::HashSet;

use crate::guard::client::Client;

/// How many clients are counted at a time. A client with more than one event in this many is
/// certain to have a counter. 40 bytes each.
pub const COUNTERS: usize = 64;

/// How many clients are told apart; beyond that the record says "at least". Some 300 KiB for a
/// route that was flooded, none for one that was not.
pub const MOST_CLIENTS: usize = 10_000;

/// A client and how many events it caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopClient {
    pub client: Client,
    /// It caused at least this many …
    pub at_least: u64,
    /// … and at most this many. Both are the same with no more than [`COUNTERS`] clients.
    pub at_most: u64,
}

/// How many clients there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCount {
    Exactly(u64),
    AtLeast(u64),
}

impl ClientCount {
    /// How many there were for certain.
    pub const fn number(self) -> u64 {
        match self {
            Self::Exactly(number) | Self::AtLeast(number) => number,
        }
    }
}

/// The clients of one flood.
pub struct Clients {
    top: SpaceSaving,
    /// Holds at most [`MOST_CLIENTS`] and has room for them from the start. Its hash is keyed at
    /// random, so that no choice of addresses makes it slow.
    seen: HashSet<Client>,
    more: bool,
}

impl Default for Clients {
    fn default() -> Self {
        Self::new()
    }
}

impl Clients {
    /// Bytes of one of these. A hash set has up to twice as many places as entries, with a byte
    /// for each.
    pub(super) fn bytes() -> usize {
        let places = (MOST_CLIENTS * 8 / 7).next_power_of_two();
        COUNTERS * size_of::<Counter>() + places * (size_of::<Client>() + 1) + size_of::<Self>()
    }

    pub fn new() -> Self {
        Self {
            top: SpaceSaving { counters: Vec::with_capacity(COUNTERS) },
            seen: HashSet::with_capacity(MOST_CLIENTS),
            more: false,
        }
    }

    /// Forgets all clients and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.top.counters.clear();
        self.seen.clear();
        self.more = false;
    }

    /// Counts an event of `client`. Allocates nothing.
    pub fn add(&mut self, client: Client) {
        // A client that has a counter was counted among all clients when it got the counter.
        if self.top.add(client) == Place::Had || self.more {
            return;
        }
        if self.seen.len() < MOST_CLIENTS {
            self.seen.insert(client);
        } else {
            self.more = !self.seen.contains(&client);
        }
    }

    pub fn count(&self) -> ClientCount {
        let seen = self.seen.len() as u64;
        // One more than fit was seen, at least.
        if self.more { ClientCount::AtLeast(seen + 1) } else { ClientCount::Exactly(seen) }
    }

    /// The `most` clients with most events that are certain, in that order.
    pub fn top(&self, most: usize) -> Vec<TopClient> {
        let mut top: Vec<TopClient> = self
            .top
            .counters
            .iter()
            .map(|counter| TopClient {
                client: counter.client,
                // What a counter took over belongs to others: in a flood from 100,000 addresses
                // it is nearly all of it, and none of them is to be blamed for it.
                at_least: counter.count - counter.taken_over,
                at_most: counter.count,
            })
            .collect();
        top.sort_unstable_by_key(|top| (Reverse(top.at_least), top.client));
        top.truncate(most);
        top
    }
}

/// Metwally, Agrawal, El Abbadi: Efficient Computation of Frequent and Top-k Elements in Data
/// Streams (2005). An event of a client without a counter takes over the smallest counter, so no
/// count is too low, and none is too high by more than a [`COUNTERS`]th of all events.
///
/// The counters are searched one by one: a flood event costs 25 ns where its client has a counter
/// and 75 ns where it has none (measured, optimised, the lock and the tally included).
struct SpaceSaving {
    counters: Vec<Counter>,
}

struct Counter {
    client: Client,
    count: u64,
    /// How much of `count` was there when the client got the counter.
    taken_over: u64,
}

/// Whether a client had a counter before the event.
#[derive(PartialEq, Eq)]
enum Place {
    Had,
    Got,
}

impl SpaceSaving {
    fn add(&mut self, client: Client) -> Place {
        if let Some(counter) = self.counters.iter_mut().find(|counter| counter.client == client) {
            counter.count += 1;
            return Place::Had;
        }
        if self.counters.len() < COUNTERS {
            self.counters.push(Counter { client, count: 1, taken_over: 0 });
        } else if let Some(least) = self.counters.iter_mut().min_by_key(|counter| counter.count) {
            *least = Counter { client, count: least.count + 1, taken_over: least.count };
        }
        Place::Got
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn client(number: u32) -> Client {
        Client::new(IpAddr::V4(Ipv4Addr::from_bits(number)), 32)
    }

    /// Xorshift: a seeded stream for the tests.
    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn few_clients_are_counted_exactly() {
        let mut clients = Clients::new();
        for number in 0..COUNTERS as u32 {
            for _ in 0..=number {
                clients.add(client(number));
            }
        }
        let top = clients.top(2);
        assert_eq!(top[0], TopClient { client: client(63), at_least: 64, at_most: 64 });
        assert_eq!(top[1], TopClient { client: client(62), at_least: 63, at_most: 63 });
        assert_eq!(clients.count(), ClientCount::Exactly(64));
    }

    #[test]
    fn on_a_skewed_stream_the_truth_lies_between_the_bounds_and_the_heavy_are_named() {
        let (mut clients, mut truth, mut state) = (Clients::new(), HashMap::new(), 42);
        let total = 100_000;
        for _ in 0..total {
            // Three heavy clients with a half, a quarter and an eighth, in a crowd of 5,000.
            let number = match random(&mut state) % 8 {
                0..=3 => 1,
                4..=5 => 2,
                6 => 3,
                _ => 1_000 + (random(&mut state) % 5_000) as u32,
            };
            clients.add(client(number));
            *truth.entry(client(number)).or_insert(0_u64) += 1;
        }
        for top in clients.top(COUNTERS) {
            let true_count = truth[&top.client];
            assert!((top.at_least..=top.at_most).contains(&true_count), "{top:?} {true_count}");
            assert!(top.at_most - top.at_least <= total / COUNTERS as u64, "{top:?}");
        }
        let heavy: Vec<Client> = clients.top(3).iter().map(|top| top.client).collect();
        assert_eq!(heavy, [client(1), client(2), client(3)]);
        assert_eq!(clients.count(), ClientCount::Exactly(truth.len() as u64));
    }

    #[test]
    fn nobody_in_a_crowd_is_blamed_for_the_crowd() {
        let mut clients = Clients::new();
        for number in 0..9_000 {
            clients.add(client(number));
        }
        assert!(clients.top(5).iter().all(|top| top.at_least == 1));
    }

    #[test]
    fn beyond_the_bound_the_count_says_at_least() {
        let mut clients = Clients::new();
        for round in 0..2 {
            for number in 0..MOST_CLIENTS as u32 {
                clients.add(client(number));
            }
            assert_eq!(clients.count(), ClientCount::Exactly(MOST_CLIENTS as u64), "{round}");
        }
        let room = clients.seen.capacity();
        for number in 0..50_000 {
            clients.add(client(number));
        }
        assert_eq!(clients.count(), ClientCount::AtLeast(MOST_CLIENTS as u64 + 1));
        assert_eq!(clients.seen.capacity(), room);
        clients.clear();
        clients.add(client(1));
        assert_eq!(clients.count(), ClientCount::Exactly(1));
    }
}
