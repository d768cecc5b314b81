//! What endpoint tests work with, and the tests of what all endpoints share.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response, header};
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::catalog::Routing;
use crate::control::tests::{open, open_reading, open_with};
use crate::control::{Control, Reading};
use crate::journal::{Journal, Opening, Record};
use crate::providers::{Azure, BaseUrl, Kind, Provider};

use super::{ProblemDocument, entrance};

/// A control plane in a directory of its own, whose endpoints are called without a connection.
pub(super) struct Bench {
    pub(super) control: Control,
    pub(super) journal: Journal,
    dir: TempDir,
}

/// An answer that was read to its end.
pub(super) struct Answer {
    pub(super) status: u16,
    media_type: String,
    body: Value,
}

impl Bench {
    pub(super) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (control, journal) = open(dir.path()).await.unwrap();
        Self { control, journal, dir }
    }

    /// With one provider of OpenAI's kind.
    pub(super) async fn with_provider() -> Self {
        let base_url = BaseUrl::parse("http://127.0.0.1:9").unwrap();
        let provider = Provider {
            name: "openai".into(),
            kind: Kind::OpenAi,
            base_url,
            credential: None,
            azure: Azure::default(),
            capacity: None,
        };
        let routing = Routing { providers: vec![Arc::new(provider)], models: Vec::new() };
        let dir = tempfile::tempdir().unwrap();
        let (control, journal) = open_with(dir.path(), routing).await.unwrap();
        Self { control, journal, dir }
    }

    /// With a configuration that is read by `again`.
    pub(super) async fn with_configuration(
        again: impl Fn() -> Result<Reading, Vec<String>> + Send + Sync + 'static,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (control, journal) = open_reading(dir.path(), Reading::default(), Arc::new(again)).await.unwrap();
        Self { control, journal, dir }
    }

    pub(super) async fn patch(&self, path: &str, body: Value) -> Answer {
        let request = Request::patch(path).header(header::CONTENT_TYPE, "application/json");
        Answer::read(self.send(request.body(body.to_string().into()).unwrap()).await).await
    }

    /// The status that an empty request gets.
    pub(super) async fn status(&self, method: Method, path: &str) -> u16 {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        self.send(request).await.status().as_u16()
    }

    pub(super) async fn call_by_tcp(&self, method: &str, path: &str, authorization: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost:41003");
        let request = request.header(header::AUTHORIZATION, authorization);
        Answer::read(self.send_by_tcp(request.body(Body::empty()).unwrap()).await).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        Answer::read(self.send(Request::get(path).body(Body::empty()).unwrap()).await).await
    }

    pub(super) async fn delete(&self, path: &str) -> Answer {
        Answer::read(self.send(Request::delete(path).body(Body::empty()).unwrap()).await).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answer {
        self.post_bytes(path, "application/json", body.to_string()).await
    }

    async fn post_bytes(&self, path: &str, media_type: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post(path).header(header::CONTENT_TYPE, media_type).body(body.into()).unwrap();
        Answer::read(self.send(request).await).await
    }

    /// Begins to read an answer that does not end.
    pub(super) async fn open(&self, path: &str) -> Body {
        self.open_as(path, "text/event-stream").await
    }

    /// The body of an answer of any length.
    pub(super) async fn open_as(&self, path: &str, content_type: &str) -> Body {
        let answer = self.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], content_type);
        answer.into_body()
    }

    pub(super) async fn get_by_tcp(&self, path: &str, authorization: &str) -> Answer {
        let request = Request::get(path).header(header::HOST, "localhost:41003");
        let request = request.header(header::AUTHORIZATION, authorization);
        Answer::read(self.send_by_tcp(request.body(Body::empty()).unwrap()).await).await
    }

    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.control.first_admin_token.as_ref().unwrap().expose())
    }

    async fn send(&self, request: Request<Body>) -> Response<Body> {
        let router = entrance::of_socket(self.control.admin.router.clone());
        TowerToHyperService::new(router).call(request).await.unwrap()
    }

    async fn send_by_tcp(&self, request: Request<Body>) -> Response<Body> {
        let admin = &self.control.admin;
        let listen = "127.0.0.1:41003".parse().unwrap();
        let router =
            entrance::of_tcp(admin.router.clone(), listen, Arc::default(), admin.tokens.clone(), admin.pepper.clone());
        TowerToHyperService::new(router).call(request).await.unwrap()
    }

    pub(super) fn record(&self, opening: Opening) {
        self.journal.reserve().unwrap().write(Record::Opened(Arc::new(opening)));
    }

    /// Waits until `count` events are durable.
    pub(super) async fn committed(&self, count: i64) {
        let mut tip = self.control.ledger.tip().clone();
        let waited = tokio::time::timeout(Duration::from_secs(10), tip.wait_for(|tip| *tip >= count)).await;
        waited.expect("the events become durable").expect("the ledger runs");
    }

    /// Action, actor and detail of the last audit record about `target`.
    pub(super) fn audited(&self, target: &str) -> (String, String, String) {
        let sql = "SELECT action, actor, detail FROM audit WHERE target = ?1 ORDER BY seq DESC LIMIT 1";
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        self.database().query_row(sql, [target], row).unwrap()
    }

    pub(super) fn audit_count(&self, target: &str) -> i64 {
        let sql = "SELECT count(*) FROM audit WHERE target = ?1";
        self.database().query_row(sql, [target], |row| row.get(0)).unwrap()
    }

    fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.dir.path().join("keeptrusts.db")).unwrap()
    }
}

impl Answer {
    async fn read(answer: Response<Body>) -> Self {
        let media_type = answer.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        Self { status, media_type, body: serde_json::from_slice(&body).unwrap() }
    }

    /// The body, if the status is `status`.
    pub(super) fn expect(self, status: u16) -> Value {
        assert_eq!((self.status, &*self.media_type), (status, "application/json"), "{}", self.body);
        self.body
    }

    /// Checks that this is a whole problem document.
    pub(super) fn refuses(self, status: u16, code: &str) {
        assert_eq!((self.status, &*self.media_type), (status, "application/problem+json"), "{}", self.body);
        let problem: ProblemDocument = serde_json::from_value(self.body).unwrap();
        assert_eq!((problem.status, &*problem.code), (status, code), "{problem:?}");
        assert_eq!(problem.kind, format!("urn:keeptrusts:problem:{code}"));
        assert!(!problem.title.is_empty() && !problem.detail.is_empty());
    }
}

#[tokio::test]
async fn every_fault_is_a_problem_document() {
    let bench = Bench::new().await;
    bench.get("/").await.refuses(404, "route_unknown");
    bench.get("/v1/nothing").await.refuses(404, "route_unknown");
    bench.get("/v2/tokens").await.refuses(404, "route_unknown");
    bench.delete("/v1/tokens").await.refuses(405, "method_not_allowed");
    bench.post("/v1/whoami", json!({})).await.refuses(405, "method_not_allowed");
    let json = "application/json";
    bench.post_bytes("/v1/tokens", json, "{").await.refuses(400, "request_malformed");
    bench.post_bytes("/v1/tokens", json, "").await.refuses(400, "request_malformed");
    bench.post_bytes("/v1/tokens", json, "[1]").await.refuses(422, "request_invalid");
    bench.post_bytes("/v1/tokens", "text/plain", "{}").await.refuses(415, "media_type_unsupported");
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(64 * 1024));
    bench.post_bytes("/v1/tokens", json, large).await.refuses(413, "body_too_large");
}

#[tokio::test]
async fn a_query_is_told_which_parameter_is_wrong_and_what_there_is() {
    let bench = Bench::new().await;
    let filter = "since, until, key, team, model, provider, verdict, phase";
    let reading = format!("there is no parameter `kye` here; there are {filter}, limit, cursor, follow, after");
    let exporting = format!("there is no parameter `kye` here; there are format, {filter}");
    for (path, detail) in [
        ("/v1/events?kye=jane", reading.as_str()),
        ("/v1/events/export?kye=jane", exporting.as_str()),
        ("/v1/teams?kye=jane", "there is no parameter `kye` here; there are limit, cursor"),
        (
            "/v1/tokens?kye=1",
            "there is no parameter `kye` here; there are type, team, state, unused_since, limit, cursor",
        ),
        (
            "/v1/events?verdict=pass",
            "in the query, verdict: unknown variant `pass`, expected one of `PASS`, `REDACT`, `BLOCK`, `DENY`, `ERROR`",
        ),
        ("/v1/events?phase=x", "in the query, phase: unknown variant `x`, expected `INPUT` or `OUTPUT`"),
        ("/v1/events/export?since=yesterday", "in the query, since: expected a time such as 2026-01-15T10:30:12Z"),
        ("/v1/events?limit=x", "in the query, limit: invalid digit found in string"),
        ("/v1/events?key=a&key=b", "in the query, duplicate field `key`"),
        ("/v1/explain?key=jane", "in the query, missing field `model`"),
    ] {
        let refused = bench.get(path).await;
        assert_eq!(refused.body["detail"], detail, "{path}");
        refused.refuses(422, "request_invalid");
    }
}

#[tokio::test]
async fn the_tcp_entrance_asks_for_an_admin_token_on_everything() {
    let bench = Bench::new().await;
    let access = bench.post("/v1/tokens", json!({"name": "jane"})).await.expect(201);
    let stranger = Bench::new().await;
    for path in ["/v1/whoami", "/v1/tokens", "/", "/v1/nothing"] {
        bench.get_by_tcp(path, "").await.refuses(401, "token_missing");
        bench.get_by_tcp(path, "Basic eDp5").await.refuses(401, "token_missing");
        bench.get_by_tcp(path, "Bearer nonsense").await.refuses(401, "token_malformed");
        bench.get_by_tcp(path, &bench.bearer()[..30]).await.refuses(401, "token_malformed");
        let access = format!("Bearer {}", access["key"].as_str().unwrap());
        bench.get_by_tcp(path, &access).await.refuses(401, "token_wrong_kind");
        bench.get_by_tcp(path, &stranger.bearer()).await.refuses(401, "token_unknown");
    }
    bench.get_by_tcp("/v1/tokens", &bench.bearer()).await.expect(200);
    bench.get_by_tcp("/v1/nothing", &bench.bearer()).await.refuses(404, "route_unknown");
}

#[tokio::test]
async fn the_tcp_entrance_answers_only_under_our_own_names() {
    let bench = Bench::new().await;
    let request = |host: &str| {
        let request = Request::get("/v1/whoami").header(header::HOST, host);
        request.header(header::AUTHORIZATION, bench.bearer()).body(Body::empty()).unwrap()
    };
    let answer = bench.send_by_tcp(request("evil.example:41003")).await;
    Answer::read(answer).await.refuses(421, "host_not_allowed");
    Answer::read(bench.send_by_tcp(request("127.0.0.1:41003")).await).await.expect(200);
}

#[tokio::test]
async fn an_unauthorized_answer_says_how_to_authenticate() {
    let bench = Bench::new().await;
    let request = Request::get("/v1/whoami").header(header::HOST, "localhost").body(Body::empty()).unwrap();
    let answer = bench.send_by_tcp(request).await;
    assert!(answer.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().starts_with("Bearer"));
}
