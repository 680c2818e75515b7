//! What the tests start and stop: genuine applications, and the program itself.

#![allow(dead_code, reason = "not every helper is used while the tests grow")]

pub mod django;
pub mod floodwall;
