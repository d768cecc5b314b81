//! Both entrances of the admin API, and what is done at intervals while they are open.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::control::admin_tokens::AdminTokens;
use crate::control::data_dir::DataDir;
use crate::control::office::Office;
use crate::domain::Pepper;
use crate::listen::{self, Gate};

use super::entrance;
use super::socket::{self, BindError, SOCKET_FILE};
use super::{Admin, router};

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

    /// Answers on the socket and at `gate` until `shutdown`, then lets running requests end.
    pub async fn serve(self, gate: Gate, shutdown: impl Future<Output = ()>) -> std::io::Result<()> {
        let Self { router, socket, tokens, pepper, office, closing, data_dir } = self;
        let listen: SocketAddr = gate.local_addr()?;
        let by_socket = listen::serve(socket, entrance::of_socket(router.clone()), closing.subscribe());
        let router = entrance::of_tcp(router, listen, gate.identity().clone(), tokens, pepper);
        let by_tcp = listen::serve(gate, router, closing.subscribe());
        let until_shutdown = async {
            tokio::select! {
                () = shutdown => {}
                () = keep_ticking(&office) => {}
                () = keep_writing_uses(&office) => {}
            }
            // First, so that nobody comes to it any more; who has come is answered.
            let _ = std::fs::remove_file(data_dir.path().join(SOCKET_FILE));
            closing.send_replace(true);
        };
        tokio::join!(by_socket, by_tcp, until_shutdown);
        // The path of requests has ended before: there will be no further uses.
        write_uses(&office).await;
        Ok(())
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
