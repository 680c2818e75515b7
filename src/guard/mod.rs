//! The decision core: who has a session, what a request may cost, what an answer proves.
//!
//! Pure and synchronous. It owns the ledger, the budgets and the spares; it refuses to know about
//! sockets, files, logs and clocks: bytes come in parsed or as slices, time is an argument, and
//! what happened goes out as values.

pub mod budget;
pub mod client;
pub mod cookie;
pub mod fact;
pub mod gcra;
pub mod key;
pub mod ledger;
pub mod moment;
pub mod path;
pub mod policy;
pub mod route;
pub mod set_cookie;
pub mod sharded;
pub mod warmth;
