//! What a replay has found, for whoever prints it.

mod json;
mod text;

use serde_json::Value;

use super::Setting;
use super::exact::Exactness;
use super::lines::{Counts, Format};
use super::tables::Tables;
use super::visitors::{Hit, Visitors};
use super::world::{Kind, World};
use crate::guard::fact::RouteId;
use crate::guard::moment::Moment;
use crate::telemetry::flood::FloodRecord;
use crate::telemetry::sketch::TopClient;

pub use super::tables::Route;

/// All of it.
#[derive(Debug)]
pub struct Report {
    pub site: String,
    pub mode: &'static str,
    /// The rules in their order, and what stands for none.
    pub rules: Vec<String>,
    pub read: Read,
    pub assumed: Option<&'static str>,
    pub worlds: Vec<WorldReport>,
    pub exact: Option<Exactness>,
}

/// What was read.
#[derive(Debug)]
pub struct Read {
    /// In the order in which they were read.
    pub logs: Vec<(String, Format)>,
    pub counts: Counts,
    /// About so many.
    pub clients: u64,
}

/// What became of the requests in one world.
#[derive(Debug)]
pub struct WorldReport {
    /// `None`: in ours.
    pub kind: Option<Kind>,
    pub routes: Vec<Route>,
    pub whole: Route,
    pub top: Vec<TopClient>,
    pub floods: Vec<FloodRecord>,
    pub more_floods: u64,
    /// When the first moment of a record was, in milliseconds since 1970.
    pub origin_unix_ms: u64,
    pub visitors: Option<VisitorReport>,
    /// Lines that were older than those before, and by how much at most, in milliseconds.
    pub older: (u64, u64),
}

/// Who was refused.
#[derive(Debug)]
pub struct VisitorReport {
    pub hits: Vec<Hit>,
    pub hit: u64,
    pub refused: u64,
    pub logged_in: u64,
}

impl WorldReport {
    /// At its end.
    pub fn of(world: World<'_>) -> Self {
        let World { kind, tables, visitors, clock, .. } = world;
        let Visitors { hits, hit, refused, logged_in, .. } = visitors;
        Self {
            kind: Some(kind),
            visitors: Some(VisitorReport { hits, hit, refused, logged_in }),
            older: (clock.older, clock.oldest_ms),
            ..Self::of_tables(tables, clock.origin_unix_ms())
        }
    }

    /// When a moment was, in milliseconds since 1970.
    fn unix_ms(&self, at: Moment) -> u64 {
        let start = Moment::from_nanos(0).after(Moment::HEADROOM);
        let since = u64::try_from(at.since(start).as_millis()).unwrap_or(u64::MAX);
        self.origin_unix_ms.saturating_add(since)
    }

    /// Of tables alone.
    pub fn of_tables(tables: Tables, origin_unix_ms: u64) -> Self {
        Self {
            kind: None,
            routes: tables.routes().to_vec(),
            whole: tables.whole(),
            top: tables.top(),
            floods: tables.flooded,
            more_floods: tables.more_floods,
            origin_unix_ms,
            visitors: None,
            older: (0, 0),
        }
    }
}

impl Report {
    pub(super) fn of_worlds(setting: &Setting, read: Read, worlds: Vec<WorldReport>) -> Self {
        Self { assumed: Some(setting.assume.words()), ..Self::new(setting, read, worlds) }
    }

    pub(super) fn new(setting: &Setting, read: Read, worlds: Vec<WorldReport>) -> Self {
        let rules = setting.policy.rules.iter().map(|rule| rule.name.clone());
        Self {
            site: setting.site.clone(),
            mode: setting.policy.mode.word(),
            rules: rules.chain([String::from("(no rule)")]).collect(),
            read,
            assumed: None,
            worlds,
            exact: None,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        text::of(self)
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json::of(self)
    }

    fn rule(&self, route: RouteId) -> &str {
        let index = match route {
            RouteId::Rule(rule) => usize::from(rule).min(self.rules.len() - 1),
            RouteId::Unnamed => self.rules.len() - 1,
        };
        &self.rules[index]
    }
}
