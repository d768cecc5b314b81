//! Where a key is in its life.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where a key is in its life. Of several that apply, the first in the order of [`KeyStanding::ALL`] is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyStanding {
    /// For ever.
    Revoked,
    /// Until somebody gives it a later expiry.
    Expired,
    /// It works, and expires within [`KeyStanding::EXPIRING_WITHIN`].
    Expiring,
    /// It works, and so does a text from before its last rotation.
    Rotated,
    Active,
}

impl KeyStanding {
    pub const ALL: [Self; 5] = [Self::Revoked, Self::Expired, Self::Expiring, Self::Rotated, Self::Active];

    /// How long before its expiry a key is said to be expiring.
    pub const EXPIRING_WITHIN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

    pub fn label(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Expiring => "expiring",
            Self::Rotated => "rotated",
            Self::Active => "active",
        }
    }
}
