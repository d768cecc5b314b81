//! How much is left, for whoever asks: the holder of a key, the operator, the metrics, a refusal. All of them are
//! told the same figures, because there is one function that reads them.

use crate::catalog::Scope;
use crate::domain::{Bounds, Count};

use super::{Demand, Moment, Quota, Scopes};

mod standing; // how one limit stands
mod hit; // the limit that refuses a request
mod binding; // the tightest limits, for an answer's headers
mod document; // a limit as it is shown outside

pub use binding::{Binding, Bucket};
pub use document::LimitDocument;
pub use hit::{Hit, Wait};
pub use standing::{Named, Standing, Unit};

/// The limit that would refuse what `demand` asks for; of several, the one that would do so for longest.
pub fn check(scopes: Scopes<'_>, demand: &Demand<'_>, now: Moment) -> Option<Hit> {
    let mut worst: Option<Hit> = None;
    for (scope, quota) in scopes.each() {
        let Some(meters) = quota.map(|quota| quota.0.load()) else { continue };
        let Some(meters) = &*meters else { continue };
        let refusing = meters.of(demand.model).filter(|(_, meter)| !meter.fits(demand, now));
        for (_, meter) in refusing {
            let hit = Hit::at(scopes, scope, meter, demand, now);
            if worst.as_ref().is_none_or(|worst| worst.weight() < hit.weight()) {
                worst = Some(hit);
            }
        }
    }
    worst
}

/// Every limit that concerns a key, from its own to the organization's.
pub fn standings(scopes: Scopes<'_>, now: Moment) -> Vec<Standing> {
    let of_scope = |(scope, quota): (Scope, Option<&Quota>)| {
        let Some(meters) = quota.and_then(|quota| quota.0.load_full()) else { return Vec::new() };
        let name = scopes.name(scope);
        meters.standings(scope, &name, now)
    };
    scopes.each().into_iter().flat_map(of_scope).collect()
}

/// The tightest of the limits that nothing is counted for, and who sets it.
pub fn tightest(
    scopes: Scopes<'_>,
    model: Option<&str>,
    of: impl Fn(&Bounds) -> Option<Count>,
) -> Option<(u64, Scope)> {
    let bounds = scopes.each().into_iter().filter_map(|(scope, quota)| {
        let meters = quota?.0.load();
        Some((meters.as_ref()?.bound(model, &of)?, scope))
    });
    bounds.min_by_key(|(bound, _)| *bound)
}
