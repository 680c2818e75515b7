//! Races on genuine Django: one known session on many connections at once, on every route that
//! rotates or flushes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use crate::support::attack::bounded;
use crate::support::django::Release;
use crate::support::inside::{Inside, await_that};
use crate::support::load::http::Connection;
use crate::support::sending::{at_once, budgets, form, key, on_each, post, raw, send, send_on};

const BURST: u64 = 3;
/// `session.in_flight_anonymous` by default.
const ANONYMOUS: u64 = 6;
/// `session.in_flight_per_key` by default.
const IN_FLIGHT: u64 = 16;

#[test]
fn one_known_session_on_64_connections_multiplies_on_no_route() {
    let releases = [Release::V1_4_21, Release::V1_7_9, Release::V1_8_3];
    on_each(releases, |release, site| {
        for patience in ["500ms", "0s"] {
            site.clear();
            let configuration = format!("{}[session]\nkey_wait = '{patience}'\n", budgets(BURST));
            let floodwall = Inside::start(&site.upstream(), &configuration);
            let target = floodwall.target();
            let fields = "username=user1&password=secret";
            let user = post(target, "/accounts/login/", "", fields);
            let cookie = format!("sessionid={}", key(&user).expect("logged in"));
            let other = "username=user2&password=secret";
            let forms = [
                ("/accounts/login/", other),
                ("/loginout/logout/", other),
                ("/accounts/logout/", ""),
                ("/confirm/logout/", ""),
                ("/admin/", other),
                ("/i18n/setlang/", "language=de"),
            ];
            let mut requests: Vec<(String, String)> =
                forms.iter().map(|(path, fields)| form(path, &cookie, fields)).collect();
            for path in [
                "/accounts/login/",
                "/write/",
                "/error/logout/",
                "/accounts/logout/?next=http://[",
                "/admin/logout/",
                "/redirect/logout/",
                "/messages/logout/",
                "/accounts/logout/",
            ] {
                requests.push((format!("GET {path}\nCookie: {cookie}"), String::new()));
            }
            let rounds = release.requests(3_000) / 64;
            at_once(64, |number| {
                let mut connection = Connection::new(target, Ipv4Addr::LOCALHOST);
                for round in 0..rounds as usize {
                    // All at the same route at about the same time, the gentle ones first.
                    let index = (round / 3 + number % 2).min(requests.len() - 1);
                    let (head, body) = &requests[index];
                    send_on(&mut connection, target, head, body);
                }
            });
            floodwall.await_rest();
            // Four budgets, and as many as can be in flight while the session's record goes.
            let promised = 4 * BURST + 2 * IN_FLIGHT;
            let attack = format!("one session on 64 connections, every route, key_wait {patience}");
            let beside = site.rows() - floodwall.spares();
            bounded(&attack, &format!("records beside spares, {release}"), promised, beside);
        }
    });
}

/// What a session that was paid for can add at most: uploads of it are stalled, it logs out
/// meanwhile, and each of them finds its record gone. The debt is paid off before more is admitted.
#[test]
fn uploads_stalled_over_a_logout_add_one_record_each_and_then_no_more() {
    let releases = [Release::V1_4_21, Release::V1_7_9, Release::V1_8_3];
    on_each(releases, |release, site| {
        let configuration = budgets(BURST) + "[session]\nkey_wait = '0s'\n";
        let floodwall = Inside::start(&site.upstream(), &configuration);
        let target = floodwall.target();
        let sessions: Vec<String> = std::iter::repeat_with(|| send(target, "GET /write/", ""))
            .map_while(|answer| key(&answer).map(str::to_owned))
            .collect();
        assert_eq!(sessions.len() as u64, BURST);
        let mut stalled = Vec::new();
        for session in &sessions {
            let head = format!(
                "POST /write/\nCookie: csrftoken=abc; sessionid={session}\nX-CSRFToken: abc\n\
                 Connection: close\nContent-Length: 2"
            );
            for _ in 0..ANONYMOUS {
                let mut stream = TcpStream::connect(target.address()).expect("it listens");
                stream.write_all(&raw(target, &head, "x")).expect("it reads");
                stalled.push(stream);
                let admitted = || floodwall.shield.guard.under_way().keys == stalled.len();
                await_that("an upload is not admitted", admitted);
            }
            // Further ones need a reservation, and the budget is spent.
            assert_eq!(send(target, &head, "xx").status, 429, "Django {release}");
        }
        for session in &sessions {
            send(target, &format!("GET /accounts/logout/\nCookie: sessionid={session}"), "");
        }
        for mut stream in stalled {
            stream.write_all(b"x").expect("it reads");
            let _ = stream.read_to_end(&mut Vec::new());
        }
        floodwall.await_rest();
        let attack = "uploads of each anonymous session stalled over its logout, budget 3";
        let beside = site.rows() - floodwall.spares();
        let promised = BURST * (1 + ANONYMOUS);
        bounded(attack, &format!("records beside spares, {release}"), promised, beside);
        assert_eq!(send(target, "GET /write/", "").status, 429, "Django {release}");
    });
}
