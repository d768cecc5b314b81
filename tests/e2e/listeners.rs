//! TLS at our own listeners: who is greeted how, and what a reload changes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::{World, chat_body, command};

/// An authority and the directory with what it signed.
pub struct Authority {
    certificate: Certificate,
    key: KeyPair,
    folder: TempDir,
}

pub struct Client {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { certificate, key, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Signs a certificate for `localhost` and leaves it and its key as `name.pem` and `name.key`.
    pub fn sign(&self, name: &str) -> Client {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.certificate, &self.key).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        let chain = vec![certificate.der().clone()];
        Client { chain, key: PrivateKeyDer::Pkcs8(key.serialize_der().into()) }
    }

    /// `tls:` with the certificate called `name`.
    pub fn tls(&self, name: &str, more: &str) -> String {
        let file = |suffix: &str| self.path(&format!("{name}.{suffix}")).display().to_string();
        format!("tls: {{cert: {}, key: {}{more}}}", file("pem"), file("key"))
    }

    pub async fn greet(
        &self,
        address: SocketAddr,
        protocol: &str,
        client: Option<Client>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let mut config = match client {
            Some(Client { chain, key }) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![protocol.into()];
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }
}

/// The serial of the certificate that the other side showed.
fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

async fn exchange(stream: TlsStream<TcpStream>, request: Request<Full<Bytes>>) -> hyper::Result<(StatusCode, String)> {
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let answer = if is_h2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        sender.send_request(request).await?
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        sender.send_request(request).await?
    };
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8(body.to_vec()).unwrap()))
}

pub fn chat(key: &str, version: Version) -> Request<Full<Bytes>> {
    let uri = match version {
        Version::HTTP_2 => "https://localhost/v1/chat/completions",
        _ => "/v1/chat/completions",
    };
    let body = serde_json::to_vec(&chat_body("gpt-4o-mini", true)).unwrap();
    let request = Request::post(uri).version(version).header("authorization", format!("Bearer {key}"));
    let request = if version == Version::HTTP_2 { request } else { request.header("host", "localhost") };
    request.header("content-type", "application/json").body(Full::new(body.into())).unwrap()
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", "localhost").body(Full::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_speaks_tls_in_both_versions_of_http_and_renews_its_certificate() {
    let authority = Authority::new();
    authority.sign("edge");
    let mut world = World::with(|setup| {
        setup.edge = format!("{{address: \"127.0.0.1:0\", {}}}", authority.tls("edge", ""));
    })
    .await;
    let key = world.key("jane");
    let edge = world.gateway.edge;
    for (protocol, version) in [("http/1.1", Version::HTTP_11), ("h2", Version::HTTP_2)] {
        let stream = authority.greet(edge, protocol, None).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
        let (status, text) = exchange(stream, chat(&key, version)).await.unwrap();
        assert!(status == StatusCode::OK && text.ends_with("data: [DONE]\n\n"), "{protocol}: {status} {text}");
    }
    // Who asks in plain text gets nothing.
    let plain = TcpStream::connect(edge).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(plain)).await.unwrap();
    tokio::spawn(connection);
    assert!(sender.send_request(get("/healthz")).await.is_err());

    let kept = authority.greet(edge, "http/1.1", None).await.unwrap();
    let before = shown(&kept);
    authority.sign("edge");
    assert_eq!(shown(&authority.greet(edge, "h2", None).await.unwrap()), before, "nothing holds before the reload");
    world.kt(&["config", "reload"]).succeeded();
    assert_ne!(shown(&authority.greet(edge, "h2", None).await.unwrap()), before);
    let (status, _) = exchange(kept, chat(&key, Version::HTTP_11)).await.unwrap();
    assert_eq!(status, StatusCode::OK, "an old connection goes on");

    // A renewal that went wrong leaves the certificate as it was.
    std::fs::copy(authority.path("ca.pem"), authority.path("edge.pem")).unwrap();
    let refused = world.kt(&["config", "reload"]);
    assert!(refused.stderr().contains("the key does not belong to the certificate"), "{}", refused.stderr());
    let stream = authority.greet(edge, "http/1.1", None).await.unwrap();
    assert_eq!(exchange(stream, get("/healthz")).await.unwrap().0, StatusCode::OK);
    authority.sign("edge");
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An empty SETTINGS frame.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// The beginning of a HEADERS frame of two hundred bytes.
const HEADERS: &[u8] = &[0, 0, 200, 1, 4, 0, 0, 0, 1];

/// Says these pieces, one every tenth of a second; what came until the other side closed, and how long that took.
async fn closed_after(mut stream: TlsStream<TcpStream>, pieces: &[&[u8]]) -> (Vec<u8>, Duration) {
    let begun = Instant::now();
    let (mut heard, mut said) = (Vec::new(), pieces.iter());
    while begun.elapsed() < Duration::from_secs(10) {
        if let Some(piece) = said.next()
            && stream.write_all(piece).await.is_err()
        {
            break;
        }
        let mut room = [0; 1024];
        match tokio::time::timeout(Duration::from_millis(100), stream.read(&mut room)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(length)) => heard.extend_from_slice(&room[..length]),
            Err(_elapsed) => {}
        }
    }
    (heard, begun.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_client_has_deadlines_and_limits_too() {
    let authority = Authority::new();
    authority.sign("edge");
    let world = World::with(|setup| {
        setup.edge = format!("{{address: \"127.0.0.1:0\", {}}}", authority.tls("edge", ""));
        setup.more = "timeouts: {header: 1s, keepalive: 2s}".into();
    })
    .await;
    let dripping: Vec<&[u8]> = [&[PREFACE, SETTINGS, HEADERS][..], &[&b"\0"[..]; 90]].concat();
    for (pieces, least, most) in [
        (&[][..], 900, 1800),
        (&[b"P".as_slice(), b"R", b"I"], 900, 1800),
        (&[b"GET / HTTP/1.1\r\nHost: kt\r\n\r\n".as_slice()], 0, 800),
        (&[PREFACE, SETTINGS], 1900, 3500),
        (&dripping, 1900, 3500),
    ] {
        let stream = authority.greet(world.gateway.edge, "h2", None).await.unwrap();
        let (heard, took) = closed_after(stream, pieces).await;
        let (least, most) = (Duration::from_millis(least), Duration::from_millis(most));
        assert!((least..most).contains(&took), "{} pieces, of {least:?} to {most:?}: {took:?}", pieces.len());
        if pieces.len() > 3 {
            // Its first frame tells SETTINGS_MAX_CONCURRENT_STREAMS and SETTINGS_MAX_HEADER_LIST_SIZE.
            let length = usize::from(heard[2]);
            let settings: Vec<_> = heard[9..9 + length].chunks(6).collect();
            assert!(
                settings.contains(&&[0, 3, 0, 0, 0, 100][..]) && settings.contains(&&[0, 6, 0, 1, 0, 0][..]),
                "{settings:?}"
            );
        }
    }
    assert!(!world.gateway.log().contains("handshake"), "{}", world.gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_request_has_a_target_and_fields_like_any_other() {
    let authority = Authority::new();
    authority.sign("edge");
    let mut world = World::with(|setup| {
        setup.edge = format!("{{address: \"127.0.0.1:0\", {}}}", authority.tls("edge", ""));
    })
    .await;
    let key = world.key("jane");
    let ask_by = async |method: &str, scheme: &str, query: &str, fields: usize| {
        let stream = authority.greet(world.gateway.edge, "h2", None).await.unwrap();
        let mut request = chat(&key, Version::HTTP_2);
        *request.method_mut() = method.parse().unwrap();
        *request.uri_mut() = format!("{scheme}://localhost/v1/chat/completions{query}").parse().unwrap();
        for number in 0..fields {
            request
                .headers_mut()
                .insert(http::HeaderName::try_from(format!("x-{number}")).unwrap(), "y".parse().unwrap());
        }
        exchange(stream, request).await.unwrap().0.as_u16()
    };
    let ask = async |query: &str, fields: usize| ask_by("POST", "https", query, fields).await;
    for (method, scheme, status) in [("BREW", "https", 501), ("PUT", "https", 405), ("POST", "ftp", 400)] {
        assert_eq!(ask_by(method, scheme, "", 0).await, status, "{method} {scheme}");
    }
    let long = format!("?{}", "a".repeat(8192));
    for (query, fields, status) in [("?a=%00", 0, 400), ("?a=%zz", 0, 400), (&long, 0, 414), ("", 101, 431)] {
        assert_eq!(ask(query, fields).await, status, "{query:.9} {fields}");
    }
    assert_eq!(world.mock.totals().requests, 0);
    assert_eq!(ask("?a=%20", 80).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_ends_one_http2_request_whose_provider_is_silent_and_no_other() {
    let authority = Authority::new();
    authority.sign("edge");
    let mut world = World::with(|setup| {
        setup.edge = format!("{{address: \"127.0.0.1:0\", {}}}", authority.tls("edge", ""));
        setup.mock.interval = Duration::from_millis(50);
        setup.mock.tokens = 60;
    })
    .await;
    let (jane, joe) = (world.key("jane"), world.key("joe"));
    let stream = authority.greet(world.gateway.edge, "h2", None).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let ask = |key: &str, fault: Option<&'static str>| {
        let (mut sender, mut request) = (sender.clone(), chat(key, Version::HTTP_2));
        if let Some(fault) = fault {
            request.headers_mut().insert("x-mock-fault", fault.parse().unwrap());
        }
        tokio::spawn(
            async move { Ok::<_, hyper::Error>(sender.send_request(request).await?.collect().await?.to_bytes()) },
        )
    };
    let (silent, waiting, running) = (ask(&jane, Some("stall:3")), ask(&jane, Some("stall")), ask(&jane, None));
    let others = ask(&joe, None);
    crate::harness::eventually(|| Some(world.mock.requests()).filter(|seen| seen.len() == 4)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.kt(&["keys", "revoke", "jane"]).succeeded();
    let soon = |request| tokio::time::timeout(Duration::from_secs(3), request);
    for reset in [silent, waiting] {
        assert!(soon(reset).await.expect("it waits on").unwrap().is_err(), "its stream is reset");
    }
    let last = soon(running).await.unwrap().unwrap().unwrap();
    assert!(String::from_utf8_lossy(&last).contains("was revoked"), "one that runs has its last word");
    let whole = others.await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&whole).trim_end().ends_with("data: [DONE]"));
    let events = world.events_after(8).await;
    let ended = |how: &str| events.iter().filter(|event| event["ended"] == how).count();
    assert_eq!((ended("revoked"), ended("complete")), (3, 1), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_lets_in_only_clients_with_a_certificate_where_it_asks_for_one() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    ours.sign("admin");
    let ca = ours.path("ca.pem").display().to_string();
    let mut world = World::with(|setup| {
        let tls = ours.tls("admin", &format!(", client_ca: {ca}"));
        setup.admin = format!("{{address: \"127.0.0.1:0\", {tls}}}");
    })
    .await;
    world.key("jane");
    let admin = world.gateway.admin;
    let known = ours.greet(admin, "http/1.1", Some(ours.sign("client"))).await.unwrap();
    let (status, text) = exchange(known, get("/v1/whoami")).await.unwrap();
    assert_eq!(status, StatusCode::UNAUTHORIZED, "greeted, and then asked for an admin token: {text}");
    for stranger in [None, Some(theirs.sign("client"))] {
        // In TLS 1.3 a client learns of it when it reads.
        let refused = match ours.greet(admin, "http/1.1", stranger).await {
            Ok(stream) => exchange(stream, get("/v1/whoami")).await.is_err(),
            Err(_) => true,
        };
        assert!(refused);
    }
    let made = world.kt(&["admin-tokens", "create", "--name", "remote", "--role", "viewer"]).succeeded();
    let token = made.stdout().trim().to_owned();
    world.keep_secret(&token);
    let url = format!("https://localhost:{}", admin.port());
    let list = |more: &[&str]| {
        let mut args = vec!["keys", "list", "--json", "--url", &url];
        args.extend(more);
        command(&args, &world.data_dir()).env("KEEPTRUSTS_ADMIN_TOKEN", &token).output().unwrap()
    };
    let (certificate, key) = (ours.path("client.pem"), ours.path("client.key"));
    let own = ["--client-cert", certificate.to_str().unwrap(), "--client-key", key.to_str().unwrap()];
    let listed = list(&[&["--ca", &ca], &own[..]].concat());
    assert!(listed.status.success() && String::from_utf8_lossy(&listed.stdout).contains("jane"), "{listed:?}");
    assert!(!list(&own).status.success(), "an unknown authority is not trusted");
    assert!(!list(&["--ca", &ca]).status.success(), "without a certificate of one's own");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_comes_and_goes_with_a_reload() {
    let authority = Authority::new();
    authority.sign("metrics");
    let world = World::start().await;
    let metrics = world.gateway.metrics;
    assert!(authority.greet(metrics, "http/1.1", None).await.is_err());
    let tls = format!("metrics: {{address: \"127.0.0.1:0\", {}}}", authority.tls("metrics", ""));
    let mut plain = String::new();
    world.rewrite(|text| {
        plain.clone_from(&text);
        text.replace("metrics: \"127.0.0.1:0\"", &tls)
    });
    world.kt(&["config", "reload"]).succeeded();
    let stream = authority.greet(metrics, "http/1.1", None).await.unwrap();
    let (status, text) = exchange(stream, get("/metrics")).await.unwrap();
    assert!(status == StatusCode::OK && text.contains("keeptrusts_build_info"), "{text}");
    world.rewrite(|_| plain);
    world.kt(&["config", "reload"]).succeeded();
    assert!(world.gateway.scrape().contains("keeptrusts_build_info"));
}
