//! Every change: validated, made durable with its audit record, published, and only then answered.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::Mutex;

use crate::domain::{KeyKind, KeyText, Name, NameError, Pepper, Timestamp};

use super::publish::Publisher;
use super::store::{Actor, Audit, Key, KeyStore, Revocation, StoreError, Team, TeamRef};
use super::{ids, now};

/// The longest reason for a revocation, in characters.
const REASON_CHARS_MAX: usize = 200;
/// How the texts and ids of keys begin. A key's name cannot: whoever reads one would take it for the other,
/// and a key pasted where its name belongs would be kept in clear.
const KEY_PREFIXES: [&str; 3] = ["kt_", "ak_", "gk_"];
const TEAM_PREFIXES: [&str; 2] = ["kt_", "team_"];

#[derive(Clone)]
pub(crate) struct Office {
    desk: Arc<Desk>,
}

struct Desk {
    store: Arc<dyn KeyStore>,
    publisher: Arc<Publisher>,
    pepper: Pepper,
    /// Changes are made one after the other, so that they are published in the order they became durable.
    turn: Mutex<()>,
}

/// What a new key is to be.
pub(crate) struct NewKey {
    pub(crate) name: String,
    /// The id or name of its team.
    pub(crate) team: Option<String>,
    pub(crate) kind: NewKeyKind,
    pub(crate) expires_at: Option<Timestamp>,
}

/// The kinds of key that can be asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NewKeyKind {
    Access,
    Gateway,
}

/// A key that is revoked now.
pub(crate) struct Revoked {
    pub(crate) key: Key,
    /// It had been before, and nothing was changed.
    pub(crate) already: bool,
    /// From the store's transaction to the moment no request could use it any more.
    pub(crate) took: Duration,
}

/// Why a change was not made.
#[derive(Debug)]
pub(crate) enum OfficeError {
    Name(NameError),
    NamePrefix(&'static str),
    NameTaken(String),
    TeamUnknown,
    ExpiryPast,
    Reason,
    KeyUnknown,
    Random(getrandom::Error),
    Store(StoreError),
    /// The process is stopping.
    Stopping,
}

impl Office {
    pub(super) fn new(store: Arc<dyn KeyStore>, publisher: Arc<Publisher>, pepper: Pepper) -> Self {
        Self { desk: Arc::new(Desk { store, publisher, pepper, turn: Mutex::default() }) }
    }

    /// Makes a key and gives its clear text, which is kept nowhere.
    pub(crate) async fn create_key(&self, new: NewKey, actor: Actor) -> Result<(Key, KeyText), OfficeError> {
        let desk = self.desk.clone();
        to_the_end(async move { desk.create_key(new, actor).await }).await
    }

    /// Revokes the key with this id or name.
    pub(crate) async fn revoke_key(
        &self,
        id_or_name: String,
        reason: Option<String>,
        actor: Actor,
    ) -> Result<Revoked, OfficeError> {
        let desk = self.desk.clone();
        to_the_end(async move { desk.revoke_key(id_or_name, reason, actor).await }).await
    }

    pub(crate) async fn create_team(&self, name: String, actor: Actor) -> Result<Team, OfficeError> {
        let desk = self.desk.clone();
        to_the_end(async move { desk.create_team(name, actor).await }).await
    }
}

/// Runs a change to its end, also if whoever asked for it hangs up: a change that is durable but not
/// published would be a revoked key that still works.
async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, OfficeError>> + Send + 'static,
) -> Result<T, OfficeError> {
    tokio::spawn(change).await.unwrap_or(Err(OfficeError::Stopping))
}

impl Desk {
    async fn create_key(&self, new: NewKey, actor: Actor) -> Result<(Key, KeyText), OfficeError> {
        let created_at = now();
        let name = checked_name(&new.name, &KEY_PREFIXES)?;
        if new.expires_at.is_some_and(|expires_at| expires_at <= created_at) {
            return Err(OfficeError::ExpiryPast);
        }
        let team = match new.team {
            Some(team) => Some(self.team(team).await?),
            None => None,
        };
        let (kind, id_prefix) = match new.kind {
            NewKeyKind::Access => (KeyKind::Access, "ak_"),
            NewKeyKind::Gateway => (KeyKind::Gateway, "gk_"),
        };
        let text = KeyText::mint(kind, getrandom::fill).map_err(OfficeError::Random)?;
        let key = Key {
            id: ids::short_id(id_prefix).map_err(OfficeError::Random)?,
            kind,
            name: name.to_string(),
            team,
            digest: self.pepper.digest(text.expose()),
            shown: text.shown().into(),
            created_at,
            expires_at: new.expires_at,
            revocation: None,
        };
        let team = key.team.as_ref().map(|team| &team.id);
        let detail = json!({
            "name": key.name, "type": kind.label(), "team": team, "shown": key.shown, "expires_at": key.expires_at,
        });
        let audit = Audit { actor, action: "key.create", target: key.id.clone(), time: created_at, detail };
        let _turn = self.turn.lock().await;
        self.store.create_key(key.clone(), audit).await.map_err(|error| taken(error, &key.name))?;
        self.publisher.add(&key, created_at);
        Ok((key, text))
    }

    async fn revoke_key(
        &self,
        id_or_name: String,
        reason: Option<String>,
        actor: Actor,
    ) -> Result<Revoked, OfficeError> {
        if reason.as_deref().is_some_and(|reason| !is_reason(reason)) {
            return Err(OfficeError::Reason);
        }
        let _turn = self.turn.lock().await;
        let found = self.store.find_key(&id_or_name).await.map_err(OfficeError::Store)?;
        let mut key = found.ok_or(OfficeError::KeyUnknown)?;
        let revocation = Revocation { time: now(), reason };
        let detail = json!({ "name": key.name, "reason": revocation.reason });
        let audit = Audit { actor, action: "key.revoke", target: key.id.clone(), time: revocation.time, detail };
        let begun = Instant::now();
        let revoked = self.store.revoke_key(&key.id, revocation.clone(), audit).await.map_err(OfficeError::Store)?;
        self.publisher.revoke(&key);
        let took = begun.elapsed();
        if revoked {
            key.revocation = Some(revocation);
        }
        Ok(Revoked { key, already: !revoked, took })
    }

    async fn create_team(&self, name: String, actor: Actor) -> Result<Team, OfficeError> {
        let name = checked_name(&name, &TEAM_PREFIXES)?;
        let id = ids::short_id("team_").map_err(OfficeError::Random)?;
        let team = Team { id, name: name.to_string(), created_at: now() };
        let detail = json!({ "name": team.name });
        let audit = Audit { actor, action: "team.create", target: team.id.clone(), time: team.created_at, detail };
        let _turn = self.turn.lock().await;
        self.store.create_team(team.clone(), audit).await.map_err(|error| taken(error, &team.name))?;
        Ok(team)
    }

    async fn team(&self, id_or_name: String) -> Result<TeamRef, OfficeError> {
        let found = self.store.find_team(&id_or_name).await.map_err(OfficeError::Store)?;
        let team = found.ok_or(OfficeError::TeamUnknown)?;
        Ok(TeamRef { id: team.id, name: team.name })
    }
}

fn checked_name(text: &str, reserved: &[&'static str]) -> Result<Name, OfficeError> {
    match reserved.iter().find(|prefix| text.starts_with(**prefix)) {
        Some(prefix) => Err(OfficeError::NamePrefix(prefix)),
        None => Name::parse(text).map_err(OfficeError::Name),
    }
}

fn is_reason(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= REASON_CHARS_MAX && !text.chars().any(char::is_control)
}

fn taken(error: StoreError, name: &str) -> OfficeError {
    match error {
        StoreError::NameTaken => OfficeError::NameTaken(name.into()),
        error => OfficeError::Store(error),
    }
}

/// A sentence that says what to do. It repeats nothing that might be a key pasted in the wrong place.
impl fmt::Display for OfficeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(error) => error.fmt(f),
            Self::NamePrefix(prefix) => write!(f, "a name cannot begin with {prefix}, because ids or keys do"),
            Self::NameTaken(name) => {
                write!(f, "the name {name} is taken: choose another one, or revoke its holder first")
            }
            Self::TeamUnknown => f.write_str("there is no team with this id or name: `kt teams create` makes one"),
            Self::ExpiryPast => f.write_str("the key would already have expired: choose a time to come"),
            Self::Reason => write!(f, "a reason has 1 to {REASON_CHARS_MAX} characters and no control characters"),
            Self::KeyUnknown => {
                f.write_str("there is no key with this id or name: `kt keys list` shows those there are")
            }
            Self::Random(error) => write!(f, "failed to get random bytes from the operating system: {error}"),
            Self::Store(error) => write!(f, "the store failed: {error}"),
            Self::Stopping => f.write_str("the gateway is stopping"),
        }
    }
}

impl std::error::Error for OfficeError {}
