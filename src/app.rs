//! Wiring: settings → rooms → services, in narrative order. It wires everything and decides nothing.
//!
//! The edge has a runtime of its own, so that nothing the office does can hold up a request.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use log::{info, warn};
use parking_lot::Mutex;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::server::{Fds, ListenFds};
use pingora::services::Service as _;
use pingora::services::listening::Service;
use socket2::SockRef;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::catalog::{CurrentCatalog, Moment, readings};
use crate::config::{Config, Listen, Listeners};
use crate::control;
use crate::control::{Control, Heir, Leaving, Ledger, OpenError, Predecessor, Upgrade};
use crate::domain::KeyText;
use crate::gateway::{Connections, Door, Gateway, Pressure, UnderWay};
use crate::journal::{Journal, Metrics};
use crate::listen::{self, CurrentIdentity, Gate};
use crate::telemetry::{Health, scrape_routes};

mod host; // the process among others on its machine
mod manager; // the service manager: sockets it holds, and what it is told
mod upgrade; // another process takes over, and this one serves what it has begun
mod reload; // what takes effect while the process runs, and what needs a start

pub use reload::Load;
pub use upgrade::heir;

use manager::Held;
use reload::Fixed;
use upgrade::Ends;

/// The version users see.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Threads for everything that is not on a request's path.
const OFFICE_THREADS: usize = 2;
/// How often a stopping gateway looks whether its last request has ended.
const DRAIN_POLL: Duration = Duration::from_millis(10);
/// How long connections may go on when no request is running any more: the door's last call, and a little.
const FAREWELL: Duration = Duration::from_millis(300);
/// How long requests that are cut off may take to be dropped.
const EDGE_DEADLINE: Duration = Duration::from_secs(1);
/// How long the office may take to end what it is doing.
const OFFICE_DEADLINE: Duration = Duration::from_secs(5);

/// Where the first start leaves the admin token it made.
const FIRST_ADMIN_TOKEN: &str = "first-admin-token";

/// Becomes true when a desk is to be closed, or gone.
type Closing = watch::Receiver<bool>;

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
    metrics: Desk,
    ledger: Ledger,
    admin: Desk,
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
}

/// A listener of the office, with what ends it.
struct Desk {
    name: &'static str,
    stop: watch::Sender<bool>,
    serving: JoinHandle<io::Result<()>>,
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

/// The sockets, bound before anything else is done: a taken port is told at once.
struct Sockets {
    edge: TcpListener,
    admin: TcpListener,
    metrics: TcpListener,
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
            hand_over(&token, &data_dir).map_err(StartError::AdminToken)?;
        }

        let known = catalog.clone();
        metrics.watch_limits(move |keys_max| readings(&known.load(), keys_max, Moment::now()));
        let scrape = scrape_routes(journal.clone(), health.clone());
        let identity = identities.metrics.clone();
        let metrics = Desk::open("metrics", &office, sockets.metrics, identity, |gate, closing| async move {
            listen::serve(gate, scrape, closing).await;
            Ok(())
        })?;

        let pressure = Arc::new(Pressure::new(host::memory_bytes_max()));
        office.spawn(host::measure(Arc::downgrade(&pressure)));
        let gateway = Gateway::new(catalog.clone(), journal, pepper, pressure);
        let under_way = gateway.under_way();
        let (stop_edge, stopped) = watch::channel(false);
        let read_bytes = if identities.edge.load().is_some() { EDGE_READ_BYTES } else { 0 };
        let door = Door::new(gateway, identities.edge);
        let connections = door.connections();
        serve_edge(&edge, door, sockets.edge, &listen, L4BufferSettings::new(read_bytes, 0), stopped);
        // Last: whoever is answered here finds requests taken.
        let identity = identities.admin.clone();
        let admin = Desk::open("admin API", &office, sockets.admin, identity, |gate, mut closing| {
            admin.serve(gate, async move { listen::until_closing(&mut closing).await })
        })?;

        office.spawn(manager::keep_watchdog_quiet(edge.handle().clone()));
        manager::ready();
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
        })
    }

    /// Waits until the process is asked to end: SIGTERM or SIGINT.
    pub fn wait_for_signal(&mut self) -> io::Result<()> {
        self.upgrades.close();
        self.office.block_on(self.ends.come());
        Ok(())
    }

    /// Stops: no new connections, running requests to their end or to the drain deadline, everything recorded.
    /// `hurry` ends the wait for running requests early.
    pub fn stop(self, hurry: impl Future<Output = ()>) {
        self.health.hold("stopping", "the gateway is stopping");
        manager::stopping();
        self.stop_edge.send_replace(true);
        let drain = self.catalog.load().settings.timeouts.drain;
        let left = self.office.block_on(self.drained_with_predecessor(drain, hurry));
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

    /// Ends the wait of [`App::stop`] at a second SIGTERM or SIGINT.
    pub async fn second_signal() {
        let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
            return std::future::pending().await;
        };
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    }
}

/// Waits for the requests under way, and for clients that may be about to ask; how many requests are left when there is no
/// more time.
async fn drained(
    under_way: &UnderWay,
    connections: &Connections,
    deadline: Duration,
    hurry: impl Future<Output = ()>,
) -> usize {
    let begun = Instant::now();
    let mut hurry = std::pin::pin!(hurry);
    let mut told = Instant::now();
    let mut quiet_since = None;
    loop {
        let left = under_way.count();
        let is_quiet = left == 0 && {
            let quiet_since = quiet_since.get_or_insert_with(Instant::now);
            connections.count() == 0 || quiet_since.elapsed() >= FAREWELL
        };
        if left > 0 {
            quiet_since = None;
        }
        if is_quiet || begun.elapsed() >= deadline {
            return left;
        }
        if told.elapsed() > Duration::from_secs(10) {
            info!("waiting for {left} running requests");
            told = Instant::now();
        }
        tokio::select! {
            () = &mut hurry => return left,
            () = tokio::time::sleep(DRAIN_POLL) => {}
        }
    }
}

/// What is read at once from a client's connection with TLS, a record of it; rustls would read it by 4 KiB. Pingora would set
/// aside 64 KiB for each connection before it has said anything. Without TLS the door reads what there is, and a buffer
/// between would only be another page for each connection.
const EDGE_READ_BYTES: usize = 16 * 1024;
/// What the system takes of an answer beyond what is on its way to the client. It would take megabytes from the provider
/// for a client that reads nothing, and such clients' patience would run out only after that; whoever reads has the rest
/// long before this is gone.
const EDGE_UNSENT_BYTES: u32 = 256 * 1024;

/// Hands the edge's listener to Pingora and lets it serve. What is written is gathered by the door.
fn serve_edge(
    runtime: &Runtime,
    door: Door,
    listener: TcpListener,
    listen: &Listen,
    buffers: L4BufferSettings,
    stopped: watch::Receiver<bool>,
) {
    // Connections have it from their listener.
    if let Err(error) = SockRef::from(&listener).set_tcp_notsent_lowat(EDGE_UNSENT_BYTES) {
        warn!("what waits for a slow reader cannot be limited: {error}");
    }
    let mut service = Service::new("edge".to_owned(), door);
    let address = listen.edge.to_string();
    service.add_listener(ListenerConfig::tcp(&address).l4_buffer(buffers));
    let mut fds = Fds::new();
    fds.add(address, listener.into_raw_fd());
    let fds: ListenFds = Arc::new(Mutex::new(fds));
    runtime.spawn(async move { service.start_service(Some(fds), stopped, 1).await });
}

fn runtime(name: &str, threads: usize) -> Result<Runtime, StartError> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .enable_all()
        .build()
        .map_err(StartError::Runtime)
}

/// Hands the first admin token to whoever started the gateway: on their terminal, once. Without a terminal, to a file
/// that only the gateway's own user finds, because a log is read by many.
fn hand_over(token: &KeyText, data_dir: &Path) -> io::Result<()> {
    let mut terminal = io::stdout();
    if terminal.is_terminal() {
        return writeln!(terminal, "The first admin token, shown this once: {}", token.expose());
    }
    let path = data_dir.join(FIRST_ADMIN_TOKEN);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    writeln!(file, "{}", token.expose())?;
    info!("the first admin token is in {}; keep it elsewhere and remove the file", path.display());
    Ok(())
}

impl Desk {
    /// Lets `serve` answer on `listener`, under `identity`, until the desk is closed.
    fn open<F>(
        name: &'static str,
        office: &Runtime,
        listener: TcpListener,
        identity: Arc<CurrentIdentity>,
        serve: impl FnOnce(Gate, Closing) -> F,
    ) -> Result<Self, StartError>
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let (stop, closing) = watch::channel(false);
        let _in_office = office.enter();
        let listener = tokio::net::TcpListener::from_std(listener).map_err(StartError::Runtime)?;
        Ok(Self { name, stop, serving: office.spawn(serve(Gate::new(listener, identity), closing)) })
    }

    async fn close(self) {
        self.stop.send_replace(true);
        let name = self.name;
        match tokio::time::timeout(OFFICE_DEADLINE, self.serving).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => warn!("the listener of the {name} failed: {error}"),
            Ok(Err(error)) => warn!("the listener of the {name} broke: {error}"),
            Err(_elapsed) => warn!("the listener of the {name} did not end in time"),
        }
    }
}

impl Sockets {
    /// Those that a service manager holds for us, and new ones for the rest.
    fn open(listen: &Listen) -> Result<Self, StartError> {
        let mut held = Held::take();
        let mut open = |what, name, address: SocketAddr| {
            let socket = held.socket(name).and_then(|held| held.map_or_else(|| TcpListener::bind(address), Ok));
            let opened = socket.and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok(listener)
            });
            opened.map_err(|error| StartError::Listen { what, address, error })
        };
        Ok(Self {
            edge: open("edge", "edge", listen.edge)?,
            admin: open("admin API", "admin", listen.admin)?,
            metrics: open("metrics", "metrics", listen.metrics)?,
        })
    }

    /// The same sockets once more.
    fn copies(&self) -> Result<Self, StartError> {
        let copy = |listener: &TcpListener| listener.try_clone().map_err(StartError::Runtime);
        Ok(Self { edge: copy(&self.edge)?, admin: copy(&self.admin)?, metrics: copy(&self.metrics)? })
    }

    fn addresses(&self, asked: &Listen) -> Listen {
        let actual = |listener: &TcpListener, asked: SocketAddr| listener.local_addr().unwrap_or(asked);
        Listen {
            edge: actual(&self.edge, asked.edge),
            admin: actual(&self.admin, asked.admin),
            metrics: actual(&self.metrics, asked.metrics),
        }
    }
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
