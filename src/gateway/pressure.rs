//! Whether there is room for one more request: the gateway refuses new work before the kernel ends it, and keeps
//! what it has admitted.
//!
//! What it does not do: measure the process. Whoever runs the gateway tells how large it is, some times a second;
//! bodies that arrive in between are counted here, byte by byte.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::catalog::Overload;

use super::refusal::Refusal;

/// How much memory the process takes.
#[derive(Debug)]
pub struct Pressure {
    /// What was resident when it was last measured, without the bodies that were being read then.
    resident: AtomicUsize,
    /// Bytes of bodies that are being read.
    held: AtomicUsize,
    /// Whether anything was refused for want of memory since it was last measured.
    short: AtomicBool,
    /// The ceiling where none is configured.
    bytes_max: usize,
    /// The one of the last request.
    ceiling: AtomicUsize,
}

/// Bytes of a body that is being read, given back when dropped.
pub struct Held<'a> {
    pressure: &'a Pressure,
    bytes: usize,
    bytes_max: usize,
}

impl Pressure {
    pub fn new(bytes_max: usize) -> Self {
        let (resident, held, short) = Default::default();
        Self { resident, held, short, bytes_max, ceiling: AtomicUsize::new(bytes_max) }
    }

    /// Takes note of how many bytes of the process are resident. Whether they are too many for a request to come, or were
    /// for one since the last time, so that what is free should be given back.
    pub fn measured(&self, resident: usize) -> bool {
        self.resident.store(resident.saturating_sub(self.held.load(Ordering::Relaxed)), Ordering::Relaxed);
        let was_short = self.short.swap(false, Ordering::Relaxed);
        was_short || resident > self.ceiling.load(Ordering::Relaxed)
    }

    /// Lets a request begin whose body is to be read, if there is room.
    pub fn enter(&self, under_way: usize, overload: &Overload) -> Result<Held<'_>, Refusal> {
        if under_way > overload.requests_max {
            return Err(Refusal::Overloaded("has as many requests under way as it takes"));
        }
        let bytes_max = overload.memory_bytes_max.unwrap_or(self.bytes_max);
        if self.ceiling.load(Ordering::Relaxed) != bytes_max {
            self.ceiling.store(bytes_max, Ordering::Relaxed);
        }
        let mut held = Held { pressure: self, bytes: 0, bytes_max };
        held.grow(0)?;
        Ok(held)
    }
}

impl Held<'_> {
    /// Counts what has arrived; refuses what goes beyond the ceiling.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let held = self.pressure.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes += bytes;
        if self.pressure.resident.load(Ordering::Relaxed) + held > self.bytes_max {
            self.pressure.short.store(true, Ordering::Relaxed);
            return Err(Refusal::Overloaded("holds as much in memory as it may"));
        }
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.pressure.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_count_between_two_measurements_and_not_twice() {
        let pressure = Pressure::new(1000);
        let overload = Overload { requests_max: 2, memory_bytes_max: None };
        pressure.measured(600);
        let mut first = pressure.enter(1, &overload).unwrap_or_else(|_| panic!());
        assert!(first.grow(300).is_ok());
        assert!(pressure.enter(2, &overload).is_ok_and(|mut second| second.grow(101).is_err()));
        pressure.measured(900);
        assert!(first.grow(100).is_ok() && first.grow(1).is_err());
        assert!(pressure.enter(1, &overload).is_err(), "new work is refused");
        assert!(pressure.measured(900), "what is free is to be given back, since somebody was refused");
        assert!(!pressure.measured(1000) && pressure.measured(1001), "and as long as it is too much");
        pressure.measured(900);
        drop(first);
        assert!(pressure.enter(2, &overload).is_ok(), "it recovers");
        assert!(pressure.enter(3, &overload).is_err(), "too many requests");
        assert!(pressure.enter(1, &Overload { memory_bytes_max: Some(10), ..overload }).is_err());
    }
}
