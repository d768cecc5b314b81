//! A new key.

use serde_json::json;

use crate::control::office::{
    Desk, KEY_PREFIXES, Office, OfficeError, checked_expiry, checked_name, checked_permissions, taken,
};
use crate::control::store::{Actor, Audit, Key};
use crate::control::{ids, now};
use crate::domain::{KeyKind, KeyText, Limits, Permissions, Timestamp};

/// What a new key is to be.
pub(crate) struct NewKey {
    pub(crate) name: String,
    /// The id or name of its team.
    pub(crate) team: Option<String>,
    pub(crate) kind: NewKeyKind,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) permissions: Permissions,
    pub(crate) limits: Limits,
}

/// The kinds of key that can be asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NewKeyKind {
    Access,
    Gateway,
}

impl Office {
    /// Makes a key and gives its clear text, which is kept nowhere.
    pub(crate) async fn create_key(&self, new: NewKey, actor: Actor) -> Result<(Key, KeyText), OfficeError> {
        self.to_the_end(|desk| async move { desk.create_key(new, actor).await }).await
    }
}

impl Desk {
    async fn create_key(&self, new: NewKey, actor: Actor) -> Result<(Key, KeyText), OfficeError> {
        let created_at = now();
        let name = checked_name(&new.name, &KEY_PREFIXES)?;
        checked_expiry(new.expires_at, created_at)?;
        checked_permissions(&new.permissions)?;
        new.limits.check().map_err(OfficeError::Limits)?;
        let (kind, id_prefix) = match new.kind {
            NewKeyKind::Access => (KeyKind::Access, "ak_"),
            NewKeyKind::Gateway => (KeyKind::Gateway, "gk_"),
        };
        let (text, secret) = self.mint(kind, created_at)?;
        let id = ids::short_id(id_prefix).map_err(OfficeError::Random)?;
        let _turn = self.turn.lock().await;
        let team = match new.team {
            Some(team) => Some(self.team(&team).await?),
            None => None,
        };
        let key = Key {
            id,
            kind,
            name: name.to_string(),
            team,
            permissions: new.permissions,
            limits: new.limits,
            secrets: vec![secret],
            created_at,
            expires_at: new.expires_at,
            revocation: None,
        };
        let team = key.team.as_ref().map(|team| &team.id);
        let detail = json!({
            "name": key.name, "type": kind.label(), "team": team, "shown": text.shown(),
            "expires_at": key.expires_at, "permissions": key.permissions,
            "limits": key.limits,
        });
        let audit = Audit { actor, action: "key.create", target: key.id.clone(), time: created_at, detail };
        self.store.create_key(key.clone(), audit).await.map_err(|error| taken(error, &key.name))?;
        self.publisher.add(&key, created_at);
        Ok((key, text))
    }
}
