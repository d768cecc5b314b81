//! What the gateway knows now: the window through which knowledge comes in.
//!
//! A [`Catalog`] is immutable. A request takes one with a single atomic load and keeps it to its end;
//! whoever publishes swaps in the next one. Only a key's revocation does not wait for that: see
//! `standing`. The catalog does not know where its content comes from.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::domain::{Permissions, PriceTable};

mod keys; // every key by digest, in shards that can be replaced one by one
mod standing; // what a key, a team and a key's text are worth at this moment
mod permit; // whether a key may use a model, a provider, an endpoint, from where
mod limits; // what of its limits a key, a team or the organization has used up
mod repeats; // whether a key sends one request again and again after its answer has ended badly
mod turns; // whose turn it is at a provider that is asked only so many requests at once
mod unmatched; // patterns that stand for nothing there is
mod routing; // which provider serves which model
mod settings; // limits and deadlines of the request path
mod webhook; // where events are sent, and what signs them

pub use keys::{Credential, KeyIndex, KeyRecord, Team};
pub use limits::{
    Binding, Bucket, Counting, Crossing, Demand, Elsewhere, Hit, Hold, Learned, LimitDocument, Meters, Moment, Named,
    Organization, Quota, RunningBudget, Scopes, Size, Standing, Unit, Used, Wait, check, nanos_of, readings, standings,
    tightest,
};
pub use permit::{Asked, Denial, NotServed, Scope, Wanted, What, choose, judge};
pub use repeats::{Repeats, Sent};
pub use routing::{Choice, ModelRule, NoChoice, Routing};
pub use settings::{Access, Audit, CutForm, Doorway, Durability, OnFailure, Overload, Retention, Settings, Timeouts};
pub use standing::{Interrupt, Interruptible, KeyState, Lapse, LastUse, SecretState, TeamState};
pub use turns::{Full, Joined, Line, Queue, Queues, Turn};
pub use unmatched::unmatched;
pub use webhook::{SigningKey, Webhook, WebhookUrl};

/// Everything a request is judged and routed by, as of one moment.
#[derive(Clone, Debug)]
pub struct Catalog {
    pub organization: Arc<str>,
    /// What the organization may use, and so every key.
    pub permissions: Arc<Permissions>,
    pub keys: KeyIndex,
    /// The organization's limits, and what is used up of them: the same as long as the process runs.
    pub payer: Arc<Organization>,
    pub routing: Arc<Routing>,
    /// Who waits for providers that are asked only so many requests at once.
    pub queues: Queues,
    pub prices: Arc<PriceTable>,
    /// Limits and deadlines of the request path.
    pub settings: Arc<Settings>,
}

/// The catalog of this moment.
pub struct CurrentCatalog(ArcSwap<Catalog>);

impl CurrentCatalog {
    pub fn new(catalog: Catalog) -> Self {
        Self(ArcSwap::from_pointee(catalog))
    }

    /// The catalog to judge a request by.
    pub fn load(&self) -> Arc<Catalog> {
        self.0.load_full()
    }

    /// What `of` tells of the present catalog, which is not kept.
    pub fn read<T>(&self, of: impl FnOnce(&Catalog) -> T) -> T {
        of(&self.0.load())
    }

    /// Publishes what `change` makes of the present catalog. Changes must not run at the same time: there is
    /// one publisher.
    pub fn update(&self, change: impl FnOnce(&mut Catalog)) {
        let mut next = Catalog::clone(&self.0.load());
        change(&mut next);
        self.0.store(Arc::new(next));
    }
}
