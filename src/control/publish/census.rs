//! What has to be remembered from one publication to the next.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::catalog::{Credential, KeyIndex, KeyRecord, KeyState, Moment, SecretState, Team, TeamState};
use crate::control::store::{self, Key, KeySecret, TeamRef};
use crate::domain::{Permissions, Timestamp};
use crate::journal::Metrics;

/// The teams there are, how many keys, and when which of them end.
#[derive(Default)]
pub(super) struct Census {
    pub(super) teams: HashMap<String, Arc<Team>>,
    pub(super) live: usize,
    pub(super) revoked: usize,
    /// When each live key that expires does.
    pub(super) expiries: BTreeMap<(Timestamp, Arc<str>), Arc<KeyState>>,
    /// When texts that were rotated away stop being accepted, by their ids.
    pub(super) endings: BTreeMap<(Timestamp, String), Arc<KeyState>>,
}

impl Census {
    /// Counts a key and makes what the catalog keeps of it.
    pub(super) fn record(&mut self, key: &Key, metrics: &Metrics, now: Timestamp, keys: &mut KeyIndex) {
        let team = key.team.as_ref().map(|team| self.team(team));
        let series = metrics.key_series(&key.name, team.as_deref().map(|team| &*team.name));
        let state = Arc::new(KeyState::new(series));
        let id: Arc<str> = key.id.as_str().into();
        state.permit(key.permissions.clone());
        state.quota().define(&key.limits, Moment::now());
        state.expire_at(key.expires_at);
        if key.revocation.is_some() {
            state.revoke();
            self.revoked += 1;
        }
        self.count(key, &id, &state, now);
        let record = Arc::new(KeyRecord { id, name: key.name.as_str().into(), team, state });
        for secret in &key.secrets {
            self.publish(secret, &record, keys);
            if secret.valid_until.is_some_and(|end| end > now) {
                self.foresee(secret, &record.state);
            }
        }
    }

    pub(super) fn publish(&self, secret: &KeySecret, key: &Arc<KeyRecord>, keys: &mut KeyIndex) {
        let state = SecretState::default();
        state.end_at(secret.valid_until);
        keys.insert(secret.digest, Credential { key: key.clone(), secret: Arc::new(state) });
    }

    /// Notes when a text ends, so that running requests can be told.
    pub(super) fn foresee(&mut self, secret: &KeySecret, state: &Arc<KeyState>) {
        if let Some(end) = secret.valid_until {
            self.endings.insert((end, secret.id.clone()), state.clone());
        }
    }

    pub(super) fn meet(&mut self, team: &store::Team) {
        let state = TeamState::new(team.permissions.clone());
        state.quota().define(&team.limits, Moment::now());
        state.suspend(team.suspended_at.is_some());
        let known = Team { id: team.id.as_str().into(), name: team.name.as_str().into(), state };
        self.teams.insert(team.id.clone(), Arc::new(known));
    }

    /// The team of a key; the office makes sure that it was met before.
    pub(super) fn team(&mut self, team: &TeamRef) -> Arc<Team> {
        let known = self.teams.entry(team.id.clone());
        let state = || TeamState::new(Permissions::default());
        let make = || Arc::new(Team { id: team.id.as_str().into(), name: team.name.as_str().into(), state: state() });
        known.or_insert_with(make).clone()
    }

    /// Counts a key, if it is live.
    pub(super) fn count(&mut self, key: &Key, id: &Arc<str>, state: &Arc<KeyState>, now: Timestamp) {
        if key.is_live(now) {
            self.live += 1;
            self.expiries.extend(key.expires_at.map(|expires_at| ((expires_at, id.clone()), state.clone())));
        }
    }

    /// Takes a key out of the count. One that had expired is not counted any more.
    pub(super) fn retire(&mut self, expires_at: Option<Timestamp>, id: &Arc<str>) {
        let counted = match expires_at {
            Some(expires_at) => self.expiries.remove(&(expires_at, id.clone())).is_some(),
            None => true,
        };
        self.live -= usize::from(counted);
    }
}
