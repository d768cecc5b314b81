//! A new text for a key, and the end of its older ones.

use std::time::Duration;

use serde_json::json;

use crate::control::now;
use crate::control::office::{Desk, OVERLAP_TIME_MAX, Office, OfficeError};
use crate::control::store::{Actor, Audit, Key, KeySecret, Rotation};
use crate::domain::{KeyText, Timestamp};

/// How many texts of a key are remembered, so that an ended one is told from an unknown one.
const SECRETS_MAX: usize = 8;

/// A key with a new text.
pub(crate) struct Rotated {
    pub(crate) key: Key,
    pub(crate) text: KeyText,
    /// When the text before ends, or ended.
    pub(crate) old_valid_until: Timestamp,
}

impl Office {
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
}

impl Desk {
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
