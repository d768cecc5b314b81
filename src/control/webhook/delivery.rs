//! One delivery: some events as one signed POST, in the form of Standard Webhooks.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::catalog::{Webhook, WebhookUrl};
use crate::control::store::StoredEvent;
use crate::domain::Timestamp;

/// How long one attempt may take, from the connection to the end of the answer.
const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(15);
/// What is read of an answer, so that its connection can be used again.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const TYPE: &str = "keeptrusts.events";
const USER_AGENT: &str = concat!("keeptrusts/", env!("CARGO_PKG_VERSION"));

/// What is posted. It stays the same however often that is tried.
pub(super) struct Delivery {
    /// The same for every attempt; receivers know by it what they already have.
    id: String,
    body: Bytes,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    timestamp: Timestamp,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    gateway: &'a str,
    events: Vec<&'a RawValue>,
}

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The receiver could not be reached, or did not answer in time.
    Unreachable(String),
    /// It answered, but not with a status of success.
    Refused(StatusCode),
}

impl Delivery {
    pub(super) fn new(gateway: &str, events: &[StoredEvent], now: Timestamp) -> serde_json::Result<Self> {
        let (first, last) = (events.first().map_or(0, |event| event.seq), events.last().map_or(0, |event| event.seq));
        let events = events.iter().map(|event| &*event.json).collect();
        let body = Body { r#type: TYPE, timestamp: now, data: Data { gateway, events } };
        Ok(Self { id: format!("msg_{gateway}_{first}_{last}"), body: serde_json::to_vec(&body)?.into() })
    }

    /// The request, signed as of `now`: a receiver can refuse what is old and was sent by somebody else again.
    fn request(&self, webhook: &Webhook, now: Timestamp) -> http::Result<Request<Full<Bytes>>> {
        let seconds = (now.as_micros() / 1_000_000).to_string();
        let signature = webhook.key.sign(&[self.id.as_bytes(), b".", seconds.as_bytes(), b".", &self.body]);
        Request::post(&webhook.url.path)
            .header(header::HOST, webhook.url.authority())
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", &self.id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", format!("v1,{signature}"))
            .body(Full::new(self.body.clone()))
    }
}

/// The way to the receiver; one connection, used again where it lives.
pub(super) struct Postman {
    tls: Option<TlsConnector>,
    connection: Option<(WebhookUrl, SendRequest<Full<Bytes>>)>,
}

impl Postman {
    pub(super) fn new() -> Self {
        Self { tls: None, connection: None }
    }

    /// Tries a delivery once. Redirections are not followed: nobody but the operator says where events go.
    pub(super) async fn post(&mut self, webhook: &Webhook, delivery: &Delivery, now: Timestamp) -> Result<(), Failure> {
        let tried = timeout(ATTEMPT_TIME_MAX, self.exchange(webhook, delivery, now)).await;
        let status = match tried {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => return Err(self.failed(error.to_string())),
            Err(_) => return Err(self.failed("no answer in time".into())),
        };
        if status.is_success() { Ok(()) } else { Err(Failure::Refused(status)) }
    }

    fn failed(&mut self, why: String) -> Failure {
        self.connection = None;
        Failure::Unreachable(why)
    }

    async fn exchange(&mut self, webhook: &Webhook, delivery: &Delivery, now: Timestamp) -> io::Result<StatusCode> {
        let request = delivery.request(webhook, now).map_err(io::Error::other)?;
        let kept = self.connection.take().filter(|(url, _)| *url == webhook.url);
        let mut sender = match kept {
            Some((_, mut sender)) => match sender.ready().await {
                Ok(()) => sender,
                Err(_) => self.connect(&webhook.url).await?,
            },
            None => self.connect(&webhook.url).await?,
        };
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = answer.status();
        // One that says too much is not asked on this connection again.
        if Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.is_ok() {
            self.connection = Some((webhook.url.clone(), sender));
        }
        Ok(status)
    }

    async fn connect(&mut self, url: &WebhookUrl) -> io::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
        stream.set_nodelay(true)?;
        if !url.tls {
            return begin(stream).await;
        }
        let name = ServerName::try_from(url.host.clone()).map_err(io::Error::other)?;
        let connector = match &self.tls {
            Some(connector) => connector.clone(),
            None => self.tls.insert(connector()?).clone(),
        };
        begin(connector.connect(name, stream).await?).await
    }
}

async fn begin(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> io::Result<SendRequest<Full<Bytes>>> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // It ends with the sender; its errors are those of what is sent.
    tokio::spawn(connection);
    Ok(sender)
}

/// Trusts whom this machine trusts.
fn connector() -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    // Those that cannot be read are no reason to fail: others may do.
    _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().unwrap_or_default());
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => f.write_str(why),
            Self::Refused(status) => write!(f, "it answered {status}"),
        }
    }
}
