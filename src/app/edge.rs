//! The edge's listener, from which the door is fed.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use log::warn;
use socket2::SockRef;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::gateway::Door;
use crate::listen;

/// How many connections may wait to be taken in; the system has a limit of its own.
const BACKLOG: i32 = 65_535;
/// What the system takes of an answer beyond what is on its way to the client. It would take megabytes from the provider
/// for a client that reads nothing, and such clients' patience would run out only after that; whoever reads has the rest
/// long before this is gone.
const UNSENT_BYTES: u32 = 256 * 1024;

/// Lets the door take connections in until it is `stopped`. What is written is gathered by the door.
pub(super) fn serve(
    runtime: &Runtime,
    door: Door,
    listener: TcpListener,
    stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    let socket = SockRef::from(&listener);
    // Connections have it from their listener.
    if let Err(error) = socket.set_tcp_notsent_lowat(UNSENT_BYTES) {
        warn!("what waits for a slow reader cannot be limited: {error}");
    }
    socket.listen(BACKLOG)?;
    let _on_edge = runtime.enter();
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let door = Arc::new(door);
    runtime.spawn(async move {
        let open = |connection, address| door.clone().open(connection, address, stopped.clone());
        listen::take_in(listener, stopped.clone(), open).await;
        door.close().await;
    });
    Ok(())
}
