//! The embedded store: `keeptrusts.db` in the data directory, an SQLite database.
//!
//! It is small and precious: every commit is synced to disk, and reads share the writer's thread, so that whoever
//! changed something reads it back. Events are not in it; see `segments`.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::Connection;

use crate::control::data_dir::DataDir;
use crate::domain::KeyDigest;

use super::{
    AdminToken, AdminTokenRemoval, Audit, Key, KeyQuery, KeyStore, NotedUse, Page, Revocation, Rotation, StoreError,
    Team, TeamRemoval,
};
use reserve::Reserve;
pub(crate) use usage::SqliteUsage;
use worker::Worker;

mod open; // files, modes, pragmas, migrations
mod worker; // one connection on one thread
mod reserve; // room for changes on a disk that is full
mod keys;
mod secrets;
mod teams;
mod admin_tokens;
mod audit;
mod usage;
mod meta; // facts about the installation

pub(crate) struct SqliteStore {
    keys: Worker,
    reserve: Arc<Reserve>,
    // Nobody else may open the database while it is in use.
    _data_dir: Arc<DataDir>,
}

impl SqliteStore {
    /// Opens the database, or makes it, and brings it to the present schema.
    pub(crate) fn open(data_dir: Arc<DataDir>) -> Result<Self, StoreError> {
        let keys = Worker::start("store-keys", open::keys(data_dir.path())?)?;
        let reserve = Arc::new(Reserve::open(data_dir.path())?);
        Ok(Self { keys, reserve, _data_dir: data_dir })
    }

    /// Runs what adds something: on a full disk it gives way to what takes away.
    async fn add<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reserve = self.reserve.clone();
        self.keys.call(move |db| reserve.fill().and_then(|()| work(db))).await
    }

    /// Runs what changes something that is there, also on a full disk.
    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reserve = self.reserve.clone();
        let change = move |db: &mut Connection| {
            let done = work(db);
            // On a full disk it becomes smaller; that is what it is for.
            let _ = reserve.fill();
            done
        };
        self.keys.call(change).await
    }
}

#[async_trait]
impl KeyStore for SqliteStore {
    async fn keys(&self, query: KeyQuery) -> Result<Page<Key>, StoreError> {
        self.keys.call(move |db| keys::list(db, &query)).await
    }

    async fn find_key(&self, id_or_name: &str) -> Result<Option<Key>, StoreError> {
        let id_or_name = id_or_name.to_owned();
        self.keys.call(move |db| keys::find(db, &id_or_name)).await
    }

    async fn create_key(&self, key: Key, audit: Audit) -> Result<(), StoreError> {
        self.add(move |db| audit::with(db, &audit, |db| keys::insert(db, &key).map(|()| true))).await?;
        Ok(())
    }

    async fn revoke_key(&self, id: &str, revocation: Revocation, audit: Audit) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.change(move |db| audit::with(db, &audit, |db| keys::revoke(db, &id, &revocation))).await
    }

    async fn revoke_keys(&self, keys: Vec<(String, Audit)>, revocation: Revocation) -> Result<Vec<bool>, StoreError> {
        self.change(move |db| audit::with_each(db, &keys, |db, id| keys::revoke(db, id, &revocation))).await
    }

    async fn update_key(&self, key: Key, audit: Audit) -> Result<bool, StoreError> {
        self.change(move |db| audit::with(db, &audit, |db| keys::update(db, &key))).await
    }

    async fn rotate_key(&self, rotation: Rotation, audit: Audit) -> Result<bool, StoreError> {
        self.change(move |db| audit::with(db, &audit, |db| secrets::rotate(db, &rotation))).await
    }

    async fn note_uses(&self, uses: Vec<NotedUse>) -> Result<(), StoreError> {
        self.add(move |db| secrets::note_uses(db, &uses)).await
    }

    async fn teams(&self, cursor: Option<i64>, limit: usize) -> Result<Page<Team>, StoreError> {
        self.keys.call(move |db| teams::list(db, cursor, limit)).await
    }

    async fn find_team(&self, id_or_name: &str) -> Result<Option<Team>, StoreError> {
        let id_or_name = id_or_name.to_owned();
        self.keys.call(move |db| teams::find(db, &id_or_name)).await
    }

    async fn create_team(&self, team: Team, audit: Audit) -> Result<(), StoreError> {
        self.add(move |db| audit::with(db, &audit, |db| teams::insert(db, &team).map(|()| true))).await?;
        Ok(())
    }

    async fn update_team(&self, team: Team, audit: Audit) -> Result<bool, StoreError> {
        self.change(move |db| audit::with(db, &audit, |db| teams::update(db, &team))).await
    }

    async fn remove_team(&self, id: &str, audit: Audit) -> Result<TeamRemoval, StoreError> {
        let id = id.to_owned();
        let removed = |removal: &_| *removal == TeamRemoval::Removed;
        self.change(move |db| audit::with_if(db, &audit, removed, |db| teams::remove(db, &id))).await
    }

    async fn admin_tokens(&self) -> Result<Vec<AdminToken>, StoreError> {
        self.keys.call(|db| admin_tokens::list(db)).await
    }

    async fn create_admin_token(&self, token: AdminToken, audit: Audit) -> Result<(), StoreError> {
        let insert =
            move |db: &mut Connection| audit::with(db, &audit, |db| admin_tokens::insert(db, &token).map(|()| true));
        self.add(insert).await?;
        Ok(())
    }

    async fn note(&self, audit: Audit) -> Result<(), StoreError> {
        self.change(move |db| audit::with(db, &audit, |_| Ok(true))).await?;
        Ok(())
    }

    async fn remove_admin_token(&self, id: &str, audit: Audit) -> Result<AdminTokenRemoval, StoreError> {
        let id = id.to_owned();
        let removed = |removal: &_| *removal == AdminTokenRemoval::Removed;
        self.change(move |db| audit::with_if(db, &audit, removed, |db| admin_tokens::remove(db, &id))).await
    }

    async fn pepper_check(&self) -> Result<Option<KeyDigest>, StoreError> {
        self.keys.call(|db| meta::pepper_check(db)).await
    }

    async fn keep_pepper_check(&self, check: KeyDigest) -> Result<(), StoreError> {
        self.add(move |db| meta::keep_pepper_check(db, &check)).await
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.into())
    }
}

#[cfg(test)]
mod tests;
