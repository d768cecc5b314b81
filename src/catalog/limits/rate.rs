//! So many a minute: the generic cell rate algorithm, in one atomic.
//!
//! The cell holds the moment at which everything taken so far will have drained. What is taken moves it ahead by
//! its share of a minute; more than the capacity ahead of now it may not be. It equals a bucket that holds the
//! capacity and drains steadily: in any span of `t` minutes at most `burst + limit × t` pass, and at one moment
//! exactly `burst`.

use super::sync::{AtomicU64, Ordering};

const MINUTE: u64 = 60_000_000_000;
/// A hundred years: sums of a few of them do not wrap.
const LONG: u64 = 100 * 365 * 24 * 60 * MINUTE;

/// How fast, and how much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    per_minute: u64,
    /// What the bucket holds, in nanoseconds.
    capacity: u64,
}

/// How full the bucket is: when it will be empty, in nanoseconds since the process began.
#[derive(Debug, Default)]
pub struct Rate(AtomicU64);

/// What was asked for does not fit now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooFast {
    /// It will in this many nanoseconds, if nobody else comes.
    Wait(u64),
    /// It never will: it is more than the bucket holds.
    Never,
}

impl Pace {
    /// For what is taken one by one: of `burst`, exactly so many fit at once.
    pub fn one_by_one(per_minute: u64, burst: u64) -> Self {
        let pace = Self { per_minute, capacity: MINUTE };
        Self { capacity: pace.share(1).saturating_mul(burst).min(LONG), ..pace }
    }

    /// For what is taken in bulk: a minute's worth fits at once.
    pub fn in_bulk(per_minute: u64) -> Self {
        Self { per_minute, capacity: MINUTE }
    }

    /// The share of a minute that `count` takes, in nanoseconds. Rounded up, so that no limit is exceeded by
    /// rounding.
    pub fn share(self, count: u64) -> u64 {
        let share = match count.checked_mul(MINUTE) {
            Some(product) => product.div_ceil(self.per_minute),
            None => {
                let share = (u128::from(count) * u128::from(MINUTE)).div_ceil(self.per_minute.into());
                u64::try_from(share).unwrap_or(LONG)
            }
        };
        share.min(LONG)
    }

    /// How many still fit into a bucket that is filled up to `level` nanoseconds.
    pub fn left(self, level: u64) -> u64 {
        let free = self.capacity.saturating_sub(level);
        let count = u128::from(free) * u128::from(self.per_minute) / u128::from(MINUTE);
        // Shares are rounded up, so what seems to be a little less than one may be one.
        match u64::try_from(count).unwrap_or(u64::MAX) {
            count if self.share(count + 1) <= free => count + 1,
            count => count,
        }
    }

    /// How many fit into an empty bucket.
    pub fn room(self) -> u64 {
        self.left(0)
    }
}

impl Rate {
    /// Takes `count` if they fit.
    pub fn take(&self, pace: Pace, count: u64, now: u64) -> Result<(), TooFast> {
        let mut until = self.0.load(Ordering::Relaxed);
        loop {
            let next = Self::after(pace, count, until, now)?;
            match self.0.compare_exchange_weak(until, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => until = other,
            }
        }
    }

    /// Whether `count` would fit.
    pub fn fits(&self, pace: Pace, count: u64, now: u64) -> Result<(), TooFast> {
        Self::after(pace, count, self.0.load(Ordering::Relaxed), now).map(|_| ())
    }

    fn after(pace: Pace, count: u64, until: u64, now: u64) -> Result<u64, TooFast> {
        let (share, capacity) = (pace.share(count), pace.capacity);
        let next = until.max(now).saturating_add(share);
        match next - now {
            ahead if ahead <= capacity => Ok(next),
            _ if share > capacity => Err(TooFast::Never),
            ahead => Err(TooFast::Wait(ahead - capacity)),
        }
    }

    /// Makes `taken` at `then` be `used`: what was used beyond it is taken now, whether it fits or not.
    ///
    /// Of what was not used, only that part is given back which has not drained since: the rest is gone from the
    /// bucket already, and giving it back would let others use it twice.
    pub fn correct(&self, pace: Pace, taken: u64, then: u64, used: u64, now: u64) {
        let drained = now.saturating_sub(then);
        let left_of = |count| pace.share(count).saturating_sub(drained);
        match used > taken {
            true => self.raise(pace.share(used) - pace.share(taken), now),
            false => self.lower(left_of(taken) - left_of(used)),
        }
    }

    /// How full the bucket is now, in nanoseconds.
    pub fn level(&self, now: u64) -> u64 {
        self.0.load(Ordering::Relaxed).saturating_sub(now)
    }

    fn raise(&self, share: u64, now: u64) {
        self.update(|until| until.max(now).saturating_add(share));
    }

    fn lower(&self, share: u64) {
        if share > 0 {
            self.update(|until| until.saturating_sub(share));
        }
    }

    fn update(&self, change: impl Fn(u64) -> u64) {
        let mut until = self.0.load(Ordering::Relaxed);
        while let Err(other) = self.0.compare_exchange_weak(until, change(until), Ordering::Relaxed, Ordering::Relaxed)
        {
            until = other;
        }
    }
}
