//! Access keys and gateway keys. Commands call them keys.

use serde::{Deserialize, Serialize};

use crate::control::office::NewKeyKind;
use crate::control::store::Key;
use crate::domain::{KeyKind, Timestamp};

pub mod create;
pub mod list;
pub mod show;
pub mod revoke;

/// A key as lists show it; its text is not among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub id: String,
    pub name: String,
    /// The first characters of the key's text.
    pub shown: String,
    pub team: Option<String>,
    #[serde(rename = "type")]
    pub kind: TokenKind,
    pub state: TokenState,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    pub revoke_reason: Option<String>,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// Authorises traffic through a gateway.
    #[default]
    Access,
    /// Authorises a gateway process towards a control plane.
    Gateway,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenState {
    Active,
    Expired,
    Revoked,
}

impl Token {
    pub(super) fn of(key: Key, now: Timestamp) -> Self {
        let state = match &key.revocation {
            Some(_) => TokenState::Revoked,
            None if key.is_live(now) => TokenState::Active,
            None => TokenState::Expired,
        };
        let (revoked_at, revoke_reason) = key.revocation.map(|revoked| (revoked.time, revoked.reason)).unzip();
        Self {
            id: key.id,
            name: key.name,
            shown: key.shown,
            team: key.team.map(|team| team.name),
            kind: TokenKind::of(key.kind),
            state,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at,
            revoke_reason: revoke_reason.flatten(),
        }
    }
}

impl TokenKind {
    pub const ALL: [Self; 2] = [Self::Access, Self::Gateway];

    pub fn label(self) -> &'static str {
        KeyKind::from(self).label()
    }

    fn of(kind: KeyKind) -> Self {
        // Admin tokens are kept elsewhere and never come here.
        if kind == KeyKind::Gateway { Self::Gateway } else { Self::Access }
    }
}

impl TokenState {
    pub fn label(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl From<TokenKind> for KeyKind {
    fn from(kind: TokenKind) -> Self {
        match kind {
            TokenKind::Access => Self::Access,
            TokenKind::Gateway => Self::Gateway,
        }
    }
}

impl From<TokenKind> for NewKeyKind {
    fn from(kind: TokenKind) -> Self {
        match kind {
            TokenKind::Access => Self::Access,
            TokenKind::Gateway => Self::Gateway,
        }
    }
}
