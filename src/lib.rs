//! Floodwall keeps anonymous traffic from filling the session store of a web application that
//! cannot be patched.
//!
//! A request's life is told by one function, `proxy::exchange::exchange`: identify the client,
//! clean the cookies and read their standing, find the route, admit, forward, observe the write,
//! settle, relay. What it asks at each step is decided in [`guard`], which is pure: it does no
//! I/O, writes no log and takes the time as an argument.
//!
//! The arrows between the modules: `main → config, proxy, admin, report, telemetry → guard`, `proxy →
//! admin → telemetry`, and `proxy, report → history → telemetry`; beside the proxy, `main → probe,
//! replay → config, telemetry, guard`. Nothing leaves `guard`. `tests/arrows.rs` reads the `use` lines
//! and fails on a wrong arrow.

pub mod admin;
pub mod config;
pub mod guard;
pub mod history;
pub mod probe;
pub mod proxy;
pub mod replay;
pub mod report;
pub mod telemetry;
