//! What happened, told to the operator.

pub mod logs;
#[cfg(test)]
mod tests;
