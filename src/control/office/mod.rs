//! Every change: validated, made durable with its audit record, published, and only then answered.
//!
//! What takes something away keeps one order: it is durable, then it holds for every request to come, then
//! running requests are woken to notice, then it is acknowledged. An acknowledgement is therefore a promise. A revocation
//! that cannot be made durable holds all the same, and is not acknowledged.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard};

use crate::domain::{LimitsError, Name, NameError, Pepper, Permissions, Timestamp};
use crate::journal::Metrics;

use super::admin_tokens::AdminTokens;
use super::configuration::Configuration;
use super::handover::Predecessor;
use super::now;
use super::publish::{Publisher, Woken};
use super::store::{KeyStore, PAGE_MAX, StoreError};

mod keys; // made, changed, rotated, revoked
mod teams; // made, changed, suspended, removed
mod admin_tokens; // made, revoked
mod uses; // when keys were used, every now and then
mod configuration; // read again, put in force

pub(crate) use keys::{KeyPatch, NewKey, NewKeyKind, Revocations};
pub(crate) use teams::{NewTeam, TeamPatch};

/// The longest reason for a revocation, in characters.
const REASON_CHARS_MAX: usize = 200;
/// How the texts and ids of keys begin. A key's name cannot: whoever reads one would take it for the other,
/// and a key pasted where its name belongs would be kept in clear.
const KEY_PREFIXES: [&str; 3] = ["kt_", "ak_", "gk_"];
const TEAM_PREFIXES: [&str; 2] = ["kt_", "team_"];
const ADMIN_TOKEN_PREFIXES: [&str; 2] = ["kt_", "adm_"];

/// How long a change waits for the last word of the running requests that it ends.
const LAST_WORD_TIME_MAX: Duration = Duration::from_secs(1);
/// How far ahead a key may expire. Later is a mistake, or never.
const EXPIRY_TIME_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
/// How long an old text may go on after a rotation.
pub(crate) const OVERLAP_TIME_MAX: Duration = Duration::from_secs(90 * 24 * 60 * 60);

#[derive(Clone)]
pub(crate) struct Office {
    desk: Arc<Desk>,
}

struct Desk {
    store: Arc<dyn KeyStore>,
    publisher: Arc<Publisher>,
    configuration: Configuration,
    pepper: Pepper,
    tokens: AdminTokens,
    metrics: Arc<Metrics>,
    /// Changes are made one after the other, so that they are published in the order they became durable.
    turn: Mutex<()>,
    /// The same for reading the configuration again.
    reload: Mutex<()>,
    uses: Mutex<uses::Written>,
    /// The process before this one, if it still serves what it had begun.
    predecessor: Option<Predecessor>,
}

/// Why a change was not made.
#[derive(Debug)]
pub(crate) enum OfficeError {
    Name(NameError),
    NamePrefix(&'static str),
    NameTaken(String),
    TeamUnknown,
    /// Where the team is what is to be changed.
    TeamMissing,
    TeamInUse(u64),
    ExpiryPast,
    ExpiryFar,
    Overlap,
    Permissions(&'static str),
    Limits(LimitsError),
    Reason,
    KeyUnknown,
    KeyRevoked,
    KeyExpired,
    RotationConflict,
    TooMany,
    AdminTokenUnknown,
    AdminTokenLast,
    AdminTokensMax,
    /// Every fault of a configuration that was read again.
    Configuration(Vec<String>),
    Random(getrandom::Error),
    Store(StoreError),
    /// The keys are refused from now on, but another process would not know.
    RevocationNotKept(StoreError),
    /// The process is stopping.
    Stopping,
}

impl Office {
    pub(super) fn new(
        store: Arc<dyn KeyStore>,
        publisher: Arc<Publisher>,
        configuration: Configuration,
        (pepper, tokens): (Pepper, AdminTokens),
        metrics: Arc<Metrics>,
        predecessor: Option<Predecessor>,
    ) -> Self {
        let (turn, reload, uses) = Default::default();
        let desk = Desk { store, publisher, configuration, pepper, tokens, metrics, turn, reload, uses, predecessor };
        Self { desk: Arc::new(desk) }
    }

    /// Runs a change to its end, also if whoever asked for it hangs up: a change that is durable but not
    /// published would be a revoked key that still works.
    async fn to_the_end<T, F>(&self, change: impl FnOnce(Arc<Desk>) -> F) -> Result<T, OfficeError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, OfficeError>> + Send + 'static,
    {
        tokio::spawn(change(self.desk.clone())).await.unwrap_or(Err(OfficeError::Stopping))
    }

    /// Lets running requests notice what has ended since the last time.
    pub(super) fn tick(&self) {
        self.desk.publisher.tick(now());
    }
}

impl Desk {
    /// Runs `apply`, which makes something that is durable hold, waits for the running requests that it ends, and
    /// measures both. The next change need not wait for that: `turn` is given back before.
    async fn apply(&self, turn: Option<MutexGuard<'_, ()>>, apply: impl FnOnce(&Publisher, &mut Woken)) {
        let begun = Instant::now();
        let mut woken = Woken::new(now());
        apply(&self.publisher, &mut woken);
        // In the order of the changes, too.
        let told = self.predecessor.as_ref().map(|predecessor| predecessor.tell(woken.take_changes()));
        drop(turn);
        let told = async {
            if let Some(told) = told {
                told.await;
            }
        };
        let (left, ()) = tokio::join!(woken.ended(LAST_WORD_TIME_MAX), told);
        if left > 0 {
            log::warn!("{left} requests of a key that may not go on have not ended yet: their clients do not read");
        }
        self.metrics.revocation_applied(begun.elapsed());
    }
}

fn checked_name(text: &str, reserved: &[&'static str]) -> Result<Name, OfficeError> {
    match reserved.iter().find(|prefix| text.starts_with(**prefix)) {
        Some(prefix) => Err(OfficeError::NamePrefix(prefix)),
        None => Name::parse(text).map_err(OfficeError::Name),
    }
}

fn checked_expiry(expires_at: Option<Timestamp>, now: Timestamp) -> Result<(), OfficeError> {
    match expires_at {
        Some(time) if time <= now => Err(OfficeError::ExpiryPast),
        Some(time) if time > now.saturating_add(EXPIRY_TIME_MAX) => Err(OfficeError::ExpiryFar),
        _ => Ok(()),
    }
}

fn checked_permissions(permissions: &Permissions) -> Result<(), OfficeError> {
    let Permissions { models, providers, endpoints, networks } = permissions;
    let patterns = [("models", models), ("providers", providers), ("endpoints", endpoints)];
    let lengths = patterns.into_iter().map(|(list, patterns)| (list, patterns.as_ref().map_or(0, Vec::len)));
    let mut lengths = lengths.chain([("networks", networks.as_ref().map_or(0, Vec::len))]);
    match lengths.find(|(_, length)| *length > Permissions::ENTRIES_MAX) {
        Some((list, _)) => Err(OfficeError::Permissions(list)),
        None => Ok(()),
    }
}

fn checked_reason(reason: Option<&str>) -> Result<(), OfficeError> {
    let is_reason = |text: &str| {
        !text.is_empty() && text.chars().count() <= REASON_CHARS_MAX && !text.chars().any(char::is_control)
    };
    if reason.is_none_or(is_reason) { Ok(()) } else { Err(OfficeError::Reason) }
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
            Self::TeamUnknown | Self::TeamMissing => {
                f.write_str("there is no team with this id or name: `kt teams create` makes one")
            }
            Self::TeamInUse(1) => f.write_str("a key that is not revoked belongs to the team: revoke or move it first"),
            Self::TeamInUse(keys) => {
                write!(f, "{keys} keys that are not revoked belong to the team: revoke or move them first")
            }
            Self::ExpiryPast => f.write_str("the key would already have expired: choose a time to come, or revoke it"),
            Self::ExpiryFar => f.write_str("a key expires within a hundred years: choose an earlier time, or none"),
            Self::Overlap => {
                let days = OVERLAP_TIME_MAX.as_secs() / (24 * 60 * 60);
                write!(f, "an overlap lasts at most {days} days; 0 ends the old text at once")
            }
            Self::Permissions(list) => {
                write!(f, "{list} has at most {} entries: use patterns such as gpt-*", Permissions::ENTRIES_MAX)
            }
            Self::Limits(error) => error.fmt(f),
            Self::Reason => write!(f, "a reason has 1 to {REASON_CHARS_MAX} characters and no control characters"),
            Self::KeyUnknown => {
                f.write_str("there is no key with this id or name: `kt keys list` shows those there are")
            }
            Self::KeyRevoked => f.write_str("the key is revoked, which is for ever: make a new one"),
            Self::KeyExpired => f.write_str("the key has expired: give it a later expiry first (`kt keys update`)"),
            Self::RotationConflict => f.write_str(
                "somebody else rotated the key at the same time, and that rotation holds: \
                 nothing was changed by this one",
            ),
            Self::TooMany => write!(f, "name 1 to {PAGE_MAX} keys at a time"),
            Self::AdminTokenUnknown => f.write_str("there is no admin token with this id or name"),
            Self::AdminTokenLast => f.write_str(
                "this is the last token with the role of an admin: make another one first (`kt admin-tokens create`)",
            ),
            Self::AdminTokensMax => write!(f, "there are {PAGE_MAX} admin tokens already: revoke some first"),
            Self::Configuration(faults) => {
                write!(f, "{}\nthe configuration in force stays as it was", faults.join("\n"))
            }
            Self::Random(error) => write!(f, "failed to get random bytes from the operating system: {error}"),
            Self::Store(error) => write!(f, "the store failed: {error}"),
            Self::RevocationNotKept(_) => f.write_str(
                "this gateway refuses what was to be revoked from now on, but could not keep that; its log says why. \
                 Revoke again until it succeeds, or a restart would accept it again",
            ),
            Self::Stopping => f.write_str("the gateway is stopping"),
        }
    }
}

impl std::error::Error for OfficeError {}
