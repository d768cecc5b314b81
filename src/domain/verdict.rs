//! What became of a request.

use serde::{Deserialize, Serialize};

/// How a request was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    Pass,
    /// Text was taken out by a policy.
    Redact,
    /// Refused by a policy.
    Block,
    /// Refused by authentication, a permission, a limit or a budget.
    Deny,
    /// The upstream or the gateway itself failed.
    Error,
}

/// What ended a request that had been admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    Complete,
    ClientClosed,
    UpstreamFailed,
    Revoked,
    Budget,
    Policy,
    /// The gateway stopped before the answer was through.
    Shutdown,
    /// The gateway's process ended without a word, and the next one found the request without an end.
    Crashed,
    /// It could not be made durable that the request was admitted, and so nobody was asked.
    AuditFailed,
}

impl Verdict {
    pub fn label(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Redact => "REDACT",
            Self::Block => "BLOCK",
            Self::Deny => "DENY",
            Self::Error => "ERROR",
        }
    }

    /// The verdict written as in [`Verdict::label`].
    pub fn parse(label: &str) -> Option<Self> {
        [Self::Pass, Self::Redact, Self::Block, Self::Deny, Self::Error].into_iter().find(|v| v.label() == label)
    }
}

impl Ended {
    pub fn label(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientClosed => "client_closed",
            Self::UpstreamFailed => "upstream_failed",
            Self::Revoked => "revoked",
            Self::Budget => "budget",
            Self::Policy => "policy",
            Self::Shutdown => "shutdown",
            Self::Crashed => "crashed",
            Self::AuditFailed => "audit_failed",
        }
    }
}
