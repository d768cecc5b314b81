//! When keys were used. Requests note it in memory; now and then what changed is written, in one transaction.

use std::time::Duration;

use crate::control::now;
use crate::domain::Timestamp;

use super::{Office, OfficeError};

/// A use may be noted this long after the moment it names.
const LATE: Duration = Duration::from_secs(60);

/// Up to when uses have been written; the beginning of time at first.
#[derive(Debug)]
pub(super) struct Written(Timestamp);

impl Default for Written {
    fn default() -> Self {
        Self(Timestamp::from_micros(i64::MIN))
    }
}

impl Office {
    /// Writes the uses since the last time. What fails is written the next time.
    pub(crate) async fn write_uses(&self) -> Result<(), OfficeError> {
        let mut written = self.desk.uses.lock().await;
        let begun = now();
        // The store leaves alone what it knows already.
        let uses = self.desk.publisher.uses(written.0);
        if !uses.is_empty() {
            self.desk.store.note_uses(uses).await?;
        }
        written.0 = begun.saturating_sub(LATE);
        Ok(())
    }
}
