//! `kt demo`: everything on one machine, without any provider account.
//!
//! It is a gateway like any other, with a mock provider behind it and a data directory of its own that is
//! removed at the end. What it shows it also checks: with `--once` a miss is an exit code.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::app::{App, Load};
use crate::config::{self, Overrides};
use crate::control::admin::SOCKET_FILE;
use crate::control::admin::v1::teams::create::CreateTeam;
use crate::control::admin::v1::tokens::create::{CreateToken, CreatedToken};
use crate::journal::{Event, Phase};
use crate::mock_provider::{MockProvider, Settings};
use crate::telemetry::start_log;

use super::client::Client;
use super::{Error, output};

const KEY_NAME: &str = "jane-vscode";
const TEAM: &str = "frontend";
const MODEL: &str = "gpt-4o-mini";
/// Tokens of the streamed answer, and the pause between them: slow enough to be seen streaming.
const TOKENS: u32 = 24;
const PAUSE: Duration = Duration::from_millis(30);
/// How long any one step may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Check the results and exit instead of staying up
    #[arg(long)]
    once: bool,
}

impl Demo {
    pub(super) fn run(self) -> Result<(), Error> {
        let runtime = tokio::runtime::Runtime::new().map_err(|error| failed("cannot start", error))?;
        let settings = Settings { tokens: TOKENS, interval: PAUSE, ..Settings::default() };
        let mock = runtime.block_on(MockProvider::start(settings));
        let mock = mock.map_err(|error| failed("the mock provider cannot start", error))?;
        let folder = Folder::make()?;
        let mut app = start(&folder.0, mock.address(), self.once)?;
        let shown = runtime.block_on(show(&app, &folder.0, &mock));
        if let (Ok(()), false) = (&shown, self.once) {
            invite(&app, &folder.0, &mock)?;
            app.wait_for_signal().map_err(|error| failed("cannot wait for signals", error))?;
        }
        app.stop();
        shown
    }
}

/// A directory that is removed when the demo ends.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self, Error> {
        let path = std::env::temp_dir().join(format!("keeptrusts-demo-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|error| failed("cannot make a directory for the demo", error))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own cleaning of temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Starts a gateway in front of the mock provider. Once: on free ports, so that it disturbs nothing.
fn start(folder: &Path, provider: SocketAddr, once: bool) -> Result<App, Error> {
    let any = once.then_some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
    let data_dir = Some(folder.join("data"));
    let overrides = Overrides { edge: any, admin: any, metrics: any, data_dir };
    let environment = |name: &str| (name == "KEEPTRUSTS_DEMO_PROVIDER_KEY").then(|| OsString::from("made-up"));
    let load: Load = Box::new(move || config::demo(provider, overrides.clone(), &environment));
    let config = load().map_err(|faults| Error::Failed(faults.to_string()))?;
    start_log(config.log.format, config.log.level);
    App::start(config, load, None).map_err(|error| Error::Failed(error.to_string()))
}

async fn show(app: &App, folder: &Path, mock: &MockProvider) -> Result<(), Error> {
    let admin = Client::of_socket(folder.join("data").join(SOCKET_FILE));
    let key = make_key(&admin).await?;
    let text = stream(app.listen.edge, &key).await?;
    check(text == mock.text(TOKENS), "the streamed text is the provider's")?;
    let events = event_lines(&admin).await?;
    check_events(&events, mock)?;
    metric_lines(app.listen.metrics, &events).await
}

async fn make_key(admin: &Client) -> Result<String, Error> {
    title("a team, and an access key for a developer; the key is shown this once")?;
    let _: Value = admin.post("/v1/teams", &CreateTeam { name: TEAM.into(), ..CreateTeam::default() }).await?;
    let asked = CreateToken { name: KEY_NAME.into(), team: Some(TEAM.into()), ..CreateToken::default() };
    let made: CreatedToken = admin.post("/v1/tokens", &asked).await?;
    output::line(&format!("{}  {}  team:{TEAM}", made.key, made.name))?;
    Ok(made.key)
}

/// Streams one completion as a client would, printing the text as it comes.
async fn stream(edge: SocketAddr, key: &str) -> Result<String, Error> {
    title("a streamed chat completion through the gateway")?;
    let body = json!({"model": MODEL, "stream": true, "messages": [{"role": "user", "content": "Say something."}]});
    let request = Request::post("/v1/chat/completions")
        .header("host", edge.to_string())
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())));
    let request = request.map_err(|error| failed("cannot build the request", error))?;
    let mut answer = exchange(edge, request).await?;
    check(answer.status() == 200, "the gateway answers 200")?;
    let (mut unread, mut text) = (Vec::new(), String::new());
    while let Some(frame) = answer.frame().await {
        let frame = frame.map_err(|error| failed("the stream broke off", error))?;
        unread.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
        while let Some(end) = unread.windows(2).position(|window| window == b"\n\n") {
            let event: Vec<u8> = unread.drain(..end + 2).collect();
            let delta = delta(&event);
            output::piece(&delta)?;
            text.push_str(&delta);
        }
    }
    output::line("")?;
    Ok(text)
}

/// The text that one event of a chat stream adds.
fn delta(event: &[u8]) -> String {
    let data = event.strip_prefix(b"data: ").unwrap_or_default();
    let chunk: Value = serde_json::from_slice(data).unwrap_or_default();
    chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
}

async fn exchange(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<http::Response<hyper::body::Incoming>, Error> {
    let stream = TcpStream::connect(address).await.map_err(|error| failed("cannot connect", error))?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| failed("cannot connect", error))?;
    tokio::spawn(connection);
    let answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await;
    let answer = answer.map_err(|_| Error::Failed("no answer came in time".into()))?;
    answer.map_err(|error| failed("the request failed", error))
}

/// Prints both events of the request once they are durable.
async fn event_lines(admin: &Client) -> Result<Vec<Event>, Error> {
    title("what the audit log says about it (kt events tail)")?;
    let begun = Instant::now();
    loop {
        let page: Value = admin.get("/v1/events").await?;
        let events: Vec<Event> = serde_json::from_value(page["events"].clone()).unwrap_or_default();
        if events.len() >= 2 {
            let mut events = events;
            events.sort_by_key(|event| event.id);
            for event in &events {
                output::line(&format!("[{}] {}", output::time(event.time, false), event.line()))?;
            }
            return Ok(events);
        }
        check(begun.elapsed() < PATIENCE, "both events are written in time")?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn check_events(events: &[Event], mock: &MockProvider) -> Result<(), Error> {
    let [input, output] = events else { return missed("a request has two events") };
    check((input.phase, output.phase) == (Phase::Input, Phase::Output), "the events are INPUT and OUTPUT")?;
    check(input.key.name == KEY_NAME && input.team.as_deref() == Some(TEAM), "the events name key and team")?;
    let (Some(usage), Some(cost)) = (output.usage, output.cost_nano_usd) else {
        return missed("usage and cost are known");
    };
    let told = mock.totals().tokens;
    check((usage.input, usage.output) == (told.input, told.output), "the tokens are those the provider reported")?;
    // gpt-4o-mini costs $0.15 and $0.60 per million tokens.
    check(cost == usage.input * 150 + usage.output * 600, "the cost is tokens times price")
}

/// Prints what the key's metrics say.
async fn metric_lines(metrics: SocketAddr, events: &[Event]) -> Result<(), Error> {
    title("what Prometheus sees of this key (/metrics)")?;
    let request = Request::get("/metrics").header("host", metrics.to_string()).body(Full::new(Bytes::new()));
    let request = request.map_err(|error| failed("cannot build the request", error))?;
    let body = exchange(metrics, request).await?.collect().await;
    let body = body.map_err(|error| failed("the metrics broke off", error))?.to_bytes();
    let exposition = String::from_utf8_lossy(&body);
    let of_key = format!("key=\"{KEY_NAME}\"");
    let lines: Vec<&str> = exposition.lines().filter(|line| line.contains(&of_key)).collect();
    lines.iter().try_for_each(|line| output::line(line))?;
    let value = |series: &str, label: &str| {
        let line = lines.iter().find(|line| line.starts_with(series) && line.contains(label))?;
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    let Some(usage) = events.last().and_then(|event| event.usage) else { return missed("usage is known") };
    check(value("keeptrusts_requests_total", "status=\"200\"") == Some(1.0), "one request is counted")?;
    let tokens = |kind: &str| value("keeptrusts_tokens_total", &format!("kind=\"{kind}\""));
    check(tokens("input") == Some(usage.input as f64), "its input tokens are counted")?;
    check(tokens("output") == Some(usage.output as f64), "its output tokens are counted")?;
    check(value("keeptrusts_cost_usd_total", "").is_some_and(|cost| cost > 0.0), "its cost is counted")
}

/// Tells how to go on, with the gateway staying up.
fn invite(app: &App, folder: &Path, mock: &MockProvider) -> Result<(), Error> {
    let (edge, data_dir) = (app.listen.edge, folder.join("data"));
    title("try more; Ctrl-C ends the demo")?;
    for line in [
        format!("export KEEPTRUSTS_DATA_DIR={}", data_dir.display()),
        "kt keys create --name me".to_owned(),
        "kt events tail --since 5m".to_owned(),
        format!("curl http://{edge}/v1/chat/completions -H \"Authorization: Bearer $KEY\" \\"),
        format!("  -d '{{\"model\":\"{MODEL}\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}}'"),
        format!("kt keys revoke {KEY_NAME}"),
        format!("curl http://{}/metrics", app.listen.metrics),
    ] {
        output::line(&format!("  {line}"))?;
    }
    output::line(&format!("OpenAI base URL http://{edge}/v1, Anthropic base URL http://{edge}"))?;
    output::line(&format!("(answered by a mock provider at {})", mock.base_url()))
}

fn title(text: &str) -> Result<(), Error> {
    output::line(&format!("\n— {text}"))
}

fn check(holds: bool, what: &str) -> Result<(), Error> {
    if holds { Ok(()) } else { missed(what) }
}

fn missed<T>(what: &str) -> Result<T, Error> {
    Err(Error::Failed(format!("the demo expected that {what}, and that is not so")))
}

fn failed(what: &str, error: impl std::fmt::Display) -> Error {
    Error::Failed(format!("{what}: {error}"))
}
