#![no_main]
//! Who a request comes from, and the headers that are sent on. Input: a byte that chooses the peer,
//! then `name: value` lines.

use std::net::{IpAddr, SocketAddr};

use floodwall::config::Config;
use floodwall::proxy::fields::Fields;
use floodwall::proxy::forwarded::{announce, origin, written};
use floodwall::proxy::headers::clean_request;
use floodwall::proxy::socket::Peer;
use floodwall::proxy::start::settings;
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request};
use http_body_util::Empty;
use ipnet::IpNet;
use libfuzzer_sys::fuzz_target;

const PEERS: [&str; 6] =
    ["10.0.0.1", "10.255.255.255", "fd00::1", "::ffff:10.0.0.1", "192.0.2.1", "2001:db8::1"];
const TRUSTED: [&str; 2] = ["10.0.0.0/8", "fd00::/8"];
/// Where this Floodwall would stand for the next one.
const HERE: &str = "198.51.100.77";

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let https = choice & 0x80 != 0;
    let peer: IpAddr = PEERS[usize::from(*choice) % PEERS.len()].parse().expect("an address");
    let mut nets: Vec<IpNet> = TRUSTED.iter().map(|net| net.parse().expect("a prefix")).collect();
    let came = headers(rest);

    let found = origin(Peer::Tcp(SocketAddr::new(peer, 1)), &came, &nets);
    let trusts = |address: IpAddr| nets.iter().any(|net| net.contains(&address));
    assert_eq!(found.peer, peer.to_canonical());
    assert_eq!(found.trusted, trusts(found.peer));
    assert_eq!(found.client, found.client.to_canonical());
    let tokens = chain(&came);
    if !found.trusted {
        assert_eq!(found.client, found.peer);
    } else {
        // From the right, the first that is not a trusted address; of junk, and what stands before
        // it, nothing counts.
        let addresses = tokens.iter().rev().map_while(|token| address(token));
        let mut said = Vec::from([found.peer]);
        for address in addresses {
            said.push(address);
            if !trusts(address) {
                break;
            }
        }
        assert_eq!(Some(&found.client), said.last());
    }

    let mut parts = Request::builder().method(Method::GET).uri("/x").body(()).expect("a request");
    *parts.headers_mut() = came.clone();
    let mut parts = parts.into_parts().0;
    let limits = settings(&Config::default()).downstream_limits;
    let fields = Fields::of(&parts.headers);
    if clean_request(&mut parts, fields, &Empty::<&[u8]>::new(), &limits).is_err() {
        return;
    }
    // As the site does that a request without one is for.
    parts.headers.entry(HOST).or_insert(HeaderValue::from_static("upstream"));
    let host = parts.headers.get(HOST).cloned();
    let peer = written(found.peer);
    let announced = announce(&mut parts.headers, fields, &found, &peer, https, host);
    for (name, _) in announced.lines() {
        assert!(!parts.headers.contains_key(name), "{name} would stand there twice");
    }
    announced.put(&mut parts.headers);
    let sent = &parts.headers;

    // Nothing that WSGI would mistake, nothing that concerned our connection only, one of each
    // that the application goes by.
    for name in sent.keys() {
        assert!(!name.as_str().contains('_'), "{name}");
        let gone =
            ["transfer-encoding", "upgrade", "keep-alive", "proxy-connection", "expect", "proxy"];
        assert!(!gone.contains(&name.as_str()), "{name}");
    }
    for name in ["host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"] {
        assert_eq!(sent.get_all(name).iter().count(), 1, "{name}");
    }
    let proto = sent["x-forwarded-proto"].as_bytes();
    assert!([&b"http"[..], b"https"].contains(&proto));

    // The peer, and in front of it what a trusted one said; of an untrusted one nothing.
    let now = chain(sent);
    let (last, before) = now.split_last().expect("the peer is there");
    assert_eq!(last, found.peer.to_string().as_bytes());
    if found.trusted {
        assert_eq!(before, tokens);
    } else {
        assert!(before.is_empty() && proto == if https { &b"https"[..] } else { b"http" });
        assert_eq!(sent["x-forwarded-host"], sent[HOST]);
        let claims = sent.keys().filter(|name| name.as_str().starts_with("x-forwarded-")).count();
        assert_eq!(claims, 3);
        assert!(!sent.contains_key("forwarded") && !sent.contains_key("x-real-ip"));
    }

    // Whoever trusts us and the same proxies finds the same client.
    let here: IpAddr = HERE.parse().expect("an address");
    if found.client != here {
        nets.push(IpNet::from(here));
        let next = origin(Peer::Tcp(SocketAddr::new(here, 1)), sent, &nets);
        let spoken = tokens.iter().any(|token| address(token) == Some(here));
        assert!(spoken || next.client == found.client, "{next:?} of {found:?}");
    }
});

fn headers(lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("site"));
    for line in lines.split(|byte| *byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

/// `X-Forwarded-For` as one list.
fn chain(headers: &HeaderMap) -> Vec<Vec<u8>> {
    let lines: Vec<&[u8]> =
        headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes).collect();
    lines
        .join(&b","[..])
        .split(|byte| *byte == b',')
        .map(|token| token.trim_ascii().to_vec())
        .filter(|token| !token.is_empty())
        .collect()
}

/// A bare address, IPv4 with a port, or IPv6 in brackets with or without one.
fn address(token: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(token).ok()?;
    let plain = || text.parse::<IpAddr>().ok();
    let port =
        |port: &str| (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
    let v4 = || {
        let (host, number) = text.split_once(':')?;
        host.parse::<IpAddr>().ok().filter(|ip| ip.is_ipv4() && port(number))
    };
    let v6 = || {
        let (host, behind) = text.strip_prefix('[')?.split_once(']')?;
        let fits = behind.is_empty() || behind.strip_prefix(':').is_some_and(port);
        host.parse::<IpAddr>().ok().filter(|ip| ip.is_ipv6() && fits)
    };
    plain().or_else(v4).or_else(v6).map(|address| address.to_canonical())
}
