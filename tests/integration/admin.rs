//! The admin listener, asked by curl.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::address::own_address;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::shop::shop;

/// What curl says: the status, and the body.
pub fn curl(arguments: &[&str]) -> (String, String) {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "10", "--write-out", "\n%{http_code}"])
        .args(arguments)
        .output()
        .expect("curl runs");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let (body, status) = said.rsplit_once('\n').expect("a status");
    (status.to_owned(), body.to_owned())
}

pub fn by_socket(socket: &Path, target: &str) -> (String, String) {
    let socket = socket.to_str().expect("UTF-8");
    curl(&["--unix-socket", socket, &format!("http://localhost{target}")])
}

#[test]
fn beside_the_state_its_owner_sees_how_things_stand() {
    let folder = Folder::new("admin");
    let shop = shop();
    let floodwall = Floodwall::start(&folder, shop.upstream(), "");
    let socket = folder.path().join("state.admin");
    let mode = fs::symlink_metadata(&socket).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(by_socket(&socket, "/healthz"), ("200".into(), "alive\n".into()));
    assert_eq!(by_socket(&socket, "/readyz"), ("200".into(), "ready\n".into()));
    assert_eq!(curl(&[&format!("http://{}/", floodwall.address())]).0, "200");
    // What is told may be a moment old.
    await_that("the exchange is not told of", || {
        let (status, json) = by_socket(&socket, "/status");
        assert_eq!(status, "200");
        let json: Value = serde_json::from_str(&json).expect("JSON");
        json["sites"][0]["exchanges"] == 1
    });
    assert_eq!(by_socket(&socket, "/nothing").0, "404");
    assert_eq!(floodwall.stop().code(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn others_than_this_machine_need_the_token() {
    let folder = Folder::new("admin-token");
    let shop = shop();
    let open = "admin.listen = '0.0.0.0:0'\n";
    let (code, said) = Floodwall::refused(Floodwall::program(), &folder, open);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("admin.listen: 0.0.0.0:0 is reached by others"), "{said}");
    assert!(said.contains("token_file ="), "{said}");

    let file = folder.path().join("token");
    let address = own_address();
    let token = format!("admin.listen = '{address}'\nadmin.token_file = '{}'\n", file.display());
    let url = |path: &str| format!("http://{address}{path}");
    fs::write(&file, "0123456789abcdef\n").expect("a file");
    let floodwall = Floodwall::start(&folder, shop.upstream(), &token);
    assert_eq!(curl(&[&url("/healthz")]).0, "200");
    assert_eq!(curl(&[&url("/status")]).0, "401");
    assert_eq!(curl(&["--user", "me:0123456789abcdee", &url("/status")]).0, "401");
    assert_eq!(curl(&["--user", "me:0123456789abcdef", &url("/status")]).0, "200");
    let bearer = |token| format!("Authorization: Bearer {token}");
    assert_eq!(curl(&["--header", &bearer("0123456789abcdef"), &url("/status")]).0, "200");

    fs::write(&file, "fedcba9876543210").expect("a file");
    assert!(floodwall.tell(&["reload"]).0);
    assert_eq!(curl(&["--header", &bearer("0123456789abcdef"), &url("/status")]).0, "401");
    assert_eq!(curl(&["--header", &bearer("fedcba9876543210"), &url("/status")]).0, "200");
    fs::write(&file, "short").expect("a file");
    let (well, said) = floodwall.tell(&["reload"]);
    assert!(!well && said.contains("not a token"), "{said}");
    assert_eq!(curl(&["--header", &bearer("fedcba9876543210"), &url("/status")]).0, "200");
}

/// A web page may have its own name point to 127.0.0.1, and then read what is answered there.
#[test]
fn a_page_whose_name_points_here_reads_nothing() {
    let folder = Folder::new("admin-rebinding");
    let shop = shop();
    let address = own_address();
    let listen = format!("admin.listen = '{address}'\n");
    let _floodwall = Floodwall::start(&folder, shop.upstream(), &listen);
    let url = format!("http://{address}/status");
    assert_eq!(curl(&[&url]).0, "200");
    assert_eq!(curl(&["--header", "Host: evil.example", &url]).0, "403");
}
