//! Challenges: signed tokens that a client must bring back, made and checked without remembering
//! any.
//!
//! A token is bound to the client (its address, folded to its prefix), to what it is for and to an
//! end by the wall clock, and is signed with HMAC-SHA-256 (RFC 2104), cut to 128 bits. Two are made
//! for a challenge: one for a cookie, and one for the URL that the client is sent back to. Who
//! comes with the second alone does not keep cookies, and is not sent round in circles.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base16ct::lower as hex;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::client::Client;
use super::key::{Secret, Token};

/// What a request says of challenges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenged {
    /// Nothing that counts.
    No {
        /// Whether its client can be expected to send it a second time.
        replayable: bool,
    },
    /// It was sent back, and came without the cookie.
    Failed,
    /// It returned the cookie.
    Passed(Token),
}

impl Challenged {
    /// A request that cannot be challenged.
    pub const UNABLE: Self = Self::No { replayable: false };
}

/// What a client is sent that is challenged: visible ASCII without any delimiter.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The cookie's value.
    pub cookie: String,
    /// What stands in the URL.
    pub marker: String,
}

impl Sent {
    /// The length of a marker.
    pub const MARKER_BYTES: usize = 2 * Tokens::BYTES;
}

/// What a token is for.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    Cookie,
    Marker,
}

impl Purpose {
    const fn byte(self) -> u8 {
        match self {
            Self::Cookie => b'c',
            Self::Marker => b'm',
        }
    }
}

/// Makes and checks the tokens of a site.
pub struct Tokens {
    secret: Secret,
    key: [u8; 16],
    /// How many were made, counted from a random number.
    made: AtomicU64,
    lifetime: Duration,
}

impl Tokens {
    /// How long a redirection may take to be followed. A marker that was kept for longer, in a
    /// bookmark or a link, is as none.
    const MARKER_LIFETIME: Duration = Duration::from_secs(30);
    /// By how much the wall clock may have been set back since a token was made.
    const SLACK: u64 = 60;
    const SIGNED: usize = 12;
    const BYTES: usize = Self::SIGNED + 16;

    /// `seed` must be random, and new with every process.
    pub fn new(secret: Secret, seed: u64, lifetime: Duration) -> Self {
        Self { secret, key: secret.of_tokens(), made: AtomicU64::new(seed), lifetime }
    }

    /// A challenge for this client, at `unix` seconds since 1970.
    pub fn make(&self, client: Client, unix: u64) -> Sent {
        let token = self.secret.token(self.made.fetch_add(1, Ordering::Relaxed));
        let make = |purpose| self.write(token, client, purpose, unix);
        Sent { cookie: make(Purpose::Cookie), marker: make(Purpose::Marker) }
    }

    fn write(&self, token: Token, client: Client, purpose: Purpose, unix: u64) -> String {
        // Fits until the year 2106.
        let end = u32::try_from(unix + self.lifetime(purpose).as_secs()).unwrap_or(u32::MAX);
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&end.to_be_bytes());
        bytes[4..Self::SIGNED].copy_from_slice(&token.0.to_be_bytes());
        let signature = self.signature(&bytes[..Self::SIGNED], client, purpose).finalize();
        bytes[Self::SIGNED..].copy_from_slice(&signature.as_bytes()[..16]);
        hex::encode_string(&bytes)
    }

    /// Reads a token; `None` where it was not made here, for this client and for this, or where it
    /// has ended.
    pub fn read(&self, text: &[u8], client: Client, purpose: Purpose, unix: u64) -> Option<Token> {
        let mut bytes = [0; Self::BYTES];
        // A longer text does not fit, a shorter one is not filled up.
        if hex::decode(text, &mut bytes).ok()?.len() != Self::BYTES {
            return None;
        }
        let (signed, signature) = bytes.split_at(Self::SIGNED);
        self.signature(signed, client, purpose).verify_truncated_left(signature).ok()?;
        let (end, token) = signed.split_first_chunk()?;
        let end = u64::from(u32::from_be_bytes(*end));
        let latest = unix + self.lifetime(purpose).as_secs() + Self::SLACK;
        let (token, _) = token.split_first_chunk()?;
        (unix < end && end <= latest).then(|| Token(u64::from_be_bytes(*token)))
    }

    fn lifetime(&self, purpose: Purpose) -> Duration {
        match purpose {
            Purpose::Cookie => self.lifetime,
            Purpose::Marker => Self::MARKER_LIFETIME,
        }
    }

    fn signature(&self, signed: &[u8], client: Client, purpose: Purpose) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(&[purpose.byte()]);
        mac.update(&client.bytes());
        mac.update(signed);
        mac
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const UNIX: u64 = 1_800_000_000;
    const HOUR: Duration = Duration::from_secs(3600);

    fn tokens(secret: u8, seed: u64) -> Tokens {
        Tokens::new(Secret::new([secret; 16]), seed, HOUR)
    }

    fn client(last: u8) -> Client {
        Client::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), 32)
    }

    #[test]
    fn a_token_counts_for_its_client_its_purpose_its_secret_and_its_time_only() {
        let (tokens, client_1) = (tokens(1, 7), client(1));
        let sent = tokens.make(client_1, UNIX);
        let cookie = sent.cookie.as_bytes();
        let read = |unix| tokens.read(cookie, client_1, Purpose::Cookie, unix);
        let token = read(UNIX);
        assert!(token.is_some());
        assert_eq!(tokens.read(sent.marker.as_bytes(), client_1, Purpose::Marker, UNIX), token);

        assert_eq!(read(UNIX + 3599), token);
        assert_eq!(read(UNIX + 3600), None);
        // The wall clock was set back: by a little, by a day.
        assert_eq!(read(UNIX - 60), token);
        assert_eq!(read(UNIX - 86_400), None);

        assert_eq!(tokens.read(cookie, client(2), Purpose::Cookie, UNIX), None);
        assert_eq!(tokens.read(cookie, client_1, Purpose::Marker, UNIX), None);
        let marker = sent.marker.as_bytes();
        assert_eq!(tokens.read(marker, client_1, Purpose::Cookie, UNIX), None);
        assert_eq!(tokens.read(marker, client_1, Purpose::Marker, UNIX + 30), None);
        let other = self::tokens(2, 7);
        assert_eq!(other.read(cookie, client_1, Purpose::Cookie, UNIX), None);
        // The same secret after a restart, with another seed.
        let later = self::tokens(1, 8);
        assert_eq!(later.read(cookie, client_1, Purpose::Cookie, UNIX), token);
    }

    #[test]
    fn a_token_that_was_changed_anywhere_is_none() {
        let tokens = tokens(1, 7);
        let sent = tokens.make(client(1), UNIX).cookie;
        let read = |text: &[u8]| tokens.read(text, client(1), Purpose::Cookie, UNIX);
        for index in 0..sent.len() {
            let mut changed = sent.clone().into_bytes();
            changed[index] = if changed[index] == b'0' { b'1' } else { b'0' };
            assert_eq!(read(&changed), None, "at {index}");
            assert_eq!(read(&sent.as_bytes()[..index]), None, "cut at {index}");
        }
        for text in [format!("{sent}00"), sent.to_uppercase(), String::new(), "z".repeat(56)] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn no_two_challenges_are_alike() {
        let tokens = tokens(1, 7);
        let mut made: Vec<String> =
            (0..1000).map(|_| tokens.make(client(1), UNIX).cookie).collect();
        made.sort_unstable();
        made.dedup();
        assert_eq!(made.len(), 1000);
    }
}
