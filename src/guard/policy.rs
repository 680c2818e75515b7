//! What the operator wants, as types that cannot hold a contradiction.
//!
//! `config` builds a [`Policy`] from TOML; the guard obeys it. Nothing here reads a file.

use std::net::IpAddr;
use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::route::Rule;

/// Everything that the guard must know about one site.
#[derive(Clone, Debug)]
pub struct Policy {
    pub mode: Mode,
    pub session: SessionPolicy,
    pub recycle: RecyclePolicy,
    pub client: ClientPolicy,
    /// What a client meets that is out of budget, where neither its rule nor its budget says.
    pub challenge: Challenge,
    pub challenge_cookie: ChallengePolicy,
    pub learned: LearnedPolicy,
    /// Index 0 is [`Budget::ANONYMOUS`]; rules refer to the others by their index.
    pub budgets: Vec<Budget>,
    /// The operator's rules first, then the profile's; the first that matches decides.
    pub rules: Vec<Rule>,
}

impl Policy {
    /// A number for all that it says: two policies of one version of this program that have the
    /// same say the same.
    pub fn digest(&self) -> u64 {
        let hash = Sha256::digest(format!("{self:?}"));
        hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Whether any client can be challenged.
    pub fn challenges(&self) -> bool {
        let own = self.budgets.iter().map(|budget| budget.challenge);
        let own = own.chain(self.rules.iter().map(|rule| rule.challenge)).flatten();
        own.chain([self.challenge]).any(|challenge| challenge == Challenge::Cookie)
    }
}

/// Whether the verdicts are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Verdicts are carried out.
    Enforce,
    /// Everything is forwarded as it came; what would have been done is told to telemetry.
    Observe,
}

impl Mode {
    pub const ALL: [Self; 2] = [Self::Enforce, Self::Observe];

    /// The word for it in TOML and in logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }
}

/// How the application names and keeps its sessions.
#[derive(Clone, Debug)]
pub struct SessionPolicy {
    /// The session cookie's name: an RFC 6265 token, without `$` in front and not one of the
    /// attribute names that Python's `http.cookies` reserves.
    pub cookie: String,
    pub key_shape: KeyShape,
    /// How long a record lives after it was written (Django's `SESSION_COOKIE_AGE`); also the
    /// life of a spare, and what the ledger must have seen before it is warm. 1 minute to 400 days.
    pub lifetime: Duration,
    pub unknown: Unknown,
    pub after_logout: AfterLogout,
    /// Path, Domain and Secure of a deletion, until the application has shown its own.
    pub cookie_path: String,
    pub cookie_domain: Option<String>,
    pub cookie_secure: bool,
    /// Session keys that the ledger holds at most. 1,000 to 100,000,000.
    pub capacity: usize,
    /// Exchanges of one key at once, on routes that neither rotate nor flush.
    pub in_flight_per_key: u16,
    /// Of a key that never logged in, so many at once go without a hold. 1 to 1,024.
    pub in_flight_anonymous: u16,
    /// How long an exchange waits for others of its key. At most 30 seconds.
    pub key_wait: Duration,
}

/// Which strings can be a session key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyShape {
    /// `[0-9a-f]{32}`: Django 1.4 (django/contrib/sessions/backends/base.py, MD5 in hex).
    Hex32,
    /// `[a-z0-9]{32}`: Django 1.5 and later (`VALID_KEY_CHARS`). Every key of 1.4 has it as well.
    Alnum32,
}

impl KeyShape {
    pub const ALL: [Self; 2] = [Self::Hex32, Self::Alnum32];

    /// The word for it in TOML.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hex32 => "hex32",
            Self::Alnum32 => "alnum32",
        }
    }
}

/// What becomes of a session cookie that the ledger does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Forwarded until the ledger is warm, removed from then on.
    Auto,
    /// Always forwarded.
    Forward,
    /// Removed from the first request on: sessions older than the ledger are logged out.
    Drop,
}

impl Unknown {
    pub const ALL: [Self; 3] = [Self::Auto, Self::Forward, Self::Drop];

    /// The word for it in TOML.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Forward => "forward",
            Self::Drop => "drop",
        }
    }
}

/// What becomes of the new, empty session that an old Django hands out after a logout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterLogout {
    /// Turned into a deletion, as the patched Django sends.
    Delete,
    /// Relayed, for sites that write to the session after the logout.
    Relay,
}

impl AfterLogout {
    pub const ALL: [Self; 2] = [Self::Delete, Self::Relay];

    /// The word for it in TOML.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Relay => "relay",
        }
    }
}

/// The recycling of empty sessions.
#[derive(Clone, Debug)]
pub struct RecyclePolicy {
    /// Empty sessions kept at most, over all paths. 1 to 1,024.
    pub spares: u16,
    /// How long an exchange waits for a slot, or for budget that is held. At most 30 seconds.
    pub slot_wait: Duration,
    /// One recycled exchange at a time, and behind it none for so many times as long as it took, or
    /// until a second after it began; 0: as many at once as there are spares. At most 100.
    pub spacing: u32,
    /// How long a route whose view writes to its session is gated before it is tried again.
    pub gate_for: Duration,
}

/// Who counts as one client, and how many are remembered.
#[derive(Clone, Debug)]
pub struct ClientPolicy {
    /// Bits of an IPv4 address that make one client. 8 to 32.
    pub ipv4_prefix: u8,
    /// Bits of an IPv6 address that make one client. 16 to 128.
    pub ipv6_prefix: u8,
    /// The wider prefixes around an IPv6 client that share a budget, each wider than the one
    /// before; [`Tier::MOST`] at most.
    pub ipv6_tiers: Vec<Tier>,
    /// Clients remembered at most, 32 bytes each. 1,000 to 100,000,000.
    pub capacity: usize,
    /// Addresses that no budget limits.
    pub exempt: Vec<IpNet>,
    /// Addresses with a budget of their own on every route; the first that has an address counts.
    pub networks: Vec<Network>,
}

/// A wider IPv6 prefix, all of which together may create as much as `factor` clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// 8 to 127 bits.
    pub prefix: u8,
    /// 1 to 65,536.
    pub factor: NonZeroU32,
}

impl Tier {
    /// Tiers around a client at most.
    pub const MOST: usize = 3;
}

/// Addresses that draw on one budget, whatever the route.
#[derive(Clone, Debug)]
pub struct Network {
    pub addresses: Vec<IpNet>,
    /// Index into `Policy::budgets`.
    pub budget: usize,
}

/// By which budget an address is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terms {
    /// By that of the route.
    Usual,
    /// By one of its own: an index into `Policy::budgets`.
    Own(usize),
    /// By none.
    Exempt,
}

impl ClientPolicy {
    /// What holds for an address.
    pub fn terms(&self, address: IpAddr) -> Terms {
        if self.exempt.is_empty() && self.networks.is_empty() {
            return Terms::Usual;
        }
        let address = address.to_canonical();
        let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
        if within(&self.exempt) {
            return Terms::Exempt;
        }
        let own = self.networks.iter().find(|network| within(&network.addresses));
        own.map_or(Terms::Usual, |network| Terms::Own(network.budget))
    }
}

/// Whether a client that is out of budget is challenged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// It is refused.
    None,
    /// It is sent back to where it came from with a cookie; who returns that is no script of the
    /// simplest kind, and gets a budget of its own.
    Cookie,
}

impl Challenge {
    pub const ALL: [Self; 2] = [Self::None, Self::Cookie];

    /// The word for it in TOML.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Cookie => "cookie",
        }
    }
}

/// What whoever returns a challenge's cookie gets.
#[derive(Clone, Debug)]
pub struct ChallengePolicy {
    /// The cookie's name: as that of the session cookie, and another.
    pub name: String,
    /// How long it counts. 1 minute to 30 days.
    pub max_age: Duration,
    /// The budget of one that is returned.
    pub quota: Quota,
    /// All that are returned from one client: as much as this many clients. 1 to 1,000.
    pub ceiling: NonZeroU32,
}

/// What is learned of paths that no rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnedPolicy {
    /// Path classes remembered, rounded up to eight, `Learned::CLASS_BYTES` each. 256 to 1,000,000.
    pub capacity: usize,
    /// Answers without a record that make a class clean.
    pub clean_answers: NonZeroU8,
    /// How long a class that created counts as creating. 1 second to 1 day.
    pub quiet: Duration,
    /// Exchanges at once that go on without a hold because their class is clean; never more than
    /// the site's burst. 0 lets none. At most 1,024.
    pub passes: u16,
}

/// A pair of limits on how many sessions may be created: by one client, and on the whole site.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Its name in TOML, logs and metrics: `[a-z][a-z0-9_-]*`.
    pub name: String,
    pub client: Quota,
    pub site: Quota,
    /// Goes before `Policy::challenge`.
    pub challenge: Option<Challenge>,
}

impl Budget {
    /// The index of the budget of every rule that names none.
    pub const ANONYMOUS: usize = 0;
}

/// A GCRA limit: `burst` at once, and one more each `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    burst: NonZeroU32,
    period: Duration,
}

impl Quota {
    /// The shortest period: a microsecond, one million a second.
    pub const SHORTEST: Duration = Duration::from_micros(1);
    /// The longest period: thirty days.
    pub const LONGEST: Duration = Duration::from_secs(30 * 86_400);

    /// `burst` at once and one more each `period`; `None` where the period is out of bounds, or
    /// where `burst` periods do not fit into a year (no table could remember such a debt).
    pub fn new(burst: NonZeroU32, period: Duration) -> Option<Self> {
        let whole = period.checked_mul(burst.get())?;
        let fits = (Self::SHORTEST..=Self::LONGEST).contains(&period)
            && whole <= Duration::from_secs(366 * 86_400);
        fits.then_some(Self { burst, period })
    }

    /// The same with a smaller burst.
    pub fn with_burst(self, burst: NonZeroU32) -> Self {
        Self { burst: burst.min(self.burst), ..self }
    }

    /// How many may be taken at once from a full budget.
    pub const fn burst(self) -> NonZeroU32 {
        self.burst
    }

    /// How long until one that was taken is there again.
    pub const fn period(self) -> Duration {
        self.period
    }
}
