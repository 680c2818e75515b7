//! Clients from where somebody has logged in lately: when a site's budget runs short, they go
//! first.
//!
//! A set of fixed size without a list: two maps of bits, the older of which is forgotten each half
//! of the time. It is filled by logins alone, so nobody gets into it without an account. It errs
//! on one side: a stranger may be taken for a regular, one in ten where 100,000 are.

use std::time::Duration;

use super::client::Client;
use super::key::Secret;
use super::moment::Moment;
use super::sharded::Locked;

/// The regular clients of a site.
pub struct Regulars {
    secret: Secret,
    maps: Locked<Maps>,
}

struct Maps {
    new: Box<[u64]>,
    old: Box<[u64]>,
    since: Moment,
}

impl Regulars {
    /// Bits of a map: 128 KiB each.
    const BITS: u64 = 1 << 20;
    /// Bytes of both maps.
    pub const BYTES: usize = 2 * Self::BITS as usize / 8;
    /// How long a login counts, at least; twice as long at most.
    const LATELY: Duration = Duration::from_secs(7 * 86_400);

    /// Nobody yet.
    pub fn new(secret: Secret, now: Moment) -> Self {
        let map = || vec![0; (Self::BITS / 64) as usize].into();
        Self { secret, maps: Locked::new(Maps { new: map(), old: map(), since: now }) }
    }

    /// Somebody has logged in from there.
    pub fn note(&self, client: Client, now: Moment) {
        let (word, bit) = self.place(client);
        let mut maps = self.maps.lock();
        maps.turn(now);
        maps.new[word] |= bit;
    }

    /// Whether somebody has lately.
    pub fn know(&self, client: Client, now: Moment) -> bool {
        let (word, bit) = self.place(client);
        let mut maps = self.maps.lock();
        maps.turn(now);
        (maps.new[word] | maps.old[word]) & bit != 0
    }

    fn place(&self, client: Client) -> (usize, u64) {
        let hash = self.secret.regular(client) % Self::BITS;
        // Less than the number of words.
        ((hash / 64) as usize, 1 << (hash % 64))
    }
}

impl Maps {
    fn turn(&mut self, now: Moment) {
        for _ in 0..2 {
            if now.since(self.since) >= Regulars::LATELY {
                std::mem::swap(&mut self.new, &mut self.old);
                self.new.fill(0);
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

    #[test]
    fn few_strangers_are_taken_for_regulars() {
        let start = Moment::from_nanos(1 << 59);
        let regulars = Regulars::new(Secret::new([1; 16]), start);
        (0..10_000).for_each(|number| regulars.note(client(number), start));
        assert!((0..10_000).all(|number| regulars.know(client(number), start)));
        let strangers = (10_000..20_000).filter(|number| regulars.know(client(*number), start));
        assert!(strangers.count() < 200);
    }
}
