//! Other rules and settings while floods run; several sites.

use super::logs::{Format, Level};
use super::tests::*;
use super::*;
use crate::guard::fact::RouteId;
use std::time::Duration;

const SETTINGS: FloodSettings =
    FloodSettings { events: 20, quiet: Duration::from_secs(30), interval: Duration::from_secs(60) };

fn names(names: &[&str]) -> Vec<String> {
    names.iter().copied().map(String::from).collect()
}

/// The lines of `work`, without times.
fn lines(work: impl FnOnce()) -> Vec<String> {
    Capture::new(Format::Text, Level::Info).lines(work)
}

fn flood(telemetry: &Telemetry, rule: u16, count: u64, from: u64) {
    for number in 0..count {
        telemetry.record(&[refused(rule, 1)], at(from + number));
    }
}

/// The second rule is the first one now, and the other is gone: what is told of either, by
/// exchanges from before and from after, is told under its name.
#[test]
fn floods_go_on_by_the_names_of_their_rules() {
    let old = Telemetry::new(names(&["logout", "cart"]), SETTINGS, at(0));
    let said = lines(|| {
        flood(&old, 0, 20, 0);
        flood(&old, 1, 19, 0);
        let new = old.reconfigured(names(&["cart", "login"]), SETTINGS);
        flood(&new, 0, 1, 100);
        flood(&old, 0, 5, 200);
        flood(&old, 1, 5, 200);
        flood(&new, 1, 19, 200);
        new.tick(at(29_000));
        new.tick(at(31_000));
        assert_eq!(new.tally().refused(), 69);
        new.finish(at(32_000));
    });
    let said: Vec<&str> = said.iter().map(|line| &line[line.find("  ").unwrap_or(0)..]).collect();
    assert_eq!(said.len(), 5, "{said:#?}");
    assert!(said[0].contains("flood started route=\"logout\" events=20"), "{said:#?}");
    assert!(said[1].contains("flood started route=\"cart\" events=20"), "{said:#?}");
    assert!(said[2].contains("flood ended route=\"cart\" events=25"), "{said:#?}");
    assert!(said[3].contains("flood ended route=\"logout\" events=25"), "{said:#?}");
    assert!(said[4].contains("stopped uptime_s=32") && said[4].contains("refused=69"), "{said:#?}");
}

#[test]
fn new_settings_count_for_floods_that_have_not_begun() {
    let old = Telemetry::new(names(&["logout"]), SETTINGS, at(0));
    let settings = |events| FloodSettings { events, ..SETTINGS };
    let said = lines(|| {
        flood(&old, 0, 10, 0);
        let more = old.reconfigured(names(&["logout"]), settings(30));
        flood(&more, 0, 19, 100);
        let fewer = more.reconfigured(names(&["logout"]), settings(5));
        flood(&fewer, 0, 1, 200);
    });
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said[0].contains("flood started route=\"logout\" events=30"), "{said:#?}");
}

/// A reload for each rule that ever was would else take more and more memory.
#[test]
fn rules_that_are_gone_are_forgotten_when_nothing_is_to_be_told_of_them() {
    let mut telemetry = Telemetry::new(names(&["first"]), SETTINGS, at(0));
    flood(&telemetry, 0, 20, 0);
    for number in 0..100 {
        telemetry = telemetry.reconfigured(vec![format!("rule-{number}")], SETTINGS);
    }
    let kept: Vec<&str> = (0..)
        .map(|rule| telemetry.floods.name(RouteId::Rule(rule)))
        .take_while(|n| *n != UNNAMED)
        .collect();
    assert_eq!(kept, ["rule-99", "rule-98", "first"], "its flood still runs");
    telemetry.tick(at(60_000));
    for number in 0..2 {
        telemetry = telemetry.reconfigured(vec![format!("rule-{number}")], SETTINGS);
    }
    assert_eq!(telemetry.floods.name(RouteId::Rule(2)), UNNAMED);
}

#[test]
fn a_notice_is_not_told_again_because_of_a_reload_and_the_last_one_is_not_lost() {
    let old = Telemetry::new(names(&["logout", "cart"]), SETTINGS, at(0));
    let said = lines(|| {
        old.notice(&path_writes(0, "/a/"), at(0));
        let new = old.reconfigured(names(&["cart", "logout"]), SETTINGS);
        new.notice(&path_writes(1, "/b/"), at(1_000));
        old.notice(&path_writes(0, "/c/"), at(2_000));
        let newer = new.reconfigured(names(&["cart"]), SETTINGS);
        newer.tick(at(60_000));
    });
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(said[0].contains("route=\"logout\" path=\"/a/\""), "{said:#?}");
    assert!(said[1].contains("route=\"logout\" path=\"/c/\""), "{said:#?}");
    assert!(said[1].contains("suppressed=1"), "{said:#?}");
}

#[test]
fn each_line_of_one_of_several_sites_says_of_which() {
    let shop = Telemetry::of_site(Some("shop"), names(&["logout"]), SETTINGS, 1, at(0));
    let said = lines(|| {
        let shop = shop.reconfigured(names(&["logout"]), SETTINGS);
        flood(&shop, 0, 20, 0);
        shop.notice(&path_writes(0, "/a/"), at(0));
        shop.notice(&warmth(COLD), at(0));
        for millis in [0, 10] {
            shop.upstream_failed("refused", &"no", at(millis));
            shop.limited("idle", &"too long", at(millis));
        }
        shop.finish(at(2_000));
    });
    assert_eq!(said.len(), 9, "{said:#?}");
    assert!(said.iter().all(|line| line.contains(" site=\"shop\" ")), "{said:#?}");
    let only = Telemetry::new(names(&["logout"]), SETTINGS, at(0));
    assert!(lines(|| only.finish(at(0))).iter().all(|line| !line.contains("site=")));
}
