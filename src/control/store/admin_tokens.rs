//! Credentials for the admin API, as they are kept.

use serde::{Deserialize, Serialize};

use crate::domain::{KeyDigest, Timestamp};

/// A credential for the admin API.
#[derive(Clone, Debug)]
pub(crate) struct AdminToken {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) digest: KeyDigest,
    pub(crate) shown: String,
    pub(crate) created_at: Timestamp,
    pub(crate) role: AdminRole,
}

/// What the holder of an admin token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminRole {
    /// Everything.
    Admin,
    /// Read.
    Viewer,
}

impl AdminRole {
    pub const ALL: [Self; 2] = [Self::Admin, Self::Viewer];

    pub fn label(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Viewer => "viewer",
        }
    }
}

/// What became of a wish to remove an admin token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdminTokenRemoval {
    Removed,
    Unknown,
    /// Without it nobody could change anything over TCP any more.
    Last,
}
