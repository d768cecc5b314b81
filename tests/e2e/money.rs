//! What a request is charged with when its provider, or its client, does not play along.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Scripted, World, answer, chat_body, eventually, messages_body};

fn document(usage: &str) -> String {
    format!(
        r#"{{"id":"x","object":"chat.completion","model":"gpt-4o-mini","choices":[{{"index":0,"message":{{"role":"assistant","content":"hello there"}},"finish_reason":"stop"}}]{usage}}}"#
    )
}

async fn world_of(answer: Vec<u8>) -> World {
    let provider = Scripted::start(answer);
    World::with(|setup| setup.providers = Some(provider.as_openai())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_that_cannot_be_are_not_charged() {
    for figure in ["18446744073709551615", "9007199254740992", "-5", "1e300", "\"7\"", "null"] {
        let usage = format!(r#","usage":{{"prompt_tokens":{figure},"completion_tokens":{figure}}}"#);
        let mut world = world_of(answer(&["Content-Type: application/json"], document(&usage).as_bytes())).await;
        let key = world.key("jane");
        let got = world.chat(&key, false).send().await;
        assert_eq!(got.text(), document(&usage));
        let output = world.events_after(2).await.pop().unwrap();
        assert_eq!(output["usage"]["source"], "estimated", "{figure}");
        assert!(output["cost_nano_usd"].as_u64().unwrap() < 1_000_000, "{figure}: {output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_before_the_answer_pays_for_the_question() {
    let mut world = World::with(|setup| setup.mock.first = Duration::from_secs(5)).await;
    let key = world.key("jane");
    let body = chat_body("gpt-4o-mini", true).to_string();
    let mut line = std::net::TcpStream::connect(world.gateway.edge).unwrap();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: kt\r\n";
    write!(line, "{head}Authorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    eventually(|| (!world.mock.requests().is_empty()).then_some(())).await;
    drop(line);
    let output = world.events_after(2).await.pop().unwrap();
    assert_eq!((&output["ended"], &output["status"]), (&json!("client_closed"), &json!(499)));
    assert_eq!((&output["usage"]["source"], &output["usage"]["output"]), (&json!("estimated"), &json!(0)));
    // Two words and a full stop, and what frames a message.
    assert_eq!(output["usage"]["input"], 8);
    assert!(output["cost_nano_usd"].as_u64().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_nobody_asked_for_is_a_broken_answer() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let mut world = world_of(switching.into()).await;
    let key = world.key("jane");
    let got = world.chat(&key, false).send().await;
    assert_eq!((got.status, got.code().as_str()), (502, "upstream_failed"));
}

/// Sums by whatever they are told apart by are the same sums.
#[tokio::test(flavor = "multi_thread")]
async fn usage_equals_events_and_metrics() {
    let mut world = World::start().await;
    world.kt(&["teams", "create", "--name", "frontend"]).succeeded();
    let jane = world.key_with("jane", &["--team", "frontend"]);
    let john = world.key("john");
    for _ in 0..3 {
        assert_eq!(world.chat(&jane, true).send().await.status, 200);
    }
    let body = messages_body("claude-sonnet-5", true);
    world.ask("POST", "/v1/messages").key(&john).header("anthropic-version", "2023-06-01").json(&body).send().await;
    let unpriced = world.ask("POST", "/v1/chat/completions").key(&john).json(&chat_body("llama-9", false));
    assert_eq!(unpriced.send().await.status, 200);
    let refused = world.ask("GET", "/v1/nothing").key(&john).send().await;
    assert_eq!(refused.status, 404);
    let events = world.events_after(11).await;
    let cost: u64 = events.iter().filter_map(|event| event["cost_nano_usd"].as_u64()).sum();
    let usage = |args: &[&str]| world.kt(&[&["usage", "--json"], args].concat()).succeeded().json();

    let by_key = usage(&["--by", "key"]);
    assert_eq!(by_key["total"]["cost_nano_usd"], cost);
    assert_eq!((&by_key["total"]["unpriced"], &by_key["total"]["refused"]), (&json!(1), &json!(1)));
    for row in by_key["rows"].as_array().unwrap() {
        let name = row["key"]["name"].as_str().unwrap();
        let counted = world.metric(&format!("keeptrusts_cost_usd_total{{key=\"{name}\"")) * 1e9;
        assert!((counted - row["cost_nano_usd"].as_u64().unwrap() as f64).abs() < 0.5, "{row}");
    }
    for (by, rows) in [("team", 2), ("provider", 3), ("model", 4), ("day", 1), ("day,team,model", 4)] {
        let told = usage(&["--by", by]);
        assert_eq!(told["total"], by_key["total"], "{by}");
        assert!(told["rows"].as_array().unwrap().len() <= rows, "{told}");
    }
    assert_eq!(usage(&["--team", "frontend"])["total"]["requests"], 3);
    assert_eq!(usage(&["--until", "1d"])["total"]["requests"], 0);
    let csv = world.kt(&["usage", "--csv", "--by", "key,model"]).succeeded().stdout();
    assert!(csv.starts_with("key,key_id,model,requests,refused,input,"), "{csv}");
    assert_eq!(world.kt(&["usage", "--by", "mood"]).code(), Some(2));
    assert_eq!(world.kt(&["usage", "--time-zone", "Mars"]).code(), Some(2));

    // By the same table nothing changes; by another it does, and is only shown.
    let same = world.kt(&["usage", "--reprice", "--json"]).succeeded().json();
    assert_eq!((&same["total"]["old_nano_usd"], &same["total"]["new_nano_usd"]), (&json!(cost), &json!(cost)));
    let file = world.data_dir().join("other.yaml");
    std::fs::write(
        &file,
        "version: v2\nmodels: {x: {gpt-4o-mini: {input: 0, output: 0}, llama-9: {input: 1, output: 1}}}\n",
    )
    .unwrap();
    let other = world.kt(&["usage", "--reprice", "--json", "--by", "model", "--prices", file.to_str().unwrap()]);
    let other = other.succeeded().json();
    assert_eq!((&other["total"]["old_unpriced"], &other["total"]["new_unpriced"]), (&json!(1), &json!(1)));
    assert_ne!(other["total"]["new_nano_usd"], json!(cost));
    assert_eq!(usage(&["--by", "key"])["total"]["cost_nano_usd"], cost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_a_price_is_refused_where_it_is_to_be() {
    let mut world = World::with(|setup| setup.more = "prices: {unknown: deny}".into()).await;
    let key = world.key("jane");
    let got = world.ask("POST", "/v1/chat/completions").key(&key).json(&chat_body("llama-9", false)).send().await;
    assert_eq!((got.status, got.code().as_str()), (403, "price_unknown"));
    assert_eq!(got.header("x-should-retry"), Some("false"));
    assert_eq!(world.chat(&key, false).send().await.status, 200);
    let counting = world.ask("POST", "/v1/messages/count_tokens").key(&key);
    let counting = counting.header("anthropic-version", "2023-06-01");
    let counting =
        counting.json(&json!({"model": "claude-unheard-of", "messages": [{"role": "user", "content": "x"}]}));
    assert_eq!(counting.send().await.status, 200, "counting is free whatever the model");
    let listed = world.kt(&["prices", "list", "--json"]).succeeded().json();
    assert_eq!(listed["unknown"], "deny");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_providers_own_price_holds_for_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prices.yaml");
    let table = "version: own-1\nmodels: {openai: {gpt-4o-mini: {input: 1000, output: 1000}}}\n\
                 providers: {openai: {\"*\": {input: 0, output: 0}}}\n";
    std::fs::write(&file, table).unwrap();
    let mut world = World::with(|setup| setup.more = format!("prices: {{file: {}}}", file.display())).await;
    let key = world.key("jane");
    assert_eq!(world.chat(&key, false).send().await.status, 200);
    let output = world.events_after(2).await.pop().unwrap();
    assert_eq!(
        (&output["cost_nano_usd"], &output["price_version"]),
        (&json!(0), &json!("own-1")),
        "free is no unknown"
    );
    assert_eq!(world.metric("keeptrusts_unpriced_requests_total"), 0.0);
}

/// The summary is charged as the answer is, the advisor at its own price; also when costs are worked out again.
#[tokio::test(flavor = "multi_thread")]
async fn rounds_that_the_figures_leave_out_are_charged() {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/anthropic/messages-plain-iterations.json");
    let recorded = std::fs::read(recorded).unwrap();
    let provider = Scripted::start(answer(&["Content-Type: application/json"], &recorded));
    let base_url = format!("http://{}", provider.address);
    let mut world = World::with(|setup| {
        setup.providers = Some(format!(
            "providers:\n  anthropic: {{kind: anthropic, base_url: \"{base_url}\", api_key: {{env: TEST_ANTHROPIC_KEY}}}}"
        ));
    })
    .await;
    let key = world.key("jane");
    let got = world.ask("POST", "/v1/messages").key(&key).json(&messages_body("claude-sonnet-5", false)).send().await;
    assert_eq!((got.status, got.body()), (200, recorded));
    let output = world.events_after(2).await.pop().unwrap();
    let usage = &output["usage"];
    assert_eq!((usage["input"].as_u64(), usage["output"].as_u64()), (Some(2885 + 600), Some(257 + 40)), "{output}");
    assert_eq!(output["advisors"][0]["model"], "claude-opus-5");
    assert_eq!(output["cost_nano_usd"], 9_405_000);
    let again = world.kt(&["usage", "--reprice", "--json"]).succeeded().json();
    assert_eq!(
        (&again["total"]["old_nano_usd"], &again["total"]["new_nano_usd"]),
        (&json!(9_405_000), &json!(9_405_000))
    );
}
