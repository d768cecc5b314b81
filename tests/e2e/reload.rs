//! Reading the configuration again: all of it at once or nothing of it, and no request notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keeptrusts::mock_provider::{MockProvider, Settings};
use serde_json::json;

use crate::harness::{World, eventually, get};

#[tokio::test(flavor = "multi_thread")]
async fn everything_holds_for_requests_to_come_and_running_ones_keep_theirs() {
    let folder = tempfile::TempDir::new().unwrap();
    let key_file = folder.path().join("provider.key");
    std::fs::write(&key_file, "sk-before\n").unwrap();
    let providers = format!(
        "providers:\n  openai: {{kind: openai, base_url: \"{{mock}}\", api_key: {{file: {}}}}}",
        key_file.display()
    );
    let mut world = World::with(|setup| {
        setup.providers = Some(providers);
        setup.mock.interval = Duration::from_millis(100);
    })
    .await;
    let other = MockProvider::start(Settings::default()).await.unwrap();
    let key = world.key("jane");
    let streaming = tokio::spawn(world.chat(&key, true).send());
    eventually(|| world.mock.requests().pop().filter(|seen| seen.sent_at.len() > 2)).await;

    std::fs::write(&key_file, "sk-after\n").unwrap();
    let before = world.mock.base_url();
    world.rewrite(|text| {
        let text = text.replace("openai: {kind", "renamed: {kind").replace(&before, &other.base_url());
        let text = text.replace("organization: acme", "organization: umbrella");
        text.replace("limits:\n", "limits:\n  body_bytes_max: 1KiB\n") + "log: {level: debug}\n"
    });
    let told = world.kt(&["config", "reload"]).succeeded();
    assert!(told.stdout().starts_with("in force since "), "{}", told.stdout());

    assert_eq!(world.chat(&key, false).send().await.status, 200);
    let seen = other.requests().pop().unwrap();
    assert_eq!(seen.header("authorization"), Some("Bearer sk-after"));
    let large = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "x".repeat(2000)}]});
    let refused = world.ask("POST", "/v1/chat/completions").key(&key).json(&large).send().await;
    assert_eq!(refused.code(), "body_too_large");
    // The one that was running came to its end at the provider that is gone from the configuration.
    let answer = streaming.await.unwrap();
    assert!(answer.whole && answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
    let events = world.events_after(5).await;
    let of = |event: &serde_json::Value| (event["organization"].clone(), event["provider"].clone());
    let outputs: Vec<_> = events.iter().filter(|event| event["phase"] == "OUTPUT").map(of).collect();
    assert!(outputs.contains(&(json!("acme"), json!("openai"))), "{outputs:?}");
    assert!(outputs.contains(&(json!("umbrella"), json!("renamed"))), "{outputs:?}");
    let running = world.kt(&["config", "running"]).succeeded().stdout();
    assert!(running.contains("organization: umbrella") && running.contains("body_bytes_max: 1KiB"), "{running}");
    assert!(!running.contains("sk-after"), "{running}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_file_changes_nothing_and_is_told_everywhere() {
    let mut world = World::start().await;
    let key = world.key("jane");
    assert_eq!(world.metric("keeptrusts_config_reload_success"), 1.0);
    let mut sound = String::new();
    world.rewrite(|text| {
        sound.clone_from(&text);
        text.replace("models:", "modles:") + "organisation: x\n"
    });
    let refused = world.kt(&["config", "reload"]);
    assert_eq!(refused.code(), Some(1));
    for fault in ["modles", "did you mean models", "did you mean organization", "stays as it was"] {
        assert!(refused.stderr().contains(fault), "{fault} is missing from:\n{}", refused.stderr());
    }
    assert_eq!(world.metric("keeptrusts_config_reload_success"), 0.0);
    assert!(world.gateway.log().contains("did you mean organization"), "{}", world.gateway.log());
    let ready = get(world.gateway.metrics, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 200") && ready.contains("did you mean organization"), "{ready}");
    assert_eq!(world.chat(&key, false).send().await.status, 200);

    // SIGHUP does the same as the command.
    world.rewrite(|_| sound);
    world.gateway.signal("HUP");
    eventually(|| (world.metric("keeptrusts_config_reload_success") == 1.0).then_some(())).await;
    assert!(!get(world.gateway.metrics, "/readyz").contains("organization"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_start_says_so() {
    let world = World::start().await;
    world.rewrite(|text| {
        text.replacen("edge: \"127.0.0.1:0\"", "edge: \"127.0.0.1:41999\"", 1) + "data_dir: /elsewhere\n"
    });
    let told = world.kt(&["config", "reload"]).succeeded().stderr();
    assert!(told.contains("listen.edge is 127.0.0.1:41999 now; 127.0.0.1:0 stays until the next start"), "{told}");
    assert!(world.gateway.log().contains("stays until the next start"));
    let running = world.kt(&["config", "running"]).succeeded().stdout();
    assert!(running.contains(&world.gateway.edge.to_string()), "{running}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_reloads_under_load_fail_no_request() {
    reload_under_load(100).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn a_thousand_reloads_under_load_fail_no_request() {
    reload_under_load(1000).await;
}

async fn reload_under_load(reloads: u32) {
    let mut world = World::start().await;
    world.is_large = true;
    let key = world.key("jane");
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let (stop, ask) = (stop.clone(), world.chat(&key, client % 2 == 0));
            tokio::spawn(async move {
                let mut answered = 0;
                while !stop.load(Ordering::Relaxed) {
                    let answer = ask.clone().send().await;
                    assert!(answer.status == 200 && answer.whole, "{}: {}", answer.status, answer.text());
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    let text = std::fs::read_to_string(world.config()).unwrap();
    let variants =
        ["", "models: [{name: \"*\", providers: [openai]}]", "timeouts: {first_byte: 1m}", "streams: {cut: error}"];
    let base = text.split("models:").next().unwrap();
    for number in 0..reloads {
        std::fs::write(world.config(), format!("{base}\n{}\n", variants[number as usize % variants.len()])).unwrap();
        world.kt(&["config", "reload"]).succeeded();
    }
    stop.store(true, Ordering::Relaxed);
    let mut answered = 0;
    for client in clients {
        answered += client.await.unwrap();
    }
    println!("{reloads} reloads while {answered} requests were answered");
    assert!(answered > reloads / 2, "{answered}");
    eventually(|| (world.metric("keeptrusts_requests_active") == 0.0).then_some(())).await;
    assert_eq!(world.metric("keeptrusts_requests_total{"), f64::from(answered));
}
