//! Changes of a key's name, team, expiry, permissions and limits.

use serde_json::json;

use crate::control::now;
use crate::control::office::{
    Desk, KEY_PREFIXES, Office, OfficeError, checked_expiry, checked_name, checked_permissions, taken,
};
use crate::control::store::{Actor, Audit, Key};
use crate::domain::{LimitsChange, PermissionsChange, Timestamp};

/// What is to change about a key. An outer `None` leaves it, an inner one clears it.
#[derive(Default)]
pub(crate) struct KeyPatch {
    pub(crate) name: Option<String>,
    pub(crate) team: Option<Option<String>>,
    pub(crate) expires_at: Option<Option<Timestamp>>,
    pub(crate) permissions: PermissionsChange,
    pub(crate) limits: Option<LimitsChange>,
}

impl Office {
    /// Changes the key with this id or name.
    pub(crate) async fn update_key(&self, key: String, patch: KeyPatch, actor: Actor) -> Result<Key, OfficeError> {
        self.to_the_end(|desk| async move { desk.update_key(&key, patch, actor).await }).await
    }
}

impl Desk {
    async fn update_key(&self, id_or_name: &str, patch: KeyPatch, actor: Actor) -> Result<Key, OfficeError> {
        let time = now();
        if let Some(name) = &patch.name {
            checked_name(name, &KEY_PREFIXES)?;
        }
        checked_expiry(patch.expires_at.flatten(), time)?;
        let turn = self.turn.lock().await;
        let before = self.key(id_or_name).await?;
        if before.revocation.is_some() {
            return Err(OfficeError::KeyRevoked);
        }
        let mut key = before.clone();
        key.name = patch.name.unwrap_or(key.name);
        key.expires_at = patch.expires_at.unwrap_or(key.expires_at);
        key.permissions = patch.permissions.applied_to(key.permissions);
        checked_permissions(&key.permissions)?;
        if let Some(change) = patch.limits {
            key.limits = change.applied_to(&key.limits).map_err(OfficeError::Limits)?;
        }
        key.team = match patch.team {
            Some(Some(team)) => Some(self.team(&team).await?),
            Some(None) => None,
            None => key.team,
        };
        let detail = changes(&before, &key);
        if detail.is_empty() {
            return Ok(key);
        }
        let audit = Audit { actor, action: "key.update", target: key.id.clone(), time, detail: detail.into() };
        let kept = self.store.update_key(key.clone(), audit).await.map_err(|error| taken(error, &key.name))?;
        if !kept {
            return Err(OfficeError::KeyRevoked);
        }
        self.apply(Some(turn), |publisher, woken| publisher.update(&key, time, woken)).await;
        Ok(key)
    }
}

/// What differs between a key before and after a change, as its audit record says it.
fn changes(before: &Key, after: &Key) -> serde_json::Map<String, serde_json::Value> {
    let mut changed = serde_json::Map::new();
    if before.name != after.name {
        changed.insert("name".into(), json!({"from": before.name, "to": after.name}));
    }
    if before.team != after.team {
        let id = |key: &Key| key.team.as_ref().map(|team| team.id.clone());
        changed.insert("team".into(), json!({"from": id(before), "to": id(after)}));
    }
    if before.expires_at != after.expires_at {
        changed.insert("expires_at".into(), json!({"from": before.expires_at, "to": after.expires_at}));
    }
    if before.limits != after.limits {
        changed.insert("limits".into(), json!({"from": before.limits, "to": after.limits}));
    }
    if before.permissions != after.permissions {
        changed.insert("permissions".into(), json!({"from": before.permissions, "to": after.permissions}));
    }
    changed
}
