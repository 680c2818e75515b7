//! Request smuggling: framings that one reader takes for this, and another for that.
//!
//! Every stream of bytes is also read by a reader of RFC 9112 of the tests' own. What reaches the
//! application must be requests that this reader found as well, each whole and well-formed, in
//! their order; and there is one 200 for each of them, no more and no less.

mod answers;
mod directed;
mod generator;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::raw::{DEADLINE, has, values};
use crate::support::attack::bounded;
use crate::support::inside::Inside;
use crate::support::load::Target;
use crate::support::random::Random;
use crate::support::recorder::{Recorder, Seen};
use crate::support::strict::{Request, Rules, read};

/// Where requests go that are sent as such.
const OWN: &str = "/own/";
/// Whoever goes there is out of budget.
const FULL: &str = "/full/";

const CONFIGURATION: &str = "
[[rule]]
name = 'full'
prefix = '/full/'
budget = 'full'
[[rule]]
name = 'all'
prefix = '/'
action = 'forward'
[budget.full]
client = { rate = '1/d', burst = 1 }
site = { rate = '1/d', burst = 1 }
";

/// A proxy before a recording application.
struct Rig {
    proxy: Inside,
    recorder: Recorder,
    connections: AtomicU32,
}

/// A response, as the client finds it.
#[derive(Debug, PartialEq, Eq)]
struct Response {
    status: u16,
    body: String,
}

impl Rig {
    /// Ready, and the budget of `FULL` is spent.
    fn start() -> Self {
        let recorder = Recorder::start(|request| {
            let spends = request.target.starts_with(FULL);
            let cookie = if spends {
                "Set-Cookie: sessionid=0123456789abcdef0123456789abcdef\r\n"
            } else {
                ""
            };
            let body = if request.method == "HEAD" { "" } else { &*request.target };
            let length = request.target.len();
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{cookie}\r\n{body}")
        });
        let proxy = Inside::start_with(recorder.upstream(), CONFIGURATION, |settings| {
            // What never ends is the exception here, and waited for.
            settings.downstream_limits.header_timeout = Duration::from_secs(5);
            settings.site.upstream_limits.response_timeout = Duration::from_secs(5);
            settings.downstream_limits.body_timeout = Duration::from_secs(5);
            settings.http2.enabled = false;
        });
        let rig = Self { proxy, recorder, connections: AtomicU32::new(0) };
        let spent = rig.converse(
            rig.source(),
            format!("GET {FULL} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        );
        assert_eq!(spent[0].status, 200);
        rig
    }

    /// An address that no other connection comes from: the application is told of it, whatever
    /// the bytes are.
    fn source(&self) -> Ipv4Addr {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + number)
    }

    /// Sends bytes, and reads all responses to them, until the proxy closes the connection.
    fn converse(&self, source: Ipv4Addr, bytes: impl AsRef<[u8]>) -> Vec<Response> {
        let mut stream = connect(self.proxy.target(), source);
        stream.set_read_timeout(Some(DEADLINE)).expect("a time-out");
        stream.set_nodelay(true).expect("it is connected");
        // It may close before it has taken everything.
        let _ = stream.write_all(bytes.as_ref());
        let (mut got, mut piece) = (Vec::new(), [0; 16 * 1024]);
        while let Ok(length @ 1..) = stream.read(&mut piece) {
            got.extend_from_slice(&piece[..length]);
        }
        responses(&String::from_utf8(got).expect("responses are text"))
    }

    /// Ends the proxy; whatever was not a request is in the outcome, too.
    fn finish(self) -> Vec<Seen> {
        self.proxy.await_rest();
        drop(self.proxy);
        self.recorder.finish()
    }
}

/// What a connection has brought to the application.
#[derive(Debug, Default)]
struct Judgement {
    admitted: usize,
    /// Requests that were not sent as such; of two readings the wrong one.
    smuggled: Vec<String>,
}

/// Compares what the application got with what a reader of RFC 9112 finds in what was sent.
fn judge(seen: &[Seen], source: Ipv4Addr, sent: &[u8], responses: &[Response]) -> Judgement {
    let source = source.to_string();
    let got: Vec<&Request> = seen
        .iter()
        .filter_map(|seen| match seen {
            Seen::Request(request) if request.values("x-forwarded-for").eq([&*source]) => {
                Some(request)
            }
            Seen::Request(_) | Seen::Cut | Seen::Malformed(..) => None,
        })
        .collect();
    let meant = requests(sent);
    let mut meant = meant.iter().filter(|request| request.plain);
    let mut smuggled = Vec::new();
    for request in &got {
        // Those between were refused.
        let same = |meant: &&Request| {
            meant.method == request.method
                && meant.body == request.body
                && meant
                    .target
                    .split('#')
                    .next()
                    .is_some_and(|path| path.ends_with(&request.target))
        };
        if !meant.any(|request| same(&request)) {
            smuggled.push(format!("{} of {:?}", request.target, String::from_utf8_lossy(sent)));
        }
    }
    let answered: Vec<&str> =
        responses.iter().filter(|r| r.status == 200).map(|r| r.body.as_str()).collect();
    let got: Vec<&str> = got.iter().map(|request| request.target.as_str()).collect();
    assert_eq!(
        answered,
        got,
        "responses of 200, and requests, of {:?}",
        String::from_utf8_lossy(sent)
    );
    Judgement { admitted: got.len(), smuggled }
}

/// All requests of a connection, up to the last one or to what is none.
fn requests(mut bytes: &[u8]) -> Vec<Request> {
    let mut found = Vec::new();
    while let Ok((request, length)) = read(bytes, Rules::Received) {
        let last = request.last;
        found.push(request);
        if last {
            break;
        }
        bytes = &bytes[length..];
    }
    found
}

/// All responses of a connection; what is informational is left out. The proxy gives lengths.
fn responses(mut text: &str) -> Vec<Response> {
    let mut found = Vec::new();
    while let Some((head, rest)) = text.split_once("\r\n\r\n") {
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status: u16 = status.unwrap_or_else(|| panic!("no status line: {text:?}"));
        assert!(!has(head, "transfer-encoding"), "{head}");
        let length =
            values(head, "content-length").first().map_or(0, |length| length.parse().unwrap());
        assert!(rest.len() >= length, "a response was cut: {text:?}");
        let (body, rest) = rest.split_at(length);
        if status >= 200 {
            found.push(Response { status, body: body.to_owned() });
        }
        text = rest;
    }
    assert_eq!(text, "", "behind the last response");
    found
}

/// What goes behind everything else: it ends the connection; and enough of what can be nothing but
/// content, so that whatever waits for more gets it.
fn ending() -> String {
    let rest = "\u{1}".repeat(4096);
    format!("GET {OWN}end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n{rest}")
}

const HIDDEN: &str = "GET /hidden/ HTTP/1.1\r\nHost: a\r\n\r\n";

fn connect(target: Target, source: Ipv4Addr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddrV4::new(source, 0).into()).expect("a free port");
    socket.connect(&target.address().into()).expect("it listens");
    socket.into()
}

/// Sends something and the ending behind it; the statuses of the responses. Nothing may be smuggled.
fn statuses(rig: &Rig, sent: &str) -> Vec<u16> {
    let (source, sent) = (rig.source(), format!("{sent}{}", ending()));
    let responses = rig.converse(source, &sent);
    let judgement = judge(&rig.recorder.seen(), source, sent.as_bytes(), &responses);
    assert!(judgement.smuggled.is_empty(), "{:?} of {sent:?}", judgement.smuggled);
    responses.iter().map(|response| response.status).collect()
}

fn assert_nothing_malformed(seen: &[Seen]) {
    for seen in seen {
        assert!(!matches!(seen, Seen::Malformed(..)), "{seen:?}");
    }
}

const STREAMS: usize = 4_000;
/// So many connections at once: one that waits for more bytes does not hold the others up.
const AT_ONCE: usize = 32;

/// Pipelined requests, hidden ones in their bodies, some refused in the middle, with header lines,
/// chunks and single bytes mutated.
#[test]
fn no_mutated_framing_smuggles_a_request() {
    let seed = std::env::var("FLOODWALL_SEED").map_or(16, |seed| seed.parse().expect("a number"));
    println!("FLOODWALL_SEED={seed}");
    let rig = Rig::start();
    let next = AtomicUsize::new(0);
    let outcomes: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    let mut outcomes = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= STREAMS {
                            break;
                        }
                        let mut rng = Random(seed << 32 | number as u64);
                        let (source, sent) = (rig.source(), generator::stream(&mut rng));
                        let got = rig.converse(source, &sent);
                        outcomes.push((source, sent, got));
                    }
                    outcomes
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    let seen = rig.finish();
    let (mut admitted, mut refused, mut smuggled) = (0, 0, Vec::new());
    for (source, sent, got) in &outcomes {
        let judgement = judge(&seen, *source, sent, got);
        admitted += judgement.admitted;
        refused += got.iter().filter(|response| response.status != 200).count();
        smuggled.extend(judgement.smuggled);
    }
    for seen in &seen {
        if let Seen::Malformed(why, bytes) = seen {
            smuggled.push(format!("{why}: {:?}", String::from_utf8_lossy(bytes)));
        }
    }
    println!("{admitted} admitted, {refused} refused, {smuggled:?}");
    // Both outcomes are frequent, or nothing was shown.
    assert!(
        admitted > STREAMS / 2 && refused > STREAMS / 2,
        "{admitted} admitted, {refused} refused"
    );
    let attack = format!("{STREAMS} mutated framings, pipelined");
    bounded(&attack, "requests that were not sent as such", 0, smuggled.len() as u64);
}
