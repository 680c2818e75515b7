//! `https://` upstreams: a server of Python's, and openssl's.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::raw::Wire;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::tls::{Authority, Issued};

/// A web server with TLS. Ends with its standard input.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(issued: &Issued, options: &[&str]) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/https");
        let mut child = Command::new("python3")
            .arg(program)
            .arg(&issued.certificate)
            .arg(&issued.key)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 runs");
        let mut line = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("it says its port");
        Self { child, port: line.trim().parse().expect("a port") }
    }

    fn url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(upstream: &str, upstream_tls: &str) -> (Folder, Floodwall) {
    let folder = Folder::new("tls-upstream");
    let configuration = format!("cores = 1\n[upstream_tls]\n{upstream_tls}\n");
    let floodwall = Floodwall::start(&folder, upstream, &configuration);
    (folder, floodwall)
}

/// A file as one of the keys has it.
fn key(name: &str, file: &Path) -> String {
    format!("{name} = '{}'\n", file.display())
}

/// The status, and everything that comes.
fn get(floodwall: &Floodwall, path: &str) -> (u16, String) {
    let mut wire = Wire::tcp(std::net::TcpStream::connect(floodwall.address()).unwrap());
    let said =
        wire.ask(&format!("GET {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n"));
    let status = said.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), said)
}

#[test]
fn a_server_is_believed_whose_certificate_is_of_a_named_authority() {
    let authority = Authority::new("good");
    let issued = authority.issue("app", &["DNS:localhost", "IP:127.0.0.1"]);
    let ca = key("ca", &authority.certificate());
    let server = Server::start(&issued, &[]);
    for host in ["localhost", "127.0.0.1"] {
        let (_folder, floodwall) = start(&server.url(host), &ca);
        let (status, said) = get(&floodwall, "/");
        assert_eq!(status, 200, "{said}");
        assert!(said.contains("\"alpn\": \"http/1.1\""), "{said}");
        assert!(said.contains("\"version\": \"TLSv1.3\""), "{said}");
        // Addresses are not asked for by name (RFC 6066, 3).
        let name = if host == "localhost" { "\"name\": \"localhost\"" } else { "\"name\": null" };
        assert!(said.contains(name), "{said}");
        // What the client asked for goes through as ever.
        assert!(said.contains("\"host\": \"site.test\"") && said.contains("\"proto\": \"http\""));
    }
    let old = Server::start(&issued, &["versions=1.2"]);
    let (_folder, floodwall) = start(&old.url("localhost"), &ca);
    assert!(get(&floodwall, "/").1.contains("\"version\": \"TLSv1.2\""));
}

#[test]
fn the_name_of_a_certificate_can_be_another_than_that_of_the_address() {
    let authority = Authority::new("override");
    let server = Server::start(&authority.issue("app", &["DNS:app.internal"]), &[]);
    let ca = key("ca", &authority.certificate());
    let (_folder, floodwall) =
        start(&server.url("127.0.0.1"), &format!("{ca}server_name = 'app.internal'"));
    let (status, said) = get(&floodwall, "/");
    assert_eq!(status, 200, "{said}");
    assert!(said.contains("\"name\": \"app.internal\""), "{said}");
}

/// Nothing is sent to a server that is not believed, and the log says what to do.
#[test]
fn a_server_that_is_not_believed_is_sent_nothing_and_the_log_says_what_to_do() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let names = &["DNS:localhost"];
    let ca = key("ca", &ours.certificate());
    let authority_itself = Issued { certificate: ours.certificate(), key: ours.path("ca.key") };
    let cases = [
        (theirs.issue("app", names), &ca, "name its PEM file as ca in [upstream_tls]"),
        (ours.issue("other", &["DNS:other.internal"]), &ca, "set server_name in [upstream_tls]"),
        (ours.issue_as("old", names, crate::support::tls::Key::P256, 0), &ca, "has expired: renew"),
        (authority_itself, &ca, "CA:FALSE"),
        // The system's authorities know nothing of ours.
        (ours.issue("app", names), &String::new(), "name its PEM file as ca in [upstream_tls]"),
    ];
    for (issued, configuration, remedy) in cases {
        let server = Server::start(&issued, &[]);
        let (_folder, mut floodwall) = start(&server.url("localhost"), configuration);
        let (status, said) = get(&floodwall, "/");
        assert_eq!(status, 502, "{said}");
        floodwall.await_said("upstream-tls");
        assert!(floodwall.log().contains(remedy), "{remedy}: {}", floodwall.log());
        // Where nothing is verified, the same server serves.
        let (_folder, mut trusting) = start(&server.url("localhost"), "verify = false");
        let (status, said) = get(&trusting, "/");
        assert_eq!(status, 200, "{said}");
        trusting.await_said("verify = false");
    }
}

#[test]
fn what_does_not_speak_tls_is_told_from_what_breaks_off() {
    let authority = Authority::new("speech");
    let issued = authority.issue("app", &["DNS:localhost"]);
    let ca = key("ca", &authority.certificate());
    let (_folder, plain) = start("http://127.0.0.1:1", "");
    let upstream = format!("https://{}", plain.address());
    let (_folder, mut floodwall) = start(&upstream, &ca);
    assert_eq!(get(&floodwall, "/").0, 502);
    floodwall.await_said("no TLS is spoken there");
    let server = Server::start(&issued, &["broken-handshakes=1"]);
    let (_folder, mut floodwall) = start(&server.url("localhost"), &ca);
    assert_eq!(get(&floodwall, "/").0, 502);
    floodwall.await_said("it broke off");
}

#[test]
fn a_server_is_shown_a_certificate_where_it_wants_one() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let issued = servers.issue("app", &["DNS:localhost"]);
    let client_ca = format!("client-ca={}", clients.certificate().display());
    let ca = key("ca", &servers.certificate());
    let own = clients.issue("floodwall", &["DNS:floodwall"]);
    for version in ["versions=1.2", "versions=1.3"] {
        let server = Server::start(&issued, &[&client_ca, version]);
        let (_folder, floodwall) = start(
            &server.url("localhost"),
            &[&*ca, &key("certificate", &own.certificate), &key("key", &own.key)].concat(),
        );
        let (status, said) = get(&floodwall, "/");
        assert_eq!(status, 200, "{said}");
        assert!(said.contains("floodwall of clients"), "{said}");
        let (_folder, floodwall) = start(&server.url("localhost"), &ca);
        assert_eq!(get(&floodwall, "/").0, 502);
    }
}

#[test]
fn connections_are_pooled_and_sessions_resumed() {
    let authority = Authority::new("pooled");
    let issued = authority.issue("app", &["DNS:localhost"]);
    let ca = key("ca", &authority.certificate());
    for version in ["versions=1.2", "versions=1.3"] {
        let server = Server::start(&issued, &[version]);
        let (_folder, floodwall) = start(&server.url("localhost"), &ca);
        // Each of them closes its connection.
        assert!(get(&floodwall, "/close").1.contains("\"resumed\": false"));
        let (status, said) = get(&floodwall, "/close");
        assert_eq!(status, 200);
        assert!(said.contains("\"resumed\": true"), "{said}");
    }
}

/// It may have been decrypted with the response, when there is nothing more on the socket.
#[test]
fn a_connection_is_not_used_again_behind_which_a_record_or_the_end_came() {
    let authority = Authority::new("behind");
    let issued = authority.issue("app", &["DNS:localhost"]);
    let ca = key("ca", &authority.certificate());
    for behind in ["behind=1", "behind=goodbye"] {
        let server = Server::start(&issued, &[behind]);
        let (_folder, floodwall) = start(&server.url("localhost"), &ca);
        for _ in 0..3 {
            let (status, said) = get(&floodwall, "/");
            assert_eq!(status, 200, "{behind}");
            assert!(said.ends_with('a'), "{behind}: {:?}", said.lines().last());
        }
    }
}

/// A body that its end delimits is whole only if TLS says goodbye.
#[test]
fn a_response_without_a_goodbye_is_not_relayed_as_whole() {
    let authority = Authority::new("truncated");
    let issued = authority.issue("app", &["DNS:localhost"]);
    let ca = key("ca", &authority.certificate());
    let server = Server::start(&issued, &["cut=1"]);
    let (_folder, floodwall) = start(&server.url("localhost"), &ca);
    let (status, said) = get(&floodwall, "/");
    assert_eq!(status, 200);
    assert!(said.contains("transfer-encoding: chunked") && said.contains("\"proto\""), "{said}");
    assert!(!said.ends_with("0\r\n\r\n"), "it looks whole: {said}");
    await_that("that is not told", || floodwall.log().contains("broke off its response"));
}

/// openssl's own server, which answers with what it knows.
#[test]
fn openssls_server_is_spoken_with() {
    let authority = Authority::new("s_server");
    let issued = authority.issue("app", &["DNS:localhost"]);
    let ca = key("ca", &authority.certificate());
    let mut child = Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-www", "-cert"])
        .arg(&issued.certificate)
        .arg("-key")
        .arg(&issued.key)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let port = lines.find_map(|line| {
        line.ok()?.strip_prefix("ACCEPT ")?.rsplit_once(':')?.1.parse::<u16>().ok()
    });
    let upstream = format!("https://localhost:{}", port.expect("it listens"));
    let (_folder, floodwall) = start(&upstream, &ca);
    let (status, said) = get(&floodwall, "/");
    assert_eq!(status, 200, "{said}");
    assert!(said.contains("Ciphers supported in s_server binary"), "{said}");
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn a_name_resolved_to_nobody_is_no_matter_of_tls() {
    let (_folder, mut floodwall) = start("https://localhost:1", "verify = false");
    assert_eq!(get(&floodwall, "/").0, 502);
    floodwall.await_said("no connection to the application");
}
