//! Exchanges that end badly, on genuine Django: clients that hang up, views that fail, an
//! application that dies. What may have been written stays charged, nothing is held for ever, and
//! the store grows by no more than what was charged.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::address::own_address;
use crate::support::attack::bounded;
use crate::support::django::{Django, Release};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::{Inside, await_that};
use crate::support::single::Single;

use crate::support::load::Target;
use crate::support::load::browser::Browser;
use crate::support::load::http::{Connection, Request};

/// Three sessions for a client, and none back within the test.
const THREE: &str = "[budget.logout]\nclient = { rate = '1/d', burst = 3 }\n\
                     site = { rate = '1/d', burst = 300 }\n\
                     [budget.anonymous]\nclient = { rate = '1/d', burst = 3 }\n\
                     site = { rate = '1/d', burst = 300 }\n";

fn get(target: Target, path: &str, key: Option<&str>) -> u16 {
    let cookie = key.map_or(String::new(), |key| format!("Cookie: sessionid={key}\r\n"));
    let bytes = format!("GET {path} HTTP/1.1\r\nHost: {target}\r\n{cookie}\r\n").into_bytes();
    let deadline = Instant::now() + Duration::from_secs(30);
    Connection::new(target, Ipv4Addr::LOCALHOST)
        .exchange(&Request { bytes, head: false }, deadline)
        .expect("an answer")
        .status
}

/// Sends a request, and hangs up when it has been admitted: long before its answer, if the view
/// takes its time.
fn get_and_hang_up(floodwall: &Inside, path: &str) {
    let target = floodwall.target();
    let mut stream = TcpStream::connect(target.address()).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {target}\r\n\r\n").expect("it reads");
    await_that("the request is not admitted", || floodwall.shield.guard.under_way().held == 1);
}

/// Of vulnerable releases that can run here, each by itself.
fn on_each(test: impl Fn(Release)) {
    for release in Release::vulnerable().filter(|release| release.available()) {
        println!("Django {release}");
        test(release);
    }
}

#[test]
fn a_client_that_hangs_up_is_charged_for_what_it_has_caused() {
    on_each(|release| {
        let site = Django::start(release);
        let floodwall = Inside::start(&site.upstream(), THREE);
        // Recycled requests have no query but `next`: these are gated, and each leaves a record,
        // which its client does not stay to hear of.
        for rows in 1..=3 {
            get_and_hang_up(&floodwall, "/slow/logout/?ms=200");
            floodwall.await_rest();
            assert_eq!(site.rows(), rows);
        }
        assert_eq!(get(floodwall.target(), "/slow/logout/?ms=0", None), 429, "it is all charged");
        assert_eq!(site.rows(), 3);
    });
}

#[test]
fn a_failing_logout_costs_no_more_than_its_budget_with_and_without_a_spare() {
    on_each(|release| {
        for path in ["/error/logout/", "/accounts/logout/?next=http://["] {
            let site = Django::start(release);
            let floodwall = Inside::start(&site.upstream(), THREE);
            // The path is proved first, so that there are spares to be lost.
            get(floodwall.target(), "/accounts/logout/", None);
            let statuses: Vec<u16> = (0..20).map(|_| get(floodwall.target(), path, None)).collect();
            floodwall.await_rest();
            let lost = site.rows().saturating_sub(floodwall.spares());
            let attack = format!("{path} again and again, which fails after its flush, budget 3");
            bounded(&attack, &format!("records beside spares, {release}"), 3, lost);
            if lost == 3 {
                assert_eq!(statuses.last(), Some(&429), "{path}: {statuses:?}");
            }
        }
    });
}

#[test]
fn an_application_that_dies_leaves_the_charge_and_nothing_else() {
    let release = Release::V1_8_3;
    if !release.available() {
        return;
    }
    let site = Django::start_with(release, &["--port", &own_address().port().to_string()]);
    let budgets = "[budget.logout]\nclient = { rate = '1/d', burst = 2 }\n\
                   site = { rate = '1/d', burst = 300 }\n\
                   [budget.anonymous]\nclient = { rate = '1/d', burst = 2 }\n\
                   site = { rate = '1/d', burst = 300 }\n";
    let floodwall = Inside::start(&site.upstream(), budgets);
    let target = floodwall.target();
    get(target, "/accounts/logout/", None);
    thread::scope(|scope| {
        let paths = ["/slow/?ms=5000", "/slow/logout/?ms=5000", "/slow/logout/?ms=4999"];
        let asking = paths.map(|path| scope.spawn(move || get(target, path, None)));
        await_that("the application has not been given the requests", || site.under_way() == 3);
        drop(site);
        for answer in asking {
            assert_eq!(answer.join().expect("an answer"), 502);
        }
    });
    floodwall.await_rest();
    // Both logouts are charged, and the page: nobody knows what they wrote.
    assert_eq!(get(target, "/accounts/logout/", None), 429);
    // What was never sent is not charged: the page's second session is still there.
    for _ in 0..10 {
        assert_eq!(get(target, "/read/", None), 502);
    }
    floodwall.await_rest();
}

#[test]
fn a_burst_of_an_offices_browsers_is_not_refused() {
    let release = Release::V1_8_3;
    if !release.available() {
        return;
    }
    let site = Django::start(release);
    // Far more at once than the budget of one client has, and none of them creates anything.
    let floodwall = Inside::start(&site.upstream(), "[recycle]\nslot_wait = '30s'\nspacing = 0\n");
    let target = floodwall.target();
    thread::scope(|scope| {
        for _ in 0..150 {
            scope.spawn(move || assert_eq!(get(target, "/slow/?ms=20", None), 200));
        }
    });
    floodwall.await_rest();
}

#[test]
fn dripping_uploads_do_not_hold_the_budget() {
    let release = Release::V1_7_9;
    if !release.available() {
        return;
    }
    let site = Django::start(release);
    let budgets = THREE.replace("1/d", "20/s");
    let short = |settings: &mut Single| settings.site.hold_time = Duration::from_millis(100);
    let floodwall = Inside::start_with(&site.upstream(), &budgets, short);
    let target = floodwall.target();
    let dripping: Vec<TcpStream> = (0..3)
        .map(|_| {
            let mut stream = TcpStream::connect(target.address()).expect("it listens");
            let head =
                format!("POST /echo/ HTTP/1.1\r\nHost: {target}\r\nContent-Length: 9\r\n\r\nx");
            stream.write_all(head.as_bytes()).expect("it reads");
            stream
        })
        .collect();
    let under_way = || floodwall.shield.guard.under_way().held;
    await_that("the uploads are not under way", || under_way() > 0);
    await_that("the uploads hold the budget", || under_way() == 0);
    // They go on, and others are admitted as their charges leak.
    await_that("nobody else is admitted", || get(target, "/write/", None) == 200);
    drop(dripping);
    floodwall.await_rest();
}

#[test]
fn a_record_that_is_gone_behind_the_ledgers_back_is_charged_when_it_comes_back() {
    on_each(|release| {
        let site = Django::start_with(release, &["--threads", "16"]);
        let floodwall = Inside::start(&site.upstream(), THREE);
        let target = floodwall.target();
        let mut browser = Browser::new(target, Ipv4Addr::LOCALHOST);
        browser.get("/write/").expect("a session");
        let key = browser.cookie("sessionid").expect("a session").to_owned();
        site.delete(&key);
        // The key is known and paid: those that come while it is are forwarded, and each may add a
        // record. One is the free rotation, two are what is left of the budget, the others are
        // debts. Those that come later find the key dead.
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| assert!([200, 429].contains(&get(target, "/write/", Some(&key)))));
            }
        });
        floodwall.await_rest();
        let attack = "16 writes at once with a known key whose record is gone, budget 3";
        bounded(attack, &format!("records, {release}"), 16, site.rows());
        // The key is dead: it is no way in any more, and nothing new is admitted.
        let rows = site.rows();
        assert_eq!(get(target, "/write/", Some(&key)), 429);
        assert_eq!(get(target, "/write/", None), 429);
        assert_eq!(site.rows(), rows);
    });
}

#[test]
fn simultaneous_logouts_with_one_live_key_replace_one_record() {
    on_each(|release| {
        let site = Django::start_with(release, &["--threads", "16"]);
        let floodwall = Inside::start(&site.upstream(), "");
        let target = floodwall.target();
        // So that the path recycles: what finds the key dead is a logout without a session.
        get(target, "/accounts/logout/", None);
        let mut browser = Browser::new(target, Ipv4Addr::LOCALHOST);
        browser.get("/accounts/login/").expect("the login page");
        let fields = [("username", "user1"), ("password", "secret")];
        browser.post("/accounts/login/", &fields).expect("a login");
        assert_eq!(site.authenticated(), 1);
        let key = browser.cookie("sessionid").expect("logged in").to_owned();
        let others = site.rows() - floodwall.spares() - 1;

        let statuses: Vec<u16> = thread::scope(|scope| {
            let logouts: Vec<_> = (0..64)
                .map(|_| scope.spawn(|| get(target, "/accounts/logout/", Some(&key))))
                .collect();
            logouts.into_iter().map(|logout| logout.join().expect("an answer")).collect()
        });
        floodwall.await_rest();
        assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
        assert_eq!(site.authenticated(), 0, "nobody is logged in any more");
        let left = site.rows() - floodwall.spares() - others;
        let replaced = u64::from(!release.word().starts_with("1.8"));
        bounded(
            "64 logouts at once with one live key",
            &format!("records, {release}"),
            replaced,
            left,
        );
    });
}

/// The operator has named another session cookie than the site has. Nothing can be told from the
/// answers then: nothing is refunded, so the store grows by the budget and no more, also by logouts;
/// and the log says which cookie it should be.
#[test]
fn a_wrong_cookie_name_is_noticed_and_refunds_nothing() {
    let release = Release::V1_7_9;
    if !release.available() {
        return;
    }
    let site = Django::start_with(release, &["--option", "SESSION_COOKIE_NAME=sid"]);
    let folder = Folder::new("wrong-name");
    let mut floodwall = Floodwall::start(&folder, &site.upstream(), THREE);
    let mut admitted = 0;
    for _ in 0..20 {
        for path in ["/write/", "/accounts/logout/"] {
            admitted += u64::from(get(floodwall.target(), path, None) != 429);
        }
    }
    assert_eq!(site.rows(), admitted);
    floodwall.await_said("a cookie of another name looks like a session key");
    let log = floodwall.log();
    assert!(log.contains("\"cookie\":\"sid\"") && log.contains("set session.cookie"), "{log}");
    assert!(floodwall.stop().success());
    let attack = "a wrong cookie name in the configuration, two budgets of 3";
    bounded(attack, "records, 1.7.9", 2 * 3, site.rows());
}
