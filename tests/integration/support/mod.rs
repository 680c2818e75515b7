//! What the tests share: genuine Django sites, the program itself, and the load generator of the
//! demo.

pub mod address;
pub mod attack;
pub mod backend;
pub mod chromium;
pub mod daemon;
pub mod disk;
pub mod django;
pub mod floodwall;
pub mod folder;
pub mod frames;
pub mod front;
pub mod inside;
#[allow(dead_code, reason = "the program has uses for it that the tests have not")]
#[path = "../../../demo/load/mod.rs"]
pub mod load;
pub mod page;
pub mod prometheus;
#[path = "../../../src/guard/sim/random.rs"]
pub mod random;
pub mod receiver;
pub mod recorder;
pub mod relay;
pub mod sending;
pub mod shop;
pub mod single;
pub mod strict;
pub mod tls;
pub mod warm;
pub mod websockets;
