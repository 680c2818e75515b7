//! What is left in the cells of a debtor, for whoever only looks.

use std::time::Duration;

use super::line::Level;
use super::open::Open;
use super::table::{Cell, Section};
use super::{Budgets, Debtor, Rank, Refused, Share, Site};
use crate::guard::client::Client;
use crate::guard::gcra::Gcra;
use crate::guard::moment::Moment;
use crate::guard::sharded::Locked;

/// A cell of a budget, as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    pub of: CellWord,
    /// How many more may be created there now.
    pub left: u32,
    /// How many of it exchanges under way hold.
    pub held: u32,
    /// How many there are when nothing is spent.
    pub burst: u32,
    /// How long until one that was spent is there again.
    pub period: Duration,
}

/// What a cell counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellWord {
    Client(Client),
    /// One that has returned a challenge's cookie.
    Token,
    /// All such of a client.
    Ceiling(Client),
    /// A wide prefix.
    Wide(Client),
    /// All such of a wide prefix.
    WideCeiling(Client),
    /// All clients that found no place in the table.
    Strict,
    /// The part of the site's budget that is for those of this rank.
    Site(Rank),
}

impl Left {
    fn of(of: CellWord, cell: Cell, gcra: &Gcra, now: Moment) -> Self {
        Self {
            of,
            left: gcra.left(cell.arrival(gcra, now), now),
            held: cell.held,
            burst: gcra.burst(),
            period: Duration::from_nanos(gcra.period()),
        }
    }
}

impl Budgets {
    /// What is left for a debtor, and whether [`Self::reserve`] would hold one. Changes nothing.
    pub fn look(
        &self,
        budget: usize,
        debtor: impl Into<Debtor>,
        now: Moment,
    ) -> (Vec<Left>, Result<(), Refused>) {
        let debtor = debtor.into();
        self.on_cells(budget, debtor, now, |open, spots| {
            let cells = spots.iter().flatten().map(|spot| {
                let (level, found) = spot;
                let wide = |bits| {
                    let mut tiers = debtor.client.tiers(&self.clients);
                    tiers.find(|tier| tier.bits() == bits).unwrap_or(debtor.client)
                };
                let word = match level {
                    _ if found.cell.is_none() => CellWord::Strict,
                    Level::Client => CellWord::Client(debtor.client),
                    Level::Token => CellWord::Token,
                    Level::Ceiling => CellWord::Ceiling(debtor.client),
                    Level::Tier(bits) => CellWord::Wide(wide(*bits)),
                    Level::TokenTier(bits) => CellWord::WideCeiling(wide(*bits)),
                };
                Left::of(word, open.read(spot), open.gcra(spot), now)
            });
            let mut cells: Vec<Left> = cells.collect();
            cells.push(of_site(&open, debtor.rank));
            (cells, open.check(&spots, debtor.rank))
        })
    }

    /// What is left for the whole site of each budget of the policy, with its name.
    pub fn left(&self, now: Moment) -> Vec<(String, Left)> {
        let Site { lines, cells, .. } = &*self.memory.site.lock();
        let left = |share: &Share| {
            let (line, cell) = (lines.line(share.slot), cells[share.slot].site);
            (share.name.clone(), Left::of(CellWord::Site(Rank::Regular), cell, &line.site, now))
        };
        self.shares.iter().map(left).collect()
    }

    /// How many clients and prefixes owe something. Looks at the table piece by piece: nobody waits
    /// for longer than a piece takes, which is some tens of microseconds.
    pub fn owing(&self, now: Moment) -> usize {
        let of_section = |section: &Locked<Section>| {
            let pieces = (0..).map_while(|piece| section.lock().shard.owing(piece, now));
            pieces.sum::<usize>()
        };
        self.memory.sections.iter().map(of_section).sum()
    }

    /// The name of a budget of the policy.
    pub fn name(&self, budget: usize) -> &str {
        &self.shares[budget].name
    }
}

fn of_site(open: &Open<'_>, rank: Rank) -> Left {
    let line = open.site_lines.line(open.slot);
    let (_, gcra) = line.site_for(rank, open.site.site, open.now);
    Left::of(CellWord::Site(rank), open.site.site, gcra, open.now)
}
