//! `kill -9` under load: what the provider was asked is on record, and the log still verifies.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

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
    let (mut asked, mut missing) = (0, 0);
    for round in 0..kills {
        let gateway = Gateway::start(&config, &data_dir).await;
        if key.is_empty() {
            let made = Kt::run(&["keys", "create", "--name", "jane", "--json"], &data_dir).succeeded().json();
            key = made["key"].as_str().unwrap().to_owned();
        }
        usage_is_that_of_the_events(&data_dir).await;
        let before = mock.requests().len();
        let callers: Vec<_> = (0..8).map(|caller| call(&gateway, &key, round * 8 + caller)).collect();
        // Each round is killed at another moment.
        tokio::time::sleep(Duration::from_micros(20_000 + round * 7_919 % 60_000)).await;
        drop(gateway);
        callers.iter().for_each(tokio::task::JoinHandle::abort);
        let recorded = requests(&data_dir, "INPUT");
        for seen in mock.requests().split_off(before) {
            let content = String::from_utf8_lossy(&seen.body).into_owned();
            let id = content.split("request ").nth(1).unwrap().split('.').next().unwrap().to_owned();
            asked += 1;
            missing += u64::from(!recorded.contains(&id));
        }
        if durability == "before_forward" {
            assert_eq!(missing, 0, "round {round}");
        }
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
    let (inputs, outputs) = (requests(&data_dir, "INPUT"), requests(&data_dir, "OUTPUT"));
    assert_eq!(inputs, outputs, "every request that was admitted has one end");
    assert!(asked > kills, "{asked} requests reached the provider in {kills} rounds");
    println!("{durability}: {kills} kills, {asked} requests reached the provider, {missing} of them without a record");
}

/// Sums are kept beside the log and die at another moment than it: after each start they tell what it tells.
async fn usage_is_that_of_the_events(data_dir: &Path) {
    eventually(|| {
        let outputs = recorded(data_dir, "OUTPUT");
        let sum = |member: &str| outputs.iter().map(|event| event["usage"][member].as_u64().unwrap()).sum::<u64>();
        let cost = outputs.iter().filter_map(|event| event["cost_nano_usd"].as_u64()).sum::<u64>();
        let expected = [outputs.len() as u64, sum("input"), sum("output"), cost];
        let told = Kt::run(&["usage", "--json", "--since", "3650d"], data_dir).succeeded().json();
        let total = ["requests", "input", "output", "cost_nano_usd"].map(|member| told["total"][member].as_u64());
        (total == expected.map(Some)).then_some(())
    })
    .await;
}

/// Asks one thing after the other until nobody answers any more.
fn call(gateway: &Gateway, key: &str, caller: u64) -> tokio::task::JoinHandle<()> {
    let (edge, key) = (gateway.edge, key.to_owned());
    tokio::spawn(async move {
        for number in 0.. {
            let id = format!("r-{caller}-{number}");
            let mut body = chat_body("gpt-4o-mini", true);
            body["messages"][0]["content"] = Value::from(format!("request {id}."));
            let ask = Ask::new(edge, "POST", "/v1/chat/completions").key(&key).json(&body).header("x-request-id", &id);
            // It ends with a panic when the gateway is gone.
            ask.send().await;
        }
    })
}

/// The ids of all requests with an admitted event of this phase, read as any program would.
fn requests(data_dir: &Path, phase: &str) -> HashSet<String> {
    let mut found = HashSet::new();
    for event in recorded(data_dir, phase) {
        if phase == "OUTPUT" || event["status"].is_null() {
            assert!(found.insert(event["request_id"].as_str().unwrap().to_owned()), "{event}");
        }
    }
    found
}

/// All events of this phase.
fn recorded(data_dir: &Path, phase: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(data_dir.join("events")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            let text = std::fs::read_to_string(path).unwrap();
            let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            found.extend(events.filter(|event| event["phase"] == phase));
        }
    }
    found
}
