//! What the system says of this process.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use crate::telemetry::snapshot::ProcessSnapshot;

/// How this process stands; zero where the system does not tell.
pub(super) fn look() -> ProcessSnapshot {
    let ticks = |ticks: u64| ticks as f64 / clock_ticks_per_second().max(1) as f64;
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
    let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let page = |place| number(pages.split(' '), place) * page_size() as u64;
    // The name of the program, in brackets, may hold anything.
    let fields = || stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime ")?.parse::<u64>().ok());
    ProcessSnapshot {
        // proc(5) counts from 1, and the first two are gone.
        started_unix_s: boot.map_or(0.0, |boot| boot as f64 + ticks(number(fields(), 22 - 3))),
        cpu_s: ticks(number(fields(), 14 - 3) + number(fields(), 15 - 3)),
        virtual_bytes: page(0),
        resident_bytes: page(1),
        open_files: open_files(),
        most_files: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
    }
}

fn number<'a>(mut fields: impl Iterator<Item = &'a str>, place: usize) -> u64 {
    fields.nth(place).and_then(|field| field.trim().parse().ok()).unwrap_or_default()
}

/// Linux 6.2 and later say at once how many there are.
fn open_files() -> u64 {
    let said = fs::metadata("/proc/self/fd").map_or(0, |folder| folder.len());
    let count = || fs::read_dir("/proc/self/fd").map_or(0, |folder| folder.count() as u64);
    if said > 0 { said } else { count() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_of_this_process() {
        let before = look();
        let held: Vec<fs::File> =
            (0..100).map(|_| fs::File::open("/dev/null").expect("it can be opened")).collect();
        let memory = vec![1_u8; 32 << 20];
        let after = look();
        assert!(after.open_files >= before.open_files + 90, "{before:?} {after:?}");
        assert!(after.resident_bytes >= before.resident_bytes + (30 << 20), "{before:?} {after:?}");
        assert!(after.virtual_bytes >= after.resident_bytes);
        assert!(after.most_files >= after.open_files);
        assert!(after.cpu_s >= before.cpu_s);
        assert_eq!(after.started_unix_s, before.started_unix_s);
        assert!(after.started_unix_s > 1.6e9, "{after:?}");
        drop((held, memory));
    }
}
