//! The program as the operator starts it: what it says, where, and with which exit code.

mod control;
mod generated;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn floodwall(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_floodwall"))
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

/// Its exit code, standard output and standard error.
fn said(args: &[&str]) -> (i32, String, String) {
    let output = floodwall(args);
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("no signal"), text(output.stdout), text(output.stderr))
}

fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).expect("the file can be written");
    path
}

#[test]
fn every_example_is_good() {
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/config")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let path = path.to_str().unwrap();
        let (code, out, err) = said(&["check", "--config", path]);
        assert_eq!((code, err.as_str()), (0, ""), "{path}");
        assert!(out.starts_with(&format!("{path}: ok\n")), "{out}");
        assert!(out.contains("upstream  http://127.0.0.1:8000"), "{out}");
    }
}

#[test]
fn mistakes_go_to_standard_error_with_exit_code_2() {
    let path = file("bad.toml", b"listn = 1\nmode = 'x'\n");
    let path = path.to_str().unwrap();
    for command in ["check", "run"] {
        let (code, out, err) = said(&[command, "--config", path]);
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.contains(&format!("{path}:1:1: unknown key")), "{err}");
        assert!(err.contains(&format!("{path}:2:8: mode")), "{err}");
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let directory = env!("CARGO_TARGET_TMPDIR");
    for path in ["/nowhere/floodwall.toml", "/dev/zero", directory] {
        let (code, _, err) = said(&["check", "--config", path]);
        assert_eq!(code, 2);
        assert!(err.starts_with(&format!("{path}: cannot be read: ")), "{err}");
    }
}

#[test]
fn flags_win_over_the_file_and_are_enough_without_one() {
    let path = file("flags.toml", b"listen = '127.0.0.1:1'\nstate = 'x'\n");
    let flags =
        ["check", "--upstream=unix:/app.sock", "--listen", "[::1]:2", "--listen", "[::1]:3"];
    let with = [&flags[..], &["--state", "", "-c", path.to_str().unwrap()]].concat();
    for args in [&flags[..], &with] {
        let (code, out, err) = said(args);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.contains("listen    [::1]:2, [::1]:3\n"), "{out}");
        assert!(out.contains("upstream  unix:/app.sock\n"), "{out}");
        let state = if args == flags { "floodwall.state" } else { "none" };
        assert!(out.contains(&format!("state     {state}")), "{out}");
    }
}

#[test]
fn a_wrong_command_line_is_told_with_the_remedy() {
    let cases: [(&[&str], &str); 32] = [
        (&[], "no command"),
        (&["chekc"], "did you mean check?"),
        (&["--verison"], "did you mean --version?"),
        (&["--upstream", "http://a"], "write the command first"),
        (&["run"], "write --config FILE, or --upstream URL"),
        (&["run", "--listen", "127.0.0.1:1"], "neither --config nor --upstream"),
        (&["run", "--upsteam", "http://a"], "did you mean --upstream?"),
        (&["run", "-x"], "unknown flag \"-x\""),
        (&["run", "--upstream"], "missing argument"),
        (&["run", "--upstream", "https://a/b"], "https://a"),
        (&["run", "--upstream", "http://a", "--listen", ":80"], "0.0.0.0:80"),
        (&["run", "--config", "a", "--config", "b"], "--config is given twice"),
        (&["check", "floodwall.toml"], "--config FILE"),
        (&["explain"], "PATH is missing"),
        (&["explain", "logout/"], "begin it with a slash"),
        (&["explain", "/a b"], "percent-encode spaces"),
        (&["explain", "/", "--method", "get"], "a method is written in upper case"),
        (&["explain", "/", "--address", "localhost"], "write an IP address"),
        (&["explain", "/", "--offline"], "--config is missing"),
        (&["probe"], "URL is missing"),
        (&["probe", "http://a", "http://b"], "belongs to no flag"),
        (&["probe", "www.example.org"], "no scheme"),
        (&["probe", "https://www.example.org/?x=1"], "write a path alone"),
        (&["probe", "http://user:secret@a/"], "a user name or password has no place"),
        (&["probe", "unix:/run/app.sock"], "a Unix socket has no URL"),
        (&["probe", "http://a", "--logout", "logout/"], "begin it with a slash"),
        (&["probe", "http://a", "--header", "Cookie: x=1"], "sets this one itself"),
        (&["probe", "http://a", "--cookie", "sessionid=x"], "a name alone"),
        (&["probe", "http://a", "--timeout", "0"], "1..=60"),
        (&["completions", "bahs"], "did you mean bash?"),
        (&["completions", "cmd"], "write one of bash, elvish, fish"),
        (&["check", "--upstream", "http://127.0.0.1:8080"], "where Floodwall itself listens"),
    ];
    for (args, needle) in cases {
        let (code, out, err) = said(args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}");
        assert!(err.contains(needle), "{args:?}: {err}");
    }
}

/// Every flag that a command takes is in its help, and so is every exit code.
#[test]
fn help_is_complete() {
    let source = &["--config", "--upstream", "--listen", "--state", "--help"][..];
    let running = &["--control", "--config", "--help"][..];
    let probe = [
        "--yes",
        "--logout",
        "--login",
        "--page",
        "--cookie",
        "--header",
        "--ca",
        "--timeout",
        "--json",
        "--write",
        "\n  3  ",
        "\n  4  ",
    ];
    let request = ["--method", "--host", "--cookie", "--address", "--offline", "--json"];
    for (args, flags) in [
        (&["--help"][..], &["run ", "check ", "reload ", "explain ", "--help", "--version"][..]),
        (&["run", "--help"], source),
        (&["check", "-h"], source),
        (&["reload", "--help"], running),
        (&["upgrade", "--help"], running),
        (&["status", "--help"], running),
        (&["explain", "--help"], running),
        (&["explain", "-h"], &request),
        (&["probe", "--help"], &probe),
        (&["completions", "--help"], &["bash", "zsh", "fish"]),
        (&["man", "--help"], &["DIRECTORY"]),
    ] {
        let (code, out, err) = said(args);
        assert_eq!((code, err.as_str()), (0, ""));
        for needle in flags.iter().chain(&["Usage: ", "\n  0  ", "\n  1  ", "\n  2  "]) {
            assert!(out.contains(needle), "no {needle:?} in {out}");
        }
        assert!(out.lines().all(|line| line.chars().count() <= 100), "{out}");
    }
    let (code, out, _) = said(&["--version"]);
    assert_eq!((code, out), (0, concat!("floodwall ", env!("CARGO_PKG_VERSION"), "\n").into()));
}

#[test]
fn an_output_that_cannot_be_written_is_a_failure_and_no_panic() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_floodwall"))
        .arg("--help")
        .stdout(full)
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stderr, b"");
}
