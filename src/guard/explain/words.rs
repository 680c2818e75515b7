//! An explanation in words, a line for each thing that counts.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::{Cover, Explanation, Fate, For, Session, WhyForwarded, WhyRemoved, With};
use crate::guard::budget::{CellWord, Left, Rank};
use crate::guard::fact::{Refusal, Warmth};
use crate::guard::learned::Looked;
use crate::guard::policy::Terms;

impl Session {
    /// What it stands for, and what becomes of it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::None => "no session cookie",
            Self::Known { charged: true, logged_in: true } => "a live session of a login, paid for",
            Self::Known { charged: true, logged_in: false } => "a live session, paid for",
            Self::Known { charged: false, .. } => "a live session that was created in debt",
            Self::Removed(WhyRemoved::Dead) => "a session that has ended: removed",
            Self::Removed(WhyRemoved::Replaced) => "a key that was replaced by another: removed",
            Self::Removed(WhyRemoved::Spare) => "the key of a spare: removed",
            Self::Removed(WhyRemoved::Configured) => {
                "not in the ledger: removed, as session.unknown says"
            }
            Self::Removed(WhyRemoved::Warm) => {
                "not in the ledger, which knows every live session: removed"
            }
            Self::Forwarded(WhyForwarded::Configured) => {
                "not in the ledger: forwarded, as session.unknown says"
            }
            Self::Forwarded(WhyForwarded::Handover) => {
                "not in the ledger, while one process takes over from another: forwarded"
            }
            Self::Forwarded(WhyForwarded::NotWarm(warmth)) => match warmth {
                // It became so between two looks.
                Warmth::Warm | Warmth::Cold { .. } => {
                    "not in the ledger, which has not seen a whole session.lifetime: forwarded"
                }
                Warmth::Overflowed { .. } => {
                    "not in the ledger, which has forgotten live sessions for lack of room: \
                     forwarded"
                }
                Warmth::IssuedElsewhere { .. } => {
                    "not in the ledger, and sessions are issued past Floodwall: forwarded"
                }
            },
            Self::Signed => "signed by the application, which keeps no record of it",
        }
    }
}

impl With {
    const fn words(self) -> &'static str {
        match self {
            Self::Own => "its cookies as they came",
            Self::Nothing => "no session",
            Self::Spare => "a spare",
            Self::Placeholder => "a placeholder: the slot for a spare is empty",
            Self::Proof => "no session, and once more with the one that it gets, for a proof",
        }
    }
}

impl Cover {
    fn words(self) -> String {
        let words = match self {
            Self::Paid => "no budget is asked: its session was paid for",
            Self::Rule => "no budget is asked: the rule forwards",
            Self::Exempt => "no budget is asked: the client is exempt",
            Self::Signed => "no budget is asked: there is no record",
            Self::Unasked => "no budget is asked: verdicts are not carried out here",
            Self::Held => "one is held of its budget until the answer is there",
            Self::Clean => "its budget is spent, but pages of this class create no session",
            Self::Observed(why) => {
                let why = why.word();
                return format!("it would be refused ({why}) if verdicts were carried out here");
            }
        };
        words.to_owned()
    }
}

impl For {
    const fn words(self) -> &'static str {
        match self {
            Self::Session => "other exchanges of its session",
            Self::Spare => "a spare, or the proof of its path",
            Self::Budget => "budget that is held by exchanges under way",
        }
    }
}

impl Rank {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Newcomer => "newcomer",
            Self::Challenged => "challenged",
            Self::Regular => "regular",
        }
    }
}

impl Refusal {
    /// The reason, for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::ClientBudget => "the client has spent its budget",
            Self::WideBudget => "the prefix around the client has spent its budget",
            Self::Ceiling => "those who met a challenge from there have spent their budget",
            Self::SiteShort => "what is left of the site's budget is for others",
            Self::SiteBudget => "the site has spent its budget",
            Self::TableFull => "the client has no place, and those without have spent theirs",
            Self::NoSpare => "all spares are in use",
        }
    }
}

impl Display for CellWord {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(client) => write!(f, "client {client}"),
            Self::Token => f.write_str("its challenge's cookie"),
            Self::Ceiling(client) | Self::WideCeiling(client) => {
                write!(f, "all challenges' cookies from {client}")
            }
            Self::Wide(client) => write!(f, "prefix {client}"),
            Self::Strict => f.write_str("all clients without a place"),
            Self::Site(rank) => write!(f, "site, for a {} client", rank.word()),
        }
    }
}

impl Display for Left {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { of, left, held, burst, period } = self;
        write!(f, "{of}: {left} of {burst} left, one more each {period:?}")?;
        if *held > 0 { write!(f, "; {held} held") } else { Ok(()) }
    }
}

impl Display for Looked {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.creates, self.clean >= self.enough) {
            (Some(left), _) => {
                write!(f, "creating: it made a session, and counts as such for {}", seconds(left))
            }
            (None, true) => f.write_str("clean: it makes no sessions"),
            (None, false) => {
                write!(f, "unproven: {} of {} clean answers", self.clean, self.enough)
            }
        }
    }
}

/// Rounded up, as in `Retry-After`.
fn seconds(span: Duration) -> String {
    format!("{} s", span.as_millis().div_ceil(1000))
}

impl Display for Fate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forwarded { with, cover } => {
                write!(f, "forwarded with {}; {}", with.words(), cover.words())
            }
            Self::Refused { why, retry_after } => {
                let (words, word) = (why.words(), why.word());
                write!(f, "refused: {words} ({word}); again in {}", seconds(*retry_after))
            }
            Self::Challenged { why } => {
                write!(f, "challenged: {} ({})", why.words(), why.word())
            }
            Self::Answered(answer) => match &answer.location {
                Some(location) => write!(f, "answered: {} to {location}", answer.status),
                None => write!(f, "answered: {}", answer.status),
            },
            Self::Waits(what) => write!(f, "waits for {}", what.words()),
        }
    }
}

impl Display for Explanation {
    /// Some lines, each with a word in front that says what it is about; the fate comes last.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "standing  {}: {}", self.standing.word(), self.session.words())?;
        let rule = self.rule.as_deref().unwrap_or("none");
        let observes = if self.observes { ", observed only" } else { "" };
        writeln!(f, "rule      {rule}: {}{observes}", self.action.word())?;
        if let Some(class) = &self.class {
            writeln!(f, "class     {class}")?;
        }
        match self.terms {
            Terms::Usual => writeln!(f, "budget    {}", self.budget)?,
            Terms::Own(_) => writeln!(f, "budget    {}, by the client's address", self.budget)?,
            Terms::Exempt => writeln!(f, "budget    none: the client is exempt")?,
        }
        for cell in &self.left {
            writeln!(f, "          {cell}")?;
        }
        write!(f, "fate      {}", self.fate)
    }
}
