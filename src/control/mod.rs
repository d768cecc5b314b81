//! The office behind the counter: what is durable, and who may change it.
//!
//! A change goes one way: an endpoint of the admin API → `office` → the store (with its audit record, in
//! one transaction) → `publish` into the catalog → the answer. Facts come the other way: the journal's
//! records → `ledger` → the store → whoever follows. Nothing here is on a request's path, so nothing here
//! can slow one; only a ledger that cannot write makes the gateway refuse, by filling the journal.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::oneshot;

use crate::catalog::{self, Routing};
use crate::domain::{Limits, Permissions, PriceTable, Timestamp};

mod open; // all of it, opened in order
mod data_dir; // the directory everything durable lives in, for one process at a time
mod pepper; // the secret that key digests are made under
mod store; // durable truth: traits, an SQLite database of keys and a log of events behind them
mod publish; // store → catalog
mod budgets; // what was spent before this process began
mod configuration; // what the operator wrote, read again when asked
mod admin_tokens; // what opens the admin API over TCP, in memory
mod office; // every change: validated, stored, published, then answered
mod handover; // from one process to the next without a pause
mod ledger; // journal → durable events
mod usage; // durable events → sums of usage
mod webhook; // durable events → the operator's receiver
mod ids; // short random ids, which are no secrets
pub mod admin; // the HTTP API, and the socket beside it

pub use admin::AdminServer;
pub use admin::v1::upgrade::{ProcessDocument, UpgradeBegun};
pub use configuration::{Again, Reading, Reloader};
pub use data_dir::DataDirError;
pub use handover::{Candidate, Heir, Leaving, Predecessor, Successor, is_handed_over};
pub use ledger::{Ledger, Unwritten};
pub use open::{Control, OpenError};
pub use pepper::PepperError;
pub use store::StoreError;
pub use store::segments::{Fault, OfflineEvents, Verification};
pub(crate) use store::{EventFilter, EventKeyFilter, EventOrder, EventQuery, PAGE_MAX};

/// What the operator can set about the control plane.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the databases, the pepper and the admin socket are. Made if it does not exist.
    pub data_dir: PathBuf,
    /// The pepper's file where a service manager keeps it; else it is in the data directory.
    pub pepper: Option<PathBuf>,
    /// The name of this gateway in events.
    pub gateway: Arc<str>,
}

/// What the configuration says, as the catalog carries it.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    pub organization: Arc<str>,
    pub routing: Arc<Routing>,
    pub prices: Arc<PriceTable>,
    /// What the organization may use.
    pub permissions: Arc<Permissions>,
    /// What the organization may use of it.
    pub limits: Limits,
    pub settings: Arc<catalog::Settings>,
}

/// Wants to know which process is about to take over, or why none is.
pub type Upgrade = oneshot::Sender<Result<UpgradeBegun, String>>;

fn now() -> Timestamp {
    SystemTime::now().into()
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod scale;
