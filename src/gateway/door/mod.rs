//! Where connections come in, before Pingora sees a byte of them.
//!
//! Pingora 0.9.1 counts its deadlines from read to read, takes heads of a megabyte and any number of connections, and
//! lets pass what other parsers read differently. So the gateway reads each request's head itself, under one deadline
//! and within limits, decides where the request ends (`protocol::framing`), and hands Pingora a [`Line`] that gives
//! it exactly this request. HTTP/2 frames its requests unmistakably; there the limits are those of its connection.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use log::debug;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ServerApp};
use pingora::protocols::ALPN;
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::stream::Stream as Connection;
use pingora::proxy::{HttpProxy, Session, http_proxy};
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::catalog::{Catalog, CurrentCatalog, Doorway, Timeouts};
use crate::journal::Journal;
use crate::listen::CurrentIdentity;
use crate::protocol::framing::{Fault, HeadLimits, HeadScan};
use crate::protocol::route::Line as Asked;
use crate::protocol::{Dialect, route};

use super::refusal::Refusal;
use super::{CONNECTS_MAX, Gateway, respond};

mod greet; // how connections begin: TLS, where the edge has an identity
mod buffered; // a connection that is read by larger pieces than are asked for
mod line; // a connection that gives Pingora one request at a time
mod gather; // what goes out on it, as few packets
mod cork; // what goes to a provider, as few packets as well
mod streams; // the requests of an HTTP/2 connection, each by itself
mod silence; // how long a provider may be silent
mod alarm; // when a deadline has passed
mod patience; // how long what is written waits for its client
mod caps; // how many connections there may be

pub use caps::Caps as Connections;
pub use cork::cork;
pub use line::{BrokenChunks, Line};
pub use patience::SlowReader;
pub use silence::{Silence, SilentProvider};
pub use streams::waker;

use caps::{Caps, Full};
use line::NoHead;
use patience::Pace;
use streams::Streams;

/// How long the last answer on a connection that is refused may take to be sent.
const LAST_WORD: Duration = Duration::from_secs(5);

/// How long a connection that has just come in, or was just answered on, may still ask when the gateway stops. Its client
/// could not know, and would take the closed connection for a failed request; the answer tells it to go elsewhere.
const LAST_CALL: Duration = Duration::from_millis(250);

/// A connection on which nothing was asked for longer is idle: it is closed at once.
const IDLE: Duration = Duration::from_secs(1);

/// How long the answer to a connection beyond a cap may take.
const AT_ONCE: Duration = Duration::from_millis(100);

/// The gateway as a service of connections.
pub struct Door {
    proxy: Arc<HttpProxy<Gateway>>,
    streams: Arc<Streams>,
    identity: Arc<CurrentIdentity>,
    caps: Arc<Caps>,
    journal: Journal,
    catalog: Arc<CurrentCatalog>,
}

impl Door {
    pub fn new(gateway: Gateway, identity: Arc<CurrentIdentity>) -> Self {
        let (catalog, journal) = (gateway.catalog.clone(), gateway.journal.clone());
        let settings = &catalog.load().settings;
        let conf = ServerConf {
            upstream_keepalive_pool_size: settings.upstream_connections_kept,
            max_retries: CONNECTS_MAX,
            ..ServerConf::default()
        };
        let mut proxy = http_proxy(&Arc::new(conf), gateway);
        proxy.h2_options = Some(greet::h2_options());
        proxy.server_options = Some(greet::server_options(settings.timeouts.keepalive));
        let proxy = Arc::new(proxy);
        let streams = Arc::new(Streams(proxy.clone()));
        Self { proxy, streams, identity, caps: Arc::default(), journal, catalog }
    }

    /// Counts the connections there are.
    pub fn connections(&self) -> Arc<Connections> {
        self.caps.clone()
    }

    /// Takes a connection in, if there is a place for it, and serves it to its end.
    pub async fn open(self: Arc<Self>, connection: TcpStream, address: SocketAddr, shutdown: ShutdownWatch) {
        let metrics = self.journal.metrics();
        let (Timeouts { header, .. }, limits, pace) = self.settings();
        let connection = greet::known(connection, address);
        let address = Some(address.ip());
        let place = match self.caps.enter(address, limits.connections_max, limits.connections_per_address_max) {
            Ok(place) => place,
            Err(full) => {
                metrics.connection_refused(match full {
                    Full::All => "all",
                    Full::Address => "address",
                });
                // It would cost a greeting to say so.
                if self.identity.load().is_none() {
                    self.turn_away(connection).await;
                }
                return;
            }
        };
        metrics.connections(self.caps.count());
        match greet::greet(&self.identity, connection, header).await {
            Some(stream) if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) => {
                let mut line = Box::new(Line::new(stream, pace));
                // Pingora would wait for it for ever, and log each that is none. What comes behind it has as long as
                // a connection may be idle.
                if let Ok(()) = line.preface(Instant::now() + header).await {
                    self.streams.process_new(line, &shutdown).await;
                }
            }
            Some(stream) => self.serve(Box::new(Line::new(stream, pace)), &shutdown).await,
            None => {}
        }
        drop(place);
        metrics.connections(self.caps.count());
    }

    /// No more connections come.
    pub async fn close(&self) {
        self.proxy.http_cleanup().await;
    }

    /// Serves a client until one of the two ends the connection.
    async fn serve(&self, line: Box<Line>, shutdown: &ShutdownWatch) {
        let (mut line, mut settings, mut first) = (line, None::<HttpPersistentSettings>, true);
        let mut stopping = pin!(stopping(shutdown.clone()));
        loop {
            let head = match self.receive(&mut line, first, shutdown, stopping.as_mut()).await {
                Ok(head) => head,
                Err(None) => return,
                Err(Some((refusal, dialect))) => return self.refuse(&mut line, &refusal, dialect).await,
            };
            let mut session = ServerSession::new_http1(line);
            // Pingora would read it into a page of its own.
            session.set_pipelined_prefix(head);
            match settings {
                Some(settings) => settings.apply_to_session(&mut session),
                // Until when it is kept is decided here, not by Pingora.
                None => session.set_keepalive(Some(0)),
            }
            let mut exchange = self.proxy.process_new_http(session, shutdown);
            let Some(reused) = poll_fn(|cx| cork::within(|| exchange.as_mut().poll(cx))).await else { return };
            let (stream, kept) = reused.consume();
            let Ok(same) = stream.into_any().downcast::<Line>() else { return };
            if !same.is_between_requests() {
                return;
            }
            (line, settings, first) = (same, kept, false);
        }
    }

    /// Reads the next request's head. `Err(None)`: there is none, and nobody to tell.
    async fn receive(
        &self,
        line: &mut Line,
        first: bool,
        shutdown: &ShutdownWatch,
        stopping: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<BytesMut, Option<(Refusal, Dialect)>> {
        // The settings that hold when the wait begins.
        let (Timeouts { header, keepalive, .. }, limits, pace) = self.settings();
        let patience = if first { header } else { keepalive };
        line.bear(pace);
        let since = Instant::now();
        let mut scan = HeadScan::default();
        let head = async {
            // A connection on which nothing was asked is closed without a word.
            line.begun(since + patience).await.map_err(|_missing| NoHead::Gone)?;
            line.next(&mut scan, &limits.head, header).await
        };
        let stopping = async {
            // It says so only once.
            if !*shutdown.borrow() {
                stopping.await;
            }
            if first || since.elapsed() < IDLE {
                sleep(LAST_CALL).await;
            }
        };
        let missing = tokio::select! {
            biased;
            head = head => match head {
                Ok(head) => return Ok(head),
                Err(missing) => missing,
            },
            () = stopping => NoHead::Gone,
        };
        let refusal = match missing {
            NoHead::Gone => return Err(None),
            NoHead::Late => Refusal::HeaderTimeout,
            NoHead::Faulty(fault) => refusal(fault, &limits.head),
        };
        Err(Some((refusal, dialect(&scan, line.seen()))))
    }

    fn settings(&self) -> (Timeouts, Doorway, Pace) {
        self.catalog.read(|Catalog { settings, .. }| {
            let pace = Pace { patience: settings.timeouts.write, rate_min: settings.answer_rate_min };
            (settings.timeouts, settings.door, pace)
        })
    }

    /// Refuses what no journey has begun for: nobody can be charged with it, so it is counted and not recorded.
    async fn refuse(&self, line: &mut Line, refusal: &Refusal, dialect: Dialect) {
        self.journal.metrics().stranger_refused(refusal.row().code);
        debug!("a request was refused at the door: {}", refusal.row().code);
        let answer = respond::last_word(refusal, dialect, &Uuid::now_v7().to_string());
        // Whoever does not take the answer goes without.
        let _ = timeout(LAST_WORD, line.close_with(&answer)).await;
    }

    /// Refuses a connection beyond a cap with a word, if that can be said at once: patience would cost what the cap is
    /// to save.
    async fn turn_away(&self, mut stream: Connection) {
        let refusal = Refusal::Overloaded("has as many connections as it takes");
        self.journal.metrics().stranger_refused(refusal.row().code);
        let answer = respond::last_word(&refusal, Dialect::OpenAi, &Uuid::now_v7().to_string());
        let said = async {
            stream.write_all(&answer).await?;
            stream.flush().await
        };
        let _ = timeout(AT_ONCE, said).await;
    }
}

/// Ends when the gateway begins to stop. Made once for a connection, because to begin to wait takes locks.
async fn stopping(mut shutdown: ShutdownWatch) {
    // It is dropped only when the process ends.
    let _ = shutdown.wait_for(|stopping| *stopping).await;
}

/// How a request is refused that breaks the rules of framing.
pub fn refusal(fault: Fault, limits: &HeadLimits) -> Refusal {
    match fault {
        Fault::Malformed(what) => Refusal::RequestMalformed(what.into()),
        Fault::Ambiguous(what) => Refusal::RequestAmbiguous(what.into()),
        Fault::MethodUnknown => Refusal::MethodUnknown,
        Fault::MethodRefused => Refusal::MethodNotAllowed { allow: "GET, HEAD, POST" },
        Fault::VersionUnsupported => Refusal::VersionUnsupported,
        Fault::TargetTooLong => Refusal::TargetTooLong { limit: limits.target_bytes },
        Fault::TooLarge => Refusal::HeadersTooLarge { bytes: limits.bytes, fields: limits.fields },
    }
}

/// Where the request says how long its provider may be silent. Not over HTTP/2, where no connection is one request's.
pub fn silence(session: &Session) -> Option<Silence> {
    let line = session.stream()?.as_ref().as_any().downcast_ref::<Line>()?;
    Some(line.silence())
}

/// Waits until some of a body is here, without any of Pingora's buffers. At once where it is, and over HTTP/2.
pub async fn gather(session: &mut Session) {
    /// Whoever waits no longer may read.
    struct Over(Silence);
    impl Drop for Over {
        fn drop(&mut self) {
            self.0.gather(false);
        }
    }
    let (Some(_), Some(silence)) = (awaited(session), silence(session)) else { return };
    let ServerSession::H1(http1) = session.downstream_session.as_mut() else { return };
    silence.gather(true);
    let over = Over(silence);
    // It reads a byte, for which the connection gathers all it gets, and is never given one.
    let mut read = pin!(http1.idle());
    let gathered = |cx: &mut Context<'_>| match read.as_mut().poll(cx) {
        Poll::Pending if over.0.gathers() => Poll::Pending,
        _ => Poll::Ready(()),
    };
    poll_fn(gathered).await;
}

/// How much of a body is here for whose beginning it is to be waited.
pub fn awaited(session: &Session) -> Option<usize> {
    session.stream()?.as_ref().as_any().downcast_ref::<Line>()?.awaits()
}

/// In which dialect to refuse: what the part of the head that could be read suggests.
fn dialect(scan: &HeadScan, seen: &[u8]) -> Dialect {
    let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
    let (method, target) = scan.request(seen).map_or(("", ""), |(method, target)| (text(method), text(target)));
    let path = target.split('?').next().unwrap_or_default();
    let asked = Asked {
        method,
        path,
        has_anthropic_version: scan.has_anthropic_version(),
        has_goog_api_key: scan.has_goog_api_key(),
        is_websocket_upgrade: false,
    };
    match route::locate(asked, &|_| true) {
        Ok(route) => route.target.dialect(),
        Err(route::RouteError::Unknown { dialect } | route::RouteError::Method { dialect, .. }) => dialect,
    }
}
