//! Every change: validated, made durable with its audit record, published, and only then answered.
//!
//! What takes something away keeps one order: it is durable, then it holds for every request to come, then
//! running requests are woken to notice, then it is acknowledged. An acknowledgement is therefore a promise. A revocation
//! that cannot be made durable holds all the same, and is not acknowledged.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard};

use crate::domain::{Name, Pepper, Permissions, Timestamp};
use crate::journal::Metrics;

use super::admin_tokens::AdminTokens;
use super::configuration::Configuration;
use super::handover::Predecessor;
use super::now;
use super::publish::{Publisher, Woken};
use super::store::KeyStore;

mod error; // why a change was not made
mod keys; // made, changed, rotated, revoked
mod teams; // made, changed, suspended, removed
mod admin_tokens; // made, revoked
mod uses; // when keys were used, every now and then
mod configuration; // read again, put in force

pub(crate) use error::OfficeError;
pub(crate) use keys::{KeyPatch, NewKey, NewKeyKind, Revocations};
pub(crate) use teams::{NewTeam, TeamPatch};

use error::taken;

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

    /// Waits for the change that is being made, and makes no other: another process will.
    pub(super) async fn close(&self) {
        std::mem::forget(self.desk.turn.lock().await);
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
