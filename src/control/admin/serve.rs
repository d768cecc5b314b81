//! Connections: how many, how long, and how they end.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::control::admin_tokens::AdminTokens;
use crate::control::data_dir::DataDir;
use crate::control::office::Office;
use crate::domain::Pepper;

use super::entrance;
use super::socket::{self, BindError, SOCKET_FILE};
use super::{Admin, router, until_closing};

/// Connections that one entrance serves at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// How long a connection may take to send a request's head, and how long it may be idle.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// How long running requests may take to end at shutdown.
const CLOSING_TIME_MAX: Duration = Duration::from_secs(5);
/// How often running requests are told what expired in the meantime. Requests to come need not wait for it.
const TICK_PERIOD: Duration = Duration::from_millis(500);
/// How often it is written down when keys were used.
const USES_PERIOD: Duration = Duration::from_secs(30);

/// The admin API, bound to its socket and not yet answering.
pub struct AdminServer {
    pub(super) router: Router,
    socket: UnixListener,
    pub(super) tokens: AdminTokens,
    pub(super) pepper: Pepper,
    office: Office,
    closing: watch::Sender<bool>,
    data_dir: Arc<DataDir>,
}

impl AdminServer {
    /// Opens the socket. `closing` is what `admin` was given the other end of.
    pub(in crate::control) fn bind(
        admin: Arc<Admin>,
        closing: watch::Sender<bool>,
        tokens: AdminTokens,
        pepper: Pepper,
        office: Office,
        data_dir: Arc<DataDir>,
    ) -> Result<Self, BindError> {
        let socket = socket::bind(data_dir.path())?;
        Ok(Self { router: router(admin), socket, tokens, pepper, office, closing, data_dir })
    }

    /// Answers on the socket and on `listener` until `shutdown`, then lets running requests end.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> std::io::Result<()> {
        let Self { router, socket, tokens, pepper, office, closing, data_dir } = self;
        let listen: SocketAddr = listener.local_addr()?;
        let by_socket = answer(socket, entrance::of_socket(router.clone()), closing.subscribe());
        let by_tcp = answer(listener, entrance::of_tcp(router, listen, tokens, pepper), closing.subscribe());
        let until_shutdown = async {
            tokio::select! {
                () = shutdown => {}
                () = keep_ticking(&office) => {}
                () = keep_writing_uses(&office) => {}
            }
            closing.send_replace(true);
        };
        tokio::join!(by_socket, by_tcp, until_shutdown);
        // The path of requests has ended before: there will be no further uses.
        write_uses(&office).await;
        // Only so that nobody tries it in vain: the next start replaces it anyway.
        let _ = std::fs::remove_file(data_dir.path().join(SOCKET_FILE));
        Ok(())
    }
}

/// Accepts connections until `closing`, then waits for those that are open.
async fn answer<L: Listener>(mut listener: L, router: Router, mut closing: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await;
            // The listener itself waits and tries again when the system has no descriptors left.
            (listener.accept().await.0, place)
        };
        let (io, place) = tokio::select! {
            (io, Ok(place)) = next => (io, place),
            () = until_closing(&mut closing) => break,
            else => break,
        };
        connections.spawn(converse(io, router.clone(), closing.clone(), place));
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    // Whatever is left is cut when the set is dropped.
    let _ = timeout(CLOSING_TIME_MAX, ended).await;
}

async fn converse(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    mut closing: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
) {
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
    let mut connection = pin!(protocol.serve_connection(TokioIo::new(io), TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = until_closing(&mut closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        log::debug!("a connection to the admin API broke off: {error}");
    }
}

/// Lets what ends by itself end for running requests too. Never returns.
async fn keep_ticking(office: &Office) {
    let mut ticks = interval(TICK_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        office.tick();
    }
}

/// Never returns.
async fn keep_writing_uses(office: &Office) {
    loop {
        sleep(USES_PERIOD).await;
        write_uses(office).await;
    }
}

async fn write_uses(office: &Office) {
    if let Err(error) = office.write_uses().await {
        log::warn!("when keys were last used could not be written, and will be tried again: {error}");
    }
}
