//! The generator against its own upstream, and both against a genuine nginx.

#![allow(clippy::disallowed_methods, reason = "what takes time is measured by the real clock")]

mod driving;
mod holding;
mod serving;
mod site;
mod trouble;
mod wires;
