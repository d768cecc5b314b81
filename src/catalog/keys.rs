//! Every key by the digest of its text.
//!
//! The index is immutable like the rest of the catalog, but a change copies only one of its shards: with a
//! million keys, creating one copies about a thousand pointers.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::domain::{KeyDigest, Timestamp};
use crate::journal::KeySeries;

const SHARDS: usize = 1024;

/// What the gateway knows about one key.
#[derive(Debug)]
pub struct KeyRecord {
    /// `ak_…`: no secret.
    pub id: Arc<str>,
    pub name: Arc<str>,
    pub team: Option<Arc<Team>>,
    pub expires_at: Option<Timestamp>,
    pub state: Arc<KeyState>,
}

/// A team as requests are attributed to it.
#[derive(Debug)]
pub struct Team {
    pub id: Arc<str>,
    pub name: Arc<str>,
}

/// What outlives catalogs: the same state belongs to a key for as long as the process runs.
///
/// Revocation is a flag here rather than a list beside the catalog: one store is seen by the key's next
/// request and by every stream of it that is running, at the cost of one load each.
#[derive(Debug)]
pub struct KeyState {
    revoked: AtomicBool,
    pub series: Arc<KeySeries>,
}

/// All keys, revoked ones included, so that they are told from unknown ones.
#[derive(Clone, Debug)]
pub struct KeyIndex {
    shards: Arc<[Arc<Shard>]>,
    len: usize,
}

type Shard = HashMap<KeyDigest, Arc<KeyRecord>, BuildHasherDefault<DigestHasher>>;

impl KeyState {
    pub fn new(series: Arc<KeySeries>, revoked: bool) -> Self {
        Self { revoked: AtomicBool::new(revoked), series }
    }

    /// Revokes the key at once, for requests to come and for those that are running.
    pub fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
    }

    pub fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }
}

impl KeyIndex {
    pub fn find(&self, digest: &KeyDigest) -> Option<&Arc<KeyRecord>> {
        self.shards[shard_of(digest)].get(digest)
    }

    /// Adds a key, or replaces what was known of it.
    pub fn insert(&mut self, digest: KeyDigest, record: KeyRecord) {
        let shard = &mut Arc::make_mut(&mut self.shards)[shard_of(&digest)];
        let before = Arc::make_mut(shard).insert(digest, Arc::new(record));
        self.len += usize::from(before.is_none());
    }

    /// Every key, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<KeyRecord>> {
        self.shards.iter().flat_map(|shard| shard.values())
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Default for KeyIndex {
    fn default() -> Self {
        Self { shards: vec![Arc::default(); SHARDS].into(), len: 0 }
    }
}

impl FromIterator<(KeyDigest, KeyRecord)> for KeyIndex {
    fn from_iter<I: IntoIterator<Item = (KeyDigest, KeyRecord)>>(keys: I) -> Self {
        let mut shards = vec![Shard::default(); SHARDS];
        for (digest, record) in keys {
            shards[shard_of(&digest)].insert(digest, Arc::new(record));
        }
        let len = shards.iter().map(HashMap::len).sum();
        Self { shards: shards.into_iter().map(Arc::new).collect(), len }
    }
}

/// The first bytes choose the shard, the last ones the place in it.
fn shard_of(digest: &KeyDigest) -> usize {
    usize::from(u16::from_le_bytes([digest.0[0], digest.0[1]])) % SHARDS
}

/// Digests are uniform and a caller cannot choose them without the pepper, so a part of one is its hash.
#[derive(Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(tail) = bytes.last_chunk() {
            self.0 = u64::from_le_bytes(*tail);
        }
    }

    // An array's length is hashed before its content; it is always the same here.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u32) -> KeyDigest {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        bytes[28..].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
        KeyDigest(bytes)
    }

    fn record(name: &str) -> KeyRecord {
        let series = Arc::new(KeySeries::detached(name, "none"));
        let state = Arc::new(KeyState::new(series, false));
        KeyRecord { id: name.into(), name: name.into(), team: None, expires_at: None, state }
    }

    #[test]
    fn a_change_is_seen_only_by_the_next_index() {
        let before: KeyIndex = (0..5000).map(|n| (digest(n), record(&n.to_string()))).collect();
        let mut after = before.clone();
        after.insert(digest(5000), record("new"));
        after.insert(digest(7), record("changed"));
        assert_eq!((before.len(), after.len()), (5000, 5001));
        assert!(before.find(&digest(5000)).is_none());
        assert_eq!(after.find(&digest(5000)).map(|key| &*key.name), Some("new"));
        assert_eq!(before.find(&digest(7)).map(|key| &*key.name), Some("7"));
        assert_eq!(after.find(&digest(7)).map(|key| &*key.name), Some("changed"));
        assert_eq!(after.iter().count(), 5001);
    }

    #[test]
    fn revocation_reaches_every_holder_of_the_state() {
        let key = record("jane");
        let running = key.state.clone();
        assert!(!running.is_revoked());
        key.state.revoke();
        assert!(running.is_revoked());
    }
}
