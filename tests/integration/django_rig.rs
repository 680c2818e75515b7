//! The rig and the load generator are real: a bare vulnerable site does grow, by exactly as many
//! records as there were requests, and a user notices nothing. Without this every test of what
//! Floodwall prevents would prove nothing.

use crate::support::django::{Django, Release};
use crate::support::load::flood::{Flood, Scenario, SessionCookie};
use crate::support::load::visit::Visit;

#[test]
fn each_anonymous_logout_adds_a_record_to_a_bare_site() {
    if !Release::V1_8_3.available() {
        return;
    }
    let site = Django::start(Release::V1_8_3);
    let flood = Flood { requests: 200, ..Flood::new(site.target(), Scenario::AnonymousLogout) };
    let report = flood.run();
    assert_eq!(report.errors, 0, "{report}");
    assert_eq!(report.with_cookie(SessionCookie::Set), 200, "{report}");
    assert_eq!(site.rows(), 200);
    assert_eq!(site.keys().len(), 200);
}

#[test]
fn a_bare_site_serves_a_user_the_same_way_every_time() {
    if !Release::V1_8_3.available() {
        return;
    }
    let site = Django::start(Release::V1_8_3);
    let visit = Visit::new(site.target(), "user1");
    let first = visit.rounds(2);
    assert_eq!(first.failures().collect::<Vec<_>>(), Vec::<String>::new());
    assert_eq!(first.lines(), visit.rounds(2).lines());
    // Every session was logged out of.
    assert_eq!(site.authenticated(), 0);
}
