//! Seeded floods against the model: every release, everything mixed.

use std::sync::Arc;
use std::time::Duration;

use super::super::policy::Policy;
use super::django::{Django, Release};
use super::people::{ATTACKER, Honest, Loot, Plan, attack};
use super::support::*;
use super::world::World;

struct Flood {
    /// What reloads are made of: now and then the policy is replaced.
    policies: Vec<Policy>,
    world: World,
    honest: Vec<Honest>,
    loot: Loot,
    plan: Plan,
    steps: usize,
}

impl Flood {
    fn new(seed: u64) -> Self {
        let mut rng = Random(seed);
        let release = rng.pick(&Release::ALL);
        let mut django = Django::new(release, rng.percent(15));
        let mut policy = policy();
        policy.recycle.spares = rng.pick(&[1, 3, 4, 16]);
        policy.recycle.spacing = rng.pick(&[0, 3]);
        let plan = Plan {
            addresses: rng.pick(&[1, 3, 1000]),
            vanishing: rng.percent(40),
            odd_views: rng.percent(50),
        };
        // One from the attackers' own address, two from elsewhere, the last of them with a session
        // from the day before the guard was installed.
        let mut honest: Vec<_> = [v4(0), v4(5001), v4(5002)]
            .into_iter()
            .zip(1..)
            .map(|(c, n)| Honest::new(n, c))
            .collect();
        let _ = django.serve(3, "GET", "/login/", None, START);
        let first = django.store.keys().next().cloned();
        let answer = django.serve(3, "POST", "/login/?right", first.as_deref(), START);
        honest[2].jar = answer.set;
        let policies = if rng.percent(50) { Vec::new() } else { stricter(&policy) };
        let mut world = World::new(guard(policy), django, seed ^ 0xabcd);
        (world.lost, world.unsent) = if rng.percent(50) { (0, 0) } else { (8, 4) };
        world.begin();
        Self { policies, world, honest, loot: Loot::default(), plan, steps: 700 }
    }

    fn run(&mut self) {
        self.run_with(|_, _| {});
    }

    /// Something else happens before each step.
    fn run_with(&mut self, meanwhile: impl Fn(&mut World, usize)) {
        for step in 0..self.steps {
            meanwhile(&mut self.world, step);
            match self.world.rng.below(10) {
                0 => attack(&mut self.world, &mut self.loot, self.plan),
                1 => {
                    let one = self.world.rng.below(self.honest.len());
                    self.honest[one].act(&mut self.world);
                }
                2 => {
                    // Now and then so long that paths which nobody used meanwhile may lose slots.
                    let most = if self.world.rng.percent(2) { 900_000 } else { 400 };
                    let span = self.world.rng.below(most) as u64;
                    self.world.pass(Duration::from_millis(span));
                }
                3 if !self.policies.is_empty() && self.world.rng.percent(30) => {
                    let policy = self.world.rng.below(self.policies.len());
                    self.world.reload(self.policies[policy].clone());
                }
                _ => {
                    self.world.step();
                }
            }
            self.deliver();
        }
        self.world.drain();
    }

    fn deliver(&mut self) {
        for done in std::mem::take(&mut self.world.done) {
            match done.who {
                ATTACKER => self.loot.take(&done),
                who => self.honest[who as usize - 1].take(&done),
            }
        }
    }
}

/// A policy, and some that allow no more: whatever is in force, its promise holds.
fn stricter(policy: &Policy) -> Vec<Policy> {
    let (mut slower, mut fewer, mut other) = (policy.clone(), policy.clone(), policy.clone());
    for budget in &mut slower.budgets {
        budget.site = quota(8, 3 * SECOND);
        budget.client = quota(4, 7 * SECOND);
    }
    fewer.budgets[0].client = quota(1, SECOND);
    fewer.budgets[0].site = quota(2, SECOND / 2);
    fewer.session.in_flight_per_key = 1;
    fewer.learned.passes = 1;
    fewer.client.ipv6_tiers[0].factor = count(1);
    // Its rules are in another order, and logins draw on what everybody draws on.
    other.budgets.truncate(1);
    other.rules[1].budget = 0;
    other.rules.reverse();
    vec![policy.clone(), slower, fewer, other]
}

fn run_seeds(seeds: std::ops::Range<u64>, run: impl Fn(u64)) {
    for seed in seeds {
        // Which seed failed stands above the panic's own message.
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed)));
        if let Err(panic) = failed {
            eprintln!("seed {seed} failed");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn whatever_is_tried_the_store_grows_no_faster_than_the_budgets_allow() {
    run_seeds(seeds(100, 5_000), |seed| Flood::new(seed).run());
}

#[test]
fn what_is_explained_is_what_happens_and_nothing_comes_of_it() {
    run_seeds(seeds(30, 1_000), |seed| {
        let mut flood = Flood::new(seed);
        flood.world.explains = true;
        flood.run();
    });
}

/// Reloads that change nothing are noticed by nobody: the same things happen with and without.
#[test]
fn a_reload_of_the_same_policy_changes_no_verdict() {
    run_seeds(seeds(30, 1_000), |seed| {
        let happens = |every: usize| {
            let mut flood = Flood::new(seed);
            flood.policies.clear();
            flood.run_with(|world, step| {
                if step % every == every - 1 {
                    world.reload(world.guard.policy().clone());
                }
            });
            let refused: Vec<usize> = flood.honest.iter().map(|honest| honest.refused).collect();
            let Flood { world, .. } = flood;
            let keys: Vec<String> = world.django.store.keys().cloned().collect();
            (world.events, world.held.total, world.guard.status(world.now), refused, keys)
        };
        assert_eq!(happens(usize::MAX), happens(3));
    });
}

/// While the site's budgets last, floods from elsewhere never refuse newcomers at a human pace, and
/// they get to the end of their visits.
#[test]
fn paced_newcomers_get_through_while_the_budgets_that_concern_them_last() {
    run_seeds(seeds(8, 300), |seed| {
        let mut flood = Flood::new(seed);
        let mut policy = policy();
        // Three addresses and two wide prefixes cannot spend this.
        for budget in &mut policy.budgets {
            budget.site = quota(2_000, SECOND / 50);
        }
        policy.rules.retain(|rule| seed % 2 == 0 || rule.name != "logout");
        flood.plan = Plan { addresses: 3, vanishing: false, odd_views: true };
        flood.world.guard = Arc::new(guard(policy));
        flood.world.begin();
        flood.honest.remove(0);
        for (honest, who) in flood.honest.iter_mut().zip(1..) {
            *honest = Honest::new(who, v4(5000 + who));
        }
        for _ in 0..60 {
            for _ in 0..10 {
                attack(&mut flood.world, &mut flood.loot, flood.plan);
                flood.world.step();
            }
            for one in 0..flood.honest.len() {
                flood.honest[one].act(&mut flood.world);
            }
            flood.world.drain();
            flood.deliver();
            flood.world.pass(2 * SECOND);
        }
        for honest in &flood.honest {
            assert_eq!(honest.refused, 0, "a newcomer was refused");
            // Another client's flush of the same path may be what cost a try, never a budget.
            assert!(honest.finished >= 5, "{} visits", honest.finished);
        }
    });
}
