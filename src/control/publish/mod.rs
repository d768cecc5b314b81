//! Store → catalog: what is durable becomes what the gateway knows.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::catalog::{
    Catalog, Credential, CurrentCatalog, KeyIndex, KeyRecord, Moment, Organization, Queues, Routing, Team,
};
use crate::domain::{KeyDigest, KeyKind, Timestamp};
use crate::journal::Metrics;

use super::Configured;
use super::handover::Change;
use super::store::{self, Key, KeyQuery, KeySecret, KeyStore, NotedUse, PAGE_MAX, StoreError};

mod census; // what has to be remembered from one publication to the next
mod woken; // running requests that a change ends

pub(super) use woken::Woken;

use census::Census;

/// The one who publishes catalogs.
pub(super) struct Publisher {
    catalog: Arc<CurrentCatalog>,
    metrics: Arc<Metrics>,
    // Held for a whole publication: there is one at a time.
    census: Mutex<Census>,
}

impl Publisher {
    /// Publishes everything that `store` holds, as of `now`.
    pub(super) async fn compile(
        store: &dyn KeyStore,
        configured: Configured,
        metrics: Arc<Metrics>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut census = Census::default();
        let mut cursor = None;
        loop {
            let page = store.teams(cursor, PAGE_MAX).await?;
            page.items.iter().for_each(|team| census.meet(team));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let mut keys = KeyIndex::default();
        // Revoked keys come last, so that they take no names in metrics from those that are in use.
        for revoked in [false, true] {
            let mut cursor = None;
            loop {
                let (kind, revoked) = (Some(KeyKind::Access), Some(revoked));
                let query = KeyQuery { kind, revoked, cursor, limit: PAGE_MAX, ..KeyQuery::default() };
                let page = store.keys(query).await?;
                page.items.iter().for_each(|key| census.record(key, &metrics, now, &mut keys));
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        metrics.keys_known(census.live, census.revoked);
        let Configured { organization, routing, prices, permissions, limits, settings } = configured;
        let payer = Arc::new(Organization { name: organization.clone(), ..Organization::default() });
        payer.quota.define(&limits, Moment::now());
        meet(&routing, &metrics);
        let queues = Queues::default().next(&routing.providers);
        let catalog = Catalog { organization, permissions, keys, payer, routing, queues, prices, settings };
        Ok(Self { catalog: Arc::new(CurrentCatalog::new(catalog)), metrics, census: Mutex::new(census) })
    }

    pub(super) fn catalog(&self) -> &Arc<CurrentCatalog> {
        &self.catalog
    }

    /// Every team there is.
    pub(super) fn teams(&self) -> Vec<Arc<Team>> {
        self.census.lock().teams.values().cloned().collect()
    }

    /// Makes what was configured anew hold for all requests to come.
    pub(super) fn configure(&self, configured: Configured) {
        let _one_at_a_time = self.census.lock();
        let Configured { organization, routing, prices, permissions, limits, settings } = configured;
        meet(&routing, &self.metrics);
        self.catalog.update(|catalog| {
            let keys = std::mem::take(&mut catalog.keys);
            // What was used up stays used up, under the limits there are now.
            let quota = catalog.payer.quota.clone();
            quota.define(&limits, Moment::now());
            let counting = catalog.payer.counting.clone();
            let payer = Arc::new(Organization { name: organization.clone(), quota, counting });
            let queues = catalog.queues.next(&routing.providers);
            *catalog = Catalog { organization, permissions, keys, payer, routing, queues, prices, settings };
        });
    }

    /// Makes a new key known. Keys of other kinds than access keys are none of the catalog's business.
    pub(super) fn add(&self, key: &Key, now: Timestamp) {
        if key.kind != KeyKind::Access {
            return;
        }
        let mut census = self.census.lock();
        self.catalog.update(|catalog| census.record(key, &self.metrics, now, &mut catalog.keys));
        self.metrics.keys_known(census.live, census.revoked);
    }

    /// Revokes a key for every request to come and every one that is running. Needs no new catalog: the state
    /// is shared by all of them.
    pub(super) fn revoke(&self, key: &Key, woken: &mut Woken) {
        let mut census = self.census.lock();
        let Some(record) = self.known(key).filter(|record| !record.state.is_revoked()) else {
            return;
        };
        record.state.revoke();
        woken.note(Change::Revoked { key: record.id.to_string() });
        woken.wake(&record.state);
        census.revoked += 1;
        census.retire(record.state.expires_at(), &record.id);
        self.metrics.keys_known(census.live, census.revoked);
    }

    /// Makes the changed name, team, expiry and permissions of a key hold, for running requests too.
    pub(super) fn update(&self, key: &Key, now: Timestamp, woken: &mut Woken) {
        let mut census = self.census.lock();
        let Some(before) = self.known(key) else { return };
        let state = before.state.clone();
        state.permit(key.permissions.clone());
        state.quota().define(&key.limits, Moment::now());
        census.retire(state.expires_at(), &before.id);
        state.expire_at(key.expires_at);
        woken.note(Change::Expires { key: key.id.clone(), at: key.expires_at });
        census.count(key, &before.id, &state, now);
        let team = key.team.as_ref().map(|team| census.team(team));
        let is_team = |team: &Team| before.team.as_ref().is_some_and(|before| before.id == team.id);
        let moved = team.as_ref().map_or(before.team.is_some(), |team| !is_team(team));
        if moved || *before.name != *key.name {
            let series = self.metrics.key_series(&key.name, team.as_deref().map(|team| &*team.name));
            state.count_as(series);
            let record = KeyRecord { id: before.id.clone(), name: key.name.as_str().into(), team, state };
            self.replace(key, Arc::new(record));
        }
        woken.wake(&before.state);
        self.metrics.keys_known(census.live, census.revoked);
    }

    /// Makes a key's newest text known, and how long its older ones are still accepted.
    pub(super) fn rotate(&self, key: &Key, forgotten: &[KeyDigest], woken: &mut Woken) {
        let mut census = self.census.lock();
        let Some(record) = self.known(key) else { return };
        self.catalog.update(|catalog| {
            for digest in forgotten {
                // A text that is not remembered any more has ended, also for what runs on it.
                if let Some(credential) = catalog.keys.find(digest) {
                    credential.secret.end_at(Some(woken.now));
                    woken.note(Change::TextEnds { digest: digest.0, at: Some(woken.now) });
                }
                catalog.keys.remove(digest);
            }
            for secret in &key.secrets {
                woken.note(Change::TextEnds { digest: secret.digest.0, at: secret.valid_until });
                match catalog.keys.find(&secret.digest) {
                    Some(credential) => credential.secret.end_at(secret.valid_until),
                    None => census.publish(secret, &record, &mut catalog.keys),
                }
                census.foresee(secret, &record.state);
            }
        });
        woken.wake(&record.state);
    }

    pub(super) fn add_team(&self, team: &store::Team) {
        self.census.lock().meet(team);
    }

    /// Makes a team's permissions and suspension hold, for running requests of all its keys too.
    pub(super) fn update_team(&self, team: &store::Team, woken: &mut Woken) {
        let census = self.census.lock();
        let Some(known) = census.teams.get(&team.id) else { return };
        known.state.permit(team.permissions.clone());
        known.state.quota().define(&team.limits, Moment::now());
        let is_suspended = team.suspended_at.is_some();
        known.state.suspend(is_suspended);
        woken.note(Change::Suspended { team: team.id.clone(), is_suspended });
        let is_of_team = |key: &&Credential| key.key.team.as_ref().is_some_and(|team| Arc::ptr_eq(team, known));
        self.catalog.load().keys.iter().filter(is_of_team).for_each(|credential| woken.wake(&credential.key.state));
    }

    pub(super) fn remove_team(&self, id: &str) {
        self.census.lock().teams.remove(id);
    }

    /// Lets running requests notice that their key has expired, or their text has ended, since the last time.
    /// Requests to come need no help: they look at the clock themselves.
    pub(super) fn tick(&self, now: Timestamp) {
        let mut census = self.census.lock();
        while let Some(entry) = census.expiries.first_entry().filter(|entry| entry.key().0 <= now) {
            entry.remove().interrupt_lapsed(now);
            census.live -= 1;
        }
        while let Some(entry) = census.endings.first_entry().filter(|entry| entry.key().0 <= now) {
            entry.remove().interrupt_lapsed(now);
        }
        self.metrics.keys_known(census.live, census.revoked);
    }

    /// The last use of each text that was used at `since` or later in this process.
    pub(super) fn uses(&self, since: Timestamp) -> Vec<NotedUse> {
        let catalog = self.catalog.load();
        let noted = catalog.keys.entries().filter_map(|(digest, credential)| {
            let last_use = credential.secret.last_use().filter(|last_use| last_use.at >= since)?;
            Some(NotedUse { digest: *digest, last_use })
        });
        noted.collect()
    }

    fn known(&self, key: &Key) -> Option<Arc<KeyRecord>> {
        let catalog = self.catalog.load();
        key.secrets.iter().find_map(|secret| catalog.keys.find(&secret.digest)).map(|known| known.key.clone())
    }

    /// Puts `record` behind every text of `key`.
    fn replace(&self, key: &Key, record: Arc<KeyRecord>) {
        self.catalog.update(|catalog| {
            for KeySecret { digest, .. } in &key.secrets {
                if let Some(Credential { secret, .. }) = catalog.keys.find(digest) {
                    let credential = Credential { key: record.clone(), secret: secret.clone() };
                    catalog.keys.insert(*digest, credential);
                }
            }
        });
    }
}

fn meet(routing: &Routing, metrics: &Metrics) {
    routing.providers.iter().for_each(|provider| metrics.meet_provider(&provider.name));
}
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::control::store::Revocation;
    use crate::control::store::conformance::{self, key};
    use crate::journal::Journal;

    use super::*;

    fn gauges(metrics: &Arc<Metrics>) -> (String, String) {
        let text = Journal::new(1, metrics.clone()).0.expose();
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        (value("keeptrusts_keys "), value("keeptrusts_revocations "))
    }

    #[tokio::test]
    async fn it_publishes_what_the_store_holds_and_then_each_change() {
        let (_dir, store) = conformance::sqlite();
        let now = Timestamp::from_micros(1_000_000_000);
        let mut gone = key("gone", 1);
        gone.revocation = Some(Revocation { time: now, reason: None });
        let mut expired = key("expired", 2);
        expired.expires_at = Some(now);
        let mut gateway = key("gateway", 3);
        gateway.kind = KeyKind::Gateway;
        for key in [&gone, &expired, &gateway, &key("jane", 4)] {
            store.create_key(key.clone(), conformance::audit("key.create")).await.unwrap();
        }
        let metrics = Arc::new(Metrics::new("test", 10).unwrap());
        let publisher = Publisher::compile(&*store, Configured::default(), metrics.clone(), now).await.unwrap();
        let known = |key: &Key| publisher.catalog().load().keys.find(&key.secrets[0].digest).cloned();
        assert!(known(&gone).unwrap().key.state.is_revoked());
        assert!(known(&expired).is_some() && known(&gateway).is_none());
        assert_eq!(gauges(&metrics), ("1".into(), "1".into()));

        let mut brief = key("brief", 5);
        brief.expires_at = Some(now.saturating_add(Duration::from_secs(1)));
        publisher.add(&brief, now);
        let running = known(&brief).unwrap().key.state.clone();
        assert_eq!(gauges(&metrics), ("2".into(), "1".into()));
        publisher.tick(now.saturating_add(Duration::from_secs(1)));
        assert_eq!(gauges(&metrics), ("1".into(), "1".into()));
        publisher.revoke(&brief, &mut Woken::new(now));
        publisher.revoke(&brief, &mut Woken::new(now));
        assert!(running.is_revoked());
        assert_eq!(gauges(&metrics), ("1".into(), "2".into()));
        publisher.revoke(&key("jane", 4), &mut Woken::new(now));
        assert_eq!(gauges(&metrics), ("0".into(), "3".into()));
    }
}
