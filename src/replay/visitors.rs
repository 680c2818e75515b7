//! Visitors: who is behind the requests of a log without cookies, as well as one can tell.
//!
//! A visitor is a client with one user agent. It *looks honest* if its agent is a browser's, it has
//! logged in, or has fetched what pages need (styles, scripts, pictures) besides pages, and it asked
//! for what was refused to it no more than [`Visitors::PATIENT`] times: nobody logs out more often
//! than that. Some of a flood may look so, and some honest program may not.
//!
//! Two generations of `Visitors::GENERATION` visitors are remembered: when one is full, those that
//! were not seen since the one before are judged and forgotten.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::guard::client::Client;
use crate::guard::fact::{Refusal, RouteId};
use crate::guard::key::SessionKey;

/// What is known of a visitor.
#[derive(Default)]
pub struct Visitor {
    requests: u32,
    assets: u32,
    logins: u32,
    refused: u32,
    /// The session that it has, in a world where it has one.
    pub session: Option<SessionKey>,
    first: Option<Box<Hit>>,
}

/// A visitor that looks honest and was refused.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Of the first refusal, in milliseconds since 1970.
    pub unix_ms: u64,
    pub client: Client,
    pub agent: String,
    pub method: String,
    /// Without its query, which may hold what is nobody's business.
    pub path: String,
    pub route: RouteId,
    pub why: Refusal,
    /// How often it was refused, of so many requests.
    pub refused: u32,
    pub requests: u32,
    pub logged_in: bool,
    browser: bool,
}

/// Why a request was refused, with what is told of it.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    pub unix_ms: u64,
    pub client: Client,
    pub agent: &'a [u8],
    pub method: &'a str,
    pub path: &'a str,
    pub route: RouteId,
    pub why: Refusal,
}

/// Everybody who was seen lately.
pub struct Visitors {
    new: Generation,
    old: Generation,
    /// Those that look honest and were refused.
    pub hits: Vec<Hit>,
    /// How many there were, also of those that are not in `hits`.
    pub hit: u64,
    /// How many were refused, whatever they look like.
    pub refused: u64,
    /// How many logged in.
    pub logged_in: u64,
    most: usize,
}

type Generation = HashMap<u64, Visitor, BuildHasherDefault<AsItIs>>;

impl Visitors {
    /// A visitor that was refused more often than this looks like nobody honest.
    pub const PATIENT: u32 = 20;
    /// Of pages and what they need an honest visitor has fetched at least this much.
    pub const ASSETS: u32 = 1;
    const GENERATION: usize = 1 << 18;

    /// The criterion, in words.
    pub const WORDS: &'static str = "a visitor is a client with one user agent; it looks honest if the \
        agent is a browser's, it has logged in or has fetched styles, scripts or pictures, and it was \
        refused 20 times at most";

    /// Nobody yet; `most` of those that are hit are told of one by one.
    pub fn new(most: usize) -> Self {
        Self {
            new: Generation::default(),
            old: Generation::default(),
            hits: Vec::new(),
            hit: 0,
            refused: 0,
            logged_in: 0,
            most,
        }
    }

    /// A visitor asks for something.
    pub fn meet(&mut self, visitor: u64, asset: bool) -> &mut Visitor {
        if self.new.len() >= Self::GENERATION && !self.new.contains_key(&visitor) {
            let old = std::mem::replace(&mut self.old, std::mem::take(&mut self.new));
            self.new.reserve(Self::GENERATION);
            old.into_values().for_each(|visitor| self.judge(visitor));
        }
        let old = &mut self.old;
        let take = || old.remove(&visitor).unwrap_or_default();
        let met = self.new.entry(visitor).or_insert_with(take);
        met.requests = met.requests.saturating_add(1);
        met.assets = met.assets.saturating_add(u32::from(asset));
        met
    }

    /// No more requests come.
    pub fn end(&mut self) {
        for generation in [std::mem::take(&mut self.old), std::mem::take(&mut self.new)] {
            generation.into_values().for_each(|visitor| self.judge(visitor));
        }
        self.hits.sort_by_key(|hit| (!hit.logged_in, hit.unix_ms));
    }

    fn judge(&mut self, visitor: Visitor) {
        self.logged_in += u64::from(visitor.logins > 0);
        let Some(first) = visitor.first else { return };
        self.refused += 1;
        let fetches = visitor.assets >= Self::ASSETS && visitor.requests > visitor.assets;
        let logged_in = visitor.logins > 0;
        if !first.browser || visitor.refused > Self::PATIENT || !(fetches || logged_in) {
            return;
        }
        self.hit += 1;
        let (refused, requests) = (visitor.refused, visitor.requests);
        let hit = Hit { refused, requests, logged_in, ..*first };
        if self.hits.len() < self.most {
            self.hits.push(hit);
        } else if logged_in && let Some(last) = self.hits.iter_mut().find(|hit| !hit.logged_in) {
            // Whoever has an account matters more.
            *last = hit;
        }
    }
}

impl Visitor {
    /// It has logged in.
    pub fn logs_in(&mut self) {
        self.logins = self.logins.saturating_add(1);
    }

    /// It was refused.
    pub fn is_refused(&mut self, refused: &Refused<'_>) {
        const AGENT: usize = 120;
        const PATH: usize = 200;
        self.refused = self.refused.saturating_add(1);
        if self.first.is_some() {
            return;
        }
        let cut = |bytes: &[u8], most: usize| {
            String::from_utf8_lossy(&bytes[..bytes.len().min(most)]).into_owned()
        };
        self.first = Some(Box::new(Hit {
            unix_ms: refused.unix_ms,
            client: refused.client,
            agent: cut(refused.agent, AGENT),
            method: cut(refused.method.as_bytes(), 16),
            path: cut(refused.path.as_bytes(), PATH),
            route: refused.route,
            why: refused.why,
            refused: 0,
            requests: 0,
            logged_in: false,
            browser: is_browser(refused.agent),
        }));
    }
}

/// Whether an agent calls itself as browsers do, and not a robot or a library.
fn is_browser(agent: &[u8]) -> bool {
    const ROBOTS: [&str; 14] = [
        "bot", "crawl", "spider", "slurp", "curl", "wget", "python", "java/", "go-http", "scan",
        "headless", "monitor", "preview", "http://",
    ];
    if !agent.starts_with(b"Mozilla/") && !agent.starts_with(b"Opera/") {
        return false;
    }
    let agent = agent.to_ascii_lowercase();
    !ROBOTS.iter().any(|robot| memchr::memmem::find(&agent, robot.as_bytes()).is_some())
}

/// Keys that are hashes already, of a key that nobody knows.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const BROWSER: &[u8] =
        b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

    fn refused(agent: &[u8]) -> Refused<'_> {
        let client = Client::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 32);
        let (route, why) = (RouteId::Rule(0), Refusal::ClientBudget);
        Refused { unix_ms: 1, client, agent, method: "GET", path: "/logout/", route, why }
    }

    fn hits(agent: &[u8], assets: usize, logs_in: bool, refusals: usize) -> u64 {
        let mut visitors = Visitors::new(1);
        for asset in 0..assets {
            visitors.meet(7, asset >= 1);
        }
        if logs_in {
            visitors.meet(7, false).logs_in();
        }
        for _ in 0..refusals {
            visitors.meet(7, false).is_refused(&refused(agent));
        }
        visitors.end();
        visitors.hit
    }

    #[test]
    fn honest_is_who_has_a_browser_an_account_or_pictures_and_patience() {
        assert_eq!(hits(BROWSER, 0, true, 1), 1);
        assert_eq!(hits(BROWSER, 2, false, 1), 1);
        assert_eq!(hits(BROWSER, 2, true, 20), 1);
        assert_eq!(hits(BROWSER, 0, false, 1), 0);
        assert_eq!(hits(BROWSER, 2, true, 21), 0);
        assert_eq!(hits(BROWSER, 2, true, 0), 0);
        for agent in [&b"curl/8"[..], b"", b"Mozilla/5.0 (compatible; Googlebot/2.1)"] {
            assert_eq!(hits(agent, 2, true, 1), 0);
        }
    }

    #[test]
    fn however_many_come_some_are_remembered_and_all_are_judged() {
        let mut visitors = Visitors::new(3);
        let many = 3 * Visitors::GENERATION as u64;
        for number in 0..many {
            visitors.meet(number, true);
            visitors.meet(number, false).is_refused(&refused(BROWSER));
            assert!(visitors.new.len() + visitors.old.len() <= 2 * Visitors::GENERATION);
        }
        visitors.end();
        assert_eq!((visitors.hit, visitors.refused, visitors.hits.len()), (many, many, 3));
    }
}
