//! The limits of budgets: of which cells, how much of the site's share for whom, and what becomes of
//! them when the policy is replaced.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::super::fact::Refusal;
use super::super::gcra::Gcra;
use super::super::key::{CellHash, Secret};
use super::super::moment::Moment;
use super::super::policy::{Budget, ChallengePolicy, ClientPolicy, Quota, Tier};
use super::Rank;
use super::table::{Cell, Found};

/// Which of a debtor's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Level {
    Client,
    Token,
    /// All tokens of a client.
    Ceiling,
    /// The wider prefix of so many bits.
    Tier(u8),
    /// All tokens of the wider prefix of so many bits.
    TokenTier(u8),
}

impl Level {
    /// Cells of one debtor at most, beside that of the site.
    pub(super) const MOST: usize = 2 + Tier::MOST;
}

#[derive(Clone)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) client: Gcra,
    pub(super) token: Gcra,
    pub(super) ceiling: Gcra,
    /// Those of the policy, and behind them those of earlier ones: their holds may be under way.
    tiers: Vec<TierLine>,
    pub(super) site: Gcra,
    pub(super) site_of_newcomers: Gcra,
    pub(super) site_of_challenged: Gcra,
    pub(super) site_hash: CellHash,
}

/// The limits of a wider prefix.
#[derive(Clone, Copy)]
struct TierLine {
    bits: u8,
    clients: Gcra,
    tokens: Gcra,
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
        let tier = |tier: &Tier| TierLine {
            bits: tier.prefix,
            clients: Gcra::scaled(budget.client, tier.factor),
            tokens: Gcra::scaled(budget.client, tier.factor.max(challenge.ceiling)),
        };
        Self {
            client: Gcra::new(budget.client),
            token: Gcra::new(challenge.quota),
            ceiling: Gcra::scaled(budget.client, challenge.ceiling),
            tiers: clients.ipv6_tiers.iter().map(tier).collect(),
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
            Level::Tier(bits) => self.tier(bits).map_or(&self.client, |tier| &tier.clients),
            Level::TokenTier(bits) => self.tier(bits).map_or(&self.ceiling, |tier| &tier.tokens),
        }
    }

    fn tier(&self, bits: u8) -> Option<&TierLine> {
        self.tiers.iter().find(|tier| tier.bits == bits)
    }

    /// The same budget under an earlier policy: its tiers are not forgotten.
    fn after(mut self, earlier: &Self) -> Self {
        let gone = earlier.tiers.iter().filter(|tier| self.tier(tier.bits).is_none());
        let gone: Vec<TierLine> = gone.copied().collect();
        self.tiers.extend(gone);
        self
    }

    /// All limits, in an order that two lines of one budget share as far as both have them.
    fn all(&self) -> impl Iterator<Item = &Gcra> {
        [&self.client, &self.token, &self.ceiling, &self.site].into_iter()
    }

    /// Whether what is owed under `self` is worth another time than under `earlier`.
    fn differs(&self, earlier: &Self) -> bool {
        let tier = |was: &TierLine| {
            self.tier(was.bits).is_some_and(|tier| {
                tier.clients.period() != was.clients.period()
                    || tier.tokens.period() != was.tokens.period()
            })
        };
        self.all().zip(earlier.all()).any(|(is, was)| is.period() != was.period())
            || earlier.tiers.iter().any(tier)
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

/// The lines of all budgets that are remembered: those of the policy in force, and those of earlier
/// ones, whose charges are not forgotten. A budget is known by its name, and keeps its place.
pub(super) struct Lines {
    lines: Vec<Line>,
    /// Those of the start, under which debts were taken in of which it is not known whose they are.
    first: Option<Arc<Self>>,
}

impl Lines {
    /// Budgets that are remembered at most, unless one policy has more: of those that are in no
    /// policy any more the one that owes least then gives its place away.
    pub(super) const MOST: usize = 256;

    pub(super) fn new(lines: Vec<Line>) -> Self {
        Self { lines, first: None }
    }

    pub(super) fn line(&self, slot: usize) -> &Line {
        &self.lines[slot]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// These lines in place of those of the same name, or in places of their own; and the place of
    /// each. `until` says how long the site owes in each of the places that there are.
    pub(super) fn followed_by(
        self: &Arc<Self>,
        new: Vec<Line>,
        until: impl Fn(usize) -> Moment,
    ) -> (Self, Vec<usize>) {
        let mut lines = self.lines.clone();
        let mut slots = Vec::with_capacity(new.len());
        let names: Vec<String> = new.iter().map(|line| line.name.clone()).collect();
        for line in new {
            let known = lines.iter().position(|known| known.name == line.name);
            let slot = known.unwrap_or_else(|| {
                let gone = |slot: &usize| !names.contains(&lines[*slot].name);
                let gone = (0..self.len()).filter(gone).filter(|slot| !slots.contains(slot));
                let least = if lines.len() < Self::MOST {
                    None
                } else {
                    gone.min_by_key(|slot| until(*slot))
                };
                least.unwrap_or(lines.len())
            });
            match lines.get_mut(slot) {
                Some(place) if known.is_some() => *place = line.after(place),
                Some(place) => *place = line,
                None => lines.push(line),
            }
            slots.push(slot);
        }
        let first = self.first.clone().unwrap_or_else(|| Arc::clone(self));
        (Self { lines, first: Some(first) }, slots)
    }

    /// Whether a debt is worth another time than under `earlier` lines.
    pub(super) fn differ(&self, earlier: &Self) -> bool {
        self.lines.iter().zip(&earlier.lines).any(|(is, was)| is.differs(was))
    }

    /// The limits that a cell was written under, and those of now; where the budget is the same.
    pub(super) fn before_and_now<'a>(
        &'a self,
        earlier: &'a Self,
        slot: usize,
        level: Level,
    ) -> Option<(&'a Gcra, &'a Gcra)> {
        let (was, is) = (earlier.lines.get(slot)?, self.lines.get(slot)?);
        (was.name == is.name).then(|| (was.gcra(level), is.gcra(level)))
    }

    /// What a cell owes of which it is known only now whose it is.
    pub(super) fn since_first(&self, slot: usize, level: Level, cell: Cell, now: Moment) -> Cell {
        let limits = self.first.as_ref().and_then(|first| self.before_and_now(first, slot, level));
        limits.map_or(cell, |(was, is)| cell.rescaled(was, is, now))
    }
}

/// So many quarters of a quota's burst, at least one; the rate is the same.
pub(super) fn part(quota: Quota, quarters: u32) -> Quota {
    let burst = u64::from(quota.burst().get()) * u64::from(quarters) / 4;
    // Less than the burst, which is a `u32`.
    quota.with_burst(NonZeroU32::new(burst as u32).unwrap_or(NonZeroU32::MIN))
}
