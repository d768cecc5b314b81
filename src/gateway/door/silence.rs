//! How long a provider may be silent, watched from its client's connection.
//!
//! Pingora 0.9.1 sets one deadline for every read of a provider's connection and cannot tell the wait for an answer
//! from the waits within it. But it watches the client's connection all the while; so that is where the time is kept.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Until when the provider has to say something. Set by the request, watched by its connection.
#[derive(Clone, Debug)]
pub struct Silence(Arc<Until>);

#[derive(Debug)]
struct Until {
    base: Instant,
    /// By the coarse clock.
    base_millis: u64,
    /// Milliseconds by the coarse clock; 0 while nobody waits.
    due: AtomicU64,
    /// What is gathered of the answer must not go out any more.
    withdrawn: AtomicBool,
    /// The connection is asked to gather some of the body before anybody reads it.
    gathers: AtomicBool,
}

/// The provider has said nothing for too long.
#[derive(Debug)]
pub struct SilentProvider;

impl Silence {
    pub fn new() -> Self {
        let (base, base_millis) = (Instant::now(), coarse_millis());
        let (due, withdrawn, gathers) = Default::default();
        Self(Arc::new(Until { base, base_millis, due, withdrawn, gathers }))
    }

    /// From now on the provider has this long.
    pub fn may_last(&self, limit: Duration) {
        let due = coarse_millis().saturating_add(limit.as_millis() as u64);
        self.0.due.store(due, Ordering::Relaxed);
    }

    /// Nobody waits for a provider any more.
    pub fn is_over(&self) {
        self.0.due.store(0, Ordering::Relaxed);
    }

    /// The answer has been cut: nothing of it goes out any more, and its connection is done with.
    pub fn withdraw(&self) {
        self.0.withdrawn.store(true, Ordering::Relaxed);
    }

    pub fn is_withdrawn(&self) -> bool {
        self.0.withdrawn.load(Ordering::Relaxed)
    }

    /// Whether the connection gathers of the body what comes, and hands on nothing. It says itself when that is over.
    pub fn gather(&self, begins: bool) {
        self.0.gathers.store(begins, Ordering::Relaxed);
    }

    pub fn gathers(&self) -> bool {
        self.0.gathers.load(Ordering::Relaxed)
    }

    /// Until when the provider has to say something, if anybody waits for it.
    pub fn due(&self) -> Option<Instant> {
        match self.0.due.load(Ordering::Relaxed) {
            0 => None,
            due => Some(self.0.base + Duration::from_millis(due.saturating_sub(self.0.base_millis))),
        }
    }
}

/// Milliseconds of the clock that only goes forward, as of the system's last tick, which is no more than ten of them ago
/// (clock_gettime(2), `CLOCK_MONOTONIC_COARSE`). It is asked for every piece of an answer; the exact one takes four times
/// as long.
fn coarse_millis() -> u64 {
    // Only an unknown clock is refused, and Linux has this one since 2.6.32.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(Duration::ZERO, Duration::from);
    now.as_millis() as u64
}

impl fmt::Display for SilentProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the provider said nothing for too long")
    }
}

impl std::error::Error for SilentProvider {}
