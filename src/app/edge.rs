//! The edge's listener, given to Pingora.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::Arc;

use log::warn;
use parking_lot::Mutex;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::server::{Fds, ListenFds};
use pingora::services::Service as _;
use pingora::services::listening::Service;
use socket2::SockRef;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::gateway::Door;

/// What is read at once from a client's connection with TLS, a record of it; rustls would read it by 4 KiB. Pingora would set
/// aside 64 KiB for each connection before it has said anything. Without TLS the door reads what there is, and a buffer
/// between would only be another page for each connection.
const READ_BYTES: usize = 16 * 1024;
/// What the system takes of an answer beyond what is on its way to the client. It would take megabytes from the provider
/// for a client that reads nothing, and such clients' patience would run out only after that; whoever reads has the rest
/// long before this is gone.
const UNSENT_BYTES: u32 = 256 * 1024;

/// Hands the edge's listener to Pingora and lets it serve. What is written is gathered by the door.
pub(super) fn serve(
    runtime: &Runtime,
    door: Door,
    listener: TcpListener,
    address: SocketAddr,
    has_tls: bool,
    stopped: watch::Receiver<bool>,
) {
    // Connections have it from their listener.
    if let Err(error) = SockRef::from(&listener).set_tcp_notsent_lowat(UNSENT_BYTES) {
        warn!("what waits for a slow reader cannot be limited: {error}");
    }
    let mut service = Service::new("edge".to_owned(), door);
    let address = address.to_string();
    let buffers = L4BufferSettings::new(if has_tls { READ_BYTES } else { 0 }, 0);
    service.add_listener(ListenerConfig::tcp(&address).l4_buffer(buffers));
    let mut fds = Fds::new();
    fds.add(address, listener.into_raw_fd());
    let fds: ListenFds = Arc::new(Mutex::new(fds));
    runtime.spawn(async move { service.start_service(Some(fds), stopped, 1).await });
}
