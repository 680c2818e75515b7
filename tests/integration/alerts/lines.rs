//! syslog and journald: what real ones make of what they are sent.
