//! The simulation at scale: a crowd of attackers with every strategy at once, and users among them,
//! against the model of each release, behind a guard with the default limits, cold and warm.
//!
//! What must never happen is checked at every step, by the world, the meter and the users
//! themselves. 10,000 attackers and 100 users by default; 1,000,000 and 10,000 with
//! `FLOODWALL_FULL=1`, which wants an optimised build: `tests/simulate`.
//!
//! Every move has choices of its own, so that a failure can be shrunk by leaving moves out: what is
//! printed then goes into [`FAILED`].

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use super::super::ledger::Ledger;
use super::super::policy::{Budget, Challenge, Policy};
use super::attack::bounded;
use super::crowd::{Crowd, choices};
use super::django::{Django, Release};
use super::shrink::shrink;
use super::support::*;
use super::world::World;

/// A run that can be run again.
#[derive(Clone, Debug)]
struct Scenario<'a> {
    seed: u64,
    release: Release,
    warm: bool,
    attackers: u32,
    users: u32,
    moves: Moves<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Moves<'a> {
    All,
    Only(&'a [u32]),
}

/// Failures of before, shrunk.
const FAILED: &[Scenario<'static>] = &[];

/// What became of a run.
struct Reached {
    events: u64,
    held: usize,
    promised: usize,
    worst: usize,
    at_once: usize,
    paid: usize,
    passed: usize,
    challenges: u64,
    logins: usize,
    refused: usize,
}

/// The limits of the default configuration: sessions at once, and a minute.
fn default_limits() -> Policy {
    let budget = |name: &str, client: (u32, u32), site: (u32, u32)| Budget {
        name: String::from(name),
        client: quota(client.0, 60 * SECOND / client.1),
        site: quota(site.0, 60 * SECOND / site.1),
        challenge: None,
    };
    let mut policy = policy();
    policy.budgets =
        vec![budget("anonymous", (60, 30), (600, 120)), budget("login", (200, 120), (1000, 300))];
    policy.recycle.spares = 16;
    policy.session.in_flight_per_key = 16;
    policy.session.capacity = 2_000_000;
    policy.client.capacity = 100_000;
    policy
}

impl Scenario<'_> {
    /// Moves for each attacker: three turns of its own and one of a user.
    const MOVES: u32 = 4;
    /// How often all that is under way ends, and days pass.
    const RESTS: u32 = 4;
    const REST: Duration = Duration::from_secs(4 * 86_400);
    /// Moves that are made again to find the least that fail: some minutes, not optimised.
    const SHRINKING: usize = 2_000_000;
    /// Exchanges under way at once, slow ones aside.
    const FLIGHTS: usize = 96;

    fn run(&self, at: &Cell<u32>) -> Reached {
        let mut policy = default_limits();
        // Seeds without losses have challenges.
        if self.seed.is_multiple_of(2) {
            policy.challenge = Challenge::Cookie;
        }
        let guard = guard(policy);
        if self.warm {
            guard.warm_up.lock().since = START.before(2 * LIFETIME);
        }
        let mut world = World::new(guard, Django::new(self.release, false), self.seed);
        (world.lost, world.unsent) = if self.seed.is_multiple_of(2) { (0, 0) } else { (1, 1) };
        world.honest = self.users;
        world.begin();
        let mut crowd = Crowd::new(self.attackers, self.users);
        let all = self.attackers * Self::MOVES;
        match self.moves {
            Moves::All => (0..all).for_each(|number| self.step(&mut world, &mut crowd, number, at)),
            Moves::Only(moves) => {
                moves.iter().for_each(|number| self.step(&mut world, &mut crowd, *number, at));
            }
        }
        world.drain();
        crowd.deliver(&mut world);
        let (paid, passed) = world.without_hold();
        Reached {
            events: world.events,
            held: world.held.total,
            promised: world.held.promised_until(world.now, Self::RESTS, Self::REST),
            worst: world.held.worst,
            at_once: world.held.promised,
            paid,
            passed,
            challenges: world.challenges,
            logins: crowd.users.iter().map(|user| user.logins).sum(),
            refused: crowd.users.iter().map(|user| user.refused).sum(),
        }
    }

    fn step(&self, world: &mut World, crowd: &mut Crowd, number: u32, at: &Cell<u32>) {
        at.set(number);
        world.rng = choices(self.seed, number);
        let span = self.attackers * Self::MOVES / Self::RESTS;
        if number % span == span / 2 {
            world.drain();
            world.pass(Self::REST);
        }
        // Twice in the time of a rest.
        world.django.flipped = number % span > span / 4 && number % span < span * 3 / 4;
        match (number % Self::MOVES, number / Self::MOVES) {
            (0, _) => crowd.visit(world),
            (turn, round) => crowd.attack(world, round * (Self::MOVES - 1) + turn - 1),
        }
        let span = world.rng.below(40) as u64;
        world.pass(Duration::from_millis(span));
        for _ in 0..world.rng.below(12) {
            world.step();
        }
        while world.flights.len() > Self::FLIGHTS {
            world.step();
        }
        crowd.deliver(world);
        if number.is_multiple_of(1024) {
            let (keys, _) = world.guard.sizes();
            assert!(keys <= Ledger::places(world.guard.policy().session.capacity), "{keys} keys");
        }
    }

    /// Runs it; where that fails, prints the least that does, and fails.
    fn check(&self) -> Reached {
        let at = Cell::new(0);
        let failure = match catch_unwind(AssertUnwindSafe(|| self.run(&at))) {
            Ok(reached) => return reached,
            Err(failure) => failure,
        };
        eprintln!("failed at move {} of {self:?}", at.get());
        let moves = match self.moves {
            Moves::All => (0..=at.get()).collect(),
            Moves::Only(moves) => moves.to_vec(),
        };
        let fails = |moves: &[u32]| {
            let scenario = Scenario { moves: Moves::Only(moves), ..self.clone() };
            catch_unwind(AssertUnwindSafe(|| scenario.run(&Cell::new(0)))).is_err()
        };
        let silent = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let least = shrink(moves, Self::SHRINKING, fails);
        std::panic::set_hook(silent);
        eprintln!("for FAILED: {:?}", Scenario { moves: Moves::Only(&least), ..self.clone() });
        resume_unwind(failure);
    }
}

/// Each release with a seed of its own; every other seed loses exchanges.
fn scenarios(warm: bool, attackers: u32, users: u32) -> impl Iterator<Item = Scenario<'static>> {
    Release::ALL.into_iter().zip(1 + u64::from(warm)..).map(move |(release, seed)| Scenario {
        seed,
        release,
        warm,
        attackers,
        users,
        moves: Moves::All,
    })
}

fn crowd(warm: bool) {
    let full = std::env::var_os("FLOODWALL_FULL").is_some() && !cfg!(debug_assertions);
    let (attackers, users) = if full { (1_000_000, 10_000) } else { (10_000, 100) };
    let ledger = if warm { "warm" } else { "cold" };
    let mut worst: Option<Reached> = None;
    for scenario in scenarios(warm, attackers, users) {
        let reached = scenario.check();
        println!(
            "{:?}, {ledger}, seed {}: {} events; {} records under holds of {} promised, {} beyond \
             the rate of {}; {} by paid keys, {} on clean paths; {} challenges passed, {} logins, {} refused",
            scenario.release,
            scenario.seed,
            reached.events,
            reached.held,
            reached.promised,
            reached.worst,
            reached.at_once,
            reached.paid,
            reached.passed,
            reached.challenges,
            reached.logins,
            reached.refused,
        );
        assert!(reached.logins > users as usize, "{} logins", reached.logins);
        if worst.as_ref().is_none_or(|worst| reached.worst > worst.worst) {
            worst = Some(reached);
        }
    }
    let Reached { worst, at_once, held, promised, .. } = worst.expect("there are releases");
    let number = |number: usize| u64::try_from(number).expect("it fits");
    let attack = format!("{attackers} simulated attackers of twelve kinds, {ledger} ledger");
    bounded(&attack, "records beyond the budgets' rate, models", number(at_once), number(worst));
    bounded(&attack, "records in all, models", number(promised), number(held));
}

/// Nobody is known yet: sessions of before may be alive.
#[test]
fn a_crowd_gets_no_more_than_the_budgets_allow_and_no_user_notices_on_the_first_days() {
    crowd(false);
}

/// Made-up keys are taken out of requests.
#[test]
fn a_crowd_gets_no_more_than_the_budgets_allow_and_no_user_notices_with_a_warm_ledger() {
    crowd(true);
}

#[test]
fn what_failed_once_fails_no_more() {
    for scenario in FAILED {
        scenario.run(&Cell::new(0));
    }
}

/// An invariant that does not hold is noticed, and the moves that break it are found.
#[test]
fn a_failure_shrinks_to_the_moves_that_make_it() {
    let scenario = Scenario {
        seed: 2,
        release: Release::V1_7_9,
        warm: true,
        attackers: 200,
        users: 10,
        moves: Moves::All,
    };
    let creates = |moves: &[u32]| {
        Scenario { moves: Moves::Only(moves), ..scenario.clone() }.run(&Cell::new(0)).held > 0
    };
    let least = shrink((0..200 * Scenario::MOVES).collect(), usize::MAX, creates);
    assert_eq!(least.len(), 1, "{least:?}");
}

/// The users would notice: without the record of a session, its user says so.
#[test]
fn a_user_who_is_logged_out_says_so() {
    let mut world = World::new(guard(default_limits()), Django::new(Release::V1_8_3, false), 1);
    world.honest = 1;
    world.begin();
    let mut crowd = Crowd::new(1, 1);
    while crowd.users[0].logins == 0 {
        crowd.visit(&mut world);
        world.drain();
        crowd.deliver(&mut world);
    }
    world.django.store.clear();
    crowd.visit(&mut world);
    world.drain();
    assert!(catch_unwind(AssertUnwindSafe(|| crowd.deliver(&mut world))).is_err());
}
