//! How often authentication has failed from each address: whoever guesses is slowed down, and the log stays quiet.

use std::net::IpAddr;
use std::time::Duration;

use pingora_limits::rate::Rate;

/// A count-min sketch over-counts where addresses collide, and never under-counts. This size (1 MiB) keeps that
/// below one address in twenty while ten thousand of them fail in one minute; those that collide are told to wait
/// a little early. It decides about strangers only: no key is ever judged by it.
const HASHES: usize = 4;
const SLOTS: usize = 16_384;
const INTERVAL: Duration = Duration::from_secs(60);

/// Seconds after which a heated address has cooled down.
pub const COOLS_IN_SECONDS: u32 = INTERVAL.as_secs() as u32;

/// The heat of addresses.
pub struct Heat {
    failures: Rate,
}

impl Default for Heat {
    fn default() -> Self {
        Self { failures: Rate::new_with_estimator_config(INTERVAL, HASHES, SLOTS) }
    }
}

impl Heat {
    /// Counts a failed authentication, and tells whether there have been more than `failures_per_minute` from this
    /// address.
    pub fn failed(&self, address: Option<IpAddr>, failures_per_minute: u32) -> bool {
        self.failures.observe(&address, 1) > isize::try_from(failures_per_minute).unwrap_or(isize::MAX)
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
}
