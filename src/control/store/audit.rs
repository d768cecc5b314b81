//! Who changed what.

use serde_json::Value;

use crate::domain::Timestamp;

/// The record of a change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Audit {
    pub(crate) actor: Actor,
    /// `key.create`, `key.revoke`, …
    pub(crate) action: &'static str,
    /// The id of what was changed.
    pub(crate) target: String,
    pub(crate) time: Timestamp,
    /// What it was changed to; never a secret.
    pub(crate) detail: Value,
}

/// Who changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Actor {
    /// Whoever may open the admin socket.
    Socket,
    /// The holder of the admin token with this id.
    AdminToken(String),
    /// The process itself, when it starts.
    Start,
    /// Whoever may signal the process.
    Signal,
}

impl Actor {
    /// How the actor stands in audit records.
    pub(crate) fn label(&self) -> &str {
        match self {
            Self::Socket => "socket",
            Self::AdminToken(id) => id,
            Self::Start => "start",
            Self::Signal => "signal",
        }
    }
}
