//! Genuine Django behind, clients of HTTP/2 in front: a user who logs in and out, and a flood.

use std::path::Path;
use std::process::Command;

use crate::support::attack::bounded;
use crate::support::django::{Django, Release};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::tls::Authority;

/// What the configuration says by default.
const SPARES: u64 = 16;

/// What curl gets over HTTP/2, without TLS, as a browser that keeps its cookies in `jar`; the status
/// first.
fn curl(jar: &Path, url: &str, form: Option<&str>) -> String {
    curl_over(&["--http2-prior-knowledge"], jar, url, form)
}

/// The same, with what else curl is to be told.
fn curl_over(options: &[&str], jar: &Path, url: &str, form: Option<&str>) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "20", "--referer", url])
        .args(options)
        .args(["--write-out", "\n%{http_version} %{http_code}", "--cookie"])
        .arg(jar)
        .arg("--cookie-jar")
        .arg(jar)
        .arg(url);
    if let Some(form) = form {
        curl.args(["--data", form]);
    }
    let output = curl.output().expect("curl runs");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, end) = said.rsplit_once('\n').expect("curl writes a last line");
    let status = end.strip_prefix("2 ").expect("HTTP/2 is spoken");
    format!("{status} {body}")
}

fn log_in(options: &[&str], jar: &Path, base: &str) {
    let url = format!("{base}/accounts/login/");
    let page = curl_over(options, jar, &url, None);
    let token =
        page.split("csrfmiddlewaretoken' value='").nth(1).and_then(|at| at.split('\'').next());
    let token = token.expect("a form with a token");
    let form = format!("csrfmiddlewaretoken={token}&username=user1&password=secret");
    let answer = curl_over(options, jar, &url, Some(&form));
    assert!(answer.starts_with("302 "), "{answer}");
}

#[test]
fn a_user_logs_in_and_out_over_tls() {
    let release = Release::V1_7_9;
    if !release.available() {
        return;
    }
    let site = Django::start_with(release, &["--threads", "16"]);
    let authority = Authority::new("django-http2");
    let issued = authority.issue("a", &["DNS:a.test"]);
    let folder = Folder::new("django-http2");
    let tls = format!("[tls]\nlisten = '127.0.0.1:0'\ncertificates = [{}]\n", issued.entry());
    let floodwall = Floodwall::start(&folder, &site.upstream(), &tls);
    let port = floodwall.addresses(2)[1].rsplit_once(':').expect("an address").1.to_owned();
    let (base, at) = (format!("https://a.test:{port}"), format!("a.test:{port}:127.0.0.1"));
    let ca = authority.certificate();
    let options = ["--http2", "--resolve", &at, "--cacert", ca.to_str().expect("a path in ASCII")];
    let jar = folder.path().join("jar");
    let get = |path: &str| curl_over(&options, &jar, &format!("{base}{path}"), None);

    log_in(&options, &jar, &base);
    assert_eq!(site.authenticated(), 1);
    let page = get("/read/");
    assert!(page.trim_end().ends_with("user=user1"), "{page}");
    get("/accounts/logout/");
    assert_eq!(site.authenticated(), 0);
    let page = get("/read/");
    assert!(page.trim_end().ends_with("user=anonymous"), "{page}");
    assert!(floodwall.stop().success());
}

#[test]
fn a_user_logs_in_and_out_while_logouts_flood_over_many_streams() {
    let release = Release::V1_7_9;
    if !release.available() {
        return;
    }
    let site = Django::start_with(release, &["--threads", "16"]);
    let folder = Folder::new("django-http2");
    let patient = "[recycle]\nslot_wait = '30s'\nspacing = 0\n";
    let floodwall = Floodwall::start(&folder, &site.upstream(), patient);
    let (jar, base) = (folder.path().join("jar"), format!("http://{}", floodwall.address()));
    let url = |path: &str| format!("{base}{path}");

    log_in(&["--http2-prior-knowledge"], &jar, &base);
    assert_eq!(site.authenticated(), 1);
    let reads = |expected: &str| {
        let page = curl(&jar, &url("/read/"), None);
        assert!(page.starts_with("200 ") && page.trim_end().ends_with(expected), "{page}");
    };
    reads("user=user1");
    let before = site.rows();
    let flood = Command::new("h2load")
        .args(["-n", "2000", "-c", "4", "-m", "100", &url("/accounts/logout/")])
        .output()
        .expect("tests/run installs it");
    let said = String::from_utf8_lossy(&flood.stdout);
    assert!(flood.status.success() && said.contains("2000 done"), "{said}");
    bounded(
        "Logouts without a cookie over HTTP/2, 100 streams at once on each of 4 connections",
        "records, 1.7.9",
        SPARES,
        site.rows() - before,
    );
    // Nobody else was logged out, and who logs out is.
    reads("user=user1");
    let page = curl(&jar, &url("/accounts/logout/"), None);
    assert!(page.starts_with("200 "), "{page}");
    assert_eq!(site.authenticated(), 0);
    reads("user=anonymous");
}
