//! Every key by the digest of each of its texts.
//!
//! The index is immutable like the rest of the catalog, but a change copies only one of its shards: with a
//! million keys, creating one copies about a thousand pointers.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use crate::domain::{KeyDigest, Timestamp};

use super::standing::{KeyState, Lapse, SecretState, TeamState};

const SHARDS: usize = 1024;

/// How near the end of a credential is when it matters that the clock of the last tick is late.
const NEAR: Duration = Duration::from_secs(1);

/// What a caller shows: one of a key's texts, and the key it belongs to. A key has two texts while a rotation
/// overlaps.
#[derive(Clone, Debug)]
pub struct Credential {
    pub key: Arc<KeyRecord>,
    pub secret: Arc<SecretState>,
}

/// What the gateway knows about one key.
#[derive(Debug)]
pub struct KeyRecord {
    /// `ak_…`: no secret.
    pub id: Arc<str>,
    pub name: Arc<str>,
    pub team: Option<Arc<Team>>,
    pub state: Arc<KeyState>,
}

/// A team as requests are attributed to it.
#[derive(Debug)]
pub struct Team {
    pub id: Arc<str>,
    pub name: Arc<str>,
    pub state: TeamState,
}

/// All keys, revoked ones included, so that they are told from unknown ones.
#[derive(Clone, Debug)]
pub struct KeyIndex {
    shards: Arc<[Arc<Shard>]>,
    len: usize,
}

type Shard = HashMap<KeyDigest, Credential, BuildHasherDefault<DigestHasher>>;

impl Credential {
    /// Why the credential may not be used, now or any more. Asked for every request, and for every piece of a
    /// running answer: a few loads.
    pub fn lapse(&self, now: Timestamp) -> Option<Lapse> {
        let suspended = || self.key.team.as_ref().is_some_and(|team| team.state.is_suspended());
        if self.key.state.is_revoked() {
            Some(Lapse::Revoked)
        } else if self.key.state.expires_at().is_some_and(|expiry| expiry <= now) {
            Some(Lapse::Expired)
        } else if self.secret.valid_until().is_some_and(|end| end <= now) {
            Some(Lapse::Rotated)
        } else {
            suspended().then_some(Lapse::TeamSuspended)
        }
    }

    /// The same, now. The clock is read only where the credential ends at a time, and the exact one where that is near.
    pub fn lapse_now(&self) -> Option<Lapse> {
        let end = self.key.state.expires_at().into_iter().chain(self.secret.valid_until()).min();
        let is_near = end.is_some_and(|end| end <= at_last_tick().saturating_add(NEAR));
        self.lapse(if is_near { SystemTime::now().into() } else { Timestamp::from_micros(0) })
    }
}

/// The wall clock as of the system's last tick, which is no more than ten milliseconds ago (clock_gettime(2),
/// `CLOCK_REALTIME_COARSE`). The exact one takes four times as long, and this is asked for every piece of an answer.
fn at_last_tick() -> Timestamp {
    let at = |time: TimeSpec| Timestamp::from_micros(time.tv_sec() * 1_000_000 + time.tv_nsec() / 1000);
    clock_gettime(ClockId::CLOCK_REALTIME_COARSE).map_or_else(|_| SystemTime::now().into(), at)
}

impl KeyIndex {
    pub fn find(&self, digest: &KeyDigest) -> Option<&Credential> {
        self.shards[shard_of(digest)].get(digest)
    }

    /// Adds a credential, or replaces what was known of it.
    pub fn insert(&mut self, digest: KeyDigest, credential: Credential) {
        let shard = &mut Arc::make_mut(&mut self.shards)[shard_of(&digest)];
        let before = Arc::make_mut(shard).insert(digest, credential);
        self.len += usize::from(before.is_none());
    }

    /// Forgets a credential: it is unknown from now on.
    pub fn remove(&mut self, digest: &KeyDigest) {
        let shard = &mut Arc::make_mut(&mut self.shards)[shard_of(digest)];
        if shard.contains_key(digest) {
            Arc::make_mut(shard).remove(digest);
            self.len -= 1;
        }
    }

    /// Every credential with its digest, in no order.
    pub fn entries(&self) -> impl Iterator<Item = (&KeyDigest, &Credential)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// Every credential, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Credential> {
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

impl FromIterator<(KeyDigest, Credential)> for KeyIndex {
    fn from_iter<I: IntoIterator<Item = (KeyDigest, Credential)>>(credentials: I) -> Self {
        let mut shards = vec![Shard::default(); SHARDS];
        for (digest, credential) in credentials {
            shards[shard_of(&digest)].insert(digest, credential);
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
    use crate::domain::Permissions;
    use crate::journal::KeySeries;

    use super::*;

    fn digest(number: u32) -> KeyDigest {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        bytes[28..].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
        KeyDigest(bytes)
    }

    fn credential(name: &str, team: Option<Arc<Team>>) -> Credential {
        let state = Arc::new(KeyState::new(Arc::new(KeySeries::detached(name, "none"))));
        let key = KeyRecord { id: name.into(), name: name.into(), team, state };
        Credential { key: Arc::new(key), secret: Arc::default() }
    }

    #[test]
    fn a_change_is_seen_only_by_the_next_index() {
        let before: KeyIndex = (0..5000).map(|n| (digest(n), credential(&n.to_string(), None))).collect();
        let mut after = before.clone();
        after.insert(digest(5000), credential("new", None));
        after.insert(digest(7), credential("changed", None));
        assert_eq!((before.len(), after.len()), (5000, 5001));
        assert!(before.find(&digest(5000)).is_none());
        assert_eq!(after.find(&digest(5000)).map(|found| &*found.key.name), Some("new"));
        assert_eq!(before.find(&digest(7)).map(|found| &*found.key.name), Some("7"));
        assert_eq!(after.find(&digest(7)).map(|found| &*found.key.name), Some("changed"));
        assert_eq!((after.iter().count(), after.entries().count()), (5001, 5001));
        let mut less = after.clone();
        less.remove(&digest(7));
        less.remove(&digest(7));
        assert!(less.find(&digest(7)).is_none() && after.find(&digest(7)).is_some());
        assert_eq!(less.len(), 5000);
    }

    #[test]
    fn a_lapse_reaches_every_holder_of_the_credential() {
        let now = Timestamp::from_micros(1_000);
        let team =
            Arc::new(Team { id: "team_1".into(), name: "a".into(), state: TeamState::new(Permissions::default()) });
        let credential = credential("jane", Some(team.clone()));
        let running = credential.clone();
        assert_eq!(running.lapse(now), None);
        team.state.suspend(true);
        assert_eq!(running.lapse(now), Some(Lapse::TeamSuspended));
        credential.secret.end_at(Some(now));
        assert_eq!(running.lapse(now), Some(Lapse::Rotated));
        credential.key.state.expire_at(Some(now));
        assert_eq!(running.lapse(now), Some(Lapse::Expired));
        assert_eq!(running.lapse(Timestamp::from_micros(999)), Some(Lapse::TeamSuspended));
        credential.key.state.revoke();
        assert_eq!(running.lapse(now), Some(Lapse::Revoked));
    }

    #[test]
    fn what_ends_now_has_lapsed_now() {
        let credential = credential("jane", None);
        assert_eq!(credential.lapse_now(), None);
        // Within one tick of the system's clock, too.
        for _ in 0..100 {
            credential.secret.end_at(Some(SystemTime::now().into()));
            assert_eq!(credential.lapse_now(), Some(Lapse::Rotated));
            let later = Timestamp::from(SystemTime::now()).saturating_add(Duration::from_secs(60));
            credential.secret.end_at(Some(later));
            assert_eq!(credential.lapse_now(), None);
        }
    }
}
