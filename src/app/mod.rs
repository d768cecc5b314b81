//! Wiring: settings → rooms → services, in narrative order. It wires everything and decides nothing.
//!
//! The edge has a runtime of its own, so that nothing the office does can hold up a request.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use log::{info, warn};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::catalog::{CurrentCatalog, Moment, readings};
use crate::config::{Config, Listen, Listeners};
use crate::control;
use crate::control::{Control, Heir, Leaving, Ledger, OpenError, Predecessor, Upgrade};
use crate::gateway::{Connections, Door, Gateway, Pressure, UnderWay};
use crate::journal::{Journal, Metrics};
use crate::listen::{self, CurrentIdentity};
use crate::telemetry::{Health, scrape_routes};

mod host; // the process among others on its machine
mod sockets; // the listeners, held by a service manager or bound anew
mod edge; // the edge's listener, from which the door is fed
mod office_listener; // the admin API's and the metrics', each with what ends it
mod first_token; // the admin token that the first start makes
mod ends; // the signals that ask a process to end
mod drain; // waiting for the last request
mod manager; // the service manager: sockets it holds, and what it is told
mod upgrade; // another process takes over, and this one serves what it has begun
mod launch; // how that process is started
mod reload; // what takes effect while the process runs, and what needs a start

pub use launch::{heir, is_launcher, launch};
pub use reload::Load;

use drain::{DRAIN_POLL, FAREWELL, both_drained, drained};
use ends::Ends;
use office_listener::OfficeListener;
use reload::Fixed;
use sockets::Sockets;

/// The version users see.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Threads for everything that is not on a request's path.
const OFFICE_THREADS: usize = 2;
/// How long requests that are cut off may take to be dropped.
const EDGE_DEADLINE: Duration = Duration::from_secs(1);
/// How long the office may take to end what it is doing.
const OFFICE_DEADLINE: Duration = Duration::from_secs(5);

/// A running gateway with its embedded control plane.
pub struct App {
    /// Where it listens; ports that were asked for as 0 are filled in.
    pub listen: Listen,
    health: Arc<Health>,
    stop_edge: watch::Sender<bool>,
    under_way: UnderWay,
    connections: Arc<Connections>,
    catalog: Arc<CurrentCatalog>,
    edge: Runtime,
    metrics: OfficeListener,
    ledger: Ledger,
    admin: OfficeListener,
    office: Runtime,
    /// The listeners, for the process that takes over.
    sockets: Sockets,
    leaving: Leaving,
    /// The process before this one, if it still serves what it had begun.
    predecessor: Option<Predecessor>,
    upgrades: mpsc::Receiver<Upgrade>,
    /// SIGUSR2: another way to ask for an upgrade.
    asked: Signal,
    ends: Ends,
    watchdog: JoinHandle<()>,
}

/// Why the gateway cannot start.
#[derive(Debug)]
pub enum StartError {
    Listen { what: &'static str, address: SocketAddr, error: io::Error },
    Control(OpenError),
    AdminToken(io::Error),
    Metrics(prometheus::Error),
    Runtime(io::Error),
}

impl App {
    /// Starts everything `config` asks for; requests are taken when this returns. `load` reads it again later. An `heir`
    /// takes over from the process that started this one.
    pub fn start(config: Config, load: Load, heir: Option<Heir>) -> Result<Self, StartError> {
        host::prepare();
        let sockets = Sockets::open(&config.listen)?;
        let (listen, kept) = (sockets.addresses(&config.listen), sockets.copies()?);
        let office = runtime("office", OFFICE_THREADS)?;
        // From now on these signals do not end the process.
        let signals = async { Ok((signal(SignalKind::hangup())?, signal(SignalKind::user_defined2())?, Ends::new()?)) };
        let (hangups, asked, ends) = office.block_on(signals).map_err(StartError::Runtime)?;
        let edge = runtime("edge", std::thread::available_parallelism().map_or(1, usize::from))?;

        let metrics = Arc::new(Metrics::new(VERSION, config.metrics_keys_max).map_err(StartError::Metrics)?);
        metrics.config_read(true, SystemTime::now().into());
        let (journal, records) = Journal::new(config.journal_capacity, metrics.clone());

        let health = Arc::new(Health::default());
        let data_dir = config.data_dir.clone();
        let settings = control::Settings {
            data_dir: data_dir.clone(),
            pepper: config.pepper.clone(),
            gateway: config.gateway.shared(),
        };
        let identities = Listeners::<Arc<CurrentIdentity>>::default();
        let fixed = Fixed::new(&config, listen, identities.clone());
        let reading = fixed.reading(config);
        let again = reload::again(load, fixed, metrics.clone(), health.clone());
        let control = office.block_on(Control::open(settings, reading, again, (&journal, records), heir));
        let control = control.map_err(StartError::Control)?;
        let Control { catalog, reloader, pepper, first_admin_token, admin, ledger, .. } = control;
        let (leaving, predecessor, upgrades) = (control.leaving, control.predecessor, control.upgrades);
        office.spawn(reload::at_each_hangup(hangups, reloader));
        if let Some(token) = first_admin_token {
            first_token::hand_over(&token, &data_dir).map_err(StartError::AdminToken)?;
        }

        let known = catalog.clone();
        metrics.watch_limits(move |keys_max| readings(&known.load(), keys_max, Moment::now()));
        let scrape = scrape_routes(journal.clone(), health.clone());
        let identity = identities.metrics.clone();
        let metrics =
            OfficeListener::open("metrics", &office, sockets.metrics, identity, |gate, closing| async move {
                listen::serve(gate, scrape, closing).await;
                Ok(())
            })?;

        let pressure = Arc::new(Pressure::new(host::memory_bytes_max()));
        office.spawn(host::measure(Arc::downgrade(&pressure)));
        let gateway = Gateway::new(catalog.clone(), journal, pepper, pressure);
        let under_way = gateway.under_way();
        let (stop_edge, stopped) = watch::channel(false);
        let door = Door::new(gateway, identities.edge);
        let connections = door.connections();
        edge::serve(&edge, door, sockets.edge, stopped).map_err(StartError::Runtime)?;
        // Last: whoever is answered here finds requests taken.
        let identity = identities.admin.clone();
        let admin = OfficeListener::open("admin API", &office, sockets.admin, identity, |gate, mut closing| {
            admin.serve(gate, async move { listen::until_closing(&mut closing).await })
        })?;

        let is_heir = predecessor.is_some();
        let watchdog = office.spawn(manager::keep_watchdog_quiet(edge.handle().clone(), is_heir));
        if !is_heir {
            manager::ready();
        }
        info!("edge listens on {}, admin API on {}, metrics on {}", listen.edge, listen.admin, listen.metrics);
        predecessor.iter().for_each(Predecessor::serving);
        Ok(Self {
            listen,
            health,
            stop_edge,
            under_way,
            connections,
            catalog,
            edge,
            metrics,
            ledger,
            admin,
            office,
            sockets: kept,
            leaving,
            predecessor,
            upgrades,
            asked,
            ends,
            watchdog,
        })
    }

    /// Waits until the process is asked to end: SIGTERM or SIGINT.
    pub fn wait_for_signal(&mut self) -> io::Result<()> {
        self.upgrades.close();
        self.office.block_on(self.ends.come());
        Ok(())
    }

    /// Stops: no new connections, running requests to their end or to the drain deadline, everything recorded. A second
    /// SIGTERM or SIGINT ends the wait for running requests early.
    pub fn stop(mut self) {
        self.health.hold("stopping", "the gateway is stopping");
        manager::stopping();
        self.stop_edge.send_replace(true);
        let drain = self.catalog.load().settings.timeouts.drain;
        let Self { office, under_way, connections, predecessor, ends, .. } = &mut self;
        let left = office.block_on(both_drained(under_way, connections, predecessor.as_ref(), drain, ends));
        if left > 0 {
            warn!("{left} requests were still running and are cut off");
        }
        // Dropping the requests that are left settles and records them.
        self.edge.shutdown_timeout(EDGE_DEADLINE);
        self.office.block_on(async {
            drop(self.predecessor);
            // The ledger ends when nobody can write to the journal any more, and tails see its last events.
            self.metrics.close().await;
            if let Err(unwritten) = self.ledger.finish(OFFICE_DEADLINE).await {
                warn!("{unwritten}");
            }
            self.admin.close().await;
        });
        self.office.shutdown_timeout(OFFICE_DEADLINE);
        info!("stopped");
    }
}

fn runtime(name: &str, threads: usize) -> Result<Runtime, StartError> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .enable_all()
        .build()
        .map_err(StartError::Runtime)
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { what, address, error } => write!(
                f,
                "the {what} cannot listen on {address}: {error}; is another gateway running there? Choose another \
                 address in the configuration or on the command line"
            ),
            Self::Control(error) => error.fmt(f),
            Self::AdminToken(error) => write!(f, "cannot write the first admin token: {error}"),
            Self::Metrics(error) => write!(f, "the table of metrics is inconsistent: {error}"),
            Self::Runtime(error) => write!(f, "the operating system gave no threads or sockets: {error}"),
        }
    }
}

impl std::error::Error for StartError {}
