//! A process with all tables at their caps, and what it takes: shared by the test and the bench.
//!
//! The capacities are those of the configuration that is handed in; the budgets are made so large
//! that nobody is refused.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use floodwall::config::{Config, Overrides};
use floodwall::guard::Guard;
use floodwall::guard::challenge::Challenged;
use floodwall::guard::client::Client;
use floodwall::guard::cookie::Cookies;
use floodwall::guard::exchange::{Outcome, Request, Ticket, Verdict};
use floodwall::guard::fact::{Event, Fact, Missed, Notice, Refusal, RouteId, Warmth};
use floodwall::guard::footprint::Footprint;
use floodwall::guard::key::Secret;
use floodwall::guard::ledger::Patience;
use floodwall::guard::moment::Moment;
use floodwall::guard::path;
use floodwall::guard::policy::Terms;
use floodwall::guard::route::StandingWord;
use floodwall::guard::set_cookie::Evidence;
use floodwall::proxy::clock::Clock;
use floodwall::proxy::start;
use floodwall::proxy::state::StateFile;
use floodwall::telemetry::Telemetry;
use floodwall::telemetry::flood::FloodSettings;

/// What all of Floodwall's tables may take with the default configuration.
pub const PROMISED: u64 = 256 << 20;

const BUDGETS: &str = r#"
[budget.anonymous]
client = { rate = "1/min", burst = 10_000 }
site = { rate = "100000/s", burst = 20_000_000 }
[budget.logout]
client = { rate = "1/min", burst = 1000 }
site = { rate = "100000/s", burst = 20_000_000 }
"#;

/// What the operating system says that this process takes, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Resident {
    pub now: u64,
    /// The most since [`Resident::forget_peak`].
    pub peak: u64,
}

impl Resident {
    pub fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").expect("Linux");
        let bytes = |name: &str| {
            let line =
                status.lines().find_map(|line| line.strip_prefix(name)).expect("it is there");
            let number = line.split_whitespace().next().expect("a number");
            number.parse::<u64>().expect("a number") * 1024
        };
        Self { now: bytes("VmRSS:"), peak: bytes("VmHWM:") }
    }

    /// See proc_pid_clear_refs(5).
    pub fn forget_peak() {
        fs::write("/proc/self/clear_refs", "5").expect("our own");
    }
}

/// A site whose tables are to be filled.
pub struct Site {
    pub guard: Guard,
    pub telemetry: Telemetry,
    state: StateFile,
    config: Config,
    now: Moment,
    keys: u64,
}

impl Site {
    /// Opens the site in this folder, with what its state file remembers.
    pub fn open(folder: &Path) -> Self {
        let config = Config::parse("memory", BUDGETS.as_bytes(), Overrides::default());
        let config = config.expect("a valid configuration");
        let clock = Clock::start();
        let policy = config.sites()[0].policy().clone();
        let names = policy.rules.iter().map(|rule| rule.name.clone()).collect();
        let log = config.log();
        let floods = FloodSettings {
            events: log.flood_events.get(),
            quiet: log.flood_quiet,
            interval: log.flood_interval,
        };
        let now = clock.now();
        let telemetry = Telemetry::new(names, floods, now);
        let state = StateFile::open(&folder.join("state"), policy, clock);
        let (state, guard) = state.expect("the folder can be written");
        Self { guard, telemetry, state, config, now, keys: 0 }
    }

    /// What the tables are said to take at most.
    pub fn footprint(&self) -> Vec<Footprint> {
        start::footprint(&self.config, &self.config.sites()[0])
    }

    pub fn save(&self) {
        self.state.save(&self.guard);
    }

    /// The last snapshot.
    pub fn close(self) {
        self.state.close(&self.guard).expect("there is room on the disk");
    }

    /// A session for each of so many clients.
    pub fn clients(&mut self, number: usize) {
        for client in 0..u32::try_from(number).expect("few") {
            let key = self.next_key();
            let ticket = self.admit(client, "/cart/", "").expect("there is budget");
            self.answer(*ticket, Some(&key));
        }
    }

    /// More of them, until there are so many sessions. Some are presented.
    pub fn sessions(&mut self, number: usize) {
        let mut client = 0;
        while self.guard.sizes().0 < number {
            for _ in 0..1000.min(number - self.guard.sizes().0) {
                let key = self.next_key();
                client += 1;
                let ticket = self.admit(client, "/cart/", "").expect("there is budget");
                self.answer(*ticket, Some(&key));
                if client % 4 == 0 {
                    let ticket = self.admit(client, "/page/", &key).expect("it is known");
                    self.answer(*ticket, None);
                }
            }
        }
    }

    /// Proves as many logout paths as there are spares for, and meets more of them, all as long as
    /// a path may be.
    pub fn spares(&mut self) {
        for number in 0..200 {
            let path = format!("/{number}{}/logout/", "a".repeat(1000));
            let Some(ticket) = self.admit(number, &path, "") else { continue };
            let (first, second) = (self.next_key(), self.next_key());
            let wanted = ticket.may_want_proof() && number < 100;
            let (first, second) = (self.evidence(Some(&first)), self.evidence(Some(&second)));
            let second = wanted.then_some(&second);
            let _ = self.guard.settle(*ticket, Outcome::Answered(&first, second), self.now);
        }
    }

    /// More classes than are remembered.
    pub fn learned_paths(&mut self) {
        for number in 0_u32..10_000 {
            let letters: String =
                number.to_string().bytes().map(|digit| char::from(digit + b'1')).collect();
            let ticket = self.admit(number, &format!("/{letters}/"), "").expect("it is clean");
            self.answer(*ticket, None);
        }
    }

    /// A flood from many clients on every route, and every notice there is.
    pub fn telemetry(&mut self) {
        let rules = u16::try_from(self.guard.policy().rules.len()).expect("few");
        let routes = (0..rules).map(RouteId::Rule).chain([RouteId::Unnamed]);
        for route in routes {
            for number in 0..20_000 {
                let event = Event::Refused(Refusal::ClientBudget);
                self.telemetry.record(&[Fact { route, client: client(number), event }], self.now);
            }
            let (path, cookie) = ("ä".repeat(1000), "ö".repeat(1000));
            let gated = self.config.save_interval();
            let missed = Missed::Absence(gated);
            let cold = Warmth::Cold { missed, remaining: gated, whole: gated };
            let notices = [
                Notice::PathFlushes { route, path: path.clone() },
                Notice::PathWrites { route, path: path.clone(), gated },
                Notice::WritesAfterLogout { route, path, gated },
                Notice::OtherCookieLooksLikeKey { route, cookie },
                Notice::KeyOfOtherShape { route },
                Notice::LedgerOverflowed,
                Notice::ClientTableFull,
                Notice::ClassesFull,
                Notice::PathCreates {
                    method: "OPTIONS",
                    standing: StandingWord::Malformed,
                    path: "ü".repeat(1000),
                },
                Notice::Warmth { warmth: cold, warm_at: 0 },
            ];
            for notice in notices.iter().chain(&notices) {
                self.telemetry.notice(notice, self.now);
            }
        }
    }

    /// Others than before, one after the other, none of whom creates anything.
    pub fn passers_by(&mut self, number: usize) {
        for number in 0..u32::try_from(number).expect("few") {
            if let Some(ticket) = self.admit((1 << 24) + number, "/page/", "") {
                let _ = self.guard.settle(*ticket, Outcome::Unsent, self.now);
            }
        }
    }

    fn next_key(&mut self) -> String {
        self.keys += 1;
        let key = Secret::new([9; 16]).placeholder(self.keys);
        String::from_utf8(key.as_bytes().to_vec()).expect("ASCII")
    }

    fn admit(&self, number: u32, target: &str, key: &str) -> Option<Box<Ticket>> {
        let policy = self.guard.policy();
        let line = format!("sessionid={key}");
        let lines = (!key.is_empty()).then_some(line.as_bytes()).into_iter();
        let cookies = Cookies::read(lines, &policy.session.cookie, policy.session.key_shape);
        let request = Request {
            client: client(number),
            terms: Terms::Usual,
            challenged: Challenged::UNABLE,
            method: "GET",
            path: &path::decode(target),
            query: None,
            body: false,
            authorization: false,
            cookies: &cookies,
        };
        match self.guard.admit(&request, Patience::Spent, self.now) {
            Verdict::Forward(ticket, _) => Some(ticket),
            Verdict::Refuse { .. }
            | Verdict::Challenge { .. }
            | Verdict::Answer { .. }
            | Verdict::Wait(_) => None,
        }
    }

    fn answer(&self, ticket: Ticket, key: Option<&str>) {
        let evidence = self.evidence(key);
        let _ = self.guard.settle(ticket, Outcome::Answered(&evidence, None), self.now);
    }

    fn evidence(&self, key: Option<&str>) -> Evidence {
        let line = key.map(|key| format!("sessionid={key}; Path=/; Max-Age=1209600"));
        let lines = line.iter().map(String::as_bytes);
        Evidence::read(200, lines, &self.guard.policy().session)
    }
}

fn client(number: u32) -> Client {
    Client::new(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 ^ number)), 32)
}
