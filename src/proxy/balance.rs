//! Which server is next. Pure: what may be chosen, and how loaded it is, is an argument.

use std::sync::{Mutex, PoisonError};

/// How servers take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Each in proportion to its weight, evenly spread.
    RoundRobin,
    /// The one with the fewest exchanges for its weight; in turn where several have as few.
    LeastConnections,
}

/// A server that may be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Its share, at least 1.
    pub weight: u32,
    /// Exchanges that it has.
    pub load: usize,
}

/// Whose turn it is. Smooth weighted round robin: at each turn every candidate gains its weight,
/// and the one that has most is chosen and pays what all have gained.
#[derive(Debug)]
pub struct Turns {
    method: Method,
    servers: Mutex<Box<[Turn]>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    gained: i64,
    /// What it was at the latest turn; loads move all the time.
    candidate: Option<Candidate>,
}

impl Turns {
    /// The turns of so many servers.
    pub fn new(method: Method, servers: usize) -> Self {
        Self { method, servers: Mutex::new(vec![Turn::default(); servers].into()) }
    }

    /// The index of the next server, of those that `candidate` has something to say of.
    pub fn next(&self, candidate: impl Fn(usize) -> Option<Candidate>) -> Option<usize> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, turn) in servers.iter_mut().enumerate() {
            turn.candidate = candidate(index);
        }
        let least = match self.method {
            Method::RoundRobin => None,
            Method::LeastConnections => servers
                .iter()
                .filter_map(|turn| turn.candidate)
                .reduce(|a, b| if lighter(b, a) { b } else { a }),
        };
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for (index, turn) in servers.iter_mut().enumerate() {
            let Some(one) = turn.candidate else { continue };
            if least.is_some_and(|least| lighter(least, one)) {
                continue;
            }
            turn.gained += i64::from(one.weight);
            total += i64::from(one.weight);
            if best.is_none_or(|(_, most)| turn.gained > most) {
                best = Some((index, turn.gained));
            }
        }
        let (best, _) = best?;
        servers[best].gained -= total;
        Some(best)
    }
}

/// Whether `a` has less to do for its weight than `b`.
fn lighter(a: Candidate, b: Candidate) -> bool {
    // One more than they have: an idle server with a great weight goes before one with a small.
    (a.load as u128 + 1) * u128::from(b.weight) < (b.load as u128 + 1) * u128::from(a.weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(turns: &Turns, weights: &[u32], number: usize) -> Vec<usize> {
        let candidate = |index: usize| {
            (weights[index] > 0).then(|| Candidate { weight: weights[index], load: 0 })
        };
        (0..number).map(|_| turns.next(candidate).expect("there is one")).collect()
    }

    #[test]
    fn turns_are_in_proportion_and_evenly_spread() {
        let turns = Turns::new(Method::RoundRobin, 3);
        assert_eq!(rounds(&turns, &[5, 1, 1], 7), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(rounds(&Turns::new(Method::RoundRobin, 2), &[1, 1], 4), [0, 1, 0, 1]);
    }

    #[test]
    fn who_is_away_is_not_owed_turns() {
        let turns = Turns::new(Method::RoundRobin, 2);
        assert_eq!(rounds(&turns, &[1, 0], 100), [0; 100]);
        let after = rounds(&turns, &[1, 1], 10);
        let away = after.iter().filter(|index| **index == 1).count();
        assert!((4..=6).contains(&away), "{after:?}");
        assert_eq!(turns.next(|_| None), None);
    }

    #[test]
    fn the_least_loaded_for_its_weight_is_next() {
        let turns = Turns::new(Method::LeastConnections, 3);
        let next = |all: [(u32, usize); 3]| {
            turns.next(|index| {
                let (weight, load) = all[index];
                Some(Candidate { weight, load })
            })
        };
        assert_eq!(next([(1, 3), (1, 2), (1, 4)]), Some(1));
        assert_eq!(next([(1, 3), (2, 6), (4, 10)]), Some(2));
        assert_eq!(next([(1, 0), (4, 0), (1, 0)]), Some(1));
        let mut loads = [0; 3];
        for _ in 0..600 {
            let next = turns
                .next(|index| Some(Candidate { weight: [1, 2, 3][index], load: loads[index] }))
                .expect("there is one");
            loads[next] += 1;
        }
        assert_eq!(loads, [100, 200, 300]);
    }
}
