//! Alive, ready, or why not.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// Reasons why the process should get no new requests; ready while there are none.
#[derive(Default)]
pub struct Health {
    unready: Mutex<BTreeMap<&'static str, String>>,
}

impl Health {
    /// Withdraws readiness for a reason, called `name`.
    pub fn hold(&self, name: &'static str, reason: impl Into<String>) {
        self.unready.lock().insert(name, reason.into());
    }

    /// Takes the reason called `name` back.
    pub fn release(&self, name: &'static str) {
        self.unready.lock().remove(name);
    }

    /// The reasons against readiness.
    pub fn reasons(&self) -> BTreeMap<&'static str, String> {
        self.unready.lock().clone()
    }
}
