//! Restarts and kills in front of genuine Django: nobody is logged out, no ended session comes
//! back, no budget is refilled.

use std::fs;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::attack::bounded;
use crate::support::django::{Django, Release};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::load::Target;
use crate::support::load::browser::Browser;
use crate::support::load::flood::{Flood, Scenario};
use crate::support::load::http::{Connection, Request};

/// Whoever is not in the ledger is logged out, so that a forgotten key shows.
const DROP: &str = "[session]\nunknown = 'drop'\n[save]\ninterval = '100ms'\n\
                    [budget.login]\nclient = { rate = '10/s', burst = 900 }\n";

const RELEASE: Release = Release::V1_7_8;

fn log_in(target: Target, user: usize) -> Option<Browser> {
    let mut browser = Browser::new(target, Ipv4Addr::LOCALHOST);
    browser.get("/accounts/login/").ok()?;
    let name = format!("user{user}");
    let page = browser.post("/accounts/login/", &[("username", &name), ("password", "secret")]);
    page.ok().filter(|page| page.gist().contains(&name)).map(|_| browser)
}

fn is_logged_in(browser: &mut Browser) -> bool {
    let page = browser.get("/read/").expect("an answer");
    assert_eq!(page.status(), 200, "{}", page.gist());
    !page.gist().contains("anonymous")
}

fn status(target: Target, source: Ipv4Addr, path: &str, cookie: &str) -> u16 {
    let bytes = format!("GET {path} HTTP/1.1\r\nHost: {target}\r\nCookie: {cookie}\r\n\r\n");
    let request = Request { bytes: bytes.into_bytes(), head: false };
    let deadline = Instant::now() + Duration::from_secs(30);
    Connection::new(target, source).exchange(&request, deadline).expect("an answer").status
}

#[test]
fn a_restart_logs_nobody_out_and_brings_no_ended_session_back() {
    if !RELEASE.available() {
        return;
    }
    let site = Django::start(RELEASE);
    let folder = Folder::new("restart");
    let floodwall = Floodwall::start(&folder, &site.upstream(), DROP);
    let (address, target) = (floodwall.address().to_owned(), floodwall.target());
    let mut users: Vec<Browser> =
        (0..10).map(|user| log_in(target, user).expect("a login")).collect();
    let mut gone = users.pop().expect("ten users");
    let ended = gone.cookie("sessionid").expect("a session").to_owned();
    gone.get("/accounts/logout/").expect("a logout");
    assert!(floodwall.stop().success());

    let floodwall = Floodwall::start_at(&folder, &site.upstream(), DROP, &address);
    assert!(users.iter_mut().all(is_logged_in));
    floodwall.kill();
    // Cold and forwarding: only what is known to be dead is kept away. On this release a page
    // read with a dead key adds a record.
    let forwarding = DROP.replace("drop", "auto");
    let floodwall = Floodwall::start_at(&folder, &site.upstream(), &forwarding, &address);
    assert!(users.iter_mut().all(is_logged_in));
    let rows = site.rows();
    for _ in 0..5 {
        let cookie = format!("sessionid={ended}");
        assert_eq!(status(target, Ipv4Addr::LOCALHOST, "/read/", &cookie), 200);
    }
    assert_eq!(site.rows(), rows, "an ended session is still ended");
    drop(floodwall);
}

#[test]
fn a_kill_under_load_forgets_no_session() {
    an_end_under_load_forgets_no_session("kill -9", Floodwall::kill);
}

#[test]
fn a_stop_under_load_forgets_no_session_and_succeeds() {
    an_end_under_load_forgets_no_session("a restart", |floodwall| {
        assert!(floodwall.stop().success());
    });
}

fn an_end_under_load_forgets_no_session(how: &str, end: impl FnOnce(Floodwall)) {
    if !RELEASE.available() {
        return;
    }
    let site = Django::start_with(RELEASE, &["--threads", "4"]);
    let folder = Folder::new("kill");
    let floodwall = Floodwall::start(&folder, &site.upstream(), DROP);
    let (address, target) = (floodwall.address().to_owned(), floodwall.target());
    let killed = AtomicBool::new(false);
    let mut users: Vec<Browser> = thread::scope(|scope| {
        let logging_in: Vec<_> = (0..4)
            .map(|first| {
                let killed = &killed;
                scope.spawn(move || {
                    let mut users = Vec::new();
                    for user in (first..32).step_by(4).cycle().take(200) {
                        if killed.load(Ordering::Relaxed) {
                            break;
                        }
                        users.extend(log_in(target, user));
                    }
                    users
                })
            })
            .collect();
        let flood = scope.spawn(move || {
            let limit = Duration::from_secs(60);
            let scenario = Scenario::AnonymousLogout;
            Flood { requests: 50_000, time_limit: limit, ..Flood::new(target, scenario) }.run()
        });
        await_that("too few users have logged in", || site.authenticated() >= 20);
        end(floodwall);
        killed.store(true, Ordering::Relaxed);
        // What was not answered any more shows that the flood was going on.
        let report = flood.join().expect("no panic");
        assert!(report.with_status(200) > 0 && report.errors > 0, "{report}");
        logging_in.into_iter().flat_map(|users| users.join().expect("no panic")).collect()
    });
    assert!(users.len() >= 10, "{} logins", users.len());

    let floodwall = Floodwall::start_at(&folder, &site.upstream(), DROP, &address);
    let forgotten = users.iter_mut().filter_map(|user| (!is_logged_in(user)).then_some(())).count();
    println!("of {}: {}", users.len(), floodwall.log());
    let attack = format!("{how} under a flood of logouts");
    bounded(&attack, "users logged out, 1.7.8", 0, forgotten as u64);
}

#[test]
fn a_kill_refills_no_budget() {
    if !RELEASE.available() {
        return;
    }
    let site = Django::start(RELEASE);
    let folder = Folder::new("budget");
    let configuration = "[save]\ninterval = '100ms'\n\
        [budget.anonymous]\nclient = { rate = '1/d', burst = 5 }\nsite = { rate = '1/d', burst = 50 }\n";
    let floodwall = Floodwall::start(&folder, &site.upstream(), configuration);
    let (address, target) = (floodwall.address().to_owned(), floodwall.target());
    let [spender, other] = [2, 3].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let spent: Vec<u16> = (0..6).map(|_| status(target, spender, "/write/", "a=1")).collect();
    assert_eq!(spent, [200, 200, 200, 200, 200, 429]);
    // What is spent is written once each interval: when the journal has grown by what another
    // client spent later, it has what this one spent.
    let journal = || -> u64 {
        let files = fs::read_dir(folder.path()).expect("the folder is there");
        let files = files.filter_map(Result::ok);
        let journals =
            files.filter(|file| file.file_name().to_string_lossy().contains(".journal."));
        journals.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
    };
    let before = journal();
    // Charged, as nobody knows what it wrote, and no key comes of it: a key would be written at once.
    assert_eq!(status(target, other, "/error/", "a=1"), 500);
    await_that("nothing was saved", || journal() > before);
    floodwall.kill();

    let floodwall = Floodwall::start_at(&folder, &site.upstream(), configuration, &address);
    assert_eq!(status(target, spender, "/write/", "a=1"), 429, "{}", floodwall.log());
    assert_eq!(status(target, other, "/write/", "a=1"), 200);
}

#[test]
fn a_damaged_state_file_is_set_aside_with_a_warning() {
    let folder = Folder::new("damaged");
    let upstream = "http://127.0.0.1:9";
    fs::write(folder.path().join("state"), b"FLOODWL1 but then nonsense").expect("a file");
    let floodwall = Floodwall::start(&folder, upstream, "");
    assert!(floodwall.log().contains("the state file is damaged"), "{}", floodwall.log());
    assert!(floodwall.stop().success());
    let names: Vec<String> = fs::read_dir(folder.path())
        .expect("the folder is there")
        .map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
        .collect();
    assert!(names.iter().any(|name| name.starts_with("state.damaged-")), "{names:?}");
    // What was begun instead is whole.
    let floodwall = Floodwall::start(&folder, upstream, "");
    assert!(floodwall.log().contains("the state was loaded"), "{}", floodwall.log());
}

#[test]
fn a_second_floodwall_on_the_same_state_is_refused_by_name() {
    let folder = Folder::new("twice");
    let floodwall = Floodwall::start(&folder, "http://127.0.0.1:9", "");
    let second = Command::new(env!("CARGO_BIN_EXE_floodwall"))
        .args(["run", "--upstream", "http://127.0.0.1:9", "--listen", "127.0.0.1:0", "--state"])
        .arg(folder.path().join("state"))
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("in use by another floodwall"), "{said}");
    drop(floodwall);
}
