//! So much in a calendar window: what was spent, and what running requests may still spend.
//!
//! `level` is everything that was ever spent and everything that is reserved, `spent` the first alone. Neither is
//! ever set back: a window knows what had been spent when it began, and what is used of it is the difference. So a
//! window can end at any moment without a lock, and no cost is lost or counted twice: it belongs to the window in
//! which it is settled, and what is reserved meanwhile counts in every window there is.
//!
//! The clock on the wall may jump. A window that was left is remembered with what was spent in it, for when the
//! clock comes back to it. Going back to one that is not remembered, what was spent in the present one goes along,
//! so that no clock makes a budget new again.

use std::sync::Arc;
use std::sync::atomic::AtomicU8;

use arc_swap::{ArcSwap, Guard};

use crate::domain::{Budget, Timestamp, Window};

use super::sync::{AtomicU64, Ordering};

/// How many windows are remembered besides the present one.
const REMEMBERED: usize = 4;

/// Shares of a budget, in percent, that are told when they have been spent.
pub const THRESHOLDS: [u8; 3] = [50, 80, 100];

#[derive(Debug)]
pub struct Purse {
    level: AtomicU64,
    spent: AtomicU64,
    open: ArcSwap<Open>,
}

/// The present window.
#[derive(Debug)]
struct Open {
    window: Window,
    /// What had been spent when it began, without what was spent in it.
    base: u64,
    /// One bit for each threshold that was told.
    told: AtomicU8,
    /// Windows that were left, and what was spent in each, the newest last.
    left: Vec<(Window, u64, u8)>,
}

/// Why an amount cannot be reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    /// What was spent leaves no room.
    Spent,
    /// What was spent does, but running requests may still need it.
    Reserved,
}

/// How a purse stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    pub spent: u64,
    pub reserved: u64,
    pub window: Window,
}

impl Purse {
    pub fn new(budget: &Budget, now: Timestamp) -> Self {
        let window = budget.per.window(&budget.time_zone, now);
        let open = Open { window, base: 0, told: AtomicU8::new(0), left: Vec::new() };
        Self { level: AtomicU64::new(0), spent: AtomicU64::new(0), open: ArcSwap::from_pointee(open) }
    }

    /// Reserves `amount`; of a hard budget, only if it fits.
    pub fn reserve(&self, budget: &Budget, amount: u64, now: Timestamp) -> Result<(), Short> {
        if !budget.hard {
            self.level.fetch_add(amount, Ordering::Relaxed);
            return Ok(());
        }
        let (base, limit) = (self.open(budget, now).base, budget.allowance.units());
        let mut level = self.level.load(Ordering::Relaxed);
        loop {
            let next = level.saturating_add(amount);
            if next.saturating_sub(base) > limit {
                return Err(self.why(base, amount, limit));
            }
            match self.level.compare_exchange_weak(level, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => level = other,
            }
        }
    }

    /// Reserves `amount` whether it fits or not, for a request that has it already.
    pub fn lodge(&self, amount: u64) {
        self.level.fetch_add(amount, Ordering::Relaxed);
    }

    /// Whether `amount` could be reserved.
    pub fn fits(&self, budget: &Budget, amount: u64, now: Timestamp) -> Result<(), Short> {
        let (base, limit) = (self.open(budget, now).base, budget.allowance.units());
        match self.level.load(Ordering::Relaxed).saturating_add(amount).saturating_sub(base) > limit && budget.hard {
            true => Err(self.why(base, amount, limit)),
            false => Ok(()),
        }
    }

    fn why(&self, base: u64, amount: u64, limit: u64) -> Short {
        let spent = self.spent.load(Ordering::Relaxed).saturating_sub(base);
        if spent.saturating_add(amount) > limit { Short::Spent } else { Short::Reserved }
    }

    /// Gives back what was reserved and not used at all.
    pub fn give_back(&self, reserved: u64) {
        self.level.fetch_sub(reserved, Ordering::Relaxed);
    }

    /// Makes what was `reserved` be what it `cost`. Which thresholds were passed by that, as bits.
    pub fn settle(&self, budget: &Budget, reserved: u64, cost: u64, now: Timestamp) -> u8 {
        let open = self.open(budget, now);
        if cost >= reserved {
            self.level.fetch_add(cost - reserved, Ordering::Relaxed);
        } else {
            self.level.fetch_sub(reserved - cost, Ordering::Relaxed);
        }
        // After the level: whoever reads this to begin a window finds the cost in the level as well.
        let spent = self.spent.fetch_add(cost, Ordering::AcqRel).saturating_add(cost);
        open.pass(spent.saturating_sub(open.base), budget)
    }

    /// Adds what was spent in the present window before this purse was there. Thresholds it passes were told then.
    pub fn restore(&self, budget: &Budget, amount: u64, now: Timestamp) {
        self.settle(budget, 0, amount, now);
    }

    pub fn contents(&self, budget: &Budget, now: Timestamp) -> Contents {
        let open = self.open(budget, now);
        let spent = self.spent.load(Ordering::Acquire);
        let level = self.level.load(Ordering::Relaxed);
        Contents { spent: spent.saturating_sub(open.base), reserved: level.saturating_sub(spent), window: open.window }
    }

    /// The window that `now` is in.
    fn open(&self, budget: &Budget, now: Timestamp) -> Guard<Arc<Open>> {
        let open = self.open.load();
        if open.window.contains(now) { open } else { self.turn(budget, now) }
    }

    /// Begins another window.
    #[cold]
    fn turn(&self, budget: &Budget, now: Timestamp) -> Guard<Arc<Open>> {
        loop {
            let open = self.open.load();
            if open.window.contains(now) {
                return open;
            }
            let next =
                Arc::new(open.next(budget.per.window(&budget.time_zone, now), self.spent.load(Ordering::Acquire)));
            if !next.window.contains(now) {
                // No calendar has such a time; the window there is will do.
                return open;
            }
            self.open.compare_and_swap(&open, next);
        }
    }
}

impl Open {
    fn next(&self, window: Window, spent: u64) -> Self {
        let here = spent.saturating_sub(self.base);
        let told = self.told.load(Ordering::Relaxed);
        let known = self.left.iter().find(|(left, ..)| *left == window);
        let (before, told_before) = match known {
            Some((_, before, told)) => (*before, *told),
            None if window.start < self.window.start => (here, told),
            None => (0, 0),
        };
        let mut left: Vec<_> = self.left.iter().filter(|(left, ..)| *left != window).copied().collect();
        left.push((self.window, here, told));
        left.drain(..left.len().saturating_sub(REMEMBERED));
        Self { window, base: spent.saturating_sub(before), told: AtomicU8::new(told_before), left }
    }

    /// Which thresholds `spent` passes for the first time.
    fn pass(&self, spent: u64, budget: &Budget) -> u8 {
        let limit = u128::from(budget.allowance.units());
        let passed = |percent: &u8| u128::from(spent) * 100 >= limit * u128::from(*percent);
        let reached = THRESHOLDS.iter().take_while(|percent| passed(percent)).count();
        let bits = (1_u8 << reached) - 1;
        if bits & !self.told.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        bits & !self.told.fetch_or(bits, Ordering::Relaxed)
    }
}
