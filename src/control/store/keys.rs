//! Access keys and gateway keys, as they are kept.

use std::net::IpAddr;

use crate::catalog::LastUse;
use crate::domain::{KeyDigest, KeyKind, KeyStanding, Limits, Permissions, Timestamp};

use super::TeamRef;

/// An access key or a gateway key. Its clear text is nowhere.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) kind: KeyKind,
    pub(crate) name: String,
    pub(crate) team: Option<TeamRef>,
    pub(crate) permissions: Permissions,
    pub(crate) limits: Limits,
    /// Its texts, the newest last; at least one.
    pub(crate) secrets: Vec<KeySecret>,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) revocation: Option<Revocation>,
}

impl Key {
    /// Whether the key would be accepted at `now`.
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.revocation.is_none() && self.expires_at.is_none_or(|expires_at| now < expires_at)
    }

    /// Agrees with what [`KeyStore::keys`](super::KeyStore::keys) finds by it.
    pub(crate) fn standing(&self, now: Timestamp) -> KeyStanding {
        let until = now.saturating_add(KeyStanding::EXPIRING_WITHIN);
        let overlaps = |secret: &KeySecret| secret.valid_until.is_some_and(|end| now < end);
        if self.revocation.is_some() {
            KeyStanding::Revoked
        } else if !self.is_live(now) {
            KeyStanding::Expired
        } else if self.expires_at.is_some_and(|expires_at| expires_at <= until) {
            KeyStanding::Expiring
        } else if self.secrets.iter().any(overlaps) {
            KeyStanding::Rotated
        } else {
            KeyStanding::Active
        }
    }

    /// The text that the last rotation made.
    pub(crate) fn newest(&self) -> Option<&KeySecret> {
        self.secrets.last()
    }
}

/// One text of a key.
#[derive(Clone, Debug)]
pub(crate) struct KeySecret {
    /// `ks_…`: no secret.
    pub(crate) id: String,
    pub(crate) digest: KeyDigest,
    /// The part of the clear text that lists may show.
    pub(crate) shown: String,
    pub(crate) created_at: Timestamp,
    /// When it stops being accepted, if it was rotated away.
    pub(crate) valid_until: Option<Timestamp>,
    pub(crate) last_use: Option<SecretUse>,
}

/// When, with what and from where a text was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretUse {
    pub(crate) at: Timestamp,
    pub(crate) client: String,
    pub(crate) address: Option<IpAddr>,
}

/// A use that this process noted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotedUse {
    pub(crate) digest: KeyDigest,
    pub(crate) last_use: LastUse,
}

/// A new text for a key.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    /// The key's id.
    pub(crate) key: String,
    /// The id of what must be its newest text until now.
    pub(crate) expected: String,
    pub(crate) secret: KeySecret,
    /// Which texts end when.
    pub(crate) ends: Vec<(String, Timestamp)>,
    /// Ended texts of which nothing is kept any more.
    pub(crate) forgotten: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Revocation {
    pub(crate) time: Timestamp,
    pub(crate) reason: Option<String>,
}

/// Which keys are asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyQuery {
    pub(crate) kind: Option<KeyKind>,
    pub(crate) revoked: Option<bool>,
    /// The id of a team.
    pub(crate) team: Option<String>,
    /// Where in its life a key is at this time.
    pub(crate) standing: Option<(KeyStanding, Timestamp)>,
    /// Keys that were made before this time and not used since.
    pub(crate) unused_since: Option<Timestamp>,
    pub(crate) cursor: Option<i64>,
    pub(crate) limit: usize,
}

/// Whether a text is the id of a key rather than a name.
pub(crate) fn is_key_id(text: &str) -> bool {
    ["ak_", "gk_"].iter().any(|prefix| text.starts_with(prefix))
}
