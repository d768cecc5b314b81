//! Durable truth, apart from SQL: what the office and the ledger ask of whoever keeps it.
//!
//! To add a noun: a method here, a file in each backend, a migration each, a line in `conformance.rs`.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::{KeyDigest, KeyKind, Timestamp, Verdict};
use crate::journal::{Event, Phase};

pub(crate) mod sqlite; // the embedded default

/// The most items one page holds.
pub(crate) const PAGE_MAX: usize = 1000;

/// How long a search in the events may take before it is given up.
pub(crate) const SEARCH_TIME_MAX: Duration = Duration::from_secs(10);

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

    /// Teams in the order they were made.
    async fn teams(&self, cursor: Option<i64>, limit: usize) -> Result<Page<Team>, StoreError>;

    /// The team with this id or name.
    async fn find_team(&self, id_or_name: &str) -> Result<Option<Team>, StoreError>;

    /// Keeps a new team, unless another has its name.
    async fn create_team(&self, team: Team, audit: Audit) -> Result<(), StoreError>;

    async fn admin_tokens(&self) -> Result<Vec<AdminToken>, StoreError>;

    async fn create_admin_token(&self, token: AdminToken, audit: Audit) -> Result<(), StoreError>;

    /// The value that tells whether the pepper is still the one the digests were made under.
    async fn pepper_check(&self) -> Result<Option<KeyDigest>, StoreError>;

    async fn keep_pepper_check(&self, check: KeyDigest) -> Result<(), StoreError>;
}

/// The event log.
#[async_trait]
pub(crate) trait EventStore: Send + Sync {
    /// Appends events in one transaction and tells the sequence number of each. Appending an event again
    /// changes nothing and tells its first number, so that a batch whose fate is unknown can be repeated.
    async fn append(&self, events: Arc<[Arc<Event>]>) -> Result<Vec<i64>, StoreError>;

    async fn events(&self, query: EventQuery) -> Result<Vec<StoredEvent>, StoreError>;

    /// The sequence number of the event that was appended last; 0 if there is none.
    async fn tip(&self) -> Result<i64, StoreError>;
}

/// An access key or a gateway key. Its clear text is nowhere.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) kind: KeyKind,
    pub(crate) name: String,
    pub(crate) team: Option<TeamRef>,
    pub(crate) digest: KeyDigest,
    /// The part of the clear text that lists may show.
    pub(crate) shown: String,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) revocation: Option<Revocation>,
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Team {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
}

/// A credential for the admin API.
#[derive(Clone, Debug)]
pub(crate) struct AdminToken {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) digest: KeyDigest,
    pub(crate) shown: String,
    pub(crate) created_at: Timestamp,
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
#[derive(Clone, Debug, Default)]
pub(crate) struct EventFilter {
    pub(crate) since: Option<Timestamp>,
    pub(crate) key: Option<EventKeyFilter>,
    pub(crate) team: Option<String>,
    /// The model as it was asked for, which both events of a request share.
    pub(crate) model: Option<String>,
    pub(crate) provider: Option<String>,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) phase: Option<Phase>,
}

#[derive(Clone, Debug)]
pub(crate) enum EventKeyFilter {
    Id(String),
    Name(String),
}

/// Which way through the events. Times and sequence numbers run the same way but for events that waited
/// differently long to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum EventOrder {
    /// By time, the newest first: for reading back.
    NewestFirst { before: Option<Position> },
    /// By time, the oldest first, of those that were appended up to `tip`.
    OldestFirst { after: Option<Position>, tip: i64 },
    /// As they were appended: misses none.
    Appended { after: i64 },
}

/// An event's place in the order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) time: Timestamp,
    pub(crate) seq: i64,
}

/// An event as it was written.
#[derive(Clone, Debug)]
pub(crate) struct StoredEvent {
    pub(crate) position: Position,
    pub(crate) json: Box<RawValue>,
}

/// Why the store did not do as asked.
#[derive(Debug)]
pub enum StoreError {
    /// Something live has the name already.
    NameTaken,
    /// The search took too long and was given up.
    TooSlow,
    /// The database was made by a newer version of this program.
    Newer { found: i64, known: i64 },
    /// The database, its disk or its thread failed.
    Failed(Box<dyn Error + Send + Sync>),
}

impl Key {
    /// Whether the key would be accepted at `now`.
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.revocation.is_none() && self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

impl Actor {
    /// How the actor stands in audit records.
    pub(crate) fn label(&self) -> &str {
        match self {
            Self::Socket => "socket",
            Self::AdminToken(id) => id,
            Self::Start => "start",
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

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameTaken => f.write_str("the name is taken"),
            Self::TooSlow => write!(f, "the search took longer than {} s", SEARCH_TIME_MAX.as_secs()),
            Self::Newer { found, known } => write!(
                f,
                "it was made by a newer version of this program (schema {found}, this program knows up to {known})"
            ),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl Error for StoreError {}

#[cfg(test)]
pub(crate) mod conformance;
