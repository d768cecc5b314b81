//! Durable truth, apart from SQL: what the office and the ledger ask of whoever keeps it.
//!
//! To add a noun: a file here and its methods in [`KeyStore`], a file and a migration in each backend, its laws in
//! `conformance`.

use std::time::Duration;

use async_trait::async_trait;

use crate::catalog::Retention;
use crate::domain::{KeyDigest, Timestamp};

mod error; // why it did not do as asked
mod keys; // access keys and gateway keys, with their texts
mod teams; // what keys belong to
mod admin_tokens; // who may use the admin API
mod audit; // who changed what
mod group; // events on their way into the log
mod events; // which events are asked for, and what is found
pub(crate) mod sqlite; // keys, teams, admin tokens and audit records: the embedded default
pub(crate) mod segments; // the event log: files that are only ever appended to
pub(crate) mod usage; // sums of usage, which are derived from the events

#[cfg(test)]
pub(crate) mod conformance; // what every store must do, whatever it is made of

pub use admin_tokens::AdminRole;
pub(crate) use admin_tokens::{AdminToken, AdminTokenRemoval};
pub(crate) use audit::{Actor, Audit};
pub use error::StoreError;
pub(crate) use events::{EventFilter, EventKeyFilter, EventOrder, EventPage, EventQuery, StoredEvent};
pub(crate) use group::{Group, Part, Wait};
pub(crate) use keys::{Key, KeyQuery, KeySecret, NotedUse, Revocation, Rotation, SecretUse, is_key_id};
pub(crate) use teams::{Team, TeamRef, TeamRemoval};

use segments::Verification;

/// The most items one page holds.
pub(crate) const PAGE_MAX: usize = 1000;

/// How long one page's search in the events may take before it is interrupted.
pub(crate) const SEARCH_TIME_MAX: Duration = Duration::from_secs(2);

/// Some of many.
#[derive(Clone, Debug)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// Where the next page begins; `None` after the last.
    pub(crate) next: Option<i64>,
}

/// Keys, teams, admin tokens, and who changed them.
///
/// A change and its audit record are one transaction: both are there afterwards, or neither is.
#[async_trait]
pub(crate) trait KeyStore: Send + Sync {
    /// Keys in the order they were made.
    async fn keys(&self, query: KeyQuery) -> Result<Page<Key>, StoreError>;

    /// The key with this id or, failing that, name. Of several keys that had the name, the live one is meant,
    /// else the newest.
    async fn find_key(&self, id_or_name: &str) -> Result<Option<Key>, StoreError>;

    /// Keeps a new key, unless a live one has its name.
    async fn create_key(&self, key: Key, audit: Audit) -> Result<(), StoreError>;

    /// Revokes a key, unless it is already: then nothing is changed, nothing is audited, and the answer is
    /// false.
    async fn revoke_key(&self, id: &str, revocation: Revocation, audit: Audit) -> Result<bool, StoreError>;

    /// Like [`KeyStore::revoke_key`], for many at once: all of them or none. Tells which were changed.
    async fn revoke_keys(&self, keys: Vec<(String, Audit)>, revocation: Revocation) -> Result<Vec<bool>, StoreError>;

    /// Keeps a key's name, team, expiry, permissions and limits, unless another live key has the name. False if the key
    /// is revoked or there is none, and nothing was changed.
    async fn update_key(&self, key: Key, audit: Audit) -> Result<bool, StoreError>;

    /// Gives a key a new text. False if the key is revoked or has another newest text than expected, and nothing
    /// was changed.
    async fn rotate_key(&self, rotation: Rotation, audit: Audit) -> Result<bool, StoreError>;

    /// Keeps when texts were used, where that is later than what is known.
    async fn note_uses(&self, uses: Vec<NotedUse>) -> Result<(), StoreError>;

    /// Teams in the order they were made.
    async fn teams(&self, cursor: Option<i64>, limit: usize) -> Result<Page<Team>, StoreError>;

    /// The team with this id or name.
    async fn find_team(&self, id_or_name: &str) -> Result<Option<Team>, StoreError>;

    /// Keeps a new team, unless another has its name.
    async fn create_team(&self, team: Team, audit: Audit) -> Result<(), StoreError>;

    /// Keeps a team's permissions, suspension and limits. False if there is no such team.
    async fn update_team(&self, team: Team, audit: Audit) -> Result<bool, StoreError>;

    /// Removes a team that no live key belongs to. Revoked keys that did belong to none afterwards.
    async fn remove_team(&self, id: &str, audit: Audit) -> Result<TeamRemoval, StoreError>;

    async fn admin_tokens(&self) -> Result<Vec<AdminToken>, StoreError>;

    /// Keeps a new admin token, unless another has its name.
    async fn create_admin_token(&self, token: AdminToken, audit: Audit) -> Result<(), StoreError>;

    /// Removes an admin token, but never the last with the role of an admin.
    async fn remove_admin_token(&self, id: &str, audit: Audit) -> Result<AdminTokenRemoval, StoreError>;

    /// Records a change of something that is not kept here.
    async fn note(&self, audit: Audit) -> Result<(), StoreError>;

    /// The value that tells whether the pepper is still the one the digests were made under.
    async fn pepper_check(&self) -> Result<Option<KeyDigest>, StoreError>;

    async fn keep_pepper_check(&self, check: KeyDigest) -> Result<(), StoreError>;
}

/// The event log: numbered from 1 without gaps, in the order of the journal.
///
/// It has one writer, the ledger's thread; readers are many. Writing blocks, because it waits for a disk.
#[async_trait]
pub(crate) trait EventStore: Send + Sync {
    /// Appends all events of a group or none of them. The first must be the one after [`EventStore::tip`]; a group that
    /// was appended before changes nothing, so that one whose fate is unknown can be repeated.
    fn append(&self, group: &Group, wait: Wait) -> Result<(), StoreError>;

    /// The number of the event that was appended last; 0 if there is none.
    fn tip(&self) -> i64;

    /// Does what is due from time to time. Called by the writer, at least once a second while there is anything to do.
    /// Tells how many events `retention` removed since the last time.
    fn tend(&self, now: Timestamp, retention: Retention) -> Result<u64, StoreError>;

    /// The INPUT events whose requests were admitted and have no OUTPUT event yet.
    fn open_requests(&self) -> Vec<i64>;

    /// Puts everything on disk. Nothing is appended any more when this is called.
    fn close(&self) -> Result<(), StoreError>;

    /// Some of the events that are meant, with where to go on.
    async fn events(&self, query: EventQuery) -> Result<EventPage, StoreError>;

    /// Whether the log is still as it was written.
    async fn verify(&self) -> Result<Verification, StoreError>;
}
