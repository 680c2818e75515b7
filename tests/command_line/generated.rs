//! Completions and manual pages, given to the programs that they are made for.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use super::{file, said};

/// Every command, as `--help` has them.
fn commands() -> Vec<String> {
    let (_, help, _) = said(&["--help"]);
    let list = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next());
    let name = |line: &str| line.split_whitespace().next().map(str::to_owned);
    list.expect("a list").lines().filter_map(name).collect()
}

fn completions(shell: &str) -> PathBuf {
    let (code, out, err) = said(&["completions", shell]);
    assert_eq!((code, err.as_str()), (0, ""));
    file(&format!("floodwall.{shell}"), out.as_bytes())
}

/// What a program prints; it must end well and complain of nothing.
fn of(program: &mut Command) -> String {
    let Output { status, stdout, stderr } =
        program.output().unwrap_or_else(|error| panic!("{program:?}: {error}"));
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success() && stderr.is_empty(), "{program:?}: {status} {stderr}");
    String::from_utf8(stdout).expect("UTF-8")
}

#[test]
fn shells_can_read_their_completions() {
    for shell in ["bash", "zsh"] {
        of(Command::new(shell).arg("-n").arg(completions(shell)));
    }
    // zsh finds it as the completion of the program's name.
    let script = completions("zsh");
    let script = format!("autoload -U compinit; compinit -D; . '{}'", script.display());
    let found =
        of(Command::new("zsh").args(["-f", "-c", &format!("{script}; print $_comps[floodwall]")]));
    assert_eq!(found.trim(), "_floodwall");
    for shell in ["fish", "elvish", "powershell"] {
        let (code, out, _) = said(&["completions", shell]);
        assert!(code == 0 && out.contains("reload"), "{shell}");
    }
}

/// What bash offers for the last of these words.
fn offered(words: &[&str]) -> Vec<String> {
    // Nobody presses a key here, and then this builtin refuses its service.
    let script = "\
        compopt() { :; }
        . \"$1\"; shift
        completion=$(complete -p floodwall) || exit
        [[ $completion =~ -F\\ ([^ ]+) ]] || exit
        COMP_WORDS=(\"$@\") COMP_CWORD=$(($# - 1)) COMP_LINE=\"$*\" COMP_POINT=${#COMP_LINE}
        \"${BASH_REMATCH[1]}\" floodwall \"${@: -1}\" \"${@: -2:1}\"
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let program = completions("bash");
    let mut bash = Command::new("bash");
    bash.args(["--norc", "--noprofile", "-c", script, "bash"]).arg(program).args(words);
    of(&mut bash).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_flags_words_and_files() {
    assert_eq!(offered(&["floodwall", "rel"]), ["reload"]);
    let offers = offered(&["floodwall", ""]);
    for command in commands() {
        assert!(offers.contains(&command), "{command}: {offers:?}");
    }
    assert_eq!(offered(&["floodwall", "explain", "--add"]), ["--address"]);
    assert_eq!(offered(&["floodwall", "completions", "b"]), ["bash"]);
    let configuration = file("completed.toml", b"");
    let begun = configuration.with_extension("to");
    let offers = offered(&["floodwall", "check", "--config", begun.to_str().expect("UTF-8")]);
    assert_eq!(offers, [configuration.to_str().expect("UTF-8")]);
}

/// `man` itself, which runs groff, with warnings.
fn rendered(page: &PathBuf) -> String {
    of(Command::new("man")
        .args(["--warnings", "-l"])
        .arg(page)
        .env("MANWIDTH", "400")
        .env("MAN_KEEP_FORMATTING", "")
        .env("LC_ALL", "C.UTF-8"))
}

#[test]
fn man_renders_the_page_and_nothing_is_missing_in_it() {
    let (code, out, err) = said(&["man"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let page = rendered(&file("floodwall.1", out.as_bytes()));
    for command in commands() {
        let heading = format!("FLOODWALL {}", command.to_uppercase());
        assert!(page.lines().any(|line| line == heading), "no {heading} in {page}");
        let (_, help, _) = said(&[&command, "-h"]);
        let flags = help.split_whitespace().filter(|word| word.starts_with("--"));
        for flag in flags.map(|flag| flag.trim_matches(['.', ',', '<', '|', ']'])) {
            let flag = flag.split('|').next().unwrap_or(flag);
            assert!(page.contains(flag), "no {flag} of {command}");
        }
    }
    for text in
        ["EXIT STATUS", "CVE-2015-5963", "all mistakes are told", "floodwall man | man -l -"]
    {
        assert!(page.contains(text), "no {text} in {page}");
    }
}

#[test]
fn each_command_has_a_page_of_its_own() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("man");
    fs::create_dir_all(&directory).expect("a directory");
    let (code, out, err) = said(&["man", directory.to_str().expect("UTF-8")]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""));
    for command in commands() {
        let page = rendered(&directory.join(format!("floodwall-{command}.1")));
        assert!(page.contains(&format!("floodwall {command}")) && page.contains("EXIT STATUS"));
    }
    assert!(rendered(&directory.join("floodwall.1")).contains("floodwall-reload(1)"));
    let (code, _, err) = said(&["man", "/nowhere"]);
    assert_eq!(code, 1);
    assert!(err.contains("name a directory that is there"), "{err}");
}
