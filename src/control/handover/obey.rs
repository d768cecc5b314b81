//! What the successor has changed, put in force for what still runs here.

use std::sync::Arc;
use std::time::Duration;

use crate::catalog::KeyState;
use crate::control::publish::{Publisher, Woken};
use crate::domain::{KeyDigest, Timestamp};

use super::wire::Change;

/// How long the last word of the running requests that it ends is waited for.
const LAST_WORD_TIME_MAX: Duration = Duration::from_millis(800);

/// Returns when nothing of an answer is sent any more that may not be.
pub(super) async fn obey(publisher: &Publisher, changes: Vec<Change>, now: Timestamp) {
    let mut woken = Woken::new(now);
    changes.into_iter().for_each(|change| apply(publisher, change, &mut woken));
    let left = woken.ended(LAST_WORD_TIME_MAX).await;
    if left > 0 {
        log::warn!("{left} requests of a key that may not go on have not ended yet: their clients do not read");
    }
}

fn apply(publisher: &Publisher, change: Change, woken: &mut Woken) {
    let catalog = publisher.catalog().load();
    let find = |id: &str| -> Option<Arc<KeyState>> {
        catalog.keys.iter().find(|known| *known.key.id == *id).map(|known| known.key.state.clone())
    };
    match change {
        Change::Revoked { key } => find(&key).into_iter().for_each(|state| {
            state.revoke();
            woken.wake(&state);
        }),
        Change::Expires { key, at } => find(&key).into_iter().for_each(|state| {
            state.expire_at(at);
            woken.wake(&state);
        }),
        Change::TextEnds { digest, at } => {
            // Texts that the successor made are none of ours.
            let Some(known) = catalog.keys.find(&KeyDigest(digest)) else { return };
            known.secret.end_at(at);
            woken.wake(&known.key.state);
        }
        Change::Suspended { team, is_suspended } => {
            let own = catalog.keys.iter().filter(|known| known.key.team.as_ref().is_some_and(|own| *own.id == *team));
            own.for_each(|known| {
                known.key.team.iter().for_each(|team| team.state.suspend(is_suspended));
                woken.wake(&known.key.state);
            });
        }
    }
}
