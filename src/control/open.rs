//! Opening the control plane: what is durable first, then what is made of it, last who may change it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use serde_json::json;
use tokio::sync::{mpsc, watch};

use crate::catalog::{CurrentCatalog, Moment};
use crate::domain::{KeyKind, KeyText, Pepper};
use crate::journal::{Journal, Records};

use super::admin::{Admin, AdminServer, BindError};
use super::admin_tokens::AdminTokens;
use super::configuration::{Again, Configuration, Reading, Reloader};
use super::data_dir::{DataDir, DataDirError};
use super::handover::{self, Heir, Inheritance, Leaving, Predecessor};
use super::ledger::Ledger;
use super::office::Office;
use super::pepper::{self, PepperError};
use super::publish::Publisher;
use super::store::segments::{self, SegmentLog};
use super::store::sqlite::{SqliteStore, SqliteUsage};
use super::store::{Actor, AdminRole, AdminToken, Audit, EventStore, KeyStore, StoreError};
use super::usage::{Fresh, Usage};
use super::webhook::Sink;
use super::{Settings, Upgrade, budgets, ids, now};

/// Operators who may wait for an upgrade.
const UPGRADES_MAX: usize = 4;

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
        let (closing, closed) = watch::channel(false);
        let (upgrade, upgrades) = mpsc::channel(UPGRADES_MAX);
        let configuration = Configuration::new(reading, again);
        let (keepers, told) = ((pepper.clone(), tokens.clone()), predecessor.clone());
        let office = Office::new(store.clone(), publisher.clone(), configuration, keepers, metrics, told);
        let leaving = Leaving {
            data_dir: data_dir.clone(),
            publisher,
            gateway: settings.gateway.clone(),
            webhook,
            office: office.clone(),
        };
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
