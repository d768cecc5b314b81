//! Connections as they begin: TLS, where the edge has an identity, and what its clients may do over HTTP/2.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use log::debug;
use pingora::apps::HttpServerOptions;
use pingora::listeners::tls::Acceptor;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::protocols::l4::stream::Stream as Connection;
use pingora::protocols::{GetSocketDigest, SocketDigest, Stream};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::listen::CurrentIdentity;

use super::buffered::Buffered;

/// Requests at once on one HTTP/2 connection, and the size of all of a request's headers.
const H2_STREAMS_MAX: u32 = 100;
const H2_HEADERS_BYTES_MAX: u32 = 64 * 1024;

pub fn h2_options() -> H2Options {
    let mut options = default_h2_options();
    options.max_concurrent_streams(H2_STREAMS_MAX).max_header_list_size(H2_HEADERS_BYTES_MAX);
    options
}

pub fn server_options(keepalive: Duration) -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    options.h2_idle_timeout = Some(keepalive);
    options
}

/// What is read at once of a connection with TLS, a record of it; rustls would read it by 4 KiB. Without TLS the door reads
/// what there is, and a buffer between would only be another page for each connection.
const TLS_READ_BYTES: usize = 16 * 1024;

/// The connection with whatever Pingora wants to know of it.
pub fn known(connection: TcpStream, address: SocketAddr) -> Connection {
    // What is written has been gathered. Only an unconnected socket refuses it, whose end shows soon enough.
    let _ = connection.set_nodelay(true);
    let digest = SocketDigest::from_raw_fd(connection.as_raw_fd());
    let _ = digest.peer_addr.set(Some(address.into()));
    let mut connection = Connection::from(connection);
    connection.set_socket_digest(digest);
    connection
}

/// The connection as it is to be read: greeted as the edge's identity of the moment has it, or as it came where there
/// is none. `None` if the client cannot be greeted within `patience`.
pub async fn greet(identity: &CurrentIdentity, connection: Connection, patience: Duration) -> Option<Stream> {
    let Some(identity) = identity.load() else { return Some(Box::new(connection)) };
    let acceptor = Acceptor::from_server_config(identity.tls());
    // Apart, so that connections without TLS have no room for it.
    let handshake = Box::pin(acceptor.tls_handshake(Buffered::new(connection, TLS_READ_BYTES)));
    match timeout(patience, handshake).await {
        Ok(Ok(private)) => Some(Box::new(private)),
        Ok(Err(error)) => {
            debug!("a TLS greeting failed: {error}");
            None
        }
        Err(_elapsed) => {
            debug!("a TLS greeting took too long");
            None
        }
    }
}
