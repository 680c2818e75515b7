//! Floods from many addresses and from one, on genuine Django with challenges: the store grows by
//! the site's budget at most, users do not notice, and browsers still log in.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::attack::bounded;
use crate::support::django::{Django, Release};
use crate::support::inside::Inside;
use crate::support::load::Target;
use crate::support::load::browser::Browser;
use crate::support::load::http::{Connection, Request};
use crate::support::sending::{form, key, on_each, on_each_with, send_from};

/// Fifty sessions of a kind for the whole site, none back within a test.
fn site_of_fifty(challenge: &str) -> String {
    let budgets = ["anonymous", "login", "logout"].map(|name| {
        format!(
            "[budget.{name}]\nclient = {{ rate = '1/d', burst = 10 }}\n\
             site = {{ rate = '1/d', burst = 50 }}\nchallenge = '{challenge}'\n"
        )
    });
    // One connection asks for hundreds of them.
    let limits = "[downstream_limits]\nrefusal_pause = '0s'\n";
    format!("trusted_proxies = ['127.0.0.1']\n{limits}{}", budgets.concat())
}

/// One request from each of `addresses`, through a proxy that is believed, a hundred at a time on
/// each of sixteen connections. How many were answered with each of these statuses.
fn from_many(target: Target, addresses: u32, line: &str, statuses: [&str; 3]) -> [u64; 3] {
    const CONNECTIONS: u32 = 16;
    const AT_ONCE: u32 = 100;
    let one = |connection: u32| {
        let mut stream = TcpStream::connect(target.address()).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket");
        let mut counts = [0; 3];
        let mut next = connection;
        while next < addresses {
            let mut wire = String::new();
            let mut sent = 0;
            while sent < AT_ONCE && next < addresses {
                let address = Ipv4Addr::from_bits(0x0b00_0000 + next);
                wire += &format!(
                    "{line} HTTP/1.1\r\nHost: {target}\r\nX-Forwarded-For: {address}\r\n\r\n"
                );
                sent += 1;
                next += CONNECTIONS;
            }
            stream.write_all(wire.as_bytes()).expect("it reads");
            read_answers(&mut stream, sent, &statuses, &mut counts);
        }
        counts
    };
    let counts = thread::scope(|scope| {
        let all: Vec<_> = (0..CONNECTIONS).map(|n| scope.spawn(move || one(n))).collect();
        all.into_iter().map(|thread| thread.join().expect("answers")).collect::<Vec<_>>()
    });
    counts.into_iter().fold([0; 3], |[a, b, c], [x, y, z]| [a + x, b + y, c + z])
}

/// Reads so many answers, each with a length, and counts their statuses.
fn read_answers(stream: &mut TcpStream, number: u32, statuses: &[&str; 3], counts: &mut [u64; 3]) {
    let mut buffer: Vec<u8> = Vec::new();
    let mut chunk = [0; 65_536];
    let mut answered = 0;
    while answered < number {
        let length = stream.read(&mut chunk).expect("an answer");
        assert!(length > 0, "the connection was closed");
        buffer.extend_from_slice(&chunk[..length]);
        while let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            let rest = &buffer[end + 4..];
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            let body = match length {
                Some(length) => Some(length.trim().parse().expect("a number")),
                // Chunked: none of the pages has such a line in it.
                None => rest.windows(5).position(|end| end == b"0\r\n\r\n").map(|last| last + 5),
            };
            let Some(body) = body.filter(|body| *body <= rest.len()) else { break };
            let status = &head[9..12];
            let place = statuses.iter().position(|known| *known == status);
            counts[place.unwrap_or_else(|| panic!("{head}"))] += 1;
            buffer.drain(..end + 4 + body);
            answered += 1;
        }
    }
}

/// A browser that has logged in, and whether it was challenged on the way.
fn login(target: Target, source: Ipv4Addr, user: &str) -> (Browser, bool) {
    let mut browser = Browser::new(target, source);
    let page = browser.get("/accounts/login/").expect("the login page");
    assert_eq!(page.status(), 200, "{:?}", page.hops);
    let challenged = page.hops.iter().any(|(hop, _)| hop.contains("__floodwall"));
    let fields = [("username", user), ("password", "secret")];
    let page = browser.post("/accounts/login/", &fields).expect("a login");
    assert_eq!(page.status(), 200, "{:?}", page.hops);
    (browser, challenged)
}

/// 150,000 addresses with one request each, to a page that writes for anybody: the store grows by
/// what the site's budget has, and a session that was there before passes untouched. With
/// challenges newcomers get a half of it.
#[test]
fn a_flood_from_150_000_addresses_gets_the_sites_budget_and_no_more() {
    const ADDRESSES: u32 = 150_000;
    let release = Release::V1_7_9;
    if !release.available() {
        return;
    }
    for (challenge, promised) in [("none", 50), ("cookie", 25)] {
        let site = Django::start(release);
        let floodwall = Inside::start(&site.upstream(), &site_of_fifty(challenge));
        let target = floodwall.target();
        let (mut user, _) = login(target, Ipv4Addr::LOCALHOST, "user1");
        let before = site.rows();
        let over = AtomicBool::new(false);
        let (counts, pages) = thread::scope(|scope| {
            let pages = scope.spawn(|| {
                let mut pages = 0;
                while pages < 20 || !over.load(Ordering::Relaxed) {
                    let page = user.get("/write/").expect("a page");
                    assert_eq!(page.status(), 200, "{:?}", page.hops);
                    pages += 1;
                    // Somebody who reads what he asks for.
                    thread::sleep(Duration::from_millis(100));
                }
                pages
            });
            let counts = thread::scope(|flood| {
                let statuses = ["200", "303", "429"];
                flood.spawn(move || from_many(target, ADDRESSES, "GET /write/", statuses)).join()
            });
            over.store(true, Ordering::Relaxed);
            let pages = pages.join().expect("the user's pages");
            (counts.expect("the flood was answered"), pages)
        });
        println!("challenge {challenge}: 200, 303, 429: {counts:?}; {pages} pages of the user");
        assert_eq!(counts.iter().sum::<u64>(), u64::from(ADDRESSES));
        floodwall.await_rest();
        let attack =
            format!("150,000 addresses with one request each, challenge = \"{challenge}\"");
        bounded(&attack, "records, site budget 50, 1.7.9", promised, site.rows() - before);
    }
}

/// Dozens of addresses, each within its budget, drain the site through carts and failing logouts;
/// logins have their own budget. Then the login page itself is flooded, from everywhere and from
/// the users' own address: browsers are challenged, return the cookie and log in.
#[test]
fn browsers_log_in_while_every_budget_is_flooded() {
    for release in [Release::V1_4_21, Release::V1_7_9, Release::V1_8_3] {
        if !release.available() {
            continue;
        }
        let site = Django::start(release);
        let floodwall = Inside::start(&site.upstream(), &site_of_fifty("cookie"));
        let target = floodwall.target();
        for line in ["GET /write/", "GET /accounts/logout/?next=http://["] {
            from_many(target, 64 * 16, line, ["200", "303", "500"]);
        }
        let (mut first, _) = login(target, Ipv4Addr::LOCALHOST, "user1");
        first.get("/accounts/logout/").expect("a page");

        // The login form, with a wrong password: on 1.4 the page before it creates a session.
        let line = "POST /accounts/login/";
        let deadline = Instant::now() + Duration::from_secs(60);
        for source in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)] {
            let mut flooder = Connection::new(target, source);
            for method in ["GET", "POST"] {
                let bytes = format!(
                    "{method} /accounts/login/ HTTP/1.1\r\nHost: {target}\r\n\
                     Content-Length: 0\r\n\r\n"
                );
                for _ in 0..300 {
                    let request = Request { bytes: bytes.clone().into(), head: false };
                    flooder.exchange(&request, deadline).expect("an answer");
                }
            }
        }
        from_many(target, 2_000, &format!("{line}?x"), ["403", "307", "429"]);
        from_many(target, 2_000, "GET /accounts/login/", ["200", "303", "429"]);
        let before = site.rows();
        for user in ["user1", "user2"] {
            let (mut browser, challenged) = login(target, Ipv4Addr::LOCALHOST, user);
            // Later releases create nothing for who only looks at the form.
            assert!(challenged || release != Release::V1_4_21, "the flood was none");
            assert_eq!(browser.get("/write/").expect("a page").status(), 200);
        }
        let attack = "every budget and the login page flooded, also from the users' address";
        let lost = 2 - site.authenticated();
        bounded(attack, &format!("of 2 users not logged in, {release}"), 0, lost);
        assert!(site.rows() - before <= 4, "Django {release}");
        floodwall.await_rest();
    }
}

/// Whoever has an account goes first when the site's budget is short. No wrong password, with or
/// without a session, an invented key or a form of the administration is as good as one.
#[test]
fn nobody_is_a_regular_without_an_account() {
    on_each(Release::vulnerable(), regulars_have_accounts);
}

/// Where every answer begins a session.
#[test]
fn nobody_is_a_regular_without_an_account_where_every_request_saves() {
    let options = ["--option", "SESSION_SAVE_EVERY_REQUEST=true"];
    let releases = [Release::V1_4_21, Release::V1_7_9, Release::V1_8_3];
    on_each_with(releases, &options, regulars_have_accounts);
}

fn regulars_have_accounts(release: Release, site: &Django) {
    let floodwall = Inside::start(&site.upstream(), &site_of_fifty("cookie"));
    let target = floodwall.target();
    let (stranger, user) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3));
    let own = send_from(stranger, target, "GET /write/", "");
    let own = format!("sessionid={}", key(&own).expect("a session"));
    let invented = format!("sessionid={}", "0123456789abcdef".repeat(2));
    for path in ["/accounts/login/", "/accounts/login", "/admin/", "/admin/login/"] {
        for cookie in ["", &own, &invented] {
            let fields = "username=user1&password=wrong&this_is_the_login_form=1";
            let (head, body) = form(path, cookie, fields);
            send_from(stranger, target, &head, &body);
        }
    }
    login(target, user, "user1");
    from_many(target, 100, "GET /write/", ["200", "303", "429"]);
    let status = |source| send_from(source, target, "GET /write/", "").status;
    assert_eq!(status(stranger), 303, "Django {release}: it needs no account");
    assert_eq!(status(user), 200, "Django {release}: an account is worth nothing");
    floodwall.await_rest();
}
