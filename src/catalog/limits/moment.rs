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
        let nanos = u64::try_from(BEGIN.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Self { nanos, wall: SystemTime::now().into() }
    }
}
