//! What the tests share: genuine Django sites, and the load generator of the demo.

#[allow(dead_code, reason = "not every command of the rig has a test yet")]
pub mod django;
#[allow(dead_code, reason = "the program has uses for it that the tests have not")]
#[path = "../../../demo/load/mod.rs"]
pub mod load;
