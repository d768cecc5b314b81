//! What every store must do, whatever it is made of. A backend runs [`key_store`] or [`event_store`] on an empty one.

use std::sync::Arc;

use tempfile::TempDir;

use crate::control::data_dir::DataDir;

use super::sqlite::SqliteStore;
use super::{EventStore, KeyStore};

mod access; // the pepper's check and admin tokens
mod keys; // found, listed, changed, rotated, used, revoked
mod teams; // unique, and never removed beneath a live key
mod events; // numbered, found, in pages
mod samples; // stored things to try it with

pub(crate) use samples::{append, audit, event, group, key, opening};

/// Every law of a store of keys. Each goes on with what the ones before it have stored.
pub(crate) async fn key_store(store: &impl KeyStore) {
    access::a_pepper_check_is_kept(store).await;
    access::admin_tokens_are_kept(store).await;
    teams::teams_have_unique_names(store).await;
    keys::keys_are_found_by_id_and_name(store).await;
    keys::live_names_are_unique(store).await;
    keys::keys_are_listed_in_pages(store).await;
    keys::changes_of_a_key_are_kept(store).await;
    keys::a_rotation_needs_the_newest_text(store).await;
    keys::uses_are_kept_where_they_are_later(store).await;
    keys::standings_agree_with_the_filter(store).await;
    keys::many_are_revoked_at_once(store).await;
    teams::a_team_in_use_stays(store).await;
}

/// Every law of an event log.
pub(crate) async fn event_store(store: &impl EventStore) {
    events::events_are_numbered_and_repeatable(store).await;
    events::searches_agree_with_the_filter(store).await;
    events::pages_meet_without_gap_or_overlap(store).await;
    events::groups_follow_one_another(store);
}

/// An empty SQLite store; the directory lives as long as the first value.
pub(crate) fn sqlite() -> (TempDir, Arc<SqliteStore>) {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(Arc::new(DataDir::open(dir.path()).unwrap())).unwrap();
    (dir, Arc::new(store))
}
