//! Asks a site that the operator owns whether it is exposed: `floodwall probe`.
//!
//! A probe is a conversation of at most [`MOST_REQUESTS`] requests, one after another, all to the
//! address that was confirmed. [`plan`] decides the next question from all answers before it,
//! [`conclude`] says what they prove, [`configuration`] writes the TOML that fits, [`report`] tells
//! it all; these are pure. [`ask`] alone does I/O.
//!
//! Promises: never more requests than stated, whatever the site does; no redirection leads to
//! another site; nothing is posted but to a logout that takes nothing else; no session key is told
//! whole; what a site sends does not reach a terminal as it is. Knows the proxy not at all.

pub mod ask;
pub mod conclude;
#[cfg(test)]
mod conclude_tests;
pub mod configuration;
#[cfg(test)]
mod model;
pub mod plan;
pub mod report;
pub mod seen;

/// Requests that a probe sends at most; each of them may leave a session record behind.
pub const MOST_REQUESTS: usize = 16;
