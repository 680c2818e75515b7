//! Challenges on the wire, with an application that the test plays: who is sent back, with what,
//! and what of it reaches the application.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};

use floodwall::proxy::settings::Address;

use crate::raw::{Application, OK, Wire, values};
use crate::support::attack::bounded;
use crate::support::inside::Inside;
use crate::support::load::Target;

/// Everybody is challenged. One session for a client, and none back within a test; a cookie that is
/// returned brings two more. Addresses are believed of a proxy on this machine.
const ONE: &str = "challenge = 'cookie'\ntrusted_proxies = ['127.0.0.1']\n\
                   [challenge_cookie]\nbudget = { rate = '1/d', burst = 2 }\n\
                   [budget.anonymous]\nclient = { rate = '1/d', burst = 1 }\n\
                   site = { rate = '1/d', burst = 300 }\n\
                   [session]\nunknown = 'drop'\n";

const CREATED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\
                       Set-Cookie: sessionid=11111111111111111111111111111111; Path=/\r\n\r\nok";

struct Site {
    floodwall: Inside,
    application: Application,
}

impl Site {
    fn start(configuration: &str) -> Self {
        let application = Application::tcp();
        let Address::Tcp { host, port } = &application.address else { panic!("it is TCP") };
        let floodwall = Inside::start(&format!("http://{host}:{port}"), configuration);
        Self { floodwall, application }
    }

    fn target(&self) -> Target {
        self.floodwall.target()
    }

    fn connect(&self) -> Wire {
        Wire::tcp(std::net::TcpStream::connect(self.target().address()).expect("it listens"))
    }

    /// A request that Floodwall answers itself.
    fn refused(&self, head: &str, body: &str) -> String {
        let mut client = self.connect();
        client.send(format!("{head}\r\nHost: a\r\n\r\n{body}"));
        let answer = client.head();
        assert!(self.application.is_left_alone(), "{head}: it reached the application");
        answer
    }

    /// A request that reaches the application, which answers with `answer`: what it got.
    fn forwarded(&self, head: &str, body: &str, answer: &str) -> String {
        let mut client = self.connect();
        client.send(format!("{head}\r\nHost: a\r\n\r\n{body}"));
        // A connection of its own each time: an answer that closes.
        let mut wire = self.application.accept();
        let got = wire.head();
        assert_eq!(wire.exactly(body.len()), body.as_bytes());
        wire.send(answer.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
        let heard = client.head();
        assert!(heard.starts_with("HTTP/1.1 200 "), "{head}: {heard}");
        got
    }

    /// Spends what this client has.
    fn drain(&self, client: &str) {
        self.forwarded(&format!("GET /x/ HTTP/1.1\r\nX-Forwarded-For: {client}"), "", CREATED);
    }
}

/// What a challenge says: the status, where to, and the cookie's value with its attributes.
struct Challenge {
    status: String,
    location: String,
    cookie: String,
    attributes: String,
}

impl Challenge {
    #[track_caller]
    fn read(answer: &str) -> Self {
        let [location] = values(answer, "location")[..] else { panic!("{answer}") };
        let [cookie] = values(answer, "set-cookie")[..] else { panic!("{answer}") };
        assert_eq!(values(answer, "cache-control"), ["no-store"], "{answer}");
        let (cookie, attributes) = cookie.split_once("; ").expect("attributes");
        Self {
            status: answer[9..12].to_owned(),
            location: location.to_owned(),
            cookie: cookie.to_owned(),
            attributes: attributes.to_owned(),
        }
    }
}

fn status(answer: &str) -> &str {
    &answer[9..12]
}

#[test]
fn a_get_is_sent_back_once_and_passes_with_the_cookie_alone() {
    let site = Site::start(ONE);
    site.drain("192.0.2.1");
    let from = "X-Forwarded-For: 192.0.2.1\r\nCookie: a=1";
    let get = |target: &str, cookies: &str| format!("GET {target} HTTP/1.1\r\n{from}{cookies}");
    let answer = site.refused(&get("/cart/?b=%2F&c", ""), "");
    let sent = Challenge::read(&answer);
    assert_eq!(sent.status, "303");
    assert!(sent.location.starts_with("/cart/?b=%2F&c&__floodwall="), "{}", sent.location);
    assert!(sent.cookie.starts_with("floodwall="));
    // Without `SameSite`: a login that another site posts must bring it back as well.
    assert_eq!(sent.attributes, "Path=/; Max-Age=3600; HttpOnly");

    // Without the cookie: an end, not a circle.
    let lost = site.refused(&get(&sent.location, ""), "");
    assert_eq!(status(&lost), "429", "{lost}");
    assert!(values(&lost, "location").is_empty() && values(&lost, "set-cookie").is_empty());

    // With it: to where it wanted to go, under the address that it had.
    let cookie = format!("; {}; z=2", sent.cookie);
    let back = site.refused(&get(&sent.location, &cookie), "");
    assert_eq!((status(&back), &values(&back, "location")[..]), ("303", &["/cart/?b=%2F&c"][..]));
    for _ in 0..2 {
        let got = site.forwarded(&get("/cart/?b=%2F&c", &cookie), "", CREATED);
        assert!(got.starts_with("GET /cart/?b=%2F&c HTTP/1.1\r\n"), "{got}");
        assert_eq!(values(&got, "cookie"), ["a=1; z=2"]);
    }
    // What the cookie brings is spent: refused, and not challenged again.
    let spent = site.refused(&get("/cart/", &cookie), "");
    assert_eq!(status(&spent), "429", "{spent}");
    assert!(values(&spent, "location").is_empty());
    site.floodwall.await_rest();
}

#[test]
fn a_form_is_sent_back_with_its_content_and_nothing_else_that_has_some() {
    let site = Site::start(ONE);
    site.drain("192.0.2.1");
    let head = |method: &str, target: &str, more: &str| {
        format!("{method} {target} HTTP/1.1\r\nX-Forwarded-For: 192.0.2.1\r\n{more}")
    };
    let form = "Content-Length: 3";
    let answer = site.refused(&head("POST", "/cart/", form), "a=1");
    let sent = Challenge::read(&answer);
    assert_eq!(sent.status, "307");
    assert!(sent.location.starts_with("/cart/?__floodwall="), "{}", sent.location);
    let again = head("POST", &sent.location, &format!("{form}\r\nCookie: {}", sent.cookie));
    let got = site.forwarded(&again, "a=1", CREATED);
    assert!(got.starts_with("POST /cart/ HTTP/1.1\r\n"), "{got}");
    assert!(values(&got, "cookie").is_empty(), "{got}");

    for (head, body) in [
        (head("POST", "/cart/", "Transfer-Encoding: chunked"), "3\r\na=1\r\n0\r\n\r\n"),
        (head("PUT", "/cart/", form), "a=1"),
        (head("DELETE", "/cart/", "Content-Length: 0"), ""),
        (head("OPTIONS", "/cart/", "Origin: http://b"), ""),
        (head("GET", "/cart/", form), "a=1"),
        (head("POST", "/cart/", "Content-Length: 1000000"), "a"),
        // A redirection to these would lead to another host.
        (head("GET", "//evil.example/", "Accept: */*"), ""),
        (head("GET", "/\\evil.example/", "Accept: */*"), ""),
    ] {
        let answer = site.refused(&head, body);
        assert_eq!(status(&answer), "429", "{head}: {answer}");
        assert!(values(&answer, "set-cookie").is_empty(), "{head}: {answer}");
    }
    site.floodwall.await_rest();
}

/// Behind a challenge the connection stands at the next request, or it is closed.
#[test]
fn a_challenge_takes_the_request_with_it() {
    let site = Site::start(ONE);
    site.drain("192.0.2.1");
    let from = "Host: a\r\nX-Forwarded-For: 192.0.2.1\r\n";
    let length = |answer: &str| -> usize {
        let [length] = values(answer, "content-length")[..] else { panic!("{answer}") };
        length.parse().expect("a number")
    };
    let mut client = site.connect();
    let form = format!("{from}Content-Length: 3\r\n\r\nGET");
    for (head, code, has_page) in [
        (format!("POST /a/ HTTP/1.1\r\n{form}"), "307", true),
        (format!("HEAD /b/ HTTP/1.1\r\n{from}\r\n"), "303", false),
        (format!("GET /c/ HTTP/1.1\r\n{from}\r\n"), "303", true),
    ] {
        client.send(head);
        let answer = client.head();
        assert_eq!(status(&answer), code, "{answer}");
        if has_page {
            client.exactly(length(&answer));
        }
    }
    // Who waits for 100 sends the content to where it is sent, and not here.
    client.send(format!(
        "POST / HTTP/1.1\r\n{from}Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    ));
    let answer = client.head();
    assert_eq!((status(&answer), &values(&answer, "connection")[..]), ("307", &["close"][..]));
    assert_eq!(client.rest().len(), length(&answer));
    assert!(site.application.is_left_alone());
}

#[test]
fn a_cookie_over_https_is_secure() {
    let site = Site::start(ONE);
    site.drain("192.0.2.1");
    let head = "GET / HTTP/1.1\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https";
    assert!(Challenge::read(&site.refused(head, "")).attributes.ends_with("; Secure"));
}

#[test]
fn a_target_comes_back_as_it_was_or_is_not_sent_back() {
    const LIMIT: usize = 8192;
    let site = Site::start(ONE);
    site.drain("192.0.2.1");
    let ask = |target: &str, cookie: &str| {
        let from = format!("X-Forwarded-For: 192.0.2.1\r\nCookie: {cookie}");
        site.refused(&format!("GET {target} HTTP/1.1\r\n{from}"), "")
    };
    let long = |length: usize| format!("/{}", "a".repeat(length - 1));
    let (lengths, mut challenged) = ([LIMIT - 200, LIMIT - 60, LIMIT - 1, LIMIT], 0);
    let plain = [
        "/cart/?b=1?",
        "/cart/??",
        "/cart/?&",
        "/cart/?b=1;c=2",
        "/cart/?=",
        "/%2F/evil.example/",
        "/.//evil.example/",
        "/caf\u{e9}/?\u{e9}",
        "/\"{}",
        "/a@evil.example:80/",
    ];
    let plain = plain.map(str::to_owned).into_iter();
    for target in plain.chain(lengths.map(long)) {
        let answer = ask(&target, "a=1");
        if status(&answer) == "429" {
            assert!(target.len() > LIMIT - 100, "{target}");
            continue;
        }
        challenged += 1;
        let sent = Challenge::read(&answer);
        assert!(sent.location.len() <= LIMIT, "{}", sent.location.len());
        let home = ask(&sent.location, &sent.cookie);
        assert_eq!(values(&home, "location"), [target.as_str()], "{}", sent.location);
    }
    assert!(challenged >= 11);
}

/// A client whose address changes from one request to the next, or that meets another Floodwall
/// behind the same load balancer, is not sent round in circles though it keeps cookies.
#[test]
fn a_cookie_that_comes_back_from_another_address_is_no_circle() {
    let site = Site::start(ONE);
    let other = Site::start(ONE);
    for site in [&site, &other] {
        site.drain("192.0.2.1");
        site.drain("192.0.2.2");
    }
    let get = |site: &Site, client: &str, target: &str, more: &str| {
        site.refused(&format!("GET {target} HTTP/1.1\r\nX-Forwarded-For: {client}{more}"), "")
    };
    let sent = Challenge::read(&get(&site, "192.0.2.1", "/x/", ""));
    for (site, client) in [(&site, "192.0.2.2"), (&other, "192.0.2.1")] {
        let more = format!("\r\nCookie: {}", sent.cookie);
        let answer = get(site, client, &sent.location, &more);
        assert_eq!(status(&answer), "429", "{answer}");
        assert!(values(&answer, "location").is_empty(), "{answer}");
    }
}

/// A page that answers a POST is shown under the marked address, and is named as such by what is
/// clicked on it.
#[test]
fn the_marker_does_not_reach_the_application_as_a_referer() {
    let site = Site::start("challenge = 'cookie'");
    for (came, sent) in [
        ("http://a/login/?__floodwall=0123abcd", "http://a/login/"),
        ("http://a/login/?b=%2F&__floodwall=0123abcd", "http://a/login/?b=%2F"),
        ("http://a/login/?__floodwall=0123abcd&b=1?", "http://a/login/?b=1?"),
        ("http://a/login/?b=1", "http://a/login/?b=1"),
        ("http://a/__floodwall=/", "http://a/__floodwall=/"),
    ] {
        let got = site.forwarded(&format!("GET / HTTP/1.1\r\nReferer: {came}"), "", OK);
        assert_eq!(values(&got, "referer"), [sent]);
    }
}

/// Nothing but a cookie that was made for this client, and has not ended, brings a budget.
#[test]
fn forged_and_stolen_cookies_bring_nothing() {
    let site = Site::start(ONE);
    let other = Site::start(ONE);
    let from = |client: &str| format!("X-Forwarded-For: {client}");
    let challenge = |site: &Site, client: &str| {
        Challenge::read(&site.refused(&format!("GET /x/ HTTP/1.1\r\n{}", from(client)), "")).cookie
    };
    for site in [&site, &other] {
        site.drain("192.0.2.1");
        site.drain("192.0.2.2");
    }
    let own = challenge(&site, "192.0.2.1");
    let mut forged = vec![
        challenge(&site, "192.0.2.2"),
        challenge(&other, "192.0.2.1"),
        own.to_uppercase(),
        own.replace("floodwall=", "Floodwall="),
        own.replace("floodwall=", "floodwall=\""),
        format!("{own}00"),
        "floodwall=".to_owned(),
    ];
    for length in ("floodwall=".len()..own.len()).step_by(7) {
        forged.push(own[..length].to_owned());
        let mut flipped = own.clone().into_bytes();
        flipped[length] ^= 1;
        forged.push(String::from_utf8(flipped).expect("ASCII"));
    }
    // The marker is no cookie.
    let answer = site.refused(&format!("GET /x/ HTTP/1.1\r\n{}", from("192.0.2.1")), "");
    let location = Challenge::read(&answer).location;
    let marker = location.split_once("__floodwall=").expect("a marker").1.to_owned();
    forged.push(format!("floodwall={marker}"));

    let mut passed = 0;
    for cookie in &forged {
        let head = format!("GET /x/ HTTP/1.1\r\n{}\r\nCookie: {cookie}", from("192.0.2.1"));
        let answer = site.refused(&head, "");
        passed += u64::from(!matches!(status(&answer), "303" | "429"));
        let sent = Challenge::read(&answer).cookie;
        assert_ne!(sent, *cookie);
    }
    bounded("forged, cut and stolen challenge cookies", "requests that pass", 0, passed);
    // Among forged ones the one that counts is still found.
    let lines = format!("Cookie: floodwall=x; {own}\r\n{}", from("192.0.2.1"));
    site.forwarded(&format!("GET /x/ HTTP/1.1\r\n{lines}"), "", OK);
}

/// One client, and as many cookies as it likes to collect.
#[test]
fn collecting_cookies_multiplies_nothing() {
    let site = Site::start(ONE);
    site.drain("192.0.2.1");
    let get = "GET /x/ HTTP/1.1\r\nX-Forwarded-For: 192.0.2.1";
    let cookies: BTreeSet<String> =
        (0..40).map(|_| Challenge::read(&site.refused(get, "")).cookie).collect();
    assert_eq!(cookies.len(), 40);
    let mut created = 1;
    for cookie in cookies {
        let mut client = site.connect();
        client.send(format!("{get}\r\nCookie: {cookie}\r\nHost: a\r\n\r\n"));
        if created < 3 {
            let mut wire = site.application.accept();
            wire.head();
            wire.send(CREATED.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
            created += 1;
        }
        client.head();
    }
    assert!(site.application.is_left_alone());
    // One of its own, and the ceiling: as much as two clients.
    let attack = "one client that collects 40 challenge cookies, budget 1, ceiling 2";
    bounded(attack, "sessions", 1 + 2, created);
}

/// A proxy that is exempt for its own health checks does not lend that to those it cannot name.
#[test]
fn who_is_not_named_has_not_the_terms_of_its_proxy() {
    let one = "rate = '1/d', burst = 1";
    let network = "[[network]]\naddresses = ['127.0.0.1']\nbudget = 'logout'\n";
    for terms in ["exempt = ['127.0.0.0/8']\n", network] {
        let own = "[budget.logout]\nclient = { rate = '1/s', burst = 60 }\n";
        let budget = format!("{own}[budget.anonymous]\nclient = {{ {one} }}\n");
        let (first, last) = if terms == network { ("", network) } else { (terms, "") };
        let site = Site::start(&format!("{first}trusted_proxies = ['127.0.0.1']\n{budget}{last}"));
        for _ in 0..3 {
            site.forwarded("GET /x/ HTTP/1.1\r\nAccept: */*", "", CREATED);
        }
        site.drain("unknown");
        for junk in ["unknown", "192.0.2.1, unix:", "fe80::1%eth0"] {
            let head = format!("GET /x/ HTTP/1.1\r\nX-Forwarded-For: {junk}");
            assert_eq!(status(&site.refused(&head, "")), "429", "{junk}");
        }
    }
}

/// curl with a jar and without, as anybody would try it.
#[test]
fn curl_passes_with_a_jar_and_ends_without() {
    let site = Site::start(ONE);
    site.forwarded("GET /x/ HTTP/1.1", "", CREATED);
    let url = format!("http://{}/x/?a=1", site.target());
    let curl = |options: &[&str]| {
        let format = "%{http_code} %{num_redirects} %{url_effective}";
        Command::new("curl")
            .args(["--silent", "--output", "/dev/null", "--location", "--max-time", "20"])
            .args(["--write-out", format])
            .args(options)
            .arg(&url)
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl is there")
    };
    let said = |curl: Child| {
        let output = curl.wait_with_output().expect("it ends");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let without = said(curl(&[]));
    assert!(without.starts_with("429 1 "), "{without}");
    // An empty jar that is kept for this call.
    let with = curl(&["--cookie", ""]);
    let mut wire = site.application.accept();
    let got = wire.head();
    wire.send(OK);
    assert!(got.starts_with("GET /x/?a=1 HTTP/1.1"), "{got}");
    assert_eq!(said(with), format!("200 2 {url}"));
}
