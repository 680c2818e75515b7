//! What Floodwall reads is what genuine Django reads: hostile cookie headers, request targets and
//! header names, thousands of them and the same in every run, are given to both.
//!
//! `cookies` and `paths` ask Django's own parsers about what Floodwall would send; `servers` sends
//! it, over sockets, through a running Floodwall to each server that Django is run with.

mod cookies;
mod paths;
mod probe;
mod servers;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use crate::support::django::Release;

const RELEASES: [Release; 3] = [Release::V1_4_21, Release::V1_7_9, Release::V1_8_3];
const KEY: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/django").join(name)
}

/// Asks one of the programs in `tests/django` about every line.
fn ask(name: &str, arguments: &[&str], lines: &[Vec<u8>]) -> Vec<String> {
    let mut child = Command::new(program(name))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("it was piped");
    let stdout = BufReader::new(child.stdout.take().expect("it was piped"));
    let answers: Vec<String> = thread::scope(|scope| {
        scope.spawn(move || {
            for line in lines {
                writeln!(stdin, "{}", base64(line)).expect("it reads");
            }
        });
        stdout.lines().map(|line| line.expect("text")).collect()
    });
    assert!(child.wait().expect("it can be waited for").success());
    assert_eq!(answers.len(), lines.len());
    answers
}

/// Does the same with each release, all at once.
fn with_each_release<T: Send>(test: impl Fn(Release) -> T + Sync) -> Vec<T> {
    let test = &test;
    thread::scope(|scope| {
        let releases = RELEASES.into_iter().filter(|release| release.available());
        let running: Vec<_> = releases.map(|release| scope.spawn(move || test(release))).collect();
        running.into_iter().map(|test| test.join().expect("no test panicked")).collect()
    })
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, n| bits << 8 | u32::from(*three.get(n).unwrap_or(&0)));
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) as usize & 63;
            text.push(if digit <= three.len() { DIGITS[value].into() } else { '=' });
        }
    }
    text
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % bound as u64).expect("below a usize")
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A few bytes put in, taken out or replaced.
    fn spoil(&mut self, bytes: &mut Vec<u8>, with: &[u8]) {
        for _ in 0..self.below(4) {
            let at = self.below(bytes.len() + 1);
            let byte = *self.pick(with);
            match self.below(3) {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => drop(bytes.remove(at)),
                _ if at < bytes.len() => bytes[at] = byte,
                _ => {}
            }
        }
    }
}

/// A kind of hostility, and how to tell that a case has it.
type Kind<T> = (&'static str, fn(&T) -> bool);

/// How many cases had each kind: a generator that has lost one proves nothing of it.
struct Census<T: 'static> {
    kinds: &'static [Kind<T>],
    counts: Vec<u64>,
}

impl<T> Census<T> {
    fn of(kinds: &'static [Kind<T>]) -> Self {
        Self { kinds, counts: vec![0; kinds.len()] }
    }

    fn count(&mut self, case: &T) {
        for ((_, has), count) in self.kinds.iter().zip(&mut self.counts) {
            *count += u64::from(has(case));
        }
    }

    /// Prints the counts, and fails where one is too small.
    fn finish(self, what: &str, least: u64) {
        let counts: Vec<_> = self.kinds.iter().map(|(kind, _)| kind).zip(&self.counts).collect();
        println!("{what}: {counts:?}");
        for (kind, count) in counts {
            assert!(*count >= least, "{what}: {count} with {kind}");
        }
    }
}

/// Harm that was done, and to what first.
#[derive(Default)]
struct Harm {
    count: u64,
    first: Option<String>,
}

impl Harm {
    fn note(&mut self, is: bool, what: impl FnOnce() -> String) {
        if is {
            self.count += 1;
            self.first.get_or_insert_with(what);
        }
    }

    /// What was done to each release, taken together.
    fn of_all(harms: impl IntoIterator<Item = Self>) -> Self {
        harms.into_iter().fold(Self::default(), |all, harm| Self {
            count: all.count + harm.count,
            first: all.first.or(harm.first),
        })
    }

    /// Puts a row into the table of attacks; none of the harm is promised.
    fn finish(self, attack: &str, unit: &str) {
        if let Some(first) = &self.first {
            println!("the first of {}: {first}", self.count);
        }
        crate::support::attack::bounded(attack, unit, 0, self.count);
    }
}
