//! `floodwall probe` against genuine Djangos: right on every release, with the store read before
//! and after.

use serde_json::Value;

use crate::support::attack::bounded;
use crate::support::django::{Django, Release};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::sending::{budgets, on_each, on_each_with, send};
use crate::support::tls::Authority;
use crate::support::warm;

/// What a probe says and ends with.
struct Probed {
    code: i32,
    text: String,
    json: Value,
}

impl Probed {
    fn number(&self, what: &str) -> u64 {
        self.json["records"][what].as_u64().expect("a number")
    }

    fn standing(&self, cve: &str) -> &str {
        let findings = self.json["findings"].as_array().expect("a list");
        let of = findings.iter().find(|finding| finding["cve"] == cve).expect("it is told");
        of["standing"].as_str().expect("a word")
    }

    fn requests(&self) -> Vec<String> {
        let all = self.json["requests"].as_array().expect("a list");
        let word = |request: &Value, key: &str| request[key].as_str().expect("text").to_owned();
        all.iter()
            .map(|one| ["method", "path", "cookie"].map(|key| word(one, key)).join(" "))
            .collect()
    }
}

fn probe(address: &str, arguments: &[&str]) -> Probed {
    let url =
        if address.contains("://") { address.to_owned() } else { format!("http://{address}/") };
    let output = Floodwall::program()
        .args(["probe", "--yes", "--json"])
        .args(arguments)
        .arg(url)
        .output()
        .expect("floodwall runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let said = String::from_utf8_lossy(&output.stderr);
    let json = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{said}"));
    Probed { code: output.status.code().expect("no signal"), json, text }
}

/// Probes, and holds what is said of records against the store.
fn probe_site(site: &Django, arguments: &[&str]) -> Probed {
    let before = site.rows();
    let probed = probe(&site.target().to_string(), arguments);
    let rows = site.rows() - before;
    let left = probed.number("left_at_most");
    match probed.number("unsure") {
        0 => assert_eq!(left, rows, "Django {}: {}", site.release, probed.text),
        _ => assert!(left >= rows, "Django {}: {rows} rows: {}", site.release, probed.text),
    }
    let sent = probed.requests().len();
    assert!(sent <= 16, "Django {}: {}", site.release, probed.text);
    println!("Django {}: {sent} requests, {left} rows: {}", site.release, probed.json["verdict"]);
    probed
}

/// The weaknesses that a release has, in the order of their numbers.
fn weaknesses(release: Release) -> [(&'static str, bool); 3] {
    let patched = release.patched().is_none();
    let keys = matches!(release, Release::V1_4_20 | Release::V1_7_8 | Release::V1_8_2);
    let flush =
        matches!(release, Release::V1_4_20 | Release::V1_4_21 | Release::V1_7_8 | Release::V1_7_9);
    [("CVE-2015-5143", keys), ("CVE-2015-5963", !patched), ("CVE-2015-5964", flush)]
}

fn holds(probed: &Probed, release: Release) {
    for (cve, exposed) in weaknesses(release) {
        let expected = if exposed { "exposed" } else { "not exposed" };
        assert_eq!(probed.standing(cve), expected, "Django {release}: {}", probed.text);
    }
    let patched = release.patched().is_none();
    let verdict = if patched { ("not exposed", 0) } else { ("exposed", 3) };
    assert_eq!((probed.json["verdict"].as_str().expect("a word"), probed.code), verdict);
    let named = probed.json["release"].as_str().expect("a release is named");
    let (series, last) = release.word().rsplit_once('.').expect("a version");
    let names = match release {
        Release::V1_4_20 | Release::V1_7_8 | Release::V1_8_2 => {
            named.contains(&format!("{series} to {}", release.word()))
        }
        _ => named.contains(&format!("{series}.{last}")),
    };
    assert!(names, "Django {release}: {named}");
    let checked = Folder::new("probed");
    let file = checked.path().join("floodwall.toml");
    let written = probed.json["configuration"].as_str().expect("text");
    std::fs::write(&file, written).expect("it can be written");
    let check = Floodwall::program().arg("check").arg("--config").arg(&file).output();
    let check = check.expect("floodwall runs");
    assert!(check.status.success(), "{}{written}", String::from_utf8_lossy(&check.stderr));
    let profile = if series == "1.4" && written.contains("lifetime = \"14d\"\n") {
        "profile = \"django-1.4\""
    } else {
        "profile = \"django\""
    };
    assert!(written.contains(profile), "Django {release}: {written}");
}

#[test]
fn every_release_is_told_with_its_weaknesses_and_the_records_that_are_left() {
    on_each(Release::ALL, |release, site| {
        let probed = probe_site(site, &[]);
        holds(&probed, release);
        // What need not be left is not left.
        let most = match release {
            Release::V1_4_20 | Release::V1_7_8 => 3,
            Release::V1_4_21 | Release::V1_7_9 => 2,
            _ => 0,
        };
        assert_eq!(site.rows(), most, "Django {release}: {}", probed.text);
        assert!(probed.requests().len() <= 10, "Django {release}: {}", probed.text);
        let old = release.word().starts_with("1.4");
        assert_eq!(probed.json["writes_for_anybody"].as_array().map(Vec::is_empty), Some(!old));
    });
}

#[test]
fn so_it_is_with_settings_that_change_what_is_seen() {
    for options in [
        &["--backend", "cache"][..],
        &["--backend", "file"],
        &["--backend", "cached_db"],
        &["--option", "SESSION_SAVE_EVERY_REQUEST=true"],
        &["--option", "SESSION_EXPIRE_AT_BROWSER_CLOSE=true"],
        &["--option", "LOCALE_MIDDLEWARE=true"],
    ] {
        on_each_with(
            [Release::V1_4_21, Release::V1_7_8, Release::V1_8_3],
            options,
            |release, site| {
                let probed = probe_site(site, &[]);
                for (cve, exposed) in weaknesses(release) {
                    let told = probed.standing(cve);
                    let right = if exposed { "exposed" } else { "not exposed" };
                    assert!(
                        told == right || (told == "cannot tell" && cve == "CVE-2015-5143"),
                        "Django {release} {options:?}: {cve} {}",
                        probed.text
                    );
                }
            },
        );
    }
}

#[test]
fn a_cookie_of_another_name_is_seen_with_its_attributes() {
    let options = [
        "--option",
        "SESSION_COOKIE_NAME=shop_session",
        "--option",
        "SESSION_COOKIE_PATH=/shop",
        "--option",
        "SESSION_COOKIE_DOMAIN=.shop.test",
        "--option",
        "SESSION_COOKIE_SECURE=true",
        "--option",
        "SESSION_COOKIE_AGE=86400",
    ];
    on_each_with(
        [Release::V1_4_20, Release::V1_7_9, Release::V1_8_3],
        &options,
        |release, site| {
            let probed = probe_site(site, &[]);
            assert_eq!((probed.code, &probed.json["session_cookie"]), (3, &"shop_session".into()));
            let written = probed.json["configuration"].as_str().expect("text");
            for line in [
                "cookie = \"shop_session\"",
                "lifetime = \"1d\"",
                "cookie_path = \"/shop\"",
                "cookie_domain = \"shop.test\"",
                "cookie_secure = true",
            ] {
                assert!(written.contains(&format!("{line}\n")), "Django {release}: {written}");
            }
        },
    );
    // A patched one shows its cookie to nobody: there the name must be told.
    on_each_with([Release::V1_8_4], &options, |_, site| {
        let probed = probe_site(site, &[]);
        assert_eq!(probed.code, 4, "{}", probed.text);
        assert!(probed.text.contains("--cookie NAME"), "{}", probed.text);
        let probed = probe_site(site, &["--cookie", "shop_session"]);
        assert_eq!(probed.code, 0, "{}", probed.text);
    });
}

#[test]
fn other_views_at_logout_paths_are_told_for_what_they_are() {
    let releases = [Release::V1_4_21, Release::V1_7_8, Release::V1_8_3, Release::V1_8_4];
    on_each(releases, |release, site| {
        let patched = release.patched().is_none();
        let exposed = if patched { 0 } else { 3 };
        // Those that ask first are posted to.
        for path in ["/confirm/logout/", "/get405/logout/", "/redirect/logout/", "/leave/"] {
            let probed = probe_site(site, &["--logout", path]);
            assert_eq!(probed.code, exposed, "Django {release} {path}: {}", probed.text);
            let rule = probed.json["configuration"].as_str().expect("text").contains("[[rule]]");
            assert_eq!(rule, path == "/leave/", "{}", probed.text);
        }
        // Which weaknesses there are can be seen elsewhere; never is a cart taken for a logout.
        let probed = probe_site(site, &["--logout", "/cart/logout/"]);
        assert_ne!(probed.standing("CVE-2015-5963"), "exposed", "{}", probed.text);
        assert!(probed.text.contains("it is no logout"), "Django {release}: {}", probed.text);
        let rule = "path = \\\"/cart/logout/\\\"\\naction = \\\"gate\\\"";
        assert!(probed.text.contains(rule), "{}", probed.text);
        let probed = probe_site(site, &["--logout", "/error/logout/", "--page", "/read/"]);
        assert!(probed.code != 0, "Django {release}: {}", probed.text);
        let probed = probe_site(site, &["--logout", "/nothing/", "--page", "/read/"]);
        let keys = weaknesses(release)[0].1;
        assert_eq!(probed.code, if keys { 3 } else { 4 }, "Django {release}: {}", probed.text);
    });
    let options = ["--option", "MESSAGE_STORAGE=session"];
    on_each_with([Release::V1_4_22, Release::V1_7_10, Release::V1_8_4], &options, |_, site| {
        let probed = probe_site(site, &["--logout", "/messages/logout/"]);
        assert_eq!(probed.code, 4, "{}", probed.text);
        assert!(probed.text.contains("after_logout = \\\"relay\\\""), "{}", probed.text);
    });
}

/// Behind Floodwall there is no exposure, and nothing is said of records that could not be held.
#[test]
fn behind_a_floodwall_no_site_is_exposed() {
    let releases = [
        Release::V1_4_20,
        Release::V1_4_21,
        Release::V1_7_8,
        Release::V1_7_9,
        Release::V1_8_2,
        Release::V1_8_3,
        Release::V1_8_4,
    ];
    on_each(releases, |release, site| {
        // A cold one has to pay for what an unknown cookie creates where that is the weakness.
        let keys = weaknesses(release)[0].1;
        for (warm, configuration) in
            [(false, ""), (true, ""), (false, "session.unknown = 'drop'\n")]
        {
            let folder = Folder::new("probe");
            if warm {
                warm::state(&folder, configuration);
            }
            let floodwall = Floodwall::start(&folder, &site.upstream(), configuration);
            let before = site.rows();
            let probed = probe(floodwall.address(), &[]);
            let rows = site.rows().saturating_sub(before);
            let case = format!("Django {release}, warm {warm}, {configuration:?}: {}", probed.text);
            assert!(rows <= probed.number("left_at_most"), "{rows} rows: {case}");
            if release.patched().is_some() {
                assert_eq!(probed.json["behind_floodwall"], true, "{case}");
            }
            if keys && !warm && configuration.is_empty() {
                assert_eq!(probed.code, 3, "{case}");
                assert_eq!(probed.standing("CVE-2015-5963"), "not exposed", "{case}");
                assert!(probed.text.contains("until its ledger is warm"), "{case}");
            } else {
                assert_eq!(probed.code, 0, "{case}");
            }
        }
    });
}

/// What a probe writes, Floodwall runs by; and then the site is exposed no more.
#[test]
fn what_is_written_protects() {
    let releases = [Release::V1_4_20, Release::V1_4_21, Release::V1_7_9, Release::V1_8_3];
    on_each(releases, |release, site| {
        // A name that tells nothing, and one that is wrong.
        let paths = ["--logout", "/leave/", "--logout", "/cart/logout/"];
        let probed = probe_site(site, &paths);
        assert_eq!(probed.code, 3, "Django {release}: {}", probed.text);
        let written = probed.json["configuration"].as_str().expect("text");
        let folder = Folder::new("probe");
        let configuration = format!("{written}{}", budgets(3));
        let floodwall = Floodwall::start(&folder, &site.upstream(), &configuration);
        let before = site.rows();
        let target = floodwall.target();
        for _ in 0..100 {
            send(target, "GET /leave/", "");
        }
        let log = floodwall.log();
        assert!(log.contains("anonymous requests to it recycle"), "Django {release}: {log}");
        let rows = site.rows() - before;
        let attack = "100 anonymous logouts under the rules that a probe has written";
        // Its budget until the path is proven, and the spare.
        bounded(attack, &format!("records, {release}"), 3 + 1, rows);
    });
}

/// TLS with an authority of one's own, before genuine Djangos; only the confirmed address is asked.
#[test]
fn https_is_spoken_with_whom_the_authority_has_signed() {
    let authority = Authority::new("probe");
    let issued = authority.issue("site", &["DNS:localhost"]);
    let ca = authority.certificate();
    let ca = ca.to_str().expect("UTF-8");
    on_each([Release::V1_4_20, Release::V1_8_3, Release::V1_8_4], |release, site| {
        let folder = Folder::new("probe");
        // One that only looks on: what it serves is what the application says.
        let configuration = format!(
            "mode = 'observe'\n[tls]\nlisten = '127.0.0.1:0'\ncertificates = [{}]\n",
            issued.entry()
        );
        let floodwall = Floodwall::start(&folder, &site.upstream(), &configuration);
        let [_, tls] = &floodwall.addresses(2)[..2] else { panic!("two addresses") };
        let port = tls.rsplit_once(':').expect("an address").1;
        let url = format!("https://localhost:{port}/");
        let before = site.rows();
        let probed = probe(&url, &["--ca", ca]);
        let told = weaknesses(release).map(|(cve, _)| probed.standing(cve) == "exposed");
        assert_eq!(told, weaknesses(release).map(|(_, exposed)| exposed), "{}", probed.text);
        assert_eq!(site.rows() - before, probed.number("left_at_most"), "{}", probed.text);
        let written = probed.json["configuration"].as_str().expect("text");
        assert!(written.contains(&format!("upstream = \"https://localhost:{port}\"")), "{written}");
        assert!(written.contains(&format!("upstream_tls = {{ ca = \"{ca}\" }}")), "{written}");
        // Whom nobody has signed for is asked nothing.
        for (url, arguments) in [
            (url.clone(), &[][..]),
            (format!("https://127.0.0.1:{port}/"), &["--ca", ca]),
            (format!("http://localhost:{port}/"), &[]),
        ] {
            let before = site.rows();
            let probed = probe(&url, arguments);
            let tls = url.starts_with("https");
            let failed = probed.json["verdict"] == "failed";
            assert_eq!(failed, tls, "{url} {}", probed.text);
            let why =
                if arguments.is_empty() { "authority is not trusted" } else { "another name" };
            assert!(!tls || probed.text.contains(why), "{url} {}", probed.text);
            assert_eq!(
                (site.rows(), probed.number("left_at_most")),
                (before, 0),
                "{}",
                probed.text
            );
        }
    });
}

#[test]
fn sessions_that_are_kept_in_cookies_are_told_so() {
    let releases = [Release::V1_4_21, Release::V1_7_9, Release::V1_8_3];
    on_each_with(releases, &["--backend", "signed_cookies"], |release, site| {
        let probed = probe(&site.target().to_string(), &[]);
        assert_eq!(probed.code, 4, "Django {release}: {}", probed.text);
        assert_eq!(probed.number("left_at_most"), 0, "{}", probed.text);
        assert!(probed.text.contains("kept in the cookie"), "Django {release}: {}", probed.text);
    });
}
