//! One reading of both clocks.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime};

use crate::domain::Timestamp;

/// Rates begin at this process's start.
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A moment, by the clock that only goes forward and by the one on the wall. Rates go by the first, so that
/// setting the clock changes nothing; budgets follow the calendar and go by the second.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Since the process began.
    pub nanos: u64,
    pub wall: Timestamp,
}

impl Moment {
    pub fn now() -> Self {
        Self::of(Instant::now(), SystemTime::now().into())
    }

    /// The moment at which both clocks were read already. Reading one takes longer than most of what it is read for.
    pub fn of(instant: Instant, wall: Timestamp) -> Self {
        Self { nanos: nanos_of(instant), wall }
    }
}

/// The nanoseconds from this process's start to `instant`.
pub fn nanos_of(instant: Instant) -> u64 {
    u64::try_from(instant.saturating_duration_since(*BEGIN).as_nanos()).unwrap_or(u64::MAX)
}
