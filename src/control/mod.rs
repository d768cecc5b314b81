//! The office behind the counter: what is durable, and who may change it.
//!
//! A change goes one way: an endpoint of the admin API → `office` → the store (with its audit record, in
//! one transaction) → `publish` into the catalog → the answer. Facts come the other way: the journal's
//! records → `ledger` → the store → whoever follows. Nothing here is on a request's path, so nothing here
//! can slow one; only a ledger that cannot write makes the gateway refuse, by filling the journal.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use std::{fmt, io};

use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};

use crate::catalog::{self, CurrentCatalog, Moment, Routing};
use crate::domain::{KeyKind, KeyText, Limits, Pepper, Permissions, PriceTable, Timestamp};
use crate::journal::{Journal, Records};

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
pub use pepper::PepperError;
pub use store::StoreError;
pub use store::segments::{Fault, OfflineEvents, Verification};
pub(crate) use store::{EventFilter, EventKeyFilter, EventOrder, EventQuery, PAGE_MAX};

use admin::{Admin, BindError};
use admin_tokens::AdminTokens;
use configuration::Configuration;
use data_dir::DataDir;
use handover::Inheritance;
use office::Office;
use publish::Publisher;
use store::segments::{self, SegmentLog};
use store::sqlite::{SqliteStore, SqliteUsage};
use store::{Actor, AdminRole, AdminToken, Audit, EventStore, KeyStore};
use usage::{Fresh, Usage};
use webhook::Sink;

/// Operators who may wait for an upgrade.
const UPGRADES_MAX: usize = 4;

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

/// An open control plane: what the gateway needs, and what is still to be run.
pub struct Control {
    pub catalog: Arc<CurrentCatalog>,
    /// Reads the configuration again when the operator asks the process for it.
    pub reloader: Reloader,
    pub pepper: Pepper,
    /// The clear text of the first admin token, where this start made one. It cannot be had again.
    pub first_admin_token: Option<KeyText>,
    /// The admin API; nobody is answered before [`AdminServer::serve`] runs.
    pub admin: AdminServer,
    /// Already draining the journal; [`Ledger::finish`] waits for the rest.
    pub ledger: Ledger,
    /// What the process needs to hand over to the next.
    pub leaving: Leaving,
    /// The process before this one, if it still serves what it had begun.
    pub predecessor: Option<Predecessor>,
    /// Operators who want another process to take over.
    pub upgrades: mpsc::Receiver<Upgrade>,
}

/// Wants to know which process is about to take over, or why none is.
pub type Upgrade = oneshot::Sender<Result<UpgradeBegun, String>>;

/// Why the control plane cannot start.
#[derive(Debug)]
pub enum OpenError {
    DataDir(DataDirError),
    Store {
        path: PathBuf,
        error: StoreError,
    },
    Pepper(PepperError),
    Socket(BindError),
    /// The operating system gave no random bytes.
    Random(getrandom::Error),
    /// The operating system gave no thread.
    Thread(io::Error),
    /// The process that started this one did not hand over.
    Handover(io::Error),
}

impl Control {
    /// Opens `settings.data_dir`, once it is the `heir`'s, publishes what it holds and what `reading` says, and begins to
    /// drain the `records` of `journal`. Must be called inside a tokio runtime, which then carries the ledger.
    pub async fn open(
        settings: Settings,
        reading: Reading,
        again: Again,
        (journal, records): (&Journal, Records),
        heir: Option<Heir>,
    ) -> Result<Self, OpenError> {
        let metrics = journal.metrics().clone();
        let inheritance = match heir {
            Some(heir) => Some(heir.inherit(&settings.data_dir).await?),
            None => None,
        };
        let data_dir = Arc::new(DataDir::open(&settings.data_dir).map_err(OpenError::DataDir)?);
        let in_store = |error| OpenError::Store { path: data_dir.path().into(), error };
        let store = Arc::new(SqliteStore::open(data_dir.clone()).map_err(in_store)?);
        let pepper = checked_pepper(data_dir.path(), settings.pepper.as_deref(), &*store).await?;
        let (tokens, first_admin_token) = admin_tokens(&*store, &pepper, data_dir.path()).await?;
        let events = SegmentLog::open(data_dir.clone(), segments::Limits::default()).map_err(in_store)?;
        let events: Arc<dyn EventStore> = Arc::new(events);
        let predecessor = inheritance.as_ref().map(Inheritance::pid);
        handover::adopt(&*events, data_dir.path(), predecessor).await.map_err(in_store)?;
        if predecessor.is_none() {
            Ledger::close_orphans(&*events).await.map_err(in_store)?;
        }
        let fresh = Arc::new(Fresh::default());
        let ledger = Ledger::start(events.clone(), fresh.clone(), records, metrics.clone(), &settings.gateway);
        let mut ledger = ledger.map_err(OpenError::Thread)?;
        let sums = Arc::new(SqliteUsage::open(data_dir.clone()).map_err(in_store)?);
        let usage = Usage::start(sums, events.clone(), fresh).await;
        let (usage, summing) = usage.map_err(in_store)?;
        ledger.sum(summing);
        let publisher = Publisher::compile(&*store, reading.configured.clone(), metrics.clone(), now());
        let publisher = Arc::new(publisher.await.map_err(in_store)?);
        budgets::go_on(&publisher, &usage, Moment::now()).await.map_err(in_store)?;
        let catalog = publisher.catalog().clone();
        ledger.obey(catalog.clone());
        let sink = Sink {
            catalog: catalog.clone(),
            events: events.clone(),
            metrics: metrics.clone(),
            gateway: settings.gateway.clone(),
            data_dir: data_dir.path().into(),
            ledger: ledger.running().clone(),
        };
        let webhook = tokio::spawn(sink.run(ledger.tip().clone()));
        let predecessor = match inheritance {
            Some(inheritance) => {
                let accepted = inheritance.accept(journal.clone(), catalog.clone(), &*events, data_dir.clone());
                Some(accepted.await.map_err(in_store)?)
            }
            None => None,
        };
        let leaving = Leaving {
            data_dir: data_dir.clone(),
            publisher: publisher.clone(),
            gateway: settings.gateway.clone(),
            webhook,
        };
        let (closing, closed) = watch::channel(false);
        let (upgrade, upgrades) = mpsc::channel(UPGRADES_MAX);
        let configuration = Configuration::new(reading, again);
        let (keepers, told) = ((pepper.clone(), tokens.clone()), predecessor.clone());
        let office = Office::new(store.clone(), publisher, configuration, keepers, metrics, told);
        let admin = Arc::new(Admin {
            office: office.clone(),
            catalog: catalog.clone(),
            keys: store.clone(),
            events,
            tip: ledger.tip().clone(),
            usage,
            gateway: settings.gateway,
            upgrade,
            closing: closed,
        });
        let reloader = Reloader::new(office.clone());
        let admin = AdminServer::bind(admin, closing, tokens, pepper.clone(), office, data_dir);
        let admin = admin.map_err(OpenError::Socket)?;
        Ok(Self { catalog, reloader, pepper, first_admin_token, admin, ledger, leaving, predecessor, upgrades })
    }
}

/// The pepper, once it is sure that the stored digests were made under it.
async fn checked_pepper(data_dir: &Path, given: Option<&Path>, store: &dyn KeyStore) -> Result<Pepper, OpenError> {
    let in_store = |error| OpenError::Store { path: data_dir.into(), error };
    let known = store.pepper_check().await.map_err(in_store)?;
    let pepper = match known {
        Some(check) => pepper::load_known(data_dir, given, &check).map_err(OpenError::Pepper)?,
        None => pepper::load_or_create(data_dir, given).map_err(OpenError::Pepper)?,
    };
    if known.is_none() {
        store.keep_pepper_check(pepper::check_value(&pepper)).await.map_err(in_store)?;
    }
    Ok(pepper)
}

/// The admin tokens that open the TCP entrance; the first start makes one.
async fn admin_tokens(
    store: &dyn KeyStore,
    pepper: &Pepper,
    data_dir: &Path,
) -> Result<(AdminTokens, Option<KeyText>), OpenError> {
    let in_store = |error| OpenError::Store { path: data_dir.into(), error };
    let tokens = store.admin_tokens().await.map_err(in_store)?;
    if !tokens.is_empty() {
        return Ok((AdminTokens::new(tokens), None));
    }
    let text = KeyText::mint(KeyKind::Admin, getrandom::fill).map_err(OpenError::Random)?;
    let token = AdminToken {
        id: ids::short_id("adm_").map_err(OpenError::Random)?,
        name: "first".into(),
        digest: pepper.digest(text.expose()),
        shown: text.shown().into(),
        created_at: now(),
        role: AdminRole::Admin,
    };
    let audit = Audit {
        actor: Actor::Start,
        action: "admin_token.create",
        target: token.id.clone(),
        time: token.created_at,
        detail: json!({ "name": token.name, "role": token.role.label(), "shown": token.shown }),
    };
    store.create_admin_token(token.clone(), audit).await.map_err(in_store)?;
    Ok((AdminTokens::new(vec![token]), Some(text)))
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DataDir(error) => error.fmt(f),
            Self::Store { path, error } => write!(f, "failed to open the store in {}: {error}", path.display()),
            Self::Pepper(error) => error.fmt(f),
            Self::Socket(error) => error.fmt(f),
            Self::Random(error) => write!(f, "failed to get random bytes from the operating system: {error}"),
            Self::Handover(error) => write!(f, "failed to take over: {error}"),
            Self::Thread(error) => write!(f, "failed to start the ledger's thread: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod scale;
