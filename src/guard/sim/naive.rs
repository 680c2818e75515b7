//! Sequences of operations against a naive ledger and naive budgets: plain maps, no shards, no
//! caches, no bounds, written from the rules and not from the guard. Failures shrink.
//!
//! Reloads are among the operations: exchanges that began before one are settled by the guard that
//! admitted them, and some still ask it.

mod budgets;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;

use super::super::client::Client;
use super::super::exchange::{Outcome, Sent, Ticket, Verdict};
use super::super::ledger::Patience;
use super::super::moment::Moment;
use super::super::{Guard, UnderWay};
use super::support::{key as session_key, *};
use budgets::{Budgets, Name, POLICIES, limits, naive_policy};

/// What is known of an issued key.
#[derive(Clone, Copy, Default)]
struct Key {
    dead: bool,
    paid: bool,
    rotated: bool,
    uncertain: bool,
    failures: u32,
}

#[derive(Clone, Copy, Debug)]
enum Page {
    /// An ordinary page; it may write.
    Any,
    Login,
    /// With content, so that whatever key comes back is the client's.
    Logout,
}

#[derive(Clone, Copy, Debug)]
enum Reply {
    Unsent,
    None,
    Failed,
    Nothing,
    Deletion,
    Same,
    Other,
}

#[derive(Clone, Debug)]
enum Op {
    /// A request of this client for this page, with none or one of the keys issued or made up.
    Ask {
        client: usize,
        page: Page,
        key: Option<usize>,
        other: bool,
        /// Of the guard before the last reload.
        late: bool,
    },
    /// One of the exchanges under way ends so.
    End {
        which: usize,
        reply: Reply,
    },
    Pass {
        millis: u64,
    },
    /// The policy of this number is put in force.
    Reload {
        policy: usize,
    },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let page = prop_oneof![Just(Page::Any), Just(Page::Login), Just(Page::Logout)];
    let reply = prop_oneof![
        1 => Just(Reply::Unsent),
        1 => Just(Reply::None),
        1 => Just(Reply::Failed),
        1 => Just(Reply::Nothing),
        1 => Just(Reply::Deletion),
        1 => Just(Reply::Same),
        3 => Just(Reply::Other),
    ];
    let rarely = || proptest::bool::weighted(0.1);
    let ask = (0..5usize, page, proptest::option::of(0..12usize), rarely(), rarely())
        .prop_map(|(client, page, key, other, late)| Op::Ask { client, page, key, other, late });
    let end = (0..8usize, reply).prop_map(|(which, reply)| Op::End { which, reply });
    let reload = (0..POLICIES).prop_map(|policy| Op::Reload { policy });
    let op = prop_oneof![
        8 => ask,
        8 => end,
        2 => (0..1500u64).prop_map(|millis| Op::Pass { millis }),
        1 => reload,
    ];
    proptest::collection::vec(op, 1..120)
}

struct Flight {
    guard: Rc<Guard>,
    ticket: Option<Ticket>,
    client: Client,
    budget: Name,
    page: Page,
    /// The key that was sent, and whether the ledger knew it.
    sent: Option<(u64, bool)>,
    held: bool,
}

struct Model {
    keys: HashMap<u64, Key>,
    budgets: Budgets,
    /// In the order in which they were issued, and made-up ones.
    names: Vec<u64>,
    next: u64,
}

impl Model {
    /// What must become of a request: the key that is sent, and whether it needs a hold.
    fn expect(&self, key: Option<u64>) -> (Option<(u64, bool)>, bool) {
        match key.map(|key| (key, self.keys.get(&key))) {
            None => (None, true),
            Some((_, Some(known))) if known.dead => (None, true),
            Some((key, Some(known))) => {
                (Some((key, true)), !known.paid || known.uncertain || known.failures >= 8)
            }
            Some((key, None)) => (Some((key, false)), true),
        }
    }

    /// Charges a record that came into being; says whether a budget had it.
    fn pay(&mut self, flight: &mut Flight, now: u64) -> bool {
        if std::mem::take(&mut flight.held) {
            self.budgets.end_hold(flight.budget, flight.client, true, now);
            return true;
        }
        self.budgets.charge_late(flight.budget, flight.client, now)
    }

    fn end(&mut self, flight: &mut Flight, keep: bool, now: u64) {
        if std::mem::take(&mut flight.held) {
            self.budgets.end_hold(flight.budget, flight.client, keep, now);
        }
    }

    fn created(&mut self, flight: &mut Flight, key: u64, now: u64) {
        let paid = self.pay(flight, now);
        self.keys.entry(key).or_default().paid |= paid;
    }

    /// The rules of keys, as the table has them. Returns the key that the answer sets.
    fn settle(&mut self, flight: &mut Flight, reply: Reply, now: u64) -> Option<String> {
        let flushes = matches!(flight.page, Page::Logout);
        match (reply, flight.sent) {
            (Reply::Unsent | Reply::Nothing, _) => self.end(flight, false, now),
            (Reply::None | Reply::Failed, sent) => {
                if let Some((key, _)) = sent {
                    let known = self.keys.get(&key).copied();
                    let gone = known.is_none_or(|key| key.dead || key.uncertain);
                    if let Some(known) = self.keys.get_mut(&key) {
                        known.rotated = true;
                        known.uncertain |= flushes;
                        known.failures += u32::from(!flushes);
                    }
                    if gone && flushes {
                        self.pay(flight, now);
                    }
                }
                self.end(flight, true, now);
            }
            (Reply::Deletion, sent) => {
                if let Some((key, true)) = sent {
                    self.keys.get_mut(&key).expect("known").dead = true;
                }
                self.end(flight, false, now);
                return Some(String::new());
            }
            (Reply::Same, Some((key, _))) => {
                match self.keys.get(&key).filter(|known| !known.dead) {
                    Some(_) => {
                        let pays = flight.held;
                        self.end(flight, true, now);
                        let known = self.keys.get_mut(&key).expect("known");
                        known.paid |= pays;
                        known.failures = if pays { 0 } else { known.failures };
                    }
                    None => self.created(flight, key, now),
                }
                return Some(text(&session_key(key)));
            }
            (Reply::Same | Reply::Other, sent) => {
                self.next += 1;
                let new = self.next;
                self.names.push(new);
                let old = sent.filter(|(_, known)| *known).map(|(key, _)| key);
                let before = old.and_then(|old| self.keys.get(&old).copied());
                if let Some(old) = old.and_then(|old| self.keys.get_mut(&old)) {
                    (old.dead, old.rotated) = (true, true);
                }
                match before {
                    Some(before) if !before.dead && !before.rotated => {
                        let paid = before.paid || flight.held;
                        self.end(flight, true, now);
                        self.keys.entry(new).or_default().paid |= paid;
                    }
                    Some(_) | None => self.created(flight, new, now),
                }
                return Some(text(&session_key(new)));
            }
        }
        None
    }
}

fn play(ops: Vec<Op>) -> Result<(), TestCaseError> {
    // In force, and before that; each with the budget that logins draw on.
    let mut guards = [0, 0].map(|_| (Rc::new(guard(naive_policy(0))), "login"));
    guards[1] = guards[0].clone();
    let clients = [v4(1), v4(2), v6(1, 1), v6(1, 2), v6(2, 1)];
    let mut model = Model {
        keys: HashMap::new(),
        budgets: Budgets::default(),
        names: vec![1, 2, 3],
        next: 100,
    };
    model.budgets.reload(&limits(0).0, START.as_nanos());
    let mut flights: Vec<Flight> = Vec::new();
    let mut now = START;
    for op in ops {
        match op {
            Op::Pass { millis } => now = now.after(Duration::from_millis(millis)),
            Op::Reload { policy } => {
                let (limits, login) = limits(policy);
                model.budgets.reload(&limits, now.as_nanos());
                let guard = guards[0].0.reconfigured(naive_policy(policy), now);
                guards = [(Rc::new(guard), login), guards[0].clone()];
            }
            Op::Ask { client, page, key, other, late } => {
                let (guard, login) = guards[usize::from(late)].clone();
                let number = key.map(|index| model.names[index % model.names.len()]);
                // One exchange of a key at a time here: concurrency has its own tests.
                if flights.iter().any(|f| f.sent.is_some_and(|(key, _)| Some(key) == number))
                    && !other
                {
                    continue;
                }
                let (target, budget) = match page {
                    Page::Any => ("/any/", "anonymous"),
                    Page::Login => ("/login/", login),
                    Page::Logout => ("/logout/", "anonymous"),
                };
                let client = clients[client];
                let cookie = number.map(|number| text(&session_key(number)));
                let ask = Ask { cookie, body: true, ..Ask::get(client, target) };
                let (sent, needs) = model.expect(number);
                let refused =
                    needs.then(|| model.budgets.reserve(budget, client, now.as_nanos())).flatten();
                match ask.admit(&guard, Patience::Left, now) {
                    Verdict::Forward(ticket, _) => {
                        prop_assert_eq!(refused, None);
                        prop_assert_eq!(ticket.hold.is_some(), needs);
                        let kind = match &ticket.sent {
                            Sent::Known(..) => Some(true),
                            Sent::Unknown(_) => Some(false),
                            Sent::Nothing => None,
                            Sent::Foreign | Sent::Spare(_) | Sent::Proof(_) => {
                                return Err(TestCaseError::fail("neither key nor nothing"));
                            }
                        };
                        prop_assert_eq!(kind, sent.map(|(_, known)| known));
                        let ticket = Some(*ticket);
                        let held = needs;
                        flights.push(Flight { guard, ticket, client, budget, page, sent, held });
                    }
                    Verdict::Refuse { why, .. } => prop_assert_eq!(Some(why), refused),
                    Verdict::Wait(_) if refused.is_none() => {
                        if needs {
                            model.budgets.end_hold(budget, client, false, now.as_nanos());
                        }
                    }
                    Verdict::Wait(_) => {}
                    Verdict::Answer { .. } | Verdict::Challenge { .. } => {
                        return Err(TestCaseError::fail("no rule answers or challenges"));
                    }
                }
            }
            Op::End { which, reply } if !flights.is_empty() => {
                let mut flight = flights.swap_remove(which % flights.len());
                end(&mut model, &mut flight, reply, now);
            }
            Op::End { .. } => {}
        }
        let under_way = guards[0].0.under_way();
        prop_assert_eq!((under_way.keys, under_way.held), (known(&flights), held(&flights)));
    }
    for mut flight in flights {
        end(&mut model, &mut flight, Reply::Nothing, now);
    }
    let guard = &guards[0].0;
    prop_assert_eq!(guard.under_way(), UnderWay::default());
    prop_assert_eq!(guard.sizes().0, model.keys.len());
    Ok(())
}

fn known(flights: &[Flight]) -> usize {
    flights.iter().filter(|flight| flight.sent.is_some_and(|(_, known)| known)).count()
}

fn held(flights: &[Flight]) -> u64 {
    flights.iter().filter(|flight| flight.held).count() as u64
}

fn end(model: &mut Model, flight: &mut Flight, reply: Reply, now: Moment) {
    let guard = Rc::clone(&flight.guard);
    let ticket = flight.ticket.take().expect("ends once");
    let set = model.settle(flight, reply, now.as_nanos());
    let status = if matches!(reply, Reply::Failed) { 500 } else { 200 };
    let evidence = evidence(&guard, status, set.as_deref().unwrap_or("-"));
    let outcome = match reply {
        Reply::Unsent => Outcome::Unsent,
        Reply::None => Outcome::NoAnswer,
        Reply::Failed | Reply::Nothing | Reply::Deletion | Reply::Same | Reply::Other => {
            Outcome::Answered(&evidence, None)
        }
    };
    let _ = guard.settle(ticket, outcome, now);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(seeds(300, 20_000).end as u32))]

    #[test]
    fn the_guard_decides_as_naive_tables_do(ops in ops()) {
        play(ops)?;
    }
}
