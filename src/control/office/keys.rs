//! Keys: made, changed, rotated, revoked.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::catalog::unmatched;
use crate::control::store::{
    Actor, Audit, Key, KeyQuery, KeySecret, PAGE_MAX, Revocation, Rotation, StoreError, TeamRef,
};
use crate::control::{ids, now};
use crate::domain::{KeyKind, KeyText, Limits, LimitsChange, Permissions, PermissionsChange, Timestamp};

use super::{
    Desk, KEY_PREFIXES, OVERLAP_TIME_MAX, Office, OfficeError, checked_expiry, checked_name, checked_permissions,
    checked_reason, taken,
};

/// How many texts of a key are remembered, so that an ended one is told from an unknown one.
const SECRETS_MAX: usize = 8;

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

/// What is to change about a key. An outer `None` leaves it, an inner one clears it.
#[derive(Default)]
pub(crate) struct KeyPatch {
    pub(crate) name: Option<String>,
    pub(crate) team: Option<Option<String>>,
    pub(crate) expires_at: Option<Option<Timestamp>>,
    pub(crate) permissions: PermissionsChange,
    pub(crate) limits: Option<LimitsChange>,
}

/// A key with a new text.
pub(crate) struct Rotated {
    pub(crate) key: Key,
    pub(crate) text: KeyText,
    /// When the text before ends, or ended.
    pub(crate) old_valid_until: Timestamp,
}

/// A key that is revoked now.
pub(crate) struct Revoked {
    pub(crate) key: Key,
    /// It had been before, and nothing was changed.
    pub(crate) already: bool,
    /// From the store's transaction to the moment no request could use it any more.
    pub(crate) took: Duration,
}

/// Which keys are to be revoked together.
pub(crate) enum Revocations {
    /// By id or name.
    Keys(Vec<String>),
    /// Every key of the team with this id or name.
    Team(String),
}

/// Keys that are revoked now.
pub(crate) struct RevokedMany {
    /// The ids of those that were not before.
    pub(crate) keys: Vec<String>,
    pub(crate) already: usize,
    pub(crate) took: Duration,
}

impl Office {
    /// Makes a key and gives its clear text, which is kept nowhere.
    pub(crate) async fn create_key(&self, new: NewKey, actor: Actor) -> Result<(Key, KeyText), OfficeError> {
        self.to_the_end(|desk| async move { desk.create_key(new, actor).await }).await
    }

    /// Changes the key with this id or name.
    pub(crate) async fn update_key(&self, key: String, patch: KeyPatch, actor: Actor) -> Result<Key, OfficeError> {
        self.to_the_end(|desk| async move { desk.update_key(&key, patch, actor).await }).await
    }

    /// Gives the key with this id or name a new text. The one it has goes on for `overlap`. `expected` is the id
    /// of the text the caller believes to be the newest.
    pub(crate) async fn rotate_key(
        &self,
        key: String,
        overlap: Duration,
        expected: Option<String>,
        actor: Actor,
    ) -> Result<Rotated, OfficeError> {
        self.to_the_end(|desk| async move { desk.rotate_key(&key, overlap, expected, actor).await }).await
    }

    /// Revokes the key with this id or name.
    pub(crate) async fn revoke_key(
        &self,
        key: String,
        reason: Option<String>,
        actor: Actor,
    ) -> Result<Revoked, OfficeError> {
        self.to_the_end(|desk| async move { desk.revoke_key(&key, reason, actor).await }).await
    }

    /// Revokes several keys. Of a list, all or none; of a team, all that belong to it when this is done.
    pub(crate) async fn revoke_keys(
        &self,
        which: Revocations,
        reason: Option<String>,
        actor: Actor,
    ) -> Result<RevokedMany, OfficeError> {
        self.to_the_end(|desk| async move { desk.revoke_keys(which, reason, actor).await }).await
    }

    /// Sentences about patterns that nothing configured matches.
    pub(crate) fn warnings(&self, permissions: &Permissions) -> Vec<String> {
        let catalog = self.desk.publisher.catalog().load();
        unmatched(permissions, &catalog.routing, &catalog.prices)
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

    async fn rotate_key(
        &self,
        id_or_name: &str,
        overlap: Duration,
        expected: Option<String>,
        actor: Actor,
    ) -> Result<Rotated, OfficeError> {
        if overlap > OVERLAP_TIME_MAX {
            return Err(OfficeError::Overlap);
        }
        // Read before it is our turn: whoever rotates in between is somebody who did so at the same time.
        let seen = self.key(id_or_name).await?;
        let expected = expected.or_else(|| Some(seen.newest()?.id.clone())).ok_or(OfficeError::KeyUnknown)?;
        let turn = self.turn.lock().await;
        let time = now();
        let mut key = self.key(&seen.id).await?;
        if key.revocation.is_some() {
            return Err(OfficeError::KeyRevoked);
        }
        if !key.is_live(time) {
            return Err(OfficeError::KeyExpired);
        }
        let (text, secret) = self.mint(key.kind, time)?;
        let old_valid_until = time.saturating_add(overlap);
        let ends = end_older_texts(&mut key, old_valid_until, time);
        key.secrets.push(secret.clone());
        let forgotten: Vec<KeySecret> = key.secrets.drain(..key.secrets.len().saturating_sub(SECRETS_MAX)).collect();
        let detail = json!({
            "name": key.name, "secret": secret.id, "shown": secret.shown, "old_secret": expected,
            "old_valid_until": old_valid_until,
        });
        let audit = Audit { actor, action: "key.rotate", target: key.id.clone(), time, detail };
        let forgotten_ids = forgotten.iter().map(|secret| secret.id.clone()).collect();
        let rotation = Rotation { key: key.id.clone(), expected, secret, ends, forgotten: forgotten_ids };
        if !self.store.rotate_key(rotation, audit).await.map_err(OfficeError::Store)? {
            return Err(OfficeError::RotationConflict);
        }
        let forgotten: Vec<_> = forgotten.iter().map(|secret| secret.digest).collect();
        self.apply(Some(turn), |publisher, woken| publisher.rotate(&key, &forgotten, woken)).await;
        Ok(Rotated { key, text, old_valid_until })
    }

    async fn revoke_key(&self, id_or_name: &str, reason: Option<String>, actor: Actor) -> Result<Revoked, OfficeError> {
        checked_reason(reason.as_deref())?;
        let turn = self.turn.lock().await;
        let mut key = self.key(id_or_name).await?;
        let revocation = Revocation { time: now(), reason };
        let audit = revocation_audit(&key, &revocation, actor);
        let begun = Instant::now();
        let revoked = self.store.revoke_key(&key.id, revocation.clone(), audit).await;
        // Also where it could not be kept: a leaked key must not go on because a disk fails.
        self.apply(Some(turn), |publisher, woken| publisher.revoke(&key, woken)).await;
        let revoked = revoked.map_err(OfficeError::RevocationNotKept)?;
        let took = begun.elapsed();
        if revoked {
            key.revocation = Some(revocation);
        }
        Ok(Revoked { key, already: !revoked, took })
    }

    async fn revoke_keys(
        &self,
        which: Revocations,
        reason: Option<String>,
        actor: Actor,
    ) -> Result<RevokedMany, OfficeError> {
        checked_reason(reason.as_deref())?;
        let _turn = self.turn.lock().await;
        let revocation = Revocation { time: now(), reason };
        let begun = Instant::now();
        let mut done = RevokedMany { keys: Vec::new(), already: 0, took: Duration::ZERO };
        match which {
            Revocations::Keys(names) => {
                if !(1..=PAGE_MAX).contains(&names.len()) {
                    return Err(OfficeError::TooMany);
                }
                let mut keys = Vec::with_capacity(names.len());
                for name in &names {
                    keys.push(self.key(name).await?);
                }
                self.revoke_page(keys, &revocation, &actor, &mut done).await?;
            }
            Revocations::Team(team) => {
                let team = self.team(&team).await.map_err(|error| match error {
                    OfficeError::TeamUnknown => OfficeError::TeamMissing,
                    error => error,
                })?;
                loop {
                    let (team, revoked) = (Some(team.id.clone()), Some(false));
                    let query = KeyQuery { team, revoked, limit: PAGE_MAX, ..KeyQuery::default() };
                    let page = self.store.keys(query).await.map_err(OfficeError::Store)?;
                    if page.items.is_empty() {
                        break;
                    }
                    self.revoke_page(page.items, &revocation, &actor, &mut done).await?;
                }
            }
        }
        done.took = begun.elapsed();
        Ok(done)
    }

    /// Revokes some keys in one transaction and applies that.
    async fn revoke_page(
        &self,
        keys: Vec<Key>,
        revocation: &Revocation,
        actor: &Actor,
        done: &mut RevokedMany,
    ) -> Result<(), OfficeError> {
        let with_audit = |key: &Key| (key.id.clone(), revocation_audit(key, revocation, actor.clone()));
        let changes = keys.iter().map(with_audit).collect();
        let changed = self.store.revoke_keys(changes, revocation.clone()).await;
        self.apply(None, |publisher, woken| keys.iter().for_each(|key| publisher.revoke(key, woken))).await;
        let changed = changed.map_err(OfficeError::RevocationNotKept)?;
        done.already += changed.iter().filter(|changed| !**changed).count();
        done.keys.extend(keys.into_iter().zip(changed).filter_map(|(key, changed)| changed.then_some(key.id)));
        Ok(())
    }

    async fn key(&self, id_or_name: &str) -> Result<Key, OfficeError> {
        self.store.find_key(id_or_name).await.map_err(OfficeError::Store)?.ok_or(OfficeError::KeyUnknown)
    }

    async fn team(&self, id_or_name: &str) -> Result<TeamRef, OfficeError> {
        let found = self.store.find_team(id_or_name).await.map_err(OfficeError::Store)?;
        let team = found.ok_or(OfficeError::TeamUnknown)?;
        Ok(TeamRef { id: team.id, name: team.name })
    }

    fn mint(&self, kind: KeyKind, created_at: Timestamp) -> Result<(KeyText, KeySecret), OfficeError> {
        let text = KeyText::mint(kind, getrandom::fill).map_err(OfficeError::Random)?;
        let secret = KeySecret {
            id: ids::short_id("ks_").map_err(OfficeError::Random)?,
            digest: self.pepper.digest(text.expose()),
            shown: text.shown().into(),
            created_at,
            valid_until: None,
            last_use: None,
        };
        Ok((text, secret))
    }
}

/// Ends the newest text at `end`, and those before it that are still accepted at once: never are more than two
/// texts of a key accepted. Which texts end when, besides those that had ended.
fn end_older_texts(key: &mut Key, end: Timestamp, now: Timestamp) -> Vec<(String, Timestamp)> {
    let count = key.secrets.len();
    let mut ends = Vec::new();
    for (place, secret) in (1..).zip(&mut key.secrets) {
        let end = if place == count { end } else { now };
        if secret.valid_until.is_none_or(|until| until > end) {
            secret.valid_until = Some(end);
            ends.push((secret.id.clone(), end));
        }
    }
    ends
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

fn revocation_audit(key: &Key, revocation: &Revocation, actor: Actor) -> Audit {
    let detail = json!({ "name": key.name, "reason": revocation.reason });
    Audit { actor, action: "key.revoke", target: key.id.clone(), time: revocation.time, detail }
}

impl From<StoreError> for OfficeError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
