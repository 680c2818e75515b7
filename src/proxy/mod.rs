//! The shell: it moves bytes and obeys.
//!
//! It owns the sockets, the threads and the only clock. It promises that the application gets
//! each request once, in one plain form, and the client the response as it was or a broken
//! connection, never a response that was cut and looks whole. It refuses to know what a session
//! is worth: that is decided in [`guard`](crate::guard).

pub mod account;
mod attentive;
pub mod balance;
pub mod blame;
pub mod body;
pub mod challenge;
pub mod checks;
pub mod clock;
pub mod connect;
pub mod connection;
pub mod control;
pub mod core;
pub mod descriptors;
pub mod detached;
pub mod downstream;
pub mod dozing;
pub mod ending;
pub mod exchange;
pub mod explain;
pub mod failure;
pub mod fields;
pub mod forwarded;
pub mod handover;
pub mod headers;
pub mod health;
mod held;
pub mod http1;
pub mod http2;
pub mod in_force;
pub mod introduction;
pub mod keeper;
pub mod leg;
pub mod link;
pub mod listen;
pub mod live;
pub mod orders;
mod outbox;
mod outlet;
pub mod overdue;
pub mod pace;
pub mod panics;
pub mod passed;
pub mod places;
pub mod pool;
pub mod preface;
mod process;
pub mod proxy_header;
pub mod pulses;
mod pump;
mod raw_stream;
pub mod redirect;
mod refusing;
pub mod reloads;
pub mod replies;
pub mod resting;
pub mod run;
pub mod seat;
pub mod seats;
mod secured;
pub mod server;
pub mod settings;
pub mod shield;
pub mod site;
pub mod sites;
pub mod snapshot;
pub mod socket;
pub mod start;
pub mod state;
pub mod stream;
pub mod stream_body;
pub mod supervisor;
pub mod switching;
pub mod tls;
pub mod translate;
pub mod tunnel;
pub mod tunnels;
mod turn;
pub mod unix;
pub mod upgrade;
pub mod upload;
pub mod upstream;
pub mod waiters;
mod watched;
#[cfg(test)]
mod woken;

pub use start::run;
