//! Why a change was not made, and what to do about it.

use std::fmt;

use crate::control::store::{PAGE_MAX, StoreError};
use crate::domain::{LimitsError, NameError, Permissions};

use super::{OVERLAP_TIME_MAX, REASON_CHARS_MAX};

/// Why a change was not made.
#[derive(Debug)]
pub(crate) enum OfficeError {
    Name(NameError),
    NamePrefix(&'static str),
    NameTaken(String),
    TeamUnknown,
    /// Where the team is what is to be changed.
    TeamMissing,
    TeamInUse(u64),
    ExpiryPast,
    ExpiryFar,
    Overlap,
    Permissions(&'static str),
    Limits(LimitsError),
    Reason,
    KeyUnknown,
    KeyRevoked,
    KeyExpired,
    RotationConflict,
    TooMany,
    AdminTokenUnknown,
    AdminTokenLast,
    AdminTokensMax,
    /// Every fault of a configuration that was read again.
    Configuration(Vec<String>),
    Random(getrandom::Error),
    Store(StoreError),
    /// The keys are refused from now on, but another process would not know.
    RevocationNotKept(StoreError),
    /// The process is stopping.
    Stopping,
}

/// A change that wanted the name `name`.
pub(super) fn taken(error: StoreError, name: &str) -> OfficeError {
    match error {
        StoreError::NameTaken => OfficeError::NameTaken(name.into()),
        error => OfficeError::Store(error),
    }
}

/// A sentence that says what to do. It repeats nothing that might be a key pasted in the wrong place.
impl fmt::Display for OfficeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(error) => error.fmt(f),
            Self::NamePrefix(prefix) => write!(f, "a name cannot begin with {prefix}, because ids or keys do"),
            Self::NameTaken(name) => {
                write!(f, "the name {name} is taken: choose another one, or revoke its holder first")
            }
            Self::TeamUnknown | Self::TeamMissing => {
                f.write_str("there is no team with this id or name: create one with `kt teams create`")
            }
            Self::TeamInUse(1) => f.write_str("the team still has a key that is not revoked: revoke or move it first"),
            Self::TeamInUse(keys) => {
                write!(f, "the team still has {keys} keys that are not revoked: revoke or move them first")
            }
            Self::ExpiryPast => f.write_str("the key would already have expired: choose a later time, or revoke it"),
            Self::ExpiryFar => f.write_str("a key expires within a hundred years: choose an earlier time, or none"),
            Self::Overlap => {
                let days = OVERLAP_TIME_MAX.as_secs() / (24 * 60 * 60);
                write!(f, "an overlap lasts at most {days} days; 0 ends the old secret at once")
            }
            Self::Permissions(list) => {
                write!(f, "{list} has at most {} entries: use patterns such as gpt-*", Permissions::ENTRIES_MAX)
            }
            Self::Limits(error) => error.fmt(f),
            Self::Reason => write!(f, "a reason has 1 to {REASON_CHARS_MAX} characters and no control characters"),
            Self::KeyUnknown => {
                f.write_str("there is no key with this id or name: `kt keys list` shows those there are")
            }
            Self::KeyRevoked => f.write_str("the key is revoked for good: create a new one"),
            Self::KeyExpired => f.write_str("the key has expired: give it a later expiry first (`kt keys update`)"),
            Self::RotationConflict => f.write_str(
                "somebody else rotated the key at the same time, and that rotation holds: \
                 nothing was changed by this one",
            ),
            Self::TooMany => write!(f, "give 1 to {PAGE_MAX} keys at a time"),
            Self::AdminTokenUnknown => f.write_str("there is no admin token with this id or name"),
            Self::AdminTokenLast => f.write_str(
                "this is the last token with the role of an admin: create another one first (`kt admin-tokens create`)",
            ),
            Self::AdminTokensMax => write!(f, "there are {PAGE_MAX} admin tokens already: revoke some first"),
            Self::Configuration(faults) => {
                write!(f, "{}\nthe configuration in force stays as it was", faults.join("\n"))
            }
            Self::Random(error) => write!(f, "failed to get random bytes from the operating system: {error}"),
            Self::Store(error) => write!(f, "the store failed: {error}"),
            Self::RevocationNotKept(_) => f.write_str(
                "this gateway refuses what was to be revoked from now on, but could not keep that; its log says why. \
                 Revoke again until it succeeds, or a restart would accept it again",
            ),
            Self::Stopping => f.write_str("the gateway is stopping"),
        }
    }
}

impl std::error::Error for OfficeError {}

impl From<StoreError> for OfficeError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
