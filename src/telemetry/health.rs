//! Alive, ready, or why not; and what is amiss without keeping anybody from being served.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// Reasons why the process should get no new requests; ready while there are none. Notes are no reasons: they are
/// for whoever looks.
#[derive(Default)]
pub struct Health {
    unready: Mutex<BTreeMap<&'static str, String>>,
    notes: Mutex<BTreeMap<&'static str, String>>,
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

    /// Tells something about `name` without withdrawing readiness, or takes it back.
    pub fn note(&self, name: &'static str, text: Option<String>) {
        let mut notes = self.notes.lock();
        match text {
            Some(text) => notes.insert(name, text),
            None => notes.remove(name),
        };
    }

    pub fn notes(&self) -> BTreeMap<&'static str, String> {
        self.notes.lock().clone()
    }

    /// The reasons against readiness.
    pub fn reasons(&self) -> BTreeMap<&'static str, String> {
        self.unready.lock().clone()
    }
}
