//! Who counts as one client, who is exempt or has a budget of its own, and who is challenged.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::ops::Range;

use ipnet::IpNet;
use toml::de::DeValue;

use super::budgets;
use super::fault::{Fault, Faults, Unfit, quote};
use super::sections::CAPACITY;
use super::table::{Entry, Table};
use super::value::{self, Empty, duration, integer, quoted, string, text};
use super::{address, pattern};
use crate::guard::policy::{Budget, ChallengePolicy, ClientPolicy, Network, SessionPolicy, Tier};

/// Networks with a budget of their own at most.
const MOST_NETWORKS: usize = 1_000;

pub(super) fn client(mut table: Table<'_, '_>, client: &mut ClientPolicy, faults: &mut Faults) {
    let before = faults.len();
    table.read("ipv4_prefix", &mut client.ipv4_prefix, faults, integer(8..=32));
    table.read("ipv6_prefix", &mut client.ipv6_prefix, faults, integer(16..=128));
    let wide = table.read("ipv6_tiers", &mut client.ipv6_tiers, faults, tiers);
    table.read("capacity", &mut client.capacity, faults, integer(CAPACITY));
    let bits = client.ipv6_prefix;
    if wide.is_none() {
        client.ipv6_tiers.retain(|tier| tier.prefix < bits);
    }
    if let Some(Tier { prefix, .. }) = client.ipv6_tiers.first()
        && *prefix >= bits
        && faults.len() == before
    {
        let place = wide.unwrap_or_else(|| table.span());
        let what =
            format!("client.ipv6_tiers: {prefix} bits are not wider than ipv6_prefix, {bits} bits");
        let remedy = "write tiers of fewer bits, or ipv6_tiers = [] for none";
        faults.add(Fault::new(place, what).remedy(remedy));
    }
    table.finish(faults);
}

/// Reads `[{ prefix = 56, factor = 4 }, { prefix = 48, factor = 8 }]`.
fn tiers(entry: &Entry<'_, '_>, faults: &mut Faults) -> Option<Vec<Tier>> {
    let before = faults.len();
    let mut tiers: Vec<Tier> = Vec::new();
    for member in entry.members().0 {
        let DeValue::Table(content) = member.value.get_ref() else {
            let fault = member.wrong_type("a table");
            faults.add(fault.remedy("write ipv6_tiers = [{ prefix = 48, factor = 8 }]"));
            continue;
        };
        let mut table = Table::new(&member.key, member.span(), Some(content));
        let (mut prefix, mut factor) = (None, None);
        table.read("prefix", &mut prefix, faults, |entry, faults| {
            integer(8..=127)(entry, faults).map(Some)
        });
        table.read("factor", &mut factor, faults, |entry, faults| {
            integer(1..=65_536)(entry, faults).map(NonZeroU32::new)
        });
        table.finish(faults);
        match (prefix, factor) {
            (Some(prefix), Some(factor)) => {
                if tiers.last().is_some_and(|last| last.prefix <= prefix) {
                    let fault = member.fault("not wider than the one before");
                    faults.add(fault.remedy("write tiers from narrow to wide: 56, then 48"));
                }
                tiers.push(Tier { prefix, factor });
            }
            _ if faults.len() == before => {
                let fault = Fault::missing(member.span(), format!("{}: incomplete", member.key));
                faults.add(fault.remedy("write { prefix = 48, factor = 8 }"));
            }
            _ => {}
        }
    }
    if tiers.len() > Tier::MOST {
        faults.add(entry.fault(format_args!("more than {} tiers", Tier::MOST)));
    }
    (faults.len() == before).then_some(tiers)
}

/// A list of addresses and prefixes.
pub(super) fn prefixes(empty: Empty) -> impl Fn(&Entry<'_, '_>, &mut Faults) -> Option<Vec<IpNet>> {
    move |entry, faults| {
        let prefix = |text: &str| address::trusted(text).map_err(Unfit::new);
        value::list(entry, faults, empty, text(prefix))
    }
}

/// Reads `[[network]]`. The budgets that they name are `used`.
pub(super) fn networks(
    entry: Option<Entry<'_, '_>>,
    budgets: &[Budget],
    used: &mut BTreeSet<usize>,
    faults: &mut Faults,
) -> Vec<Network> {
    let Some(entry) = entry else { return Vec::new() };
    let mut networks = Vec::new();
    for member in entry.members().0 {
        let DeValue::Table(content) = member.value.get_ref() else {
            let remedy = "write [[network]], in two pairs of brackets, above each network";
            faults.add(member.wrong_type("a table").remedy(remedy));
            continue;
        };
        let mut table = Table::new("network", member.span(), Some(content));
        let before = faults.len();
        let (mut addresses, mut budget) = (Vec::new(), None);
        let some = Empty::Refused("name at least one address or prefix");
        let has = table.read("addresses", &mut addresses, faults, prefixes(some)).is_some();
        table.read("budget", &mut budget, faults, |entry, faults| {
            named_budget(entry, budgets, faults).map(Some)
        });
        let place = table.span();
        table.finish(faults);
        used.extend(budget);
        match budget {
            Some(budget) if has => networks.push(Network { addresses, budget }),
            _ if faults.len() == before => {
                let missing = if has { "budget" } else { "addresses" };
                let fault = Fault::missing(place, format!("network: no `{missing}`"));
                let remedy = "write addresses = [\"203.0.113.0/24\"] and budget = \"NAME\"";
                faults.add(fault.remedy(remedy));
            }
            _ => {}
        }
    }
    if networks.len() > MOST_NETWORKS {
        faults.add(entry.fault(format_args!("more than {MOST_NETWORKS} networks")));
    }
    networks
}

/// The index of a budget by its name.
pub(super) fn named_budget(
    entry: &Entry<'_, '_>,
    budgets: &[Budget],
    faults: &mut Faults,
) -> Option<usize> {
    let text = string(entry, faults)?;
    let found = budgets.iter().position(|budget| budget.name == text);
    if found.is_none() {
        let names = || budgets.iter().map(|budget| budget.name.as_str());
        let fault = entry.fault(format_args!("there is no budget {}", quote(text)));
        let fault = fault.nearest(text, names()).allowed(quoted(names()));
        faults.add(fault.remedy("or add one: [budget.NAME], with client and site"));
    }
    found
}

/// Reads `[challenge_cookie]`.
pub(super) fn challenge_cookie(
    mut table: Table<'_, '_>,
    challenge: &mut ChallengePolicy,
    session: &SessionPolicy,
    faults: &mut Faults,
) {
    const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);
    let before = faults.len();
    let name = table.read("name", &mut challenge.name, faults, text(pattern::cookie_name));
    table.read("max_age", &mut challenge.max_age, faults, duration(MINUTE..=MINUTE * 43_200));
    let quota = table.table("budget", faults);
    if let Some(quota) = budgets::quota(quota, Some(challenge.quota), faults) {
        challenge.quota = quota.quota;
    }
    table.read("ceiling", &mut challenge.ceiling, faults, |entry, faults| {
        integer(1..=1_000)(entry, faults).and_then(NonZeroU32::new)
    });
    if challenge.name == session.cookie && faults.len() == before {
        let place: Range<usize> = name.unwrap_or_else(|| table.span());
        let what = "challenge_cookie.name: this is the session cookie's name";
        faults.add(Fault::new(place, what).remedy("give it a name that the site does not use"));
    }
    table.finish(faults);
}
