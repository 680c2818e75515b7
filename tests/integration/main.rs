//! Tests from outside: bytes in, bytes out, and genuine Django behind.

#![allow(clippy::disallowed_methods, reason = "deadlines of tests are of the real clock")]

mod attacks;
mod django_attacks;
mod django_floods;
mod django_parsers;
mod django_restarts;
mod django_rig;
mod django_trouble;
mod limits;
mod limits_descriptors;
mod patch;
mod proxying;
mod raw;
mod stopping;
mod streaming;
mod support;
mod trouble;
