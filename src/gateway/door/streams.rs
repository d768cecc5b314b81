//! The requests of an HTTP/2 connection, each of which can be ended without the others.
//!
//! Pingora 0.9.1 gives no hold on one of them while it waits for its provider. So each is told apart when it begins, and
//! one whose key may not go on is dropped, which resets its stream, unless it has noticed by itself: at the next piece of
//! an answer, after which there is still a last word.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::sync::Notify;
use tokio::task_local;
use tokio::time::sleep;

use super::super::Gateway;

/// How long a request that is woken has to say its last word. Answers that are running come in pieces faster than this.
const LAST_WORD: Duration = Duration::from_millis(500);

task_local! {
    static WAKER: Arc<Notify>;
}

/// What serves the requests of HTTP/2 connections.
pub struct Streams(pub Arc<HttpProxy<Gateway>>);

/// What ends the request under way, if it came over HTTP/2.
pub fn waker() -> Option<Arc<Notify>> {
    WAKER.try_with(Arc::clone).ok()
}

#[async_trait]
impl HttpServerApp for Streams {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let Self(proxy) = &**self;
        let waker = Arc::new(Notify::new());
        let woken = async {
            waker.notified().await;
            sleep(LAST_WORD).await;
        };
        tokio::select! {
            biased;
            served = WAKER.scope(waker.clone(), proxy.process_new_http(session, shutdown)) => served,
            () = woken => None,
        }
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.0.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.0.server_options()
    }
}
