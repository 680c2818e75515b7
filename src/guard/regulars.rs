//! Clients from where somebody has logged in lately: when a site's budget runs short, they go
//! first.
//!
//! A set of fixed size: two tables of fingerprints, the older of which is forgotten each half of the
//! time. It is filled by logins alone, so nobody gets into it without an account. That one of a
//! million strangers is taken for a regular happens once in five hundred times, if it is full: a
//! flood from many addresses finds no way in by chance.

use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::key::Secret;
use super::moment::Moment;
use super::sharded::Locked;

/// The regular clients of a site. A clone has the same memory.
#[derive(Clone)]
pub struct Regulars {
    secret: Secret,
    tables: Arc<Locked<Tables>>,
}

struct Tables {
    new: Box<[Bucket]>,
    old: Box<[Bucket]>,
    since: Moment,
}

/// Fingerprints, none of them zero where one stands.
type Bucket = [u32; 4];

impl Regulars {
    /// Buckets of a table: 65,536 clients, 256 KiB.
    const BUCKETS: usize = 1 << 14;
    /// How long a login counts, at least; twice as long at most.
    const LATELY: Duration = Duration::from_secs(7 * 86_400);
    /// Clients that both tables hold.
    pub const CLIENTS: usize = 2 * Self::BUCKETS * 4;
    /// Bytes of both tables.
    pub const BYTES: usize = 2 * Self::BUCKETS * size_of::<Bucket>();

    /// Nobody yet.
    pub fn new(secret: Secret, now: Moment) -> Self {
        let table = || vec![Bucket::default(); Self::BUCKETS].into();
        let tables = Tables { new: table(), old: table(), since: now };
        Self { secret, tables: Arc::new(Locked::new(tables)) }
    }

    /// Somebody has logged in from there. In a full bucket somebody else is forgotten.
    pub fn note(&self, client: Client, now: Moment) {
        let (index, fingerprint) = self.place(client);
        let mut tables = self.tables.lock();
        tables.turn(now);
        let bucket = &mut tables.new[index];
        let place = bucket.iter().position(|known| *known == fingerprint || *known == 0);
        bucket[place.unwrap_or(fingerprint as usize % bucket.len())] = fingerprint;
    }

    /// Whether somebody has lately.
    pub fn know(&self, client: Client, now: Moment) -> bool {
        let (index, fingerprint) = self.place(client);
        let mut tables = self.tables.lock();
        tables.turn(now);
        tables.new[index].contains(&fingerprint) || tables.old[index].contains(&fingerprint)
    }

    fn place(&self, client: Client) -> (usize, u32) {
        let hash = self.secret.regular(client);
        // The lower half, and as many bits of the upper one as there are buckets.
        let fingerprint = (hash as u32).max(1);
        ((hash >> 32) as usize % Self::BUCKETS, fingerprint)
    }
}

impl Tables {
    fn turn(&mut self, now: Moment) {
        for _ in 0..2 {
            if now.since(self.since) >= Regulars::LATELY {
                std::mem::swap(&mut self.new, &mut self.old);
                self.new.fill(Bucket::default());
                self.since = self.since.after(Regulars::LATELY);
            }
        }
        // After a long pause nothing is left that could be turned.
        if now.since(self.since) >= Regulars::LATELY {
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn client(number: u32) -> Client {
        Client::new(IpAddr::V4(Ipv4Addr::from_bits(number)), 32)
    }

    #[test]
    fn a_login_counts_for_one_span_at_least_and_for_two_at_most() {
        let start = Moment::from_nanos(1 << 59);
        let later = |spans: f64| start.after(Regulars::LATELY.mul_f64(spans));
        let regulars = Regulars::new(Secret::new([1; 16]), start);
        regulars.note(client(1), later(0.9));
        for (spans, known) in [(0.9, true), (1.8, true), (1.95, true), (2.0, false), (9.0, false)] {
            assert_eq!(regulars.know(client(1), later(spans)), known, "{spans}");
        }
        assert!(!regulars.know(client(2), later(9.0)));
        regulars.note(client(1), later(99.5));
        assert!(regulars.know(client(1), later(100.4)));
        assert!(!regulars.know(client(1), later(200.0)));
    }

    /// Whoever is taken for a regular may use up what a site keeps for them.
    #[test]
    fn no_stranger_is_taken_for_a_regular_by_chance() {
        let start = Moment::from_nanos(1 << 59);
        let regulars = Regulars::new(Secret::new([1; 16]), start);
        (0..40_000).for_each(|number| regulars.note(client(number), start));
        let known = |number: &u32| regulars.know(client(*number), start);
        // Buckets do not fill evenly.
        assert!((0..40_000).filter(known).count() > 37_000);
        assert_eq!((1_000_000..1_500_000).filter(known).count(), 0);
    }
}
