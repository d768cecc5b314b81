//! One connection on one thread.
//!
//! SQLite blocks, so it has no place on a runtime's threads; and one thread a connection makes every call
//! whole: nothing else happens on the connection between its first statement and its last.

use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::control::store::StoreError;

/// Calls that may wait; callers beyond them wait for a place.
const CALLS_MAX: usize = 256;

type Call = Box<dyn FnOnce(&mut Connection) + Send>;

/// The way to a connection's thread, which ends once every `Worker` of it is dropped.
pub(super) struct Worker {
    calls: mpsc::Sender<Call>,
}

impl Worker {
    pub(super) fn start(name: &str, mut connection: Connection) -> Result<Self, StoreError> {
        let (calls, mut waiting) = mpsc::channel::<Call>(CALLS_MAX);
        let run = move || {
            while let Some(call) = waiting.blocking_recv() {
                call(&mut connection);
            }
        };
        thread::Builder::new().name(name.into()).spawn(run).map_err(|error| StoreError::Failed(error.into()))?;
        Ok(Self { calls })
    }

    /// Runs `work` on the connection's thread. Once begun it runs to its end, also if the caller is gone.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let call = Box::new(move |connection: &mut Connection| {
            // Nobody waits for the answer any more if this fails.
            let _ = answer.send(work(connection));
        });
        self.calls.send(call).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

fn stopped() -> StoreError {
    StoreError::Failed("the store's thread has stopped".into())
}
