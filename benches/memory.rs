//! What the tables take at their caps: `cargo bench --bench memory [PART]`. With PART they are filled
//! to one of so many parts, which is quick, and shows nothing but that this works.
//!
//! Resident memory, as the operating system counts it, after each table has been filled with the
//! capacities of the default configuration, and while a snapshot of all of it is written and read.

#![allow(clippy::disallowed_methods, reason = "a pause is measured by the real clock")]

#[path = "../tests/memory/full.rs"]
mod full;

use std::time::{Duration, Instant};

use floodwall::guard::key::KeyHash;
use floodwall::guard::ledger::{KeyRecord, Ledger};
use floodwall::guard::moment::Moment;
use full::{PROMISED, Resident, Site};

fn main() {
    let part = std::env::args().find_map(|argument| argument.parse::<usize>().ok()).unwrap_or(1);
    let folder = std::env::temp_dir().join(format!("floodwall-memory-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for temporary files");
    println!(
        "{:>38} {:>10} {:>10} {:>10} {:>8}",
        "", "entries", "MiB more", "MiB in all", "B each"
    );
    let mut site = Site::open(&folder);
    let footprint = site.footprint();
    let entries =
        |name| footprint.iter().find(|table| table.table == name).expect("it is there").entries;
    let (clients, sessions) = (entries("clients") / part, entries("sessions") / part);
    let mut before = row("nothing yet", 0, 0);
    site.clients(clients);
    let both = (row("clients, each with a session", clients, before) - before) / clients as u64;
    before += both * clients as u64;
    site.sessions(sessions);
    let session = (row("more sessions", sessions - clients, before).saturating_sub(before))
        / (sessions - clients) as u64;
    before = Resident::read().now;
    println!("{:>38} {:>41}", "a client alone", both.saturating_sub(session));
    println!("{:>38} {session:>41}", "a session");
    site.spares();
    before = row("logout paths", entries("spares") + 64, before);
    site.learned_paths();
    before = row("learned paths", entries("learned paths"), before);
    site.telemetry();
    before = row("floods and notices of routes", entries("telemetry"), before);
    site.passers_by(1_000_000 / part);
    before = row("as many clients that pass by", 0, before);

    Resident::forget_peak();
    site.save();
    before = row("the journal written", 0, before);
    Resident::forget_peak();
    site.close();
    before = row("the snapshot written, all freed", 0, before);
    peak("while it was written");
    Resident::forget_peak();
    let site = Site::open(&folder);
    row("and read again", site.guard.sizes().0, before);
    peak("while it was read");
    std::fs::remove_dir_all(&folder).expect("it is ours");
    let said: usize = footprint.iter().map(|table| table.bytes).sum();
    println!("{:>38} {:>32.1}", "as `floodwall check` says", mib(said as u64));
    println!("{:>38} {:>32.1}", "promised", mib(PROMISED));
    println!("longest pause of one `issue` while a ledger fills: {:?}", longest_pause(sessions));
}

fn row(what: &str, entries: usize, before: u64) -> u64 {
    let now = Resident::read().now;
    let more = now as i64 - before as i64;
    let each = if entries > 0 { more / entries as i64 } else { 0 };
    let more = more as f64 / f64::from(1 << 20);
    println!("{what:>38} {entries:>10} {more:>10.1} {:>10.1} {each:>8}", mib(now));
    now
}

fn peak(what: &str) {
    println!("{what:>38} {:>32.1} at most", mib(Resident::read().peak));
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Twice as many keys as fit, half of which have expired by then, so that it grows, looks for
/// expired keys and forgets live ones. Of three runs each step counts as in the quickest: a pause
/// of ours is in all of them, one of the machine's is not.
fn longest_pause(capacity: usize) -> Duration {
    let mut quickest = vec![Duration::MAX; 2 * capacity];
    for _ in 0..3 {
        let ledger = Ledger::new(capacity, 16, 6);
        let mut now = Moment::from_nanos(1 << 59);
        for (number, quickest) in (0_u64..).zip(&mut quickest) {
            let key = KeyHash(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            now = now.after(Duration::from_micros(10));
            let expires = now.after(Duration::from_secs(if number % 2 == 0 { 10 } else { 1000 }));
            let began = Instant::now();
            let _ = ledger.issue(key, expires, KeyRecord::PAID, now);
            *quickest = began.elapsed().min(*quickest);
        }
    }
    quickest.into_iter().max().unwrap_or_default()
}
