//! Locks of the guard's tables: short, never held across a wait, never poisoned.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A lock that a panic does not close: what it protects is whole between any two statements that
/// could panic, and a proxy that refuses everybody after one panic would be worse.
#[derive(Debug, Default)]
pub struct Locked<T>(Mutex<T>);

impl<T> Locked<T> {
    pub const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
