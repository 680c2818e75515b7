//! An honest user: logs in, reads, writes to the session, logs out, and comes back.
//!
//! Each step knows what a healthy site answers, so a transcript says what failed and why. Two
//! transcripts of the same visit, one direct and one through a proxy, can be compared: nothing in
//! [`Transcript::lines`] depends on the address, on keys or on time.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use super::Target;
use super::browser::{Browser, Page};
use super::flood::percentile;

/// A user who is about to visit the site.
#[derive(Clone, Debug)]
pub struct Visit {
    pub target: Target,
    /// The address that the user comes from.
    pub source: Ipv4Addr,
    pub user: String,
    /// Between two steps: a person reads what came. Without one a user logs in several times a
    /// second, which any budget for logins takes for an attack before long.
    pub pause: Duration,
    /// What the browser calls the site; `None`: by its address.
    pub host: Option<String>,
}

impl Visit {
    pub fn new(target: Target, user: &str) -> Self {
        Self {
            target,
            source: Ipv4Addr::LOCALHOST,
            user: user.to_owned(),
            pause: Duration::ZERO,
            host: None,
        }
    }

    /// So many rounds from login to logout, in one browser.
    pub fn rounds(&self, count: usize) -> Transcript {
        let mut done = 0;
        self.until(|| {
            done += 1;
            done >= count
        })
    }

    /// Whole rounds, at least one, until `enough` says so after one of them.
    pub fn until(&self, mut enough: impl FnMut() -> bool) -> Transcript {
        let host = self.host.clone().unwrap_or_else(|| self.target.to_string());
        let mut walk = Walk {
            browser: Browser::with_host(self.target, self.source, host),
            pause: self.pause,
            transcript: Transcript::default(),
        };
        loop {
            walk.round(&self.user);
            walk.transcript.rounds += 1;
            if enough() {
                return walk.transcript;
            }
        }
    }
}

struct Walk {
    browser: Browser,
    pause: Duration,
    transcript: Transcript,
}

impl Walk {
    fn round(&mut self, user: &str) {
        let own_cart = format!("user={user}");
        self.step("login page", "Log in", |browser| browser.get("/accounts/login/"));
        self.step("log in", &own_cart, |browser| {
            browser.post("/accounts/login/", &[("username", user), ("password", "secret")])
        });
        self.step("read", &own_cart, |browser| browser.get("/read/"));
        // Counting up by one each time shows that it is the same session every time.
        for count in 1..=3 {
            self.step("write", &format!("count={count}"), |browser| browser.get("/write/"));
            self.step("read", &own_cart, |browser| browser.get("/read/"));
        }
        self.step("log out", "Logged out", |browser| browser.get("/accounts/logout/"));
        self.step("read, logged out", "user=anonymous", |browser| browser.get("/read/"));
    }

    /// A step succeeds if it ends with status 200 and a page that says what was expected.
    fn step(
        &mut self,
        what: &'static str,
        expected: &str,
        act: impl FnOnce(&mut Browser) -> std::io::Result<Page>,
    ) {
        let started = Instant::now();
        let result = act(&mut self.browser);
        let latency = started.elapsed();
        let (hops, gist, failure) = match result {
            Ok(page) => {
                let gist = page.gist();
                let as_expected = page.status() == 200 && gist.ends_with(expected);
                let failure = (!as_expected).then(|| {
                    format!("status {}, \"{gist}\" instead of \"{expected}\"", page.status())
                });
                (page.hops, gist, failure)
            }
            Err(error) => (Vec::new(), String::new(), Some(error.to_string())),
        };
        self.transcript.steps.push(Step { what, hops, gist, failure, latency });
        thread::sleep(self.pause);
    }
}

/// What the user did and saw.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    pub steps: Vec<Step>,
    /// From login to logout.
    pub rounds: usize,
}

#[derive(Clone, Debug)]
pub struct Step {
    pub what: &'static str,
    /// Method and path, and the status: one for each request that the step took.
    pub hops: Vec<(String, u16)>,
    pub gist: String,
    /// Why it did not succeed.
    pub failure: Option<String>,
    pub latency: Duration,
}

impl Transcript {
    pub fn successes(&self) -> usize {
        self.steps.iter().filter(|step| step.failure.is_none()).count()
    }

    pub fn failures(&self) -> impl Iterator<Item = String> {
        self.steps.iter().filter_map(|s| Some(format!("{}: {}", s.what, s.failure.as_ref()?)))
    }

    pub fn percentile(&self, percent: u32) -> Duration {
        let mut latencies: Vec<_> = self.steps.iter().map(|step| step.latency).collect();
        latencies.sort_unstable();
        percentile(&latencies, percent)
    }

    /// One line for each step, the same for every run in which the user sees the same.
    pub fn lines(&self) -> Vec<String> {
        let hops = |step: &Step| {
            step.hops
                .iter()
                .map(|(request, status)| format!("{request} {status}, "))
                .collect::<String>()
        };
        self.steps
            .iter()
            .map(|step| {
                format!(
                    "{}: {}{}",
                    step.what,
                    hops(step),
                    step.failure.as_ref().unwrap_or(&step.gist)
                )
            })
            .collect()
    }
}
