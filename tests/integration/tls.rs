//! TLS with clients that are not ours: curl, and openssl's.

use std::fs;
use std::process::{Command, Stdio};

use crate::raw::{Application, Proxy};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::recorder::Recorder;
use crate::support::strict::Request;
use crate::support::tls::{Authority, Issued, Key, curl, openssl, s_client};

/// Floodwall with TLS, before an application that tells what reaches it.
pub struct Served {
    pub floodwall: Floodwall,
    /// Plain HTTP.
    pub plain: String,
    /// `127.0.0.1:PORT` of TLS.
    pub tls: String,
    _application: Recorder,
    folder: Folder,
}

impl Served {
    pub fn start(certificates: &[Issued], more: &str) -> Self {
        let application = Recorder::start(echo);
        let folder = Folder::new("tls");
        Self::configured(folder, application, &configuration(certificates, more))
    }

    /// Writes another configuration, to be taken by a reload.
    pub fn reconfigure(&self, certificates: &[Issued], more: &str) {
        let file = self.folder.path().join("floodwall.toml");
        fs::write(file, configuration(certificates, more)).expect("it can be written");
    }

    pub fn configured(folder: Folder, application: Recorder, configuration: &str) -> Self {
        let floodwall = Floodwall::start(&folder, application.upstream(), configuration);
        let [plain, tls] = &floodwall.addresses(2)[..2] else { panic!("two addresses") };
        let (plain, tls) = (plain.clone(), tls.clone());
        Self { floodwall, plain, tls, _application: application, folder }
    }

    /// An URL for a name of a certificate, and the arguments with which curl gets there.
    pub fn url(&self, host: &str, path: &str) -> (String, String) {
        let port = self.port();
        (format!("https://{host}:{port}{path}"), format!("{host}:{port}:127.0.0.1"))
    }

    pub fn port(&self) -> &str {
        self.tls.rsplit_once(':').expect("an address").1
    }
}

fn configuration(certificates: &[Issued], more: &str) -> String {
    let entries: Vec<String> = certificates.iter().map(Issued::entry).collect();
    format!(
        "cores = 2\n{more}\n[tls]\nlisten = '127.0.0.1:0'\ncertificates = [{}]\n",
        entries.join(", ")
    )
}

/// Its headers as the body.
fn echo(request: &Request) -> String {
    let lines: String =
        request.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    let body = format!("{} {}\n{lines}", request.method, request.target);
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The serial number of the certificate that is shown to a client.
pub fn shown(address: &str, arguments: &[&str]) -> String {
    let (_, said) = s_client(address, arguments, "Q\n");
    let from = said.find("-----BEGIN CERTIFICATE").unwrap_or_else(|| panic!("none: {said}"));
    let pem = &said[from..];
    let mut child = Command::new("openssl")
        .args(["x509", "-noout", "-serial"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl runs");
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), pem.as_bytes()).unwrap();
    let out = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    said.trim().trim_start_matches("serial=").to_owned()
}

#[test]
fn a_certificate_is_chosen_by_the_name_that_is_asked_for() {
    let authority = Authority::new("choice");
    let first = authority.issue("first", &["DNS:a.test", "DNS:*.c.test"]);
    let wild = authority.issue("wild", &["DNS:*.b.test", "DNS:B.test"]);
    let both = authority.issue("both", &["DNS:a.test", "DNS:x.b.test"]);
    let served = Served::start(&[first.clone(), wild.clone(), both.clone()], "");
    for (arguments, expected) in [
        (&["-servername", "a.test"][..], &first),
        (&["-servername", "A.TEST"], &first),
        (&["-servername", "y.b.test"], &wild),
        (&["-servername", "b.test"], &wild),
        (&["-servername", "x.b.test"], &both), // exactly, before the wildcard
        (&["-servername", "z.y.b.test"], &first), // a wildcard is one label
        (&["-servername", "c.test"], &first),
        (&["-servername", "nobody.test"], &first),
        (&["-noservername"], &first),
    ] {
        assert_eq!(shown(&served.tls, arguments), expected.serial(), "{arguments:?}");
    }
}

#[test]
fn a_name_may_have_keys_of_several_kinds() {
    let authority = Authority::new("kinds");
    let modern = authority.issue_as("modern", &["DNS:a.test"], Key::P256, 20);
    let old = authority.issue_as("old", &["DNS:a.test"], Key::Rsa, 20);
    let served = Served::start(&[modern.clone(), old.clone()], "");
    let asked = ["-servername", "a.test", "-sigalgs"];
    assert_eq!(shown(&served.tls, &[&asked[..2], &[]].concat()), modern.serial());
    let rsa = [&asked[..], &["RSA-PSS+SHA256:RSA+SHA256"]].concat();
    assert_eq!(shown(&served.tls, &rsa), old.serial());
    let ecdsa = [&asked[..], &["ECDSA+SHA256"]].concat();
    assert_eq!(shown(&served.tls, &ecdsa), modern.serial());
}

#[test]
fn keys_are_read_in_every_form_that_openssl_writes() {
    let authority = Authority::new("forms");
    let mut all = Vec::new();
    for key in Key::ALL {
        let name = format!("DNS:{key:?}.test").to_lowercase().replace("dns:", "DNS:");
        let issued = authority.issue_as(&format!("{key:?}"), &[&name], key, 20);
        let traditional = authority.path(&format!("{key:?}.traditional"));
        let kind = match key {
            Key::Rsa => Some("rsa"),
            Key::P256 | Key::P384 => Some("ec"),
            Key::Ed25519 => None,
        };
        if let Some(kind) = kind {
            let mut convert = Command::new("openssl");
            convert.arg(kind).args(if kind == "rsa" { &["-traditional"][..] } else { &[] });
            openssl(convert.arg("-in").arg(&issued.key).arg("-out").arg(&traditional));
            let text = fs::read_to_string(&traditional).unwrap();
            let begins = format!("-----BEGIN {} PRIVATE KEY-----", kind.to_uppercase());
            assert!(text.starts_with(&begins), "{text}");
            let key = traditional;
            all.push((Issued { key, ..issued.clone() }, issued.clone()));
        }
        all.push((issued.clone(), issued));
    }
    for (with, issued) in all {
        let served = Served::start(std::slice::from_ref(&with), "");
        assert_eq!(shown(&served.tls, &[]), issued.serial(), "{with:?}");
    }
}

#[test]
fn versions_before_1_2_are_refused_and_1_2_where_it_is_said_so() {
    let authority = Authority::new("versions");
    let issued = authority.issue("a", &["DNS:a.test"]);
    let least = ["", "min_version = '1.3'\n"];
    for (index, least) in least.into_iter().enumerate() {
        let folder = Folder::new("versions");
        let configuration =
            format!("[tls]\nlisten = '127.0.0.1:0'\n{least}certificates = [{}]\n", issued.entry());
        let served = Served::configured(folder, Recorder::start(echo), &configuration);
        let (url, at) = served.url("a.test", "/");
        let ca = authority.certificate();
        for (arguments, works) in [
            (&["--tlsv1.3"][..], true),
            (&["--tlsv1.2", "--tls-max", "1.2"], index == 0),
            (&["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"], false),
        ] {
            let (code, said) = curl(&ca, &[&["--resolve", &at, &url][..], arguments].concat());
            // 35: the handshake failed.
            assert_eq!(code, if works { 0 } else { 35 }, "{least}{arguments:?}: {said}");
            assert_eq!(said.contains("x-forwarded-proto: https"), works, "{said}");
        }
        for version in ["-tls1", "-tls1_1"] {
            let arguments = [version, "-cipher", "DEFAULT@SECLEVEL=0"];
            let (out, said) = s_client(&served.tls, &arguments, "Q\n");
            assert!(!out.status.success(), "{said}");
            // Of one so old that it does not say what it can sign, rustls says no more.
            let alerts = ["alert protocol version", "alert handshake failure"];
            assert!(alerts.iter().any(|alert| said.contains(alert)), "{said}");
        }
    }
}

#[test]
fn alpn_settles_on_what_both_speak_and_refuses_what_nobody_does() {
    let authority = Authority::new("alpn");
    let issued = [authority.issue("a", &["DNS:a.test"])];
    let served = Served::start(&issued, "");
    let old = Served::start(&issued, "http2.enabled = false");
    let settled = |served: &Served, offered: &str| {
        let (_, said) = s_client(&served.tls, &["-alpn", offered], "Q\n");
        let line = said.lines().find_map(|line| line.strip_prefix("ALPN protocol: "));
        line.map(str::to_owned)
    };
    for (offered, by_both, by_old) in [
        ("h2,http/1.1", Some("h2"), Some("http/1.1")),
        ("http/1.1,h2", Some("h2"), Some("http/1.1")),
        ("http/1.1", Some("http/1.1"), Some("http/1.1")),
        ("spdy/1,http/1.1", Some("http/1.1"), Some("http/1.1")),
        ("h2", Some("h2"), None),
        ("imap", None, None),
    ] {
        assert_eq!(settled(&served, offered).as_deref(), by_both, "{offered}");
        assert_eq!(settled(&old, offered).as_deref(), by_old, "{offered}");
    }
    let (out, said) = s_client(&served.tls, &["-alpn", "imap"], "Q\n");
    assert!(!out.status.success() && said.contains("no application protocol"), "{said}");
    let request = "GET /none HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let (_, said) = s_client(&served.tls, &["-ign_eof", "-quiet"], request);
    assert!(said.contains("GET /none"), "without ALPN it is HTTP/1.1: {said}");
    let (url, at) = served.url("a.test", "/");
    for (served, arguments, version) in
        [(&served, "--http2", "2"), (&served, "--http1.1", "1.1"), (&old, "--http2", "1.1")]
    {
        let (url, at) = if std::ptr::eq(served, &old) {
            old.url("a.test", "/")
        } else {
            (url.clone(), at.clone())
        };
        let spoken = ["-o", "/dev/null", "-w", "%{http_version}", arguments];
        let arguments = [&["--resolve", &at, &url][..], &spoken].concat();
        let (code, said) = curl(&authority.certificate(), &arguments);
        assert_eq!((code, &*said), (0, version));
    }
}

/// On each core: tickets are shared.
#[test]
fn sessions_are_resumed_on_every_core() {
    let authority = Authority::new("resumption");
    let served = Served::start(&[authority.issue("a", &["DNS:a.test"])], "");
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    for version in ["-tls1_2", "-tls1_3"] {
        let file = authority.path("session");
        let file = file.to_str().unwrap();
        let asked = ["-servername", "a.test", "-ign_eof", version];
        let (_, said) =
            s_client(&served.tls, &[&asked[..], &["-sess_out", file]].concat(), request);
        assert!(said.contains("New, TLS"), "{said}");
        for _ in 0..8 {
            let again = [&asked[..], &["-sess_in", file]].concat();
            let (_, said) = s_client(&served.tls, &again, request);
            assert!(said.contains("Reused, TLS"), "{said}");
            assert!(said.contains("x-forwarded-proto: https"), "{said}");
        }
        // A ticket is for the name that it was given for.
        let other = ["-servername", "b.test", "-ign_eof", version, "-sess_in", file];
        let (_, said) = s_client(&served.tls, &other, request);
        assert!(said.contains("New, TLS"), "{said}");
    }
}

#[test]
fn nobody_renegotiates() {
    let authority = Authority::new("renegotiation");
    let served = Served::start(&[authority.issue("a", &["DNS:a.test"])], "");
    let (_, said) = s_client(&served.tls, &["-tls1_2"], "R\n");
    assert!(said.contains("RENEGOTIATING"), "{said}");
    assert!(said.contains("no renegotiation"), "{said}");
    let (url, at) = served.url("a.test", "/");
    assert_eq!(curl(&authority.certificate(), &["--resolve", &at, &url]).0, 0);
}

#[test]
fn the_application_is_told_that_a_connection_was_https() {
    let authority = Authority::new("told");
    let issued = [authority.issue("a", &["DNS:a.test"])];
    let served = Served::start(&issued, "");
    let trusting = Served::start(&issued, "trusted_proxies = ['127.0.0.1']\n");
    let (ca, host) = (authority.certificate(), format!("a.test:{}", served.port()));
    let (url, at) = served.url("a.test", "/x?y");
    for claim in ["https", "http", "ftp"] {
        let header = format!("X-Forwarded-Proto: {claim}");
        let (code, said) = curl(&ca, &["--resolve", &at, &url, "-H", &header]);
        assert_eq!(code, 0, "{said}");
        assert!(said.starts_with("GET /x?y\n"), "{said}");
        assert!(said.contains("x-forwarded-proto: https\n"), "{said}");
        assert!(said.contains(&format!("x-forwarded-host: {host}\n")), "{said}");
        let plain = format!("http://{}/", served.plain);
        let (_, said) = curl(&ca, &[&plain, "-H", &header]);
        assert!(said.contains("x-forwarded-proto: http\n"), "{said}");
        let (url, at) = trusting.url("a.test", "/");
        let (_, said) = curl(&ca, &["--resolve", &at, &url, "-H", &header]);
        let told = if claim == "http" { "http" } else { "https" };
        assert!(said.contains(&format!("x-forwarded-proto: {told}\n")), "{claim}: {said}");
    }
}

#[test]
fn each_port_says_so_when_the_other_thing_is_spoken() {
    let authority = Authority::new("mistaken");
    let served = Served::start(&[authority.issue("a", &["DNS:a.test"])], "");
    let ca = authority.certificate();
    let http_on_tls = format!("http://{}/", served.tls);
    for method in ["GET", "POST"] {
        let (code, said) = curl(&ca, &["-i", "-X", method, "-d", "body", &http_on_tls]);
        assert_eq!(code, 0, "{said}");
        assert!(said.starts_with("HTTP/1.1 400 ") && said.contains("speaks HTTPS"), "{said}");
        assert!(said.contains("connection: close"), "{said}");
    }
    let (code, said) = curl(&ca, &[&format!("https://{}/", served.plain)]);
    assert_eq!(code, 35, "{said}");
    let (url, at) = served.url("a.test", "/");
    assert_eq!(curl(&ca, &["--resolve", &at, &url]).0, 0);
}

/// A response that was cut must not look whole, also where only its end tells its length.
#[test]
fn a_response_that_was_cut_ends_without_a_goodbye() {
    let authority = Authority::new("cut");
    let issued = authority.issue("a", &["DNS:a.test"]);
    let application = Recorder::start(|request| {
        let end = if request.target == "/whole" { "0\r\n\r\n" } else { "no number\r\n" };
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n{end}")
    });
    let configuration =
        format!("[tls]\nlisten = '127.0.0.1:0'\ncertificates = [{}]\n", issued.entry());
    let served = Served::configured(Folder::new("cut"), application, &configuration);
    for version in ["-tls1_2", "-tls1_3"] {
        for (path, whole) in [("/whole", true), ("/cut", false)] {
            // HTTP/1.0: the end of the connection is that of the body.
            let request = format!("GET {path} HTTP/1.0\r\nHost: a.test\r\n\r\n");
            let arguments = ["-ign_eof", "-quiet", version];
            let (_, said) = s_client(&served.tls, &arguments, &request);
            assert!(said.contains("HTTP/1.0 200") || said.contains("HTTP/1.1 200"), "{said}");
            assert!(said.contains("part"), "{said}");
            assert_eq!(!said.contains("unexpected eof"), whole, "{path} {version}: {said}");
        }
    }
}

#[test]
fn nothing_of_tls_is_known_to_a_proxy_without_it() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    client.send(b"\x16\x03\x01\x00\x05hello");
    let said = client.rest();
    assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
    assert!(application.is_left_alone());
}
