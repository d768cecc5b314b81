//! Every limit there is, for the metrics.

use std::collections::HashSet;
use std::sync::Arc;

use crate::catalog::{Catalog, Scope};
use crate::journal::LimitReading;

use super::{Moment, Named, Quota, Standing, Unit};

/// How every limit stands: the providers', the organization's, each team's, and those of up to `keys_max` keys that are
/// not revoked.
pub fn readings(catalog: &Catalog, keys_max: usize, now: Moment) -> Vec<LimitReading> {
    let mut readings = of(Scope::Organization, &catalog.payer.name, &catalog.payer.quota, now);
    readings.extend(catalog.queues.iter().map(|(provider, queue)| LimitReading {
        scope: "provider",
        name: provider.clone(),
        limit: Named::Concurrency.label().into(),
        utilization: queue.utilization(),
        remaining_usd: None,
        reserved: None,
    }));
    let (mut keys, mut teams) = (HashSet::new(), HashSet::new());
    for credential in catalog.keys.iter() {
        let key = &credential.key;
        if let Some(team) = &key.team
            && !team.state.quota().is_unlimited()
            && teams.insert(team.id.clone())
        {
            readings.extend(of(Scope::Team, &team.name, team.state.quota(), now));
        }
        let quota = key.state.quota();
        if !quota.is_unlimited() && !key.state.is_revoked() && keys.len() < keys_max && keys.insert(key.id.clone()) {
            readings.extend(of(Scope::Key, &key.name, quota, now));
        }
    }
    readings
}

fn of(scope: Scope, name: &Arc<str>, quota: &Quota, now: Moment) -> Vec<LimitReading> {
    let Some(meters) = quota.meters() else { return Vec::new() };
    let counted = meters.standings(scope, name, now).into_iter().filter(Standing::is_counted);
    counted.map(|standing| reading(&standing)).collect()
}

fn reading(standing: &Standing) -> LimitReading {
    let remaining_usd = (standing.unit == Unit::Money).then(|| standing.unit.figure(standing.remaining));
    let reserved = (standing.named == Named::Budget).then(|| standing.reserved as f64 / standing.max as f64);
    LimitReading {
        scope: standing.scope.label(),
        name: standing.name.clone(),
        limit: standing.label(),
        utilization: standing.utilization(),
        remaining_usd,
        reserved,
    }
}
