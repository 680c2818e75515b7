//! Two genuine Django sites of different releases in one process: a flood of one is nothing to the
//! other.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::support::attack::bounded;
use crate::support::django::{Django, Release};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::load::browser::Browser;
use crate::support::load::flood::{Flood, Scenario};
use crate::support::load::visit::Visit;

/// Of the flooded site's anonymous budget.
const BURST: u64 = 25;

#[test]
fn a_flood_of_one_site_touches_neither_budget_nor_store_of_the_other() {
    if !(Release::V1_7_9.available() && Release::V1_8_3.available()) {
        return;
    }
    let flooded = Django::start_with(Release::V1_7_9, &["--threads", "16"]);
    let other = Django::start_with(
        Release::V1_8_3,
        &["--threads", "16", "--option", "SESSION_COOKIE_NAME=shopid"],
    );
    let folder = Folder::new("sites");
    let state = folder.path().join("state");
    let configuration = format!(
        "listen = '127.0.0.1:0'\nstate = '{}'\n[log]\nflood_events = 5\n\
         [budget.logout]\nclient = {{ rate = '1/d', burst = {BURST} }}\n\
         site = {{ rate = '1/d', burst = {BURST} }}\n\
         [[site]]\nname = 'old'\nupstream = '{}'\n\
         [[site]]\nname = 'shop'\nhosts = ['shop.example']\nupstream = '{}'\n\
         [site.session]\ncookie = 'shopid'\n",
        state.display(),
        flooded.upstream(),
        other.upstream(),
    );
    let mut floodwall = Floodwall::start_by_file(&folder, &configuration);
    // Both cookies come from one browser, under one name of a host each.
    let target = floodwall.target();
    let time_limit = Duration::from_secs(120);
    for scenario in [Scenario::MadeUpLogout, Scenario::AnonymousLogout] {
        let flood = Flood { requests: 600, time_limit, ..Flood::new(target, scenario) };
        assert_eq!(flood.run().errors, 0);
    }
    assert_eq!(other.rows(), 0, "nothing of the flood has come there");
    // The budget, the spares, and what a session adds that goes while requests are under way.
    bounded(
        "600 logouts each with a made-up cookie and without, one of two sites",
        "records",
        BURST + 16 + 14,
        flooded.rows(),
    );
    floodwall.await_said("flood started");
    let log = floodwall.log();
    for line in log.lines().filter(|line| line.contains("flood started")) {
        assert!(line.contains("\"site\":\"old\""), "{line}");
    }

    // From the flooder's own address, to whom the other site owes nothing.
    let user = Visit {
        source: Ipv4Addr::new(127, 0, 0, 2),
        host: Some("shop.example".to_owned()),
        pause: Duration::from_millis(20),
        ..Visit::new(target, "user1")
    };
    let user = user.rounds(2);
    assert_eq!(user.failures().collect::<Vec<_>>(), Vec::<String>::new());
    let mut shop = Browser::with_host(target, Ipv4Addr::new(127, 0, 0, 2), "shop.example".into());
    for _ in 0..BURST - 5 {
        let page = shop.get("/accounts/logout/").expect("an answer");
        assert!(page.status() < 400, "its logouts have a budget of their own: {}", page.status());
    }
    assert_eq!(flooded.authenticated(), 0);

    floodwall.signal("-USR1");
    floodwall.await_said("\"site\":\"shop\",\"ledger\"");
    assert!(floodwall.stop().success());
    let kept = |site: &str| fs::metadata(folder.path().join(format!("state-{site}"))).is_ok();
    assert!(kept("old") && kept("shop") && !state.exists());
}
