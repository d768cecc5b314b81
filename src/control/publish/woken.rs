//! Running requests that a change ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::catalog::KeyState;
use crate::control::handover::Change;
use crate::domain::Timestamp;

/// How often it is looked whether woken requests have ended.
const LAST_WORD_POLL: Duration = Duration::from_millis(1);

/// The keys whose running requests were woken by a change, to wait for their end.
pub(in crate::control) struct Woken {
    pub(super) now: Timestamp,
    states: Vec<Arc<KeyState>>,
    /// The same for a process that serves what it had begun before this one.
    changes: Vec<Change>,
}

impl Woken {
    pub(in crate::control) fn new(now: Timestamp) -> Self {
        Self { now, states: Vec::new(), changes: Vec::new() }
    }

    pub(super) fn note(&mut self, change: Change) {
        self.changes.push(change);
    }

    pub(in crate::control) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    pub(in crate::control) fn wake(&mut self, state: &Arc<KeyState>) {
        if state.interrupt_lapsed(self.now) > 0 {
            self.states.push(state.clone());
        }
    }

    /// Waits until every woken request has said its last word, so that nothing of a provider's answer is sent after
    /// the change is acknowledged; but no longer than `patience`, because a client may not take the last word. How
    /// many have not ended.
    pub(in crate::control) async fn ended(self, patience: Duration) -> usize {
        let begun = Instant::now();
        loop {
            let left = self.states.iter().map(|state| state.lapsed_running(self.now)).sum();
            if left == 0 || begun.elapsed() >= patience {
                return left;
            }
            tokio::time::sleep(LAST_WORD_POLL).await;
        }
    }
}
