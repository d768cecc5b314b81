//! What a key, a team and a key's text are worth at this moment.
//!
//! These states outlive catalogs: the same one belongs to its key, team or text for as long as the process
//! runs. A change here waits for no snapshot; one store is seen by the next request and by every answer that is
//! running. Whoever wants more than to be seen, namely that a request which waits for its provider learns of it
//! at once, calls [`KeyState::interrupt_lapsed`].

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::domain::{Permissions, Timestamp};
use crate::journal::KeySeries;

use super::{Credential, Learned, Quota, Repeats};

/// How often a text's last use is noted at most. It is for people, who do not ask for less than a second.
const USE_NOTED_EVERY_MICROS: i64 = 1_000_000;
/// Stands for "never" where a time is kept in an atomic.
const NEVER: i64 = i64::MAX;

/// Why a credential may not be used, now or any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    Revoked,
    Expired,
    /// The key was rotated, and the overlap of this text has ended.
    Rotated,
    TeamSuspended,
}

/// What a key may do now, and what it is doing.
#[derive(Debug)]
pub struct KeyState {
    revoked: AtomicBool,
    expires_at: AtomicI64,
    /// Absent where nothing is restricted, which is the most common case and must cost no memory.
    permissions: ArcSwapOption<Permissions>,
    quota: Quota,
    learned: Learned,
    repeats: Repeats,
    running: Mutex<Vec<Running>>,
    ids: AtomicU64,
    series: ArcSwap<KeySeries>,
}

/// What a team may do now.
#[derive(Debug)]
pub struct TeamState {
    suspended: AtomicBool,
    permissions: ArcSwap<Permissions>,
    quota: Quota,
}

/// One text of a key: until when it may be used, and when it was.
#[derive(Debug)]
pub struct SecretState {
    valid_until: AtomicI64,
    noted_at: AtomicI64,
    last_use: ArcSwapOption<LastUse>,
}

/// When, with what and from where a text was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastUse {
    pub at: Timestamp,
    pub client: &'static str,
    pub address: Option<IpAddr>,
}

/// How a running request is woken.
#[derive(Clone, Debug)]
pub enum Interrupt {
    /// `call` is called with `handle`.
    Call { call: fn(i32), handle: i32 },
    /// Whoever waits on it goes on.
    Notify(Arc<Notify>),
}

#[derive(Debug)]
struct Running {
    id: u64,
    // A circle of references for as long as the request runs.
    credential: Credential,
    interrupt: Interrupt,
}

/// A request that can be interrupted until this is dropped.
#[derive(Debug)]
pub struct Interruptible {
    key: Arc<KeyState>,
    id: u64,
}

impl KeyState {
    pub fn new(series: Arc<KeySeries>) -> Self {
        Self {
            revoked: AtomicBool::new(false),
            expires_at: AtomicI64::new(NEVER),
            permissions: ArcSwapOption::empty(),
            quota: Quota::default(),
            learned: Learned::default(),
            repeats: Repeats::default(),
            running: Mutex::default(),
            ids: AtomicU64::new(0),
            series: ArcSwap::new(series),
        }
    }

    /// The metrics of this key.
    pub fn series(&self) -> Arc<KeySeries> {
        self.series.load_full()
    }

    /// Lets requests to come be counted elsewhere: the key has another name or team now.
    pub fn count_as(&self, series: Arc<KeySeries>) {
        self.series.store(series);
    }

    /// Revokes the key, for requests to come and for those that are running.
    pub fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
    }

    pub fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    pub fn expire_at(&self, time: Option<Timestamp>) {
        self.expires_at.store(micros(time), Ordering::Release);
    }

    pub fn expires_at(&self) -> Option<Timestamp> {
        time(self.expires_at.load(Ordering::Acquire))
    }

    pub fn permit(&self, permissions: Permissions) {
        self.permissions.store((!permissions.allow_all()).then(|| Arc::new(permissions)));
    }

    /// What the key may use; `None` if nothing is restricted.
    pub fn permissions(&self) -> Guard<Option<Arc<Permissions>>> {
        self.permissions.load()
    }

    /// What the key may use, and has used.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// How large the key's answers are.
    pub fn learned(&self) -> &Learned {
        &self.learned
    }

    /// What the key has sent again after bad endings.
    pub fn repeats(&self) -> &Repeats {
        &self.repeats
    }

    /// How many requests run on a credential of this key that has lapsed: they are about to end.
    pub fn lapsed_running(&self, now: Timestamp) -> usize {
        self.running.lock().iter().filter(|running| running.credential.lapse(now).is_some()).count()
    }

    /// Wakes the running requests of this key whose credential has lapsed. How many there were. One whose
    /// credential still holds must not be woken: it would take that for its client leaving.
    pub fn interrupt_lapsed(&self, now: Timestamp) -> usize {
        // Called under the lock: a request that is about to end waits for it, so that its handle is still its own.
        let running = self.running.lock();
        let lapsed = running.iter().filter(|running| running.credential.lapse(now).is_some());
        lapsed.map(|Running { interrupt, .. }| interrupt.give()).count()
    }
}

impl Interrupt {
    fn give(&self) {
        match self {
            Self::Call { call, handle } => call(*handle),
            Self::Notify(waiting) => waiting.notify_one(),
        }
    }
}

impl Credential {
    /// Lets a request on this credential be interrupted for as long as the answer is kept.
    pub fn running(&self, interrupt: Interrupt) -> Interruptible {
        let state = &self.key.state;
        let id = state.ids.fetch_add(1, Ordering::Relaxed);
        state.running.lock().push(Running { id, credential: self.clone(), interrupt });
        Interruptible { key: state.clone(), id }
    }
}

impl Drop for Interruptible {
    fn drop(&mut self) {
        let mut running = self.key.running.lock();
        if let Some(at) = running.iter().position(|running| running.id == self.id) {
            running.swap_remove(at);
        }
    }
}

impl TeamState {
    pub fn new(permissions: Permissions) -> Self {
        let (suspended, permissions) = (AtomicBool::new(false), ArcSwap::from_pointee(permissions));
        Self { suspended, permissions, quota: Quota::default() }
    }

    pub fn suspend(&self, suspended: bool) {
        self.suspended.store(suspended, Ordering::Release);
    }

    pub fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Acquire)
    }

    pub fn permit(&self, permissions: Permissions) {
        self.permissions.store(Arc::new(permissions));
    }

    pub fn permissions(&self) -> Guard<Arc<Permissions>> {
        self.permissions.load()
    }

    /// What the team may use, and has used.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }
}

impl SecretState {
    pub fn end_at(&self, time: Option<Timestamp>) {
        self.valid_until.store(micros(time), Ordering::Release);
    }

    pub fn valid_until(&self) -> Option<Timestamp> {
        time(self.valid_until.load(Ordering::Acquire))
    }

    /// Notes that the text was used, at most once a second.
    pub fn used(&self, at: Timestamp, client: &'static str, address: Option<IpAddr>) {
        let noted = self.noted_at.load(Ordering::Relaxed);
        let now = at.as_micros();
        let due = now.saturating_sub(noted) >= USE_NOTED_EVERY_MICROS;
        if due && self.noted_at.compare_exchange(noted, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.last_use.store(Some(Arc::new(LastUse { at, client, address })));
        }
    }

    /// The last use that was noted in this process.
    pub fn last_use(&self) -> Option<LastUse> {
        self.last_use.load().as_deref().copied()
    }
}

impl Default for SecretState {
    fn default() -> Self {
        Self { valid_until: AtomicI64::new(NEVER), noted_at: AtomicI64::new(0), last_use: ArcSwapOption::empty() }
    }
}

fn micros(time: Option<Timestamp>) -> i64 {
    time.map_or(NEVER, Timestamp::as_micros)
}

fn time(micros: i64) -> Option<Timestamp> {
    (micros != NEVER).then_some(Timestamp::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI32;

    use crate::catalog::KeyRecord;

    use super::*;

    #[test]
    fn only_running_requests_whose_credential_has_lapsed_are_woken() {
        static WOKEN: AtomicI32 = AtomicI32::new(0);
        let wake = |handle| Interrupt::Call { call: |handle| _ = WOKEN.fetch_add(handle, Ordering::Relaxed), handle };
        let woken = || WOKEN.load(Ordering::Relaxed);
        let now = Timestamp::from_micros(1_000);
        let state = Arc::new(KeyState::new(Arc::new(KeySeries::detached("jane", "none"))));
        let key = Arc::new(KeyRecord { id: "ak_1".into(), name: "jane".into(), team: None, state: state.clone() });
        let [old, new] = [(); 2].map(|()| Credential { key: key.clone(), secret: Arc::default() });
        let (on_old, on_new) = (old.running(wake(1)), new.running(wake(10)));
        assert_eq!((state.interrupt_lapsed(now), woken()), (0, 0));
        old.secret.end_at(Some(now));
        assert_eq!((state.interrupt_lapsed(now), state.lapsed_running(now), woken()), (1, 1, 1));
        state.revoke();
        assert_eq!((state.interrupt_lapsed(now), woken()), (2, 12));
        drop(on_old);
        assert_eq!((state.interrupt_lapsed(now), woken()), (1, 22));
        drop(on_new);
        assert_eq!((state.interrupt_lapsed(now), state.lapsed_running(now), woken()), (0, 0, 22));
    }

    #[test]
    fn uses_are_noted_once_a_second() {
        let secret = SecretState::default();
        let at = |micros| Timestamp::from_micros(micros);
        assert_eq!(secret.last_use(), None);
        secret.used(at(5_000_000), "curl", None);
        secret.used(at(5_999_999), "codex", None);
        assert_eq!(secret.last_use().map(|used| used.client), Some("curl"));
        secret.used(at(6_000_000), "codex", None);
        assert_eq!(secret.last_use().map(|used| (used.at, used.client)), Some((at(6_000_000), "codex")));
    }
}
