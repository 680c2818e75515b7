//! Chromium, by its own driver, at an HTTPS page of a genuine Django.

use std::fs;
use std::process::Command;

use crate::support::chromium::Chromium;
use crate::support::django::{Django, Release};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::tls::{Authority, openssl};

#[test]
fn chromium_logs_in_and_out_over_https() {
    let release = Release::V1_7_9;
    if !release.available() {
        return;
    }
    let site = Django::start(release);
    let authority = Authority::new("chromium");
    let issued = authority.issue("a", &["DNS:site.test"]);
    // Chromium names keys by the hash of what openssl writes here.
    let key = openssl(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&issued.key));
    let public = authority.path("public.pem");
    fs::write(&public, key).unwrap();
    let pin = openssl(Command::new("sh").args(["-c", &format!(
        "openssl pkey -pubin -in '{}' -outform der | openssl dgst -sha256 -binary | openssl base64",
        public.display()
    )]));
    let folder = Folder::new("chromium-floodwall");
    let configuration =
        format!("[tls]\nlisten = '127.0.0.1:0'\ncertificates = [{}]\n", issued.entry());
    let floodwall = Floodwall::start(&folder, &format!("http://{}", site.target()), &configuration);
    let tls = floodwall.addresses(2)[1].clone();
    let port = tls.rsplit_once(':').unwrap().1.to_owned();
    let at = |path: &str| format!("https://site.test:{port}{path}");

    let browser = Chromium::start(&[
        "--host-resolver-rules=MAP site.test 127.0.0.1, MAP * ~NOTFOUND".to_owned(),
        format!("--ignore-certificate-errors-spki-list={}", pin.trim()),
    ]);
    browser.go(&at("/accounts/login/?next=/read/"));
    assert_eq!(browser.run("return window.isSecureContext"), true);
    browser.run(
        "document.querySelector('[name=username]').value = 'user1';\
         document.querySelector('[name=password]').value = 'secret';\
         document.querySelector('form').submit();",
    );
    await_that("nobody is logged in", || site.authenticated() == 1);
    await_that("the page after the login does not come", || {
        browser.run("return location.pathname") == "/read/"
    });
    let session = browser.cookie("sessionid").expect("a session");
    assert_eq!(session["domain"], "site.test");
    browser.go(&at("/accounts/logout/"));
    await_that("nobody is logged out", || site.authenticated() == 0);
    assert!(browser.cookie("sessionid").is_none(), "the cookie is deleted");
}
