//! Files of certificates: what is wrong with them is told by name, and what changes is taken.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use floodwall::proxy::tls::certificates::{Certificates, Look};
use floodwall::proxy::tls::pair::Files;

use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::tls::{Authority, Issued, Key, curl, openssl, s_client};
use crate::tls::{Served, shown};

/// What `floodwall check` or `run` says of a certificate, and its exit code.
fn said(command: &str, issued: &Issued) -> (Option<i32>, String) {
    let folder = Folder::new("files");
    let file = folder.path().join("floodwall.toml");
    let configuration = format!(
        "listen = '127.0.0.1:0'\nstate = ''\n[tls]\nlisten = '127.0.0.1:0'\ncertificates = [{}]\n",
        issued.entry()
    );
    fs::write(&file, configuration).unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_floodwall"))
        .args([command, "--config"])
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let text = [out.stdout, out.stderr].concat();
    (out.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn write(authority: &Authority, name: &str, content: &str) -> std::path::PathBuf {
    let path = authority.path(name);
    fs::write(&path, content).unwrap();
    path
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_what_to_do() {
    let authority = Authority::new("wrong");
    let good = authority.issue("good", &["DNS:a.test"]);
    let other = authority.issue("other", &["DNS:a.test"]);
    let (certificate, key) = (&good.certificate, &good.key);
    let encrypted = authority.path("encrypted.key");
    openssl(
        Command::new("openssl")
            .args(["pkey", "-aes256", "-passout", "pass:x", "-in"])
            .arg(key)
            .arg("-out")
            .arg(&encrypted),
    );
    let traditional = authority.path("traditional.key");
    openssl(
        Command::new("openssl")
            .args(["ec", "-aes256", "-passout", "pass:x", "-in"])
            .arg(key)
            .arg("-out")
            .arg(&traditional),
    );
    let small = authority.path("small.key");
    openssl(Command::new("openssl").args(["genrsa", "-out"]).arg(&small).arg("1024"));
    let whole = text(certificate);
    let cut = write(&authority, "cut.pem", &whole[..whole.len() / 2]);
    let empty = write(&authority, "empty.pem", "");
    let missing = authority.path("missing.pem");
    let garbage = whole.replace("MI", "AA");
    let garbage = write(&authority, "garbage.pem", &garbage);
    let chain = text(&authority.certificate()) + &whole;
    let backwards = write(&authority, "backwards.pem", &chain);
    let folder = authority.path("folder");
    fs::create_dir(&folder).unwrap();
    for (certificate, key, blamed, remedy) in [
        (&missing, key, &missing, "no such file"),
        (certificate, &missing, &missing, "no such file"),
        (&folder, key, &folder, "cannot be read"),
        (&empty, key, &empty, "no certificate is in it"),
        (certificate, &empty, &empty, "no private key is in it"),
        (&cut, key, &cut, "was cut"),
        (&garbage, key, &garbage, "none that can be read"),
        (key, certificate, key, "wrong way round"),
        (certificate, certificate, certificate, "wrong way round"),
        (certificate, &encrypted, &encrypted, "openssl pkey -in FILE"),
        (certificate, &traditional, &traditional, "openssl pkey -in FILE"),
        (certificate, &small, &small, "2048 bits or more"),
        (certificate, &other.key, certificate, "that of another certificate"),
        (&backwards, key, &backwards, "is not the first"),
    ] {
        let issued = Issued { certificate: certificate.clone(), key: key.clone() };
        let blamed = blamed.display().to_string();
        for (command, expected) in [("check", 2), ("run", 2)] {
            let (code, said) = said(command, &issued);
            assert_eq!(code, Some(expected), "{said}");
            assert!(said.contains(&blamed) && said.contains(remedy), "{blamed}, {remedy}: {said}");
        }
    }
    let (code, said) = said("check", &good);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("certificate  a.test: "), "{said}");
}

#[test]
fn what_clients_may_stumble_over_is_told_and_served() {
    let authority = Authority::new("doubts");
    let good = authority.issue("good", &["DNS:a.test"]);
    let nameless = authority.issue("nameless", &[]);
    let expired = authority.issue_as("expired", &["DNS:a.test"], Key::P256, 0);
    let soon = authority.issue_as("soon", &["DNS:a.test"], Key::P256, 5);
    // A chain that has something else in it.
    let stranger = Authority::new("stranger");
    let chain = text(&good.certificate) + &text(&stranger.certificate());
    let strange =
        Issued { certificate: write(&authority, "strange.pem", &chain), key: good.key.clone() };
    let chain = text(&good.certificate) + &text(&authority.certificate());
    let whole =
        Issued { certificate: write(&authority, "whole.pem", &chain), key: good.key.clone() };
    for (issued, in_check, in_log) in [
        (&nameless, "no subjectAltName", Some("no subjectAltName")),
        (&expired, ": expired", Some("a certificate has expired")),
        (&soon, " days left\n", Some("a certificate expires soon")),
        (&strange, "not in order", Some("not in order")),
        (&whole, " days left\n", None),
    ] {
        let (code, said) = said("check", issued);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(in_check), "{in_check}: {said}");
        let served = Served::start(std::slice::from_ref(issued), "");
        assert_eq!(shown(&served.tls, &[]), issued.serial());
        let log = served.floodwall.log();
        let warned = log.contains("\"level\":\"WARN\",\"message\":\"certificate")
            || log.contains("\"message\":\"a certificate ");
        assert_eq!(warned, in_log.is_some(), "{log}");
        assert!(in_log.is_none_or(|in_log| log.contains(in_log)), "{log}");
    }
}

/// Exchanges the files of a certificate, one after the other.
fn replace(old: &Issued, new: &Issued) {
    fs::copy(&new.key, &old.key).unwrap();
    fs::copy(&new.certificate, &old.certificate).unwrap();
}

#[test]
fn certificates_that_change_are_taken_under_load_and_no_client_notices() {
    let authority = Authority::new("renewal");
    let issued = authority.issue("site", &["DNS:a.test"]);
    let served = Served::start(std::slice::from_ref(&issued), "");
    let (url, at) = served.url("a.test", "/");
    let ca = authority.certificate();
    let (over, done, failed) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let (code, said) = curl(&ca, &["--resolve", &at, &url]);
                    if code != 0 {
                        eprintln!("{code}: {said}");
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..2 {
            let before = done.load(Ordering::Relaxed);
            let new = authority.issue(&format!("renewed{round}"), &["DNS:a.test"]);
            replace(&issued, &new);
            await_that("the new certificate is not served", || {
                shown(&served.tls, &[]) == new.serial()
            });
            await_that("nobody comes", || done.load(Ordering::Relaxed) > before + 4);
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {}", done.load(Ordering::Relaxed));
    let log = served.floodwall.log();
    assert_eq!(log.matches("certificates have changed, and are in force").count(), 2, "{log}");
    assert!(!log.contains("cannot be used"), "{log}");
}

#[test]
fn a_pair_that_is_half_written_leaves_the_old_one_in_force() {
    let authority = Authority::new("half");
    let issued = authority.issue("site", &["DNS:a.test"]);
    let mut served = Served::start(std::slice::from_ref(&issued), "");
    let old = issued.serial();
    let new = authority.issue("new", &["DNS:a.test"]);
    let whole = text(&new.certificate);
    fs::copy(&new.key, &issued.key).unwrap();
    served.floodwall.await_said("that of another certificate");
    assert_eq!(shown(&served.tls, &[]), old);
    fs::write(&issued.certificate, &whole[..whole.len() / 2]).unwrap();
    served.floodwall.await_said("was cut");
    assert_eq!(shown(&served.tls, &[]), old);
    fs::write(&issued.certificate, &whole).unwrap();
    served.floodwall.await_said("certificates have changed, and are in force");
    assert_eq!(shown(&served.tls, &[]), new.serial());
    let log = served.floodwall.log();
    assert_eq!(log.matches("those from before stay in force").count(), 2, "{log}");
}

/// Look by look.
#[test]
fn files_are_read_when_they_have_come_to_rest_and_once_for_each_change() {
    let authority = Authority::new("looks");
    let issued = authority.issue("site", &["DNS:a.test"]);
    let new = authority.issue("new", &["DNS:a.test", "DNS:b.test"]);
    let files = Files { certificate: issued.certificate.clone(), key: issued.key.clone() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificates = Certificates::load(&[files], provider).unwrap();
    let look = || certificates.look(0);
    assert_eq!([look(), look()], [Look::Same, Look::Same]);
    fs::copy(&new.key, &issued.key).unwrap();
    assert_eq!(look(), Look::Moving);
    assert_eq!([look(), look(), look()], [Look::Refused, Look::Same, Look::Same]);
    assert!(certificates.name("a.test") && !certificates.name("b.test"));
    fs::copy(&new.certificate, &issued.certificate).unwrap();
    assert_eq!([look(), look(), look()], [Look::Moving, Look::Taken, Look::Same]);
    assert!(certificates.name("a.test") && certificates.name("b.test"));
    fs::remove_file(&issued.key).unwrap();
    assert_eq!([look(), look(), look()], [Look::Moving, Look::Refused, Look::Same]);
    // What was there before is nothing new.
    fs::copy(&new.key, &issued.key).unwrap();
    assert_eq!([look(), look(), look()], [Look::Moving, Look::Taken, Look::Same]);
}

/// As certbot does it: the names of the files are links, and point elsewhere.
#[test]
fn a_link_that_points_elsewhere_is_a_change() {
    let authority = Authority::new("links");
    let (old, new) =
        (authority.issue("one", &["DNS:a.test"]), authority.issue("two", &["DNS:a.test"]));
    let live = Issued { certificate: authority.path("live.pem"), key: authority.path("live.key") };
    let point = |to: &Issued| {
        for (file, link) in [(&to.key, &live.key), (&to.certificate, &live.certificate)] {
            let next = authority.path("next");
            symlink(file, &next).unwrap();
            fs::rename(&next, link).unwrap();
        }
    };
    point(&old);
    let mut served = Served::start(std::slice::from_ref(&live), "");
    assert_eq!(shown(&served.tls, &[]), old.serial());
    point(&new);
    served.floodwall.await_said("certificates have changed, and are in force");
    assert_eq!(shown(&served.tls, &[]), new.serial());
    // A file that goes away takes nothing with it.
    fs::remove_file(&live.certificate).unwrap();
    served.floodwall.await_said("no such file");
    assert_eq!(shown(&served.tls, &[]), new.serial());
}

#[test]
fn a_reload_takes_other_certificates_keeps_sessions_and_refuses_what_is_wrong() {
    let authority = Authority::new("reload");
    let first = authority.issue("first", &["DNS:a.test"]);
    let second = authority.issue("second", &["DNS:b.test"]);
    let mut served = Served::start(std::slice::from_ref(&first), "");
    let session = authority.path("session");
    let session = session.to_str().unwrap();
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let asked = ["-servername", "a.test", "-ign_eof"];
    s_client(&served.tls, &[&asked[..], &["-sess_out", session]].concat(), request);

    served.reconfigure(&[first.clone(), second.clone()], "");
    served.floodwall.signal("-HUP");
    served.floodwall.await_said("reloaded: the configuration is in force");
    assert_eq!(shown(&served.tls, &["-servername", "b.test"]), second.serial());
    let (_, said) = s_client(&served.tls, &[&asked[..], &["-sess_in", session]].concat(), request);
    assert!(said.contains("Reused, TLS"), "{said}");

    let wrong = Issued { key: first.key.clone(), ..second.clone() };
    served.reconfigure(&[wrong], "");
    served.floodwall.signal("-HUP");
    served.floodwall.await_said("not reloaded");
    assert!(served.floodwall.log().contains("that of another certificate"));
    assert_eq!(shown(&served.tls, &["-servername", "b.test"]), second.serial());
}
