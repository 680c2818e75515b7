//! Naive budgets, and the policies between which reloads change.

use std::collections::HashMap;
use std::time::Duration;

use super::super::super::client::Client;
use super::super::super::fact::Refusal;
use super::super::super::policy::{Budget, Policy};
use super::super::support::*;

/// A cell owes until then, and this many are held.
#[derive(Clone, Copy, Default)]
struct Cell {
    until: u64,
    held: u64,
}

impl Cell {
    fn has_room(self, burst: u64, period: u64, now: u64) -> bool {
        self.until.max(now) + self.held * period + period <= now + burst * period
    }
}

/// Budgets by their names, and cells by what they belong to.
#[derive(Default)]
pub struct Budgets {
    cells: HashMap<(Name, Whose), Cell>,
    limits: HashMap<Name, Limits>,
}

pub type Name = &'static str;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Whose {
    Client(Client),
    Wide(Client),
    Site,
}

/// Bursts and periods.
#[derive(Clone, Copy)]
pub struct Limits {
    client: (u64, u64),
    site: (u64, u64),
    /// An IPv6 /48 has so many times as much as a client.
    factor: u64,
}

impl Limits {
    fn of(self, whose: Whose) -> (u64, u64) {
        match whose {
            Whose::Client(_) => self.client,
            Whose::Wide(_) => (self.client.0 * self.factor, self.client.1 / self.factor),
            Whose::Site => self.site,
        }
    }
}

impl Budgets {
    /// As many sessions are owed as before, whatever they cost now.
    pub fn reload(&mut self, limits: &[(Name, Limits)], now: u64) {
        for (name, limits) in limits {
            let before = self.limits.insert(name, *limits).unwrap_or(*limits);
            for ((_, whose), cell) in self.cells.iter_mut().filter(|((of, _), _)| of == name) {
                let (was, is) = (before.of(*whose).1, limits.of(*whose).1);
                let owed = u128::from(cell.until.saturating_sub(now));
                if owed > 0 && was != is {
                    let owed = (owed * u128::from(is)).div_ceil(u128::from(was));
                    cell.until = now + u64::try_from(owed).expect("fits");
                }
            }
        }
    }

    fn cells(&self, budget: Name, client: Client) -> Vec<((Name, Whose), u64, u64, Refusal)> {
        let wide = client.tiers(&policy().client).next();
        let own = Some((Whose::Client(client), Refusal::ClientBudget));
        let wide = wide.map(|wide| (Whose::Wide(wide), Refusal::WideBudget));
        let cells = [own, wide, Some((Whose::Site, Refusal::SiteBudget))];
        let cell = |(whose, why)| {
            let (burst, period) = self.limits[budget].of(whose);
            ((budget, whose), burst, period, why)
        };
        cells.into_iter().flatten().map(cell).collect()
    }

    pub fn reserve(&mut self, budget: Name, client: Client, now: u64) -> Option<Refusal> {
        let cells = self.cells(budget, client);
        for (name, burst, period, why) in &cells {
            if !self.cells.entry(*name).or_default().has_room(*burst, *period, now) {
                return Some(*why);
            }
        }
        for (name, ..) in cells {
            self.cells.entry(name).or_default().held += 1;
        }
        None
    }

    pub fn end_hold(&mut self, budget: Name, client: Client, keep: bool, now: u64) {
        for (name, ..) in self.cells(budget, client) {
            self.cells.entry(name).or_default().held -= 1;
        }
        if keep {
            self.charge(budget, client, now);
        }
    }

    pub fn charge(&mut self, budget: Name, client: Client, now: u64) {
        for (name, _, period, _) in self.cells(budget, client) {
            let cell = self.cells.entry(name).or_default();
            cell.until = cell.until.max(now) + period;
        }
    }

    /// Says whether there was room for it.
    pub fn charge_late(&mut self, budget: Name, client: Client, now: u64) -> bool {
        let room = self.reserve(budget, client, now).is_none();
        if room {
            self.end_hold(budget, client, false, now);
        }
        self.charge(budget, client, now);
        room
    }
}

pub const POLICIES: usize = 4;

/// The budgets of a policy, and the one that logins draw on. The first is that of
/// `support::policy`; the last two have no budget called `login`.
pub fn limits(policy: usize) -> (Vec<(Name, Limits)>, Name) {
    const MILLI: u64 = 1_000_000;
    let of = |name, client: (u64, u64), site: (u64, u64), factor| {
        let millis = |(burst, period): (u64, u64)| (burst, period * MILLI);
        (name, Limits { client: millis(client), site: millis(site), factor })
    };
    let usual = |name| of(name, (4, 1000), (8, 500), 2);
    match policy {
        0 => (vec![usual("anonymous"), usual("login")], "login"),
        1 => {
            let login = of("login", (2, 10_000), (3, 7000), 4);
            (vec![of("anonymous", (2, 3000), (5, 700), 4), login], "login")
        }
        2 => (vec![of("anonymous", (6, 300), (12, 123), 2)], "anonymous"),
        _ => (vec![usual("anonymous"), of("extra", (1, 1000), (3, 400), 2)], "extra"),
    }
}

pub fn naive_policy(number: usize) -> Policy {
    let (limits, login) = limits(number);
    // Logouts are not recycled here, and nobody waits: spares have tests of their own.
    let mut policy = policy();
    policy.rules[0].action = super::super::super::route::Action::Gate;
    policy.session.after_logout = super::super::super::policy::AfterLogout::Relay;
    policy.session.in_flight_per_key = 1000;
    let factor = u32::try_from(limits[0].1.factor).expect("few");
    policy.client.ipv6_tiers[0].factor = count(factor);
    let quota = |(burst, period): (u64, u64)| {
        quota(u32::try_from(burst).expect("few"), Duration::from_nanos(period))
    };
    policy.rules[1].budget = limits.iter().position(|(name, _)| *name == login).expect("there");
    let budget = |(name, limits): &(Name, Limits)| Budget {
        name: String::from(*name),
        client: quota(limits.client),
        site: quota(limits.site),
        challenge: None,
    };
    policy.budgets = limits.iter().map(budget).collect();
    policy
}
