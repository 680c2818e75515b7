//! The decision core: who has a session, what a request may cost, what an answer proves.
//!
//! Pure and synchronous. It owns the ledger, the budgets and the spares; it refuses to know about
//! sockets, files, logs and clocks: bytes come in parsed or as slices, time is an argument, and
//! what happened goes out as values.

pub mod client;
pub mod fact;
pub mod moment;
pub mod policy;
pub mod route;
