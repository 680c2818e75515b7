//! Who is challenged, what a returned cookie brings, who goes first when a site's budget is short,
//! and who has other terms.

use super::super::Guard;
use super::super::challenge::Challenged;
use super::super::exchange::{Outcome, Verdict};
use super::super::fact::{Event, Refusal};
use super::super::key::Token;
use super::super::ledger::Patience;
use super::super::policy::{Challenge, Mode, Network, Policy, Terms};
use super::support::*;

/// The usual budgets (a client 4, the site 8), everybody challenged; a token brings 2, all of a
/// client's together 4.
fn challenging() -> Policy {
    Policy { challenge: Challenge::Cookie, ..policy() }
}

/// A request whose client would follow a redirection.
fn browser(client: u32) -> Ask {
    Ask { challenged: Challenged::No { replayable: true }, ..Ask::get(v4(client), "/cart/") }
}

fn with_token(ask: Ask, token: u64) -> Ask {
    Ask { challenged: Challenged::Passed(Token(token)), ..ask }
}

/// What becomes of a request; one that is forwarded creates a session.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Created,
    Challenged,
    Refused(Refusal),
}

fn fate(guard: &Guard, ask: &Ask) -> Fate {
    match ask.admit(guard, Patience::Spent, START) {
        Verdict::Forward(ticket, _) => {
            let new = text(&key(u64::from(rand_of(guard))));
            let evidence = evidence(guard, 200, &new);
            let _ = guard.settle(*ticket, Outcome::Answered(&evidence, None), START);
            Fate::Created
        }
        Verdict::Challenge { facts, .. } => {
            assert_eq!(facts.as_slice().last().map(|fact| fact.event), Some(Event::Challenged));
            Fate::Challenged
        }
        Verdict::Refuse { why, .. } => Fate::Refused(why),
        other @ (Verdict::Answer { .. } | Verdict::Wait(_)) => panic!("{ask:?}: {other:?}"),
    }
}

/// A number that no key of this guard has been made of.
fn rand_of(guard: &Guard) -> u32 {
    u32::try_from(guard.sizes().0).expect("few keys")
}

fn created(guard: &Guard, asks: impl IntoIterator<Item = Ask>) -> usize {
    asks.into_iter().filter(|ask| fate(guard, ask) == Fate::Created).count()
}

#[test]
fn a_client_out_of_budget_is_challenged_once_and_passes_with_the_cookie() {
    let mut policy = challenging();
    policy.budgets[0].site = quota(1000, SECOND);
    let guard = guard(policy);
    assert_eq!(created(&guard, (0..4).map(|_| browser(1))), 4);
    assert_eq!(fate(&guard, &browser(1)), Fate::Challenged);
    // Whoever is not known to keep cookies is not sent round in circles.
    let failed = Ask { challenged: Challenged::Failed, ..browser(1) };
    assert_eq!(fate(&guard, &failed), Fate::Refused(Refusal::ClientBudget));
    let unable = Ask { challenged: Challenged::UNABLE, ..browser(1) };
    assert_eq!(fate(&guard, &unable), Fate::Refused(Refusal::ClientBudget));

    let returned = with_token(browser(1), 1);
    assert_eq!(created(&guard, (0..5).map(|_| returned.clone())), 2);
    assert_eq!(fate(&guard, &returned), Fate::Refused(Refusal::ClientBudget));
    // As many tokens as anybody likes: together they have the ceiling.
    assert_eq!(created(&guard, (2..100).map(|token| with_token(browser(1), token))), 2);
    let more = with_token(browser(1), 100);
    assert_eq!(fate(&guard, &more), Fate::Refused(Refusal::Ceiling));
    // Another client is not concerned.
    assert_eq!(fate(&guard, &browser(2)), Fate::Created);
}

/// Who has returned a cookie has its budget beside that of the client, not in its place.
#[test]
fn who_has_a_cookie_is_never_worse_off_than_who_has_none() {
    let mut policy = challenging();
    policy.budgets[0].site = quota(1000, SECOND);
    let guard = guard(policy);
    assert_eq!(created(&guard, (0..100).map(|_| with_token(browser(1), 1))), 2 + 4);
    assert_eq!(fate(&guard, &browser(1)), Fate::Challenged);
    // All that one client gets: its own, and the ceiling.
    assert_eq!(created(&guard, (2..100).map(|token| with_token(browser(1), token))), 2);
}

#[test]
fn newcomers_are_challenged_while_the_site_is_short_and_others_go_first() {
    let guard = guard(challenging());
    assert_eq!(created(&guard, (0..100).map(browser)), 4);
    assert_eq!(fate(&guard, &browser(200)), Fate::Challenged);
    assert_eq!(created(&guard, (0..100).map(|n| with_token(browser(n), u64::from(n)))), 2);
    guard.regulars.note(v4(300), START);
    assert_eq!(created(&guard, (0..100).map(|_| browser(300))), 2);
    assert_eq!(
        fate(&guard, &with_token(browser(300), 7)),
        Fate::Refused(Refusal::SiteBudget),
        "the site's budget is spent, whoever asks"
    );
}

/// Clean pages that create all the same, for a query or a header, one after the other.
#[test]
fn newcomers_get_no_more_than_their_half_by_pages_that_turn() {
    const PAGES: u32 = 30;
    let mut policy = challenging();
    policy.budgets[0].client = quota(60, SECOND);
    policy.budgets[0].site = quota(200, SECOND);
    let passes = usize::from(policy.learned.passes);
    let guard = guard(policy);
    let at = |client: u32, page: u32| {
        let name = "x".repeat(page as usize + 1);
        Ask { target: format!("/{name}/").into(), ..browser(client) }
    };
    for (page, client) in (0..PAGES).flat_map(|page| (0..8).map(move |client| (page, client))) {
        at(client, page).answered(&guard, 200, "-", START);
    }
    let half = created(&guard, (0..1000).map(browser));
    let mut more = 0;
    for page in 0..PAGES {
        let ask = |client: u32| at(1000 + client, page).admit(&guard, Patience::Spent, START);
        let verdicts: Vec<_> = (0..100_u32).map(ask).collect();
        for verdict in verdicts {
            let Verdict::Forward(ticket, _) = verdict else { continue };
            more += 1;
            let evidence = evidence(&guard, 200, &text(&key(10_000 + more)));
            let _ = guard.settle(*ticket, Outcome::Answered(&evidence, None), START);
        }
    }
    assert_eq!(half, 100);
    assert!((1..=passes as u64).contains(&more), "{more} more than their half");
}

#[test]
fn a_login_makes_a_regular_and_nothing_else_does() {
    let guard = guard(policy());
    let post =
        |client: u32| Ask { body: true, ..Ask::get(v4(client), "/accounts/login/").method("POST") };
    let regular = |client: u32| guard.regulars.know(v4(client), START);
    // A wrong password, which 1.4 answers with a new session and the form; a made-up cookie that a
    // vulnerable release replaces; a plain page.
    post(1).answered(&guard, 200, &text(&key(9)), START);
    post(1).answered(&guard, 200, "-", START);
    post(1).with(&key(7)).answered(&guard, 200, &text(&key(1)), START);
    Ask::get(v4(1), "/cart/").answered(&guard, 200, &text(&key(2)), START);
    post(1).with(&key(2)).answered(&guard, 200, &text(&key(2)), START);
    assert!(!regular(1));
    // With an anonymous session before, and without.
    post(1).with(&key(2)).answered(&guard, 302, &text(&key(3)), START);
    let page = Ask::get(v4(3), "/accounts/login/");
    page.answered(&guard, 200, "-", START);
    post(2).answered(&guard, 302, &text(&key(4)), START);
    assert!(regular(1) && regular(2));
    // Where every answer begins a session.
    page.answered(&guard, 200, &text(&key(5)), START);
    post(3).answered(&guard, 302, &text(&key(6)), START);
    assert!(!regular(3));
}

#[test]
fn the_rule_goes_before_the_budget_and_the_budget_before_the_site() {
    let spent = |policy: Policy| {
        let guard = guard(policy);
        let login = Ask { target: "/login/".into(), ..browser(1) };
        while fate(&guard, &login) == Fate::Created {}
        fate(&guard, &login)
    };
    let (cookie, none) = (Some(Challenge::Cookie), Some(Challenge::None));
    for (site, budget, rule, challenged) in [
        (Challenge::None, None, None, false),
        (Challenge::Cookie, None, None, true),
        (Challenge::None, cookie, None, true),
        (Challenge::Cookie, none, None, false),
        (Challenge::None, none, cookie, true),
        (Challenge::Cookie, cookie, none, false),
    ] {
        let mut policy = policy();
        policy.challenge = site;
        policy.budgets[LOGIN].challenge = budget;
        policy.rules[1].challenge = rule;
        let expected =
            if challenged { Fate::Challenged } else { Fate::Refused(Refusal::ClientBudget) };
        assert_eq!(spent(policy), expected, "{site:?} {budget:?} {rule:?}");
    }
}

#[test]
fn an_observing_site_challenges_nobody() {
    let guard = guard(Policy { mode: Mode::Observe, ..challenging() });
    assert_eq!(created(&guard, (0..100).map(|_| browser(1))), 100);
}

#[test]
fn a_known_key_that_is_challenged_is_not_kept_busy() {
    let guard = guard(challenging());
    // A paid key rotates twice: what the second brings is charged late, to a budget that is spent.
    for number in 100..104 {
        Ask::get(v4(1), "/cart/").answered(&guard, 200, &text(&key(number)), START);
    }
    let paid = browser(1).with(&key(100));
    let tickets = [(); 2].map(|()| paid.ticket(&guard, START));
    for (ticket, number) in tickets.into_iter().zip(200..) {
        let evidence = evidence(&guard, 200, &text(&key(number)));
        let _ = guard.settle(ticket, Outcome::Answered(&evidence, None), START);
    }
    let again = browser(1).with(&key(201));
    assert_eq!(fate(&guard, &again), Fate::Challenged);
    assert_eq!(guard.under_way(), super::super::UnderWay::default());
}

#[test]
fn the_exempt_are_never_refused_and_charge_nobody() {
    let guard = guard(policy());
    let exempt = Ask { terms: Terms::Exempt, ..browser(1) };
    assert_eq!(created(&guard, (0..100).map(|_| exempt.clone())), 100);
    assert_eq!(created(&guard, (0..100).map(|_| browser(1))), 4);
    assert_eq!(created(&guard, (0..100).map(browser)), 4);
    // Nor where others have leased every spare.
    let logout = Ask { target: "/logout/".into(), ..exempt };
    let slots = guard.policy().recycle.spares;
    let busy: Vec<_> = (0..=slots).map(|_| logout.ticket(&guard, START)).collect();
    for ticket in busy {
        let _ = guard.settle(ticket, Outcome::Unsent, START);
    }
}

#[test]
fn a_network_of_its_own_neither_drains_the_site_nor_is_drained_by_it() {
    let mut policy = policy();
    policy.budgets.push(policy.budgets[0].clone());
    policy.budgets[2].name = String::from("office");
    policy.client.networks =
        vec![Network { addresses: vec!["10.0.1.0/24".parse().expect("a prefix")], budget: 2 }];
    let terms = |address: &str| policy.client.terms(address.parse().expect("an address"));
    assert_eq!(terms("10.0.1.7"), Terms::Own(2));
    assert_eq!(terms("::ffff:10.0.1.7"), Terms::Own(2));
    assert_eq!(terms("10.0.2.7"), Terms::Usual);
    let guard = guard(policy);
    let office = |n: u32, target: &str| Ask {
        terms: Terms::Own(2),
        target: String::from(target).into(),
        ..browser(n)
    };
    assert_eq!(created(&guard, (0..100).map(browser)), 8);
    // On every route the same budget.
    assert_eq!(created(&guard, (0..4).map(|_| office(256, "/cart/"))), 4);
    assert_eq!(fate(&guard, &office(256, "/login/")), Fate::Refused(Refusal::ClientBudget));
    assert_eq!(created(&guard, (0..100).map(|n| office(300 + n, "/login/"))), 4);
    let login = |n: u32| Ask { target: "/login/".into(), ..browser(n) };
    assert_eq!(created(&guard, (0..100).map(login)), 8);
}
