//! The edge's connections: taken in as they come, each served in a task of its own.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use log::error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

use super::until_closing;

/// How long none are taken in when the system has no descriptors left: it would only say so again.
const PAUSE: Duration = Duration::from_secs(1);

/// Takes connections in until `closing`. Those that are being served then are not waited for.
pub async fn take_in<F>(
    listener: TcpListener,
    mut closing: watch::Receiver<bool>,
    serve: impl Fn(TcpStream, SocketAddr) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut closing = pin!(until_closing(&mut closing));
    loop {
        let taken = tokio::select! {
            taken = listener.accept() => taken,
            () = &mut closing => return,
        };
        match taken {
            Ok((connection, address)) => drop(tokio::spawn(serve(connection, address))),
            // It was closed before its turn came.
            Err(gone) if matches!(gone.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(refused) => {
                error!("connections wait, because the system gives none out: {refused}; raise the limit of open files");
                sleep(PAUSE).await;
            }
        }
    }
}
