//! Teams, as they are kept.

use crate::domain::{Limits, Permissions, Timestamp};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Team {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
    pub(crate) permissions: Permissions,
    pub(crate) limits: Limits,
    pub(crate) suspended_at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TeamRef {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// What became of a wish to remove a team.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TeamRemoval {
    Removed,
    Unknown,
    InUse { keys: u64 },
}
