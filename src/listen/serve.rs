//! Connections: how many, how long, and how they end.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Connections that one listener serves at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// How long a connection may take to send a request's head, its TLS greeting included, and how long it may be idle.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a listener that is to close, and its connections, go on for those who have connected and not been heard yet.
const LAST_CALL: Duration = Duration::from_millis(50);
/// How long running requests may take to end at shutdown.
const CLOSING_TIME_MAX: Duration = Duration::from_secs(5);

/// Accepts connections until `closing`, then waits for those that are open. Whoever had connected by then is answered.
pub async fn serve<L: Listener>(mut listener: L, router: Router, closing: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut end = pin!(until_last_call(closing.clone()));
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await;
            // The listener itself waits and tries again when the system has no descriptors left.
            (listener.accept().await.0, place)
        };
        let (io, place) = tokio::select! {
            (io, Ok(place)) = next => (io, place),
            () = &mut end => break,
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
    closing: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
) {
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
    let mut connection = pin!(protocol.serve_connection(TokioIo::new(io), TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = until_last_call(closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        log::debug!("a connection to the office broke off: {error}");
    }
}

async fn until_last_call(mut closing: watch::Receiver<bool>) {
    until_closing(&mut closing).await;
    sleep(LAST_CALL).await;
}

/// Returns once `closing` is true.
pub async fn until_closing(closing: &mut watch::Receiver<bool>) {
    // Not the guard itself: it must not be held while the caller waits for something else.
    let _ = closing.wait_for(|closing| *closing).await.map(drop);
}
