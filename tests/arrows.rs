//! The arrows between the modules, read from the `use` lines and the paths in the code:
//! `main → config, proxy, admin, report, telemetry → guard`, `proxy → admin → telemetry`, `proxy,
//! report → history → telemetry`, `main → probe, replay → config, telemetry, guard`, and nothing leaves
//! `guard`.

use std::fs;
use std::path::{Path, PathBuf};

/// What a module may name, besides itself. `proxy` takes the configuration in, and starts the
/// history, at one place: `proxy/start.rs` with what is below it.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("guard", &[]),
    ("telemetry", &["guard"]),
    ("config", &["guard"]),
    ("admin", &["guard", "telemetry"]),
    ("history", &["guard", "telemetry"]),
    ("report", &["history", "telemetry"]),
    ("proxy", &["admin", "guard", "telemetry"]),
    // Of telemetry, what makes strings of strangers fit for a line.
    ("probe", &["guard", "telemetry", "config"]),
    ("replay", &["config", "guard", "telemetry"]),
];

/// What would bring I/O, logs or a clock into the decision core.
const NOT_IN_GUARD: [&str; 7] =
    ["tokio", "hyper", "tracing", "std::net::Tcp", "std::fs", "std::io", "::now()"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The files of a module, by their path below `src`, without comments and strings of prose.
fn module(name: &str) -> Vec<(String, Vec<String>)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&src.join(name), &mut paths);
    assert!(!paths.is_empty(), "{name} has no sources");
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("UTF-8");
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let below = path.strip_prefix(&src).expect("it is below src");
        (below.to_string_lossy().into_owned(), code.map(str::to_owned).collect())
    };
    paths.iter().map(read).collect()
}

/// Tests take from everywhere what they need.
fn is_test(file: &str) -> bool {
    file.ends_with("tests.rs") || file.contains("/tests/") || file.contains("/sim/")
}

#[test]
fn arrows_point_one_way() {
    let mut wrong = Vec::new();
    for (name, allowed) in ALLOWED {
        for (file, lines) in module(name).into_iter().filter(|(file, _)| !is_test(file)) {
            for (other, _) in ALLOWED {
                let start = (file == "proxy/start.rs" || file.starts_with("proxy/start/"))
                    && ["config", "history"].contains(&other);
                if other == name || allowed.contains(&other) || start {
                    continue;
                }
                let needles = [format!("crate::{other}"), format!("crate::{{{other}")];
                let hit = |line: &&String| needles.iter().any(|needle| line.contains(needle));
                wrong.extend(lines.iter().filter(hit).map(|line| format!("{file}: {line}")));
            }
        }
    }
    assert!(wrong.is_empty(), "wrong arrows:\n{}", wrong.join("\n"));
}

#[test]
fn the_guard_knows_neither_io_nor_logs_nor_clocks() {
    let mut wrong = Vec::new();
    for (file, lines) in module("guard") {
        if is_test(&file) {
            continue;
        }
        for line in lines {
            if NOT_IN_GUARD.iter().any(|word| line.contains(word)) {
                wrong.push(format!("{file}: {line}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
