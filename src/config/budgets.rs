//! The tables `[budget.NAME]`: the built-in budgets, and those that the operator adds.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

use super::fault::{Fault, Faults, quote};
use super::pattern;
use super::quantity::{self, RATE_FORM, Written};
use super::table::Table;
use super::value::{integer, string, unfit_fault, word};
use crate::guard::policy::{Budget, Challenge, Quota};

/// Budgets of one site at most: each has its own table of clients.
const MOST: usize = 64;

/// A budget of the operator's own, and where its name stands.
pub(super) struct Own {
    budget: usize,
    span: Range<usize>,
}

/// Reads `[budget]`: changes what it says of the budgets that are there, adds the others in the
/// order of the file.
pub(super) fn read(
    table: Table<'_, '_>,
    budgets: &mut Vec<Budget>,
    faults: &mut Faults,
) -> Vec<Own> {
    let built_in = budgets.len();
    let mut own = Vec::new();
    for (name, span, entry) in table.named() {
        if !pattern::is_budget_name(name) {
            let what = format!("{} is not a budget's name", quote(name));
            let allowed = "a-z first, then a-z 0-9 _ -, 64 at most";
            faults.add(Fault::new(span, what).allowed(allowed));
            continue;
        }
        let section = entry.table(faults);
        match budgets[..built_in].iter_mut().find(|budget| budget.name == name) {
            Some(budget) => {
                let standard = Standard::Of(budget.client, budget.site);
                let pair = pair(section, standard, faults);
                (budget.client, budget.site) = (pair.client, pair.site);
                budget.challenge = pair.challenge.or(budget.challenge);
            }
            None => {
                let fallback = Standard::None(budgets[Budget::ANONYMOUS].client);
                let Pair { client, site, challenge } = pair(section, fallback, faults);
                own.push(Own { budget: budgets.len(), span: span.clone() });
                budgets.push(Budget { name: name.to_owned(), client, site, challenge });
            }
        }
        if budgets.len() == MOST + 1 {
            faults.add(Fault::new(span, format!("more than {MOST} budgets")));
        }
    }
    own
}

/// Reports the operator's budgets that no rule names: most are misspelled.
pub(super) fn unused(
    own: Vec<Own>,
    budgets: &[Budget],
    used: &BTreeSet<usize>,
    faults: &mut Faults,
) {
    for Own { budget, span } in own {
        if used.contains(&budget) {
            continue;
        }
        let name = budgets[budget].name.as_str();
        let others = budgets.iter().map(|budget| budget.name.as_str());
        let what = format!("no rule has the budget \"{name}\"");
        let remedy = format!("write budget = \"{name}\" in a rule, or leave the budget out");
        let fault = Fault::missing(span, what).nearest(name, others.filter(|&other| other != name));
        faults.add(fault.remedy(remedy));
    }
}

/// What holds for a budget where the file says nothing.
#[derive(Clone, Copy)]
enum Standard {
    /// It has these limits, client and site.
    Of(Quota, Quota),
    /// It has none, all must be written. The quota stands in until the mistake is told.
    None(Quota),
}

/// What one table says.
struct Pair {
    client: Quota,
    site: Quota,
    challenge: Option<Challenge>,
}

fn pair(mut table: Table<'_, '_>, standard: Standard, faults: &mut Faults) -> Pair {
    let (client_standard, site_standard) = match standard {
        Standard::Of(client, site) => (Some(client), Some(site)),
        Standard::None(_) => (None, None),
    };
    let before = faults.len();
    let mut challenge = None;
    table.read("challenge", &mut challenge, faults, |entry, faults| {
        word(&Challenge::ALL, Challenge::word)(entry, faults).map(Some)
    });
    let client_table = table.table("client", faults);
    let site_table = table.table("site", faults);
    let place = table.span();
    let client = quota(client_table, client_standard, faults);
    let site = quota(site_table, site_standard, faults);
    let name = table.name().to_owned();
    table.finish(faults);
    let (Some(client), Some(site)) = (client, site) else {
        let (client, site) = match standard {
            Standard::Of(client, site) => (client, site),
            Standard::None(quota) => (quota, quota),
        };
        return Pair { client, site, challenge };
    };
    let (least, burst) = (client.quota.burst(), site.quota.burst());
    // Said only where nothing else is wrong: a default may stand where the mistake is.
    if burst < least && faults.len() == before {
        let what = format!(
            "{name}.site: the whole site may create {burst} at once, one client alone {least}"
        );
        let place = site.burst.or(client.burst).unwrap_or(place);
        let remedy = format!("write a burst of {least} or more for the site, or less for clients");
        faults.add(Fault::new(place, what).remedy(remedy));
    }
    Pair { client: client.quota, site: site.quota, challenge }
}

/// A quota, and where its burst stands if the file has it.
pub(super) struct Read {
    pub(super) quota: Quota,
    burst: Option<Range<usize>>,
}

/// Reads `{ rate = "30/min", burst = 60 }`. `None` where it cannot be told, which is reported.
pub(super) fn quota(
    mut table: Table<'_, '_>,
    standard: Option<Quota>,
    faults: &mut Faults,
) -> Option<Read> {
    let mut period = standard.map(Quota::period);
    let mut burst = standard.map(Quota::burst);
    let before = faults.len();
    let rate_place = table.read("rate", &mut period, faults, |entry, faults| {
        let text = string(entry, faults)?;
        let wrong = |unfit| unfit_fault(entry, text, unfit).allowed(RATE_FORM);
        quantity::rate(text).map_err(|unfit| faults.add(wrong(unfit))).ok().map(Some)
    });
    let burst_place = table.read("burst", &mut burst, faults, |entry, faults| {
        integer(1..=u32::MAX)(entry, faults).map(NonZeroU32::new)
    });
    let (name, place) = (table.name().to_owned(), table.span());
    table.finish(faults);
    let (Some(period), Some(burst)) = (period, burst) else {
        if faults.len() == before {
            let missing = if period.is_none() { "rate" } else { "burst" };
            let short = name.rsplit('.').next().unwrap_or_default();
            let remedy = format!("write {short} = {{ rate = \"30/min\", burst = 60 }}");
            let what = format!("{name}: no `{missing}`; a budget that is not built in states both");
            faults.add(Fault::missing(place, what).remedy(remedy));
        }
        return None;
    };
    let quota = Quota::new(burst, period);
    if quota.is_none() && faults.len() == before {
        let place = burst_place.clone().or(rate_place).unwrap_or(place);
        faults.add(too_slow(place, &name, burst, period));
    }
    quota.map(|quota| Read { quota, burst: burst_place })
}

fn too_slow(place: Range<usize>, name: &str, burst: NonZeroU32, period: Duration) -> Fault {
    let each = Written(period);
    let what =
        format!("{name}: {burst} at once, and one more each {each}, take over a year to refill");
    Fault::new(place, what).remedy("lower the burst or raise the rate until it refills in 366 days")
}
