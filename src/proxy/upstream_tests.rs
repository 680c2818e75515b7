use super::*;
use crate::config::{Config, Overrides};
use crate::proxy::start;

/// What this configuration makes, with what `before` knows; and nobody is told of changes.
fn upstream(configuration: &str, before: Option<&Upstream>) -> Upstream {
    let config = Config::parse("test", configuration.as_bytes(), Overrides::default());
    let settings = start::site_settings(&config.expect("it is good").sites()[0]);
    let (clock, seats) = (Clock::start(), Arc::new(Seats::new(1, 1)));
    Upstream::new(&settings, 1, clock, seats, Arc::new(|_, _| {}), None, before)
}

#[test]
fn a_new_configuration_keeps_what_is_known_of_its_servers() {
    let before = upstream("upstream = ['http://a', 'http://b']\n[balance]\neject_after = 1", None);
    let [a, b]: [_; 2] = before.servers().collect::<Vec<_>>().try_into().expect("two");
    before.failed(b, &Failure::ConnectTimeout);
    let settings = "upstream = ['http://c', { url = 'http://b', weight = 2 }, 'http://a']\n\
                    [balance]\neject_after = 1\neject_for = '1h'\n\
                    [upstream_limits]\nconnections = 3\nqueue = 0";
    let after = upstream(&format!("{settings}\n[health]\npath = '/'"), Some(&before));
    let servers: Vec<_> = after.servers().collect();
    assert!(Arc::ptr_eq(servers[1], b) && Arc::ptr_eq(servers[2], a));
    let now = after.clock.now();
    let available = |server: &Server| server.health.availability(now);
    assert_ne!(available(b), Availability::Up, "it is down still");
    assert_eq!((available(servers[0]), available(a)), (Availability::Up, Availability::Up));
    // The new limit holds for connections of before.
    let held: Vec<_> = (0..3).map(|_| a.places.ask(0, Some(0))).collect();
    assert!(held.iter().all(|answer| matches!(answer, Answer::Granted(_))));
    assert!(matches!(a.places.ask(0, Some(0)), Answer::Full));
    // Without checks, what they would bring back is tried.
    after.failed(a, &Failure::ConnectTimeout);
    assert_eq!(a.health.availability(after.clock.now()), Availability::Down);
    let unchecked = upstream(settings, Some(&after));
    assert_eq!(a.health.availability(unchecked.clock.now()), Availability::OnTrial);
}

#[test]
fn time_for_connecting_is_shared_by_the_servers_that_are_left() {
    let limits = upstream("", None).limits;
    let mut course = Course::new(&limits);
    assert_eq!(course.for_connecting(1), limits.connect_timeout);
    assert_eq!(course.for_connecting(2), limits.connect_timeout / 2);
    course.connecting_took(limits.connect_timeout / 2);
    assert_eq!(course.for_connecting(1), limits.connect_timeout / 2);
}
