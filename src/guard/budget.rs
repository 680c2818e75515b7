//! Budgets: how many sessions a client, a wide IPv6 prefix and the whole site may create.
//!
//! A hold is taken before forwarding and is charged unless it is refunded on evidence. While it
//! awaits its settlement it takes room in the burst and does not leak: so neither late refunds nor
//! late charges can add up to more than the burst and the rate give, in any window of time. All
//! cells are checked before any is held, so a refused request charges nobody. The table of clients
//! is bounded; it forgets only cells that are as good as fresh, and clients that find no place in
//! it share one bucket.

use std::num::NonZeroU32;
use std::time::Duration;

use super::client::Client;
use super::fact::Refusal;
use super::gcra::{Gcra, Short};
use super::key::{CellHash, Secret};
use super::moment::Moment;
use super::policy::{Budget, ClientPolicy};
use super::sharded::Locked;

/// The budgets of a site, and what of them is spent.
pub struct Budgets {
    secret: Secret,
    clients: ClientPolicy,
    lines: Vec<Line>,
    shards: Box<[Locked<Shard>]>,
    /// Two for each budget: of the site, and of all clients that found no place.
    site: Locked<Box<[SiteCells]>>,
}

/// A charge that awaits its settlement: [`Budgets::keep`] or [`Budgets::refund`].
#[derive(Debug)]
#[must_use = "a hold that is not settled takes room in its budgets for ever"]
pub struct Hold {
    budget: usize,
    own: Place,
    wide: Option<Place>,
}

/// Why nothing was reserved, and after which time it is worth to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub why: Refusal,
    pub retry_after: Duration,
    /// Nothing but holds stands in the way: their settlement may make room at any moment.
    pub held: bool,
}

/// What one cell owes: for the state file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    pub cell: CellHash,
    pub until: Moment,
}

/// Where a client or a wide prefix is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Cell(CellHash),
    /// The bucket that all share who found no place in the table.
    Strict,
}

struct Line {
    name: String,
    client: Gcra,
    wide: Gcra,
    site: Gcra,
    site_hash: CellHash,
}

#[derive(Clone, Copy)]
struct SiteCells {
    site: Cell,
    /// What the journal was last told of `site`.
    told: Cell,
    strict: Cell,
}

/// What a cell owes. One with nothing held and a time not after now is as good as fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    /// GCRA's theoretical arrival time of what was charged.
    until: Moment,
    /// Holds that await their settlement.
    held: u32,
}

/// Why a cell has no room.
#[derive(Clone, Copy)]
struct Blocked {
    wait: Duration,
    /// Without what it holds it would have some.
    held: bool,
}

impl Cell {
    const FRESH: Self = Self { until: Moment::from_nanos(0), held: 0 };

    /// The arrival time if everything held were charged now.
    fn arrival(self, gcra: &Gcra, now: Moment) -> Moment {
        let held = gcra.period().saturating_mul(u64::from(self.held));
        Moment::from_nanos(self.until.max(now).as_nanos().saturating_add(held))
    }

    /// Whether one more may be held.
    fn check(self, gcra: &Gcra, now: Moment) -> Result<(), Blocked> {
        gcra.take(self.arrival(gcra, now), now)
            .map(|_| ())
            .map_err(|Short(wait)| Blocked { wait, held: gcra.take(self.until, now).is_ok() })
    }

    fn with_hold(self) -> Self {
        Self { held: self.held + 1, ..self }
    }

    fn refunded(self) -> Self {
        Self { held: self.held.saturating_sub(1), ..self }
    }

    fn charged(self, gcra: &Gcra, now: Moment) -> Self {
        Self { until: gcra.force(self.until, now), ..self }
    }
}

impl Budgets {
    const SHARDS: usize = 64;

    /// Budgets that nobody has drawn on.
    pub fn new(budgets: &[Budget], clients: &ClientPolicy, secret: Secret) -> Self {
        let lines = budgets.iter().map(|budget| Line::new(budget, clients, secret)).collect();
        let buckets = clients.capacity.div_ceil(Self::SHARDS * Shard::BUCKET).max(2);
        Self {
            secret,
            clients: clients.clone(),
            lines,
            shards: (0..Self::SHARDS).map(|_| Locked::new(Shard::new(buckets))).collect(),
            site: Locked::new(vec![SiteCells::FRESH; budgets.len()].into()),
        }
    }

    /// Holds one in every cell that concerns this client, or in none.
    pub fn reserve(&self, budget: usize, client: Client, now: Moment) -> Result<Hold, Refused> {
        self.on_cells(budget, client, now, |line, shard, cells, own, wide| {
            let own_check = match own.cell {
                Some(_) => (Refusal::ClientBudget, own.read(shard, cells).check(&line.client, now)),
                None => (Refusal::TableFull, cells.strict.check(&line.client, now)),
            };
            let wide_check =
                wide.map_or(Ok(()), |wide| wide.read(shard, cells).check(&line.wide, now));
            let site_check = cells.site.check(&line.site, now);
            Refused::unless_all_ok([
                own_check,
                (Refusal::WideBudget, wide_check),
                (Refusal::SiteBudget, site_check),
            ])?;

            for place in [Some(own), wide].into_iter().flatten() {
                let held = place.read(shard, cells).with_hold();
                place.write(shard, cells, held);
            }
            cells.site = cells.site.with_hold();
            Ok(Hold { budget, own: own.place(), wide: wide.map(Found::place) })
        })
    }

    /// Charges what was held: something was written, or nothing proves that nothing was.
    pub fn keep(&self, hold: Hold, now: Moment) {
        let line = &self.lines[hold.budget];
        self.settle(&hold.own, hold.budget, |cell| cell.refunded().charged(&line.client, now));
        if let Some(wide) = &hold.wide {
            self.settle(wide, hold.budget, |cell| cell.refunded().charged(&line.wide, now));
        }
        let cells = &mut self.site.lock()[hold.budget];
        cells.site = cells.site.refunded().charged(&line.site, now);
    }

    /// Gives back what was held: nothing was written.
    pub fn refund(&self, hold: Hold) {
        for place in [Some(hold.own), hold.wide].into_iter().flatten() {
            self.settle(&place, hold.budget, Cell::refunded);
        }
        let cells = &mut self.site.lock()[hold.budget];
        cells.site = cells.site.refunded();
    }

    /// Charges one to every cell, and says whether there was room for it: for what comes to light
    /// when it is too late to refuse. Where there was none, the debt must be paid off before
    /// anything new is admitted.
    pub fn charge_late(&self, budget: usize, client: Client, now: Moment) -> bool {
        if let Ok(hold) = self.reserve(budget, client, now) {
            self.keep(hold, now);
            return true;
        }
        self.on_cells(budget, client, now, |line, shard, cells, own, wide| {
            for (place, gcra) in [(Some(own), &line.client), (wide, &line.wide)] {
                let Some(place) = place else { continue };
                let charged = place.read(shard, cells).charged(gcra, now);
                place.write(shard, cells, charged);
            }
            cells.site = cells.site.charged(&line.site, now);
        });
        false
    }

    /// Finds the cells that concern a client, all of them locked while `act` looks and writes.
    fn on_cells<R>(
        &self,
        budget: usize,
        client: Client,
        now: Moment,
        act: impl FnOnce(&Line, &mut Shard, &mut SiteCells, Found, Option<Found>) -> R,
    ) -> R {
        let line = &self.lines[budget];
        let (own, wide) = self.hashes(line, client);
        let mut shard = self.shard(own).lock();
        let own = shard.place(own, None, now);
        let wide = wide.map(|wide| shard.place(wide, Some(own), now));
        let mut site = self.site.lock();
        act(line, &mut shard, &mut site[budget], own, wide)
    }

    /// Whether more was charged to this client, or to the site, than the burst has. What is held
    /// counts: it will mostly be charged.
    pub fn in_debt(&self, budget: usize, client: Client, now: Moment) -> bool {
        let line = &self.lines[budget];
        let (own, wide) = self.hashes(line, client);
        let shard = self.shard(own).lock();
        let cell = |hash| shard.find(hash).map_or(Cell::FRESH, |index| shard.read(index));
        let owes = |cell: Cell, gcra: &Gcra| cell.arrival(gcra, now).since(now) > gcra.whole();
        owes(cell(own), &line.client)
            || wide.is_some_and(|wide| owes(cell(wide), &line.wide))
            || owes(self.site.lock()[budget].site, &line.site)
    }

    fn settle(&self, place: &Place, budget: usize, change: impl FnOnce(Cell) -> Cell) {
        match place {
            Place::Cell(hash) => {
                let mut shard = self.shard(*hash).lock();
                // A cell with something held is never evicted, so it is found.
                if let Some(index) = shard.find(*hash) {
                    let changed = change(shard.read(index));
                    shard.write(index, *hash, changed);
                }
            }
            Place::Strict => {
                let cells = &mut self.site.lock()[budget];
                cells.strict = change(cells.strict);
            }
        }
    }

    fn hashes(&self, line: &Line, client: Client) -> (CellHash, Option<CellHash>) {
        let wide = client.wide(&self.clients);
        let own = self.secret.client(&line.name, client, wide.unwrap_or(client));
        (own, wide.map(|wide| self.secret.client(&line.name, wide, wide)))
    }

    fn shard(&self, cell: CellHash) -> &Locked<Shard> {
        // The remainder is less than the number of shards, which fits.
        &self.shards[(cell.0 >> 48) as usize % Self::SHARDS]
    }

    /// Cells that changed since this was last asked, with what they owe; for the journal. One that
    /// owes nothing any more is told too, so that it is not remembered as owing. What is held
    /// counts as owed: nothing will prove it refundable after a kill.
    pub fn changed(&self, now: Moment) -> Vec<Owed> {
        let mut cells: Vec<_> =
            self.shards.iter().flat_map(|shard| shard.lock().take_changed()).collect();
        let mut owed: Vec<_> = cells.drain(..).map(|cell| self.owed_by(cell, now)).collect();
        for (line, cells) in self.lines.iter().zip(self.site.lock().iter_mut()) {
            if cells.told != cells.site {
                cells.told = cells.site;
                owed.push(Owed {
                    cell: line.site_hash,
                    until: cells.site.arrival(&line.site, now),
                });
            }
        }
        owed
    }

    /// Every cell that owes something; for the snapshot.
    pub fn owed(&self, now: Moment) -> Vec<Owed> {
        let mut owed = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let owing = shard.all().filter(|(_, cell)| cell.held > 0 || cell.until > now);
            owed.extend(owing.map(|cell| self.owed_by(cell, now)));
        }
        for (line, cells) in self.lines.iter().zip(self.site.lock().iter()) {
            owed.push(Owed { cell: line.site_hash, until: cells.site.arrival(&line.site, now) });
        }
        owed.retain(|owed| owed.until > now);
        owed
    }

    /// Which budget a cell belongs to is in its hash, which cannot be read back; what it holds is
    /// therefore counted at the longest period of any budget. The error is on the safe side, and
    /// only after a kill.
    fn owed_by(&self, (hash, cell): (CellHash, Cell), now: Moment) -> Owed {
        let longest = self.lines.iter().map(|line| &line.client).max_by_key(|gcra| gcra.period());
        let until = longest.map_or(cell.until, |gcra| cell.arrival(gcra, now));
        Owed { cell: hash, until }
    }

    /// Debts deeper than a whole burst and this are not believed after a restart: the wall clock
    /// was set back meanwhile, and nobody may be shut out until it has caught up.
    const DEEPEST: Duration = Duration::from_secs(3600);

    /// Puts back what was owed before a restart. Of several debts of a cell the last one stands,
    /// as the journal tells them in their order.
    pub fn restore(&self, owed: Owed, now: Moment) {
        let longest = self.lines.iter().flat_map(|line| [line.client.whole(), line.site.whole()]);
        let latest = now.after(longest.max().unwrap_or_default() + Self::DEEPEST);
        let cell = Cell { until: owed.until.min(latest), held: 0 };
        if let Some(index) = self.lines.iter().position(|line| line.site_hash == owed.cell) {
            self.site.lock()[index].site = cell;
            return;
        }
        let mut shard = self.shard(owed.cell).lock();
        if let Found { cell: Some(index), hash } = shard.place(owed.cell, None, now) {
            shard.write(index, hash, cell);
        }
    }

    /// Holds that have not been settled; zero when nothing is under way.
    pub fn held(&self) -> u64 {
        self.site.lock().iter().map(|cells| u64::from(cells.site.held)).sum()
    }
}

impl Refused {
    /// The first reason counts; the longest wait is the one after which a try makes sense.
    fn unless_all_ok(checks: [(Refusal, Result<(), Blocked>); 3]) -> Result<(), Self> {
        let mut refused: Option<Self> = None;
        for (why, check) in checks {
            if let Err(Blocked { wait, held }) = check {
                let first = refused.get_or_insert(Self { why, retry_after: wait, held });
                first.retry_after = first.retry_after.max(wait);
                first.held &= held;
            }
        }
        refused.map_or(Ok(()), Err)
    }
}

impl Line {
    fn new(budget: &Budget, clients: &ClientPolicy, secret: Secret) -> Self {
        let factor: NonZeroU32 = clients.ipv6_wide_factor;
        Self {
            client: Gcra::new(budget.client),
            wide: Gcra::scaled(budget.client, factor),
            site: Gcra::new(budget.site),
            site_hash: secret.site(&budget.name),
            name: budget.name.clone(),
        }
    }
}

impl SiteCells {
    const FRESH: Self = Self { site: Cell::FRESH, told: Cell::FRESH, strict: Cell::FRESH };
}

/// A hash, and where it stands or can stand in its shard; nowhere if the table is full there.
#[derive(Clone, Copy)]
struct Found {
    hash: CellHash,
    cell: Option<usize>,
}

impl Found {
    fn place(self) -> Place {
        self.cell.map_or(Place::Strict, |_| Place::Cell(self.hash))
    }

    fn read(self, shard: &Shard, cells: &SiteCells) -> Cell {
        match self.cell {
            Some(index) if shard.cells[index][0] == self.hash.0 => shard.read(index),
            Some(_) => Cell::FRESH,
            None => cells.strict,
        }
    }

    fn write(self, shard: &mut Shard, cells: &mut SiteCells, cell: Cell) {
        match self.cell {
            Some(index) => shard.write(index, self.hash, cell),
            None => cells.strict = cell,
        }
    }
}

/// Cells in buckets of eight; a hash may stand in either of two buckets, which fills the table to
/// well over nine tenths before anyone finds no place.
struct Shard {
    /// A hash, its arrival time in nanoseconds, and what it holds with [`Self::CHANGED`]; 24
    /// bytes. Plain integers, so that the pages of an untouched table cost no memory.
    cells: Box<[[u64; 3]]>,
    changed: Vec<CellHash>,
}

impl Shard {
    const BUCKET: usize = 8;
    /// The cell stands in `changed`.
    const CHANGED: u64 = 1 << 32;

    fn new(buckets: usize) -> Self {
        Self { cells: vec![[0; 3]; buckets * Self::BUCKET].into(), changed: Vec::new() }
    }

    fn candidates(&self, hash: CellHash) -> impl Iterator<Item = usize> + use<> {
        let buckets = self.cells.len() / Self::BUCKET;
        let first = (hash.0 & 0xff_ffff) as usize % buckets;
        let second = ((hash.0 >> 24) & 0xff_ffff) as usize % buckets;
        [first, second]
            .into_iter()
            .flat_map(|bucket| (0..Self::BUCKET).map(move |cell| bucket * Self::BUCKET + cell))
    }

    fn find(&self, hash: CellHash) -> Option<usize> {
        self.candidates(hash).find(|index| self.cells[*index][0] == hash.0)
    }

    /// Where a hash stands, or the first place as good as fresh, other than `taken`, where it can.
    /// What is as good as fresh may have been taken although the hash stands there.
    fn place(&self, hash: CellHash, taken: Option<Found>, now: Moment) -> Found {
        let taken = taken.and_then(|found| found.cell);
        let free = |index: &usize| Some(*index) != taken;
        let fresh = |index: &usize| {
            let cell = self.read(*index);
            free(index) && cell.until <= now && cell.held == 0
        };
        let cell = self.find(hash).filter(free);
        Found { hash, cell: cell.or_else(|| self.candidates(hash).find(fresh)) }
    }

    fn read(&self, index: usize) -> Cell {
        let [_, until, held] = self.cells[index];
        // The lower half holds a count that was one.
        Cell { until: Moment::from_nanos(until), held: (held & (Self::CHANGED - 1)) as u32 }
    }

    fn write(&mut self, index: usize, hash: CellHash, cell: Cell) {
        let [old, _, held] = self.cells[index];
        self.cells[index] = [hash.0, cell.until.as_nanos(), u64::from(cell.held) | Self::CHANGED];
        if old != hash.0 || held & Self::CHANGED == 0 {
            self.changed.push(hash);
        }
    }

    /// What changed since this was last asked.
    fn take_changed(&mut self) -> Vec<(CellHash, Cell)> {
        let mut changed = Vec::new();
        for hash in std::mem::take(&mut self.changed) {
            if let Some(index) = self.find(hash) {
                self.cells[index][2] &= !Self::CHANGED;
                changed.push((hash, self.read(index)));
            }
        }
        changed
    }

    fn all(&self) -> impl Iterator<Item = (CellHash, Cell)> + '_ {
        self.cells.iter().enumerate().map(|(index, cell)| (CellHash(cell[0]), self.read(index)))
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
