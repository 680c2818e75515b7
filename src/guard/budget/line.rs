//! The limits of one budget: of which cells, and how much of the site's share for whom.

use std::num::NonZeroU32;

use super::super::fact::Refusal;
use super::super::gcra::Gcra;
use super::super::key::{CellHash, Secret};
use super::super::moment::Moment;
use super::super::policy::{Budget, ChallengePolicy, ClientPolicy, Quota, Tier};
use super::Rank;
use super::table::{Cell, Found};

/// Which of a debtor's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Client,
    Token,
    /// All tokens of a client.
    Ceiling,
    /// The wider prefix of this index.
    Tier(u8),
    /// All tokens of the wider prefix of this index.
    TokenTier(u8),
}

impl Level {
    /// Cells of one debtor at most, beside that of the site.
    pub(super) const MOST: usize = 2 + Tier::MOST;
}

pub(super) struct Line {
    pub(super) name: String,
    pub(super) client: Gcra,
    pub(super) token: Gcra,
    pub(super) ceiling: Gcra,
    pub(super) tiers: Box<[Gcra]>,
    pub(super) token_tiers: Box<[Gcra]>,
    pub(super) site: Gcra,
    pub(super) site_of_newcomers: Gcra,
    pub(super) site_of_challenged: Gcra,
    pub(super) site_hash: CellHash,
}

impl Level {
    pub(super) fn refusal(self, found: &Found) -> Refusal {
        match (self, found.cell) {
            (Self::Client | Self::Token, None) => Refusal::TableFull,
            (Self::Client | Self::Token, Some(_)) => Refusal::ClientBudget,
            (Self::Ceiling, _) => Refusal::Ceiling,
            (Self::Tier(_) | Self::TokenTier(_), _) => Refusal::WideBudget,
        }
    }
}

impl Line {
    pub(super) fn new(
        budget: &Budget,
        clients: &ClientPolicy,
        challenge: &ChallengePolicy,
        secret: Secret,
    ) -> Self {
        let tiers = |least: NonZeroU32| {
            let scaled = |tier: &Tier| Gcra::scaled(budget.client, tier.factor.max(least));
            clients.ipv6_tiers.iter().map(scaled).collect()
        };
        Self {
            client: Gcra::new(budget.client),
            token: Gcra::new(challenge.quota),
            ceiling: Gcra::scaled(budget.client, challenge.ceiling),
            tiers: tiers(NonZeroU32::MIN),
            token_tiers: tiers(challenge.ceiling),
            site: Gcra::new(budget.site),
            site_of_newcomers: Gcra::new(part(budget.site, 2)),
            site_of_challenged: Gcra::new(part(budget.site, 3)),
            site_hash: secret.site(&budget.name),
            name: budget.name.clone(),
        }
    }

    pub(super) fn gcra(&self, level: Level) -> &Gcra {
        match level {
            Level::Client => &self.client,
            Level::Token => &self.token,
            Level::Ceiling => &self.ceiling,
            Level::Tier(index) => &self.tiers[usize::from(index)],
            Level::TokenTier(index) => &self.token_tiers[usize::from(index)],
        }
    }

    /// What somebody of this rank may use of the site's budget, and what it is called when that is
    /// not enough.
    pub(super) fn site_for(&self, rank: Rank, site: Cell, now: Moment) -> (Refusal, &Gcra) {
        let part = match rank {
            Rank::Newcomer => &self.site_of_newcomers,
            Rank::Challenged => &self.site_of_challenged,
            Rank::Regular => &self.site,
        };
        let spent = site.check(&self.site, now).is_err();
        (if spent { Refusal::SiteBudget } else { Refusal::SiteShort }, part)
    }
}

/// So many quarters of a quota's burst, at least one; the rate is the same.
pub(super) fn part(quota: Quota, quarters: u32) -> Quota {
    let burst = u64::from(quota.burst().get()) * u64::from(quarters) / 4;
    // Less than the burst, which is a `u32`.
    quota.with_burst(NonZeroU32::new(burst as u32).unwrap_or(NonZeroU32::MIN))
}
