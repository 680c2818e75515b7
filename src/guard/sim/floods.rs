//! Seeded floods against the model: every release, everything mixed.

use std::time::Duration;

use super::django::{Django, Release};
use super::people::{ATTACKER, Honest, Loot, Plan, attack};
use super::support::*;
use super::world::World;

struct Flood {
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
        let mut world = World::new(guard(policy), django, seed ^ 0xabcd);
        (world.lost, world.unsent) = if rng.percent(50) { (0, 0) } else { (8, 4) };
        world.begin();
        Self { world, honest, loot: Loot::default(), plan, steps: 700 }
    }

    fn run(&mut self) {
        for _ in 0..self.steps {
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
        flood.world.guard = guard(policy);
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
