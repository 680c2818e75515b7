//! What is asked of a running process, where there is none, or another than was expected.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use super::{file, said};

/// A path for a socket, short enough, with nothing there.
fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("floodwall-{name}-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    path
}

/// Answers one question so, and gives back the question.
fn answering(path: &PathBuf, answer: &'static [u8]) -> thread::JoinHandle<String> {
    let listener = UnixListener::bind(path).expect("a socket");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut question = String::new();
        BufReader::new(&stream).read_line(&mut question).expect("a line");
        let _ = stream.write_all(answer);
        question
    })
}

#[test]
fn who_cannot_be_reached_is_told_with_the_remedy() {
    let (absent, left, long) = (path("absent"), path("left"), "/x".repeat(60));
    drop(UnixListener::bind(&left).expect("a socket"));
    let plain = file("no-socket", b"");
    for (socket, needles) in [
        (absent.to_str().expect("UTF-8"), ["there is no control socket at", "start Floodwall"]),
        (left.to_str().expect("UTF-8"), ["nobody listens at", "start Floodwall again"]),
        (plain.to_str().expect("UTF-8"), ["is no socket", "--control PATH"]),
        (&long, ["cannot be connected to", "--control PATH"]),
    ] {
        for command in [&["reload"][..], &["upgrade"], &["status"], &["explain", "/"]] {
            let (code, out, err) = said(&[command, &["--control", socket]].concat());
            assert_eq!((code, out.as_str()), (1, ""), "{command:?} {socket}: {err}");
            assert!(needles.iter().all(|needle| err.contains(needle)), "{command:?}: {err}");
        }
    }
    fs::remove_file(left).expect("it was left");
}

#[test]
fn a_socket_of_another_user_is_told_as_such() {
    let socket = path("forbidden");
    let listener = UnixListener::bind(&socket).expect("a socket");
    fs::set_permissions(&socket, Permissions::from_mode(0o000)).expect("it is ours");
    // Nothing keeps root out.
    let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    let mut program = Command::new(if root { "setpriv" } else { "env" });
    if root {
        program.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    program.args([env!("CARGO_BIN_EXE_floodwall"), "status", "--control"]).arg(&socket);
    let output = program.output().expect("it runs");
    drop(listener);
    fs::remove_file(socket).expect("it is there");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("is another user's") && err.contains("run this as"), "{err}");
}

#[test]
fn an_answer_is_printed_or_told_as_the_mistake_that_it_is() {
    let good = br#"{"ok":true,"text":"serving","keys":7}"#;
    let bad = br#"{"ok":false,"error":"floodwall.toml:1:1: unknown key"}"#;
    for (command, answer, code, out, err) in [
        ("status", &good[..], 0, "serving\n", ""),
        ("reload", good, 0, "serving\n", ""),
        ("upgrade", good, 0, "serving\n", ""),
        ("status", bad, 1, "", "unknown key"),
        ("reload", bad, 2, "", "floodwall.toml:1:1: unknown key"),
        ("status", b"", 1, "", "without an answer"),
        ("status", b"HTTP/1.1 400 Bad Request\r\n", 1, "", "cannot be understood"),
        ("status", br#"{"ok":true}"#, 1, "", "of another version"),
    ] {
        let socket = path(&format!("{command}-{}", answer.len()));
        let server = answering(&socket, answer);
        let got = said(&[command, "--control", socket.to_str().expect("UTF-8")]);
        assert_eq!((got.0, got.1.as_str()), (code, out), "{command}: {}", got.2);
        assert!(got.2.contains(err), "{command}: {}", got.2);
        let question = server.join().expect("no panic");
        assert_eq!(question, format!("{{\"do\":\"{command}\"}}\n"));
        fs::remove_file(socket).expect("it is there");
    }
}

#[test]
fn a_program_gets_one_object() {
    let socket = path("json");
    let server = answering(&socket, br#"{"ok":true,"text":"serving","keys":7}"#);
    let (code, out, err) = said(&["status", "--json", "--control", socket.to_str().unwrap()]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, "{\"keys\":7,\"ok\":true}\n");
    server.join().expect("no panic");
    fs::remove_file(socket).expect("it is there");
}

/// Its mistakes are those of `check`, whether or not anything runs.
#[test]
fn a_file_with_mistakes_is_told_before_anybody_is_asked() {
    let path = file("reload.toml", b"listn = 1\n");
    let path = path.to_str().expect("UTF-8");
    let (_, _, checked) = said(&["check", "--config", path]);
    let (code, out, err) = said(&["reload", "--config", path]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert_eq!(err, checked);
}
