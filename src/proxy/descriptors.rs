//! File descriptors: how many there may be, and when they are all taken.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is needed besides connections: standard streams, listening sockets, runtimes, the state
/// and its journal, name lookups.
const RESERVED: u64 = 64;
/// The same for each core: its poll, its wake-up, its copies of the listening sockets.
const RESERVED_FOR_CORE: u64 = 8;
/// A connection that has an exchange needs a second one, to the application.
const FOR_CONNECTION: u64 = 2;
/// Over HTTP/2 a few connections can have as many exchanges as there may be connections, beside
/// those of the others.
const FOR_STREAM: u64 = 1;

/// Raises the limit of open descriptors as far as an unprivileged process may; the limit that
/// holds then, `None` if there is none. Most systems start processes with a limit of 1,024 only
/// for the sake of programs that use `select`, and let them raise it.
pub fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// How many connections of clients fit under a limit of open descriptors, where they may speak
/// HTTP/2 or not. At least one: what it cannot have it will hear from the system.
pub fn fitting(limit: u64, cores: usize, http2: bool) -> usize {
    let reserved = RESERVED + RESERVED_FOR_CORE * cores as u64;
    let each = FOR_CONNECTION + if http2 { FOR_STREAM } else { 0 };
    let connections = limit.saturating_sub(reserved) / each;
    usize::try_from(connections).unwrap_or(usize::MAX).max(1)
}

/// Whether something failed because all descriptors are taken, this process's or the system's.
pub fn are_exhausted(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_that_fits_can_have_an_exchange() {
        assert_eq!(fitting(20_000, 2, false), (20_000 - 80) / 2);
        assert_eq!(fitting(20_000, 2, true), (20_000 - 80) / 3);
        assert_eq!(fitting(1_024, 4, false), 464);
        assert_eq!(fitting(10, 1, true), 1);
    }

    #[test]
    fn what_the_system_says_of_descriptors_is_understood() {
        assert!(are_exhausted(&io::Error::from(Errno::MFILE)));
        assert!(are_exhausted(&io::Error::from(Errno::NFILE)));
        assert!(!are_exhausted(&io::Error::from(Errno::CONNREFUSED)));
    }
}
