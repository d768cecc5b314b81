//! Durable truth, apart from SQL: what the office and the ledger ask of whoever keeps it.
//!
//! To add a noun: a method here, a file in each backend, a migration each, a line in `conformance.rs`.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::catalog::{LastUse, Retention};
use crate::domain::{KeyDigest, KeyKind, KeyStanding, Limits, Permissions, Timestamp, Verdict};
use crate::journal::{Event, Phase};

mod error; // why it did not do as asked
pub(crate) mod sqlite; // keys, teams, admin tokens and audit records: the embedded default
pub(crate) mod segments; // the event log: files that are only ever appended to
pub(crate) mod usage; // sums of usage, which are derived from the events

use segments::Verification;

pub use error::StoreError;

/// The most items one page holds.
pub(crate) const PAGE_MAX: usize = 1000;

/// How long one page's search in the events may take before it is interrupted.
pub(crate) const SEARCH_TIME_MAX: Duration = Duration::from_secs(2);

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

/// What an append waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The events outlive this process, and soon after also the machine.
    Process,
    /// The events are on disk.
    Disk,
}

/// Events on their way into the log.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// The number of the first event.
    pub(crate) first_seq: i64,
    /// The events' JSON, one after the other with nothing between.
    pub(crate) json: Vec<u8>,
    pub(crate) rows: Vec<GroupRow>,
}

/// What the log has to know of an event without reading it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupRow {
    /// Where its JSON ends.
    pub(crate) end: usize,
    pub(crate) time: Timestamp,
    pub(crate) part: Part,
}

/// What an event is of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Everything.
    Whole,
    /// Its beginning: its end is still to come.
    Opens,
    /// Its end; the number is that of its beginning.
    Closes(i64),
}

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

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TeamRef {
    pub(crate) id: String,
    pub(crate) name: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Team {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
    pub(crate) permissions: Permissions,
    pub(crate) limits: Limits,
    pub(crate) suspended_at: Option<Timestamp>,
}

/// What became of a wish to remove a team.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TeamRemoval {
    Removed,
    Unknown,
    InUse { keys: u64 },
}

/// What became of a wish to remove an admin token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdminTokenRemoval {
    Removed,
    Unknown,
    /// Without it nobody could change anything over TCP any more.
    Last,
}

/// What the holder of an admin token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminRole {
    /// Everything.
    Admin,
    /// Read.
    Viewer,
}

/// A credential for the admin API.
#[derive(Clone, Debug)]
pub(crate) struct AdminToken {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) digest: KeyDigest,
    pub(crate) shown: String,
    pub(crate) created_at: Timestamp,
    pub(crate) role: AdminRole,
}

/// Who changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Actor {
    /// Whoever may open the admin socket.
    Socket,
    /// The holder of the admin token with this id.
    AdminToken(String),
    /// The process itself, when it starts.
    Start,
    /// Whoever may signal the process.
    Signal,
}

/// The record of a change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Audit {
    pub(crate) actor: Actor,
    /// `key.create`, `key.revoke`, …
    pub(crate) action: &'static str,
    /// The id of what was changed.
    pub(crate) target: String,
    pub(crate) time: Timestamp,
    /// What it was changed to; never a secret.
    pub(crate) detail: Value,
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

/// Some of many.
#[derive(Clone, Debug)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// Where the next page begins; `None` after the last.
    pub(crate) next: Option<i64>,
}

/// Which events are asked for, in which order.
#[derive(Clone, Debug)]
pub(crate) struct EventQuery {
    pub(crate) filter: EventFilter,
    pub(crate) order: EventOrder,
    pub(crate) limit: usize,
}

/// Which events are meant; whatever is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EventFilter {
    pub(crate) since: Option<Timestamp>,
    /// Events of this moment are not meant any more.
    pub(crate) until: Option<Timestamp>,
    pub(crate) key: Option<EventKeyFilter>,
    pub(crate) team: Option<String>,
    /// The model as it was asked for, which both events of a request share.
    pub(crate) model: Option<String>,
    pub(crate) provider: Option<String>,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) phase: Option<Phase>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EventKeyFilter {
    Id(String),
    Name(String),
}

/// Which way through the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventOrder {
    /// The newest first, of those before a number: for reading back.
    NewestFirst { before: Option<i64> },
    /// The oldest first, of those after a number: for following.
    OldestFirst { after: i64 },
}

/// Some of the events that were asked for.
#[derive(Debug)]
pub(crate) struct EventPage {
    pub(crate) events: Vec<StoredEvent>,
    /// The number of the last event that was considered, whether it was meant or not: the place to go on from.
    pub(crate) reached: i64,
    /// Whether there may be more: the limit was met, or a long search was interrupted.
    pub(crate) more: bool,
}

/// An event as it was written.
#[derive(Debug)]
pub(crate) struct StoredEvent {
    pub(crate) seq: i64,
    pub(crate) json: Box<RawValue>,
}

impl Key {
    /// Whether the key would be accepted at `now`.
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.revocation.is_none() && self.expires_at.is_none_or(|expires_at| now < expires_at)
    }

    /// Agrees with what [`KeyStore::keys`] finds by it.
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

impl AdminRole {
    pub const ALL: [Self; 2] = [Self::Admin, Self::Viewer];

    pub fn label(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Viewer => "viewer",
        }
    }
}

impl Actor {
    /// How the actor stands in audit records.
    pub(crate) fn label(&self) -> &str {
        match self {
            Self::Socket => "socket",
            Self::AdminToken(id) => id,
            Self::Start => "start",
            Self::Signal => "signal",
        }
    }
}

impl EventFilter {
    /// Whether `event` is meant. Agrees with what [`EventStore::events`] finds.
    pub(crate) fn matches(&self, event: &Event) -> bool {
        fn agrees(wanted: &Option<String>, found: Option<&str>) -> bool {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        }
        self.since.is_none_or(|since| event.time >= since)
            && self.until.is_none_or(|until| event.time < until)
            && self.key.as_ref().is_none_or(|key| match key {
                EventKeyFilter::Id(id) => event.key.id == *id,
                EventKeyFilter::Name(name) => event.key.name == *name,
            })
            && agrees(&self.team, event.team.as_deref())
            && agrees(&self.model, model_of(event))
            && agrees(&self.provider, event.provider.as_deref())
            && self.verdict.is_none_or(|verdict| event.verdict == verdict)
            && self.phase.is_none_or(|phase| event.phase == phase)
    }
}

impl Group {
    /// Makes it empty, for events from `first_seq` on.
    pub(crate) fn begin(&mut self, first_seq: i64) {
        self.first_seq = first_seq;
        self.json.clear();
        self.rows.clear();
    }

    /// The number of the next event that is added.
    pub(crate) fn next_seq(&self) -> i64 {
        self.first_seq + self.rows.len() as i64
    }

    /// Adds the event whose JSON was appended last.
    pub(crate) fn add(&mut self, time: Timestamp, part: Part) {
        self.rows.push(GroupRow { end: self.json.len(), time, part });
    }
}

impl EventKeyFilter {
    /// Reads an id or a name; no name begins like an id.
    pub(crate) fn parse(text: &str) -> Self {
        if is_key_id(text) { Self::Id(text.into()) } else { Self::Name(text.into()) }
    }
}

/// Whether a text is the id of a key rather than a name.
pub(crate) fn is_key_id(text: &str) -> bool {
    ["ak_", "gk_"].iter().any(|prefix| text.starts_with(prefix))
}

/// The model that an event is found by.
pub(crate) fn model_of(event: &Event) -> Option<&str> {
    event.model_requested.as_deref().or(event.model_served.as_deref())
}

#[cfg(test)]
pub(crate) mod conformance;
