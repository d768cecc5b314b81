//! How often authentication has failed from each address: whoever guesses is slowed down, and named in the log, which stays
//! quiet all the same.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use log::warn;
use pingora_limits::rate::Rate;

/// A count-min sketch over-counts where addresses collide, and never under-counts. This size (1 MiB) keeps that
/// below one address in twenty while ten thousand of them fail in one minute; those that collide are told to wait
/// a little early. It decides about strangers only: no key is ever judged by it.
const HASHES: usize = 4;
const SLOTS: usize = 16_384;
const INTERVAL: Duration = Duration::from_secs(60);

/// Seconds after which a heated address has cooled down.
pub const COOLS_IN_SECONDS: u32 = INTERVAL.as_secs() as u32;

/// How long the log is quiet after it has named an address. Who has many of them would flood it otherwise.
const QUIET_SECONDS: u64 = 1;

/// The heat of addresses.
pub struct Heat {
    failures: Rate,
    begun: Instant,
    /// When an address was named last, in seconds since the beginning, and one; 0 for never.
    named_at: AtomicU64,
    /// How many were not, since.
    unnamed: AtomicU64,
}

impl Default for Heat {
    fn default() -> Self {
        let failures = Rate::new_with_estimator_config(INTERVAL, HASHES, SLOTS);
        Self { failures, begun: Instant::now(), named_at: AtomicU64::new(0), unnamed: AtomicU64::new(0) }
    }
}

impl Heat {
    /// Counts a failed authentication, and tells whether there have been more than `failures_per_minute` from this
    /// address. The first beyond them is for the log.
    pub fn failed(&self, address: Option<IpAddr>, failures_per_minute: u32) -> bool {
        let most = isize::try_from(failures_per_minute).unwrap_or(isize::MAX);
        let failures = self.failures.observe(&address, 1);
        if failures == most.saturating_add(1)
            && let Some(address) = address
            && let Some(unnamed) = self.may_name(self.begun.elapsed().as_secs())
        {
            let others = if unnamed > 0 { format!(" (and {unnamed} others before it)") } else { String::new() };
            warn!(
                "authentication failed more than {most} times in a minute from {address}{others}: what fails from there \
                 is answered with 429 too_many_failures until the minute is over"
            );
        }
        failures > most
    }

    /// Whether an address may be named now; if so, how many were not named since the last one.
    fn may_name(&self, seconds: u64) -> Option<u64> {
        let named_at = self.named_at.load(Ordering::Relaxed);
        let is_quiet = named_at > 0 && seconds + 1 < named_at + QUIET_SECONDS;
        if is_quiet
            || self.named_at.compare_exchange(named_at, seconds + 1, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            self.unnamed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.unnamed.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_heated_by_its_own_failures() {
        let heat = Heat::default();
        let address = |last| Some(IpAddr::from([192, 0, 2, last]));
        let failed: Vec<bool> = (0..5).map(|_| heat.failed(address(1), 3)).collect();
        assert_eq!(failed, [false, false, false, true, true]);
        assert!(!heat.failed(address(2), 3));
    }

    #[test]
    fn the_log_names_one_address_a_second_and_counts_the_others() {
        let heat = Heat::default();
        let named: Vec<_> = [0, 0, 0, 1, 1, 9].into_iter().map(|seconds| heat.may_name(seconds)).collect();
        assert_eq!(named, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
