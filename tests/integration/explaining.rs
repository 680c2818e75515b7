//! `floodwall explain`: what would become of a request, asked of a running process and of a
//! configuration.

use std::process::Command;

use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::recorder::Recorder;
use crate::support::shop::{ask, connect};

const TIGHT: &str = "[session]\nunknown = 'drop'\n[budget.anonymous]\n\
                     client = { rate = '1/h', burst = 2 }\nsite = { rate = '1/h', burst = 2 }\n";

#[test]
fn a_running_process_says_who_would_be_refused_and_changes_nothing() {
    let folder = Folder::new("explain-live");
    let shop = Recorder::start(|_| {
        "HTTP/1.1 200 OK\r\nSet-Cookie: sessionid=abcdefghabcdefghabcdefghabcdefgh; Path=/\r\n\
         Content-Length: 0\r\n\r\n"
            .to_owned()
    });
    let floodwall = Floodwall::start(&folder, shop.upstream(), TIGHT);
    let explained = |more: &[&str]| {
        let command = [&["explain", "/cart/", "--host", "a", "--address", "127.0.0.1"][..], more];
        floodwall.tell(&command.concat())
    };
    let (well, said) = explained(&[]);
    assert!(well && said.contains("2 of 2") && !said.contains("(no process"), "{said}");
    let before = explained(&[]);
    assert_eq!(before, explained(&[]), "asking changes nothing");
    let mut wire = connect(floodwall.address());
    for _ in 0..2 {
        assert!(ask(&mut wire, "a", "/cart/", "x=1").starts_with("HTTP/1.1 200 "));
    }
    let (well, said) = explained(&[]);
    assert!(well && said.contains("refused") && said.contains("0 of 2"), "{said}");
    assert!(ask(&mut wire, "a", "/cart/", "x=1").starts_with("HTTP/1.1 429 "));
    let known = "sessionid=abcdefghabcdefghabcdefghabcdefgh";
    let (_, said) = explained(&["--cookie", known]);
    assert!(said.contains("a live session, paid for"), "{said}");
    let (_, said) = explained(&["--cookie", "sessionid=00000000000000000000000000000000"]);
    assert!(said.contains("not in the ledger: removed"), "{said}");
    let (_, json) = explained(&["--json"]);
    assert!(
        json.contains("\"site\":\"default\"") && json.contains("\"standing\":\"none\""),
        "{json}"
    );
    let json: serde_json::Value = serde_json::from_str(&json).expect("one object");
    assert_eq!((&json["fate"], &json["why"]), (&"refused".into(), &"client-budget".into()));
    assert_eq!((&json["left"][0]["left"], &json["left"][0]["burst"]), (&0.into(), &2.into()));
    // What is not a request is told, over the socket too.
    let (well, said) = floodwall.tell(&["explain", "/", "--host", "a b"]);
    assert!(!well && said.contains("400"), "{said}");
}

#[test]
fn without_a_process_the_configuration_and_its_state_say_it() {
    let folder = Folder::new("explain-offline");
    let file = folder.path().join("floodwall.toml");
    let state = folder.path().join("state");
    let text =
        format!("state = {state:?}\n[[site]]\nname = 'shop'\nhosts = 'shop'\npaths = '/s/'\n");
    std::fs::write(&file, text).unwrap();
    let explained = |command: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_floodwall"))
            .arg("explain")
            .args(command)
            .arg("--config")
            .arg(&file)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap())
    };
    let (code, said) = explained(&["/s/accounts/logout/", "--host", "shop"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("site      shop") && said.contains("logout"), "{said}");
    assert!(said.contains("(no process was asked"), "{said}");
    for (command, told) in [
        (&["/s/", "--host", "other"][..], "421"),
        (&["/", "--host", "shop"], "404"),
        (&["/s/", "--host", "a/b"], "400"),
    ] {
        let (code, said) = explained(command);
        assert!(code == 1 && said.contains(told), "{command:?}: {code} {said}");
    }
    // A process that hangs is asked all the same, unless told otherwise.
    let control = folder.path().join("state.control");
    let hangs = std::os::unix::net::UnixListener::bind(&control).unwrap();
    let (code, said) = explained(&["/s/", "--host", "shop", "--offline"]);
    assert!(code == 0 && said.contains("(no process was asked"), "{said}");
    drop(hangs);
    assert!(!state.exists(), "nothing is written");
}
