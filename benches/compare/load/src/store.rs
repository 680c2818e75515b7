//! A session store that grows as that of an unpatched Django does (1.7.8).
//!
//! A record for an unknown key is CVE-2015-5143, one for each logout CVE-2015-5963. Knows keys only: whether a
//! session is empty makes no difference to how many records there are.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use crate::keys::Random;
use crate::wire::{Key, Shown};

/// What a view does to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// `request.user`, as on nearly every page.
    Read,
    Write,
    Login,
    Logout,
}

pub struct Store {
    records: HashSet<Key, BuildHasherDefault<Mix>>,
    random: Random,
    /// How many there have ever been.
    created: u64,
    deleted: u64,
}

impl Store {
    pub fn new() -> Self {
        Self { records: HashSet::default(), random: Random::new(), created: 0, deleted: 0 }
    }

    pub fn records(&self) -> usize {
        self.records.len()
    }

    pub fn created(&self) -> u64 {
        self.created
    }

    pub fn deleted(&self) -> u64 {
        self.deleted
    }

    /// Nothing is known any more.
    pub fn clear(&mut self) {
        self.records.clear();
        (self.created, self.deleted) = (0, 0);
    }

    /// What the answer sets as session cookie after this use.
    pub fn visit(&mut self, how: Use, shown: Shown) -> Option<Key> {
        // `SessionStore.load`: a key without a record gets one, under another key.
        let (session, new) = match shown {
            Shown::No => (None, false),
            Shown::Key(key) if self.records.contains(&key) => (Some(key), false),
            Shown::Key(_) | Shown::Other => (Some(self.create()), true),
        };
        match how {
            Use::Read => session.filter(|_| new),
            Use::Write => session.or_else(|| Some(self.create())),
            // `cycle_key` and `flush`: the old record goes, and there is a new one.
            Use::Login | Use::Logout => {
                if let Some(key) = session {
                    self.records.remove(&key);
                    self.deleted += 1;
                }
                Some(self.create())
            }
        }
    }

    fn create(&mut self) -> Key {
        let key = self.random.key();
        self.records.insert(key);
        self.created += 1;
        key
    }
}

/// Enough for keys that are random themselves, or come from our own generator.
#[derive(Default)]
pub struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        // The table takes its place from the low bits, and these are the best mixed.
        self.0.rotate_left(20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: u64 = 200;

    /// Records added by so many requests, each with the cookie that is made of the last answer's.
    fn added(store: &mut Store, how: Use, mut cookie: impl FnMut(Option<Key>) -> Shown) -> i64 {
        let before = store.records() as i64;
        let mut last = None;
        for _ in 0..N {
            last = store.visit(how, cookie(last)).or(last);
        }
        store.records() as i64 - before
    }

    fn again(last: Option<Key>) -> Shown {
        last.map_or(Shown::No, Shown::Key)
    }

    #[test]
    fn it_grows_as_that_of_an_unpatched_django() {
        let mut keys = Random::new();
        let mut invented = |_| Shown::Key(keys.key());
        let mut store = Store::new();
        let n = N as i64;
        assert_eq!(added(&mut store, Use::Logout, |_| Shown::No), n, "logout, no cookie");
        assert_eq!(added(&mut store, Use::Logout, &mut invented), n, "logout, made-up keys");
        assert_eq!(added(&mut store, Use::Logout, |_| Shown::Other), n, "logout, a placeholder");
        assert_eq!(added(&mut store, Use::Logout, again), 1, "logout, recycled: the first");
        assert_eq!(added(&mut store, Use::Read, |_| Shown::No), 0, "page, no cookie");
        assert_eq!(added(&mut store, Use::Read, &mut invented), n, "page, made-up keys");
        assert_eq!(added(&mut store, Use::Write, |_| Shown::No), n, "cart, no cookie");
        assert_eq!(added(&mut store, Use::Write, &mut invented), n, "cart, made-up keys");
        assert_eq!(added(&mut store, Use::Write, again), 1, "cart, own key: the first");
        assert_eq!(added(&mut store, Use::Login, |_| Shown::No), n, "login");
        assert_eq!(store.created() - store.deleted(), store.records() as u64);
    }

    #[test]
    fn a_flushed_key_is_unknown() {
        let mut store = Store::new();
        let user = store.visit(Use::Login, Shown::No).expect("a session");
        assert_eq!(store.visit(Use::Read, Shown::Key(user)), None);
        let empty = store.visit(Use::Logout, Shown::Key(user)).expect("a new key");
        assert_eq!(store.records(), 1);
        let new = store.visit(Use::Read, Shown::Key(user)).expect("CVE-2015-5143");
        assert_eq!(store.records(), 2);
        assert!(new != user && new != empty);
    }

    #[test]
    fn a_login_has_another_key_and_leaves_no_other_record() {
        let mut store = Store::new();
        let visitor = store.visit(Use::Write, Shown::No).expect("a session");
        let user = store.visit(Use::Login, Shown::Key(visitor)).expect("a new key");
        assert_ne!(user, visitor);
        assert_eq!(store.records(), 1);
    }
}
