//! Whole probes against a model of a site whose store can be counted: right on every release, and
//! never sure of what was not shown.

use super::MOST_REQUESTS;
use super::conclude::{Character, Conclusion, Cve, Standing, Verdict, Why};
use super::configuration;
use super::model::{R1_4_20, R1_4_21, R1_4_22, R1_7_8, R1_7_9, R1_8_2, R1_8_3, R1_8_4, Site, View};
use super::plan::{Plan, Wishes};
use super::report::Report;
use super::seen::{Answer, Carried, Exchange, Outcome, Question, Sight};
use crate::config::{Config, Overrides, Upstream};
use crate::guard::key::SessionKey;
use crate::guard::policy::KeyShape;

const ORIGIN: &str = "http://shop.test";

fn origins() -> [String; 1] {
    [ORIGIN.to_owned()]
}

/// A key that nobody has issued: its number is no decimal.
fn made_up(number: usize) -> SessionKey {
    SessionKey::parse(format!("{:032x}", 0xabcd_0000 + number).as_bytes(), KeyShape::Hex32)
        .expect("a key")
}

struct Probed {
    exchanges: Vec<Exchange>,
    conclusion: Conclusion,
    configuration: String,
    text: String,
}

impl Probed {
    fn requests(&self) -> Vec<String> {
        let line = |exchange: &Exchange| {
            let question = &exchange.question;
            format!("{} {} {}", question.method.word(), question.path, question.carried.word())
        };
        self.exchanges.iter().map(line).collect()
    }

    fn character(&self, path: &str) -> Option<Character> {
        let of = self.conclusion.logouts.iter().find(|(logout, _)| logout.path == path);
        of.map(|(_, character)| *character)
    }
}

fn probe_by(wishes: &Wishes, mut answer: impl FnMut(&Question) -> Outcome) -> Probed {
    let origins = origins();
    let mut exchanges: Vec<Exchange> = Vec::new();
    loop {
        let sight = Sight::new(&exchanges, wishes.cookie.as_deref());
        let plan = Plan { wishes, sight: &sight, origins: &origins };
        let Some(question) = plan.next(made_up(exchanges.len())) else { break };
        let outcome = answer(&question);
        exchanges.push(Exchange { question, outcome });
        assert!(exchanges.len() <= MOST_REQUESTS, "{exchanges:?}");
    }
    let sight = Sight::new(&exchanges, wishes.cookie.as_deref());
    let plan = Plan { wishes, sight: &sight, origins: &origins };
    let conclusion = Conclusion::of(&plan);
    let upstream: Upstream = ORIGIN.parse().expect("an upstream");
    let configuration = configuration::written(&plan, &conclusion, &upstream, None);
    Config::parse("written", configuration.as_bytes(), Overrides::default())
        .unwrap_or_else(|mistakes| panic!("{mistakes}\n{configuration}"));
    let report = Report {
        plan: &plan,
        conclusion: &conclusion,
        addresses: &[],
        configuration: &configuration,
        written: None,
    };
    let text = report.text();
    for exchange in &exchanges {
        if let Some(key) = exchange.question.carried.key() {
            let key = String::from_utf8_lossy(key.as_bytes()).into_owned();
            assert!(!text.contains(&key) && !report.json().to_string().contains(&key), "{text}");
        }
    }
    Probed { configuration, conclusion, text, exchanges }
}

fn wishes() -> Wishes {
    Wishes { root: "/".to_owned(), ..Wishes::default() }
}

fn probe_with(wishes: &Wishes, site: &mut Site) -> Probed {
    let probed = probe_by(wishes, |question| Outcome::Answered(site.answer(question)));
    let records = probed.conclusion.records;
    let rows = site.store.len();
    match records.unsure {
        0 => assert_eq!(records.left(), rows, "{}", probed.text),
        _ => assert!(records.left() >= rows, "{}", probed.text),
    }
    probed
}

fn probe(mut site: Site) -> Probed {
    probe_with(&wishes(), &mut site)
}

#[test]
fn every_release_is_told_with_its_weaknesses_and_what_is_left() {
    use Standing::{Exposed as Yes, NotExposed as No};
    let patched = "Django 1.4.22, 1.7.10, 1.8.4, or a later one";
    for (release, standings, name, left, most) in [
        (R1_4_20, [Yes, Yes, Yes], "Django 1.4 to 1.4.20", 3, 8),
        (R1_4_21, [Yes, Yes, No], "Django 1.4.21", 2, 9),
        (R1_4_22, [No, No, No], patched, 0, 8),
        (R1_7_8, [Yes, Yes, Yes], "Django 1.5, 1.6, or 1.7 to 1.7.8", 3, 7),
        (R1_7_9, [Yes, Yes, No], "Django 1.7.9", 2, 9),
        (R1_8_2, [Yes, No, Yes], "Django 1.8 to 1.8.2", 0, 8),
        (R1_8_3, [Yes, No, No], "Django 1.8.3", 0, 7),
        (R1_8_4, [No, No, No], patched, 0, 6),
    ] {
        let probed = probe(Site::new(release));
        let text = &probed.text;
        let found = Cve::ALL.map(|cve| probed.conclusion.standing(cve));
        assert_eq!(found, standings, "{text}");
        assert_eq!(probed.conclusion.release, Some(name), "{text}");
        let verdict = if standings.contains(&Yes) { Verdict::Exposed } else { Verdict::NotExposed };
        assert_eq!(probed.conclusion.verdict, verdict, "{text}");
        assert_eq!(probed.conclusion.records.left(), left, "{text}");
        assert!(probed.exchanges.len() <= most, "{text}");
        assert_eq!(probed.conclusion.writers.is_empty(), !release.old, "{text}");
        let profile = if release.old { "\"django-1.4\"" } else { "\"django\"" };
        assert!(probed.configuration.contains(profile), "{}", probed.configuration);
    }
}

#[test]
fn a_site_that_saves_every_request_is_told_like_any_other() {
    for (release, exposed) in [(R1_4_21, true), (R1_7_8, true), (R1_8_3, true), (R1_8_4, false)] {
        let mut site = Site::new(release);
        site.saves_all = true;
        let probed = probe(site);
        let expected = if exposed { Verdict::Exposed } else { Verdict::NotExposed };
        assert_eq!(probed.conclusion.verdict, expected, "{}", probed.text);
    }
}

#[test]
fn another_cookie_is_noticed_where_it_is_set_and_asked_for_where_it_is_not() {
    for release in [R1_4_20, R1_7_9, R1_8_3] {
        let site = Site { cookie: "shop_session", ..Site::new(release) };
        let probed = probe(site);
        assert_eq!(probed.conclusion.verdict, Verdict::Exposed, "{}", probed.text);
        assert!(probed.configuration.contains("cookie = \"shop_session\"\n"));
    }
    let mut site = Site { cookie: "sid", ..Site::new(R1_8_4) };
    let probed = probe_with(&wishes(), &mut site);
    assert_eq!(probed.conclusion.verdict, Verdict::CannotTell, "{}", probed.text);
    assert!(probed.text.contains("--cookie NAME"), "{}", probed.text);
    let told = Wishes { cookie: Some("sid".to_owned()), ..wishes() };
    let probed = probe_with(&told, &mut site);
    assert_eq!(probed.conclusion.verdict, Verdict::NotExposed, "{}", probed.text);
}

#[test]
fn a_logout_that_is_not_where_it_usually_is_gets_a_rule() {
    for release in [R1_4_21, R1_7_8, R1_8_3] {
        let site = || Site::new(release).without("/accounts/logout/").with("/bye/", View::Flushes);
        let probed = probe(site());
        assert_ne!(probed.conclusion.standing(Cve::Logout), Standing::Exposed, "{}", probed.text);
        assert_ne!(probed.conclusion.verdict, Verdict::NotExposed, "{}", probed.text);
        let told = Wishes { logouts: vec!["/bye/".to_owned()], ..wishes() };
        let probed = probe_with(&told, &mut site());
        assert_eq!(probed.conclusion.verdict, Verdict::Exposed, "{}", probed.text);
        let rule = "path = \"/bye/\"\naction = \"recycle\"\nbudget = \"logout\"\n";
        assert!(probed.configuration.contains(rule), "{}", probed.configuration);
    }
    let probed = probe(Site::new(R1_8_4).without("/accounts/logout/"));
    assert_eq!(probed.conclusion.verdict, Verdict::CannotTell, "{}", probed.text);
    assert!(probed.text.contains("--logout PATH"), "{}", probed.text);
}

#[test]
fn pages_in_a_language_are_found_behind_their_redirection() {
    let site = Site::new(R1_7_9)
        .with("/", View::Sends("/en/"))
        .with("/en/", View::Reads)
        .with("/accounts/logout/", View::Sends("http://shop.test/en/accounts/logout/?x=1"))
        .with("/en/accounts/logout/", View::Flushes);
    let probed = probe(site);
    assert_eq!(probed.conclusion.release, Some("Django 1.7.9"), "{}", probed.text);
    assert!(probed.requests().contains(&"GET /en/accounts/logout/ no cookie".to_owned()));
}

#[test]
fn a_logout_that_asks_first_is_posted_to() {
    for view in [View::Confirms, View::WantsPost] {
        for (release, verdict) in [
            (R1_4_20, Verdict::Exposed),
            (R1_7_9, Verdict::Exposed),
            (R1_8_3, Verdict::Exposed),
            (R1_8_4, Verdict::NotExposed),
        ] {
            let probed = probe(Site::new(release).with("/accounts/logout/", view));
            assert_eq!(probed.conclusion.verdict, verdict, "{view:?} {}", probed.text);
            let posts = probed.requests();
            let posts = posts.iter().filter(|line| line.starts_with("POST /accounts/logout/ "));
            assert!(posts.count() >= 2, "{}", probed.text);
        }
    }
}

#[test]
fn what_only_looks_like_a_logout_proves_nothing() {
    for (view, character) in [
        (View::Plain, None),
        (View::Reads, Some(Character::Unclear(Why::NoSign))),
        (View::Writes, Some(Character::Writes)),
        (View::Adopts, Some(Character::Writes)),
        (View::Asks("/accounts/login/?next=/accounts/logout/"), None),
    ] {
        let probed = probe(Site::new(R1_7_9).with("/accounts/logout/", view));
        assert_eq!(probed.character("/accounts/logout/"), character, "{view:?} {}", probed.text);
        assert_ne!(probed.conclusion.standing(Cve::Logout), Standing::Exposed, "{}", probed.text);
        assert_ne!(probed.conclusion.verdict, Verdict::NotExposed, "{view:?} {}", probed.text);
    }
    let probed = probe(Site::new(R1_7_9).with("/accounts/logout/", View::Writes));
    let rule = "path = \"/accounts/logout/\"\naction = \"gate\"\n";
    assert!(probed.configuration.contains(rule), "{}", probed.configuration);
}

#[test]
fn what_a_view_writes_after_the_logout_is_no_weakness_of_the_release() {
    for release in [R1_4_22, R1_8_3, R1_8_4] {
        let site = Site::new(release).with("/accounts/logout/", View::FlushesAndWrites);
        let probed = probe(site.with("/", View::Reads));
        let character = probed.character("/accounts/logout/");
        assert_eq!(character, Some(Character::WritesAfter), "{}", probed.text);
        assert_eq!(probed.conclusion.verdict, Verdict::CannotTell, "{}", probed.text);
        for line in ["after_logout = \"relay\"", "action = \"gate\"\neffect = \"flush\""] {
            assert!(probed.configuration.contains(line), "{}", probed.configuration);
        }
    }
}

#[test]
fn who_is_refused_sent_away_or_hears_nothing_asks_no_further() {
    let probed = probe(Site::new(R1_7_9).with("/accounts/logout/", View::Refuses));
    assert_eq!((probed.exchanges.len(), probed.conclusion.verdict), (2, Verdict::CannotTell));
    let away = "https://other.test/\u{1b}[2J";
    let probed = probe(Site::new(R1_7_9).with("/", View::Sends(away)));
    assert_eq!((probed.exchanges.len(), probed.conclusion.verdict), (1, Verdict::CannotTell));
    assert!(probed.text.contains("https://other.test/%1B[2J: probe that"), "{}", probed.text);
    let silence = |sent| Outcome::Silence { why: "\u{1b}]0;x\u{7}".to_owned(), sent };
    let probed = probe_by(&wishes(), |_| silence(true));
    assert_eq!((probed.exchanges.len(), probed.conclusion.verdict), (1, Verdict::Failed));
    assert_eq!(probed.conclusion.records.left(), 1);
    assert!(!probed.text.contains('\u{1b}'), "{}", probed.text);
    assert_eq!(probe_by(&wishes(), |_| silence(false)).conclusion.records.left(), 0);
}

/// A cache that knows no cookies hides what 1.8.3 creates without one.
#[test]
fn what_a_cache_answers_proves_nothing() {
    let mut site = Site::new(R1_8_3);
    let probed = probe_by(&wishes(), |question| {
        let mut answer = site.answer(question);
        if question.path.ends_with("/logout/") && question.carried == Carried::Nothing {
            answer.set_cookies.clear();
            answer.cached = true;
        }
        Outcome::Answered(answer)
    });
    assert_eq!(probed.conclusion.verdict, Verdict::CannotTell, "{}", probed.text);
    assert!(probed.text.contains("answered by a cache"), "{}", probed.text);
}

#[test]
fn records_that_may_have_begun_unseen_are_counted_as_such() {
    for release in [R1_7_8, R1_7_9] {
        let mut site = Site::new(release).with("/accounts/logout/", View::Fails);
        let probed = probe_with(&wishes(), &mut site);
        assert!(!site.store.is_empty() && probed.conclusion.records.unsure > 0, "{}", probed.text);
    }
}

#[test]
fn attributes_of_the_cookie_become_keys_and_what_is_no_value_of_theirs_is_left_out() {
    let mut site = Site::new(R1_7_9);
    site.attributes = "; HttpOnly; Max-Age=3600; Path=/app; Domain=.shop.test; Secure";
    let configuration = probe(site).configuration;
    for line in [
        "lifetime = \"1h\"",
        "cookie_path = \"/app\"",
        "cookie_domain = \"shop.test\"",
        "cookie_secure = true",
    ] {
        assert!(configuration.contains(&format!("{line}\n")), "{configuration}");
    }
    for attributes in [
        "; Path=/\"\\; Max-Age=1; Domain=\"x",
        "; Path=\u{1b}; Domain=[[rule]]",
        "; Path=/\n[admin]\nlisten = \"0.0.0.0:1\"",
    ] {
        let mut site = Site::new(R1_7_9);
        site.attributes = attributes;
        // That what is written can be read is checked for every probe.
        assert!(!probe(site).configuration.contains("[admin]"));
    }
}

#[test]
fn a_site_that_exchanges_keys_on_any_page_is_not_taken_for_a_django() {
    let mut number = 0_u32;
    let probed = probe_by(&wishes(), |_| {
        number += 1;
        let line = format!("sessionid={number:032}; Path=/").into_bytes();
        let answer =
            Answer { status: 200, varies: true, set_cookies: vec![line], ..Answer::default() };
        Outcome::Answered(answer)
    });
    assert_eq!(probed.conclusion.verdict, Verdict::CannotTell, "{}", probed.text);
    assert!(probed.text.contains("may be no Django"), "{}", probed.text);
}

#[test]
fn sessions_that_are_kept_in_cookies_fill_nothing() {
    let probed = probe_by(&wishes(), |question| {
        let line = b"sessionid=e30:1abcde:0123456789_-abcdefg; Path=/".to_vec();
        let set_cookies = if question.path.contains("logout") { vec![line] } else { vec![] };
        Outcome::Answered(Answer { status: 200, varies: true, set_cookies, ..Answer::default() })
    });
    assert_eq!(probed.conclusion.verdict, Verdict::CannotTell, "{}", probed.text);
    assert_eq!(probed.conclusion.records.left(), 0, "{}", probed.text);
    assert!(probed.text.contains("kept in the cookie"), "{}", probed.text);
}

#[test]
fn a_site_below_a_path_is_looked_for_there_and_its_admin_gets_rules() {
    let site = Site::new(R1_4_20)
        .with("/shop/", View::Reads)
        .with("/shop/accounts/logout/", View::Flushes)
        .with("/shop/admin/", View::Writes);
    let wishes = Wishes { root: "/shop/".to_owned(), ..wishes() };
    let mut site = site.without("/accounts/logout/").without("/");
    let probed = probe_with(&wishes, &mut site);
    assert_eq!(probed.conclusion.release, Some("Django 1.4 to 1.4.20"), "{}", probed.text);
    assert!(probed.exchanges.iter().all(|e| e.question.path.starts_with("/shop/")));
    for line in ["prefix = \"/shop/admin/\"\nmethod = \"POST\"\n", "budget = \"admin\"\n"] {
        assert!(probed.configuration.contains(line), "{}", probed.configuration);
    }
}

/// A site that answers each request with whatever keeps a conversation going.
#[test]
fn no_site_gets_more_requests_than_stated() {
    let mut number = 0_u32;
    let probed = probe_by(&wishes(), |question| {
        number += 1;
        let next = format!("{}x{number}/logout/", question.path);
        Outcome::Answered(Answer {
            status: 302,
            location: Some(next),
            varies: true,
            set_cookies: vec![format!("sessionid={number:032}; Path=/").into_bytes()],
            ..Answer::default()
        })
    });
    assert!(probed.exchanges.len() <= MOST_REQUESTS, "{}", probed.text);
    let many: Vec<String> = (0..100).map(|number| format!("/{number}/")).collect();
    // However much there is to look at, what was begun is ended where that can be.
    for release in [R1_4_22, R1_8_2, R1_8_3, R1_8_4] {
        let told = Wishes { pages: many.clone(), ..wishes() };
        for saves_all in [false, true] {
            let mut site = Site { saves_all, ..Site::new(release) };
            let probed = probe_with(&told, &mut site);
            assert_eq!(site.store.len(), 0, "{}", probed.text);
            assert!(probed.text.contains("would tell more"), "{}", probed.text);
        }
    }
    let told = Wishes { pages: many.clone(), logouts: many.clone(), logins: many, ..wishes() };
    for release in [R1_4_20, R1_8_2, R1_8_4] {
        let mut site = Site::new(release);
        site.saves_all = true;
        let probed = probe_with(&told, &mut site);
        assert!(probed.exchanges.len() <= MOST_REQUESTS, "{}", probed.text);
    }
}
