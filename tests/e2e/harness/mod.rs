//! A real gateway process on ephemeral ports, a real store, a mock provider, and real connections.
//!
//! A scenario says what the provider does, what a client asks and what is expected. When a [`World`] ends it
//! closes the books by itself; see `books.rs`.

mod books;
pub mod chaos;
mod client;
mod dice;
mod process;
mod scripted;

pub use chaos::{Chaos, Wrong};
pub use client::{Answer, Ask};
pub use dice::Dice;
pub use process::{Gateway, Kt, command, get, is_alive, namespace};
pub use scripted::{Scripted, answer};

use std::path::Path;
use std::time::{Duration, Instant};

use keeptrusts::mock_provider::{MockProvider, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The providers' credentials. They may appear nowhere but on the way to the provider.
pub const OPENAI_CANARY: &str = "sk-canary-openai-7Jx2";
pub const ANTHROPIC_CANARY: &str = "sk-ant-canary-5Qw9";
pub const GEMINI_CANARY: &str = "AIza-canary-gemini-3Vr8";

/// A running gateway with three providers, all played by one mock.
pub struct World {
    pub mock: MockProvider,
    pub gateway: Gateway,
    /// Whether the world's events are too many to be listed at once; the books then stay open.
    pub is_large: bool,
    /// Texts that no sink may show.
    secrets: Vec<String>,
    folder: TempDir,
    /// Whether the data directory is on a disk that only the gateway sees.
    has_disk: bool,
}

/// What a scenario changes about the world before it starts.
pub struct Setup {
    pub mock: Settings,
    /// Replaces the providers; `{mock}` stands for the mock's base URL.
    pub providers: Option<String>,
    /// The listeners, as the configuration has them.
    pub edge: String,
    pub admin: String,
    /// Appended to the configuration.
    pub more: String,
    /// Added to the gateway's environment.
    pub environment: Vec<(&'static str, std::path::PathBuf)>,
    /// The size of a disk for the data directory alone; see [`namespace`].
    pub disk_mib: Option<u32>,
}

impl World {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup {
            mock: Settings::default(),
            providers: None,
            edge: ANYWHERE.into(),
            admin: ANYWHERE.into(),
            more: String::new(),
            environment: Vec::new(),
            disk_mib: None,
        };
        change(&mut setup);
        let mock = MockProvider::start(setup.mock).await.unwrap();
        let folder = TempDir::new().unwrap();
        let providers = setup.providers.as_deref().unwrap_or(PROVIDERS).replace("{mock}", &mock.base_url());
        let config = folder.path().join("keeptrusts.yaml");
        let listen = format!("listen: {{edge: {}, admin: {}, metrics: {ANYWHERE}}}", setup.edge, setup.admin);
        let limits = if setup.more.contains("limits:") { "" } else { LIMITS };
        std::fs::write(&config, format!("{HEAD}{listen}\n{limits}{providers}\n{}\n", setup.more)).unwrap();
        let data_dir = folder.path().join("data");
        let gateway = match setup.disk_mib {
            Some(mib) => Gateway::start_on_disk(mib, &setup.environment, &config, &data_dir).await,
            None => Gateway::start_in(&setup.environment, &config, &data_dir).await,
        };
        let secrets = vec![OPENAI_CANARY.into(), ANTHROPIC_CANARY.into(), GEMINI_CANARY.into()];
        Self { mock, gateway, is_large: false, secrets, folder, has_disk: setup.disk_mib.is_some() }
    }

    pub fn data_dir(&self) -> std::path::PathBuf {
        let path = self.folder.path().join("data");
        match path.strip_prefix("/") {
            Ok(path) if self.has_disk => self.gateway.root().join(path),
            _ => path,
        }
    }

    pub fn config(&self) -> std::path::PathBuf {
        self.folder.path().join("keeptrusts.yaml")
    }

    /// Rewrites the configuration; nothing holds before it is reloaded.
    pub fn rewrite(&self, change: impl FnOnce(String) -> String) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        std::fs::write(self.config(), change(text)).unwrap();
    }

    /// Runs a command against this gateway.
    pub fn kt(&self, args: &[&str]) -> Kt {
        Kt::run(args, &self.data_dir())
    }

    /// Has another process take over; the one before still serves what it has begun. The two processes.
    pub fn upgrade(&mut self) -> (u32, u32) {
        let upgrade = || self.kt(&["gateway", "upgrade", "--json"]).succeeded().json();
        let begun = tokio::task::block_in_place(upgrade);
        let pid = |member: &str| begun[member]["pid"].as_u64().unwrap() as u32;
        assert_eq!(pid("from"), self.gateway.pid());
        self.gateway.has_successor(pid("to"));
        (pid("from"), pid("to"))
    }

    /// Makes an access key and returns its text.
    pub fn key(&mut self, name: &str) -> String {
        self.key_with(name, &[])
    }

    pub fn key_with(&mut self, name: &str, more: &[&str]) -> String {
        let args = [&["keys", "create", "--name", name, "--json"], more].concat();
        let made = self.kt(&args).succeeded().json();
        let text = made["key"].as_str().unwrap().to_owned();
        self.secrets.push(text.clone());
        text
    }

    /// A text that may appear in no log, event, metric or file from now on.
    pub fn keep_secret(&mut self, text: &str) {
        self.secrets.push(text.to_owned());
    }

    pub fn ask(&self, method: &str, path: &str) -> Ask {
        Ask::new(self.gateway.edge, method, path)
    }

    /// A chat completion with this key.
    pub fn chat(&self, key: &str, stream: bool) -> Ask {
        self.ask("POST", "/v1/chat/completions").key(key).json(&chat_body("gpt-4o-mini", stream))
    }

    /// The same request, sent to the mock itself with a provider's credential.
    pub fn direct(&self, method: &str, path: &str) -> Ask {
        Ask::new(self.mock.address(), method, path)
            .header("authorization", &format!("Bearer {OPENAI_CANARY}"))
            .header("x-api-key", ANTHROPIC_CANARY)
            .header("x-goog-api-key", GEMINI_CANARY)
    }

    /// Every event so far, oldest first.
    pub fn events(&self) -> Vec<Value> {
        books::events(&self.data_dir())
    }

    /// Waits until there are `count` events, and returns them.
    pub async fn events_after(&self, count: usize) -> Vec<Value> {
        eventually(|| {
            let events = self.events();
            (events.len() >= count).then_some(events)
        })
        .await
    }

    /// The value of a metric whose line begins with `series`, 0 if there is none.
    pub fn metric(&self, series: &str) -> f64 {
        books::metric(&self.gateway.scrape(), series)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the gateway's log:\n{}", self.gateway.log());
            return;
        }
        if self.gateway.is_running() {
            if !self.is_large {
                books::close(self);
            }
            self.gateway.stop();
        }
        books::no_secret_in_sinks(self, self.folder.path());
    }
}

/// A chat body as clients send it.
pub fn chat_body(model: &str, stream: bool) -> Value {
    json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": "Say something."}]})
}

pub fn messages_body(model: &str, stream: bool) -> Value {
    json!({"model": model, "stream": stream, "max_tokens": 64, "messages": [{"role": "user", "content": "Say something."}]})
}

pub fn contents_body() -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": "Say something."}]}]})
}

/// Polls until there is a value; gives up after ten seconds.
pub async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "it did not happen within ten seconds");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A port that the system chooses.
const ANYWHERE: &str = "\"127.0.0.1:0\"";

const HEAD: &str = "version: 1
organization: acme
gateway: edge-test
";

/// Nobody comes near them, but every request takes from each and has to give back.
const LIMITS: &str = "limits:
  rpm: 1000000000
  tpm: 1000000000000
  concurrency: 1000000
  budgets: [{usd: 1000000, per: month}, {tokens: 1000000000000, per: total}]
";

const PROVIDERS: &str = "providers:
  openai: {kind: openai, base_url: \"{mock}\", api_key: {env: TEST_OPENAI_KEY}}
  anthropic: {kind: anthropic, base_url: \"{mock}\", api_key: {env: TEST_ANTHROPIC_KEY}}
  gemini: {kind: gemini, base_url: \"{mock}\", api_key: {env: TEST_GEMINI_KEY}}
models:
  - {name: fast, serves: gpt-4o-mini, providers: [openai]}
  - {name: \"claude-*\", providers: [anthropic]}
  - {name: quick, serves: gemini-3.8-flash, providers: [gemini]}
";

/// The path of the binary under test.
pub fn kt() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_kt"))
}
