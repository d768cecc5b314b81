//! So many at the same time.

use super::sync::{AtomicU64, Ordering};

/// How many are taken.
#[derive(Debug, Default)]
pub struct Slots(AtomicU64);

impl Slots {
    /// Takes one of `max`, if one is free.
    pub fn take(&self, max: u64) -> bool {
        let mut taken = self.0.load(Ordering::Relaxed);
        loop {
            if taken >= max {
                return false;
            }
            match self.0.compare_exchange_weak(taken, taken + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(other) => taken = other,
            }
        }
    }

    /// Gives one back that was taken.
    pub fn give_back(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn taken(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
