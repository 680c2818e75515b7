//! Tests from outside: bytes in, bytes out, and genuine Django behind.

#![allow(clippy::disallowed_methods, reason = "deadlines of tests are of the real clock")]

mod access_log;
mod attacks;
mod challenges;
mod django_attacks;
mod django_challenges;
mod django_chromium;
mod django_concurrency;
mod django_floods;
mod django_keys;
mod django_parsers;
mod django_races;
mod django_restarts;
mod django_rig;
mod django_spares;
mod django_trouble;
mod django_warmth;
mod explaining;
mod forged;
mod framing;
mod leaps;
mod limits;
mod limits_descriptors;
mod patch;
mod proxying;
mod raw;
mod reload;
mod stages;
mod stopping;
mod streaming;
mod support;
mod tls;
mod tls_files;
mod tls_limits;
mod tls_redirect;
mod tls_upstream;
mod trouble;
mod unix_sockets;
