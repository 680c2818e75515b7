//! The generator against its own upstream, and both against a genuine nginx.

#![allow(clippy::disallowed_methods, reason = "what takes time is measured by the real clock")]

#[path = "../../../../../tests/integration/support/address.rs"]
mod address;
mod driving;
mod holding;
mod serving;
mod site;
mod trouble;
mod wires;
