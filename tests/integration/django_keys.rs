//! Known keys as a weapon, on genuine Django: each of these grew the store against a guard for
//! which "known is free". What is promised follows from the rules of keys: each record was paid for
//! by a budget, took the place of one that was, or is one of the few that a paid key can add while
//! it is in flight.

use std::net::Ipv4Addr;

use floodwall::guard::ledger::Ledger;

use crate::support::attack::bounded;
use crate::support::django::Release;
use crate::support::inside::Inside;
use crate::support::sending::{
    at_once, budgets, key, on_each, on_each_with, post, send, send_from,
};

/// What a client may create from each budget.
const BURST: u64 = 3;
/// One of each behaviour.
const RELEASES: [Release; 3] = [Release::V1_4_21, Release::V1_7_9, Release::V1_8_3];
/// Whoever would wait for a key is at the end of its patience at once.
const IMPATIENT: &str = "[session]\nkey_wait = '0s'\n";

fn get(path: &str, key: &str) -> String {
    format!("GET {path}\nCookie: sessionid={key}")
}

/// All that log in at once with a key get one that is valid. Of those that could not wait for each
/// other one takes the place of the key's record, and every other one needs a hold.
#[test]
fn keys_won_by_simultaneous_logins_do_not_multiply() {
    on_each(RELEASES, |release, site| {
        let floodwall = Inside::start(&site.upstream(), &(budgets(BURST) + IMPATIENT));
        let target = floodwall.target();
        let log_in = |times: usize, key_before: &str, user: &str| -> Vec<String> {
            let cookie = format!("sessionid={key_before}");
            let fields = format!("username={user}&password=secret");
            let answers = at_once(times, |_| post(target, "/accounts/login/", &cookie, &fields));
            answers.iter().filter_map(|answer| key(answer).map(str::to_owned)).collect()
        };
        let first = send(target, "GET /write/", "");
        let won = log_in(16, key(&first).expect("a session"), "user1");
        assert!(!won.is_empty(), "Django {release}: nobody could log in");
        for won in &won {
            // Another user's login ends the session and begins one.
            log_in(8, won, "user2");
        }
        floodwall.await_rest();
        let paid = 1 + BURST;
        let attack = "16 logins at once with one anonymous key, then 8 with each key won, budget 3";
        bounded(attack, &format!("records, {release}"), paid, site.rows());
    });
}

/// A write that overtakes a logout of its key brings the record back, so it may not overtake it;
/// where it must, because it cannot wait, it makes a debt, and its key is no way in.
#[test]
fn a_write_that_races_a_logout_brings_no_record_back() {
    const ROUNDS: u64 = 40;
    on_each(RELEASES, |release, site| {
        for patience in ["30s", "0s"] {
            site.clear();
            let configuration = format!("{}[session]\nkey_wait = '{patience}'\n", budgets(BURST));
            let floodwall = Inside::start(&site.upstream(), &configuration);
            let target = floodwall.target();
            let mut revived = 0;
            for round in 0..ROUNDS {
                // Each of these may have three sessions.
                let victim = Ipv4Addr::new(127, 0, 1, 1 + (round / BURST) as u8);
                let session = send_from(victim, target, "GET /write/", "");
                let session = key(&session).expect("a session");
                at_once(8, |number| {
                    let path = if number == 0 { "/accounts/logout/" } else { "/write/" };
                    send(target, &get(path, session), "").status
                });
                floodwall.await_rest();
                revived += u64::from(site.keys().contains(session));
                // Whatever the store holds, the key is no way in any more.
                let page = send(target, &get("/read/", session), "");
                assert_eq!(key(&page), None, "Django {release}");
            }
            let raced = "a write races a logout of its key, 40 rounds";
            // Without waiting, each of the seven may find its record gone while it is under way.
            let (attack, promised_revived, late) = match patience {
                "0s" => (format!("{raced}, nobody waits"), ROUNDS, 7 * ROUNDS),
                _ => (raced.to_owned(), 0, 0),
            };
            let unit = format!("records revived, {release}");
            bounded(&attack, &unit, promised_revived, revived);
            // A session for each round, or the empty one in its place, and the racers' budget.
            let promised = ROUNDS + late + BURST + floodwall.spares();
            bounded(&attack, &format!("records, {release}"), promised, site.rows());
        }
    });
}

/// `?next=http://[` makes the stock logout of 1.7 raise after the flush: the record is there, and
/// nobody gets its key. The next write finds its record gone.
#[test]
fn logouts_that_fail_after_the_flush_are_paid_for() {
    on_each(RELEASES, |release, site| {
        let floodwall = Inside::start(&site.upstream(), &budgets(BURST));
        let target = floodwall.target();
        let first = send(target, "GET /write/", "");
        let first = key(&first).expect("a session").to_owned();
        let mut newest = first.clone();
        for _ in 0..10 {
            for session in [&first, &newest.clone()] {
                send(target, &get("/accounts/logout/?next=http://[", session), "");
                let answer = send(target, &get("/write/", session), "");
                newest = key(&answer).map_or(newest, str::to_owned);
            }
        }
        floodwall.await_rest();
        let attack =
            "a logout that fails after its flush, then a write, 10 rounds, budgets 3 and 3";
        let rows = site.rows() - floodwall.spares();
        bounded(attack, &format!("records beside spares, {release}"), BURST + BURST, rows);
    });
}

/// Dead is final: on releases that store a made-up key a dead one is as good.
#[test]
fn a_key_that_was_logged_out_is_worth_nothing_for_ever() {
    on_each(Release::vulnerable(), |release, site| {
        let floodwall = Inside::start(&site.upstream(), &budgets(BURST));
        let target = floodwall.target();
        let session = send(target, "GET /write/", "");
        let session = key(&session).expect("a session");
        send(target, &get("/accounts/logout/", session), "");
        floodwall.await_rest();
        let before = site.rows();
        for _ in 0..100 {
            assert_eq!(send(target, &get("/read/", session), "").status, 200);
        }
        let unit = format!("records, {release}");
        bounded("a dead key on a page that reads, 100 times", &unit, 0, site.rows() - before);
        for path in ["/write/", "/adopt/", "/accounts/logout/", "/messages/", "/redirect/logout/"] {
            for _ in 0..40 {
                send(target, &get(path, session), "");
            }
        }
        floodwall.await_rest();
        assert!(!site.keys().contains(session), "Django {release}: it is alive again");
        // Its own record may have been replaced by an empty one.
        let promised = BURST + BURST + floodwall.spares();
        let attack = "a dead key everywhere, 200 times, budgets 3 and 3";
        bounded(attack, &unit, promised, site.rows());
    });
}

/// `request.session.clear()` never loads: whatever a client made up becomes the record's key.
#[test]
fn made_up_keys_that_the_application_adopts_are_paid_for() {
    on_each(RELEASES, |release, site| {
        let floodwall = Inside::start(&site.upstream(), &budgets(BURST));
        let target = floodwall.target();
        let made_up: Vec<String> = (0..20)
            .flat_map(|number| {
                // The shape of a key, of a signed value, of nothing.
                [format!("{number:032x}"), format!("e30:{number}:x"), format!("own{number}")]
            })
            .collect();
        for _ in 0..2 {
            for made_up in &made_up {
                send(target, &get("/adopt/", made_up), "");
            }
        }
        floodwall.await_rest();
        let attack = "120 made-up keys that session.clear() adopts, budget 3";
        bounded(attack, &format!("records, {release}"), BURST, site.rows());
    });
}

/// A view that deletes the session cookie itself, of a site whose sessions end with the browser:
/// the middleware then sets a key that lives for no second, and the record is there all the same.
#[test]
fn a_new_key_with_a_max_age_of_nothing_is_a_record() {
    let options = ["--option", "SESSION_EXPIRE_AT_BROWSER_CLOSE=True"];
    on_each_with([Release::V1_4_21, Release::V1_7_9], &options, |release, site| {
        let bare = send(site.target(), "GET /leave/", "");
        let cookie: Vec<&str> = bare.header("set-cookie").collect();
        assert!(key(&bare).is_some() && cookie[0].contains("Max-Age=0"), "{cookie:?}");
        site.clear();
        let floodwall = Inside::start(&site.upstream(), &budgets(BURST));
        let target = floodwall.target();
        let mut newest = None;
        for _ in 0..20 {
            send(target, "GET /leave/", "");
            send(target, "GET /deleting/logout/", "");
            let cookie = newest.map_or(String::new(), |key: String| format!("sessionid={key}"));
            let answer = send(target, &format!("GET /leave/\nCookie: a=1; {cookie}"), "");
            newest = key(&answer).map(str::to_owned);
        }
        floodwall.await_rest();
        let rows = site.rows() - floodwall.spares();
        let attack = "logouts that set a key with Max-Age=0, budgets 3 and 3";
        bounded(attack, &format!("records beside spares, {release}"), BURST + BURST, rows);
    });
}

/// A view that no rule names, fails, and adds a record each time that it does, to a paid key whose
/// record is gone: a logout at an unusual path on 1.4 and 1.7, any page at all where loading writes.
#[test]
fn failing_pages_of_a_paid_key_add_a_few_records_and_no_more() {
    on_each(Release::vulnerable(), |release, site| {
        for path in ["/bye/", "/read/error/"] {
            site.clear();
            let floodwall = Inside::start(&site.upstream(), &budgets(BURST));
            let target = floodwall.target();
            let session = send(target, "GET /write/", "");
            let session = key(&session).expect("a session").to_owned();
            site.delete(&session);
            for _ in 0..40 {
                send(target, &get(path, &session), "");
            }
            floodwall.await_rest();
            let attack = format!("40 requests to {path}, which fails, with one paid key, budget 3");
            // What the key itself was paid for is gone.
            let promised = u64::from(Ledger::FREE_FAILURES) + BURST - 1;
            bounded(&attack, &format!("records, {release}"), promised, site.rows());
        }
    });
}

/// A site that saves on every request stores one for every visitor, and under whatever name a
/// cookie has: no request adds two, and each is paid for while made-up cookies are forwarded.
#[test]
fn a_site_that_saves_on_every_request_adds_one_record_for_each_charge() {
    let options = ["--option", "SESSION_SAVE_EVERY_REQUEST=True"];
    on_each_with(Release::vulnerable(), &options, |release, site| {
        let floodwall = Inside::start(&site.upstream(), &budgets(BURST));
        let target = floodwall.target();
        for path in ["/", "/read/", "/adopt/", "/nothere/", "/read/error/", "/accounts/logout/"] {
            for number in 0..4 {
                let made_up = format!("{number:032x}");
                for session in ["None", &format!("own{number}"), &made_up] {
                    send(target, &get(path, session), "");
                }
                send(target, &format!("GET {path}"), "");
            }
        }
        floodwall.await_rest();
        let attack =
            "made-up cookies and none, a site that saves on every request, budgets 3 and 3";
        let rows = site.rows() - floodwall.spares();
        bounded(attack, &format!("records beside spares, {release}"), BURST + BURST, rows);
    });
}
