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
//!
//! Budgets of several policies can share one memory: a reload makes the new ones from the old, and
//! exchanges that began under the old ones settle with those.

mod diary;
mod line;
mod look;
mod open;
mod reload;
mod table;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub use self::diary::Told;
use self::diary::{Change, Diary, Whose};
use self::line::{Level, Line, Lines};
pub use self::look::{CellWord, Left};
use self::open::{Open, Spots};
use self::table::{Blocked, Cell, Found, Place, Section, Shard, SiteCells, Tag};
use super::client::Client;
use super::fact::Refusal;
use super::gcra::Gcra;
use super::key::{CellHash, CellOf, Secret, Token};
use super::moment::Moment;
use super::policy::{Budget, ChallengePolicy, ClientPolicy};
use super::sharded::Locked;

/// The budgets of a site, and what of them is spent.
pub struct Budgets {
    secret: Secret,
    clients: ClientPolicy,
    /// The policy's, in its order.
    shares: Box<[Share]>,
    memory: Arc<Memory>,
}

/// A budget of the policy.
struct Share {
    name: String,
    /// Where it stands among all budgets that are remembered.
    slot: usize,
}

/// What is spent of the budgets of all policies so far, and what limits it now.
struct Memory {
    sections: Box<[Locked<Section>]>,
    site: Locked<Site>,
    /// How often these were shared with another process; which of its holds are counted here.
    handovers: Locked<u32>,
    lent: Locked<HashMap<Whose, i64>>,
    /// Held while limits are replaced.
    replacing: Locked<()>,
}

struct Site {
    lines: Arc<Lines>,
    /// Two for each budget: of the site, and of all clients that found no place.
    cells: Vec<SiteCells>,
    diary: Diary,
}

/// A charge that awaits its settlement: [`Budgets::keep`] or [`Budgets::refund`].
#[derive(Debug)]
#[must_use = "a hold that is not settled takes room in its budgets for ever"]
pub struct Hold {
    slot: usize,
    /// The numbers of the diaries that have it: of its cells, and of the site.
    noted: [u32; 2],
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
    /// What [`Budgets::in_debt`] would say of the same debtor.
    pub in_debt: bool,
}

/// What one cell owes: for the state file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    pub cell: CellHash,
    pub until: Moment,
}

/// The cells of a debtor: which, and the hash of each.
type Cells = [Option<(Level, CellHash)>; Level::MOST];

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
        let share = |(budget, slot): (&Budget, usize)| Share { name: budget.name.clone(), slot };
        let lines = Arc::new(Lines::new(budgets.iter().map(line).collect()));
        let section = |_| {
            Locked::new(Section {
                lines: Arc::clone(&lines),
                shard: Shard::new(buckets),
                diary: Diary::default(),
            })
        };
        Self {
            secret,
            clients: clients.clone(),
            shares: budgets.iter().zip(0..).map(share).collect(),
            memory: Arc::new(Memory {
                sections: (0..Self::SHARDS).map(section).collect(),
                site: Locked::new(Site {
                    cells: vec![SiteCells::FRESH; budgets.len()],
                    lines,
                    diary: Diary::default(),
                }),
                handovers: Locked::new(0),
                lent: Locked::new(HashMap::new()),
                replacing: Locked::new(()),
            }),
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
        self.on_cells(budget, debtor, now, |mut open, spots| {
            open.check(&spots, debtor.rank)?;
            for spot in spots.iter().flatten() {
                let held = open.read(spot).with_hold();
                open.write(spot, held);
            }
            open.site.site = open.site.site.with_hold();
            open.note(&spots, Change::HELD);
            let noted = [open.diary.number, open.site_diary.number];
            let places = spots.map(|spot| spot.map(|(level, found)| (level, found.place())));
            Ok(Hold { slot: open.slot, noted, places })
        })
    }

    /// Charges what was held: something was written, or nothing proves that nothing was.
    pub fn keep(&self, hold: Hold, now: Moment) {
        for (level, place) in hold.places.into_iter().flatten() {
            let tag = Tag { slot: hold.slot, level };
            self.settle(&place, tag, hold.noted, Change::KEPT, |cell, lines| {
                cell.refunded().charged(lines.line(hold.slot).gcra(level), now)
            });
        }
        let Site { lines, cells, diary } = &mut *self.memory.site.lock();
        diary.note_end(hold.noted[1], Whose::Site(hold.slot), Change::KEPT);
        let cells = &mut cells[hold.slot];
        cells.site = cells.site.refunded().charged(&lines.line(hold.slot).site, now);
    }

    /// Gives back what was held: nothing was written.
    pub fn refund(&self, hold: Hold) {
        for (level, place) in hold.places.into_iter().flatten() {
            let tag = Tag { slot: hold.slot, level };
            self.settle(&place, tag, hold.noted, Change::REFUNDED, |cell, _| cell.refunded());
        }
        let site = &mut *self.memory.site.lock();
        site.diary.note_end(hold.noted[1], Whose::Site(hold.slot), Change::REFUNDED);
        let cells = &mut site.cells[hold.slot];
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
        self.on_cells(budget, debtor, now, |mut open, spots| {
            for spot in spots.iter().flatten() {
                let charged = open.read(spot).charged(open.gcra(spot), now);
                open.write(spot, charged);
            }
            open.site.site = open.site.site.charged(open.site_gcra(), now);
            open.note(&spots, Change::CHARGED);
        });
        false
    }

    /// Finds the cells that concern a debtor, all of them locked while `act` looks and writes.
    fn on_cells<R>(
        &self,
        budget: usize,
        debtor: Debtor,
        now: Moment,
        act: impl FnOnce(Open<'_>, Spots) -> R,
    ) -> R {
        let share = &self.shares[budget];
        let hashes = self.hashes(share, debtor);
        let mut section = self.section(&hashes).lock();
        let Section { lines, shard, diary } = &mut *section;
        let mut spots = [None; Level::MOST];
        for (index, cell) in hashes.into_iter().enumerate() {
            // No two of them in one place that is as good as fresh.
            let found = cell.map(|(level, hash)| (level, shard.place(hash, &spots[..index], now)));
            spots[index] = found;
        }
        let mut site = self.memory.site.lock();
        let Site { lines: site_lines, cells, diary: site_diary } = &mut *site;
        let (slot, site) = (share.slot, &mut cells[share.slot]);
        act(Open { lines, site_lines, shard, site, diary, site_diary, slot, now }, spots)
    }

    /// Whether more was charged to this debtor, or to the site, than the burst has. What is held
    /// counts: it will mostly be charged.
    pub fn in_debt(&self, budget: usize, debtor: impl Into<Debtor>, now: Moment) -> bool {
        let share = &self.shares[budget];
        let slot = share.slot;
        let hashes = self.hashes(share, debtor.into());
        let section = self.section(&hashes).lock();
        let mut cells = hashes.iter().flatten();
        let owing = cells.any(|(level, hash)| {
            let found = section.shard.find(*hash);
            let cell = found.map(|index| section.read(index, Tag { slot, level: *level }, now));
            let gcra = section.lines.line(slot).gcra(*level);
            cell.unwrap_or(Cell::FRESH).is_in_debt(gcra, now)
        });
        let site_owes = || {
            let site = self.memory.site.lock();
            site.cells[slot].site.is_in_debt(&site.lines.line(slot).site, now)
        };
        owing || site_owes()
    }

    fn settle(
        &self,
        place: &Place,
        tag: Tag,
        noted: [u32; 2],
        end: Change,
        change: impl FnOnce(Cell, &Lines) -> Cell,
    ) {
        match place {
            Place::Cell(hash) => {
                let mut section = self.section_of(*hash).lock();
                let Section { lines, shard, diary } = &mut *section;
                diary.note_end(noted[0], Whose::Cell(*hash, tag), end);
                // A cell with something held is never evicted, so it is found; and it is tagged.
                if let Some(index) = shard.find(*hash) {
                    let changed = change(shard.read(index), lines);
                    shard.write(index, *hash, tag, changed);
                }
            }
            Place::Strict => {
                let Site { lines, cells, diary } = &mut *self.memory.site.lock();
                diary.note_end(noted[1], Whose::Strict(tag.slot), end);
                let cells = &mut cells[tag.slot];
                cells.strict = change(cells.strict, lines);
            }
        }
    }

    fn hashes(&self, share: &Share, debtor: Debtor) -> Cells {
        let Debtor { client, token, rank: _ } = debtor;
        let widest = client.tiers(&self.clients).next_back().unwrap_or(client);
        let hash = |cell| self.secret.cell(&share.name, &cell, widest);
        let mut cells = [None; Level::MOST];
        match token {
            None => cells[0] = Some((Level::Client, hash(CellOf::Client(client)))),
            Some(token) => {
                cells[0] = Some((Level::Token, hash(CellOf::Token(token))));
                cells[1] = Some((Level::Ceiling, hash(CellOf::Challenged(client))));
            }
        }
        let tiers = client.tiers(&self.clients).zip(&self.clients.ipv6_tiers);
        for (place, (wide, tier)) in cells[2..].iter_mut().zip(tiers) {
            *place = Some(match token {
                None => (Level::Tier(tier.prefix), hash(CellOf::Client(wide))),
                Some(_) => (Level::TokenTier(tier.prefix), hash(CellOf::Challenged(wide))),
            });
        }
        cells
    }

    /// All cells of a debtor fall into one section, and it always has a first.
    fn section(&self, cells: &Cells) -> &Locked<Section> {
        self.section_of(cells[0].map_or(CellHash(0), |(_, hash)| hash))
    }

    fn section_of(&self, cell: CellHash) -> &Locked<Section> {
        // The remainder is less than the number of sections, which fits.
        &self.memory.sections[(cell.0 >> 48) as usize % Self::SHARDS]
    }

    /// Cells that changed since this was last asked, with what they owe; for the journal, piece by
    /// piece. One that owes nothing any more is told too, so that it is not remembered as owing.
    /// What is held counts as owed: nothing will prove it refundable after a kill.
    pub fn changed(&self, now: Moment) -> impl Iterator<Item = Vec<Owed>> + '_ {
        let clients = self.memory.sections.iter().map(move |section| {
            let Section { lines, shard, .. } = &mut *section.lock();
            let cells = shard.take_changed();
            cells.into_iter().map(|cell| Owed::by(cell, lines, now)).collect()
        });
        clients.chain(std::iter::once_with(move || {
            let Site { lines, cells, .. } = &mut *self.memory.site.lock();
            let changed = lines.iter().zip(cells);
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
        let sections = self.memory.sections.iter();
        let clients = sections.map(move |section| Owed::of_section(&section.lock(), now));
        let site = move || Owed::of_site(&self.memory.site.lock(), now);
        clients.chain(std::iter::once_with(site))
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
        let lines = {
            let Site { lines, cells, .. } = &mut *self.memory.site.lock();
            if let Some(slot) = lines.iter().position(|line| line.site_hash == owed.cell) {
                cells[slot].site = cell(&lines.line(slot).site);
                return;
            }
            Arc::clone(lines)
        };
        // Which budget it belongs to is in its hash, and cannot be read back.
        let all = lines.iter().flat_map(|line| [&line.client, &line.token]);
        let Some(longest) = all.max_by_key(|gcra| gcra.deepest()) else { return };
        let cell = cell(longest);
        let mut section = self.section_of(owed.cell).lock();
        if let Found { cell: Some(index), hash } = section.shard.place(owed.cell, &[], now) {
            section.shard.write_untagged(index, hash, cell);
        }
    }

    /// Holds that have not been settled; zero when nothing is under way.
    pub fn held(&self) -> u64 {
        self.memory.site.lock().cells.iter().map(|cells| u64::from(cells.site.held)).sum()
    }
}

impl Owed {
    fn of_section(Section { lines, shard, .. }: &Section, now: Moment) -> Vec<Self> {
        let owing = shard.all().filter(|(.., cell)| cell.held > 0 || cell.until > now);
        owing.map(|cell| Self::by(cell, lines, now)).collect()
    }

    fn of_site(Site { lines, cells, .. }: &Site, now: Moment) -> Vec<Self> {
        let owed = |(line, cells): (&Line, &SiteCells)| Self {
            cell: line.site_hash,
            until: cells.site.arrival(&line.site, now),
        };
        let owed = lines.iter().zip(cells).map(owed);
        owed.filter(|owed| owed.until > now).collect()
    }

    /// Of which budget a cell is that was not used since it was taken in from a state file cannot be
    /// said; it holds nothing then.
    fn by((cell, tag, owed): (CellHash, Option<Tag>, Cell), lines: &Lines, now: Moment) -> Self {
        let gcra = tag.map(|Tag { slot, level }| lines.line(slot).gcra(level));
        Self { cell, until: gcra.map_or(owed.until, |gcra| owed.arrival(gcra, now)) }
    }
}

impl Refused {
    /// The first reason counts; the longest wait is the one after which a try makes sense.
    fn note(refused: &mut Option<Self>, why: Refusal, check: Result<(), Blocked>) {
        if let Err(Blocked { wait, held }) = check {
            let first =
                refused.get_or_insert(Self { why, retry_after: wait, held, in_debt: false });
            first.retry_after = first.retry_after.max(wait);
            first.held &= held;
        }
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
