//! What is explained of a request is what then becomes of it, and explaining changes nothing.

use std::time::Duration;

use super::super::Guard;
use super::super::challenge::Challenged;
use super::super::exchange::{Outcome, SendCookie, Sent, Verdict, WaitFor};
use super::super::explain::{Cover, Explanation, Fate, For, Session, With};
use super::super::fact::{Event, Refusal};
use super::super::image::Wall;
use super::super::key::Token;
use super::super::ledger::Patience;
use super::super::moment::Moment;
use super::super::policy::{Challenge, Mode, Network, Policy, Terms, Unknown};
use super::super::route::{Action, Answer, StandingWord};
use super::support::*;

const WALL: Wall = Wall { origin_unix_nanos: 0 };

/// Explains a request, twice now and then, with what outlives the guard before and after it.
pub fn explain(guard: &Guard, ask: &Ask, number: u64, now: Moment) -> Explanation {
    let remembered = |guard: &Guard| (guard.snapshot(1, WALL, true, now), guard.under_way());
    let before = number.is_multiple_of(16).then(|| remembered(guard));
    let said = ask.explain(guard, now);
    if let Some(before) = before {
        assert_eq!(ask.explain(guard, now), said, "{ask:?}");
        assert!(before == remembered(guard), "something changed: {ask:?}");
    }
    said
}

/// Whether that was the verdict.
pub fn compare(said: &Explanation, verdict: &Verdict, ask: &Ask) {
    let agrees = match (&said.fate, verdict) {
        (Fate::Forwarded { with, cover }, Verdict::Forward(ticket, facts)) => {
            let observed = facts.as_slice().iter().find_map(|fact| match fact.event {
                Event::WouldRefuse(why) => Some(why),
                _ => None,
            });
            let sends = match (&ticket.sent, with) {
                _ if ticket.observe => *with == With::Own,
                (Sent::Known(..) | Sent::Unknown(_) | Sent::Foreign, with) => *with == With::Own,
                (Sent::Nothing, with) => *with == With::Nothing,
                (Sent::Proof(_), with) => *with == With::Proof,
                (Sent::Spare(_), With::Spare | With::Placeholder) => {
                    matches!(ticket.cookie(), SendCookie::Replace(_))
                }
                (Sent::Spare(_), _) => false,
            };
            let covered = match cover {
                Cover::Held => ticket.hold.is_some(),
                Cover::Clean => ticket.passes,
                Cover::Observed(why) => observed == Some(*why),
                Cover::Paid | Cover::Rule | Cover::Exempt | Cover::Signed | Cover::Unasked => {
                    ticket.hold.is_none() && !ticket.passes && observed.is_none()
                }
            };
            said.standing == ticket.standing && said.observes == ticket.observe && sends && covered
        }
        (
            Fate::Refused { why, retry_after },
            Verdict::Refuse { why: is, retry_after: after, .. },
        ) => why == is && retry_after == after,
        (Fate::Challenged { .. }, Verdict::Challenge { .. }) => true,
        (Fate::Answered(answer), Verdict::Answer { answer: is, .. }) => answer == is,
        (Fate::Waits(what), Verdict::Wait(is)) => matches!(
            (what, is),
            (For::Session, WaitFor::Key(_))
                | (For::Spare, WaitFor::Spare)
                | (For::Budget, WaitFor::Budget)
        ),
        _ => false,
    };
    assert!(agrees, "{ask:?}\n{said}\n{said:#?}\nbut it was {verdict:?}");
    let spent = said.left.iter().any(|cell| cell.left == 0);
    match said.fate {
        Fate::Forwarded { cover: Cover::Held, .. } if ask.challenged == Challenged::UNABLE => {
            assert!(!spent && !said.left.is_empty(), "{said}");
        }
        Fate::Refused { .. } | Fate::Challenged { .. } => assert!(spent, "{said}"),
        Fate::Forwarded { .. } | Fate::Answered(_) | Fate::Waits(_) => {}
    }
}

/// A policy of any kind.
fn any_policy(rng: &mut Random) -> Policy {
    let mut policy = policy();
    policy.session.unknown = rng.pick(&Unknown::ALL);
    policy.session.in_flight_anonymous = rng.pick(&[1, 1_024]);
    policy.session.in_flight_per_key = rng.pick(&[1, 4]);
    policy.recycle.spacing = rng.pick(&[0, 3]);
    policy.mode = if rng.percent(25) { Mode::Observe } else { Mode::Enforce };
    policy.challenge = rng.pick(&Challenge::ALL);
    policy.rules[0].action = match rng.below(4) {
        0 => Action::Answer(Answer { status: 302, location: Some(String::from("/")) }),
        1 => Action::Forward,
        2 => Action::Gate,
        _ => Action::Recycle,
    };
    policy.rules[1].mode = rng.percent(25).then_some(Mode::Observe);
    policy.rules[1].challenge = rng.percent(50).then_some(Challenge::Cookie);
    policy.budgets.push(policy.budgets[0].clone());
    policy.budgets[2].name = String::from("office");
    policy.budgets[2].client = quota(1, SECOND);
    policy.client.networks = vec![Network { addresses: Vec::new(), budget: 2 }];
    policy
}

fn any_request(rng: &mut Random) -> Ask {
    const TARGETS: [&str; 6] =
        ["/logout/", "/login/", "/cart/", "/page/", "/logout/?next=/", "/logout/?x=1"];
    let client = if rng.percent(30) { v6(1, rng.below(3) as u16) } else { v4(rng.below(4) as u32) };
    let ask = Ask::get(client, rng.pick(&TARGETS));
    let number = rng.below(24) as u64;
    let ask = match rng.below(6) {
        0 | 1 => ask,
        2 => ask.with_text("made:up:signature"),
        3 => ask.with_text("nonsense"),
        _ => ask.with(&key(number)),
    };
    let passed = Challenged::Passed(Token(number % 3));
    let unable = Challenged::UNABLE;
    Ask {
        body: rng.percent(20),
        authorization: rng.percent(5),
        terms: rng.pick(&[Terms::Usual, Terms::Usual, Terms::Usual, Terms::Own(2), Terms::Exempt]),
        challenged: rng.pick(&[
            unable,
            unable,
            Challenged::No { replayable: true },
            Challenged::Failed,
            passed,
        ]),
        ..ask
    }
}

/// Requests and answers of any kind, under policies of any kind.
fn play(seed: u64) {
    let mut rng = Random(seed);
    let guard = guard(any_policy(&mut rng));
    let (mut now, mut tickets) = (START, Vec::new());
    for step in 0..400 {
        match rng.below(5) {
            0 | 1 => {
                let ask = any_request(&mut rng);
                let said = explain(&guard, &ask, step, now);
                let verdict = ask.admit(&guard, Patience::Left, now);
                compare(&said, &verdict, &ask);
                if let Verdict::Forward(ticket, _) = verdict {
                    tickets.push(*ticket);
                }
            }
            2 if rng.percent(3) => now = now.after(LIFETIME / 2),
            2 => now = now.after(Duration::from_millis(rng.below(1500) as u64)),
            _ if tickets.is_empty() => {}
            _ => {
                let ticket = tickets.swap_remove(rng.below(tickets.len()));
                let new = text(&key(rng.below(24) as u64));
                let set = rng.pick(&["-", "-", "", "a:b:c", &*new, &*new]);
                let first = evidence(&guard, rng.pick(&[200, 200, 302, 500]), set);
                let proof = guard.proof_wanted(&ticket, &first);
                let second = proof.map(|_| evidence(&guard, 200, rng.pick(&["", &*new, "-"])));
                let outcome = match rng.below(8) {
                    0 => Outcome::Unsent,
                    1 => Outcome::NoAnswer,
                    _ => Outcome::Answered(&first, second.as_ref()),
                };
                let _ = guard.settle(ticket, outcome, now);
            }
        }
    }
}

#[test]
fn what_is_explained_is_the_verdict_whatever_the_policy() {
    for seed in seeds(150, 20_000) {
        play(seed);
    }
}

/// What an operator reads.
#[test]
fn an_explanation_says_what_counts_in_a_few_lines() {
    let guard = guard(policy());
    let cart = Ask::get(v6(1, 1), "/cart/");
    for number in 0..3 {
        cart.answered(&guard, 200, &text(&key(number)), START);
    }
    let held = cart.ticket(&guard, START);
    let lines = |ask: &Ask, now| ask.explain(&guard, now).to_string();
    assert_eq!(
        lines(&cart.clone().with(&key(50)), START),
        "standing  unknown: not in the ledger, which has not seen a whole session.lifetime: forwarded\n\
         rule      none: gate\n\
         class     unproven: 0 of 8 clean answers\n\
         budget    anonymous\n          \
         client 2001:db8:1:1::/64: 0 of 4 left, one more each 1s; 1 held\n          \
         prefix 2001:db8:1::/48: 4 of 8 left, one more each 500ms; 1 held\n          \
         site, for a regular client: 4 of 8 left, one more each 500ms; 1 held\n\
         fate      waits for budget that is held by exchanges under way"
    );
    let created = evidence(&guard, 200, &text(&key(3)));
    let _ = guard.settle(held, Outcome::Answered(&created, None), START);
    assert!(lines(&cart, START).ends_with(
        "fate      refused: the client has spent its budget (client-budget); again in 1 s"
    ));
    assert_eq!(
        lines(&Ask::get(v4(1), "/logout/").with(&key(1)), START),
        "standing  known: a live session, paid for\n\
         rule      logout: recycle\n\
         budget    anonymous\n\
         fate      forwarded with its cookies as they came; no budget is asked: its session was paid for"
    );
    let said = cart.explain(&guard, START);
    assert_eq!((said.standing, said.session), (StandingWord::None, Session::None));
    let retry_after = SECOND;
    assert_eq!(said.fate, Fate::Refused { why: Refusal::ClientBudget, retry_after });
    assert_eq!(said.class.map(|class| class.creates.is_some()), Some(true));
}
