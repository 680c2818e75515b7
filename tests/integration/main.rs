//! Tests from outside: bytes in, bytes out, and genuine Django behind.

#![allow(clippy::disallowed_methods, reason = "deadlines of tests are of the real clock")]

mod access_log;
mod attacks;
mod challenges;
mod django_attacks;
mod django_challenges;
mod django_concurrency;
mod django_floods;
mod django_http2;
mod django_keys;
mod django_parsers;
mod django_races;
mod django_restarts;
mod django_rig;
mod django_sites;
mod django_spares;
mod django_trouble;
mod django_upstreams;
mod django_warmth;
mod explaining;
mod forged;
mod framing;
mod http2;
mod http2_floods;
mod http2_programs;
mod leaps;
mod limits;
mod limits_descriptors;
mod odds;
mod patch;
mod proxy_protocol;
mod proxying;
mod raw;
mod reload;
mod sites;
mod stages;
mod stopping;
mod streaming;
mod support;
mod trouble;
mod unix_sockets;
mod upgrading;
mod upstreams;
