//! What is kept for each route, over reloads: a rule is known by its name.

use std::sync::Arc;

use super::UNNAMED;
use crate::guard::fact::RouteId;

/// One `T` for each rule of a policy, and one for what no rule names. Those of earlier policies are
/// kept for as long as there is something to be told of them.
pub(super) struct Routes<T> {
    /// The policy's rules, in their order.
    rules: Vec<Route<T>>,
    gone: Vec<Route<T>>,
    unnamed: Arc<T>,
}

struct Route<T> {
    /// Fit for a line.
    name: String,
    kept: Arc<T>,
}

impl<T> Clone for Route<T> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), kept: Arc::clone(&self.kept) }
    }
}

impl<T> Routes<T> {
    /// For the rules of these names, which are fit for a line.
    pub(super) fn new(names: &[String], make: impl Fn() -> T) -> Self {
        let route = |name: &String| Route { name: name.clone(), kept: Arc::new(make()) };
        let rules = names.iter().map(route).collect();
        Self { rules, gone: Vec::new(), unnamed: Arc::new(make()) }
    }

    /// The same for other rules. Of those that are gone the ones stay that `matter`, or that
    /// exchanges may still tell of.
    pub(super) fn followed_by(
        &self,
        names: &[String],
        make: impl Fn() -> T,
        matters: impl Fn(&T) -> bool,
    ) -> Self {
        let all = || self.rules.iter().chain(&self.gone);
        let route = |name: &String| {
            let known = all().find(|known| known.name == *name).cloned();
            known.unwrap_or_else(|| Route { name: name.clone(), kept: Arc::new(make()) })
        };
        let rules = names.iter().map(route).collect();
        let gone = all().filter(|route| !names.contains(&route.name));
        // Besides those of before, which may still be in use, nobody has one that was gone then.
        let last = |route: &Route<T>| {
            let rule = self.rules.iter().any(|rule| rule.name == route.name);
            !rule && Arc::strong_count(&route.kept) == 1
        };
        let gone = gone.filter(|route| matters(&route.kept) || !last(route)).cloned().collect();
        Self { rules, gone, unnamed: Arc::clone(&self.unnamed) }
    }

    /// What is kept for a route, and the route that it counts as: a rule that was not announced
    /// counts as unnamed.
    pub(super) fn of(&self, route: RouteId) -> (RouteId, &T) {
        let rule = match route {
            RouteId::Rule(rule) => self.rules.get(usize::from(rule)),
            RouteId::Unnamed => None,
        };
        rule.map_or((RouteId::Unnamed, &*self.unnamed), |rule| (route, &*rule.kept))
    }

    /// Everything that is kept. Rules that are gone have numbers behind those that there are.
    pub(super) fn all(&self) -> impl Iterator<Item = (RouteId, &T)> {
        let rules = self.rules.iter().chain(&self.gone).zip(0..);
        let rules = rules.map(|(route, number)| (RouteId::Rule(number), &*route.kept));
        rules.chain([(RouteId::Unnamed, &*self.unnamed)])
    }

    /// The name of a route, fit for a line.
    pub(super) fn name(&self, route: RouteId) -> &str {
        let rule = match route {
            RouteId::Rule(rule) => self.rules.iter().chain(&self.gone).nth(usize::from(rule)),
            RouteId::Unnamed => None,
        };
        rule.map_or(UNNAMED, |rule| &rule.name)
    }
}
