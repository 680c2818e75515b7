//! Budgets: how many sessions a client, a wide IPv6 prefix and the whole site may create.
//!
//! Where clients are challenged, one that returns the cookie has a cell of its own beside that of
//! its client, under a ceiling for all of them; and the site keeps a part of its burst for those
//! who have shown more than an address. A flood of newcomers, from however many addresses, cannot
//! take that part.
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
use super::key::{CellHash, CellOf, Secret, Token};
use super::moment::Moment;
use super::policy::{Budget, ChallengePolicy, ClientPolicy, Quota, Tier};
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
    places: [Option<(Level, Place)>; Level::MOST],
}

/// Who draws on a budget.
#[derive(Clone, Copy, Debug)]
pub struct Debtor {
    pub client: Client,
    /// A challenge's cookie that it has returned.
    pub token: Option<Token>,
    pub rank: Rank,
}

/// How much of a site's burst somebody may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// A half: nothing is known of it.
    Newcomer,
    /// Three quarters: it has returned a challenge's cookie.
    Challenged,
    /// All: somebody has logged in from there lately; or nobody is challenged at all.
    Regular,
}

impl From<Client> for Debtor {
    /// Where nobody is challenged.
    fn from(client: Client) -> Self {
        Self { client, token: None, rank: Rank::Regular }
    }
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

/// Which of a debtor's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
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
    const MOST: usize = 2 + Tier::MOST;
}

/// The cells of a debtor: which, and the hash of each.
type Cells = [Option<(Level, CellHash)>; Level::MOST];

struct Line {
    name: String,
    client: Gcra,
    token: Gcra,
    ceiling: Gcra,
    tiers: Box<[Gcra]>,
    token_tiers: Box<[Gcra]>,
    site: Gcra,
    site_of_newcomers: Gcra,
    site_of_challenged: Gcra,
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

    /// Bytes of a table for `capacity` clients, once all of it is in use: 32 for each. A client
    /// takes a place for each budget that it draws on, and an IPv6 prefix of either width does.
    pub fn bytes(capacity: usize) -> usize {
        Self::SHARDS * Shard::bytes(Self::buckets(capacity))
    }

    /// Clients that a table of this capacity can hold.
    pub fn places(capacity: usize) -> usize {
        Self::SHARDS * Self::buckets(capacity) * Shard::BUCKET
    }

    /// Buckets of a shard. With a third more cells than clients, one in 10,000 finds no place when
    /// all are in debt; with as many cells as clients, one in 25.
    fn buckets(capacity: usize) -> usize {
        (capacity + capacity.div_ceil(3)).div_ceil(Self::SHARDS * Shard::BUCKET).max(2)
    }

    /// Budgets that nobody has drawn on.
    pub fn new(
        budgets: &[Budget],
        clients: &ClientPolicy,
        challenge: &ChallengePolicy,
        secret: Secret,
    ) -> Self {
        let line = |budget| Line::new(budget, clients, challenge, secret);
        let buckets = Self::buckets(clients.capacity);
        Self {
            secret,
            clients: clients.clone(),
            lines: budgets.iter().map(line).collect(),
            shards: (0..Self::SHARDS).map(|_| Locked::new(Shard::new(buckets))).collect(),
            site: Locked::new(vec![SiteCells::FRESH; budgets.len()].into()),
        }
    }

    /// Holds one in every cell that concerns this debtor, or in none.
    pub fn reserve(
        &self,
        budget: usize,
        debtor: impl Into<Debtor>,
        now: Moment,
    ) -> Result<Hold, Refused> {
        let debtor = debtor.into();
        self.on_cells(budget, debtor, now, |line, shard, cells, spots| {
            let mut refused = None;
            for (level, found) in spots.iter().flatten() {
                let check = found.read(shard, cells).check(line.gcra(*level), now);
                Refused::note(&mut refused, level.refusal(found), check);
            }
            let (why, gcra) = line.site_for(debtor.rank, cells.site, now);
            Refused::note(&mut refused, why, cells.site.check(gcra, now));
            if let Some(refused) = refused {
                return Err(refused);
            }
            for (_, found) in spots.iter().flatten() {
                let held = found.read(shard, cells).with_hold();
                found.write(shard, cells, held);
            }
            cells.site = cells.site.with_hold();
            let places = spots.map(|spot| spot.map(|(level, found)| (level, found.place())));
            Ok(Hold { budget, places })
        })
    }

    /// Charges what was held: something was written, or nothing proves that nothing was.
    pub fn keep(&self, hold: Hold, now: Moment) {
        let line = &self.lines[hold.budget];
        for (level, place) in hold.places.into_iter().flatten() {
            let gcra = line.gcra(level);
            self.settle(&place, hold.budget, |cell| cell.refunded().charged(gcra, now));
        }
        let cells = &mut self.site.lock()[hold.budget];
        cells.site = cells.site.refunded().charged(&line.site, now);
    }

    /// Gives back what was held: nothing was written.
    pub fn refund(&self, hold: Hold) {
        for (_, place) in hold.places.into_iter().flatten() {
            self.settle(&place, hold.budget, Cell::refunded);
        }
        let cells = &mut self.site.lock()[hold.budget];
        cells.site = cells.site.refunded();
    }

    /// Charges one to every cell, and says whether there was room for it: for what comes to light
    /// when it is too late to refuse. Where there was none, the debt must be paid off before
    /// anything new is admitted. Whoever it was may have used all of the site's budget: nothing was
    /// asked when it was admitted.
    pub fn charge_late(&self, budget: usize, debtor: impl Into<Debtor>, now: Moment) -> bool {
        let debtor = Debtor { rank: Rank::Regular, ..debtor.into() };
        if let Ok(hold) = self.reserve(budget, debtor, now) {
            self.keep(hold, now);
            return true;
        }
        self.on_cells(budget, debtor, now, |line, shard, cells, spots| {
            for (level, found) in spots.into_iter().flatten() {
                let charged = found.read(shard, cells).charged(line.gcra(level), now);
                found.write(shard, cells, charged);
            }
            cells.site = cells.site.charged(&line.site, now);
        });
        false
    }

    /// Finds the cells that concern a debtor, all of them locked while `act` looks and writes.
    fn on_cells<R>(
        &self,
        budget: usize,
        debtor: Debtor,
        now: Moment,
        act: impl FnOnce(&Line, &mut Shard, &mut SiteCells, [Option<(Level, Found)>; Level::MOST]) -> R,
    ) -> R {
        let line = &self.lines[budget];
        let hashes = self.hashes(line, debtor);
        let mut shard = self.shard(&hashes).lock();
        let mut spots = [None; Level::MOST];
        for (index, cell) in hashes.into_iter().enumerate() {
            // No two of them in one place that is as good as fresh.
            let found = cell.map(|(level, hash)| (level, shard.place(hash, &spots[..index], now)));
            spots[index] = found;
        }
        let mut site = self.site.lock();
        act(line, &mut shard, &mut site[budget], spots)
    }

    /// Whether more was charged to this debtor, or to the site, than the burst has. What is held
    /// counts: it will mostly be charged.
    pub fn in_debt(&self, budget: usize, debtor: impl Into<Debtor>, now: Moment) -> bool {
        let line = &self.lines[budget];
        let hashes = self.hashes(line, debtor.into());
        let shard = self.shard(&hashes).lock();
        let cell = |hash| shard.find(hash).map_or(Cell::FRESH, |index| shard.read(index));
        let owes = |cell: Cell, gcra: &Gcra| cell.arrival(gcra, now).since(now) > gcra.whole();
        let mut cells = hashes.iter().flatten();
        cells.any(|(level, hash)| owes(cell(*hash), line.gcra(*level)))
            || owes(self.site.lock()[budget].site, &line.site)
    }

    fn settle(&self, place: &Place, budget: usize, change: impl FnOnce(Cell) -> Cell) {
        match place {
            Place::Cell(hash) => {
                let mut shard = self.shard_of(*hash).lock();
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

    fn hashes(&self, line: &Line, debtor: Debtor) -> Cells {
        let Debtor { client, token, rank: _ } = debtor;
        let widest = client.tiers(&self.clients).next_back().unwrap_or(client);
        let hash = |cell| self.secret.cell(&line.name, &cell, widest);
        let mut cells = [None; Level::MOST];
        match token {
            None => cells[0] = Some((Level::Client, hash(CellOf::Client(client)))),
            Some(token) => {
                cells[0] = Some((Level::Token, hash(CellOf::Token(token))));
                cells[1] = Some((Level::Ceiling, hash(CellOf::Challenged(client))));
            }
        }
        let tiers = client.tiers(&self.clients).zip(0..);
        for (place, (tier, index)) in cells[2..].iter_mut().zip(tiers) {
            *place = Some(match token {
                None => (Level::Tier(index), hash(CellOf::Client(tier))),
                Some(_) => (Level::TokenTier(index), hash(CellOf::Challenged(tier))),
            });
        }
        cells
    }

    /// All cells of a debtor fall into one shard, and it always has a first.
    fn shard(&self, cells: &Cells) -> &Locked<Shard> {
        self.shard_of(cells[0].map_or(CellHash(0), |(_, hash)| hash))
    }

    fn shard_of(&self, cell: CellHash) -> &Locked<Shard> {
        // The remainder is less than the number of shards, which fits.
        &self.shards[(cell.0 >> 48) as usize % Self::SHARDS]
    }

    /// Cells that changed since this was last asked, with what they owe; for the journal, piece by
    /// piece. One that owes nothing any more is told too, so that it is not remembered as owing.
    /// What is held counts as owed: nothing will prove it refundable after a kill.
    pub fn changed(&self, now: Moment) -> impl Iterator<Item = Vec<Owed>> + '_ {
        let clients = self.shards.iter().map(move |shard| {
            let cells = shard.lock().take_changed();
            cells.into_iter().map(|cell| self.owed_by(cell, now)).collect()
        });
        clients.chain(std::iter::once_with(move || {
            let mut site = self.site.lock();
            let changed = self.lines.iter().zip(site.iter_mut());
            let changed = changed.filter(|(_, cells)| cells.told != cells.site);
            let tell = |(line, cells): (&Line, &mut SiteCells)| {
                cells.told = cells.site;
                Owed { cell: line.site_hash, until: cells.site.arrival(&line.site, now) }
            };
            changed.map(tell).collect()
        }))
    }

    /// Every cell that owes something; for the snapshot, piece by piece.
    pub fn owed(&self, now: Moment) -> impl Iterator<Item = Vec<Owed>> + '_ {
        let clients = self.shards.iter().map(move |shard| {
            let shard = shard.lock();
            let owing = shard.all().filter(|(_, cell)| cell.held > 0 || cell.until > now);
            owing.map(|cell| self.owed_by(cell, now)).collect()
        });
        clients.chain(std::iter::once_with(move || {
            let owed = |(line, cells): (&Line, &SiteCells)| Owed {
                cell: line.site_hash,
                until: cells.site.arrival(&line.site, now),
            };
            let site = self.site.lock();
            let owed = self.lines.iter().zip(site.iter()).map(owed);
            owed.filter(|owed| owed.until > now).collect()
        }))
    }

    /// Which budget a cell belongs to is in its hash, which cannot be read back; what it holds is
    /// therefore counted at the longest period of any budget. The error is on the safe side, and
    /// only after a kill.
    fn owed_by(&self, (hash, cell): (CellHash, Cell), now: Moment) -> Owed {
        let all = self.lines.iter().flat_map(|line| [&line.client, &line.token]);
        let longest = all.max_by_key(|gcra| gcra.period());
        let until = longest.map_or(cell.until, |gcra| cell.arrival(gcra, now));
        Owed { cell: hash, until }
    }

    /// Debts that are deeper than any can be, by more than this, are not believed after a restart:
    /// the wall clock was set back meanwhile. Such a cell owes a whole burst and no more, so that its
    /// first session is a period away, and nobody is shut out until the wall clock has caught up.
    const ASTRAY: Duration = Duration::from_secs(3600);

    /// Puts back what was owed before a restart. Of several debts of a cell the last one stands,
    /// as the journal tells them in their order.
    pub fn restore(&self, owed: Owed, now: Moment) {
        let cell = |gcra: &Gcra| {
            let believed = owed.until <= now.after(gcra.deepest() + Self::ASTRAY);
            Cell { until: if believed { owed.until } else { now.after(gcra.whole()) }, held: 0 }
        };
        if let Some(index) = self.lines.iter().position(|line| line.site_hash == owed.cell) {
            self.site.lock()[index].site = cell(&self.lines[index].site);
            return;
        }
        // Which budget it belongs to is in its hash, and cannot be read back.
        let all = self.lines.iter().flat_map(|line| [&line.client, &line.token]);
        let Some(longest) = all.max_by_key(|gcra| gcra.deepest()) else { return };
        let cell = cell(longest);
        let mut shard = self.shard_of(owed.cell).lock();
        if let Found { cell: Some(index), hash } = shard.place(owed.cell, &[], now) {
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
    fn note(refused: &mut Option<Self>, why: Refusal, check: Result<(), Blocked>) {
        if let Err(Blocked { wait, held }) = check {
            let first = refused.get_or_insert(Self { why, retry_after: wait, held });
            first.retry_after = first.retry_after.max(wait);
            first.held &= held;
        }
    }
}

impl Level {
    fn refusal(self, found: &Found) -> Refusal {
        match (self, found.cell) {
            (Self::Client | Self::Token, None) => Refusal::TableFull,
            (Self::Client | Self::Token, Some(_)) => Refusal::ClientBudget,
            (Self::Ceiling, _) => Refusal::Ceiling,
            (Self::Tier(_) | Self::TokenTier(_), _) => Refusal::WideBudget,
        }
    }
}

impl Line {
    fn new(
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

    fn gcra(&self, level: Level) -> &Gcra {
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
    fn site_for(&self, rank: Rank, site: Cell, now: Moment) -> (Refusal, &Gcra) {
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
fn part(quota: Quota, quarters: u32) -> Quota {
    let burst = u64::from(quota.burst().get()) * u64::from(quarters) / 4;
    // Less than the burst, which is a `u32`.
    quota.with_burst(NonZeroU32::new(burst as u32).unwrap_or(NonZeroU32::MIN))
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
    /// A bit for each bucket that has a cell with [`Self::CHANGED`].
    changed: Box<[u64]>,
}

impl Shard {
    const BUCKET: usize = 8;
    /// The journal was not told of the cell as it is.
    const CHANGED: u64 = 1 << 32;

    const fn bytes(buckets: usize) -> usize {
        buckets * Self::BUCKET * size_of::<[u64; 3]>() + buckets.div_ceil(64) * size_of::<u64>()
    }

    fn new(buckets: usize) -> Self {
        Self {
            cells: vec![[0; 3]; buckets * Self::BUCKET].into(),
            changed: vec![0; buckets.div_ceil(64)].into(),
        }
    }

    fn buckets(&self, hash: CellHash) -> [usize; 2] {
        let buckets = self.cells.len() / Self::BUCKET;
        let first = (hash.0 & 0xff_ffff) as usize % buckets;
        let second = ((hash.0 >> 24) & 0xff_ffff) as usize % buckets;
        [first, second]
    }

    fn candidates(&self, hash: CellHash) -> impl Iterator<Item = usize> + use<> {
        self.buckets(hash)
            .into_iter()
            .flat_map(|bucket| (0..Self::BUCKET).map(move |cell| bucket * Self::BUCKET + cell))
    }

    fn find(&self, hash: CellHash) -> Option<usize> {
        self.candidates(hash).find(|index| self.cells[*index][0] == hash.0)
    }

    /// Where a hash stands, or the first place as good as fresh, other than `taken`, where it can.
    /// What is as good as fresh may have been taken although the hash stands there.
    fn place(&self, hash: CellHash, taken: &[Option<(Level, Found)>], now: Moment) -> Found {
        let free =
            |index: &usize| !taken.iter().flatten().any(|(_, found)| found.cell == Some(*index));
        let fresh = |index: &usize| {
            let cell = self.read(*index);
            free(index) && cell.until <= now && cell.held == 0
        };
        // In the emptier of the two, which lets twice as many in before the first finds no place.
        let emptier = || {
            let (mut found, mut most) = (None, 0);
            for bucket in self.buckets(hash) {
                let cells = bucket * Self::BUCKET..(bucket + 1) * Self::BUCKET;
                let room = cells.clone().filter(fresh).count();
                if room > most {
                    (found, most) = (cells.clone().find(fresh), room);
                }
            }
            found
        };
        Found { hash, cell: self.find(hash).filter(free).or_else(emptier) }
    }

    fn read(&self, index: usize) -> Cell {
        let [_, until, held] = self.cells[index];
        // The lower half holds a count that was one.
        Cell { until: Moment::from_nanos(until), held: (held & (Self::CHANGED - 1)) as u32 }
    }

    fn write(&mut self, index: usize, hash: CellHash, cell: Cell) {
        self.cells[index] = [hash.0, cell.until.as_nanos(), u64::from(cell.held) | Self::CHANGED];
        let bucket = index / Self::BUCKET;
        self.changed[bucket / 64] |= 1 << (bucket % 64);
    }

    /// What changed since this was last asked.
    fn take_changed(&mut self) -> Vec<(CellHash, Cell)> {
        let mut changed = Vec::new();
        for word in 0..self.changed.len() {
            let mut bits = std::mem::take(&mut self.changed[word]);
            while bits != 0 {
                let first = (word * 64 + bits.trailing_zeros() as usize) * Self::BUCKET;
                bits &= bits - 1;
                for index in first..first + Self::BUCKET {
                    if self.cells[index][2] & Self::CHANGED != 0 {
                        self.cells[index][2] &= !Self::CHANGED;
                        changed.push((CellHash(self.cells[index][0]), self.read(index)));
                    }
                }
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
