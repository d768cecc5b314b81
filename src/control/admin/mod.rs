//! The admin API: one set of endpoints behind two entrances.
//!
//! The socket in the data directory is trusted by its file mode: whoever may open it may also read the
//! database. The TCP entrance asks for an admin token on everything, and for a `Host` that is ours, so that no
//! web page can talk to it under a name of its own.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tokio::sync::{mpsc, watch};

use crate::catalog::CurrentCatalog;

use super::Upgrade;
use super::office::Office;
use super::store::{EventStore, KeyStore};
use super::usage::Usage;

mod serve; // both entrances, and what is done at intervals while they are open
mod socket; // the socket in the data directory
mod entrance; // who is asking: the socket's user, or the holder of an admin token
mod extract; // reading requests, with every fault as a problem document
mod problem; // every reason to say no, as RFC 9457 has it
mod openapi; // all of it, described for programs
pub mod v1; // the endpoints

pub use problem::ProblemDocument;
pub use serve::AdminServer;
pub use socket::{BindError, SOCKET_FILE};

use problem::Problem;

/// What endpoints work with.
pub(crate) struct Admin {
    pub(super) office: Office,
    pub(super) catalog: Arc<CurrentCatalog>,
    pub(super) keys: Arc<dyn KeyStore>,
    pub(super) events: Arc<dyn EventStore>,
    /// How far the event log reaches.
    pub(super) tip: watch::Receiver<i64>,
    pub(super) usage: Usage,
    pub(super) gateway: Arc<str>,
    /// Where operators are heard who want another process to take over.
    pub(super) upgrade: mpsc::Sender<Upgrade>,
    /// Becomes true when followers are to be let go.
    pub(super) closing: watch::Receiver<bool>,
}

/// Every endpoint; what no endpoint answers is a problem document too.
fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .nest("/v1", v1::router())
        .route("/openapi.json", get(openapi::handler))
        .fallback(async || Problem::route_unknown())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(admin)
}

#[cfg(test)]
mod tests;
