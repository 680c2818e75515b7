//! TLS together with what else may be spoken before it, and on top of it.

use serde_json::json;

use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::tls::{Authority, curl};
use crate::support::websockets::Program;
use crate::tls::Served;

/// More than a client may send before it is taken.
const BODY_BYTES: usize = 3 << 20;

#[test]
fn curl_speaks_http2_over_tls_behind_a_proxy_header() {
    let authority = Authority::new("combined");
    let issued = [authority.issue("a", &["DNS:a.test"])];
    let header = "[proxy_protocol]\naccept = 'required'\nfrom = ['127.0.0.1']\n";
    for (more, with) in [("", &[][..]), (header, &["--haproxy-protocol"])] {
        let served = Served::start(&issued, more);
        let (url, at) = served.url("a.test", "/x?y");
        let folder = Folder::new("tls-combined");
        let body = folder.path().join("body");
        std::fs::write(&body, "x".repeat(BODY_BYTES)).unwrap();
        let (ca, body) = (authority.certificate(), format!("@{}", body.display()));
        let trusted = ca.to_str().expect("a path in ASCII");
        // Twice on one connection; the second with a body that fills every window.
        let spoken = ["--http2", "--write-out", "spoken: %{http_version} %{num_connects}\n"];
        let first = [&spoken[..], with, &["--resolve", &at, &url]].concat();
        let second = ["--next", "--cacert", trusted, "--data-binary", &body];
        let arguments = [&first[..], &second, &first].concat();
        let (code, said) = curl(&ca, &arguments);
        assert_eq!(code, 0, "{said}");
        assert!(said.starts_with("GET /x?y\n"), "{said}");
        assert!(said.contains("spoken: 2 1\nPOST /x?y\n"), "{said}");
        assert!(said.ends_with("spoken: 2 0\n"), "{said}");
        assert_eq!(said.matches("x-forwarded-proto: https\n").count(), 2, "{said}");
        assert_eq!(said.matches("x-forwarded-for: 127.0.0.1\n").count(), 2, "{said}");
        assert!(said.contains(&format!("content-length: {BODY_BYTES}\n")), "{said}");
    }
}

#[test]
fn websocket_goes_over_tls_in_http_1_and_in_http_2() {
    let authority = Authority::new("combined");
    let issued = authority.issue("a", &["DNS:a.test"]);
    let (server, application) = Program::server();
    let folder = Folder::new("tls-combined");
    let configuration =
        format!("cores = 1\n[tls]\nlisten = '127.0.0.1:0'\ncertificates = [{}]\n", issued.entry());
    let upstream = format!("http://{application}");
    let floodwall = Floodwall::start(&folder, &upstream, &configuration);
    let front = &floodwall.addresses(2)[1];
    let ca = authority.certificate();
    for (program, arguments, status) in [
        ("client", &[front.as_str(), "/chat"][..], json!(101)),
        ("stream", &[front.as_str(), "/chat", "websocket"], json!("200")),
    ] {
        let mut client = Program::start_with(program, arguments, Some(&ca));
        let shaken = client.said();
        assert_eq!(shaken["status"], status, "{shaken}");
        assert_eq!(server.said()["event"], "open");
        assert_eq!(client.ask("volley 1000")["whole"], 1_000);
        assert_eq!(client.ask("large 3")["whole"], 3);
        assert_eq!(client.ask("close 4001")["code"], 4001);
        assert_eq!(server.said()["code"], 4001);
    }
}
