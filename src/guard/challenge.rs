//! Challenges: signed tokens that a client must bring back, made and checked without remembering
//! any.
//!
//! A token is bound to the client (its address, folded to its prefix) and to an end by the wall
//! clock, and is signed with HMAC-SHA-256 (RFC 2104), cut to 128 bits. A marker goes with it, for the
//! URL that the client is sent back to: who comes with that alone does not keep cookies, or comes
//! from another address each time, and is not sent round in circles. It is not signed, as it brings
//! nobody anything: whoever invents one is refused where it would have been challenged.

use std::sync::Arc;
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

/// The query parameter of the marker.
pub const MARKER: &str = "__floodwall";

impl Sent {
    /// The length of a marker.
    pub const MARKER_BYTES: usize = 2 * Tokens::END;
}

/// Makes and checks the tokens of a site.
pub struct Tokens {
    secret: Secret,
    key: [u8; 16],
    /// How many were made, counted from a random number.
    made: Arc<AtomicU64>,
    lifetime: Duration,
    /// The longest lifetime that any may have been made with.
    longest: Duration,
}

impl Tokens {
    /// How long a redirection may take to be followed. A marker that was kept for longer, in a
    /// bookmark or a link, is as none.
    const MARKER_LIFETIME: Duration = Duration::from_secs(30);
    /// By how much the wall clock may have been set back since a token was made.
    const SLACK: u64 = 60;
    /// An end by the wall clock.
    const END: usize = 4;
    const SIGNED: usize = Self::END + 8;
    const BYTES: usize = Self::SIGNED + 16;

    /// `seed` must be random, and new with every process.
    pub fn new(secret: Secret, seed: u64, lifetime: Duration) -> Self {
        let made = Arc::new(AtomicU64::new(seed));
        Self { secret, key: secret.of_tokens(), made, lifetime, longest: lifetime }
    }

    /// Makes them with another lifetime. Those that were made before count for as long as they were
    /// made to.
    pub fn reconfigured(&self, lifetime: Duration) -> Self {
        let (made, longest) = (Arc::clone(&self.made), self.longest.max(lifetime));
        Self { secret: self.secret, key: self.key, made, lifetime, longest }
    }

    /// A challenge for this client, at `unix` seconds since 1970.
    pub fn make(&self, client: Client, unix: u64) -> Sent {
        let token = self.secret.token(self.made.fetch_add(1, Ordering::Relaxed));
        let mut bytes = [0; Self::BYTES];
        bytes[..Self::END].copy_from_slice(&end(unix, self.lifetime));
        bytes[Self::END..Self::SIGNED].copy_from_slice(&token.0.to_be_bytes());
        let signature = self.signature(&bytes[..Self::SIGNED], client).finalize();
        bytes[Self::SIGNED..].copy_from_slice(&signature.as_bytes()[..16]);
        let marker = hex::encode_string(&end(unix, Self::MARKER_LIFETIME));
        Sent { cookie: hex::encode_string(&bytes), marker }
    }

    /// Reads a cookie; `None` where it was not made here and for this client, or where it has
    /// ended.
    pub fn read(&self, text: &[u8], client: Client, unix: u64) -> Option<Token> {
        let mut bytes = [0; Self::BYTES];
        // A longer text does not fit, a shorter one is not filled up.
        if hex::decode(text, &mut bytes).ok()?.len() != Self::BYTES {
            return None;
        }
        let (signed, signature) = bytes.split_at(Self::SIGNED);
        self.signature(signed, client).verify_truncated_left(signature).ok()?;
        let (end, token) = signed.split_first_chunk()?;
        let (token, _) = token.split_first_chunk()?;
        counts(*end, unix, self.longest).then(|| Token(u64::from_be_bytes(*token)))
    }

    /// Whether a marker is of a redirection that may be under way, whoever sent it.
    pub fn is_recent(marker: &[u8], unix: u64) -> bool {
        let mut end = [0; Self::END];
        hex::decode(marker, &mut end).is_ok_and(|read| read.len() == Self::END)
            && counts(end, unix, Self::MARKER_LIFETIME)
    }

    fn signature(&self, signed: &[u8], client: Client) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(&client.bytes());
        mac.update(signed);
        mac
    }
}

/// The end of what is made now. Fits until the year 2106.
fn end(unix: u64, lifetime: Duration) -> [u8; Tokens::END] {
    u32::try_from(unix + lifetime.as_secs()).unwrap_or(u32::MAX).to_be_bytes()
}

/// Whether that is still to come, and not further off than anything that was made by now.
fn counts(end: [u8; Tokens::END], unix: u64, lifetime: Duration) -> bool {
    let end = u64::from(u32::from_be_bytes(end));
    unix < end && end <= unix + lifetime.as_secs() + Tokens::SLACK
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
    fn a_token_counts_for_its_client_its_secret_and_its_time_only() {
        let (tokens, client_1) = (tokens(1, 7), client(1));
        let sent = tokens.make(client_1, UNIX);
        let cookie = sent.cookie.as_bytes();
        let read = |unix| tokens.read(cookie, client_1, unix);
        let token = read(UNIX);
        assert!(token.is_some());

        assert_eq!(read(UNIX + 3599), token);
        assert_eq!(read(UNIX + 3600), None);
        // The wall clock was set back: by a little, by a day.
        assert_eq!(read(UNIX - 60), token);
        assert_eq!(read(UNIX - 86_400), None);

        assert_eq!(tokens.read(cookie, client(2), UNIX), None);
        assert_eq!(tokens.read(sent.marker.as_bytes(), client_1, UNIX), None);
        let other = self::tokens(2, 7);
        assert_eq!(other.read(cookie, client_1, UNIX), None);
        // The same secret after a restart, with another seed.
        let later = self::tokens(1, 8);
        assert_eq!(later.read(cookie, client_1, UNIX), token);
    }

    #[test]
    fn a_marker_counts_for_as_long_as_a_redirection_takes() {
        let sent = tokens(1, 7).make(client(1), UNIX);
        let marker = sent.marker.as_bytes();
        assert_eq!(marker.len(), Sent::MARKER_BYTES);
        for (unix, recent) in [
            (UNIX, true),
            (UNIX + 29, true),
            (UNIX + 30, false),
            (UNIX - 60, true),
            (UNIX - 61, false),
        ] {
            assert_eq!(Tokens::is_recent(marker, unix), recent, "{unix}");
        }
        for text in [&b""[..], &marker[..7], sent.cookie.as_bytes(), b"zzzzzzzz"] {
            assert!(!Tokens::is_recent(text, UNIX));
        }
    }

    #[test]
    fn a_token_that_was_changed_anywhere_is_none() {
        let tokens = tokens(1, 7);
        let sent = tokens.make(client(1), UNIX).cookie;
        let read = |text: &[u8]| tokens.read(text, client(1), UNIX);
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
