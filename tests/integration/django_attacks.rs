//! Attacks on genuine Django through Floodwall, by somebody who has read its source. Whatever is
//! tried, the store grows by no more than the spares and what the budgets paid for.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::thread;

use crate::support::attack::bounded;
use crate::support::django::{Django, Release};
use crate::support::inside::{Inside, await_that};
use crate::support::load::browser::Browser;
use crate::support::load::http::Response;
use crate::support::sending::{self, key, raw, send};

/// Three sessions for a client from each budget, and none back within a test. Nobody waits for a
/// key, so that whoever would is at the end of its patience at once.
const THREE: &str = "[budget.anonymous]\nclient = { rate = '1/d', burst = 3 }\n\
                     site = { rate = '1/d', burst = 300 }\n\
                     [budget.logout]\nclient = { rate = '1/d', burst = 3 }\n\
                     site = { rate = '1/d', burst = 300 }\n\
                     [session]\nkey_wait = '0s'\n";

/// A page that somebody is still uploading to, with this session key.
fn hold(floodwall: &Inside, key: &str) -> TcpStream {
    let target = floodwall.target();
    let head = format!("POST /echo/\nCookie: sessionid={key}\nContent-Length: 10");
    let mut stream = TcpStream::connect(target.address()).expect("it listens");
    stream.write_all(&raw(target, &head, "")).expect("it reads");
    await_that("the upload is not admitted", || floodwall.shield.guard.under_way().keys == 1);
    stream
}

/// An upload that is never finished keeps a paid key busy, so that logouts with it lose patience.
/// Only one of them is free.
#[test]
fn logouts_that_overtake_a_stalled_upload_need_a_budget() {
    for release in [Release::V1_4_21, Release::V1_7_9] {
        if !release.available() {
            continue;
        }
        let site = Django::start_with(release, &["--threads", "16"]);
        let floodwall = Inside::start(&site.upstream(), THREE);
        let target = floodwall.target();
        let paid = send(target, "GET /write/", "");
        let paid = key(&paid).expect("a session").to_owned();
        let stalled = hold(&floodwall, &paid);
        let logout = format!("GET /accounts/logout/\nCookie: sessionid={paid}");
        thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| send(target, &logout, ""));
            }
        });
        drop(stalled);
        floodwall.await_rest();
        let rows = site.rows() - floodwall.spares();
        // The key's own, the one that is free, and three of the budget for logouts.
        let attack = "64 logouts that overtake a stalled upload of their session, budget 3";
        bounded(attack, &format!("records, {release}"), 1 + 1 + 3, rows);
    }
}

/// Where no rule names the logout, sixteen of one key are under way at once, and each brings
/// another key. One of those takes the place of the paid key, but not for ever: an attacker who
/// goes on with each of them gains no more than the debt.
#[test]
fn a_paid_key_does_not_multiply_where_no_rule_names_the_view() {
    for release in [Release::V1_4_21, Release::V1_7_9] {
        if !release.available() {
            continue;
        }
        let site = Django::start_with(release, &["--threads", "16"]);
        let configuration = format!("profile_rules = false\n{THREE}");
        let floodwall = Inside::start(&site.upstream(), &configuration);
        let target = floodwall.target();
        let first = send(target, "GET /write/", "");
        let mut keys = vec![key(&first).expect("a session").to_owned()];
        let mut next = 0;
        while let Some(current) = keys.get(next).filter(|_| next < 64).cloned() {
            next += 1;
            let logout = format!("GET /accounts/logout/\nCookie: sessionid={current}");
            let answers: Vec<Response> = thread::scope(|scope| {
                let logouts: Vec<_> =
                    (0..16).map(|_| scope.spawn(|| send(target, &logout, ""))).collect();
                logouts.into_iter().map(|logout| logout.join().expect("an answer")).collect()
            });
            keys.extend(answers.iter().filter_map(|answer| key(answer).map(str::to_owned)));
        }
        floodwall.await_rest();
        // Three keys of the budget, and two rounds at most for each.
        let rows = site.rows();
        let attack = "16 logouts at once with each key won, where no rule names the view, budget 3";
        bounded(attack, &format!("records, {release}"), 3 * 2 * 16, rows);
    }
}

/// A view that answers many times without writing and then writes, under as many names as there
/// are methods: what passes because its class is clean, with the budget spent, is paid off before
/// more passes.
#[test]
fn views_that_turn_from_clean_to_creating_gain_no_more_than_pass_at_once() {
    let release = Release::V1_7_9;
    if !release.available() {
        return;
    }
    let site = Django::start_with(release, &["--threads", "16"]);
    let floodwall = Inside::start(&site.upstream(), THREE);
    let target = floodwall.target();
    let add = |method: &str, bytes: u32| {
        let csrf = "Cookie: csrftoken=abc\nX-CSRFToken: abc";
        send(target, &format!("{method} /messages/add/?bytes={bytes}\n{csrf}"), "").status
    };
    let methods = ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "XYZ"];
    for method in methods {
        for _ in 0..8 {
            assert_eq!(add(method, 16), 200);
        }
    }
    // Messages of that size are kept in the session.
    while add("GET", 5000) == 200 {}
    for method in methods {
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| add(method, 5000));
            }
        });
    }
    floodwall.await_rest();
    let attack = "views that turn from clean to creating, six methods, budget 3";
    bounded(attack, "records, 1.7.9", 3 + 32, site.rows());
}

/// Whoever comes first to a path of which nothing is known may come with sixty-three others, to
/// many paths at once.
#[test]
fn a_cold_start_on_many_paths_at_once_stays_within_spares_and_budgets() {
    const PATHS: [&str; 8] = [
        "/accounts/logout/",
        "/template/logout/",
        "/redirect/logout/",
        "/admin/logout/",
        "/messages/logout/",
        "/loginout/logout/",
        "/error/logout/",
        "/accounts/logout/?next=http://[",
    ];
    for release in Release::vulnerable().filter(|release| release.available()) {
        let site = Django::start_with(release, &["--threads", "16"]);
        let floodwall = Inside::start(&site.upstream(), THREE);
        let target = floodwall.target();
        thread::scope(|scope| {
            for index in 0..64 {
                scope.spawn(move || {
                    for number in 0..4 {
                        send(target, &format!("GET {}", PATHS[(index + number) % 8]), "");
                    }
                });
            }
        });
        floodwall.await_rest();
        let (rows, spares) = (site.rows(), floodwall.spares());
        assert!(spares <= 16, "Django {release}: {rows} rows, {spares} spares");
        let attack = "64 clients at 8 logout paths at once, nothing known of them, budget 3";
        bounded(attack, &format!("records, {release}"), 16 + 3, rows);
    }
}

/// What one visitor left in a session is never shown to another, whatever the view at a path that
/// looks like a logout does.
#[test]
fn no_visitor_sees_what_another_has_left() {
    for release in Release::vulnerable().filter(|release| release.available()) {
        let site = Django::start_with(release, &["--option", "MESSAGE_STORAGE=session"]);
        let floodwall = Inside::start(&site.upstream(), "");
        let target = floodwall.target();
        let mut seen: Vec<String> = Vec::new();
        for _ in 0..12 {
            for path in ["/messages/logout/", "/confirm/logout/", "/get405/logout/"] {
                send(target, &format!("GET {path}"), "");
            }
            let answer = send(target, "GET /cart/logout/", "");
            let text = String::from_utf8(answer.body.clone()).expect("text");
            let items: Vec<String> =
                text.split('"').filter(|item| item.starts_with("item")).map(String::from).collect();
            // The request that could prove the path was sent twice.
            assert!((1..=2).contains(&items.len()), "Django {release}: {text}");
            assert!(items.iter().all(|item| !seen.contains(item)), "Django {release}: {text}");
            seen.extend(items);
            let mine = key(&answer).expect("the cart is the visitor's");
            let cart = send(target, &format!("GET /read/\nCookie: sessionid={mine}"), "");
            let cart = String::from_utf8(cart.body).expect("text");
            assert!(cart.contains(seen.last().expect("an item")), "Django {release}: {cart}");
            let messages = send(target, "GET /messages/", "");
            assert_eq!(messages.body, b"messages=[]\n", "Django {release}");
        }
    }
}

/// A login form whose page logs out first: its POST logs in, with and without a session before.
#[test]
fn a_login_at_a_logout_path_logs_in() {
    for release in Release::vulnerable().filter(|release| release.available()) {
        let site = Django::start(release);
        let floodwall = Inside::start(&site.upstream(), "");
        let target = floodwall.target();
        for _ in 0..3 {
            send(target, "GET /loginout/logout/", "");
        }
        let visitor = send(target, "GET /write/", "");
        let own = format!("; sessionid={}", key(&visitor).expect("a session"));
        for cookie in ["", &own] {
            let body = "csrfmiddlewaretoken=abc&username=user1&password=secret";
            let head = format!(
                "POST /loginout/logout/\nCookie: csrftoken=abc{cookie}\nContent-Length: {}\n\
                 Content-Type: application/x-www-form-urlencoded",
                body.len()
            );
            let answer = send(target, &head, body);
            let session = key(&answer).unwrap_or_else(|| panic!("Django {release}: no session"));
            let page = send(target, &format!("GET /read/\nCookie: sessionid={session}"), "");
            let page = String::from_utf8(page.body).expect("text");
            assert!(page.contains("user=user1"), "Django {release}: {page}");
        }
    }
}

/// The tricks that are to make a logout look like something else, or somebody else's.
#[test]
fn disguised_logouts_stay_within_spares_and_budgets() {
    const HEADS: [&str; 16] = [
        "GET /accounts/logout/\nCookie: a=1\nCookie: sessionid=",
        "GET /accounts/logout/\nCookie: sessionid=x; foo bar\nCookie: ;",
        "GET /accounts/logout/\nConnection: cookie, host\nCookie: a=1",
        "GET /accounts/logout/\nCookie_: a=1\nHTTP_COOKIE: sessionid=x\nSCRIPT_NAME: /x",
        "POST /read/\nX-HTTP-Method-Override: GET\nX-Rewrite-URL: /accounts/logout/",
        "GET /read/\nX-Original-URL: /accounts/logout/\nPath-Info: /accounts/logout/",
        "GET /accounts/logout/\nAuthorization: Basic eDp4",
        "GET /accounts/logout/\nContent-Length: 1",
        "GET /accounts/logout/\nTransfer-Encoding: chunked",
        "HEAD /accounts/logout/?x",
        "TRACE /accounts/logout/",
        "GET /accounts/logout/?next=/&next=http://[&",
        "GET /accounts/logout/\nX-Forwarded-For: 192.0.2.7\nForwarded: for=192.0.2.8",
        "GET /accounts/logout/\nX-Forwarded-For: 192.0.2.9\nX_Forwarded_For: 192.0.2.9",
        "XYZ /accounts/logout/\nCookie: csrftoken=abc\nX-CSRFToken: abc",
        "GET http://elsewhere/accounts/logout/#x",
    ];
    for release in [Release::V1_4_21, Release::V1_7_9, Release::V1_8_3] {
        if !release.available() {
            continue;
        }
        let site = Django::start(release);
        let floodwall = Inside::start(&site.upstream(), THREE);
        let target = floodwall.target();
        for _ in 0..4 {
            for head in HEADS {
                let body = match head.split_once('\n') {
                    Some((_, "Content-Length: 1")) => "x",
                    Some((_, "Transfer-Encoding: chunked")) => "0\r\n\r\n",
                    _ => "",
                };
                send(target, head, body);
            }
        }
        floodwall.await_rest();
        let rows = site.rows() - floodwall.spares();
        let attack = "logouts disguised in 16 ways, budget 3";
        bounded(attack, &format!("records beside spares, {release}"), 3, rows);
    }
}

/// A user behind the flooder's own address, with nothing left of any budget: pages in parallel
/// right after the login, and a logout while as many pages as may go together are under way.
#[test]
fn a_logged_in_user_is_never_refused_behind_a_flooder() {
    for release in [Release::V1_4_21, Release::V1_7_9, Release::V1_8_3] {
        if !release.available() {
            continue;
        }
        let site = Django::start_with(release, &["--threads", "24"]);
        let floodwall = Inside::start(&site.upstream(), &THREE.replace("'0s'", "'200ms'"));
        let target = floodwall.target();
        let mut browser = Browser::new(target, Ipv4Addr::LOCALHOST);
        browser.get("/accounts/login/").expect("the login page");
        let fields = [("username", "user1"), ("password", "secret")];
        browser.post("/accounts/login/", &fields).expect("a login");
        let cookie = browser.cookie("sessionid").expect("logged in").to_owned();
        for drained in ["GET /write/", "GET /accounts/logout/?x"] {
            for _ in 0..8 {
                send(target, drained, "");
            }
        }
        let get = |path: &str| {
            send(target, &format!("GET {path}\nCookie: sessionid={cookie}"), "").status
        };
        assert_eq!(send(target, "GET /write/", "").status, 429, "Django {release}");
        let (in_parallel, slow, logout) = thread::scope(|scope| {
            // Twice as many as go together: however long they take, none needs a budget.
            let pages: Vec<_> = (0..32).map(|_| scope.spawn(|| get("/write/"))).collect();
            let pages: Vec<u16> = pages.into_iter().map(|page| page.join().expect("one")).collect();
            let slow: Vec<_> = (0..16).map(|_| scope.spawn(|| get("/slow/?ms=2000"))).collect();
            await_that("sixteen pages are not under way", || {
                floodwall.shield.guard.under_way().keys == 16
            });
            let logout = get("/accounts/logout/");
            let slow: Vec<u16> = slow.into_iter().map(|page| page.join().expect("one")).collect();
            (pages, slow, logout)
        });
        assert!(
            in_parallel.iter().all(|status| *status == 200),
            "Django {release}: {in_parallel:?}"
        );
        assert!(slow.iter().all(|status| *status == 200), "Django {release}: {slow:?}");
        assert_eq!((logout, site.authenticated()), (200, 0), "Django {release}");
        floodwall.await_rest();
    }
}

/// Admin pages of 1.4 take the login form, but only reading them makes no page wait for another: a
/// logged-in admin who opens forty at once needs no budget.
#[test]
fn a_logged_in_admin_is_not_refused_behind_a_flooder_of_the_admin() {
    let release = Release::V1_4_21;
    if !release.available() {
        return;
    }
    let site = Django::start_with(release, &["--threads", "16"]);
    let budgets = sending::budgets(3) + "[session]\nkey_wait = '0s'\nin_flight_per_key = 64\n";
    let floodwall = Inside::start(&site.upstream(), &budgets);
    let target = floodwall.target();
    // As a browser does: 1.4 begins a session with the form.
    let form = send(target, "GET /accounts/login/", "");
    let before = format!("sessionid={}", key(&form).expect("a session"));
    let fields = "username=admin&password=secret";
    let admin = sending::post(target, "/accounts/login/", &before, fields);
    let cookie = key(&admin).expect("logged in").to_owned();
    while send(target, "GET /admin/", "").status == 200 {}
    let page = format!("GET /admin/auth/user/\nCookie: sessionid={cookie}");
    let pages = sending::at_once(40, |_| send(target, &page, ""));
    let read = |answer: &Response| answer.status == 200 && sending::text(answer).contains("user1");
    let unread = pages.iter().filter(|answer| !read(answer)).count() as u64;
    let attack = "a logged-in admin's 40 pages at once, the admin's budget spent";
    bounded(attack, "pages refused, 1.4.21", 0, unread);
    floodwall.await_rest();
}
