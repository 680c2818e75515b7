//! What became of requests, counted: by route, by reason, by client, in floods. Bounded, whatever is
//! in the log.

use std::time::Duration;

use crate::guard::client::Client;
use crate::guard::exchange::Facts;
use crate::guard::fact::{Event, Fact, Refusal, RouteId};
use crate::guard::moment::Moment;
use crate::guard::policy::Policy;
use crate::telemetry::flood::{FloodRecord, FloodSettings, Floods, Phase};
use crate::telemetry::sketch::{Clients, TopClient};
use crate::telemetry::tally::Tally;

/// What the guard said of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Forwarded,
    Refused(Refusal),
    Challenged,
    Answered,
}

impl Said {
    /// The word for it in the access log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Refused(_) => "refused",
            Self::Challenged => "challenged",
            Self::Answered => "answered",
        }
    }
}

/// The counts of one route.
#[derive(Clone, Debug, Default)]
pub struct Route {
    pub seen: u64,
    pub forwarded: u64,
    pub tally: Tally,
}

impl Route {
    fn add(&mut self, other: &Self) {
        self.seen += other.seen;
        self.forwarded += other.forwarded;
        self.tally.add_all(&other.tally);
    }

    /// Forwarded with a spare.
    pub fn recycled(&self) -> u64 {
        self.tally.count(Event::Recycled)
    }
}

/// The counts of a site.
pub struct Tables {
    /// The policy's rules, and what none names.
    routes: Vec<Route>,
    refused: Clients,
    floods: Floods,
    /// That would have been told of.
    pub flooded: Vec<FloodRecord>,
    /// Floods that are not in `flooded`.
    pub more_floods: u64,
    ticked: Moment,
}

impl Tables {
    /// Floods that are told of one by one.
    const FLOODS: usize = 50;
    /// Clients that are named.
    const TOP: usize = 10;

    pub fn new(policy: &Policy, floods: FloodSettings, now: Moment) -> Self {
        let names: Vec<String> = policy.rules.iter().map(|rule| rule.name.clone()).collect();
        Self {
            routes: vec![Route::default(); names.len() + 1],
            refused: Clients::new(),
            floods: Floods::new(&names, floods),
            flooded: Vec::new(),
            more_floods: 0,
            ticked: now,
        }
    }

    /// What was said of a request.
    pub fn admitted(&mut self, client: Client, said: Said, facts: &Facts, now: Moment) {
        let route = self.route(facts.route());
        route.seen += 1;
        match said {
            Said::Forwarded => route.forwarded += 1,
            Said::Refused(_) | Said::Challenged | Said::Answered => {}
        }
        let kept_out = |fact: &Fact| {
            matches!(fact.event, Event::Refused(_) | Event::Challenged | Event::WouldRefuse(_))
        };
        if facts.as_slice().iter().any(kept_out) {
            self.refused.add(client);
        }
        self.happened(facts, now);
    }

    /// What an answer, or an admission, brought about.
    pub fn happened(&mut self, facts: &Facts, now: Moment) {
        let facts = facts.as_slice();
        if facts.is_empty() {
            return;
        }
        for fact in facts {
            self.route(fact.route).tally.add(fact.event);
        }
        // Where floods end is looked at as the telemetry does, before they go on.
        self.tick(now);
        self.floods.record(facts, now);
    }

    /// Ends floods that have become quiet. `now` is in the time of the log.
    fn tick(&mut self, now: Moment) {
        if now.since(self.ticked) >= Duration::from_secs(1) {
            self.ticked = now;
            let told = self.floods.tick(now);
            self.keep(told);
        }
    }

    /// No more requests come.
    pub fn end(&mut self, now: Moment) {
        self.ticked = now;
        let told = self.floods.tick(now);
        self.keep(told);
        let told = self.floods.finish(now);
        self.keep(told);
    }

    fn keep(&mut self, told: Vec<FloodRecord>) {
        for record in told.into_iter().filter(|record| record.phase == Phase::Ended) {
            if self.flooded.len() < Self::FLOODS {
                self.flooded.push(record);
            } else {
                self.more_floods += 1;
            }
        }
    }

    fn route(&mut self, route: RouteId) -> &mut Route {
        let last = self.routes.len() - 1;
        let index = match route {
            RouteId::Rule(rule) => usize::from(rule).min(last),
            RouteId::Unnamed => last,
        };
        &mut self.routes[index]
    }

    /// The policy's rules in their order, and what none names.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// All routes together.
    pub fn whole(&self) -> Route {
        let mut whole = Route::default();
        self.routes.iter().for_each(|route| whole.add(route));
        whole
    }

    /// Those who were refused or challenged most.
    pub fn top(&self) -> Vec<TopClient> {
        self.refused.top(Self::TOP)
    }
}
