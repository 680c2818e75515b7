//! journald's own protocol: an entry with fields is one datagram
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).

use std::fmt;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use super::message::{Message, Subject};

/// The `MESSAGE_ID` of each kind of alert, as `journalctl --new-id128` makes them.
const fn message_id(subject: Subject) -> &'static str {
    match subject {
        Subject::FloodStarted => "4d0a06dd17144910a7607516387572f5",
        Subject::FloodEnded => "f77adf0e495146eda710d8ddab814e8f",
        Subject::Test => "9886416abc5d43368f0e3ae1876d3343",
    }
}

/// As syslog has it.
pub(super) const fn severity(subject: Subject) -> u8 {
    match subject {
        Subject::FloodStarted => 4,
        Subject::FloodEnded => 5,
        Subject::Test => 6,
    }
}

pub(super) struct Journald {
    socket: PathBuf,
}

impl Journald {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Waits for no longer than `timeout` for a journald that is busy.
    pub(super) fn send(&self, message: &Message, timeout: Duration) -> io::Result<()> {
        let entry = entry(message);
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        socket.send_to(&entry, &self.socket).map(|_| ())
    }
}

impl fmt::Display for Journald {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.display().fmt(f)
    }
}

fn entry(message: &Message) -> Vec<u8> {
    let mut entry = Vec::new();
    let subject = message.subject;
    field("MESSAGE", &message.text, &mut entry);
    field("MESSAGE_ID", message_id(subject), &mut entry);
    field("PRIORITY", &severity(subject).to_string(), &mut entry);
    field("SYSLOG_IDENTIFIER", "floodwall", &mut entry);
    field("FLOODWALL_ALERT", subject.word(), &mut entry);
    for (name, value) in &message.fields {
        field(name, value, &mut entry);
    }
    entry
}

/// A value with a line break goes with its length, so that it cannot begin another field.
fn field(name: &str, value: &str, entry: &mut Vec<u8>) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_begin_another_field() {
        let mut entry = Vec::new();
        field("A", "b", &mut entry);
        field("C", "d\nPRIORITY=0", &mut entry);
        assert_eq!(entry, b"A=b\nC\n\x0c\0\0\0\0\0\0\0d\nPRIORITY=0\n");
    }
}
