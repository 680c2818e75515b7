//! What happened, as values: the guard says it, telemetry renders it.

use std::time::Duration;

use super::client::Client;
use super::route::StandingWord;

/// The rule that a request fell under: an index into `Policy::rules`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteId {
    Rule(u16),
    /// No rule named it. Learned path classes will stand here.
    Unnamed,
}

/// One thing that happened in an exchange, told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    pub route: RouteId,
    pub client: Client,
    pub event: Event,
}

/// What happened. Session keys are in none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Not forwarded.
    Refused(Refusal),
    /// Forwarded in observe mode, though it would have been refused.
    WouldRefuse(Refusal),
    /// Forwarded in observe mode, though it would have been recycled or answered.
    WouldAbsorb,
    /// Forwarded with a spare: the write replaced a record, or was not made.
    Recycled,
    /// The proxy replied itself.
    Answered,
    /// Sent back with a challenge's cookie instead of being refused.
    Challenged,
    /// A session cookie was withheld from a client that had sent none.
    Stripped,
    /// A session cookie was turned into a deletion.
    Deleted,
    /// A session cookie that stands for no live session was removed from a request.
    Removed,
    /// A write reached the store.
    Wrote(Write),
}

/// A change in the session store, as the answer proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Write {
    Created,
    Rotated,
    Renewed,
    Deleted,
    /// Nothing was written.
    None,
    /// The answer does not tell.
    Uncertain,
}

impl Write {
    pub const ALL: [Self; 6] =
        [Self::Created, Self::Rotated, Self::Renewed, Self::Deleted, Self::None, Self::Uncertain];

    /// The word for it in logs and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Rotated => "rotated",
            Self::Renewed => "renewed",
            Self::Deleted => "deleted",
            Self::None => "none",
            Self::Uncertain => "uncertain",
        }
    }
}

/// Why a request was not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// The client's budget is spent.
    ClientBudget,
    /// The budget of a wide IPv6 prefix around the client is spent.
    WideBudget,
    /// What all may spend together who return challenges' cookies from this client.
    Ceiling,
    /// The site's budget is short: what is left of it is for those who have met a challenge or
    /// have logged in lately.
    SiteShort,
    /// The site's budget is spent.
    SiteBudget,
    /// No place in the client table, and the bucket that such clients share is spent.
    TableFull,
    /// All spares of the path were in use for as long as it could wait.
    NoSpare,
}

impl Refusal {
    pub const ALL: [Self; 7] = [
        Self::ClientBudget,
        Self::WideBudget,
        Self::Ceiling,
        Self::SiteShort,
        Self::SiteBudget,
        Self::TableFull,
        Self::NoSpare,
    ];

    /// The word for it in logs and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ClientBudget => "client-budget",
            Self::WideBudget => "wide-budget",
            Self::Ceiling => "ceiling",
            Self::SiteShort => "site-short",
            Self::SiteBudget => "site-budget",
            Self::TableFull => "table-full",
            Self::NoSpare => "no-spare",
        }
    }
}

/// Something that the operator should hear of, whoever caused it. Rare, or made rare by telemetry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A path was seen to flush sessions: anonymous requests to it recycle from now on.
    PathFlushes { route: RouteId, path: String },
    /// A path under a recycling rule writes to the session: gated for this long.
    PathWrites { route: RouteId, path: String, gated: Duration },
    /// An application that deletes empty sessions wrote after the logout, for several clients.
    WritesAfterLogout { route: RouteId, path: String, gated: Duration },
    /// Requests without a live session to a path that no rule names create sessions now; they did
    /// not before, or nothing was known of them.
    PathCreates { method: &'static str, standing: StandingWord, path: String },
    /// There is no room for a path class: all that could make some creates.
    ClassesFull,
    /// A creating route set a cookie that looks like a session key under another name.
    OtherCookieLooksLikeKey { route: RouteId, cookie: String },
    /// The application set a session cookie that is no key of this profile.
    KeyOfOtherShape { route: RouteId },
    /// The ledger was full: a live session was forgotten.
    LedgerOverflowed,
    /// The client table was full: a client found no place.
    ClientTableFull,
    /// Unknown session cookies are removed from now on, or are forwarded, and how far it is until
    /// they are removed. `warm_at` is in seconds since 1970.
    Warmth { warmth: Warmth, warm_at: u64 },
}

/// Whether the ledger knows every live session. `remaining` of `whole` must pass before it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warmth {
    Warm,
    /// A cookie lifetime has not been seen yet.
    Cold {
        missed: Missed,
        remaining: Duration,
        whole: Duration,
    },
    /// A live session was forgotten for lack of room.
    Overflowed {
        remaining: Duration,
        whole: Duration,
    },
    /// A session that was not issued through Floodwall was alive.
    IssuedElsewhere {
        remaining: Duration,
        whole: Duration,
    },
}

impl Warmth {
    /// What must pass, and of how much, before it is warm; zero where it is.
    pub const fn span(self) -> (Duration, Duration) {
        match self {
            Self::Warm => (Duration::ZERO, Duration::ZERO),
            Self::Cold { remaining, whole, .. }
            | Self::Overflowed { remaining, whole }
            | Self::IssuedElsewhere { remaining, whole } => (remaining, whole),
        }
    }
}

/// What a ledger that is cold has not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// There was no state: no session was known.
    Everything,
    /// The state was damaged, and could not be read.
    Damaged,
    /// Nothing ran for this long.
    Absence(Duration),
    /// The wall clock was set back: nobody knows for how long nothing ran.
    ClockSetBack,
    /// A part of the journal is missing or damaged.
    Journal,
    /// The machine went down while Floodwall ran: the last seconds may not be on the disk.
    Crash,
    /// Keys were remembered for a shorter `session.lifetime` than there is now.
    LongerLifetime,
    /// A session cookie with a longer age was seen.
    LongerAge,
    /// `session.cookie` or `session.key_shape` was another one: what was issued under this one was
    /// not seen.
    OtherCookie,
}

impl Missed {
    /// One of each.
    pub const ALL: [Self; 9] = [
        Self::Everything,
        Self::Damaged,
        Self::Absence(Duration::from_secs(90)),
        Self::ClockSetBack,
        Self::Journal,
        Self::Crash,
        Self::LongerLifetime,
        Self::LongerAge,
        Self::OtherCookie,
    ];

    /// A number that stands for it in the state file, and how long it was.
    pub(super) const fn code(self) -> (u64, Duration) {
        match self {
            Self::Everything => (0, Duration::ZERO),
            Self::Damaged => (1, Duration::ZERO),
            Self::Absence(span) => (2, span),
            Self::ClockSetBack => (3, Duration::ZERO),
            Self::Journal => (4, Duration::ZERO),
            Self::Crash => (5, Duration::ZERO),
            Self::LongerLifetime => (6, Duration::ZERO),
            Self::LongerAge => (7, Duration::ZERO),
            Self::OtherCookie => (8, Duration::ZERO),
        }
    }

    /// What such a number stands for; one that is not known, for everything.
    pub(super) const fn from_code(code: u64, span: Duration) -> Self {
        match code {
            1 => Self::Damaged,
            2 => Self::Absence(span),
            3 => Self::ClockSetBack,
            4 => Self::Journal,
            5 => Self::Crash,
            6 => Self::LongerLifetime,
            7 => Self::LongerAge,
            8 => Self::OtherCookie,
            _ => Self::Everything,
        }
    }
}
