//! What happened, told to the operator.

pub mod flood;
pub mod logs;
pub mod sketch;
pub mod tally;
#[cfg(test)]
mod tests;
