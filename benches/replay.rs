//! How fast a replay is: `cargo bench --bench replay [MILLIONS]`.
//!
//! Writes logs of two million lines (or as many millions as are asked for, 0.01 also) into a temporary folder: a
//! flood of logouts from 150,000 addresses among visitors who read pages; as nginx's combined format
//! has it, packed, and as JSON. Prints lines a second of the whole: reading, both worlds, the report.

#![allow(clippy::disallowed_methods, reason = "a speed is measured by the real clock")]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use floodwall::config::{Config, Overrides};
use floodwall::replay::{self, Setting};

const AGENTS: [&str; 3] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0 Safari/537.36",
    "python-requests/2.31.0",
];

fn main() {
    let asked = std::env::args().find_map(|argument| argument.parse::<f64>().ok());
    let lines = (asked.unwrap_or(2.0) * 1e6) as u64;
    let folder = std::env::temp_dir().join(format!("floodwall-replay-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let config = Config::parse("bench", b"", Overrides::default()).expect("the defaults");
    let setting = Setting::new(&config, &config.sites()[0]);
    println!("replay of {lines} lines, lines a second (median of 3)");
    for (name, json, packed) in
        [("combined", false, false), ("combined, gzip", false, true), ("JSON", true, false)]
    {
        let path = folder.join("access.log");
        let file = BufWriter::new(File::create(&path).expect("a log"));
        match packed {
            true => write(GzEncoder::new(file, Compression::new(6)), lines, json),
            false => write(file, lines, json),
        }
        println!("  {name:16} {:>9}", speed(&setting, &path, lines));
    }
    fs::remove_dir_all(&folder).expect("it is ours");
}

fn speed(setting: &Setting, path: &Path, lines: u64) -> u64 {
    let mut speeds: Vec<u64> = (0..3)
        .map(|_| {
            let begun = Instant::now();
            let report = replay::replay(setting, &[path.to_owned()], &mut |_| ());
            let report = report.expect("it is read");
            assert_eq!(report.read.counts.requests, lines);
            (lines as f64 / begun.elapsed().as_secs_f64()) as u64
        })
        .collect();
    speeds.sort_unstable();
    speeds[1]
}

/// Xorshift: the same log every time.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn write(mut log: impl Write, lines: u64, json: bool) {
    let mut state = 42;
    for number in 0..lines {
        let (minute, second) = (number / 200_000, number / 3_000 % 60);
        let (hour, minute) = (minute / 60 % 24, minute % 60);
        let dice = random(&mut state);
        let (client, target, status, agent) = if dice % 10 < 6 {
            (0x0a00_0000 + (dice >> 8) % 150_000, String::from("/accounts/logout/?next=/"), 302, 2)
        } else {
            let page = (dice >> 32) % 1_000;
            let target = match page % 4 {
                0 => format!("/static/style-{page}.css"),
                1 => format!("/item/{page}/?page=2"),
                2 => String::from("/accounts/login/"),
                _ => String::from("/"),
            };
            (0xc000_0200 + (dice >> 8) % 4_000, target, 200, (dice >> 40) as usize % 2)
        };
        let [a, b, c, d] = (client as u32).to_be_bytes();
        let agent = AGENTS[agent];
        let written = if json {
            writeln!(
                log,
                "{{\"time\":\"2026-11-22T{hour:02}:{minute:02}:{second:02}+00:00\",\"remote_addr\":\"{a}.{b}.{c}.{d}\",\
                 \"request\":\"GET {target} HTTP/1.1\",\"status\":{status},\"body_bytes_sent\":1234,\
                 \"request_time\":0.012,\"http_referer\":\"https://shop.example/\",\"http_user_agent\":\"{agent}\"}}"
            )
        } else {
            writeln!(
                log,
                "{a}.{b}.{c}.{d} - - [22/Nov/2026:{hour:02}:{minute:02}:{second:02} +0000] \"GET {target} HTTP/1.1\" \
                 {status} 1234 \"https://shop.example/\" \"{agent}\""
            )
        };
        written.expect("room on the disk");
    }
}
