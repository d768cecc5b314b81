//! Store → catalog: what is durable becomes what the gateway knows.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::catalog::{
    Catalog, Credential, CurrentCatalog, KeyIndex, KeyRecord, KeyState, SecretState, Team, TeamState,
};
use crate::domain::{KeyDigest, KeyKind, Permissions, Timestamp};
use crate::journal::Metrics;

use super::Configured;
use super::store::{Key, KeyQuery, KeyStore, PAGE_MAX, StoreError, TeamRef};

/// The one who publishes catalogs.
pub(super) struct Publisher {
    catalog: Arc<CurrentCatalog>,
    metrics: Arc<Metrics>,
    // Held for a whole publication: there is one at a time.
    census: Mutex<Census>,
}

/// What has to be remembered from one publication to the next.
#[derive(Default)]
struct Census {
    teams: HashMap<String, Arc<Team>>,
    live: usize,
    revoked: usize,
    /// When each live key that expires does.
    expiries: BTreeSet<(Timestamp, Arc<str>)>,
}

impl Publisher {
    /// Publishes everything that `store` holds, as of `now`.
    pub(super) async fn compile(
        store: &dyn KeyStore,
        organization: Arc<str>,
        configured: Configured,
        metrics: Arc<Metrics>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut census = Census::default();
        let mut keys = Vec::new();
        // Revoked keys come last, so that they take no names in metrics from those that are in use.
        for revoked in [false, true] {
            let mut cursor = None;
            loop {
                let query = KeyQuery { kind: Some(KeyKind::Access), revoked: Some(revoked), cursor, limit: PAGE_MAX };
                let page = store.keys(query).await?;
                keys.extend(page.items.into_iter().map(|key| census.record(&key, &metrics, now)));
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        metrics.keys_known(census.live, census.revoked);
        let Configured { routing, prices, permissions } = configured;
        let catalog = Catalog { organization, permissions, keys: keys.into_iter().collect(), routing, prices };
        Ok(Self { catalog: Arc::new(CurrentCatalog::new(catalog)), metrics, census: Mutex::new(census) })
    }

    pub(super) fn catalog(&self) -> &Arc<CurrentCatalog> {
        &self.catalog
    }

    /// Makes a new key known. Keys of other kinds than access keys are none of the catalog's business.
    pub(super) fn add(&self, key: &Key, now: Timestamp) {
        if key.kind != KeyKind::Access {
            return;
        }
        let mut census = self.census.lock();
        let (digest, record) = census.record(key, &self.metrics, now);
        self.catalog.update(|catalog| KeyIndex::insert(&mut catalog.keys, digest, record));
        self.metrics.keys_known(census.live, census.revoked);
    }

    /// Revokes a key for every request to come and every one that is running. Needs no new catalog: the state
    /// is shared by all of them.
    pub(super) fn revoke(&self, key: &Key) {
        let mut census = self.census.lock();
        let catalog = self.catalog.load();
        let known = catalog.keys.find(&key.digest).map(|credential| &credential.key);
        let Some(record) = known.filter(|record| !record.state.is_revoked()) else {
            return;
        };
        record.state.revoke();
        record.state.interrupt();
        census.revoked += 1;
        census.retire(key.expires_at, &record.id);
        self.metrics.keys_known(census.live, census.revoked);
    }

    /// Counts again which keys are live: some may have expired since.
    pub(super) fn recount(&self, now: Timestamp) {
        let mut census = self.census.lock();
        census.expire(now);
        self.metrics.keys_known(census.live, census.revoked);
    }
}

impl Census {
    /// Counts a key and makes what the catalog keeps of it.
    fn record(&mut self, key: &Key, metrics: &Metrics, now: Timestamp) -> (KeyDigest, Credential) {
        let revoked = key.revocation.is_some();
        let id: Arc<str> = key.id.as_str().into();
        self.revoked += usize::from(revoked);
        if key.is_live(now) {
            self.live += 1;
            self.expiries.extend(key.expires_at.map(|expires_at| (expires_at, id.clone())));
        }
        let team = key.team.as_ref().map(|team| self.team(team));
        let series = metrics.key_series(&key.name, team.as_deref().map(|team| &*team.name));
        let state = Arc::new(KeyState::new(series));
        state.expire_at(key.expires_at);
        if revoked {
            state.revoke();
        }
        let key_record = Arc::new(KeyRecord { id, name: key.name.as_str().into(), team, state });
        (key.digest, Credential { key: key_record, secret: Arc::new(SecretState::default()) })
    }

    fn team(&mut self, team: &TeamRef) -> Arc<Team> {
        let known = self.teams.entry(team.id.clone());
        let state = || TeamState::new(Permissions::default());
        let make = || Arc::new(Team { id: team.id.as_str().into(), name: team.name.as_str().into(), state: state() });
        known.or_insert_with(make).clone()
    }

    /// A key stops being live because it was revoked. One that had expired is not counted any more.
    fn retire(&mut self, expires_at: Option<Timestamp>, id: &Arc<str>) {
        let counted = match expires_at {
            Some(expires_at) => self.expiries.remove(&(expires_at, id.clone())),
            None => true,
        };
        self.live -= usize::from(counted);
    }

    fn expire(&mut self, now: Timestamp) {
        while self.expiries.first().is_some_and(|(expires_at, _)| *expires_at <= now) {
            self.expiries.pop_first();
            self.live -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::catalog::Routing;
    use crate::control::store::Revocation;
    use crate::control::store::conformance::{self, key};
    use crate::domain::PriceTable;
    use crate::journal::Journal;

    use super::*;

    fn configured() -> Configured {
        Configured {
            routing: Arc::new(Routing::default()),
            prices: Arc::new(PriceTable::default()),
            permissions: Arc::default(),
        }
    }

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
        let publisher = Publisher::compile(&*store, "acme".into(), configured(), metrics.clone(), now).await.unwrap();
        let known = |key: &Key| publisher.catalog().load().keys.find(&key.digest).cloned();
        assert!(known(&gone).unwrap().key.state.is_revoked());
        assert!(known(&expired).is_some() && known(&gateway).is_none());
        assert_eq!(gauges(&metrics), ("1".into(), "1".into()));

        let mut brief = key("brief", 5);
        brief.expires_at = Some(now.saturating_add(Duration::from_secs(1)));
        publisher.add(&brief, now);
        let running = known(&brief).unwrap().key.state.clone();
        assert_eq!(gauges(&metrics), ("2".into(), "1".into()));
        publisher.recount(now.saturating_add(Duration::from_secs(1)));
        assert_eq!(gauges(&metrics), ("1".into(), "1".into()));
        publisher.revoke(&brief);
        publisher.revoke(&brief);
        assert!(running.is_revoked());
        assert_eq!(gauges(&metrics), ("1".into(), "2".into()));
        publisher.revoke(&key("jane", 4));
        assert_eq!(gauges(&metrics), ("0".into(), "3".into()));
    }
}
