//! Spares as a weapon, on genuine Django: whatever is done to them, the store grows by no more than
//! the slots and what the budgets paid for, nobody gets at another's session through one, and
//! logout stays available to everybody else.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};

use crate::support::attack::bounded;
use crate::support::django::Release;
use crate::support::inside::{Inside, await_that};
use crate::support::load::Target;
use crate::support::load::browser::Browser;
use crate::support::relay::{Answers, Relay};
use crate::support::sending::{
    at_once, budgets, key, on_each, on_each_with, raw, send, send_from, text,
};

/// What a client may create from each budget.
const BURST: u64 = 3;
/// `recycle.spares` by default.
const SPARES: u64 = 16;
/// One of each behaviour.
const RELEASES: [Release; 3] = [Release::V1_4_21, Release::V1_7_9, Release::V1_8_3];

fn log_in(target: Target) -> Browser {
    let mut browser = Browser::new(target, Ipv4Addr::new(127, 0, 0, 9));
    browser.get("/accounts/login/").expect("the login page");
    let fields = [("username", "user1"), ("password", "secret")];
    let page = browser.post("/accounts/login/", &fields).expect("a login");
    assert!(page.gist().contains("user1"), "{}", page.gist());
    browser
}

/// A page that asks whether to log out, and one that wants another method, end no session: not
/// while a flood tries to have their paths taken for logouts either.
#[test]
fn nobody_is_logged_out_whom_the_application_keeps() {
    on_each(Release::vulnerable(), |release, site| {
        let floodwall = Inside::start(&site.upstream(), &budgets(60));
        let target = floodwall.target();
        let mut user = log_in(target);
        let before = user.cookie("sessionid").expect("logged in").to_owned();
        let mut logged_out = 0;
        for _ in 0..4 {
            for path in ["/confirm/logout/", "/get405/logout/"] {
                for method in ["GET", "HEAD", "OPTIONS", "POST"] {
                    let csrf = "Cookie: csrftoken=abc\nX-CSRFToken: abc\nContent-Length: 0";
                    send(target, &format!("{method} {path}\n{csrf}"), "");
                }
                let page = user.get(path).expect("an answer");
                let expected = if path == "/get405/logout/" { 405 } else { 200 };
                assert_eq!(page.status(), expected, "Django {release}: {path}");
                let page = user.get("/read/").expect("an answer");
                let stayed = page.gist().contains("user1")
                    && user.cookie("sessionid") == Some(before.as_str());
                logged_out += u64::from(!stayed);
            }
        }
        let attack =
            "a confirmation page and a 405 at logout paths, 64 requests to have them recycle";
        bounded(attack, &format!("users logged out, {release}"), 0, logged_out);
        user.post("/confirm/logout/", &[]).expect("a logout");
        assert_eq!(site.authenticated(), 0, "Django {release}: the form logs out");
    });
}

/// Whatever spoils the answer once the record is written, each spare that is lost so was paid for.
#[test]
fn spares_that_are_lost_on_demand_are_paid_for() {
    on_each(RELEASES, |release, site| {
        for spoilt in Answers::SPOILT {
            // Waiting for answers that never come takes its time: once is enough.
            if spoilt == Answers::Nothing && release != Release::V1_7_9 {
                continue;
            }
            site.clear();
            let relay = Relay::start(site.target());
            let configuration = budgets(BURST)
                + "[recycle]\nslot_wait = '0s'\nspacing = 0\n[upstream_limits]\nresponse_timeout = '1s'\n";
            let floodwall = Inside::start(&relay.upstream(), &configuration);
            let target = floodwall.target();
            let logout = |last: u8| {
                let source = Ipv4Addr::new(127, 0, 0, last);
                send_from(source, target, "GET /accounts/logout/", "").status
            };
            // Proved, and every slot of the path in use.
            assert_eq!(logout(2), 200);
            assert_eq!(logout(2), 200);
            relay.set(spoilt);
            let mut failed = 0;
            for _ in 0..4 {
                failed += at_once(4, |_| logout(3)).iter().filter(|s| **s >= 500).count() as u64;
            }
            floodwall.await_rest();
            assert!(failed >= BURST, "Django {release}, {spoilt:?}: {failed} answers were spoilt");
            let lost = site.rows().saturating_sub(floodwall.spares());
            let attack = format!("16 logouts whose answer is spoilt: {spoilt:?}, budget 3");
            bounded(&attack, &format!("records beside spares, {release}"), BURST, lost);
            // Others still log out: the path recycles.
            relay.set(Answers::Pass);
            for _ in 0..8 {
                assert_eq!(logout(4), 200, "Django {release}, {spoilt:?}");
            }
            floodwall.await_rest();
            let lost = site.rows().saturating_sub(floodwall.spares());
            assert!(lost <= BURST, "Django {release}, {spoilt:?}: {lost} records beside spares");
        }
    });
}

/// Whoever hangs up while a spare is under way loses none: the answer is awaited without it.
#[test]
fn spares_outlive_clients_that_hang_up() {
    on_each(Release::vulnerable(), |release, site| {
        let floodwall = Inside::start(&site.upstream(), &budgets(BURST));
        let target = floodwall.target();
        send(target, "GET /slow/logout/", "");
        for _ in 0..8 {
            let mut stream = TcpStream::connect(target.address()).expect("it listens");
            stream.write_all(&raw(target, "GET /slow/logout/", "")).expect("it reads");
            await_that("no spare is under way", || floodwall.shield.guard.under_way().spares == 1);
            drop(stream);
            floodwall.await_rest();
        }
        assert_eq!(send(target, "GET /slow/logout/", "").status, 200, "Django {release}");
        floodwall.await_rest();
        let lost = site.rows() - floodwall.spares();
        let attack = "8 clients that hang up while a spare is under way";
        bounded(attack, &format!("records beside spares, {release}"), 0, lost);
    });
}

/// A view that flushes for everybody, and writes for whoever asks for it: the spare that it wrote
/// to is gone, with what was written, and the path is gated.
#[test]
fn a_view_that_turns_from_flushing_to_writing_burns_one_spare() {
    on_each(RELEASES, |release, site| {
        let floodwall = Inside::start(&site.upstream(), &budgets(BURST));
        let target = floodwall.target();
        send(target, "GET /turning/logout/", "");
        send(target, "GET /turning/logout/", "");
        for _ in 0..8 {
            let source = Ipv4Addr::new(127, 0, 0, 3);
            send_from(source, target, "GET /turning/logout/\nCookie: turn=1", "");
        }
        floodwall.await_rest();
        let lost = site.rows() - floodwall.spares();
        let attack = "a logout view that turns to writing, 8 times, budget 3";
        bounded(attack, &format!("records beside spares, {release}"), BURST, lost);
        assert_eq!(send(target, "GET /turning/logout/", "").status, 200, "Django {release}");
    });
}

/// Thirty-two clients come at once to one path of which nothing is known.
#[test]
fn parallel_logouts_on_a_cold_start_add_spares_and_nothing_else() {
    on_each(Release::vulnerable(), |release, site| {
        let configuration = budgets(BURST) + "[recycle]\nslot_wait = '30s'\nspacing = 0\n";
        let floodwall = Inside::start(&site.upstream(), &configuration);
        let target = floodwall.target();
        let statuses = at_once(32, |number| {
            let source = Ipv4Addr::new(127, 0, 0, 2 + number as u8);
            send_from(source, target, "GET /accounts/logout/", "").status
        });
        floodwall.await_rest();
        assert!(statuses.iter().all(|status| *status == 200), "Django {release}: {statuses:?}");
        let attack = "32 logouts at once on a cold start";
        let beside = site.rows() - floodwall.spares();
        bounded(attack, &format!("records beside spares, {release}"), 0, beside);
        bounded(attack, &format!("spares, {release}"), SPARES, floodwall.spares());
    });
}

/// Requests with content take no slot, so whoever drips some keeps nobody from logging out.
#[test]
fn dripping_request_bodies_leave_logout_available() {
    on_each(RELEASES, |release, site| {
        let floodwall = Inside::start(&site.upstream(), &budgets(60));
        let target = floodwall.target();
        let mut user = log_in(target);
        let logout = |last: u8| {
            let source = Ipv4Addr::new(127, 0, 0, last);
            send_from(source, target, "GET /accounts/logout/", "").status
        };
        logout(2);
        let dripping: Vec<TcpStream> = (0..SPARES)
            .map(|_| {
                let mut stream = TcpStream::connect(target.address()).expect("it listens");
                let head = raw(target, "POST /accounts/logout/\nContent-Length: 9", "x");
                stream.write_all(&head).expect("it reads");
                stream
            })
            .collect();
        await_that("sixteen bodies are not dripping", || {
            floodwall.shield.guard.under_way().held == SPARES
        });
        let refused = at_once(32, |number| logout(10 + number as u8));
        let refused = refused.iter().filter(|status| **status != 200).count() as u64;
        let attack = "16 dripping bodies to the logout path, 32 logouts of others";
        bounded(attack, &format!("logouts refused, {release}"), 0, refused);
        user.get("/accounts/logout/").expect("a logout");
        assert_eq!(site.authenticated(), 0, "Django {release}");
        drop(dripping);
        floodwall.await_rest();
    });
}

/// A genuine `messages` cookie, so long that the message after a logout overflows into the session:
/// what one visitor does so says nothing of the site.
#[test]
fn one_visitors_overflowing_messages_do_not_switch_recycling_off() {
    on_each(RELEASES, |release, site| {
        let floodwall = Inside::start(&site.upstream(), &budgets(BURST));
        let target = floodwall.target();
        // The longest that the cookie holds, or nearly so: there is no room for another message.
        let add = |bytes| send(site.target(), &format!("GET /messages/add/?bytes={bytes}"), "");
        let mut sizes = (0..2048).rev().step_by(8).map(add);
        let long = sizes.find(|answer| key(answer).is_none()).expect("a short one fits");
        let long = long
            .header("set-cookie")
            .find(|line| line.starts_with("messages="))
            .and_then(|line| line.split(';').next())
            .expect("a messages cookie");
        site.clear();
        let logout = |last: u8, cookie: &str| {
            let source = Ipv4Addr::new(127, 0, 0, last);
            let head = format!("GET /messages/logout/\nCookie: a=1{cookie}");
            send_from(source, target, &head, "").status
        };
        logout(2, "");
        for _ in 0..20 {
            logout(3, &format!("; {long}"));
        }
        floodwall.await_rest();
        // On this release it shows, and is a session of the visitor's own.
        let own = site.rows() - floodwall.spares();
        assert!(own > 0 || release != Release::V1_8_3, "nothing has overflown");
        let refused: u64 = (0..20).map(|_| u64::from(logout(4, "") != 200)).sum();
        floodwall.await_rest();
        let attack = "one visitor's overflowing messages, then 20 logouts of another, budget 3";
        bounded(attack, &format!("logouts refused, {release}"), 0, refused);
        let beside = site.rows() - floodwall.spares();
        bounded(attack, &format!("records beside spares, {release}"), BURST, beside);
    });
}

/// A client that was told a spare's key, by a view that gives it away, has no session by it.
#[test]
fn a_spares_key_lets_nobody_in() {
    for unknown in ["auto", "forward"] {
        on_each_with(RELEASES, &[], |release, site| {
            let configuration = format!("{}[session]\nunknown = '{unknown}'\n", budgets(60));
            let floodwall = Inside::start(&site.upstream(), &configuration);
            let target = floodwall.target();
            let mut let_in = 0;
            let mut learned = 0;
            for _ in 0..8 {
                let told = text(&send(target, "GET /turning/logout/", ""));
                for told in told.split(['=', ' ', '\n']).filter(|word| word.len() == 32) {
                    learned += 1;
                    let cookie = format!("Cookie: sessionid={told}");
                    let spare = site.keys().contains(told);
                    for path in ["/read/", "/write/", "/adopt/", "/turning/logout/"] {
                        let answer = send(target, &format!("GET {path}\n{cookie}"), "");
                        let_in += u64::from(spare && key(&answer) == Some(told));
                    }
                }
            }
            floodwall.await_rest();
            // Each time but the first.
            assert!(learned >= 7, "Django {release}: {learned} keys were told");
            let attack = format!("a client that was told spares' keys, unknown = {unknown}");
            bounded(&attack, &format!("times let in, {release}"), 0, let_in);
        });
    }
}

/// One view at as many paths as anybody makes up: they take the slots from each other and pay for
/// what they leave, and the path that people use recycles all the same.
#[test]
fn made_up_paths_of_one_view_do_not_switch_recycling_off() {
    on_each(RELEASES, |release, site| {
        let floodwall = Inside::start(&site.upstream(), &budgets(BURST));
        let target = floodwall.target();
        for number in 0..40_u8 {
            let flooder = Ipv4Addr::new(127, 0, 1, 1 + number / 20);
            for method in ["GET", "POST"] {
                let csrf = "Cookie: csrftoken=abc\nX-CSRFToken: abc\nContent-Length: 0";
                let head = format!("{method} /any/{number}/logout/\n{csrf}");
                send_from(flooder, target, &head, "");
            }
        }
        floodwall.await_rest();
        let attack = "80 logouts at 40 made-up paths of one view, two clients, budget 3";
        let beside = site.rows() - floodwall.spares();
        bounded(attack, &format!("records beside spares, {release}"), 2 * BURST, beside);
        let refused = (0..20).filter(|_| {
            let visitor = Ipv4Addr::new(127, 0, 0, 3);
            send_from(visitor, target, "GET /accounts/logout/", "").status != 200
        });
        let refused = refused.count() as u64;
        bounded(attack, &format!("later logouts of another refused, {release}"), 0, refused);
        floodwall.await_rest();
        let beside = site.rows() - floodwall.spares();
        // The visitor's first may have left one behind.
        assert!(beside <= 2 * BURST + 1, "Django {release}: {beside} records beside the spares");
    });
}
