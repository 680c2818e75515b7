//! Session keys, and the hashes that stand for them wherever they are remembered.

use std::fmt;

use siphasher::sip::SipHasher24;
use siphasher::sip128::{Hasher128, SipHasher24 as SipHasher24_128};
use std::hash::Hasher;

use super::client::Client;
use super::policy::KeyShape;

/// A session key as Django makes them: 32 characters, all of the shape that it was parsed with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// Reads a key; `None` where the bytes cannot be one.
    pub fn parse(bytes: &[u8], shape: KeyShape) -> Option<Self> {
        let key: [u8; 32] = bytes.try_into().ok()?;
        // All at once, whatever the first ones are: many bytes can then be looked at in one step.
        let within = |byte: u8, first: u8, last: u8| byte.wrapping_sub(first) <= last - first;
        let last = match shape {
            KeyShape::Hex32 => b'f',
            KeyShape::Alnum32 => b'z',
        };
        let fits = key.iter().fold(true, |fits, byte| {
            fits & (within(*byte, b'0', b'9') | within(*byte, b'a', last))
        });
        fits.then_some(Self(key))
    }

    /// The key as it stands in a cookie.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SessionKey {
    /// Says nothing of the key: it must appear in no log and no panic message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(…)")
    }
}

/// A keyed 64-bit hash of a session key. Two live keys of a full default ledger (2,000,000) share
/// one with a probability of about one in ten million; nobody without the secret can aim at that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(pub u64);

/// The hash of what a budget's cell belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CellHash(pub u64);

/// What a cell of a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellOf {
    /// A client, or a wider prefix.
    Client(Client),
    /// All that return challenges' cookies from there.
    Challenged(Client),
    /// One that returns a challenge's cookie.
    Token(Token),
}

/// Whom a challenge's cookie stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub u64);

/// The hash of a path class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClassHash(pub u64);

/// The hash of a page: a path, by method and standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageHash(pub u64);

/// The secret behind all hashes and placeholders. Kept in the state file, so that what was
/// remembered before a restart is found again after it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u8; 16]);

impl Secret {
    /// A secret of these bytes, which must come from the operating system's random source.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the state file.
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// The hash of a session key.
    pub fn key(self, key: &SessionKey) -> KeyHash {
        KeyHash(self.sip([b"k", &key.0]))
    }

    /// SipHash-2-4 of these parts, one behind the other. At once where they are short, as nearly all
    /// are: piece by piece it takes twice as long.
    #[inline]
    fn sip<const PARTS: usize>(self, parts: [&[u8]; PARTS]) -> u64 {
        let hasher = SipHasher24::new_with_key(&self.0);
        let mut bytes = [0; 64];
        let mut length = 0;
        for part in parts {
            let Some(place) = bytes.get_mut(length..length + part.len()) else {
                return in_pieces(hasher, &parts);
            };
            place.copy_from_slice(part);
            length += part.len();
        }
        hasher.hash(&bytes[..length])
    }

    /// The hash of a cell within a budget: of a client, of a wider prefix, or of what is counted
    /// there. Its upper 16 bits are those of the hash of the widest prefix around the client, so
    /// that all cells of a client fall into one shard of the table.
    pub fn cell(self, budget: &str, cell: &CellOf, widest: Client) -> CellHash {
        let own = self.of_cell(budget, cell);
        let whole = CellOf::Client(widest);
        let wide = if *cell == whole { own } else { self.of_cell(budget, &whole) };
        CellHash((wide & !LOW_48) | (own & LOW_48))
    }

    fn of_cell(self, budget: &str, cell: &CellOf) -> u64 {
        match cell {
            CellOf::Client(client) => self.sip([b"c", &client.bytes(), budget.as_bytes()]),
            CellOf::Challenged(client) => self.sip([b"h", &client.bytes(), budget.as_bytes()]),
            CellOf::Token(token) => self.sip([b"t", &token.0.to_ne_bytes(), budget.as_bytes()]),
        }
    }

    /// The hash of a client whose users have logged in.
    pub fn regular(self, client: Client) -> u64 {
        self.sip([b"l", &client.bytes()])
    }

    /// The secret behind the hashes of keys that stand in a cookie of this name: itself for one
    /// name, so that a value which was issued in one cookie stands for nothing in another.
    pub fn of_keys(self, home: &str, name: &str) -> Self {
        if home == name {
            return self;
        }
        let mut hasher = SipHasher24_128::new_with_key(&self.0);
        hasher.write_u8(b'q');
        hasher.write(name.as_bytes());
        Self(hasher.finish128().as_bytes())
    }

    /// The secret behind what stands for keys in the access log, of one process: by its seed. Nobody
    /// learns from there what the ledger's hashes are.
    pub fn of_trace(self, seed: u64) -> Self {
        let mut hasher = SipHasher24_128::new_with_key(&self.0);
        hasher.write_u8(b'a');
        hasher.write_u64(seed);
        Self(hasher.finish128().as_bytes())
    }

    /// The hash of a number, for what is made of a secret of its own.
    pub fn number(self, number: u64) -> u64 {
        self.sip([b"u", &number.to_ne_bytes()])
    }

    /// The secret behind the tokens of challenges.
    pub fn of_tokens(self) -> [u8; 16] {
        let mut hasher = SipHasher24_128::new_with_key(&self.0);
        hasher.write_u8(b'm');
        hasher.finish128().as_bytes()
    }

    /// The `counter`-th token: an identity that no two tokens of a secret share.
    pub fn token(self, counter: u64) -> Token {
        Token(self.sip([b"n", &counter.to_ne_bytes()]))
    }

    /// The hash of a whole site's share in a budget.
    pub fn site(self, budget: &str) -> CellHash {
        CellHash(self.sip([b"s", budget.as_bytes()]))
    }

    /// The hash of the path class below `parent` that this kind of step and this name lead to.
    pub fn class(self, parent: ClassHash, kind: &[u8], name: &[u8]) -> ClassHash {
        // No kind has a zero byte in it, so no two classes are written alike.
        ClassHash(self.sip([b"r", &parent.0.to_ne_bytes(), kind, b"\0", name]))
    }

    /// The hash of a page: of a path under this method and this standing, neither of which has a
    /// zero byte in it.
    pub fn page(self, method: &str, standing: &str, path: &[u8]) -> PageHash {
        let (method, standing) = (method.as_bytes(), standing.as_bytes());
        PageHash(self.sip([b"w", method, b"\0", standing, b"\0", path]))
    }

    /// The `counter`-th placeholder: a key of 32 hex digits, which every release takes for one,
    /// and which nobody can foresee. A counter is used once.
    pub fn placeholder(self, counter: u64) -> SessionKey {
        let mut hasher = SipHasher24_128::new_with_key(&self.0);
        hasher.write_u8(b'p');
        hasher.write_u64(counter);
        let mut key = [0; 32];
        for (place, byte) in key.chunks_exact_mut(2).zip(hasher.finish128().as_bytes()) {
            place[0] = HEX[usize::from(byte >> 4)];
            place[1] = HEX[usize::from(byte & 15)];
        }
        SessionKey(key)
    }
}

fn in_pieces(mut hasher: SipHasher24, parts: &[&[u8]]) -> u64 {
    parts.iter().for_each(|part| hasher.write(part));
    hasher.finish()
}

const LOW_48: u64 = (1 << 48) - 1;

const HEX: &[u8; 16] = b"0123456789abcdef";

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_32_characters_of_its_shape() {
        let hex = b"0123456789abcdef0123456789abcdef";
        let alnum = b"0123456789abcdefghijklmnopqrstuv";
        assert!(SessionKey::parse(hex, KeyShape::Hex32).is_some());
        assert!(SessionKey::parse(hex, KeyShape::Alnum32).is_some());
        assert!(SessionKey::parse(alnum, KeyShape::Hex32).is_none());
        assert!(SessionKey::parse(alnum, KeyShape::Alnum32).is_some());
        for wrong in [&hex[..31], b"", b"0123456789ABCDEF0123456789ABCDEF", &[b'a'; 33]] {
            assert!(SessionKey::parse(wrong, KeyShape::Alnum32).is_none());
        }
    }

    /// What a state file remembers is found again by the next version, and by other processors: they
    /// are the hashes of the same bytes, however those are cut into parts.
    #[test]
    fn a_hash_is_that_of_all_bytes_however_long_they_are() {
        let secret = Secret::new([7; 16]);
        let bytes: Vec<u8> = (0..200).collect();
        for length in 0..bytes.len() {
            let whole = SipHasher24::new_with_key(&[7; 16]).hash(&bytes[..length]);
            for cut in [0, length / 3, length] {
                let (first, second) = bytes[..length].split_at(cut);
                assert_eq!(secret.sip([first, second, b""]), whole, "{length} cut at {cut}");
            }
        }
        let key = SessionKey([b'a'; 32]);
        let mut pieces = SipHasher24::new_with_key(&[7; 16]);
        pieces.write_u8(b'k');
        pieces.write(key.as_bytes());
        assert_eq!(secret.key(&key).0, pieces.finish());
    }

    #[test]
    fn placeholders_are_keys_of_every_release_and_never_the_same() {
        let secret = Secret::new([7; 16]);
        let first = secret.placeholder(1);
        assert!(SessionKey::parse(first.as_bytes(), KeyShape::Hex32).is_some());
        assert!(first != secret.placeholder(2));
        assert!(first != Secret::new([8; 16]).placeholder(1));
    }

    #[test]
    fn nothing_of_a_key_or_a_secret_is_printed() {
        let key = Secret::new([7; 16]).placeholder(1);
        assert_eq!(format!("{key:?} {:?}", Secret::new([7; 16])), "SessionKey(…) Secret(…)");
    }
}
