//! Plain HTTP that is sent away to HTTPS.

use crate::raw::Wire;
use crate::support::address::own_address;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::recorder::Recorder;
use crate::support::tls::{Authority, curl};

/// Floodwall that redirects, before an application that says which path reached it; where it
/// redirects.
fn redirecting(authority: &Authority, more: &str) -> (Folder, Recorder, Floodwall, String) {
    let names = &["DNS:a.test", "DNS:*.b.test", "IP:127.0.0.1", "IP:::1"];
    let issued = authority.issue("a", names);
    let application = Recorder::start(|request| {
        let body = &request.target;
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    });
    let folder = Folder::new("redirect");
    let configuration = format!(
        "{more}\n[tls]\nredirect_port = 443\nlisten = '127.0.0.1:0'\nredirect = '127.0.0.1:0'\n\
         certificates = [{}]\n",
        issued.entry()
    );
    let floodwall = Floodwall::start(&folder, application.upstream(), &configuration);
    let redirect = floodwall.addresses(3)[2].clone();
    (folder, application, floodwall, redirect)
}

/// Status and `Location` of the answer to a request as it stands.
fn ask(address: &str, request: &str) -> (String, Option<String>) {
    let mut wire = Wire::tcp(std::net::TcpStream::connect(address).unwrap());
    let said = wire.ask(request);
    let status = said.split(' ').nth(1).unwrap_or_default().to_owned();
    let location = said.lines().find_map(|line| line.strip_prefix("location: "));
    (status, location.map(str::to_owned))
}

#[test]
fn plain_http_is_sent_to_hosts_that_a_certificate_names_and_nowhere_else() {
    let authority = Authority::new("redirect");
    let (_folder, application, _floodwall, address) = redirecting(&authority, "");
    for (target, headers, expected) in [
        ("/", "Host: a.test", Ok("https://a.test/")),
        ("/x/?y=%20&z#", "Host: a.test:80", Ok("https://a.test/x/?y=%20&z")),
        ("/x", "Host: A.Test.", Ok("https://a.test/x")),
        ("/x", "Host: www.b.test", Ok("https://www.b.test/x")),
        ("//evil.example/x", "Host: a.test", Ok("https://a.test//evil.example/x")),
        ("/x", "Host: [::1]:80", Ok("https://[::1]/x")),
        ("/x", "Host: 127.0.0.1:8080", Ok("https://127.0.0.1/x")),
        ("/\u{e9}", "Host: a.test", Ok("https://a.test/%C3%A9")),
        // The target says which host it is (RFC 9112, 3.2.2), and counts no more than one.
        ("http://a.test/x", "Host: evil.example", Ok("https://a.test/x")),
        ("http://evil.example/x", "Host: a.test", Err("421")),
        ("http://a.test@evil.example/x", "Host: a.test", Err("400")),
        ("/x", "Host: evil.example", Err("421")),
        ("/x", "Host: a.b.b.test", Err("421")),
        ("/x", "Host: b.test", Err("421")),
        ("/x", "Host: a.test.evil.example", Err("421")),
        ("/x", "Host: evil%2f.b.test", Err("421")),
        ("/x", "Host: evil;a=.b.test", Err("421")),
        ("/x", "Host: ", Err("421")),
        ("/x", "Host: a.test/", Err("400")),
        ("/x", "Host: a.test\r\nHost: a.test", Err("400")),
        ("/x", "X: no host", Err("400")),
        ("*", "Host: a.test", Err("400")),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n");
        let (status, location) = ask(&address, &request);
        match expected {
            Ok(expected) => {
                assert_eq!((&*status, location.as_deref()), ("308", Some(expected)), "{request}");
            }
            Err(expected) => assert_eq!((&*status, location), (expected, None), "{request}"),
        }
    }
    let (status, location) = ask(&address, "GET /x HTTP/1.0\r\n\r\n");
    assert_eq!((&*status, location), ("400", None), "without Host nobody knows where to");
    assert!(application.seen().is_empty(), "nothing of it has reached the application");
}

#[test]
fn curl_follows_to_the_port_that_speaks_tls() {
    let authority = Authority::new("follow");
    let issued = authority.issue("a", &["DNS:a.test"]);
    let application = Recorder::start(|request| {
        let said = format!("{} {}", request.method, String::from_utf8_lossy(&request.body));
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{said}", said.len())
    });
    let folder = Folder::new("follow");
    // Two listeners that know each other need a port that is known before.
    let tls = own_address();
    let configuration = format!(
        "[tls]\nlisten = '{tls}'\nredirect = '127.0.0.1:0'\ncertificates = [{}]\n",
        issued.entry()
    );
    let floodwall = Floodwall::start(&folder, application.upstream(), &configuration);
    let redirect = floodwall.addresses(3)[2].clone();
    let port = redirect.rsplit_once(':').unwrap().1;
    let (plain, secure) =
        (format!("a.test:{port}:127.0.0.1"), format!("a.test:{}:127.0.0.1", tls.port()));
    let url = format!("http://a.test:{port}/x");
    let (code, said) = curl(
        &authority.certificate(),
        &["-L", "-d", "body", "--resolve", &plain, "--resolve", &secure, &url],
    );
    assert_eq!((code, &*said), (0, "POST body"), "the method and the body stay");
}

#[test]
fn challenges_of_certificate_authorities_go_to_the_site_and_nothing_else_does() {
    let authority = Authority::new("acme");
    let (_folder, application, _floodwall, address) = redirecting(&authority, "");
    for (method, target, passes) in [
        ("GET", "/.well-known/acme-challenge/LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0", true),
        ("HEAD", "/.well-known/acme-challenge/a-_Z9", true),
        ("POST", "/.well-known/acme-challenge/abc", false),
        ("GET", "/.well-known/acme-challenge/", false),
        ("GET", "/.well-known/acme-challenge/abc/def", false),
        ("GET", "/.well-known/acme-challenge/../admin", false),
        ("GET", "/.well-known/acme-challenge/%2e%2e%2fadmin", false),
        ("GET", "/.well-known/acme-challenge/..", false),
        ("GET", "/.well-known/acme-challenge/abc?x=1", false),
        ("GET", "/.well-known/other", false),
    ] {
        let before = application.seen().len();
        let request =
            format!("{method} {target} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        let (status, _) = ask(&address, &request);
        assert_eq!(status, if passes { "200" } else { "308" }, "{request}");
        assert_eq!(application.seen().len() > before, passes, "{request}");
    }
}

#[test]
fn sites_that_have_no_such_host_are_not_redirected_to() {
    let authority = Authority::new("sites");
    let (_folder, _application, _floodwall, address) =
        redirecting(&authority, "[[site]]\nname = 'only'\nhosts = ['a.test']\npaths = ['/in/']");
    let ask = |host: &str, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        ask(&address, &request).0
    };
    assert_eq!(ask("a.test", "/in/x"), "308");
    assert_eq!(ask("a.test", "/out"), "404");
    assert_eq!(ask("www.b.test", "/in/x"), "421", "a certificate has it, no site does");
}

/// A proxy in front that took HTTPS and speaks plain HTTP to us would be sent round for ever.
#[test]
fn who_came_over_https_to_a_trusted_proxy_is_not_sent_round() {
    let authority = Authority::new("round");
    let more = "trusted_proxies = ['127.0.0.1']";
    let (_folder, application, _floodwall, address) = redirecting(&authority, more);
    let said = |proto: &str| {
        let request = format!(
            "GET /x HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: {proto}\r\nConnection: close\r\n\r\n"
        );
        ask(&address, &request).0
    };
    assert_eq!(said("https"), "200");
    assert_eq!(said("http"), "308");
    assert_eq!(application.seen().len(), 1);
    let (_folder, application, _floodwall, address) = redirecting(&authority, "");
    let request = "GET /x HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: https\r\n\
                   Connection: close\r\n\r\n";
    assert_eq!(ask(&address, request).0, "308", "anybody could say so");
    assert!(application.seen().is_empty());
}
