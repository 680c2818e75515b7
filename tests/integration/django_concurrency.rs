//! Many first requests at once on genuine Django: nothing is known of the page yet, and none of
//! them waits for the others. What is under way is held, so what is created is what the budgets
//! have.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::attack::bounded;
use crate::support::django::{Django, Release};
use crate::support::inside::Inside;
use crate::support::load::Target;
use crate::support::load::flood::{Flood, Scenario};
use crate::support::load::http::{Connection, Request};
use crate::support::load::source;

const RELEASE: Release = Release::V1_7_9;
const SITE: u64 = 25;

/// Ten sessions for a client and twenty-five for the site, none back within a test, and no rule
/// that names any path.
fn before(site: &Django, hold_time: Duration) -> Inside {
    let configuration = format!(
        "profile_rules = false\n[budget.anonymous]\nclient = {{ rate = '1/d', burst = 10 }}\n\
         site = {{ rate = '1/d', burst = {SITE} }}\n[recycle]\nslot_wait = '200ms'\nspacing = 0\n"
    );
    Inside::start_with(&site.upstream(), &configuration, |settings| {
        settings.site.hold_time = hold_time
    })
}

/// From four hundred connections at once, and forty addresses.
fn flood(target: Target, scenario: Scenario) -> Flood {
    Flood { requests: 4_000, connections: 400, sources: 40, ..Flood::new(target, scenario) }
}

#[test]
fn thousands_of_first_requests_at_once_create_exactly_what_the_budgets_have() {
    if !RELEASE.available() {
        return;
    }
    for (attack, scenario) in [
        ("first requests at once, no cookie, unknown page, budget 25", Scenario::AnonymousWrite),
        (
            "first requests at once, made-up cookies, logout without a rule, budget 25",
            Scenario::MadeUpLogout,
        ),
    ] {
        let site = Django::start_with(RELEASE, &["--threads", "16"]);
        let floodwall = before(&site, Duration::from_secs(10));
        let report = flood(floodwall.target(), scenario).run();
        floodwall.await_rest();
        println!("{report}");
        bounded(attack, "records, 1.7.9", SITE, site.rows());
        assert_eq!(site.rows(), SITE, "the budget is there to be used");
    }
}

/// Slower than a budget is held: they are charged while they are under way.
#[test]
fn first_requests_that_take_longer_than_a_hold_create_no_more_either() {
    if !RELEASE.available() {
        return;
    }
    let site = Django::start_with(RELEASE, &["--threads", "32"]);
    let floodwall = before(&site, Duration::from_millis(100));
    let target = floodwall.target();
    let attack = |index: usize| {
        let mut refused = 0;
        for _ in 0..2 {
            let bytes = format!("GET /slow/logout/?ms=700 HTTP/1.1\r\nHost: {target}\r\n\r\n");
            let request = Request { bytes: bytes.into_bytes(), head: false };
            let deadline = Instant::now() + Duration::from_secs(30);
            let answer = Connection::new(target, source(index, 40)).exchange(&request, deadline);
            refused += u64::from(answer.expect("an answer").status == 429);
        }
        refused
    };
    let refused: u64 = thread::scope(|scope| {
        let attackers: Vec<_> = (0..200).map(|index| scope.spawn(move || attack(index))).collect();
        attackers.into_iter().map(|attacker| attacker.join().expect("no panic")).sum()
    });
    floodwall.await_rest();
    assert_eq!(refused, 400 - SITE);
    bounded(
        "slow first requests, longer than a hold, budget 25",
        "records, 1.7.9",
        SITE,
        site.rows(),
    );
}
