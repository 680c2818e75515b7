//! The page of the admin listener in Chromium, during a flood of a genuine Django.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::address::own_address;
use crate::support::attack::bounded;
use crate::support::django::{Django, Release};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::load::flood::{Flood, Scenario};
use crate::support::load::visit::Visit;
use crate::support::page::Page;

/// The width of a small phone, in CSS pixels.
const PHONE: u32 = 360;
/// What all may create together where `/write/` is: so many at once, and one more each second.
const BURST: u64 = 20;
const CONFIGURATION: &str = "[budget.cart]\n\
                             client = { rate = '60/min', burst = 20 }\n\
                             site = { rate = '60/min', burst = 20 }\n\
                             [[rule]]\n\
                             name = 'cart'\n\
                             path = '/write/'\n\
                             budget = 'cart'\n\
                             [log]\n\
                             flood_quiet = '2s'\n";

/// The number in front of a text, as in `1,243/s`.
fn number(text: &str) -> f64 {
    let digits: String = text.chars().filter(|c| *c != ',').collect();
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
    digits[..end].parse().unwrap_or_else(|_| panic!("no number: {text}"))
}

#[test]
fn an_operator_sees_a_flood_come_and_go() {
    let release = Release::V1_7_9;
    if !release.available() {
        return;
    }
    let site = Django::start_with(release, &["--threads", "2"]);
    let folder = Folder::new("page-flood");
    let admin = own_address();
    let configuration = format!("admin.listen = '{admin}'\n{CONFIGURATION}");
    let floodwall = Floodwall::start(&folder, &site.upstream(), &configuration);
    let page = Page::open(&format!("http://{admin}/"));
    page.await_text("#headline", "No flood");
    assert_eq!(page.text("#link-text"), "Live");
    assert_eq!(page.faults(), Vec::<String>::new());

    let over = AtomicBool::new(false);
    let began = Instant::now();
    let (user, report) = thread::scope(|scope| {
        let (target, over) = (floodwall.target(), &over);
        let user = scope.spawn({
            let pause = Duration::from_millis(150);
            let visit = Visit { pause, ..Visit::new(target, "user1") };
            move || visit.until(|| over.load(Ordering::Relaxed))
        });
        let flood = scope.spawn(move || {
            let mut report = None;
            while !over.load(Ordering::Relaxed) {
                report = Some(Flood::new(target, Scenario::AnonymousWrite).run());
            }
            report.expect("one at least")
        });
        // Whatever fails here, the flood is to end.
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| during(&page)));
        over.store(true, Ordering::Relaxed);
        let both = (user.join().expect("a user"), flood.join().expect("a flood"));
        if let Err(panic) = looked {
            std::panic::resume_unwind(panic);
        }
        both
    });
    assert_eq!(user.failures().collect::<Vec<_>>(), Vec::<String>::new());
    assert_eq!(report.errors, 0, "{report}");
    let promised = BURST + began.elapsed().as_secs() + 1 + user.rounds as u64;
    assert!(site.rows() <= promised, "{} rows, {promised} promised", site.rows());

    page.await_text("#headline", "No flood");
    page.await_text("#said", "The flood on cart has ended.");
    assert_eq!(page.cell("past-table", "Route"), "cart");
    assert!(page.is("document.querySelector('#floods-table table').hidden"));
    assert!(page.cell("past-table", "Most active clients").contains("127.0.0."));
    page.picture("after");
    page.assert_clean();
}

/// All that is looked at while the flood runs.
fn during(page: &Page) {
    page.await_text("#headline", "Flood on cart since ");
    page.await_text("#users .answer", "Served well");
    page.await_is("document.querySelector('#said').textContent.includes('A flood on cart')");
    assert!(page.text("#attack .answer").contains("Flood on cart"));
    assert!(page.text("#store .answer").contains("Safe"));
    assert!(page.is("document.title.startsWith('✕ Flood on cart')"));

    // Numbers rise, and what reached the store is what the budget allows.
    let stopped = |page: &Page| number(&page.cell("floods-table", "Stopped"));
    let before = stopped(page);
    assert!(before > 0.0);
    await_that("the numbers stand still", || stopped(page) > before);
    let rate = number(&page.tile("Stopped"));
    assert!(rate > 0.0, "{rate}");
    let written = number(&page.cell("floods-table", "Records written"));
    let since = "performance.now() / 1000";
    let seconds = page.browser.run(&format!("return {since}")).as_f64().expect("seconds");
    let promised = BURST + seconds as u64 + 2;
    bounded("a flood, as the page tells of it", "records", promised, written as u64);
    let prefix = page.cell("floods-table", "Most active clients");
    assert!(prefix.contains("127.0.0."), "{prefix}");
    assert!(page.cell("floods-table", "What was done").contains("budget"));
    let now = page.text("#plot-verdicts-now");
    assert!(now.contains("Refused") && !now.contains("Refused 0/s"), "{now}");

    pauses(page);
    ranges(page);
    themes(page);
    keys(page);
    page.browser.resize(PHONE, 800, true);
    await_that("the page is wider than a phone", || page.width() <= PHONE.into());
    assert_eq!(page.faults(), Vec::<String>::new());
    page.picture("phone");
    page.browser.resize(1440, 900, false);
    page.await_is("document.querySelector('.plot canvas').clientWidth > 400");
    page.assert_clean();
}

fn pauses(page: &Page) {
    page.browser.press("p");
    page.await_is("!document.querySelector('#paused').hidden");
    assert!(page.is("document.querySelector('#pause').ariaPressed === 'true'"));
    let shown = |page: &Page| (page.text("#tiles"), page.text("#floods"), page.text("#gist"));
    let frozen = shown(page);
    // It hears of two more seconds meanwhile.
    let from = page.browser.run("return Date.now()").as_f64().expect("a time");
    await_that("time stands still", || {
        page.browser.run("return Date.now()").as_f64().expect("a time") > from + 2_500.0
    });
    assert_eq!(shown(page), frozen);
    page.browser.press("p");
    page.await_is("document.querySelector('#paused').hidden");
    await_that("it stays frozen", || shown(page) != frozen);
}

/// Between the first two rows of a plot's table, in seconds.
fn step(page: &Page) -> i64 {
    let script = "const times = [...document.querySelectorAll('#plot-verdicts-table tbody th')]\
                  .map((cell) => cell.textContent.split(':').reduce((sum, n) => sum * 60 + Number(n), 0));\
                  return times.length < 2 ? 0 : (times[0] - times[1] + 86400) % 86400";
    page.browser.run(script).as_i64().expect("seconds")
}

fn ranges(page: &Page) {
    page.browser.run("document.querySelector('[aria-controls=plot-verdicts-table]').click()");
    page.await_is("document.querySelectorAll('#plot-verdicts-table tbody tr').length > 1");
    // One second each, or a little more where the machine is busy.
    assert!((1..9).contains(&step(page)), "{}", step(page));
    page.browser.press("2");
    page.await_is("document.querySelector('[data-range=\"900\"]').ariaPressed === 'true'");
    assert!(page.is("document.querySelector('[data-range=\"300\"]').ariaPressed === 'false'"));
    await_that("the longer range has no longer steps", || step(page) >= 9);
    page.browser.press("1");
    page.await_is("document.querySelector('[data-range=\"300\"]').ariaPressed === 'true'");
    page.browser.run("document.querySelector('[aria-controls=plot-verdicts-table]').click()");
}

fn themes(page: &Page) {
    let ground =
        |page: &Page| page.browser.run("return getComputedStyle(document.body).backgroundColor");
    let mut seen = Vec::new();
    for theme in ["light", "dark"] {
        page.browser.press("t");
        page.await_is(&format!("document.documentElement.dataset.theme === '{theme}'"));
        seen.push(ground(page));
        assert_eq!(page.faults(), Vec::<String>::new(), "{theme}");
        page.picture(theme);
    }
    assert_ne!(seen[0], seen[1]);
    page.load();
    page.await_text("#headline", "Flood on cart");
    assert_eq!(ground(page), seen[1], "what was chosen is kept");
    page.browser.press("t");
    page.await_is("document.documentElement.dataset.theme === undefined");
}

/// All of it without a mouse.
fn keys(page: &Page) {
    const TAB: &str = "\u{e004}";
    const ENTER: &str = "\u{e007}";
    const SPACE: &str = " ";
    let focused =
        |page: &Page, is: &str| page.is(&format!("document.activeElement.matches({})", json!(is)));
    page.load();
    page.await_text("#headline", "Flood on cart");
    page.browser.press(TAB);
    assert!(focused(page, ".skip"));
    let outline = "getComputedStyle(document.activeElement).outlineStyle !== 'none'";
    assert!(page.is(outline));
    page.browser.press(ENTER);
    page.await_is("document.activeElement.id === 'floods'");
    page.browser.press(TAB);
    assert!(focused(page, "figure:first-child button"), "the first plot comes after the floods");
    assert!(page.is(outline));
    page.browser.press(SPACE);
    page.await_is("!document.querySelector('#plot-verdicts-table').hidden");
    page.browser.press(SPACE);
    page.await_is("document.querySelector('#plot-verdicts-table').hidden");
}

#[test]
fn the_page_survives_a_restart_and_tells_of_it() {
    let release = Release::V1_8_3;
    if !release.available() {
        return;
    }
    let site = Django::start_with(release, &["--threads", "2"]);
    let folder = Folder::new("page-restart");
    let admin = own_address();
    let configuration = format!("admin.listen = '{admin}'\n{CONFIGURATION}");
    let floodwall = Floodwall::start(&folder, &site.upstream(), &configuration);
    let page = Page::open(&format!("http://{admin}/"));
    let visit = Visit::new(floodwall.target(), "user1");
    visit.rounds(1);
    page.await_text("#users .answer", "Served well");
    page.browser.run("document.querySelector('[aria-controls=plot-verdicts-table]').click()");
    let rows = "document.querySelectorAll('#plot-verdicts-table tbody tr').length";
    page.await_is(&format!("{rows} >= 3"));
    let address = floodwall.address().to_owned();
    assert!(floodwall.stop().success());
    page.await_is("!document.querySelector('#stale').hidden");
    page.await_text("#stale", "trying again");
    assert_eq!(page.text("#link-text"), "No connection");
    let before = page.browser.run(&format!("return {rows}")).as_u64().expect("rows");

    let _floodwall = Floodwall::start_at(&folder, &site.upstream(), &configuration, &address);
    page.await_is("document.querySelector('#stale').hidden");
    page.await_text("#said", "Floodwall was started anew.");
    assert_eq!(page.text("#link-text"), "Live");
    let after = page.browser.run(&format!("return {rows}")).as_u64().expect("rows");
    assert!(after >= before.min(3), "what was known before is kept: {after} of {before}");
    visit.rounds(1);
    page.await_text("#users .answer", "Served well");
    let stepped_back = "[...document.querySelectorAll('#plot-verdicts-table tbody td')]\
                        .some((cell) => cell.textContent.startsWith('-'))";
    assert!(!page.is(stepped_back), "nothing counts back");
}
