//! The command line against a real control plane, by socket and by URL.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::CommandFactory;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::control::admin::v1::tokens::Token;
use crate::control::admin::v1::tokens::create::CreatedToken;
use crate::control::admin::v1::whoami::WhoAmI;
use crate::control::{Again, Configured, Control, Ledger, Reading, Settings};
use crate::domain::{KeyKind, KeyText, Verdict};
use crate::journal::{Journal, KeyIdentity, KeySeries, Metrics, Opening, Record};
use crate::listen::Gate;

use super::client::{CallError, Client};
use super::trust::Trust;
use super::*;

#[test]
fn the_definition_of_the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn no_secret_is_taken_from_the_command_line() {
    fn check(command: &clap::Command) {
        for argument in command.get_arguments() {
            let name = argument.get_id().as_str();
            assert!(!["token", "secret", "password"].contains(&name), "{} {name}", command.get_name());
        }
        command.get_subcommands().for_each(check);
    }
    check(&Cli::command());
}

/// A control plane that answers on its socket and on a port, and the journal that feeds it.
struct Office {
    dir: tempfile::TempDir,
    token: String,
    address: std::net::SocketAddr,
    journal: Journal,
    stop: oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<io::Result<()>>,
    ledger: Ledger,
}

impl Office {
    async fn open(dir: tempfile::TempDir) -> Self {
        let metrics = Arc::new(Metrics::new("test", 100).unwrap());
        let (journal, records) = Journal::new(1024, metrics);
        let settings = Settings { data_dir: dir.path().into(), pepper: None, gateway: "edge-1".into() };
        let configured = Configured { organization: "acme".into(), ..Configured::default() };
        let reading = Reading { configured, ..Reading::default() };
        let again: Again = Arc::new(|| Err(vec!["the file is gone".into()]));
        let control = Control::open(settings, reading, again, (&journal, records), None).await.unwrap();
        let Control { first_admin_token, admin, ledger, .. } = control;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(admin.serve(Gate::new(listener, Arc::default()), async { _ = stopped.await }));
        let token = first_admin_token.map(|token| token.expose().to_owned()).unwrap_or_default();
        Self { dir, token, address, journal, stop, serving, ledger }
    }

    async fn close(self) -> tempfile::TempDir {
        drop(self.journal);
        self.ledger.finish(Duration::from_secs(10)).await.unwrap();
        self.stop.send(()).unwrap();
        timeout(Duration::from_secs(5), self.serving).await.unwrap().unwrap().unwrap();
        assert!(!self.dir.path().join("admin.sock").exists());
        self.dir
    }

    fn by_socket(&self) -> Client {
        Client::of_socket(self.dir.path().join("admin.sock"))
    }

    fn by_url(&self, token: &str) -> Result<Client, Error> {
        Client::of_url(&format!("http://{}", self.address), Some(token.into()), &Trust::default())
    }

    fn record(&self, request_id: &str) {
        let key = KeyIdentity {
            id: "ak_jane".into(),
            name: "jane".into(),
            series: Arc::new(KeySeries::detached("jane", "none")),
        };
        let opening = Opening {
            request_id: request_id.into(),
            started_at: SystemTime::now().into(),
            time: SystemTime::now().into(),
            verdict: Verdict::Pass,
            refusal: None,
            key,
            team: None,
            organization: "acme".into(),
            credential: crate::journal::Credential::AccessKey,
            fingerprint: None,
            provider: Some("openai".into()),
            endpoint: "chat/completions",
            dialect: "openai",
            model_requested: None,
            price: None,
            client: "curl",
            address: None,
            stream: false,
            request_bytes: 1,
            policies: Vec::new(),
            overhead: None,
            number: crate::journal::EventNumber::default(),
            reserved: crate::journal::Reserved::default(),
        };
        self.journal.reserve().unwrap().write(Record::Opened(Arc::new(opening)));
    }
}

#[tokio::test]
async fn both_entrances_lead_to_the_same_office() {
    let office = Office::open(tempfile::tempdir().unwrap()).await;
    let (socket, url) = (office.by_socket(), office.by_url(&office.token).unwrap());
    let _: Value = socket.post("/v1/teams", &json!({"name": "frontend"})).await.unwrap();
    let made: CreatedToken = url.post("/v1/tokens", &json!({"name": "jane", "team": "frontend"})).await.unwrap();
    assert!(made.key.starts_with("kt_ak_"));
    let shown: Token = socket.get("/v1/tokens/jane").await.unwrap();
    assert_eq!((shown.id, shown.team.as_deref()), (made.id, Some("frontend")));
    let actors = [&socket, &url].map(|client| client.get::<WhoAmI>("/v1/whoami"));
    let [by_socket, by_url] = actors;
    assert_eq!(by_socket.await.unwrap().actor, "socket");
    assert!(by_url.await.unwrap().actor.starts_with("adm_"));
    office.close().await;
}

#[tokio::test]
async fn a_wrong_token_a_strange_host_and_rubbish_are_refused() {
    let office = Office::open(tempfile::tempdir().unwrap()).await;
    let stranger = KeyText::mint(KeyKind::Admin, getrandom::fill).unwrap();
    let refused = office.by_url(stranger.expose()).unwrap().get::<Value>("/v1/tokens").await.unwrap_err();
    assert!(matches!(&refused, CallError::Refused { code, .. } if code == "token_unknown"), "{refused:?}");
    assert!(Error::from(refused).to_string().contains("status 401"));

    let raw = async |request: String| {
        let mut stream = tokio::net::TcpStream::connect(office.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(Duration::from_secs(5), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    };
    let ask = |host: &str| {
        let token = &office.token;
        format!("GET /v1/whoami HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n")
    };
    assert!(raw(ask("127.0.0.1")).await.starts_with("HTTP/1.1 200"));
    assert!(raw(ask("rebound.example")).await.starts_with("HTTP/1.1 421"));
    assert!(raw("GET /v1/whoami HTTP/1.1\r\nconnection: close\r\n\r\n".into()).await.starts_with("HTTP/1.1 421"));
    assert!(raw("rubbish\r\n\r\n".into()).await.starts_with("HTTP/1.1 400"));
    office.close().await;
}

#[tokio::test]
async fn without_a_gateway_the_error_says_what_was_tried_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = Client::of_socket(dir.path().join("admin.sock"));
    let error = Error::from(nobody.get::<Value>("/v1/whoami").await.unwrap_err()).to_string();
    assert!(
        error.contains("admin.sock") && error.contains("kt gateway run") && error.contains("--data-dir"),
        "{error}"
    );
}

#[tokio::test]
async fn a_follower_that_comes_back_has_missed_nothing() {
    let office = Office::open(tempfile::tempdir().unwrap()).await;
    office.record("1");
    let mut body = office.by_socket().open("/v1/events?follow=true&since=2024-01-01T00:00:00Z").await.unwrap();
    until(&mut body, "\"request_id\":\"1\"").await;
    office.record("2");
    let told = until(&mut body, "\"request_id\":\"2\"").await;
    assert!(told.contains("id: 2"), "{told}");
    office.record("3");
    // The gateway stops: the stream ends rather than holding it up.
    let dir = office.close().await;
    while let Ok(Some(Ok(_))) = timeout(Duration::from_secs(5), body.frame()).await {}
    let office = Office::open(dir).await;
    let mut body = office.by_socket().open("/v1/events?follow=true&after=2").await.unwrap();
    let told = until(&mut body, "event: ready").await;
    assert!(told.contains("\"request_id\":\"3\"") && !told.contains("id: 2\n"), "{told}");
    office.close().await;
}

/// Reads the stream up to `wanted`.
async fn until(body: &mut Incoming, wanted: &str) -> String {
    let mut text = String::new();
    while !text.contains(wanted) {
        let frame = timeout(Duration::from_secs(5), body.frame()).await.expect(wanted).expect(wanted).unwrap();
        text.push_str(&String::from_utf8_lossy(frame.data_ref().unwrap()));
    }
    text
}
