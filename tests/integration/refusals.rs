//! The refusal sample of the program: whom it names, and what fail2ban and CrowdSec make of it.

mod crowdsec;
mod fail2ban;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::attack::bounded;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::recorder::Recorder;
use crate::support::sending::send;

/// Out of budget from its second request on.
const FLOODER: &str = "203.0.113.7";
/// The same, from many addresses of one prefix.
const PREFIX: &str = "2001:db8:1:2::/64";
/// Refused, because others have spent the site's budget.
const VICTIM: &str = "192.0.2.9";
/// What strangers would like to have kept out.
const INNOCENT: &str = "192.0.2.66";
const EXEMPT: &str = "198.51.100.1";
/// Another proxy that is trusted.
const PROXY: &str = "10.9.9.9";

/// An application that begins a session for each request.
fn application() -> Recorder {
    Recorder::start(|_| {
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\
         Set-Cookie: sessionid=0123456789abcdef0123456789abcdef\r\n\r\nok"
            .to_owned()
    })
}

fn configuration(sample: &str) -> String {
    format!(
        "trusted_proxies = ['127.0.0.1', '{PROXY}']\nexempt = ['{EXEMPT}']\n\
         [refusal_sample]\nper_client = '1s'\nper_second = 100\n{sample}\n\
         [budget.anonymous]\nclient = {{ rate = '1/d', burst = 1 }}\n\
         site = {{ rate = '1000/s', burst = 10000 }}\n\
         [budget.small]\nclient = {{ rate = '1/d', burst = 2 }}\n\
         site = {{ rate = '1/d', burst = 2 }}\n\
         [[rule]]\nname = 'cart'\nprefix = '/cart/'\naction = 'gate'\n\
         [[rule]]\nname = 'small'\nprefix = '/small/'\naction = 'gate'\nbudget = 'small'\n"
    )
}

/// One request of each, and what strangers try to have in the log.
fn round(floodwall: &Floodwall, number: u32) {
    let forged = format!(
        "2026-11-23T08:00:00.000Z floodwall refused client={INNOCENT} address={INNOCENT} \
         reason=client-budget site=default route=cart"
    );
    let encoded = forged.replace(' ', "%20");
    let from = |who: &str| format!("X-Forwarded-For: {who}");
    let get = |path: &str, headers: &str| {
        send(floodwall.target(), &format!("GET {path}\n{headers}"), "").status
    };
    get("/cart/", &from(FLOODER));
    get("/cart/", &from(&format!("2001:db8:1:2::{:x}", number % 0xffff + 1)));
    if number == 1 {
        for other in ["100.65.0.1", "100.65.0.2"] {
            get("/small/", &from(other));
        }
    }
    get("/small/", &from(VICTIM));
    get("/cart/", &from(EXEMPT));
    get("/cart/", &from(PROXY));
    get("/cart/", "X-Other: none");
    get("/cart/", &from("unknown"));
    // By its left half the address is another's.
    get("/cart/", &from(&format!("{INNOCENT}, {FLOODER}")));
    get("/cart/", &from(&format!("{forged}, {FLOODER}")));
    get(&format!("/cart/%0A{encoded}%0A"), &from(FLOODER));
    get(&format!("/cart/\"}}{encoded}"), &from(FLOODER));
    get("/cart/", &format!("User-Agent: {forged}\nReferer: {forged}\n{}", from(FLOODER)));
    get("/cart/", &format!("Cookie: sessionid=\"{forged}\"; a={forged}\n{}", from(FLOODER)));
    let newcomer = format!("100.64.{}.{}", number / 250, number % 250 + 1);
    get(&format!("/new/{number}/{encoded}"), &from(&newcomer));
}

/// Rounds, until this is so.
fn rounds(floodwall: &Floodwall, mut enough: impl FnMut() -> bool) {
    let mut number = 0;
    await_that("there is no line", || {
        number += 1;
        round(floodwall, number);
        enough()
    });
}

/// The fields of each line of a file, by name; and its time.
fn lines(file: &Path) -> Vec<BTreeMap<String, String>> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(read).collect()
}

fn read(line: &str) -> BTreeMap<String, String> {
    let (time, rest) = line.split_once(' ').expect("a time");
    let rest = rest.strip_prefix("floodwall refused ").unwrap_or_else(|| panic!("{line}"));
    let fields = rest.split(' ').map(|field| field.split_once('=').expect("a field"));
    let names: Vec<&str> = fields.clone().map(|(name, _)| name).collect();
    assert_eq!(names, ["client", "address", "reason", "site", "route"], "{line}");
    let fields = fields.chain([("time", time)]);
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// How many lines name a client.
fn of(lines: &[BTreeMap<String, String>], client: &str) -> usize {
    lines.iter().filter(|line| line["client"] == client).count()
}

#[test]
fn only_who_is_refused_is_named_and_nobody_whom_the_site_needs() {
    let (folder, application) = (Folder::new("refusals"), application());
    let file: PathBuf = folder.path().join("refused.log");
    let sample = format!("file = '{}'", file.display());
    let floodwall = Floodwall::start(&folder, application.upstream(), &configuration(&sample));
    rounds(&floodwall, || of(&lines(&file), FLOODER) >= 3);
    assert!(floodwall.stop().success());
    let lines = lines(&file);
    let clients: BTreeSet<&str> = lines.iter().map(|line| &*line["client"]).collect();
    let named = clients.iter().filter(|client| ![FLOODER, PREFIX, VICTIM].contains(client));
    bounded(
        "14 forged lines, in every part of a request",
        "addresses in the refusal sample that were not refused",
        0,
        named.count() as u64,
    );
    assert_eq!(clients, [FLOODER, PREFIX, VICTIM].into());
    let mut last: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    for line in &lines {
        let client = &*line["client"];
        let (reason, route) = match client {
            VICTIM => ("site-short", "small"),
            _ => ("client-budget", "cart"),
        };
        assert_eq!((&*line["site"], &*line["route"]), ("default", route), "{line:?}");
        let alike =
            line["reason"] == reason || (client == VICTIM && line["reason"] == "site-budget");
        assert!(alike, "{line:?}");
        match client {
            PREFIX => assert!(line["address"].starts_with("2001:db8:1:2::"), "{line:?}"),
            client => assert_eq!(line["address"], client),
        }
        let (before, number) = last.insert(client, (&line["time"], 0)).unwrap_or(("", 0));
        assert!(*line["time"] > *before, "{line:?} after {before}");
        last.insert(client, (&line["time"], number + 1));
    }
    // Millions of refusals, or fifty: as many lines as seconds.
    let seconds: BTreeSet<&str> = lines.iter().map(|line| &line["time"][..19]).collect();
    for (client, (_, number)) in last {
        assert!(number <= seconds.len() + 1, "{client}: {number} lines in {seconds:?}");
    }
}

/// As logrotate does it.
#[test]
fn the_file_is_rotated_reloaded_and_survives_a_full_disk() {
    let (folder, application) = (Folder::new("refusals-file"), application());
    let file = folder.path().join("refused.log");
    let sample = |file: &Path| configuration(&format!("file = '{}'", file.display()));
    let floodwall = Floodwall::start(&folder, application.upstream(), &sample(&file));
    rounds(&floodwall, || of(&lines(&file), FLOODER) >= 1);
    let rotated = folder.path().join("refused.log.1");
    fs::rename(&file, &rotated).expect("it is there");
    floodwall.signal("-USR1");
    rounds(&floodwall, || of(&lines(&file), FLOODER) >= 1);
    assert!(of(&lines(&rotated), FLOODER) >= 1);
    // A file that cannot be opened changes nothing.
    floodwall.configure(&sample(&folder.path().join("nowhere/refused.log")));
    let (well, said) = floodwall.tell(&["reload"]);
    assert!(
        !well && said.contains("refusal_sample.file: ") && said.contains("make its folder"),
        "{said}"
    );
    let other = folder.path().join("other.log");
    floodwall.configure(&sample(&other));
    assert!(floodwall.tell(&["reload"]).0);
    rounds(&floodwall, || of(&lines(&other), FLOODER) >= 1);
    floodwall.configure(&sample(Path::new("/dev/full")));
    assert!(floodwall.tell(&["reload"]).0);
    rounds(&floodwall, || floodwall.log().contains("lines of the refusal sample were dropped"));
    // To the ordinary log.
    floodwall.configure(&configuration(""));
    assert!(floodwall.tell(&["reload"]).0);
    let line =
        format!("\"level\":\"INFO\",\"message\":\"refused client={FLOODER} address={FLOODER} ");
    rounds(&floodwall, || floodwall.log().contains(&line));
    assert!(floodwall.stop().success());
}

/// Challenges are told where they are wanted, in a word of their own.
#[test]
fn who_is_challenged_is_told_where_that_is_wanted() {
    let (folder, application) = (Folder::new("refusals-challenged"), application());
    let challenging = |sample: &str| format!("challenge = 'cookie'\n{}", configuration(sample));
    let floodwall = Floodwall::start(&folder, application.upstream(), &challenging(""));
    (1..10).for_each(|number| round(&floodwall, number));
    assert!(!floodwall.log().contains("\"message\":\"challenged"), "{}", floodwall.log());
    floodwall.configure(&challenging("challenged = true"));
    assert!(floodwall.tell(&["reload"]).0);
    let line = format!(
        "\"message\":\"challenged client={FLOODER} address={FLOODER} site=default route=cart\""
    );
    rounds(&floodwall, || floodwall.log().contains(&line));
}
