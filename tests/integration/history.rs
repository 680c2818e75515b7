//! The history of floods and minutes, and the reports of it: what the load's own count, the store of
//! a genuine application, and other readers of the file say.

mod hostile;
mod trouble;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use serde_json::Value;

use crate::support::address::own_address;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::sending::send;
use crate::support::shop::{ask, connect, session_of, shop, status};

/// Three sessions for everybody together, then none for hours.
const TIGHT: &str = "[budget.anonymous]\nclient = { rate = '1/d', burst = 3 }\n\
                     site = { rate = '1/d', burst = 3 }\n";

/// The history of a Floodwall whose files are in `folder`.
fn history(folder: &Folder) -> PathBuf {
    folder.path().join("state.history")
}

/// What a statement says of a history, by Python's sqlite3: each row as an array.
fn sql(file: &Path, statement: &str) -> Vec<Value> {
    let script = "import json, sqlite3, sys\n\
                  file = sqlite3.connect('file:' + sys.argv[1] + '?mode=ro', uri=True, timeout=20)\n\
                  for row in file.execute(sys.argv[2]): print(json.dumps(row))";
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(file)
        .arg(statement)
        .output()
        .expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The one number that a statement says.
fn number(file: &Path, statement: &str) -> u64 {
    sql(file, statement)[0][0].as_u64().unwrap_or(0)
}

/// `floodwall report`: its exit code, and what it writes.
fn report(arguments: &[&str]) -> (i32, String, String) {
    let output = Floodwall::program().arg("report").args(arguments).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
}

/// The same of a history as JSON.
fn json(file: &Path) -> Value {
    let file = file.to_str().expect("UTF-8");
    let (code, out, err) = report(&["--file", file, "--format", "json"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    serde_json::from_str(&out).expect("JSON")
}

/// Everything that a report has to say is what was sent, and what the application has seen.
#[test]
fn a_report_says_what_was_sent_and_what_arrived() {
    let folder = Folder::new("history-report");
    let shop = shop();
    let floodwall = Floodwall::start(&folder, shop.upstream(), TIGHT);
    let mut wire = connect(floodwall.address());
    let mut refused = 0;
    let mut session = None;
    for _ in 0..100 {
        let head = ask(&mut wire, "a", "/", "x=1");
        refused += u64::from(status(&head) == "429");
        session = session.or_else(|| session_of(&head));
    }
    let session = session.expect("a session");
    for _ in 0..50 {
        assert_eq!(status(&ask(&mut wire, "a", "/", &session)), "200");
    }
    assert_eq!(refused, 97);
    drop(wire);
    assert!(floodwall.stop().success());

    let file = history(&folder);
    let said = json(&file);
    assert_eq!(said["requests"], 150);
    assert_eq!(said["requests_by_verdict"]["refused"], 97);
    assert_eq!(said["requests_by_verdict"]["forwarded"], 53);
    assert_eq!((&said["records_prevented"], &said["records_written"]), (&97.into(), &3.into()));
    assert_eq!((&said["records_spare"], &said["records_uncertain"]), (&0.into(), &0.into()));
    assert_eq!(said["refused_by"]["client-budget"], 97);
    assert_eq!(said["known_sessions"]["all"]["requests"], 50);
    assert_eq!(said["known_sessions"]["all"]["failed"], 0);
    let flood = &said["floods"][0];
    assert_eq!((&flood["events"], &flood["state"]), (&97.into(), &"ended".into()), "{said}");
    assert_eq!(flood["top_clients"][0]["client"], "127.0.0.1");
    assert_eq!(flood["top_clients"][0]["events_at_least"], 97);
    assert_eq!((&flood["clients"], &flood["clients_exact"]), (&1.into(), &true.into()));
    let slots = said["slots"].as_array().expect("slots");
    let sum = |field: &str| slots.iter().filter_map(|slot| slot[field].as_u64()).sum::<u64>();
    assert_eq!((sum("stopped"), sum("written")), (97, 3));

    // The same by SQL, from the views that the README names.
    assert_eq!(number(&file, "SELECT sum(count) FROM exchanges"), 150);
    let refused = "SELECT sum(count) FROM events WHERE kind = 'refused' AND route = '(no rule)'";
    assert_eq!(number(&file, refused), 97);
    let timed = "SELECT sum(count) FROM durations WHERE kind = 'known'";
    assert_eq!(number(&file, timed), 50);
    assert_eq!(number(&file, "SELECT events FROM floods WHERE state = 'ended'"), 97);
    assert_eq!(number(&file, "SELECT max(most) FROM fills WHERE what = 'keys'"), 3);

    // For people: what they need, no wider than their terminal.
    let file = file.to_str().expect("UTF-8");
    let (code, text, _) = report(&["--file", file]);
    assert_eq!(code, 0);
    for needle in ["kept 97 records", "3 were written", "client-budget", "127.0.0.1=97"] {
        assert!(text.contains(needle), "no {needle:?} in {text}");
    }
    let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 80).collect();
    assert_eq!(wide, Vec::<&str>::new());
    let page = folder.path().join("report.html");
    let at = page.to_str().expect("UTF-8");
    let (code, out, _) = report(&["--file", file, "--format", "html", "--output", at]);
    assert_eq!((code, out), (0, format!("{at}\n")));
    let page = fs::read_to_string(page).expect("a page");
    assert!(page.contains("kept 97 records") && page.contains("127.0.0.1 (97)"), "{page}");
}

/// An HTML parser of Python's own finds it well formed, and nothing in it that asks for anything.
#[test]
fn the_page_needs_nothing_else_and_whatever_it_is_given_stays_text() {
    let folder = Folder::new("history-page");
    let shop = shop();
    let configuration = format!("{TIGHT}[[rule]]\nname = 'cart.--'\nprefix = '/cart'\n");
    let floodwall = Floodwall::start(&folder, shop.upstream(), &configuration);
    for path in ["/cart/%3Cscript%3E", "/%22%3E%3Cimg"] {
        for _ in 0..40 {
            ask(&mut connect(floodwall.address()), "a", path, "x=<b>");
        }
    }
    assert!(floodwall.stop().success());
    let file = history(&folder);
    // Nobody but the operator names sites and rules; but whoever writes the file may.
    let script = "import sqlite3, sys\n\
                  with sqlite3.connect(sys.argv[1]) as file:\n    \
                  file.execute(\"UPDATE word SET text = '<script>alert(1)</script>' \"\n        \
                  \"WHERE text = 'cart.--'\")\n    \
                  file.execute(\"UPDATE flood_client SET client = '\\\"><img src=x onerror=y>'\")";
    let status = Command::new("python3").args(["-c", script]).arg(&file).status();
    assert!(status.expect("python3 runs").success());
    let file = file.to_str().expect("UTF-8");
    let (code, page, _) = report(&["--file", file, "--format", "html"]);
    assert_eq!(code, 0);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{page}");
    let page_file = folder.path().join("page.html");
    fs::write(&page_file, page).expect("a file");
    let script = "\
import html.parser, sys
allowed = set('html head meta title style body main header footer p h1 h2 h3 dl div dt dd figure \
figcaption ul li span svg desc rect g path table caption thead tbody tr th td details summary'.split())
void = {'meta'}
class Page(html.parser.HTMLParser):
    open, ids, used = [], [], []
    def handle_starttag(self, tag, attributes):
        assert tag in allowed, tag
        for name, value in attributes:
            assert not name.startswith('on') and name not in ('src', 'href', 'action'), (tag, name)
            if name == 'id': self.ids.append(value)
            if name == 'aria-labelledby': self.used += value.split()
        if tag not in void: self.open.append(tag)
    def handle_startendtag(self, tag, attributes):
        assert tag in ('rect', 'path'), tag
    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag
page = Page()
text = open(sys.argv[1]).read()
page.feed(text)
page.close()
assert not page.open, page.open
assert len(set(page.ids)) == len(page.ids) and set(page.used) <= set(page.ids), page.ids
assert 'url(' not in text and '@import' not in text
";
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(&page_file)
        .output()
        .expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn who_has_nothing_to_read_is_told_what_to_do() {
    let folder = Folder::new("history-nothing");
    let none = folder.path().join("none");
    let none = none.to_str().expect("UTF-8");
    let (code, out, err) = report(&["--file", none]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("no such file") && err.contains("--config or --file"), "{err}");
    // One that nobody has asked yet.
    let shop = shop();
    let floodwall = Floodwall::start(&folder, shop.upstream(), "");
    let file = history(&folder);
    let config = folder.path().join("floodwall.toml");
    let config = config.to_str().expect("UTF-8");
    fs::write(config, format!("[history]\nfile = '{}'\n", file.display())).expect("a file");
    await_that("the history is not begun", || report(&["--config", config]).0 == 0);
    let out = report(&["--config", config]).1;
    assert!(out.contains("The history is empty"), "{out}");
    let page = report(&["--config", config, "--format", "html"]).1;
    assert!(page.contains("The history is empty"), "{page}");
    let (code, _, err) = report(&["--config", config, "--site", "shop"]);
    assert_eq!(code, 2);
    assert!(err.contains("--site \"shop\" is not in the history"), "{err}");
    // Visitors, and no flood.
    assert_eq!(status(&ask(&mut connect(floodwall.address()), "a", "/", "x=1")), "200");
    assert!(floodwall.stop().success());
    let out = report(&["--config", config]).1;
    assert!(out.contains("There was no flood. Nothing had to be kept out"), "{out}");
    let (code, out, _) =
        report(&["--config", config, "--since", "2026-01-01", "--until", "2026-01-02"]);
    assert_eq!(code, 0);
    assert!(
        out.contains("Nothing is known of this time") && out.contains("The history has"),
        "{out}"
    );
    fs::write(config, "[history]\nfile = ''\n").expect("a file");
    let (code, _, err) = report(&["--config", config]);
    assert_eq!(code, 2);
    assert!(err.contains("keeps no history") && err.contains("history.file"), "{err}");
    for (arguments, needle) in [
        (&["--since", "lunch"][..], "write 24h, 7d, today"),
        (&["--since", "0s"], "--since is not in the past"),
        (&["--since", "1h", "--until", "2h"], "--since is not before --until"),
        (&["--format", "pdf"], "text"),
        (&["--file", "a", "--config", "b"], "--config"),
    ] {
        let (code, _, err) = report(arguments);
        assert_eq!(code, 2, "{arguments:?}");
        assert!(err.contains(needle), "{arguments:?}: {err}");
    }
}

#[test]
fn what_was_only_observed_is_called_so() {
    let folder = Folder::new("history-observe");
    let shop = shop();
    let floodwall =
        Floodwall::start(&folder, shop.upstream(), &format!("mode = 'observe'\n{TIGHT}"));
    for _ in 0..40 {
        assert_eq!(status(&ask(&mut connect(floodwall.address()), "a", "/", "x=1")), "200");
    }
    assert!(floodwall.stop().success());
    let said = json(&history(&folder));
    assert_eq!((&said["records_prevented"], &said["records_written"]), (&0.into(), &40.into()));
    assert_eq!(
        (&said["counts"]["would_stop"], &said["counts"]["stopped"]),
        (&37.into(), &0.into())
    );
    assert_eq!(said["would_refuse_by"]["client-budget"], 37);
    assert_eq!(said["floods"][0]["observed"], said["floods"][0]["events"]);
    let verdict = said["verdict"].as_str().expect("a sentence");
    assert!(verdict.contains("only observed: it would have stopped 37 requests"), "{verdict}");
}

/// The program is replaced twice while it is asked: what the three processes wrote together is what
/// was sent.
#[test]
fn processes_that_follow_each_other_count_each_request_once() {
    let folder = Folder::new("history-upgrade");
    let shop = shop();
    let address = own_address().to_string();
    let mut floodwall = Floodwall::start_at(&folder, shop.upstream(), TIGHT, &address);
    let target = floodwall.target();
    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    send(target, "GET /a", "");
                    sent.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for _ in 0..2 {
            let before = sent.load(Ordering::SeqCst);
            await_that("nobody asks", || sent.load(Ordering::SeqCst) > before + 50);
            floodwall.upgrade();
        }
        let before = sent.load(Ordering::SeqCst);
        await_that("nobody asks", || sent.load(Ordering::SeqCst) > before + 50);
        over.store(true, Ordering::SeqCst);
    });
    floodwall.await_ended();
    floodwall.stop_last();
    let (file, sent) = (history(&folder), sent.into_inner());
    assert_eq!(number(&file, "SELECT sum(count) FROM exchanges"), sent);
    let refused = "SELECT sum(count) FROM events WHERE kind = 'refused'";
    assert_eq!(number(&file, refused), sent - 3);
    assert_eq!(number(&file, "SELECT count(*) FROM run WHERE over"), 3);
    let said = json(&file);
    assert_eq!(said["requests"], sent);
    let events = said["floods"].as_array().expect("floods").iter();
    assert_eq!(events.filter_map(|flood| flood["events"].as_u64()).sum::<u64>(), sent - 3);
}

#[test]
fn a_site_that_goes_at_a_reload_is_counted_to_its_end_and_keep_is_put_in_force() {
    let folder = Folder::new("history-reload");
    let shop = shop();
    let sites = |names: &[&str]| {
        let site = |name: &&str| {
            let state = folder.path().join(format!("{name}.state"));
            let (state, upstream) = (state.display(), shop.upstream());
            format!(
                "[[site]]\nname = '{name}'\nhosts = ['{name}']\nupstream = '{upstream}'\n\
                 state = '{state}'\n"
            )
        };
        names.iter().map(site).collect::<String>()
    };
    let configuration = |keep: &str, names: &[&str]| {
        format!(
            "listen = '127.0.0.1:0'\ncontrol = '{}'\nadmin.listen = ''\n[history]\n\
             file = '{}'\nkeep = '{keep}'\n{}",
            folder.path().join("state.control").display(),
            history(&folder).display(),
            sites(names)
        )
    };
    let floodwall = Floodwall::start_by_file(&folder, &configuration("90d", &["one", "two"]));
    let file = history(&folder);
    let two = "SELECT sum(count) FROM exchanges WHERE site = 'two'";
    for _ in 0..5 {
        assert_eq!(status(&ask(&mut connect(floodwall.address()), "two", "/", "x=1")), "200");
    }
    floodwall.configure(&configuration("2h", &["one"]));
    assert!(floodwall.tell(&["reload"]).0);
    await_that("the site that goes is not written", || {
        fs::metadata(&file).is_ok_and(|file| file.len() > 0) && number(&file, two) == 5
    });
    // What is older than the new keep goes at once.
    let script = "import sqlite3, sys\n\
                  with sqlite3.connect(sys.argv[1], timeout=20) as file:\n    \
                  file.execute('UPDATE minute_exchange SET minute = minute - 150')";
    let status = Command::new("python3").args(["-c", script]).arg(&file).status();
    assert!(status.expect("python3 runs").success());
    assert_eq!(number(&file, two), 5);
    floodwall.configure(&configuration("3h", &["one"]));
    assert!(floodwall.tell(&["reload"]).0);
    floodwall.configure(&configuration("1h", &["one"]));
    assert_eq!(number(&file, two), 5, "three hours are kept");
    assert!(floodwall.tell(&["reload"]).0);
    await_that("what is too old stays", || number(&file, two) == 0);
    assert!(floodwall.stop().success());
}
