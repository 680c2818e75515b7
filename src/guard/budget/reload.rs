//! Other limits for what is remembered: a reload refills no budget.

use std::sync::Arc;

use super::line::Line;
use super::table::SiteCells;
use super::{Budgets, Share, Site};
use crate::guard::moment::Moment;
use crate::guard::policy::{Budget, ChallengePolicy, ClientPolicy};

impl Budgets {
    /// The budgets of another policy over the same memory. What was owed in sessions stays owed, at
    /// the new rate; a budget is known by its name. From now on the new limits are in force for the
    /// old budgets as well; what is not in the new policy keeps those that it had.
    ///
    /// The capacity of the table stays, and so must the widest of `clients.ipv6_tiers`.
    ///
    /// Where a rate changed this looks at the whole table, one shard at a time.
    pub fn reconfigured(
        &self,
        budgets: &[Budget],
        clients: &ClientPolicy,
        challenge: &ChallengePolicy,
        now: Moment,
    ) -> Self {
        let _alone = self.memory.replacing.lock();
        let line = |budget| Line::new(budget, clients, challenge, self.secret);
        let new = budgets.iter().map(line).collect();
        let (lines, slots) = {
            let Site { lines, cells, .. } = &*self.memory.site.lock();
            lines.followed_by(new, |slot| cells[slot].site.until)
        };
        let lines = Arc::new(lines);
        for section in &self.memory.sections {
            section.lock().reconfigure(&lines, now);
        }
        let site = &mut *self.memory.site.lock();
        site.cells.resize(lines.len(), SiteCells::FRESH);
        for (slot, cells) in site.cells.iter_mut().enumerate().take(site.lines.len()) {
            let (was, is) = (site.lines.line(slot), lines.line(slot));
            if was.name == is.name {
                cells.site = cells.site.rescaled(&was.site, &is.site, now);
                cells.strict = cells.strict.rescaled(&was.client, &is.client, now);
            } else {
                *cells = SiteCells::FRESH;
            }
        }
        site.lines = lines;
        let share = |(budget, slot): (&Budget, usize)| Share { name: budget.name.clone(), slot };
        Self {
            secret: self.secret,
            clients: clients.clone(),
            shares: budgets.iter().zip(slots).map(share).collect(),
            memory: Arc::clone(&self.memory),
        }
    }
}
