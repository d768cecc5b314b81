//! `kill -9` under load: what the provider was asked is on record, and the log still verifies.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use keeptrusts::mock_provider::{MockProvider, Settings};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Ask, Gateway, Kt, chat_body, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_was_asked_is_on_record_whenever_the_process_dies() {
    survive("before_forward", 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batched_log_verifies_whenever_the_process_dies() {
    survive("batched", 8).await;
}

/// How old half of what is missing may be: the window of 5 ms, and what a busy machine takes to let the ledger run. A
/// single fact may be older there; the oldest is printed.
const MISSING_MEDIAN_MAX: Duration = Duration::from_millis(20);

/// The long version: see CONTRIBUTING.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn hundreds_of_kills_under_load() {
    survive("before_forward", 200).await;
    survive("batched", 200).await;
}

async fn survive(durability: &str, kills: u64) {
    let mock = MockProvider::start(Settings { first: Duration::from_millis(3), ..Settings::default() }).await.unwrap();
    let folder = TempDir::new().unwrap();
    let data_dir = folder.path().join("data");
    let config = folder.path().join("keeptrusts.yaml");
    let text = format!(
        "version: 1\nlisten: {{edge: \"127.0.0.1:0\", admin: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\"}}\n\
         providers:\n  openai: {{kind: openai, base_url: \"{}\", api_key: {{env: TEST_OPENAI_KEY}}}}\n\
         audit: {{durability: {durability}}}\n",
        mock.base_url()
    );
    std::fs::write(&config, text).unwrap();
    let mut key = String::new();
    let (mut asked, mut answered) = (0, 0);
    let mut missing = Vec::new();
    for round in 0..kills {
        let gateway = Gateway::start(&config, &data_dir).await;
        if key.is_empty() {
            let made = Kt::run(&["keys", "create", "--name", "jane", "--json"], &data_dir).succeeded().json();
            key = made["key"].as_str().unwrap().to_owned();
        }
        usage_is_that_of_the_events(&data_dir).await;
        let before = mock.requests().len();
        let ends = Arc::<Mutex<Vec<(String, Instant)>>>::default();
        let callers: Vec<_> = (0..8).map(|caller| call(&gateway, &key, (round, caller), ends.clone())).collect();
        // Each round is killed at another moment, and late enough for more to be missing than may be.
        tokio::time::sleep(Duration::from_micros(60_000 + round * 7_919 % 80_000)).await;
        let killed_at = Instant::now();
        drop(gateway);
        callers.iter().for_each(tokio::task::JoinHandle::abort);
        let recorded = Recorded::read(&data_dir, &format!("\"request_id\":\"r-{round}-"));
        let begins: Vec<_> =
            mock.requests().split_off(before).iter().map(|seen| (id(&seen.body), seen.arrived_at)).collect();
        let ends = std::mem::take(&mut *ends.lock().unwrap());
        (asked, answered) = (asked + begins.len(), answered + ends.len());
        let lost = begins.iter().filter(|(id, _)| !recorded.inputs.contains(id)).count();
        assert!(lost == 0 || durability == "batched", "round {round}: {lost} requests were asked without a record");
        // How long before the kill that happened of which there is no record.
        let begins = begins.iter().filter(|(id, _)| !recorded.inputs.contains(id));
        let ends = ends.iter().filter(|(id, _)| !recorded.outputs.contains(id));
        missing.extend(begins.chain(ends).map(|&(_, at)| killed_at.saturating_duration_since(at)));
        let verified = Kt::run(&["events", "verify", "--offline"], &data_dir);
        // The last line may be half written; nothing else may be wrong.
        let torn = verified.stdout().lines().all(|line| line.contains("the last line is not whole"));
        assert!(verified.code() == Some(0) || torn, "{}{}", verified.stdout(), verified.stderr());
    }
    // The next start gives every request that had no end one.
    let mut gateway = Gateway::start(&config, &data_dir).await;
    Kt::run(&["events", "verify"], &data_dir).succeeded();
    usage_is_that_of_the_events(&data_dir).await;
    gateway.stop();
    let recorded = Recorded::read(&data_dir, "");
    assert_eq!(recorded.inputs, recorded.outputs, "every request that was admitted has one end");
    // Also those that arrived after all had been counted.
    let is_on_record = mock.requests().iter().all(|seen| recorded.inputs.contains(&id(&seen.body)));
    assert!(is_on_record || durability == "batched", "a request was asked without a record");
    assert!(asked > kills as usize, "{asked} requests reached the provider in {kills} rounds");
    missing.sort();
    let oldest = missing.last().copied().unwrap_or_default();
    let median = missing.get(missing.len() / 2).copied().unwrap_or_default();
    assert!(median < MISSING_MEDIAN_MAX, "half of what is missing happened {median:?} before the kill, or earlier");
    println!(
        "{durability}: {kills} kills, {asked} requests reached the provider and {answered} were answered; {} of these \
         {} facts are not on record, half of them from the last {median:?} before the kill, {} from before the last 5 ms, the \
         oldest from {oldest:?} before",
        missing.len(),
        asked + answered,
        missing.iter().filter(|age| age.as_micros() > 5_000).count(),
    );
}

/// Sums are kept beside the log and die at another moment than it: after each start they tell what it tells.
async fn usage_is_that_of_the_events(data_dir: &Path) {
    eventually(|| {
        let outputs = events(data_dir, "\"phase\":\"OUTPUT\"");
        let sum = |member: &str| outputs.iter().map(|event| event["usage"][member].as_u64().unwrap()).sum::<u64>();
        let cost = outputs.iter().filter_map(|event| event["cost_nano_usd"].as_u64()).sum::<u64>();
        let expected = [outputs.len() as u64, sum("input"), sum("output"), cost];
        let told = Kt::run(&["usage", "--json", "--since", "3650d"], data_dir).succeeded().json();
        let total = ["requests", "input", "output", "cost_nano_usd"].map(|member| told["total"][member].as_u64());
        (total == expected.map(Some)).then_some(())
    })
    .await;
}

/// Asks one thing after the other until nobody answers any more, and notes what was answered whole, and when.
fn call(
    gateway: &Gateway,
    key: &str,
    (round, caller): (u64, u64),
    ends: Arc<Mutex<Vec<(String, Instant)>>>,
) -> tokio::task::JoinHandle<()> {
    let (edge, key) = (gateway.edge, key.to_owned());
    tokio::spawn(async move {
        for number in 0.. {
            let id = format!("r-{round}-{caller}-{number}");
            let mut body = chat_body("gpt-4o-mini", true);
            body["messages"][0]["content"] = Value::from(format!("request {id}."));
            let ask = Ask::new(edge, "POST", "/v1/chat/completions").key(&key).json(&body).header("x-request-id", &id);
            // It ends with a panic when the gateway is gone.
            if ask.send().await.whole {
                ends.lock().unwrap().push((id, Instant::now()));
            }
        }
    })
}

/// The id that stands in a request's prompt.
fn id(body: &[u8]) -> String {
    let content = String::from_utf8_lossy(body);
    content.split("request ").nth(1).unwrap().split('.').next().unwrap().to_owned()
}

/// The ids of all requests that were admitted, and of those that ended.
#[derive(Default)]
struct Recorded {
    inputs: HashSet<String>,
    outputs: HashSet<String>,
}

impl Recorded {
    /// Reads the log's lines that hold a text, as any program would.
    fn read(data_dir: &Path, text: &str) -> Self {
        let mut recorded = Self::default();
        events(data_dir, text).iter().for_each(|event| recorded.add(event));
        recorded
    }

    fn add(&mut self, event: &Value) {
        let phase = match event["phase"].as_str() {
            Some("OUTPUT") => &mut self.outputs,
            Some("INPUT") if event["status"].is_null() => &mut self.inputs,
            _ => return,
        };
        assert!(phase.insert(event["request_id"].as_str().unwrap().to_owned()), "{event}");
    }
}

/// All events whose lines hold a text.
fn events(data_dir: &Path, text: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(data_dir.join("events")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            let log = std::fs::read_to_string(path).unwrap();
            let lines = log.lines().filter(|line| line.contains(text));
            found.extend(lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()));
        }
    }
    found
}
