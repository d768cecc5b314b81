//! The end of one key or of many.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::control::now;
use crate::control::office::{Desk, Office, OfficeError, checked_reason};
use crate::control::store::{Actor, Audit, Key, KeyQuery, PAGE_MAX, Revocation};

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
}

impl Desk {
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
}

fn revocation_audit(key: &Key, revocation: &Revocation, actor: Actor) -> Audit {
    let detail = json!({ "name": key.name, "reason": revocation.reason });
    Audit { actor, action: "key.revoke", target: key.id.clone(), time: revocation.time, detail }
}
