//! A provider behind TLS is verified, or nothing is sent to it; and HTTP/2 carries what HTTP/1.1 does.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::harness::{World, chat_body};

/// A provider behind TLS, at `localhost`.
struct Provider {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    folder: TempDir,
}

/// A request as it arrived.
struct Seen {
    version: Version,
    /// The host it was meant for, wherever the version puts it.
    host: String,
    authorization: String,
    body: [u8; 32],
}

/// Whose name is in the certificate, and who signed it.
#[derive(Clone, Copy)]
enum Identity {
    Sound,
    OtherName,
    SelfSigned,
}

impl Provider {
    async fn start(identity: Identity, protocols: &[&str]) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = ca.self_signed(&ca_key).unwrap();
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("ca.pem"), pem(ca.der())).unwrap();

        let key = KeyPair::generate().unwrap();
        let name = if matches!(identity, Identity::OtherName) { "elsewhere.example" } else { "localhost" };
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = match identity {
            Identity::SelfSigned => params.self_signed(&key).unwrap(),
            _ => params.signed_by(&key, &ca, &ca_key).unwrap(),
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let mut config = builder
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), seen.clone()));
        Self { address, seen, folder }
    }

    /// A gateway that has this provider and, if `trusted`, its authority.
    async fn world(&self, trusted: bool) -> World {
        let port = self.address.port();
        World::with(|setup| {
            let base_url = format!("https://localhost:{port}");
            setup.providers = Some(format!(
                "providers:\n  openai: {{kind: openai, base_url: \"{base_url}\", api_key: {{env: TEST_OPENAI_KEY}}}}"
            ));
            if trusted {
                setup.environment = vec![("SSL_CERT_FILE", self.folder.path().join("ca.pem"))];
            }
        })
        .await
    }
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, seen: Arc<Mutex<Vec<Seen>>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, seen) = (acceptor.clone(), seen.clone());
        tokio::spawn(async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let service = service_fn(move |request| answer(request, seen.clone()));
            if is_h2 {
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            } else {
                let builder = hyper::server::conn::http1::Builder::new();
                let _ = builder.serve_connection(TokioIo::new(&mut stream), service).await;
                let _ = stream.read(&mut [0]).await;
            }
        });
    }
}

type Body = StreamBody<futures::stream::BoxStream<'static, Result<Frame<Bytes>, std::convert::Infallible>>>;

/// Five events, 20 ms apart, whatever is asked.
async fn answer(request: Request<Incoming>, seen: Arc<Mutex<Vec<Seen>>>) -> Result<Response<Body>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    seen.lock().unwrap().push(Seen {
        version: head.version,
        host: head.uri.authority().map(ToString::to_string).or(header("host")).unwrap_or_default(),
        authorization: header("authorization").unwrap_or_default(),
        body: Sha256::digest(&body).into(),
    });
    let events = stream::unfold(0, |at| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let event = match at {
            0..4 => format!(
                "data: {}\n\n",
                json!({"model": "gpt-4o-mini", "choices": [{"index": 0, "delta": {"content": "word "}}]})
            ),
            4 => {
                let usage = json!({"model": "gpt-4o-mini", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 4}});
                format!("data: {usage}\n\ndata: [DONE]\n\n")
            }
            _ => return None,
        };
        Some((Ok(Frame::data(event.into())), at + 1))
    });
    let body: Body = StreamBody::new(Box::pin(events));
    Ok(Response::builder().header("content-type", "text/event-stream").body(body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_cannot_prove_its_name_is_sent_nothing() {
    for (identity, trusted) in [(Identity::Sound, false), (Identity::OtherName, true), (Identity::SelfSigned, true)] {
        let provider = Provider::start(identity, &["h2", "http/1.1"]).await;
        let mut world = provider.world(trusted).await;
        let key = world.key("jane");
        let answer = world.chat(&key, true).send().await;
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_failed"), "{}", answer.text());
        let output = world.events_after(2).await.pop().unwrap();
        assert_eq!((&output["reason"], &output["usage"]["source"]), (&json!("tls"), &json!("none")), "{output}");
        assert!(provider.seen.lock().unwrap().is_empty(), "something was sent");
        let log = world.gateway.log();
        assert!(log.contains("invalid peer certificate"), "whoever runs it learns why: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_proves_its_name_is_used_in_both_versions() {
    for (protocols, version) in [(&["h2", "http/1.1"][..], Version::HTTP_2), (&["http/1.1"], Version::HTTP_11)] {
        let provider = Provider::start(Identity::Sound, protocols).await;
        let mut world = provider.world(true).await;
        let key = world.key("jane");
        let large = "x".repeat(10 * 1024 * 1024);
        let mut body = chat_body("gpt-4o-mini", true);
        body["stream_options"] = json!({"include_usage": true});
        let mut large_body = body.clone();
        large_body["messages"][0]["content"] = large.into();
        for body in [body, large_body] {
            let sent = serde_json::to_vec(&body).unwrap();
            let answer = world.ask("POST", "/v1/chat/completions").key(&key).body(sent.clone()).send().await;
            assert_eq!((answer.status, answer.whole), (200, true), "{}", answer.text());
            assert_eq!(answer.events().len(), 6);
            let apart = answer.pieces.last().unwrap().0 - answer.pieces[0].0;
            assert!(apart > Duration::from_millis(40), "events were held back: {apart:?}");
            let seen = provider.seen.lock().unwrap().pop().unwrap();
            assert_eq!(seen.version, version);
            assert_eq!(seen.host, format!("localhost:{}", provider.address.port()));
            assert_eq!(seen.authorization, format!("Bearer {}", crate::harness::OPENAI_CANARY));
            assert_eq!(seen.body, <[u8; 32]>::from(Sha256::digest(&sent)), "the body arrived changed");
        }
        let output = world.events_after(4).await.pop().unwrap();
        assert_eq!((&output["usage"]["input"], &output["usage"]["source"]), (&json!(7), &json!("provider")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_its_stream_alone() {
    let provider = Provider::start(Identity::Sound, &["h2"]).await;
    let mut world = provider.world(true).await;
    let key = world.key("jane");
    // Both use one connection: the one that leaves must not take the other with it.
    assert_eq!(world.chat(&key, true).send().await.status, 200);
    let (gone, kept) =
        tokio::join!(world.chat(&key, true).send_until(|body| !body.is_empty()), world.chat(&key, true).send(),);
    assert!(!gone.whole && kept.whole);
    let events = world.events_after(6).await;
    let ended = |how: &str| events.iter().filter(|event| event["ended"] == how).count();
    assert_eq!((ended("complete"), ended("client_closed")), (2, 1));
}
