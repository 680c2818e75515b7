//! Keys as Django makes them, without its randomness: what is measured is not to wait for it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::wire::{KEY_LENGTH, Key};

/// SplitMix64.
pub struct Random(u64);

impl Random {
    /// Other numbers in each process.
    pub fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self((now.as_nanos() as u64) ^ u64::from(std::process::id()) << 40)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn key(&mut self) -> Key {
        const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let mut key = [0; KEY_LENGTH];
        // 36 to the power of 11 is less than 2 to the power of 57.
        for part in key.chunks_mut(11) {
            let mut number = self.next();
            for byte in part {
                *byte = ALPHABET[(number % 36) as usize];
                number /= 36;
            }
        }
        key
    }
}
