//! Access keys and gateway keys. Commands call them keys.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::catalog::{Catalog, LastUse};
use crate::control::admin::openapi::{LimitsSchema, PermissionsSchema, TokenStateSchema};
use crate::control::office::NewKeyKind;
use crate::control::store::{Key, KeySecret};
use crate::domain::{KeyKind, Limits, Permissions, Timestamp};

pub mod create;
pub mod list;
pub mod show;
pub mod update;
pub mod rotate;
pub mod revoke;

pub use crate::domain::KeyStanding as TokenState;

/// A key as lists show it, without its secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    pub id: String,
    pub name: String,
    /// The first characters of the key's newest secret.
    pub shown: String,
    /// The name of its team.
    pub team: Option<String>,
    #[serde(rename = "type")]
    pub kind: TokenKind,
    #[schema(value_type = TokenStateSchema)]
    pub state: TokenState,
    #[schema(value_type = PermissionsSchema)]
    pub permissions: Permissions,
    #[schema(value_type = LimitsSchema)]
    pub limits: Limits,
    /// Its secrets, the newest last. Two of them are accepted while a rotation overlaps.
    pub secrets: Vec<TokenSecret>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
    pub revoke_reason: Option<String>,
}

/// One secret of a key: not the secret itself, but how long it is accepted and when it was used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokenSecret {
    pub id: String,
    /// The first characters of the secret.
    pub shown: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it stops being accepted, or did; absent for the newest.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub valid_until: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Timestamp>,
    pub last_client: Option<String>,
    #[schema(value_type = Option<String>)]
    pub last_address: Option<IpAddr>,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// Authorises traffic through a gateway.
    #[default]
    Access,
    /// Authorises a gateway process towards a control plane.
    Gateway,
}

impl Token {
    /// `catalog` knows of uses that are not written yet.
    pub(super) fn of(key: Key, catalog: &Catalog, now: Timestamp) -> Self {
        let state = key.standing(now);
        let (revoked_at, revoke_reason) = key.revocation.map(|revoked| (revoked.time, revoked.reason)).unzip();
        Self {
            id: key.id,
            name: key.name,
            shown: key.secrets.last().map(|secret| secret.shown.clone()).unwrap_or_default(),
            team: key.team.map(|team| team.name),
            kind: TokenKind::of(key.kind),
            state,
            permissions: key.permissions,
            limits: key.limits,
            secrets: key.secrets.into_iter().map(|secret| TokenSecret::of(secret, catalog)).collect(),
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at,
            revoke_reason: revoke_reason.flatten(),
        }
    }
}

impl TokenSecret {
    fn of(secret: KeySecret, catalog: &Catalog) -> Self {
        let noted = catalog.keys.find(&secret.digest).and_then(|credential| credential.secret.last_use());
        let stored = secret.last_use.filter(|stored| noted.is_none_or(|noted| noted.at < stored.at));
        let (last_used_at, last_client, last_address) = match (stored, noted) {
            (Some(stored), _) => (Some(stored.at), Some(stored.client), stored.address),
            (None, Some(LastUse { at, client, address })) => (Some(at), Some(client.to_owned()), address),
            (None, None) => (None, None, None),
        };
        let KeySecret { id, shown, created_at, valid_until, .. } = secret;
        Self { id, shown, created_at, valid_until, last_used_at, last_client, last_address }
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
