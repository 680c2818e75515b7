use std::net::SocketAddr;

use http::header::{FORWARDED, HOST};

use super::*;

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    headers
}

fn client(peer: &str, lines: &[&str]) -> String {
    let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
    let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
    let peer = Peer::Tcp(SocketAddr::new(peer.parse().unwrap(), 1));
    origin(peer, &headers(&lines), &trusted).client.to_string()
}

#[test]
fn an_untrusted_peer_is_the_client_whatever_it_says() {
    assert_eq!(client("192.0.2.1", &["198.51.100.1"]), "192.0.2.1");
    assert_eq!(client("::ffff:192.0.2.1", &["10.0.0.1"]), "192.0.2.1");
}

#[test]
fn the_rightmost_untrusted_address_is_the_client() {
    assert_eq!(client("10.0.0.1", &["192.0.2.9, 192.0.2.1, 10.0.0.2"]), "192.0.2.1");
    assert_eq!(client("10.0.0.1", &["192.0.2.9", "192.0.2.1", "10.0.0.2"]), "192.0.2.1");
    assert_eq!(client("::ffff:10.0.0.1", &["192.0.2.1"]), "192.0.2.1");
}

#[test]
fn where_all_are_trusted_the_leftmost_is_the_client() {
    assert_eq!(client("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
    assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
}

#[test]
fn at_junk_the_last_good_address_counts() {
    assert_eq!(client("10.0.0.1", &["192.0.2.1, unknown, 10.0.0.2"]), "10.0.0.2");
    assert_eq!(client("10.0.0.1", &["192.0.2.1, 010.0.0.2"]), "10.0.0.1");
    assert_eq!(client("10.0.0.1", &["192.0.2.1, fe80::1%eth0"]), "10.0.0.1");
    assert_eq!(client("10.0.0.1", &["192.0.2.1, [fe80::1%1]:80"]), "10.0.0.1");
    assert_eq!(client("10.0.0.1", &["192.0.2.1, [::1]x"]), "10.0.0.1");
    assert_eq!(client("10.0.0.1", &["192.0.2.1, 10.0.0.2:port"]), "10.0.0.1");
}

#[test]
fn ports_brackets_and_mapped_addresses_are_understood() {
    assert_eq!(client("10.0.0.1", &["192.0.2.1:555"]), "192.0.2.1");
    assert_eq!(client("10.0.0.1", &["[2001:db8::1]:80"]), "2001:db8::1");
    assert_eq!(client("10.0.0.1", &["[2001:db8::1]"]), "2001:db8::1");
    assert_eq!(client("10.0.0.1", &["2001:db8::1"]), "2001:db8::1");
    assert_eq!(client("10.0.0.1", &["::ffff:192.0.2.1, ::ffff:10.0.0.2"]), "192.0.2.1");
    assert_eq!(client("10.0.0.1", &[" ,192.0.2.1,, ,"]), "192.0.2.1");
}

/// It is trusted without an address, and is nobody's own client.
#[test]
fn a_unix_socket_is_trusted_and_stands_in_for_whom_it_does_not_name() {
    let come = |lines: &[&str]| {
        let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        let found = origin(Peer::Unix, &headers(&lines), &["10.0.0.0/8".parse().unwrap()]);
        assert!(found.trusted && found.peer.is_loopback(), "{found:?}");
        (found.client.to_string(), found.stands_in)
    };
    assert_eq!(come(&[]), ("127.0.0.1".to_owned(), true));
    assert_eq!(come(&["unix:"]), ("127.0.0.1".to_owned(), true));
    assert_eq!(come(&["192.0.2.9, 192.0.2.1"]), ("192.0.2.1".to_owned(), false));
    assert_eq!(come(&["192.0.2.1, 10.0.0.2"]), ("192.0.2.1".to_owned(), false));
    assert_eq!(come(&["junk, 10.0.0.2"]), ("10.0.0.2".to_owned(), true));
}

fn announced(trusted: bool, lines: &[(&str, &str)]) -> HeaderMap {
    announced_by(trusted, lines, false)
}

fn announced_by(trusted: bool, lines: &[(&str, &str)], https: bool) -> HeaderMap {
    let mut headers = headers(lines);
    let fields = Fields::of(&headers);
    let origin = from(trusted);
    let host = headers.get(HOST).cloned();
    let announced = announce(&mut headers, fields, &origin, &written(origin.peer), https, host);
    for (name, _) in announced.lines() {
        assert!(!headers.contains_key(name), "{name} would stand there twice");
    }
    announced.put(&mut headers);
    headers
}

fn from(trusted: bool) -> Origin {
    let peer: IpAddr = "10.0.0.1".parse().unwrap();
    Origin { peer, client: peer, trusted, stands_in: false }
}

#[test]
fn the_scheme_is_that_of_the_connection_unless_a_trusted_peer_knows_better() {
    let said = |said: &'static str| [("x-forwarded-proto", said)];
    for (trusted, said, https, told) in [
        (false, "https", false, "http"),
        (false, "http", true, "https"),
        (true, "https", false, "https"),
        (true, "http", true, "http"),
        (true, "gopher", true, "https"),
        (true, "gopher", false, "http"),
    ]
    .map(|(trusted, word, https, told)| (trusted, said(word), https, told))
    {
        let after = announced_by(trusted, &said, https);
        assert_eq!(after[&X_FORWARDED_PROTO], told, "{trusted} {said:?} {https}");
        for headers in [headers(&said), after] {
            assert_eq!(is_https(&headers, &from(trusted), https), told == "https");
        }
    }
}

#[test]
fn an_address_is_written_as_everybody_writes_it() {
    for octet in 0..=255 {
        let v4 =
            [[octet, 0, 9, 10], [99, octet, 100, 255], [255, 255, octet, 255], [1, 2, 3, octet]];
        for address in v4.map(IpAddr::from) {
            assert_eq!(written(address), address.to_string());
        }
    }
    for v6 in ["::", "::1", "2001:db8::1", "2001:db8:1:2:3:4:5:6", "fe80::ffff:ffff:ffff:ffff"] {
        let address: IpAddr = v6.parse().unwrap();
        assert_eq!(written(address), v6);
    }
}

#[test]
fn an_untrusted_peer_cannot_say_anything_of_itself() {
    let headers = announced(
        false,
        &[
            ("host", "site.example"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-for", "192.0.2.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-port", "443"),
            ("forwarded", "for=192.0.2.1"),
            ("x-real-ip", "192.0.2.1"),
        ],
    );
    let mut left: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
    left.sort_unstable();
    assert_eq!(
        left,
        [
            ("host", "site.example"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-host", "site.example"),
            ("x-forwarded-proto", "http"),
        ]
    );
}

#[test]
fn what_a_trusted_peer_says_is_sent_on() {
    let headers = announced(
        true,
        &[
            ("host", "site.example"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "junk, HTTPS, http"),
            ("x-forwarded-host", "www.site.example, other.example"),
            ("x-real-ip", "192.0.2.1"),
        ],
    );
    assert_eq!(headers["x-forwarded-for"], "192.0.2.1, 10.0.0.2, 10.0.0.1");
    assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
    assert_eq!(headers["x-forwarded-proto"], "https");
    assert_eq!(headers["x-forwarded-host"], "www.site.example");
    assert_eq!(headers["x-real-ip"], "192.0.2.1");
}

#[test]
fn every_spelling_of_an_address_is_the_same_client() {
    for spelled in [
        "192.0.2.1",
        "192.0.2.1:0",
        "::ffff:192.0.2.1",
        "::FFFF:c000:201",
        "0:0:0:0:0:ffff:c000:0201",
        "[::ffff:192.0.2.1]",
        "[0:0:0:0:0:ffff:192.0.2.1]:65535",
    ] {
        assert_eq!(client("10.0.0.1", &[spelled]), "192.0.2.1", "{spelled}");
        assert_eq!(client("10.0.0.1", &["198.51.100.1", spelled]), "192.0.2.1", "{spelled}");
    }
    // Others embed the same numbers, and are somebody else's.
    for other in ["::192.0.2.1", "2002:c000:201::", "64:ff9b::192.0.2.1", "::ffff:0:192.0.2.1"] {
        assert_ne!(client("10.0.0.1", &[other]), "192.0.2.1", "{other}");
        assert_ne!(client("10.0.0.1", &["198.51.100.1", other]), "198.51.100.1", "{other}");
    }
}

#[test]
fn a_chain_of_any_length_ends_at_the_first_untrusted_address() {
    let forged = vec!["198.51.100.1"; 10_000].join(", ");
    assert_eq!(client("10.0.0.1", &[&forged, "192.0.2.1, 10.0.0.2"]), "192.0.2.1");
    let trusted = vec!["10.0.0.9"; 10_000].join(",");
    assert_eq!(client("10.0.0.1", &["192.0.2.1", &trusted]), "192.0.2.1");
    assert_eq!(client("192.0.2.1", &[&trusted]), "192.0.2.1");
}

#[test]
fn forwarded_is_not_believed_and_only_sent_on_for_a_trusted_peer() {
    let said = [("forwarded", "for=192.0.2.1;proto=https"), ("forwarded", "for=\"[2001:db8::1]\"")];
    let trusted = ["10.0.0.0/8".parse().unwrap()];
    let peer: IpAddr = "10.0.0.1".parse().unwrap();
    let found = origin(Peer::Tcp(SocketAddr::new(peer, 1)), &headers(&said), &trusted);
    assert_eq!(found.client, peer);
    assert_eq!(announced(true, &said).get_all(FORWARDED).iter().count(), 2);
    assert_eq!(announced(true, &said)[&X_FORWARDED_PROTO], "http");
    assert!(!announced(false, &said).contains_key(FORWARDED));
}
