use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::guard::fact::{Refusal, Write};
use crate::telemetry::sketch::{ClientCount, MOST_CLIENTS};

const SETTINGS: FloodSettings =
    FloodSettings { events: 20, quiet: Duration::from_secs(30), interval: Duration::from_secs(60) };

const REFUSED: Event = Event::Refused(Refusal::ClientBudget);

fn at(millis: u64) -> Moment {
    Moment::from_nanos(0).after(Moment::HEADROOM).after(Duration::from_millis(millis))
}

fn client(number: u32) -> Client {
    Client::new(IpAddr::V4(Ipv4Addr::from_bits(number)), 32)
}

/// The floods of so many rules, called `a`, `b`, and so on.
fn all(rules: usize, settings: FloodSettings) -> Floods {
    let names: Vec<String> = ('a'..).take(rules).map(String::from).collect();
    Floods::new(&names, settings)
}

fn fact(rule: u16, event: Event) -> Fact {
    Fact { route: RouteId::Rule(rule), client: client(1), event }
}

/// `count` exchanges with `event` on a route, 100 ms apart from `millis` on; what they began.
fn burst(floods: &Floods, rule: u16, event: Event, count: u64, millis: u64) -> Vec<FloodRecord> {
    (0..count)
        .flat_map(|number| floods.record(&[fact(rule, event)], at(millis + 100 * number)))
        .collect()
}

#[test]
fn a_flood_starts_continues_and_ends() {
    let floods = all(1, SETTINGS);
    assert!(burst(&floods, 0, REFUSED, 19, 0).is_empty());
    let started = burst(&floods, 0, REFUSED, 1, 1_900);
    assert_eq!(started.len(), 1);
    let started = &started[0];
    assert_eq!((started.phase, started.route), (Phase::Started, RouteId::Rule(0)));
    assert_eq!((started.events, started.observed, started.tally.refused()), (20, 0, 20));
    assert_eq!(started.duration, Duration::from_millis(1_900));
    assert_eq!((started.rate, started.mean_rate), (10.5, 10.5));
    assert_eq!(started.clients, ClientCount::Exactly(1));
    assert_eq!(started.top[0].at_least, 20);

    let mut told = Vec::new();
    for second in 2..130 {
        assert!(burst(&floods, 0, REFUSED, 10, second * 1_000).is_empty(), "it runs already");
        told.extend(floods.tick(at(second * 1_000 + 999)));
    }
    let phases: Vec<Phase> = told.iter().map(|record| record.phase).collect();
    assert_eq!(phases, [Phase::Continues, Phase::Continues]);
    // From 1.9 s, when it was told to have started, to the tick at 61.999 s.
    assert_eq!((told[0].events, told[0].rate), (20 + 600, 10.0));

    assert!(floods.tick(at(129_900 + 29_999)).is_empty());
    let ended = floods.tick(at(129_900 + 30_000));
    assert_eq!((ended.len(), ended[0].phase, ended[0].events), (1, Phase::Ended, 1_300));
    assert_eq!((ended[0].duration, ended[0].mean_rate), (Duration::from_millis(129_900), 10.0));
    assert!(floods.tick(at(1_000_000)).is_empty(), "it ends once");
}

#[test]
fn events_farther_apart_than_the_quiet_time_allows_begin_nothing() {
    let floods = all(1, SETTINGS);
    for number in 0..1_000 {
        // Nineteen in any thirty seconds, and the twentieth just after.
        assert!(burst(&floods, 0, REFUSED, 1, number * 1_579).is_empty(), "{number}");
    }
    assert!(floods.tick(at(2_000_000)).is_empty());
}

#[test]
fn the_window_slides() {
    let floods = all(1, SETTINGS);
    // A few stragglers, then nineteen late in one window and one early in the next.
    assert!(burst(&floods, 0, REFUSED, 5, 0).is_empty());
    assert!(burst(&floods, 0, REFUSED, 14, 29_000).is_empty());
    assert!(burst(&floods, 0, REFUSED, 5, 31_000).is_empty());
    let started = burst(&floods, 0, REFUSED, 1, 31_500);
    assert_eq!((started.len(), started[0].events), (1, 20));
    assert_eq!(started[0].duration, Duration::from_millis(2_500));
}

#[test]
fn a_second_flood_knows_nothing_of_the_first() {
    let floods = all(1, SETTINGS);
    for number in 0..100 {
        let fact = Fact { client: client(number), ..fact(0, REFUSED) };
        floods.record(&[fact], at(0));
    }
    assert_eq!(floods.tick(at(40_000))[0].phase, Phase::Ended);
    assert!(burst(&floods, 0, Event::Recycled, 19, 50_000).is_empty());
    let started = burst(&floods, 0, Event::Recycled, 1, 52_000);
    assert_eq!((started[0].events, started[0].tally.refused()), (20, 0));
    assert_eq!(started[0].tally.count(Event::Recycled), 20);
    assert_eq!(started[0].clients, ClientCount::Exactly(1));
    assert_eq!(started[0].duration, Duration::from_millis(2_000));
}

#[test]
fn routes_have_floods_of_their_own() {
    let floods = all(2, SETTINGS);
    let mut started = Vec::new();
    for number in 0..30 {
        started.extend(burst(&floods, 0, REFUSED, 1, number * 100));
        started.extend(burst(&floods, 1, Event::Answered, 1, number * 1_000));
    }
    let routes: Vec<RouteId> = started.iter().map(|record| record.route).collect();
    assert_eq!(routes, [RouteId::Rule(0), RouteId::Rule(1)]);
    let ended = floods.tick(at(33_000));
    assert_eq!((ended.len(), ended[0].route), (1, RouteId::Rule(0)), "the other one still runs");
    let ended = floods.finish(at(34_000));
    assert_eq!((ended.len(), ended[0].route), (1, RouteId::Rule(1)));
    assert_eq!((ended[0].phase, ended[0].tally.count(Event::Answered)), (Phase::Ended, 30));
}

#[test]
fn what_no_announced_rule_names_floods_as_one_route() {
    let floods = all(1, SETTINGS);
    burst(&floods, 7, REFUSED, 10, 0);
    let unnamed = Fact { route: RouteId::Unnamed, ..fact(0, REFUSED) };
    let started: Vec<FloodRecord> =
        (0..10).flat_map(|_| floods.record(&[unnamed], at(2_000))).collect();
    assert_eq!((started.len(), started[0].route), (1, RouteId::Unnamed));
    assert_eq!(floods.finish(at(3_000))[0].route, RouteId::Unnamed);
}

#[test]
fn everyday_life_is_no_flood_but_is_tallied_while_one_runs() {
    let floods = all(1, SETTINGS);
    let everyday = [Event::Stripped, Event::Deleted, Event::Wrote(Write::Created)];
    for event in everyday {
        assert!(burst(&floods, 0, event, 1_000, 0).is_empty(), "{event:?}");
    }
    burst(&floods, 0, REFUSED, 20, 0);
    for event in everyday {
        burst(&floods, 0, event, 3, 2_000);
    }
    burst(&floods, 0, Event::Wrote(Write::Uncertain), 2, 2_000);
    // They do not keep it alive either.
    burst(&floods, 0, Event::Stripped, 1, 30_000);
    let ended = &floods.tick(at(31_900))[0];
    assert_eq!((ended.phase, ended.events), (Phase::Ended, 20));
    assert_eq!((ended.tally.count(Event::Stripped), ended.tally.count(Event::Deleted)), (4, 3));
    assert_eq!(
        (ended.tally.wrote(Write::Created), ended.tally.wrote(Write::Uncertain)),
        (3, 2),
        "what reached the store is named by what is known of it"
    );
}

#[test]
fn an_exchange_is_one_event_whatever_it_consists_of() {
    let floods = all(1, SETTINGS);
    let exchange = [fact(0, Event::Removed), fact(0, REFUSED)];
    let started: Vec<FloodRecord> =
        (0..40).flat_map(|number| floods.record(&exchange, at(number * 100))).collect();
    assert_eq!((started.len(), started[0].events), (1, 20));
    assert_eq!((started[0].tally.count(Event::Removed), started[0].tally.refused()), (20, 20));
    let ended = &floods.finish(at(9_000))[0];
    assert_eq!((ended.events, ended.top[0].at_least), (40, 40));
    assert_eq!((ended.tally.count(Event::Removed), ended.tally.refused()), (40, 40));
}

#[test]
fn what_was_only_observed_is_counted_apart() {
    let floods = all(1, SETTINGS);
    burst(&floods, 0, Event::WouldRefuse(Refusal::SiteBudget), 15, 0);
    let started = burst(&floods, 0, Event::WouldAbsorb, 5, 1_500);
    assert_eq!((started[0].events, started[0].observed), (20, 20));
    burst(&floods, 0, REFUSED, 4, 2_000);
    let ended = &floods.finish(at(3_000))[0];
    assert_eq!((ended.events, ended.observed), (24, 20));
    assert_eq!((ended.tally.would_refuse(), ended.tally.refused()), (15, 4));
}

#[test]
fn more_clients_than_are_told_apart_are_at_least_so_many() {
    let floods = all(1, SETTINGS);
    for number in 0..3 * MOST_CLIENTS as u32 {
        floods.record(&[Fact { client: client(number), ..fact(0, REFUSED) }], at(0));
    }
    let ended = &floods.finish(at(1_000))[0];
    assert_eq!(ended.clients, ClientCount::AtLeast(MOST_CLIENTS as u64 + 1));
    assert_eq!(ended.events, 3 * MOST_CLIENTS as u64);
}

#[test]
fn readings_of_the_clock_that_arrive_out_of_order_do_no_harm() {
    let floods = all(1, SETTINGS);
    for number in 0..40 {
        floods.record(&[fact(0, REFUSED)], at(1_000 + number % 2 * 50));
        floods.tick(at(990));
    }
    let ended = &floods.tick(at(31_050))[0];
    assert_eq!((ended.phase, ended.events), (Phase::Ended, 40));
    assert!(ended.duration <= Duration::from_millis(50));
}

#[test]
fn cores_that_record_at_once_lose_nothing() {
    let floods = all(1, SETTINGS);
    let started: usize = std::thread::scope(|scope| {
        let cores: Vec<_> =
            (0..4).map(|_| scope.spawn(|| burst(&floods, 0, REFUSED, 10_000, 0).len())).collect();
        cores.into_iter().map(|core| core.join().expect("no panic")).sum()
    });
    assert_eq!(started, 1);
    assert_eq!(floods.finish(at(2_000_000))[0].events, 40_000);
}

#[test]
fn settings_out_of_bounds_are_taken_as_the_nearest_bound() {
    let nothing = FloodSettings { events: 0, quiet: Duration::ZERO, interval: Duration::ZERO };
    let floods = all(1, nothing);
    assert_eq!(burst(&floods, 0, REFUSED, 1, 0)[0].phase, Phase::Started);
    assert!(floods.tick(at(999)).is_empty());
    assert_eq!(floods.tick(at(1_000))[0].phase, Phase::Ended);
    let endless = FloodSettings { events: u32::MAX, ..SETTINGS };
    let floods = all(1, endless);
    let started: Vec<FloodRecord> =
        (0..1_000).flat_map(|_| floods.record(&[fact(0, REFUSED)], at(0))).collect();
    assert_eq!(started[0].events, u64::from(FloodSettings::MOST_EVENTS));
}
