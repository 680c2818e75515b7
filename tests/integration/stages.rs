//! A side that hangs up, at every stage of an exchange: nothing stays held, nothing is sent twice,
//! the charge is what the evidence says, and the next client is served.

mod client;
mod upstream;

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use floodwall::guard::challenge::Challenged;
use floodwall::guard::client::Client;
use floodwall::guard::cookie::Cookies;
use floodwall::guard::exchange::{Outcome, Request, Verdict};
use floodwall::guard::ledger::Patience;
use floodwall::guard::policy::Terms;
use floodwall::proxy::settings::Address;
use socket2::{Domain, Socket, Type};

use crate::raw::{Application, HangUp, OK, Wire, values};
use crate::support::inside::Inside;

const BURST: usize = 4;

/// Nothing leaks, and whoever waits does so for longer than the test lasts.
const CONFIGURATION: &str = "
[session]
unknown = 'drop'
key_wait = '30s'
[recycle]
spares = 1
slot_wait = '30s'
[budget.anonymous]
client = { rate = '1/d', burst = 4 }
site = { rate = '1/d', burst = 100 }
[budget.logout]
client = { rate = '1/d', burst = 4 }
site = { rate = '1/d', burst = 100 }
[[rule]]
name = 'logout-budget'
path = '/room/logout'
budget = 'logout'
[[rule]]
name = 'anonymous-budget'
path = '/room/anonymous'
";

/// A key for each number.
fn key(number: u8) -> String {
    format!("{number:032x}")
}

/// An answer with this key.
fn created(number: u8) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: sessionid={}\r\n\r\n", key(number))
}

const CLEAN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const DELETION: &str =
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: sessionid=\"\"; Max-Age=0\r\n\r\n";
const FAILED: &str = "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n";

/// What an exchange has cost in the end.
#[derive(Clone, Copy, Debug)]
struct Cost {
    budget: &'static str,
    charged: usize,
    /// Records kept as spares.
    spares: u64,
    /// Keys in the ledger.
    keys: usize,
}

const FREE: Cost = Cost { budget: "anonymous", charged: 0, spares: 0, keys: 0 };
const CHARGED: Cost = Cost { charged: 1, ..FREE };
const CREATED: Cost = Cost { keys: 1, ..CHARGED };
/// A path was proved, and its spare is there.
const WHOLE: Cost = Cost { budget: "logout", charged: 0, spares: 1, keys: 0 };
const LOST: Cost = Cost { charged: 1, spares: 0, ..WHOLE };

/// One exchange that is broken off, and its cost.
type Stage = (&'static str, fn(&Rig, HangUp), Cost);

/// One core, and a new connection to the application for each request, so that each shows.
/// Of two servers one has all requests, for its weight.
struct Rig {
    application: Application,
    /// Whatever comes to it was sent again.
    other: Application,
    floodwall: Inside,
}

impl Rig {
    fn start() -> Self {
        let (application, other) = (Application::tcp(), Application::tcp());
        let floodwall = inside(&application.address, Some(&other.address));
        Self { application, other, floodwall }
    }

    /// There is no other server.
    fn alone() -> Self {
        let (application, other) = (Application::tcp(), Application::tcp());
        let floodwall = inside(&application.address, None);
        Self { application, other, floodwall }
    }

    fn connect(&self) -> Wire {
        self.connect_from(Ipv4Addr::LOCALHOST)
    }

    fn connect_from(&self, source: Ipv4Addr) -> Wire {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddrV4::new(source, 0).into()).expect("a free port");
        socket.connect(&self.floodwall.target().address().into()).expect("it listens");
        Wire::tcp(socket.into())
    }

    /// A request that is on its way, as both ends see it.
    fn asked(&self, request: &str) -> (Wire, Wire) {
        let mut client = self.connect();
        client.send(request);
        let mut wire = self.application.accept();
        let head = wire.head();
        assert_eq!(head.lines().next(), request.lines().next());
        (client, wire)
    }

    fn get(&self, target: &str) -> (Wire, Wire) {
        self.asked(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
    }

    /// Another client is served. By then a hang-up has been noticed: there is one core.
    fn serve_another(&self) {
        let mut client = self.connect_from(Ipv4Addr::new(127, 0, 0, 5));
        client.send("GET /another/ HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut wire = self.application.accept();
        assert!(wire.head().starts_with("GET /another/ "), "something was sent again");
        wire.send(OK);
        assert!(client.head().starts_with("HTTP/1.1 200 "));
        client.exactly(2);
    }

    /// Proves that `/logout/` flushes; its spare is the second of these keys.
    fn prove(&self, first: u8, second: u8) {
        let (mut client, mut wire) = self.get("/logout/");
        wire.send(created(first));
        let mut proof = self.application.accept();
        assert_eq!(values(&proof.head(), "cookie"), [format!("sessionid={}", key(first))]);
        proof.send(created(second));
        assert!(client.head().starts_with("HTTP/1.1 200 "));
        self.floodwall.await_rest();
    }

    /// How many more of a client's requests a budget has room for.
    fn room(&self, budget: &str) -> usize {
        let shield = &self.floodwall.shield;
        let policy = shield.guard.policy();
        let cookies =
            Cookies::read(std::iter::empty(), &policy.session.cookie, policy.session.key_shape);
        let path = format!("/room/{budget}");
        let request = Request {
            client: Client::fold(IpAddr::V4(Ipv4Addr::LOCALHOST), &policy.client),
            terms: Terms::Usual,
            challenged: Challenged::UNABLE,
            method: "GET",
            path: path.as_bytes(),
            query: None,
            body: false,
            authorization: false,
            cookies: &cookies,
        };
        let mut tickets = Vec::new();
        while let Verdict::Forward(ticket, _) =
            shield.guard.admit(&request, Patience::Spent, shield.clock.now())
        {
            tickets.push(ticket);
            assert!(tickets.len() <= BURST, "there is no limit");
        }
        let room = tickets.len();
        for ticket in tickets {
            let _ = shield.guard.settle(*ticket, Outcome::Unsent, shield.clock.now());
        }
        room
    }

    fn spares(&self) -> u64 {
        self.floodwall.spares()
    }
}

fn inside(first: &Address, other: Option<&Address>) -> Inside {
    let other = other.map(|other| format!(", '{other}'")).unwrap_or_default();
    let servers = format!("upstream = [{{ url = '{first}', weight = 1000 }}{other}]\n");
    Inside::before(&(servers + CONFIGURATION), |settings| {
        settings.cores = 1;
        settings.site.upstream_limits.idle_connections = 0;
    })
}

/// Plays each stage with FIN and with RST; how many there were, and how many requests were sent
/// that nobody had asked for.
fn play(stages: &[Stage]) -> (usize, usize) {
    let mut sent_again = 0;
    for (name, stage, cost) in stages {
        for how in [HangUp::Finish, HangUp::Reset] {
            println!("{name}, {how:?}");
            let rig = Rig::start();
            stage(&rig, how);
            rig.floodwall.await_rest();
            let (keys, spares) = rig.floodwall.shield.guard.sizes();
            let room = rig.room(cost.budget);
            assert_eq!(BURST - room, cost.charged, "charged: {name}, {how:?}");
            assert_eq!((keys, spares as u64), (cost.keys, cost.spares), "{name}, {how:?}");
            rig.serve_another();
            sent_again += usize::from(!rig.application.is_left_alone());
            sent_again += usize::from(!rig.other.is_left_alone());
        }
    }
    (stages.len() * 2, sent_again)
}
