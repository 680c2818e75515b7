//! What the page makes of what it is told, in Chromium: of several sites, and of every trouble.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::address::own_address;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::page::Page;
use crate::support::shop::shop;

/// So many requests for new pages of a host, without a session.
fn ask(floodwall: &Floodwall, host: &str, requests: u32) {
    let url = format!("http://{}/[1-{requests}]", floodwall.address());
    let host = format!("Host: {host}");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--output", "/dev/null", "--header", &host, &url]);
    assert!(curl.stdout(Stdio::null()).status().expect("curl runs").success());
}

#[test]
fn each_site_is_looked_at_on_its_own_and_by_who_knows_the_token() {
    let folder = Folder::new("page-sites");
    let (blog, shop) = (shop(), shop());
    let admin = own_address();
    let token = folder.path().join("token");
    fs::write(&token, "0123456789abcdef\n").expect("a file");
    let configuration = format!(
        "listen = '127.0.0.1:0'\nstate = ''\ncontrol = ''\n\
         admin = {{ listen = '{admin}', token_file = '{}' }}\n\
         [budget.anonymous]\nclient = {{ rate = '1/h', burst = 5 }}\n\
         [[site]]\nname = 'blog'\nhosts = ['blog.example']\nupstream = '{}'\n\
         [[site]]\nname = 'shop'\nhosts = ['shop.example']\nupstream = '{}'\n\
         mode = 'observe'\n",
        token.display(),
        blog.upstream(),
        shop.upstream(),
    );
    let floodwall = Floodwall::start_by_file(&folder, &configuration);
    let page = Page::open(&format!("http://me:0123456789abcdef@{admin}/"));
    page.await_text("#headline", "No flood");
    page.await_is("document.querySelectorAll('#sites button').length === 2");
    page.await_text("#sites button:first-child", "✓ no flood");
    ask(&floodwall, "blog.example", 3);
    ask(&floodwall, "shop.example", 60);
    page.await_text("#sites button:last-child", "✕ flood on (no rule), observe");
    assert_eq!(page.text("#headline"), "No flood", "of the other site");
    assert!(page.is("document.title.startsWith('✕ Flood on (no rule)')"), "of all sites");

    page.browser.run("document.querySelector('#sites button:last-child').click()");
    page.await_text("#headline", "Flood on (no rule) since ");
    page.await_text("#store .answer", "Not protected");
    page.await_is("document.querySelector('#band').dataset.level === 'bad'");
    assert!(page.tile("Would be stopped").ends_with("/s"));
    assert_eq!(page.faults(), Vec::<String>::new());
    assert!(page.cell("floods-table", "Stopped").contains("only observed"));
    // It is of this site again when it is loaded again.
    page.browser.run("window.before = true; location.reload()");
    page.await_is("window.before === undefined && location.search === '?site=shop'");
    page.await_text("#headline", "Flood on (no rule) since ");
    page.assert_clean();
}

/// What a judgement is of: one change of a site that is well, and what is to be said of it.
fn cases() -> Vec<(&'static str, Value, [&'static str; 4])> {
    let flood = json!([{ "route": "logout", "since": 0, "seconds": 60, "clients": 3,
                         "more_clients": false }]);
    let quiet = json!([{ "route": "logout", "since": 0, "seconds": 41, "clients": 3,
                         "more_clients": false }]);
    let well = ["good", "No flood", "Safe", "Served well"];
    vec![
        ("all is well", json!({}), well),
        (
            "a flood that is held",
            json!({ "floods": flood }),
            ["held", "Flood on logout", "Safe", "Served well"],
        ),
        (
            "a flood in observe mode",
            json!({ "floods": flood, "mode": "observe", "minute": { "would_prevent": 9 } }),
            ["bad", "Flood on logout", "Not protected", "Served well"],
        ),
        (
            "a flood of which nothing was seen for a while",
            json!({ "floods": quiet }),
            ["held", "Flood on logout", "Safe", "Served well"],
        ),
        (
            "users are refused",
            json!({ "minute": { "known_refused": 1 } }),
            ["bad", "No flood", "Safe", "Some are refused"],
        ),
        (
            "users see errors",
            json!({ "minute": { "known_failed": 2 } }),
            ["bad", "No flood", "Safe", "They see errors"],
        ),
        ("users wait", json!({ "minute": { "p99": 1500 } }), ["warn", "No flood", "Safe", "Slow"]),
        (
            "nobody is here",
            json!({ "minute": { "known": 0, "p99": null } }),
            ["good", "No flood", "Safe", "Nobody is here"],
        ),
        (
            "no server is up",
            json!({ "servers": [{ "name": "a", "up": false }] }),
            ["bad", "No flood", "Safe", "Cannot be served"],
        ),
        (
            "more is written than the budgets allow",
            json!({ "minute": { "created": 87 } }),
            ["warn", "No flood", "Growing", "Served well"],
        ),
        ("as much is written as the budgets allow", json!({ "minute": { "uncertain": 86 } }), well),
    ]
}

#[test]
fn what_is_said_is_what_the_numbers_say() {
    let folder = Folder::new("page-judge");
    let shop = shop();
    let admin = own_address();
    let configuration = format!("admin.listen = '{admin}'\n");
    let _floodwall = Floodwall::start(&folder, shop.upstream(), &configuration);
    let page = Page::open(&format!("http://{admin}/"));
    page.await_text("#headline", "No flood");
    let cases = cases();
    let changes: Vec<&Value> = cases.iter().map(|(_, change, _)| change).collect();
    // A budget of ten and one more each second, and sixteen spares: 86 within a minute.
    let script = format!(
        "const done = arguments[0];
         const folder = `/${{document.body.dataset.folder}}`;
         const minute = {{ t: 1, span: 60000, known: 100, known_refused: 0, known_failed: 0,
             created: 0, uncertain: 0, prevented: 0, would_prevent: 0, p50: 5, p99: 20 }};
         const columns = Object.keys(minute);
         const told = ({{ minute: other, ...rest }}) => {{
             const row = Object.values({{ ...minute, ...other }});
             const site = {{ mode: 'enforce', floods: [], past: [], spares: [0, 16],
                 budgets: [{{ name: 'a', left: 1, burst: 10, period_s: 1 }}],
                 servers: [{{ name: 'a', up: true }}], minute: row, ...rest }};
             return {{ columns, fine: [], coarse: [], now: {{ t: 61000, site }} }};
         }};
         Promise.all([import(`${{folder}}/judge.js`), import(`${{folder}}/stream.js`)])
             .then(([{{ judge }}, {{ Data }}]) => {}.map((change) => {{
                 const {{ columns, fine, coarse, now }} = told(change);
                 const view = judge(new Data(columns, fine, coarse, now));
                 const said = [view.level, view.attack.text, view.store.text, view.users.text];
                 return [said, view.headline];
             }}))
             .then(done, (error) => done(`${{error.stack}}`));",
        json!(changes)
    );
    let found = page.browser.run_async(&script);
    let found = found.as_array().unwrap_or_else(|| panic!("{found}"));
    for ((what, _, expected), found) in cases.iter().zip(found) {
        let [said, headline] = [&found[0], &found[1]];
        assert_eq!(said, &json!(expected), "{what}");
        let headline = headline.as_str().expect("text");
        let quiet = *what == "a flood of which nothing was seen for a while";
        assert_eq!(headline.ends_with(", quiet for 20s"), quiet, "{headline}");
        assert_eq!(headline.ends_with(", held"), expected[0] == "held" && !quiet, "{headline}");
    }
}
