//! What the guard allocates for a decision. In a binary of its own: its allocator counts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use allocation_counter::measure;
use floodwall::config::{Config, Overrides};
use floodwall::guard::Guard;
use floodwall::guard::budget::Budgets;
use floodwall::guard::challenge::Challenged;
use floodwall::guard::client::Client;
use floodwall::guard::cookie::Cookies;
use floodwall::guard::exchange::{Outcome, Request, Ticket, Verdict};
use floodwall::guard::fact::Refusal;
use floodwall::guard::key::{Secret, SessionKey, Token};
use floodwall::guard::ledger::Patience;
use floodwall::guard::moment::Moment;
use floodwall::guard::policy::Terms;
use floodwall::guard::set_cookie::Evidence;

const NOW: Moment = Moment::from_nanos(1 << 59);
const CAPACITY: usize = 1_000;

/// Small budgets: a client may create one session, the site so many.
struct Site(Guard);

impl Site {
    fn new(site_burst: u32, more: &str) -> Self {
        let text = format!(
            r#"
{more}
[session]
unknown = "drop"
[client]
capacity = {CAPACITY}
[recycle]
spares = 1
[challenge_cookie]
ceiling = 1
[budget.anonymous]
client = {{ rate = "1/d", burst = 1 }}
site = {{ rate = "100/s", burst = {site_burst} }}
[budget.logout]
client = {{ rate = "1/d", burst = 9 }}
site = {{ rate = "1/s", burst = 100 }}
"#
        );
        let config = Config::parse("allocations", text.as_bytes(), Overrides::default());
        let policy = config.expect("a valid configuration").sites()[0].policy().clone();
        Self(Guard::new(policy, Secret::new([1; 16]), 1, NOW))
    }

    fn admit(&self, asked: &Asked) -> Verdict {
        let session = &self.0.policy().session;
        let lines = asked.cookie.iter().map(String::as_bytes);
        let cookies = Cookies::read(lines, &session.cookie, session.key_shape);
        let request = Request {
            client: Client::fold(asked.address, &self.0.policy().client),
            terms: Terms::Usual,
            challenged: asked.challenged,
            method: "GET",
            path: asked.path.as_bytes(),
            query: None,
            body: false,
            authorization: false,
            cookies: &cookies,
        };
        // What is read before, whoever reads it, is no part of the decision.
        let mut verdict = None;
        let allocated = measure(|| verdict = Some(self.0.admit(&request, Patience::Spent, NOW)));
        let verdict = verdict.expect("it was asked");
        match &verdict {
            Verdict::Refuse { why, .. } => {
                assert_eq!(allocated.count_total, 0, "{why:?} allocates");
            }
            Verdict::Challenge { .. } => assert_eq!(allocated.count_total, 0, "a challenge"),
            Verdict::Forward(..) => assert_eq!(allocated.count_total, asked.allocates, "{asked:?}"),
            Verdict::Answer { .. } | Verdict::Wait(_) => unreachable!("no such rule, no patience"),
        }
        verdict
    }

    fn forwarded(&self, asked: &Asked) -> Box<Ticket> {
        match self.admit(asked) {
            Verdict::Forward(ticket, _) => ticket,
            other => panic!("{asked:?}: {other:?}"),
        }
    }

    /// A session for each of these.
    fn create<'a>(&self, asked: impl IntoIterator<Item = &'a Asked>) {
        for (number, asked) in (0..).zip(asked) {
            if let Verdict::Forward(ticket, _) = self.admit(asked) {
                self.answer(ticket, Some(key(number)));
            }
        }
    }

    fn answer(&self, ticket: Box<Ticket>, key: Option<SessionKey>) {
        let line = key.map(|key| format!("sessionid={}", text(key)));
        let lines = line.iter().map(String::as_bytes);
        let evidence = Evidence::read(200, lines, &self.0.policy().session);
        let outcome = Outcome::Answered(&evidence, None);
        let allocated = measure(|| drop(self.0.settle(ticket, outcome, NOW)));
        if key.is_none() {
            assert_eq!(allocated.count_total, 0, "an answer that sets no session");
        }
    }

    fn refusal(&self, asked: &Asked) -> Refusal {
        match self.admit(asked) {
            Verdict::Refuse { why, .. } => why,
            other => panic!("{asked:?}: {other:?}"),
        }
    }
}

fn key(number: u64) -> SessionKey {
    Secret::new([9; 16]).placeholder(number)
}

fn text(key: SessionKey) -> String {
    String::from_utf8(key.as_bytes().to_vec()).expect("ASCII")
}

#[derive(Debug)]
struct Asked {
    address: IpAddr,
    path: &'static str,
    cookie: Option<String>,
    challenged: Challenged,
    /// How often something is allocated where it is forwarded.
    allocates: u64,
}

impl Asked {
    /// A page of no rule, from a client of this number. The ticket is allocated, and the path that
    /// its answer will teach of.
    fn page(client: u32) -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::from_bits(client)),
            path: "/a/page/",
            cookie: None,
            challenged: Challenged::UNABLE,
            allocates: 2,
        }
    }

    /// The same from another /64 of one /56.
    fn wide(number: u16) -> Self {
        let address = Ipv6Addr::new(0x2001, 0xdb8, 0, number, 0, 0, 0, 1);
        Self { address: IpAddr::V6(address), ..Self::page(0) }
    }

    fn returns(client: u32, token: u64) -> Self {
        Self { challenged: Challenged::Passed(Token(token)), ..Self::page(client) }
    }

    fn logout(client: u32) -> Self {
        Self { path: "/accounts/logout/", ..Self::page(client) }
    }
}

const CHALLENGE: &str = "challenge = \"cookie\"";

#[test]
fn a_refusal_allocates_nothing_whatever_its_reason() {
    for why in Refusal::ALL {
        let (site, refused) = match why {
            Refusal::ClientBudget => {
                let site = Site::new(100, "");
                site.create(&[Asked::page(1)]);
                (site, Asked::page(1))
            }
            Refusal::WideBudget => {
                let site = Site::new(100, "");
                site.create(&[0, 1, 2, 3].map(Asked::wide));
                (site, Asked::wide(4))
            }
            Refusal::Ceiling => {
                let site = Site::new(100, CHALLENGE);
                site.create(&[1, 2].map(|token| Asked::returns(1, token)));
                (site, Asked::returns(1, 3))
            }
            Refusal::SiteShort => {
                let site = Site::new(4, CHALLENGE);
                site.create(&[1, 2].map(Asked::page));
                (site, Asked::page(3))
            }
            Refusal::SiteBudget => {
                let site = Site::new(1, "");
                site.create(&[Asked::page(1)]);
                (site, Asked::page(2))
            }
            Refusal::TableFull => {
                let site = Site::new(1_000_000, "");
                let mut clients = 1..;
                while site.0.status(NOW).clients.used < Budgets::places(CAPACITY) {
                    let some: Vec<Asked> = clients.by_ref().take(1_000).map(Asked::page).collect();
                    site.create(&some);
                }
                // The first that finds no place spends what all those share.
                site.create(clients.by_ref().take(1).map(Asked::page).collect::<Vec<_>>().iter());
                (site, Asked::page(u32::MAX))
            }
            Refusal::NoSpare => {
                let site = Site::new(100, "");
                let ticket = site.forwarded(&Asked { allocates: 4, ..Asked::logout(1) });
                let evidence = |number| {
                    let line = format!("sessionid={}", text(key(number)));
                    let session = &site.0.policy().session;
                    Evidence::read(200, std::iter::once(line.as_bytes()), session)
                };
                let (first, second) = (evidence(1), evidence(2));
                let _ = site.0.settle(*ticket, Outcome::Answered(&first, Some(&second)), NOW);
                // It has the only spare, for as long as it is under way.
                let _ = site.forwarded(&Asked::logout(2));
                (site, Asked::logout(3))
            }
        };
        assert_eq!(site.refusal(&refused), why);
    }
}

#[test]
fn a_challenge_and_a_refusal_of_its_failing_allocate_nothing() {
    let site = Site::new(100, CHALLENGE);
    site.create(&[Asked::page(1)]);
    let possible = Asked { challenged: Challenged::No { replayable: true }, ..Asked::page(1) };
    assert!(matches!(site.admit(&possible), Verdict::Challenge { .. }));
    let failed = Asked { challenged: Challenged::Failed, ..Asked::page(1) };
    assert_eq!(site.refusal(&failed), Refusal::ClientBudget);
}

/// One ticket; and where the answer teaches something of the path, that.
#[test]
fn what_is_forwarded_allocates_a_ticket_and_the_path_that_it_teaches_of() {
    let site = Site::new(100, "");
    site.create(&[Asked::page(1)]);
    let cookie = |number| Some(format!("sessionid={}", text(key(number))));
    // Its session is known, so its answer teaches nothing.
    let known = Asked { cookie: cookie(0), allocates: 1, ..Asked::page(1) };
    let made_up = Asked { cookie: cookie(7), ..Asked::page(3) };
    for asked in [known, Asked::page(2), made_up] {
        let ticket = site.forwarded(&asked);
        site.answer(ticket, None);
    }
}
