//! CPU time: our own, that of a core and that of other processes; and where we run.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit};
use rustix::thread::CpuSet;
use rustix::time::ClockId;

/// Runs this process on this core only.
pub fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    if core >= CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    set.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// As many descriptors as this process may have.
pub fn raise_descriptors() -> io::Result<()> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let all = Rlimit { current: limit.maximum, maximum: limit.maximum };
    Ok(rustix::process::setrlimit(Resource::Nofile, all)?)
}

/// User and system time of this process.
pub fn own() -> Duration {
    let time = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// What all threads of a process have used, as its scheduler counts it; `None` where it is gone.
pub fn of(process: u32) -> Option<Duration> {
    let mut total = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{process}/task")).ok()? {
        // A thread that has ended meanwhile is left out.
        let Ok(text) = fs::read_to_string(task.ok()?.path().join("schedstat")) else { continue };
        total += Duration::from_nanos(text.split(' ').next()?.parse().ok()?);
    }
    Some(total)
}

/// Busy and all time of a core, in ticks.
#[derive(Clone, Copy)]
pub struct Core {
    busy: u64,
    all: u64,
}

impl Core {
    pub fn read(core: usize) -> Option<Self> {
        let text = fs::read_to_string("/proc/stat").ok()?;
        let name = format!("cpu{core} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name))?;
        // user nice system idle iowait irq softirq steal; guests are in user.
        let ticks: Vec<u64> =
            line.split(' ').take(8).filter_map(|word| word.parse().ok()).collect();
        let all = ticks.iter().sum();
        Some(Self { busy: all - ticks.get(3)? - ticks.get(4)?, all })
    }

    /// How much of the time since `before` it was busy: 0 to 1.
    pub fn share(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        self.busy.saturating_sub(before.busy) as f64 / all as f64
    }
}
