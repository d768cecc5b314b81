//! What of its limits a key, a team or the organization has used up at this moment.
//!
//! A [`Quota`] hangs on long-lived state, beside a key's or a team's standing: it outlives catalogs and
//! configurations. Its definition can be replaced at any time; counters that count the same go on where they are.
//! A request takes from every limit that concerns it at once ([`Hold::take`]), all or nothing, and gives back what
//! it did not use when it has ended, whatever ended it.
//!
//! Nothing here takes a lock, and nothing allocates unless a limit refuses, a budget's window ends or a
//! threshold is passed.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::domain::{Count, Limits};

use super::{Credential, Scope};

mod moment; // one reading of both clocks
mod rate; // so many a minute, in one atomic
mod slots; // so many at the same time
mod purse; // so much in a calendar window
mod meters; // limits as they are counted
mod hold; // what one request has taken of all of them
mod elsewhere; // limits that another process counts
mod report; // how much is left, for whoever asks
mod readings; // every limit there is, for the metrics
mod demand; // what a request may use, at worst and as a rule

pub use demand::{Demand, Learned, Size};
pub use elsewhere::{Counting, Elsewhere};
pub use hold::{Crossing, Hold, Used};
pub use meters::{Meters, RunningBudget};
pub use moment::{Moment, nanos_of};
pub use readings::readings;
pub use report::{Binding, Bucket, Hit, LimitDocument, Named, Standing, Unit, Wait, check, standings, tightest};

/// The atomics that counters are made of. Their files stand in tests a second time, beside others of the same name.
mod sync {
    pub use std::sync::atomic::{AtomicU64, Ordering};
}

/// What a key, a team or the organization may use, and has used. Costs one pointer where nothing is limited.
#[derive(Debug, Default)]
pub struct Quota(ArcSwapOption<Meters>);

impl Quota {
    /// Replaces the limits. What was counted under those that stay, or are merely wider or narrower now, is kept.
    pub fn define(&self, limits: &Limits, now: Moment) {
        // Whoever publishes does so one at a time, so nothing is lost between the two.
        let before = self.0.load_full();
        let meters = (!limits.limit_nothing()).then(|| Meters::new(limits, before.as_deref(), now));
        self.0.store(meters.map(Arc::new));
    }

    pub fn limits(&self) -> Limits {
        self.0.load().as_ref().map(|meters| meters.limits().clone()).unwrap_or_default()
    }

    /// The share of a busy provider, in turns.
    pub fn weight(&self) -> Option<u64> {
        self.0.load().as_ref().and_then(|meters| meters.limits().weight).map(Count::get)
    }

    pub fn is_unlimited(&self) -> bool {
        self.0.load().is_none()
    }

    /// The limits and their counters; `None` if there are no limits.
    pub fn meters(&self) -> Option<Arc<Meters>> {
        self.0.load_full()
    }
}

/// Whose limits a request has to respect.
#[derive(Clone, Copy)]
pub struct Scopes<'a> {
    pub key: &'a super::KeyRecord,
    pub organization: &'a Organization,
}

/// The organization's name and quota.
#[derive(Debug, Default)]
pub struct Organization {
    pub name: Arc<str>,
    pub quota: Arc<Quota>,
    /// Where its limits, its teams' and its keys' are counted.
    pub counting: Counting,
}

impl<'a> Scopes<'a> {
    pub fn of(credential: &'a Credential, organization: &'a Organization) -> Self {
        Self { key: &credential.key, organization }
    }

    /// The key's share of a busy provider, in turns.
    pub fn weight(self) -> u64 {
        let team = || self.key.team.as_deref().and_then(|team| team.state.quota().weight());
        self.key.state.quota().weight().or_else(team).unwrap_or(1)
    }

    /// From the nearest to the widest.
    fn each(self) -> [(Scope, Option<&'a Quota>); 3] {
        let team = self.key.team.as_deref().map(|team| team.state.quota());
        [
            (Scope::Key, Some(self.key.state.quota())),
            (Scope::Team, team),
            (Scope::Organization, Some(&*self.organization.quota)),
        ]
    }

    fn name(self, scope: Scope) -> Arc<str> {
        match (scope, &self.key.team) {
            (Scope::Key, _) => self.key.name.clone(),
            (Scope::Team, Some(team)) => team.name.clone(),
            (Scope::Team | Scope::Organization, _) => self.organization.name.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
