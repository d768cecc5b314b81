//! A listener of the office, with what ends it.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use log::warn;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::listen::{CurrentIdentity, Gate};

use super::{OFFICE_DEADLINE, StartError};

/// Becomes true when a listener is to be closed, or gone.
type Closing = watch::Receiver<bool>;

pub(super) struct OfficeListener {
    name: &'static str,
    stop: watch::Sender<bool>,
    serving: JoinHandle<io::Result<()>>,
}

impl OfficeListener {
    /// Lets `serve` answer on `listener`, under `identity`, until it is closed.
    pub(super) fn open<F>(
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

    pub(super) async fn close(self) {
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
