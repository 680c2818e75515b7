//! Receivers that fail, hang, lie and come late.

use std::time::{Duration, Instant};

use floodwall::guard::client::Client;
use floodwall::guard::fact::{Event, Fact, RouteId};
use floodwall::proxy::clock::Clock;
use floodwall::telemetry::Telemetry;
use floodwall::telemetry::alerts::{Alerts, Destination, Settings, WebhookSettings};
use floodwall::telemetry::flood::FloodSettings;
use serde_json::Value;

use super::{SECRET, events, flood, flooded, webhook};
use crate::support::address::own_address;
use crate::support::attack::bounded;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::receiver::Receiver;
use crate::support::sending::at_once;
use crate::support::tls::Authority;

/// A flood whose alerts meet these behaviours; what came, once there is so much of it.
fn met(behaviours: &[&str], more: &str, number: usize) -> (Vec<Value>, String) {
    let (folder, receiver) = (Folder::new("alerts-met"), Receiver::start(SECRET, behaviours));
    let configuration = flooded(&["logout"], &webhook(&folder, receiver.address(), more));
    let floodwall = Floodwall::start(&folder, "http://127.0.0.1:9", &configuration);
    flood(&floodwall, "logout");
    let seen = receiver.await_seen(number);
    let log = floodwall.log();
    assert!(floodwall.stop().success());
    (seen, log)
}

#[test]
fn a_receiver_in_trouble_is_asked_again_and_gets_each_alert() {
    let (seen, log) = met(&["500", "503", "500", "200"], "", 5);
    assert_eq!(
        events(&seen),
        ["flood-started", "flood-started", "flood-started", "flood-started", "flood-ended"]
    );
    for message in &seen {
        assert_eq!(message["signed"], true, "{message}");
    }
    // The same message, so that a receiver can tell.
    let ids: Vec<_> = seen.iter().map(|message| &message["headers"]["webhook-id"]).collect();
    assert!(ids[..4].iter().all(|id| *id == ids[0]) && ids[4] != ids[0], "{ids:?}");
    let at = |number: usize| seen[number]["at"].as_f64().expect("a time");
    assert!(at(1) - at(0) >= 0.25 && at(2) - at(1) >= 0.5 && at(3) - at(2) >= 1.0, "{seen:?}");
    assert!(log.contains("\"why\":\"status 500: no%0D%0A%1B[31mforged\""), "{log}");
    assert!(log.contains("alerts are delivered again"), "{log}");
}

#[test]
fn a_receiver_that_hangs_or_hangs_up_is_asked_again() {
    let more = "timeout = '200ms'";
    let behaviours = ["hang", "close", "drip", "endless", "429:1", "408"];
    at_once(behaviours.len(), |number| {
        let behaviour = behaviours[number];
        let (seen, log) = met(&[behaviour, "200"], more, 2);
        assert_eq!(events(&seen), ["flood-started", "flood-started"], "{behaviour}: {log}");
        let waited = seen[1]["at"].as_f64().expect("a time") - seen[0]["at"].as_f64().expect("one");
        let least = if behaviour == "429:1" { 1.0 } else { 0.25 };
        assert!((least..20.0).contains(&waited), "{behaviour}: {waited}");
    });
}

#[test]
fn what_is_answered_with_success_or_a_mistake_of_ours_is_not_sent_again() {
    let behaviours = ["200", "204", "drip-body", "301:http://127.0.0.1:9/", "307:/", "404", "410"];
    at_once(behaviours.len(), |number| {
        let behaviour = behaviours[number];
        let (seen, log) = met(&[behaviour], "timeout = '500ms'", 2);
        assert_eq!(events(&seen), ["flood-started", "flood-ended"], "{behaviour}: {log}");
        let complained = log.contains("an alert was not delivered");
        let fails = behaviour.starts_with(['3', '4']);
        assert_eq!(complained, fails, "{behaviour}: {log}");
        let redirects = log.contains("name the address that it redirects to");
        assert_eq!(redirects, behaviour.starts_with('3'), "{log}");
    });
}

/// What is given up is not kept, and does not stand in the way of the next.
#[test]
fn nobody_is_asked_for_longer_than_configured() {
    let (seen, log) = met(&["500", "500", "200"], "retry_for = '0s'", 2);
    assert_eq!(events(&seen), ["flood-started", "flood-ended"], "{log}");
}

#[test]
fn a_receiver_that_is_down_for_the_whole_flood_learns_of_it_later() {
    let (folder, address) = (Folder::new("alerts-down"), own_address());
    let configuration = flooded(&["logout"], &webhook(&folder, address, ""));
    let mut floodwall = Floodwall::start(&folder, "http://127.0.0.1:9", &configuration);
    flood(&floodwall, "logout");
    floodwall.await_said("flood ended");
    let receiver = Receiver::start_with(SECRET, &["200"], None, address.port());
    let seen = receiver.await_seen(2);
    assert_eq!(events(&seen), ["flood-started", "flood-ended"]);
    assert_eq!(seen[0]["body"]["flood"], seen[1]["body"]["flood"]);
    // What had happened is told, not when it was told.
    assert!(seen[0]["body"]["time"].as_str() < seen[1]["body"]["time"].as_str());
}

#[test]
fn a_receiver_is_believed_if_its_authority_is_trusted() {
    let (authority, stranger) = (Authority::new("alerts"), Authority::new("stranger"));
    let issued = authority.issue("receiver", &["DNS:localhost", "IP:127.0.0.1"]);
    let receiver = Receiver::start_with(SECRET, &["200"], Some(&issued), 0);
    let start = |authority: &Authority| {
        let folder = Folder::new("alerts-tls");
        let ca = format!("webhook_ca = '{}'", authority.certificate().display());
        let alerts = webhook(&folder, receiver.address(), &ca).replace("http://", "https://");
        let configuration = flooded(&["logout"], &alerts);
        let floodwall = Floodwall::start(&folder, "http://127.0.0.1:9", &configuration);
        flood(&floodwall, "logout");
        (folder, floodwall)
    };
    let (_folder, mut floodwall) = start(&stranger);
    floodwall.await_said("an alert was not delivered");
    assert!(floodwall.log().contains("UnknownIssuer"), "{}", floodwall.log());
    drop(floodwall);
    assert!(receiver.seen().is_empty());
    let (_folder, _floodwall) = start(&authority);
    assert_eq!(events(&receiver.await_seen(1)[..1]), ["flood-started"]);
}

/// However many floods begin and end while nobody takes alerts.
#[test]
fn the_queue_is_bounded_and_keeps_the_ends() {
    const ROUTES: u16 = 1_000;
    const FLOODS: usize = 10;
    let receiver = Receiver::start("", &["hang"]);
    let clock = Clock::start();
    let alerts = Alerts::new(std::sync::Arc::new(move || (clock.now(), clock.unix_ms())));
    let settings = |queue| Settings {
        webhook: Some(WebhookSettings {
            url: format!("http://{}/", receiver.address()).parse().expect("a URL"),
            secret: None,
            roots: std::sync::Arc::default(),
        }),
        queue,
        timeout: Duration::from_secs(60),
        retry_for: Duration::from_secs(900),
        ..Settings::default()
    };
    alerts.put(settings(256)).expect("a thread");
    let second = Duration::from_secs(1);
    let floods = FloodSettings { events: 1, quiet: second, interval: second };
    let names = (0..ROUTES).map(|number| format!("r{number}")).collect();
    let telemetry = Telemetry::new(names, floods, clock.now());
    let alerts = std::sync::Arc::new(alerts);
    telemetry.alert_by(&alerts);
    let client = Client::new("203.0.113.7".parse().expect("an address"), 32);
    let (mut slowest, mut most) = (Duration::ZERO, 0);
    for _ in 0..FLOODS {
        for route in 0..ROUTES {
            let fact = Fact { route: RouteId::Rule(route), client, event: Event::Answered };
            let began = Instant::now();
            telemetry.record(&[fact], clock.now());
            slowest = slowest.max(began.elapsed());
        }
        most = most.max(alerts.counts()[0].waiting);
        telemetry.tick(clock.now().after(second * 2));
        most = most.max(alerts.counts()[0].waiting);
    }
    bounded("10,000 floods, and a webhook that hangs", "alerts kept", 256 + 1, most);
    assert!(slowest < Duration::from_secs(5), "somebody waited for the receiver: {slowest:?}");
    let counts = alerts.counts()[0];
    assert_eq!(counts.destination, Destination::Webhook);
    assert_eq!(counts.delivered, 0);
    let all = u64::from(ROUTES) * FLOODS as u64 * 2;
    assert_eq!(counts.dropped + counts.waiting, all, "each is counted once");
    // A smaller queue holds at once. Another receiver gets what was on its way, and what waits: no
    // beginning is among it.
    alerts.put(settings(3)).expect("a thread");
    await_that("the queue is not shortened", || alerts.counts()[0].waiting <= 4);
    let better = Receiver::start("", &["200"]);
    let url = format!("http://{}/", better.address()).parse().expect("a URL");
    let webhook = settings(3).webhook.map(|webhook| WebhookSettings { url, ..webhook });
    alerts.put(Settings { webhook, ..settings(3) }).expect("a thread");
    drop(receiver);
    let seen = better.await_seen(4);
    assert_eq!(events(&seen)[1..], ["flood-ended"; 3]);
    alerts.finish();
    let counts = alerts.counts()[0];
    assert_eq!((counts.waiting, counts.dropped + counts.given_up + counts.delivered), (0, all));
}
