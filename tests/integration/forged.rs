//! Forged trust: whatever a client says of itself, it has one budget, and nobody else's.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::raw::DEADLINE;
use crate::support::attack::bounded;
use crate::support::inside::Inside;
use crate::support::load::http::{Connection, Request};
use crate::support::recorder::{Recorder, Seen};

const BURST: u64 = 5;

const CONFIGURATION: &str = "
trusted_proxies = ['127.0.0.9', '10.0.0.0/8', 'fd00::/8']
exempt = ['127.0.0.8', '198.51.100.0/24']
[budget.anonymous]
client = { rate = '1/d', burst = 5 }
site = { rate = '1/d', burst = 300 }
[downstream_limits]
head_bytes = '1MiB'
";

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const VICTIM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const EXEMPT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 8);
const TRUSTED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// What a client may put in front of its request; `#` is another number each time.
const FORGERIES: [&str; 24] = [
    "X-Forwarded-For: 192.0.2.#\r\n",
    "X-Forwarded-For: 127.0.0.3\r\n",
    "X-Forwarded-For: 127.0.0.1, 10.0.0.#, ::1\r\n",
    "X-Forwarded-For: 198.51.100.#\r\n",
    "X-Forwarded-For: 127.0.0.8\r\n",
    "X-Forwarded-For: 192.0.2.#\r\nX-Forwarded-For: 198.51.100.#\r\n",
    "X-Forwarded-For: 192.0.2.#, unknown, _hidden, \"\", , junk\r\n",
    "X-Forwarded-For: ::ffff:192.0.2.#\r\n",
    "X-Forwarded-For: [::ffff:c000:2#]:80\r\n",
    "X-Forwarded-For: 2001:db8:#::1\r\n",
    "X-Forwarded-For: fe80::#%eth0\r\n",
    "X-Forwarded-For: fe80::1%#, 192.0.2.#:80\r\n",
    "X-Forwarded-For: \u{e4}\u{e4}, 192.0.2.#\r\n",
    "x-forwarded-for:192.0.2.#\t\r\n",
    "X_Forwarded_For: 192.0.2.#\r\n",
    "X-Forwarded_For: 192.0.2.#\r\nX-Forwarded-For : 192.0.2.#\r\n",
    "Connection: X-Forwarded-For\r\nX-Forwarded-For: 192.0.2.#\r\n",
    "Connection: X-Forwarded-For, X-Forwarded-Proto, Forwarded\r\n",
    "Forwarded: for=192.0.2.#;proto=https;by=127.0.0.9\r\n",
    "Forwarded: for=\"[2001:db8:#::1]:80\", for=_x\r\nForwarded: for=unknown\r\n",
    "X-Real-IP: 192.0.2.#\r\nTrue-Client-IP: 192.0.2.#\r\nCF-Connecting-IP: 192.0.2.#\r\n",
    "X-Client-IP: 192.0.2.#\r\nX-Cluster-Client-IP: 192.0.2.#\r\nClient-IP: 192.0.2.#\r\n",
    "X-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: #\r\n",
    "",
];

struct Rig {
    floodwall: Inside,
    recorder: Recorder,
    requests: u64,
}

impl Rig {
    /// Before an application that gives everybody a session.
    fn start() -> Self {
        let issued = AtomicU64::new(0);
        let recorder = Recorder::start(move |_| {
            let key = issued.fetch_add(1, Ordering::Relaxed);
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: sessionid={key:032x}\r\n\r\n"
            )
        });
        let floodwall = Inside::start(recorder.upstream(), CONFIGURATION);
        Self { floodwall, recorder, requests: 0 }
    }

    /// Whether a request with these header lines is admitted; a malformed one is not either.
    fn admits(&mut self, source: Ipv4Addr, lines: &str) -> bool {
        self.requests += 1;
        let lines = lines.replace('#', &(self.requests % 200).to_string());
        let bytes = format!("GET /take/ HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes();
        let mut connection = Connection::new(self.floodwall.target(), source);
        let deadline = Instant::now() + DEADLINE;
        let answer =
            connection.exchange(&Request { bytes, head: false }, deadline).expect("an answer");
        assert!([200, 400, 429].contains(&answer.status), "{}", answer.status);
        answer.status == 200
    }

    /// How many requests with these header lines, one after the other, are admitted.
    fn admitted<'a>(&mut self, source: Ipv4Addr, lines: impl Iterator<Item = &'a str>) -> u64 {
        lines.map(|lines| u64::from(self.admits(source, lines))).sum()
    }

    fn finish(self) -> Vec<crate::support::strict::Request> {
        drop(self.floodwall);
        let seen = self.recorder.finish();
        let requests = seen.into_iter().map(|seen| match seen {
            Seen::Request(request) => request,
            Seen::Cut | Seen::Malformed(..) => panic!("{seen:?}"),
        });
        requests.collect()
    }
}

#[test]
fn an_untrusted_peer_has_one_budget_whatever_it_says() {
    let mut rig = Rig::start();
    let long = format!("X-Forwarded-For: {}\r\n", vec!["192.0.2.1"; 10_000].join(", "));
    let all = FORGERIES.iter().copied().chain([&*long]);
    let sent = all.clone().count() as u64 * 10;
    let admitted = rig.admitted(ATTACKER, all.cycle().take(sent as usize));
    // Neither whom it claimed to be, nor the proxy that it claimed to come by, has paid for it.
    for (source, lines) in [
        (VICTIM, ""),
        (TRUSTED, "X-Forwarded-For: 192.0.2.1\r\n"),
        (TRUSTED, "X-Forwarded-For: 192.0.2.2\r\n"),
        (TRUSTED, ""),
    ] {
        let again = std::iter::repeat_n(lines, BURST as usize + 1);
        assert_eq!(rig.admitted(source, again), BURST, "{source} {lines:?}");
    }
    // Who is exempt indeed has no such limit.
    let exempt = std::iter::repeat_n("", 2 * BURST as usize);
    assert_eq!(rig.admitted(EXEMPT, exempt), 2 * BURST);
    for request in rig.finish().iter().take(admitted as usize) {
        assert!(request.values("x-forwarded-for").eq(["127.0.0.2"]), "{request:?}");
        assert!(request.values("x-forwarded-proto").eq(["http"]), "{request:?}");
        assert!(request.values("x-forwarded-host").eq(["a"]), "{request:?}");
        for claim in ["forwarded", "x-real-ip", "x-forwarded-port"] {
            assert_eq!(request.values(claim).count(), 0, "{request:?}");
        }
    }
    let attack = format!("{sent} forged addresses, from one peer");
    bounded(&attack, "sessions, burst 5", BURST, admitted);
}

#[test]
fn a_client_behind_a_trusted_proxy_has_one_budget_whatever_it_says() {
    let mut rig = Rig::start();
    let long = format!("X-Forwarded-For: {}\r\n", vec!["192.0.2.1"; 10_000].join(", "));
    // What a proxy adds to what came: to the last line, or as a line of its own; in all spellings
    // of one address, and by way of a second proxy.
    let spelled = [
        "203.0.113.9",
        "::ffff:203.0.113.9",
        "203.0.113.9:4711",
        "[::ffff:cb00:7109]:80",
        "0:0:0:0:0:FFFF:203.0.113.9",
        "203.0.113.9, 10.0.0.7",
        "203.0.113.9, fd00::7",
        "203.0.113.9, [fd00::7]:1, ::ffff:10.0.0.7",
    ];
    let mut lines = Vec::new();
    for forged in FORGERIES.iter().copied().chain([&*long]) {
        for spelled in spelled {
            lines.push(format!("{forged}X-Forwarded-For: {spelled}\r\n"));
            if forged.starts_with("X-Forwarded-For: ") && forged.matches("\r\n").count() == 1 {
                lines.push(format!("{}, {spelled}\r\n", forged.trim_end()));
            }
        }
    }
    let sent = lines.len();
    let admitted = rig.admitted(TRUSTED, lines.iter().map(String::as_str));
    for lines in ["X-Forwarded-For: 192.0.2.1\r\n", "X-Forwarded-For: 192.0.2.2\r\n", ""] {
        let again = std::iter::repeat_n(lines, BURST as usize + 1);
        assert_eq!(rig.admitted(TRUSTED, again), BURST, "{lines:?}");
    }
    for request in rig.finish() {
        let told: Vec<&str> = request.values("x-forwarded-for").collect();
        assert!(told[0].ends_with("127.0.0.9"), "{told:?}");
    }
    let attack = format!("{sent} forged addresses, behind a trusted proxy");
    bounded(&attack, "sessions, burst 5", BURST, admitted);
}

/// What a trusted proxy calls no address is not somebody else: the proxy answers for it.
#[test]
fn clients_whom_a_trusted_proxy_does_not_name_share_its_own_budget() {
    let mut rig = Rig::start();
    let nameless = [
        "X-Forwarded-For: 192.0.2.#, unknown\r\n",
        "X-Forwarded-For: 192.0.2.#, _secret#\r\n",
        "X-Forwarded-For: 192.0.2.#, fe80::#%eth0\r\n",
        "X-Forwarded-For: 192.0.2.#, [fe80::#%1]:80\r\n",
        "X-Forwarded-For: 192.0.2.#, 192.0.2.999\r\n",
        "X-Forwarded-For: 192.0.2.#, 0300.0.2.#\r\n",
        "X-Forwarded-For: 192.0.2.#, 3221226#\r\n",
        "X-Forwarded-For: 192.0.2.#, 192.0.2.#:\r\n",
        "X-Forwarded-For: 192.0.2.#, for=192.0.2.#\r\n",
        "X-Forwarded-For: 192.0.2.#, \"192.0.2.#\"\r\n",
        "Forwarded: for=192.0.2.#\r\n",
        "X-Real-IP: 192.0.2.#\r\n",
        "X_Forwarded_For: 192.0.2.#\r\n",
    ];
    let sent = nameless.len() * 10;
    let admitted = rig.admitted(TRUSTED, nameless.into_iter().cycle().take(sent));
    assert_eq!(rig.admitted(TRUSTED, ["X-Forwarded-For: 192.0.2.1\r\n"].into_iter()), 1);
    let attack = format!("{sent} addresses that are none, from a trusted proxy");
    bounded(&attack, "sessions, burst 5", BURST, admitted);
}
